"""config.json of runtime-spec 1.3.0 on Linux, declared once.

Each class is one JSON object and each field one property, named like its key in snake case. A property that
is absent or null has its default here: None, or an empty tuple or map where absent and empty mean the same.
Constructors trust; `parse.py` distrusts. The texts below the fields are dropped by the compiler and read by
`reference.py`. Properties of other platforms (windows, solaris, vm, zos, freebsd) are unknown here, so
ignored. What belongs to the cgroup stands in `resources.py`, ranges and enumerations in `values.py`.
"""

from __future__ import annotations

from pyrunc.spec.declare import Enum, Int, List, Map, Node, need, opt
from pyrunc.spec.resources import (
    CPU,
    BlockIO,
    DeviceRule,
    HugepageLimit,
    InterfacePriority,
    Memory,
    Network,
    Pids,
    Rdma,
    Resources,
    ThrottleDevice,
    WeightDevice,
)  # fmt: skip
from pyrunc.spec.values import (
    BOOL,
    CPU_LIST,
    ID,
    INT32,
    INT64,
    IOPRIO_CLASSES,
    MAJOR,
    MEMORY_BANDWIDTH,
    MEMORY_POLICY_FLAGS,
    MEMORY_POLICY_MODES,
    MINOR,
    NAMESPACE_TYPES,
    PERSONALITY_DOMAINS,
    PROPAGATIONS,
    RLIMIT_TYPES,
    SCHEDULER_FLAGS,
    SCHEDULER_POLICIES,
    SECCOMP_ACTIONS,
    SECCOMP_ARCHITECTURES,
    SECCOMP_FLAGS,
    SECCOMP_OPERATORS,
    STR,
    STRING_MAP,
    STRINGS,
    UINT32,
    UINT64,
)  # fmt: skip

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "CPU", "BlockIO", "Capabilities", "ConsoleSize", "Device", "DeviceRule", "ExecCPUAffinity", "Hook",
    "Hooks", "HugepageLimit", "IDMapping", "IOPriority", "IntelRdt", "InterfacePriority", "Linux",
    "Memory", "MemoryPolicy", "Mount", "Namespace", "NetDevice", "Network", "Node", "Personality",
    "Pids", "Process", "Rdma", "Resources", "Rlimit", "Root", "Scheduler", "Seccomp", "SeccompArg",
    "SeccompSyscall", "Spec", "ThrottleDevice", "TimeOffset", "User", "WeightDevice",
]  # fmt: skip


class Root(Node):
    """The container's root file system."""

    path: str = need(STR)
    "The directory, absolute or relative to the bundle."
    readonly: bool = opt(BOOL, default=False)
    "Make the root file system read-only inside the container; mounts on it keep their own mode."


class IDMapping(Node):
    """One range of ids of a user namespace, or of an idmapped mount."""

    container_id: int = need(UINT32, key="containerID")
    "The first id inside."
    host_id: int = need(UINT32, key="hostID")
    "The first id outside."
    size: int = need(Int(1, 2**32 - 1))
    "How many ids the range has."


class Mount(Node):
    """One more file system; the list is worked through in its order."""

    destination: str = need(STR)
    "Where it is mounted in the container; a relative path is taken from `/` (deprecated, warned about)."
    type: str | None = opt(STR)
    "The type of file system, as in /proc/filesystems; `bind` is the same as the option `rbind`."
    source: str | None = opt(STR)
    "A device, a name, or for a bind mount a path, absolute or relative to the bundle."
    options: tuple[str, ...] = opt(STRINGS, default=())
    "Mount options; what is not in the table of mount options goes to the file system as data."
    uid_mappings: tuple[IDMapping, ...] = opt(List(IDMapping), default=())
    "The user ids of an idmapped mount; only together with gidMappings."
    gid_mappings: tuple[IDMapping, ...] = opt(List(IDMapping), default=())
    "The group ids of an idmapped mount; only together with uidMappings."


class ConsoleSize(Node):
    """The size of the terminal in characters; ignored without a terminal."""

    height: int = need(UINT64)
    "Rows."
    width: int = need(UINT64)
    "Columns."


class User(Node):
    """Whom the process runs as, in ids of the container."""

    uid: int = opt(ID, default=0)
    "The user id."
    gid: int = opt(ID, default=0)
    "The group id."
    umask: int | None = opt(Int(0, 0o777))
    "The umask (decimal in JSON); unchanged when absent."
    additional_gids: tuple[int, ...] = opt(List(ID), default=())
    "The supplementary groups, exactly."


class Capabilities(Node):
    """The five capability sets, by names of capabilities(7); an unknown one is warned about and left out."""

    bounding: tuple[str, ...] = opt(STRINGS, default=())
    "The bounding set: all others are dropped for good."
    effective: tuple[str, ...] = opt(STRINGS, default=())
    "The effective set."
    inheritable: tuple[str, ...] = opt(STRINGS, default=())
    "The inheritable set."
    permitted: tuple[str, ...] = opt(STRINGS, default=())
    "The permitted set."
    ambient: tuple[str, ...] = opt(STRINGS, default=())
    "The ambient set."


class Rlimit(Node):
    """One resource limit of the process."""

    type: str = need(RLIMIT_TYPES)
    "Which limit, as in getrlimit(2); each one once."
    soft: int = need(UINT64)
    "The limit that the kernel enforces."
    hard: int = need(UINT64)
    "The ceiling of the soft limit."


class Scheduler(Node):
    """The scheduling policy of the process, as in sched_setattr(2)."""

    policy: str = need(SCHEDULER_POLICIES)
    "The policy."
    nice: int = opt(INT32, default=0)
    "The nice value, for SCHED_OTHER and SCHED_BATCH."
    priority: int = opt(INT32, default=0)
    "The static priority, for SCHED_FIFO and SCHED_RR."
    flags: tuple[str, ...] = opt(List(SCHEDULER_FLAGS), default=())
    "Scheduling flags."
    runtime: int = opt(UINT64, default=0)
    "Nanoseconds of run time in a period, for SCHED_DEADLINE."
    deadline: int = opt(UINT64, default=0)
    "Nanoseconds until the deadline, for SCHED_DEADLINE."
    period: int = opt(UINT64, default=0)
    "Nanoseconds of a period, for SCHED_DEADLINE."


class IOPriority(Node):
    """The I/O priority of the process, as in ioprio_set(2)."""

    class_: str = need(IOPRIO_CLASSES, key="class")
    "The scheduling class."
    priority: int = need(INT32)
    "0 (highest) to 7 within the class."


class ExecCPUAffinity(Node):
    """The CPUs of processes that `exec` adds; the first process is not concerned."""

    initial: str | None = opt(CPU_LIST)
    "CPUs to run on until the process is in the container's cgroup."
    final: str | None = opt(CPU_LIST)
    "CPUs to run on afterwards."


class Process(Node):
    """The program of the container and what it runs with."""

    terminal: bool = opt(BOOL, default=False)
    "Give the process a pseudoterminal."
    console_size: ConsoleSize | None = opt(ConsoleSize)
    "The size of the terminal."
    user: User = opt(User, default=User(at="process.user"))
    "Whom it runs as; root when absent."
    args: tuple[str, ...] = opt(STRINGS, default=())
    "The argument vector; its first entry is looked up in the container's PATH."
    env: tuple[str, ...] = opt(STRINGS, default=())
    "The environment, as NAME=VALUE."
    cwd: str = need(STR)
    "The working directory in the container, absolute; created when missing."
    capabilities: Capabilities | None = opt(Capabilities)
    "Capabilities; none at all when absent."
    rlimits: tuple[Rlimit, ...] = opt(List(Rlimit), default=())
    "Resource limits."
    no_new_privileges: bool = opt(BOOL, default=False)
    "Forbid the process and its children to gain privileges by execve (prctl PR_SET_NO_NEW_PRIVS)."
    apparmor_profile: str | None = opt(STR)
    "The AppArmor profile to change to."
    oom_score_adj: int | None = opt(Int(-1000, 1000))
    "The value for /proc/self/oom_score_adj; unchanged when absent."
    scheduler: Scheduler | None = opt(Scheduler)
    "The scheduling policy; unchanged when absent."
    selinux_label: str | None = opt(STR)
    "The SELinux label of the process."
    io_priority: IOPriority | None = opt(IOPriority, key="ioPriority")
    "The I/O priority; unchanged when absent."
    exec_cpu_affinity: ExecCPUAffinity | None = opt(ExecCPUAffinity, key="execCPUAffinity")
    "The CPU affinity of processes that `exec` adds."


class Hook(Node):
    """A program to run at a stage of the life cycle, with the container's state on its standard input."""

    path: str = need(STR)
    "The program, an absolute path; there is no search in PATH."
    args: tuple[str, ...] | None = opt(STRINGS)
    "The argument vector, with the name at its head; the path alone when absent."
    env: tuple[str, ...] | None = opt(STRINGS)
    "The environment, as NAME=VALUE."
    timeout: int | None = opt(Int(1, 2**63 - 1))
    "Seconds after which the hook is aborted."


class Hooks(Node):
    """Programs to run at the stages of the life cycle, each list in its order."""

    prestart: tuple[Hook, ...] = opt(List(Hook), default=())
    "During create, after the namespaces exist, before createRuntime (deprecated)."
    create_runtime: tuple[Hook, ...] = opt(List(Hook), default=())
    "During create, after the namespaces exist, before pivot_root; in the runtime's namespaces."
    create_container: tuple[Hook, ...] = opt(List(Hook), default=())
    "During create, before pivot_root; a path of the host, run in the container's namespaces."
    start_container: tuple[Hook, ...] = opt(List(Hook), default=())
    "During start, before the program; in the container."
    poststart: tuple[Hook, ...] = opt(List(Hook), default=())
    "During start, after the program was started; in the runtime's namespaces."
    poststop: tuple[Hook, ...] = opt(List(Hook), default=())
    "After the container was deleted; in the runtime's namespaces."


class Namespace(Node):
    """A namespace to make, or with a path one to join; a type that is not listed is the runtime's own."""

    type: str = need(NAMESPACE_TYPES)
    "Which one; each type once."
    path: str | None = opt(STR)
    "A namespace file to join, absolute."


class TimeOffset(Node):
    """How far a clock of the time namespace is ahead."""

    secs: int = opt(INT64, default=0)
    "Seconds."
    nanosecs: int = opt(Int(0, 999_999_999), default=0)
    "Nanoseconds, added."


class Device(Node):
    """A device node, beside the default ones."""

    type: str = need(Enum("c", "b", "u", "p"))
    "`c` or `u` a character device, `b` a block device, `p` a fifo."
    path: str = need(STR)
    "Where it is in the container, absolute."
    major: int | None = opt(MAJOR)
    "The major number; needed unless it is a fifo."
    minor: int | None = opt(MINOR)
    "The minor number; needed unless it is a fifo."
    file_mode: int | None = opt(UINT32)
    "Permissions (decimal in JSON; bits of the file type are ignored); 0666 when absent."
    uid: int | None = opt(ID)
    "The owner in the container."
    gid: int | None = opt(ID)
    "The group in the container."


class NetDevice(Node):
    """A network interface of the host to move into the container."""

    name: str | None = opt(STR)
    "Its name in the container; as on the host when absent."


class SeccompArg(Node):
    """A condition on one argument of a system call."""

    index: int = need(Int(0, 5))
    "Which argument, from 0."
    value: int = need(UINT64)
    "The value to compare with; the mask of SCMP_CMP_MASKED_EQ."
    value_two: int | None = opt(UINT64)
    "The masked value of SCMP_CMP_MASKED_EQ; 0 when absent, as engines write it."
    op: str = need(SECCOMP_OPERATORS)
    "The comparison."


class SeccompSyscall(Node):
    """A rule on some system calls."""

    names: tuple[str, ...] = need(List(STR, at_least=1))
    "The system calls; unknown names are skipped."
    action: str = need(SECCOMP_ACTIONS)
    "What happens."
    errno_ret: int | None = opt(UINT32)
    "The errno of SCMP_ACT_ERRNO, the data of SCMP_ACT_TRACE."
    args: tuple[SeccompArg, ...] = opt(List(SeccompArg), default=())
    "Conditions, all of which must hold."


class Seccomp(Node):
    """A filter on system calls."""

    default_action: str = need(SECCOMP_ACTIONS)
    "What happens where no rule matches."
    default_errno_ret: int | None = opt(UINT32)
    "The errno of the default action; EPERM when absent."
    architectures: tuple[str, ...] = opt(List(SECCOMP_ARCHITECTURES), default=())
    "Architectures beside the native one."
    flags: tuple[str, ...] | None = opt(List(SECCOMP_FLAGS))
    "Flags of seccomp(2); SPEC_ALLOW when absent, none when empty."
    listener_path: str | None = opt(STR)
    "The Unix socket of the agent that decides on SCMP_ACT_NOTIFY."
    listener_metadata: str | None = opt(STR)
    "A text for that agent."
    syscalls: tuple[SeccompSyscall, ...] = opt(List(SeccompSyscall), default=())
    "The rules."


class IntelRdt(Node):
    """Cache and memory bandwidth by resctrl."""

    clos_id: str | None = opt(STR, key="closID")
    "The class of service; the container's id when absent."
    schemata: tuple[str, ...] = opt(STRINGS, default=())
    "Lines for the file schemata, written last."
    l3_cache_schema: str | None = opt(STR)
    "The line for the L3 cache, written first."
    mem_bw_schema: str | None = opt(MEMORY_BANDWIDTH)
    "The line for memory bandwidth."
    enable_monitoring: bool | None = opt(BOOL)
    "Make a monitoring group for the container."


class MemoryPolicy(Node):
    """The NUMA memory policy, as in set_mempolicy(2)."""

    mode: str = need(MEMORY_POLICY_MODES)
    "The mode."
    nodes: str | None = opt(STR)
    'The memory nodes: "0-3,5".'
    flags: tuple[str, ...] = opt(List(MEMORY_POLICY_FLAGS), default=())
    "Flags."


class Personality(Node):
    """The execution domain, as in personality(2)."""

    domain: str = need(PERSONALITY_DOMAINS)
    "LINUX, or LINUX32 for a process that shall see a 32-bit machine."
    flags: tuple[str, ...] = opt(STRINGS, default=())
    "No flag is defined."


class Linux(Node):
    """What only Linux has."""

    namespaces: tuple[Namespace, ...] = opt(List(Namespace), default=())
    "Namespaces to make or to join."
    uid_mappings: tuple[IDMapping, ...] = opt(List(IDMapping), default=())
    "User ids of the user namespace."
    gid_mappings: tuple[IDMapping, ...] = opt(List(IDMapping), default=())
    "Group ids of the user namespace."
    time_offsets: Mapping[str, TimeOffset] = opt(Map(TimeOffset), default={})
    "Offsets of the time namespace by clock: `monotonic`, `boottime`."
    devices: tuple[Device, ...] = opt(List(Device), default=())
    "Device nodes, beside the default ones."
    net_devices: Mapping[str, NetDevice] = opt(Map(NetDevice), default={})
    "Interfaces to move into the container, by their name on the host."
    cgroups_path: str | None = opt(STR)
    "The cgroup: absolute is below the cgroup mount, relative is below the runtime's own."
    resources: Resources = opt(Resources, default=Resources(at="linux.resources"))
    "Limits of the cgroup."
    rootfs_propagation: str | None = opt(PROPAGATIONS)
    "The mount propagation of the root file system; slave while it is set up when absent."
    seccomp: Seccomp | None = opt(Seccomp)
    "A filter on system calls."
    sysctl: Mapping[str, str] = opt(STRING_MAP, default={})
    "Kernel parameters of the container's namespaces."
    masked_paths: tuple[str, ...] = opt(STRINGS, default=())
    "Paths that cannot be read in the container, absolute; a missing one is skipped."
    readonly_paths: tuple[str, ...] = opt(STRINGS, default=())
    "Paths that cannot be written in the container, absolute; a missing one is skipped."
    mount_label: str | None = opt(STR)
    "The SELinux context of the mounts."
    intel_rdt: IntelRdt | None = opt(IntelRdt)
    "Cache and memory bandwidth."
    memory_policy: MemoryPolicy | None = opt(MemoryPolicy)
    "The NUMA memory policy."
    personality: Personality | None = opt(Personality)
    "The execution domain."


class Spec(Node):
    """The whole of config.json."""

    oci_version: str = need(STR)
    "The version of the runtime specification that the file was written for; any 1.x is accepted."
    root: Root | None = opt(Root)
    "The root file system; needed on Linux."
    process: Process | None = opt(Process)
    "The program of the container; needed to start it."
    hostname: str | None = opt(STR)
    "The host name in the container; needs a new UTS namespace."
    domainname: str | None = opt(STR)
    "The NIS domain name in the container; needs a new UTS namespace."
    mounts: tuple[Mount, ...] = opt(List(Mount), default=())
    "File systems to mount, in order."
    hooks: Hooks = opt(Hooks, default=Hooks(at="hooks"))
    "Programs to run at the stages of the life cycle."
    annotations: Mapping[str, str] = opt(STRING_MAP, default={})
    "Free keys and values about the container."
    linux: Linux = opt(Linux, default=Linux(at="linux"))
    "What only Linux has."
