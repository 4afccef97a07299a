"""Statistics of cgroup v1: which file says what. Pure, but for the reader that it is given."""

from __future__ import annotations

from pyrunc.cgroup.stats import (
    CPUSET_FLAGS,
    compact,
    cpu_section,
    cpuset_section,
    document,
    flat,
    hugetlb_section,
    memory_entry,
    number,
    pids_section,
    whole,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.cgroup.stats import Read, Section

TICK = 10**9 // 100
"""A tick of cpuacct.stat in nanoseconds: the kernel tells users 100 a second on every machine (USER_HZ)."""

_RECURSIVE = {
    "sectorsRecursive": "sectors_recursive",
    "ioServiceBytesRecursive": "io_service_bytes_recursive",
    "ioServicedRecursive": "io_serviced_recursive",
    "ioQueueRecursive": "io_queued_recursive",
    "ioServiceTimeRecursive": "io_service_time_recursive",
    "ioWaitTimeRecursive": "io_wait_time_recursive",
    "ioMergedRecursive": "io_merged_recursive",
    "ioTimeRecursive": "time_recursive",
}
_TWO = ("ioServicedRecursive", "ioServiceBytesRecursive")
BLKIO: tuple[dict[str, str], ...] = (
    {key: f"blkio.bfq.{file}" for key, file in _RECURSIVE.items()},  # with CONFIG_BFQ_CGROUP_DEBUG
    {key: f"blkio.bfq.{_RECURSIVE[key]}" for key in _TWO},
    {key: f"blkio.{file}" for key, file in _RECURSIVE.items()},  # CFQ, before Linux 5.0
    {key: f"blkio.throttle.{_RECURSIVE[key]}" for key in _TWO},
    {key: f"blkio.throttle.{_RECURSIVE[key].removesuffix('_recursive')}" for key in _TWO},
)
"""Families of files, best first: the first whose first file says anything is taken."""
BLKIO_KEYS = (
    "ioServiceBytesRecursive", "ioServicedRecursive", "ioQueueRecursive", "ioServiceTimeRecursive",
    "ioWaitTimeRecursive", "ioMergedRecursive", "ioTimeRecursive", "sectorsRecursive",
)  # fmt: skip


def stats_v1(read: Read) -> Section:
    """Return the statistics. Raises OSError."""
    flags = {flag: _signed(read("cpuset", f"cpuset.{flag}")) for flag in CPUSET_FLAGS}
    return document(
        cpu=_cpu(read),
        cpuset=cpuset_section(flags, read("cpuset", "cpuset.cpus"), read("cpuset", "cpuset.mems")),
        memory=_memory(read),
        pids=pids_section(read("pids", "pids.current"), read("pids", "pids.max")),
        blkio=_blkio(read),
        hugetlb=hugetlb_section(
            read,
            "usage_in_bytes",
            "max_usage_in_bytes",
            lambda prefix: number(read("hugetlb", f"{prefix}.failcnt")),
        ),
    )


def _signed(text: str) -> int:
    return int(text.strip() or 0)


def _cpu(read: Read) -> Section:
    ticks = flat(read("cpuacct", "cpuacct.stat"))
    rows = [line.split() for line in read("cpuacct", "cpuacct.usage_all").splitlines()[1:]]
    throttled = flat(read("cpu", "cpu.stat"))
    usage = {
        "total": number(read("cpuacct", "cpuacct.usage")),
        "percpu": [int(word) for word in read("cpuacct", "cpuacct.usage_percpu").split()],
        "percpu_kernel": [int(row[2]) for row in rows if len(row) == 3],
        "percpu_user": [int(row[1]) for row in rows if len(row) == 3],
        "kernel": ticks.get("system", 0) * TICK,
        "user": ticks.get("user", 0) * TICK,
    }
    return cpu_section(
        usage,
        throttled.get("nr_periods", 0),
        throttled.get("nr_throttled", 0),
        throttled.get("throttled_time", 0),
        None,
    )


def _memory(read: Read) -> Section:
    raw = flat(read("memory", "memory.stat"))
    entries = {
        key: whole(_memory_entry(read, name))
        for key, name in (
            ("usage", "memory"),
            ("swap", "memory.memsw"),
            ("kernel", "memory.kmem"),
            ("kernelTCP", "memory.kmem.tcp"),
        )
    }
    return compact({"cache": raw.get("cache", 0), **entries, "raw": raw})


def _memory_entry(read: Read, name: str) -> Section:
    return memory_entry(
        *(
            number(read("memory", f"{name}.{file}"))
            for file in ("usage_in_bytes", "max_usage_in_bytes", "limit_in_bytes", "failcnt")
        )
    )


def _blkio(read: Read) -> Section:
    for family in BLKIO:
        tables = {key: _rows(read("blkio", file)) for key, file in family.items()}
        if tables[next(iter(family))]:
            return compact({key: tables.get(key, []) for key in BLKIO_KEYS})
    return {}


def _rows(text: str) -> list[Section]:
    """Return the lines "8:0 Read 4096" of a file; the totals are left out."""
    rows = []
    for line in text.splitlines():
        words = line.replace(":", " ").split()
        if len(words) < 3:
            continue
        operation = words[2] if len(words) > 3 else ""
        entry = {"major": int(words[0]), "minor": int(words[1]), "op": operation, "value": int(words[-1])}
        rows.append(compact(entry))
    return rows
