"""The values that properties of config.json take: ranges, forms, and enumerations with runC's refusals."""

from __future__ import annotations

from pyrunc.spec.declare import Bool, Enum, Int, List, Map, Str


def _is_page_size(text: str) -> bool:
    number, unit = text[:-2], text[-2:]
    return unit in ("KB", "MB", "GB") and number.isascii() and number.isdigit() and number[0] != "0"


def _is_memory_bandwidth(text: str) -> bool:
    return text.startswith("MB:") and "\n" not in text


def _is_cpu_list(text: str) -> bool:
    return not text.strip("0123456789, -")


PAGE_SIZE = Str(r"^[1-9][0-9]*[KMG]B$", _is_page_size, 'a size such as "2MB"')
MEMORY_BANDWIDTH = Str(r"^MB:[^\n]*$", _is_memory_bandwidth, 'a line that starts with "MB:"')
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
    "SCMP_ARCH_PARISC", "SCMP_ARCH_PARISC64", "SCMP_ARCH_RISCV64",
    refuse="string %s is not a valid arch for seccomp",
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
