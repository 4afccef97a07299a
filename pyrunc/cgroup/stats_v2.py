"""Statistics of cgroup v2, in v1's terms as runc tells them. Pure, but for the reader that it is given."""

from __future__ import annotations

from pyrunc.cgroup.stats import (
    UNLIMITED,
    compact,
    cpu_section,
    cpuset_section,
    document,
    flat,
    hugetlb_section,
    memory_entry,
    number,
    pids_section,
    pressure,
    whole,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.cgroup.stats import Read, Section

MICROSECOND = 1000
IO_STAT = (
    ("ioServiceBytesRecursive", (("rbytes", "Read"), ("wbytes", "Write"))),
    ("ioServicedRecursive", (("rios", "Read"), ("wios", "Write"))),
)


def stats_v2(read: Read) -> Section:
    """Return the statistics. Raises OSError."""
    return document(
        cpu=_cpu(read),
        cpuset=cpuset_section({}, "", ""),  # runc tells of v1's cpusets only
        memory=_memory(read),
        pids=_pids(read),
        blkio=_blkio(read),
        hugetlb=hugetlb_section(
            read, "current", "", lambda prefix: flat(read("hugetlb", f"{prefix}.events")).get("max", 0)
        ),
    )


def _cpu(read: Read) -> Section:
    found = flat(read("cpu", "cpu.stat"))
    usage = {
        key: found.get(name, 0) * MICROSECOND
        for key, name in (("total", "usage_usec"), ("kernel", "system_usec"), ("user", "user_usec"))
    }
    return cpu_section(
        usage,
        found.get("nr_periods", 0),
        found.get("nr_throttled", 0),
        found.get("throttled_usec", 0) * MICROSECOND,
        pressure(read("cpu", "cpu.pressure")),
    )


def _memory(read: Read) -> Section:
    raw = flat(read("memory", "memory.stat"))
    usage, limit, most = (number(read("memory", f"memory.{file}")) for file in ("current", "max", "peak"))
    swap = None
    if swapped := read("memory", "memory.swap.current"):  # else the kernel does not account swap
        swap_limit = number(read("memory", "memory.swap.max"))
        # v1's counter is memory and swap together; their common peak is not known
        total = min(swap_limit + limit, UNLIMITED) if swap_limit != UNLIMITED else UNLIMITED
        swap = memory_entry(number(swapped) + usage, 0, total, 0)
    entry = memory_entry(usage, most, limit, 0)
    return compact(
        {
            "cache": raw.get("file", 0),
            "usage": whole(entry),
            "swap": swap,
            "raw": raw,
            "psi": pressure(read("memory", "memory.pressure")),
        }
    )


def _pids(read: Read) -> Section:
    current = read("pids", "pids.current")
    if current:
        return pids_section(current, read("pids", "pids.max"))
    return pids_section(str(len(read("pids", "cgroup.procs").split())), "")


def _blkio(read: Read) -> Section:
    tables: dict[str, list[Section]] = {key: [] for key, _ in IO_STAT}
    for line in read("io", "io.stat").splitlines():
        device, *pairs = line.split()
        major, _, minor = device.partition(":")
        values = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
        for key, columns in IO_STAT:
            tables[key] += [
                compact({"major": int(major), "minor": int(minor), "op": op, "value": int(values[name])})
                for name, op in columns
                if name in values
            ]
    return compact({**tables, "psi": pressure(read("io", "io.pressure"))})
