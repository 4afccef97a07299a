"""What the words of config.json mean to the kernel, as data.

`features` prints these tables, so what stands here is what is promised. Numbers are those of x86-64 and
aarch64, which agree on all of them.
"""

from __future__ import annotations

from pyrunc._record import record

# linux/mount.h, for mount_setattr(2) and fsmount(2)
_RDONLY, _NOSUID, _NODEV, _NOEXEC = 0x1, 0x2, 0x4, 0x8
_NOATIME, _STRICTATIME, _NODIRATIME, _NOSYMFOLLOW = 0x10, 0x20, 0x80, 0x200000
# linux/mount.h, for the propagation of mount_setattr(2) and mount(2)
_MS_REC, _MS_UNBINDABLE, _MS_PRIVATE, _MS_SLAVE, _MS_SHARED = 1 << 14, 1 << 17, 1 << 18, 1 << 19, 1 << 20


@record
class MountOption:
    """What one mount option does. Options work in their order, and later ones win over earlier ones.

    `set` and `clear` are MOUNT_ATTR_* bits: fold them as `set = set & ~option.clear | option.set`, and
    `clear` likewise with the two exchanged. RELATIME is the absence of both other atime bits, so a change of
    any of them needs MOUNT_ATTR__ATIME (0x70) in attr_clr. An option with nothing set does nothing, on
    purpose.
    """

    set: int = 0
    clear: int = 0
    fs_flag: str = ""
    "A flag for the superblock of a new file system, in the words of fsconfig(2)."
    recursive: bool = False
    "The whole tree of mounts is meant, by AT_RECURSIVE."
    bind: bool = False
    remount: bool = False
    propagation: int = 0
    "MS_SHARED, MS_SLAVE, MS_PRIVATE or MS_UNBINDABLE."
    extension: str = ""
    "Something that the kernel does not know as an option: tmpcopyup, idmap."


def _option(**given: object) -> MountOption:
    option = object.__new__(MountOption)
    option.__dict__.update(given)
    return option


def _pair(attr: int, on: str, off: str) -> dict[str, MountOption]:
    """Return the options that set and clear an attribute, for one mount and for a tree."""
    return {
        on: _option(set=attr),
        off: _option(clear=attr),
        "r" + on: _option(set=attr, recursive=True),
        "r" + off: _option(clear=attr, recursive=True),
    }


def _propagation(name: str, flag: int) -> dict[str, MountOption]:
    return {name: _option(propagation=flag), "r" + name: _option(propagation=flag, recursive=True)}


_NOTHING = _option()

MOUNT_OPTIONS: dict[str, MountOption] = {
    "async": _option(fs_flag="async"),
    "atime": _option(clear=_NOATIME),
    "bind": _option(bind=True),
    "defaults": _NOTHING,
    **_pair(_NODEV, "nodev", "dev"),
    **_pair(_NODIRATIME, "nodiratime", "diratime"),
    "dirsync": _option(fs_flag="dirsync"),
    **_pair(_NOEXEC, "noexec", "exec"),
    "idmap": _option(extension="idmap"),
    "iversion": _NOTHING,  # file systems that count versions do so by themselves; no flag of fsconfig(2)
    "lazytime": _option(fs_flag="lazytime"),
    "loud": _NOTHING,  # with `silent`, whether mount(2) tells the kernel's log about a failure
    "mand": _option(fs_flag="mand"),
    "noatime": _option(set=_NOATIME, clear=_STRICTATIME),
    "noiversion": _NOTHING,
    "nolazytime": _option(fs_flag="nolazytime"),
    "nomand": _option(fs_flag="nomand"),
    "norelatime": _NOTHING,  # mount(2) falls back to relatime by itself
    "nostrictatime": _option(clear=_STRICTATIME),
    **_pair(_NOSUID, "nosuid", "suid"),
    **_pair(_NOSYMFOLLOW, "nosymfollow", "symfollow"),
    **_propagation("private", _MS_PRIVATE),
    "ratime": _option(clear=_NOATIME, recursive=True),
    "rbind": _option(bind=True, recursive=True),
    "relatime": _option(clear=_NOATIME | _STRICTATIME),
    "remount": _option(remount=True),
    "ridmap": _option(extension="idmap", recursive=True),
    "rnoatime": _option(set=_NOATIME, clear=_STRICTATIME, recursive=True),
    "rnorelatime": _option(clear=_NOATIME | _STRICTATIME, recursive=True),
    "rnostrictatime": _option(clear=_STRICTATIME, recursive=True),
    "ro": _option(set=_RDONLY, fs_flag="ro"),
    "rrelatime": _option(clear=_NOATIME | _STRICTATIME, recursive=True),
    "rro": _option(set=_RDONLY, recursive=True),
    "rrw": _option(clear=_RDONLY, recursive=True),
    "rstrictatime": _option(set=_STRICTATIME, clear=_NOATIME, recursive=True),
    "rw": _option(clear=_RDONLY, fs_flag="rw"),
    **_propagation("shared", _MS_SHARED),
    "silent": _NOTHING,
    **_propagation("slave", _MS_SLAVE),
    "strictatime": _option(set=_STRICTATIME, clear=_NOATIME),
    "sync": _option(fs_flag="sync"),
    "tmpcopyup": _option(extension="tmpcopyup"),
    **_propagation("unbindable", _MS_UNBINDABLE),
}
"""Every option that is not handed to the file system as data."""

PROPAGATIONS: dict[str, int] = {
    "private": _MS_PRIVATE, "rprivate": _MS_PRIVATE | _MS_REC, "shared": _MS_SHARED,
    "rshared": _MS_SHARED | _MS_REC, "slave": _MS_SLAVE, "rslave": _MS_SLAVE | _MS_REC,
    "unbindable": _MS_UNBINDABLE, "runbindable": _MS_UNBINDABLE | _MS_REC,
}  # fmt: skip
"""rootfsPropagation to flags of mount(2); the spec has the four without an r, Docker sends the others."""


@record
class NamespaceKind:
    """A type of namespace: its CLONE_NEW* flag and its name below /proc/PID/ns."""

    flag: int
    file: str


NAMESPACES: dict[str, NamespaceKind] = {
    "cgroup": NamespaceKind(0x02000000, "cgroup"),
    "ipc": NamespaceKind(0x08000000, "ipc"),
    "mount": NamespaceKind(0x00020000, "mnt"),
    "network": NamespaceKind(0x40000000, "net"),
    "pid": NamespaceKind(0x20000000, "pid"),
    "time": NamespaceKind(0x00000080, "time"),
    "user": NamespaceKind(0x10000000, "user"),
    "uts": NamespaceKind(0x04000000, "uts"),
}

HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
"""The stages of hooks in the order in which they come."""

CAPABILITIES: dict[str, int] = {
    "CAP_CHOWN": 0, "CAP_DAC_OVERRIDE": 1, "CAP_DAC_READ_SEARCH": 2, "CAP_FOWNER": 3, "CAP_FSETID": 4,
    "CAP_KILL": 5, "CAP_SETGID": 6, "CAP_SETUID": 7, "CAP_SETPCAP": 8, "CAP_LINUX_IMMUTABLE": 9,
    "CAP_NET_BIND_SERVICE": 10, "CAP_NET_BROADCAST": 11, "CAP_NET_ADMIN": 12, "CAP_NET_RAW": 13,
    "CAP_IPC_LOCK": 14, "CAP_IPC_OWNER": 15, "CAP_SYS_MODULE": 16, "CAP_SYS_RAWIO": 17, "CAP_SYS_CHROOT": 18,
    "CAP_SYS_PTRACE": 19, "CAP_SYS_PACCT": 20, "CAP_SYS_ADMIN": 21, "CAP_SYS_BOOT": 22, "CAP_SYS_NICE": 23,
    "CAP_SYS_RESOURCE": 24, "CAP_SYS_TIME": 25, "CAP_SYS_TTY_CONFIG": 26, "CAP_MKNOD": 27, "CAP_LEASE": 28,
    "CAP_AUDIT_WRITE": 29, "CAP_AUDIT_CONTROL": 30, "CAP_SETFCAP": 31, "CAP_MAC_OVERRIDE": 32,
    "CAP_MAC_ADMIN": 33, "CAP_SYSLOG": 34, "CAP_WAKE_ALARM": 35, "CAP_BLOCK_SUSPEND": 36,
    "CAP_AUDIT_READ": 37, "CAP_PERFMON": 38, "CAP_BPF": 39, "CAP_CHECKPOINT_RESTORE": 40,
}  # fmt: skip

RLIMITS: dict[str, int] = {
    "RLIMIT_CPU": 0, "RLIMIT_FSIZE": 1, "RLIMIT_DATA": 2, "RLIMIT_STACK": 3, "RLIMIT_CORE": 4,
    "RLIMIT_RSS": 5, "RLIMIT_NPROC": 6, "RLIMIT_NOFILE": 7, "RLIMIT_MEMLOCK": 8, "RLIMIT_AS": 9,
    "RLIMIT_LOCKS": 10, "RLIMIT_SIGPENDING": 11, "RLIMIT_MSGQUEUE": 12, "RLIMIT_NICE": 13,
    "RLIMIT_RTPRIO": 14, "RLIMIT_RTTIME": 15,
}  # fmt: skip

DEVICE_TYPES: dict[str, int] = {"c": 0o020000, "u": 0o020000, "b": 0o060000, "p": 0o010000}
"""Device type to the S_IF* bits of mknod(2)."""

SCHEDULER_POLICIES: dict[str, int] = {
    "SCHED_OTHER": 0, "SCHED_FIFO": 1, "SCHED_RR": 2, "SCHED_BATCH": 3, "SCHED_ISO": 4, "SCHED_IDLE": 5,
    "SCHED_DEADLINE": 6,
}  # fmt: skip
SCHEDULER_FLAGS: dict[str, int] = {
    "SCHED_FLAG_RESET_ON_FORK": 0x01, "SCHED_FLAG_RECLAIM": 0x02, "SCHED_FLAG_DL_OVERRUN": 0x04,
    "SCHED_FLAG_KEEP_POLICY": 0x08, "SCHED_FLAG_KEEP_PARAMS": 0x10, "SCHED_FLAG_UTIL_CLAMP_MIN": 0x20,
    "SCHED_FLAG_UTIL_CLAMP_MAX": 0x40,
}  # fmt: skip

IOPRIO_CLASSES: dict[str, int] = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}

MEMORY_POLICY_MODES: dict[str, int] = {
    "MPOL_DEFAULT": 0, "MPOL_PREFERRED": 1, "MPOL_BIND": 2, "MPOL_INTERLEAVE": 3, "MPOL_LOCAL": 4,
    "MPOL_PREFERRED_MANY": 5, "MPOL_WEIGHTED_INTERLEAVE": 6,
}  # fmt: skip
MEMORY_POLICY_FLAGS: dict[str, int] = {
    "MPOL_F_NUMA_BALANCING": 1 << 13, "MPOL_F_RELATIVE_NODES": 1 << 14, "MPOL_F_STATIC_NODES": 1 << 15,
}  # fmt: skip

PERSONALITIES: dict[str, int] = {"LINUX": 0x0000, "LINUX32": 0x0008}

SECCOMP_ACTIONS = (
    "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_LOG", "SCMP_ACT_NOTIFY", "SCMP_ACT_TRACE", "SCMP_ACT_TRAP",
)  # fmt: skip
SECCOMP_OPERATORS = (
    "SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_LE", "SCMP_CMP_LT", "SCMP_CMP_MASKED_EQ",
    "SCMP_CMP_NE",
)  # fmt: skip
SECCOMP_ARCHITECTURES = (
    "SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM", "SCMP_ARCH_LOONGARCH64", "SCMP_ARCH_M68K", "SCMP_ARCH_MIPS",
    "SCMP_ARCH_MIPS64", "SCMP_ARCH_MIPS64N32", "SCMP_ARCH_MIPSEL", "SCMP_ARCH_MIPSEL64",
    "SCMP_ARCH_MIPSEL64N32", "SCMP_ARCH_PARISC", "SCMP_ARCH_PARISC64", "SCMP_ARCH_PPC", "SCMP_ARCH_PPC64",
    "SCMP_ARCH_PPC64LE", "SCMP_ARCH_RISCV64", "SCMP_ARCH_S390", "SCMP_ARCH_S390X", "SCMP_ARCH_SH",
    "SCMP_ARCH_SHEB", "SCMP_ARCH_X32", "SCMP_ARCH_X86", "SCMP_ARCH_X86_64",
)  # fmt: skip
SECCOMP_FLAGS: dict[str, int] = {
    "SECCOMP_FILTER_FLAG_TSYNC": 1, "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 4, "SECCOMP_FILTER_FLAG_LOG": 2,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": 32,
}  # fmt: skip

SIGNALS: dict[str, int] = {
    "SIGHUP": 1, "SIGINT": 2, "SIGQUIT": 3, "SIGILL": 4, "SIGTRAP": 5, "SIGABRT": 6, "SIGIOT": 6, "SIGBUS": 7,
    "SIGFPE": 8, "SIGKILL": 9, "SIGUSR1": 10, "SIGSEGV": 11, "SIGUSR2": 12, "SIGPIPE": 13, "SIGALRM": 14,
    "SIGTERM": 15, "SIGSTKFLT": 16, "SIGCHLD": 17, "SIGCLD": 17, "SIGCONT": 18, "SIGSTOP": 19, "SIGTSTP": 20,
    "SIGTTIN": 21, "SIGTTOU": 22, "SIGURG": 23, "SIGXCPU": 24, "SIGXFSZ": 25, "SIGVTALRM": 26, "SIGPROF": 27,
    "SIGWINCH": 28, "SIGIO": 29, "SIGPOLL": 29, "SIGPWR": 30, "SIGSYS": 31, "SIGUNUSED": 31, "SIGRTMIN": 34,
    **{f"SIGRTMIN+{n}": 34 + n for n in range(1, 16)}, **{f"SIGRTMAX-{n}": 64 - n for n in range(14, 0, -1)},
    "SIGRTMAX": 64,
}  # fmt: skip
"""Signal names to numbers; SIGRTMIN is that of the C libraries, which keep the first two for themselves."""

SIGNAL_TEXTS: dict[int, str] = {
    1: "hangup", 2: "interrupt", 3: "quit", 4: "illegal instruction", 5: "trace/breakpoint trap",
    6: "aborted", 7: "bus error", 8: "floating point exception", 9: "killed", 10: "user defined signal 1",
    11: "segmentation fault", 12: "user defined signal 2", 13: "broken pipe", 14: "alarm clock",
    15: "terminated", 16: "stack fault", 17: "child exited", 18: "continued", 19: "stopped (signal)",
    20: "stopped", 21: "stopped (tty input)", 22: "stopped (tty output)", 23: "urgent I/O condition",
    24: "CPU time limit exceeded", 25: "file size limit exceeded", 26: "virtual timer expired",
    27: "profiling timer expired", 28: "window changed", 29: "I/O possible", 30: "power failure",
    31: "bad system call",
}  # fmt: skip
"""Signals in the words of Go, which callers of runC look for."""
