"""config.json of runtime-spec 1.3.0 on Linux, declared once.

Each class is one JSON object and each field one property, named like its key in snake case. A property that is
absent or null has its default here: None, or an empty tuple or map where absent and empty mean the same.
Constructors trust; `parse.py` distrusts. The texts below the fields are dropped by the compiler and read by
`reference.py`. Properties of other platforms (windows, solaris, vm, zos, freebsd) are unknown here, so ignored.
"""

from __future__ import annotations

from pyrunc.spec.declare import Bool, Enum, Int, List, Map, Node, Str, need, opt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


def _is_page_size(text: str) -> bool:
    number, unit = text[:-2], text[-2:]
    return unit in ("KB", "MB", "GB") and number.isascii() and number.isdigit() and number[0] != "0"


def _is_memory_bandwidth(text: str) -> bool:
    return text.startswith("MB:") and "\n" not in text


def _is_cpu_list(text: str) -> bool:
    return not text.strip("0123456789, -")


BOOL = Bool()
STR = Str()
STRINGS = List(STR)
STRING_MAP = Map(STR)
UINT16 = Int(0, 2**16 - 1)
UINT32 = Int(0, 2**32 - 1)
UINT64 = Int(0, 2**64 - 1)
INT32 = Int(-(2**31), 2**31 - 1)
INT64 = Int(-(2**63), 2**63 - 1)
ID = Int(0, 2**32 - 2)  # 2**32-1 is (uid_t)-1, "no change" to setresuid: crun 1.8 ran such a config as root
BYTES = Int(-1, 2**63 - 1)  # -1 is unlimited
MAJOR = Int(0, 2**12 - 1)  # mknod(2) would cut anything larger, silently
MINOR = Int(0, 2**20 - 1)
ANY_MAJOR = Int(-1, 2**12 - 1)  # -1 is any, as in runC
ANY_MINOR = Int(-1, 2**20 - 1)
CPU_LIST = Str(r"^[0-9, -]*$", _is_cpu_list, 'a list of CPUs such as "0-3,7"')

NAMESPACE_TYPES = Enum(
    "pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time", refuse="namespace %s does not exist"
)
RLIMIT_TYPES = Enum(
    "RLIMIT_AS", "RLIMIT_CORE", "RLIMIT_CPU", "RLIMIT_DATA", "RLIMIT_FSIZE", "RLIMIT_LOCKS", "RLIMIT_MEMLOCK",
    "RLIMIT_MSGQUEUE", "RLIMIT_NICE", "RLIMIT_NOFILE", "RLIMIT_NPROC", "RLIMIT_RSS", "RLIMIT_RTPRIO",
    "RLIMIT_RTTIME", "RLIMIT_SIGPENDING", "RLIMIT_STACK", refuse="wrong rlimit value: %s",
)  # fmt: skip
PROPAGATIONS = Enum(
    "private", "rprivate", "shared", "rshared", "slave", "rslave", "unbindable", "runbindable",
    refuse="rootfsPropagation=%s is not supported",
)  # fmt: skip
SECCOMP_ACTIONS = Enum(
    "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_TRAP", "SCMP_ACT_ERRNO",
    "SCMP_ACT_TRACE", "SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_NOTIFY",
    refuse="string %s is not a valid action for seccomp",
)  # fmt: skip
SECCOMP_OPERATORS = Enum(
    "SCMP_CMP_NE", "SCMP_CMP_LT", "SCMP_CMP_LE", "SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT",
    "SCMP_CMP_MASKED_EQ", refuse="string %s is not a valid operator for seccomp",
)  # fmt: skip
SECCOMP_ARCHITECTURES = Enum(
    "SCMP_ARCH_X86", "SCMP_ARCH_X86_64", "SCMP_ARCH_X32", "SCMP_ARCH_ARM", "SCMP_ARCH_AARCH64",
    "SCMP_ARCH_LOONGARCH64", "SCMP_ARCH_M68K", "SCMP_ARCH_MIPS", "SCMP_ARCH_MIPS64", "SCMP_ARCH_MIPS64N32",
    "SCMP_ARCH_MIPSEL", "SCMP_ARCH_MIPSEL64", "SCMP_ARCH_MIPSEL64N32", "SCMP_ARCH_PPC", "SCMP_ARCH_PPC64",
    "SCMP_ARCH_PPC64LE", "SCMP_ARCH_S390", "SCMP_ARCH_S390X", "SCMP_ARCH_SH", "SCMP_ARCH_SHEB",
    "SCMP_ARCH_PARISC", "SCMP_ARCH_PARISC64", "SCMP_ARCH_RISCV64", refuse="string %s is not a valid arch for seccomp",
)  # fmt: skip
SECCOMP_FLAGS = Enum(
    "SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_LOG",
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", refuse="seccomp flag %s is not known",
)  # fmt: skip
SCHEDULER_POLICIES = Enum(
    "SCHED_OTHER", "SCHED_FIFO", "SCHED_RR", "SCHED_BATCH", "SCHED_ISO", "SCHED_IDLE", "SCHED_DEADLINE",
    refuse="invalid scheduler policy: %s",
)  # fmt: skip
SCHEDULER_FLAGS = Enum(
    "SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_RECLAIM", "SCHED_FLAG_DL_OVERRUN", "SCHED_FLAG_KEEP_POLICY",
    "SCHED_FLAG_KEEP_PARAMS", "SCHED_FLAG_UTIL_CLAMP_MIN", "SCHED_FLAG_UTIL_CLAMP_MAX",
    refuse="invalid scheduler flag: %s",
)  # fmt: skip
IOPRIO_CLASSES = Enum(
    "IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE", refuse="invalid ioPriority.Class: %s"
)
MEMORY_POLICY_MODES = Enum(
    "MPOL_DEFAULT", "MPOL_BIND", "MPOL_INTERLEAVE", "MPOL_WEIGHTED_INTERLEAVE", "MPOL_PREFERRED",
    "MPOL_PREFERRED_MANY", "MPOL_LOCAL", refuse="invalid memory policy mode %s",
)  # fmt: skip
MEMORY_POLICY_FLAGS = Enum(
    "MPOL_F_NUMA_BALANCING",
    "MPOL_F_RELATIVE_NODES",
    "MPOL_F_STATIC_NODES",
    refuse="invalid memory policy flag %s",
)
PERSONALITY_DOMAINS = Enum("LINUX", "LINUX32", refuse="invalid personality domain %s")


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


class DeviceRule(Node):
    """One rule on which devices may be used; later rules win."""

    allow: bool = need(BOOL)
    "Allow or deny."
    type: str | None = opt(Enum("a", "b", "c"))
    "`a` any (also when absent), `b` block, `c` character."
    major: int | None = opt(ANY_MAJOR)
    "The major number; any when absent."
    minor: int | None = opt(ANY_MINOR)
    "The minor number; any when absent."
    access: str | None = opt(STR)
    "Some of `r`, `w` and `m` (mknod)."


class Memory(Node):
    """Limits on memory, in bytes; -1 is unlimited."""

    limit: int | None = opt(BYTES)
    "Memory."
    reservation: int | None = opt(BYTES)
    "The soft limit."
    swap: int | None = opt(BYTES)
    "Memory and swap together."
    kernel: int | None = opt(BYTES)
    "Kernel memory (not recommended; kernels since 5.16 have no such limit)."
    kernel_tcp: int | None = opt(BYTES, key="kernelTCP")
    "Kernel memory of TCP buffers (not recommended)."
    swappiness: int | None = opt(Int(0, 100))
    "How eagerly to swap; cgroup v1 only."
    disable_oom_killer: bool | None = opt(BOOL, key="disableOOMKiller")
    "Let processes wait for memory instead of killing one; cgroup v1 only."
    use_hierarchy: bool | None = opt(BOOL)
    "Account children with their parent; cgroup v1 only, and the only way of newer kernels."
    check_before_update: bool | None = opt(BOOL)
    "Refuse an update to less than what is in use."


class CPU(Node):
    """Limits on CPU time, and which CPUs."""

    shares: int | None = opt(UINT64)
    "The weight among siblings, 2 to 262144, 1024 by default."
    quota: int | None = opt(INT64)
    "Microseconds of CPU time in a period; negative is unlimited."
    burst: int | None = opt(UINT64)
    "Microseconds that may be saved up from earlier periods."
    period: int | None = opt(UINT64)
    "Microseconds of a period."
    realtime_runtime: int | None = opt(INT64)
    "Microseconds of real-time scheduling in a period; cgroup v1 only."
    realtime_period: int | None = opt(UINT64)
    "Microseconds of a real-time period; cgroup v1 only."
    cpus: str | None = opt(STR)
    'CPUs to run on: "0-3,7".'
    mems: str | None = opt(STR)
    "Memory nodes to allocate on, likewise."
    idle: int | None = opt(Int(0, 1))
    "1 runs the cgroup only when nothing else wants the CPU."


class Pids(Node):
    """A limit on the number of tasks."""

    limit: int | None = opt(INT64)
    "How many; negative is unlimited, 0 a real limit."


class WeightDevice(Node):
    """The I/O weight for one block device; at least one of the weights."""

    major: int = need(MAJOR)
    "The major number."
    minor: int = need(MINOR)
    "The minor number."
    weight: int | None = opt(UINT16)
    "The weight."
    leaf_weight: int | None = opt(UINT16)
    "The weight against child cgroups (kernels before 5.0)."


class ThrottleDevice(Node):
    """A rate for one block device."""

    major: int = need(MAJOR)
    "The major number."
    minor: int = need(MINOR)
    "The minor number."
    rate: int = need(UINT64)
    "Bytes or operations a second."


class BlockIO(Node):
    """Limits on block devices."""

    weight: int | None = opt(UINT16)
    "The weight among siblings, 10 to 1000."
    leaf_weight: int | None = opt(UINT16)
    "The weight against child cgroups (kernels before 5.0)."
    weight_device: tuple[WeightDevice, ...] = opt(List(WeightDevice), default=())
    "Weights for single devices."
    throttle_read_bps_device: tuple[ThrottleDevice, ...] = opt(List(ThrottleDevice), default=())
    "Bytes read a second."
    throttle_write_bps_device: tuple[ThrottleDevice, ...] = opt(List(ThrottleDevice), default=())
    "Bytes written a second."
    throttle_read_iops_device: tuple[ThrottleDevice, ...] = opt(
        List(ThrottleDevice), default=(), key="throttleReadIOPSDevice"
    )
    "Reads a second."
    throttle_write_iops_device: tuple[ThrottleDevice, ...] = opt(
        List(ThrottleDevice), default=(), key="throttleWriteIOPSDevice"
    )
    "Writes a second."


class HugepageLimit(Node):
    """A limit on huge pages of one size."""

    page_size: str = need(Str(r"^[1-9][0-9]*[KMG]B$", _is_page_size, 'a size such as "2MB"'))
    "The size of the page: a number and KB, MB or GB, of base 1024."
    limit: int = need(UINT64)
    "Bytes."


class InterfacePriority(Node):
    """The priority of traffic through one interface."""

    name: str = need(STR)
    "The interface in the runtime's network namespace."
    priority: int = need(UINT32)
    "The priority."


class Network(Node):
    """Marks on network traffic; cgroup v1 only."""

    class_id: int | None = opt(UINT32, key="classID")
    "The class of packets (net_cls)."
    priorities: tuple[InterfacePriority, ...] = opt(List(InterfacePriority), default=())
    "Priorities by interface (net_prio)."


class Rdma(Node):
    """Limits for one RDMA device; at least one of the two."""

    hca_handles: int | None = opt(UINT32)
    "Handles."
    hca_objects: int | None = opt(UINT32)
    "Objects."


class Resources(Node):
    """What the container's cgroup limits."""

    devices: tuple[DeviceRule, ...] = opt(List(DeviceRule), default=())
    "Rules on devices, applied in order; the rules for the default devices follow them."
    memory: Memory | None = opt(Memory)
    "Memory."
    cpu: CPU | None = opt(CPU)
    "CPU time."
    pids: Pids | None = opt(Pids)
    "Tasks."
    block_io: BlockIO | None = opt(BlockIO, key="blockIO")
    "Block devices."
    hugepage_limits: tuple[HugepageLimit, ...] = opt(List(HugepageLimit), default=())
    "Huge pages."
    network: Network | None = opt(Network)
    "Marks on network traffic."
    rdma: Mapping[str, Rdma] = opt(Map(Rdma), default={})
    "RDMA, by device."
    unified: Mapping[str, str] = opt(STRING_MAP, default={})
    "Files of cgroup v2 and what to write into them, after everything else."


class SeccompArg(Node):
    """A condition on one argument of a system call."""

    index: int = need(Int(0, 5))
    "Which argument, from 0."
    value: int = need(UINT64)
    "The value to compare with; the mask of SCMP_CMP_MASKED_EQ."
    value_two: int | None = opt(UINT64)
    "The masked value of SCMP_CMP_MASKED_EQ."
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
    mem_bw_schema: str | None = opt(
        Str(r"^MB:[^\n]*$", _is_memory_bandwidth, 'a line that starts with "MB:"')
    )
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
