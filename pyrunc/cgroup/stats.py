"""What a cgroup has used, in the shape of runc's `events`: keys, order, units, and what is left out when it is zero.

Times are nanoseconds, sizes are bytes. Go's encoder leaves out empty values of some fields only; `compact` is that rule.
"""

from __future__ import annotations

from errno import EIO, ENODEV, ENOENT, EOPNOTSUPP

from pyrunc.cgroup import tree
from pyrunc.errors import HostError, OpError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, TypeAlias

    from pyrunc.cgroup.manager import Manager, Place

    Read: TypeAlias = Callable[[str, str], str]
    """(controller, file) -> its content, "" where there is none"""
    Section: TypeAlias = dict[str, Any]

FAILED = "unable to get container cgroup stats"
UNLIMITED = 2**64 - 1
ABSENT = frozenset({ENOENT, ENODEV, EOPNOTSUPP})
"""No such file; the limit or the accounting is switched off (cgroup_disable=pressure)."""


def stats_of(manager: Manager) -> Section:
    """Return the statistics of a container's cgroup now. Raises HostError without a cgroup, OpError when it is gone."""
    if not manager.places:
        raise HostError(f"{FAILED}: cgroups not configured for container")
    from pyrunc.cgroup.v1 import ManagerV1

    try:
        if isinstance(manager, ManagerV1):
            from pyrunc.cgroup.stats_v1 import stats_v1

            return stats_v1(_reader(manager, manager.place_of))
        from pyrunc.cgroup.stats_v2 import stats_v2

        return stats_v2(_reader(manager, lambda _controller: manager.places[0]))
    except OSError as error:
        raise OpError(FAILED, error.errno or EIO) from None


def _reader(manager: Manager, place_of: Callable[[str], Place | None]) -> Read:
    def read(controller: str, file: str) -> str:
        place = place_of(controller)
        if place is None:
            return ""
        fd = manager.fd_of(place)  # a cgroup that is gone is an error, a file that is not there is none
        try:
            return tree.read_at(fd, file)
        except OSError as error:
            if error.errno not in ABSENT:
                raise
            return ""

    return read


def compact(values: Mapping[str, object]) -> Section:
    """Return what is not zero, empty or absent (Go's omitempty)."""
    return {key: value for key, value in values.items() if value or isinstance(value, float)}


def whole(values: Section) -> Section | None:
    """Return a section, None when all of it is zero (Go's omitzero)."""
    return values if any(values.values()) else None


def number(text: str) -> int:
    """Return the number of a file: 2^64-1 for "max", 0 for a missing file or a negative number, as runc has it."""
    text = text.strip()
    if text == "max":
        return UNLIMITED
    return max(int(text), 0) if text else 0


def flat(text: str) -> dict[str, int]:
    """Return the pairs of a flat-keyed file, sorted by key (Go sorts maps)."""
    pairs = (line.split() for line in text.splitlines())
    return dict(sorted((pair[0], int(pair[1])) for pair in pairs if len(pair) == 2))


def memory_entry(usage: int, peak: int, limit: int, failures: int) -> Section:
    """Return limit, usage, peak and the number of times that the limit was hit."""
    return {"limit": limit, **compact({"usage": usage, "max": peak}), "failcnt": failures}


def cpu_section(usage: Section, periods: int, throttled: int, throttled_time: int, psi: object) -> Section:
    """Return the CPU section; `usage` has kernel and user in any case."""
    kernel_user = {"kernel": usage.pop("kernel"), "user": usage.pop("user")}
    throttling = compact({"periods": periods, "throttledPeriods": throttled, "throttledTime": throttled_time})
    return compact({"usage": whole({**compact(usage), **kernel_user}), "throttling": throttling, "psi": psi})


def pids_section(current: str, limit: str) -> Section:
    """Return the tasks; no limit is 0, and then not shown."""
    return compact({"current": number(current), "limit": 0 if limit.strip() == "max" else number(limit)})


def pressure(text: str) -> Section | None:
    """Return a *.pressure file (PSI), None where the kernel has none."""
    made: Section = {}
    for line in text.splitlines():
        kind, *pairs = line.split()
        values = dict(pair.split("=", 1) for pair in pairs)
        averages: Section = {key: float(values.get(key, 0)) for key in ("avg10", "avg60", "avg300")}
        made[kind] = {**averages, "total": int(values.get("total", 0))}
    zero = {"avg10": 0.0, "avg60": 0.0, "avg300": 0.0, "total": 0}
    return {kind: made.get(kind, zero) for kind in ("some", "full")} if made else None


def pressures_of(manager: Manager) -> dict[str, float]:
    """Return how much of the last ten seconds some task stood waiting for CPU, memory and I/O, in percent.

    The unified hierarchy of a hybrid host has that too, which runc does not look at.
    """
    places = [place for place in manager.places if not place.controllers]
    found: dict[str, float] = {}
    for kind in ("cpu", "memory", "io") if places else ():
        section = pressure(_reader(manager, lambda _controller: places[0])(kind, f"{kind}.pressure"))
        if section is not None:
            found[kind] = section["some"]["avg10"]
    return found


def cpu_list(text: str) -> list[int]:
    """Return the numbers of "0-3,7"."""
    numbers: list[int] = []
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        numbers += range(int(first), int(last or first) + 1)
    return numbers


def huge_page_sizes() -> list[str]:
    """Return the sizes of huge pages that the kernel has, as cgroup files name them: 2MB, 1GB."""
    from pyrunc import _os as os

    try:
        names = os.listdir("/sys/kernel/mm/hugepages")
    except FileNotFoundError:
        return []
    sizes = sorted(int(name.removeprefix("hugepages-").removesuffix("kB")) for name in names)
    return [_size_name(size) for size in sizes]


def _size_name(kilobytes: int) -> str:
    for power, unit in ((20, "GB"), (10, "MB")):
        if kilobytes >> power and not kilobytes & ((1 << power) - 1):
            return f"{kilobytes >> power}{unit}"
    return f"{kilobytes}KB"


def hugetlb_section(read: Read, usage: str, peak: str, failures: Callable[[str], int]) -> Section:
    """Return the huge pages by size: of reservations where the kernel counts them, else of faults (as runc)."""
    made: Section = {}
    for size in huge_page_sizes():
        for prefix in (f"hugetlb.{size}.rsvd", f"hugetlb.{size}"):
            text = read("hugetlb", f"{prefix}.{usage}")
            if text:
                most = number(read("hugetlb", f"{prefix}.{peak}")) if peak else 0
                shown = compact({"usage": number(text), "max": most})
                made[size] = {**shown, "failcnt": failures(prefix)}
                break
    return made


def cpuset_section(values: Mapping[str, int], cpus: str, mems: str) -> Section:
    """Return the cpuset section: numbers are there in any case, lists where they are known."""
    made: Section = compact({"cpus": cpu_list(cpus)})
    made["cpu_exclusive"] = values.get("cpu_exclusive", 0)
    made |= compact({"mems": cpu_list(mems)})
    return made | {key: values.get(key, 0) for key in CPUSET_FLAGS[1:]}


CPUSET_FLAGS = (
    "cpu_exclusive", "mem_hardwall", "mem_exclusive", "memory_migrate", "memory_spread_page",
    "memory_spread_slab", "memory_pressure", "sched_load_balance", "sched_relax_domain_level",
)  # fmt: skip


def document(
    cpu: Section, cpuset: Section, memory: Section, pids: Section, blkio: Section, hugetlb: Section
) -> Section:
    """Put the sections in runc's order; resctrl and network interfaces are not the cgroup's."""
    return {
        "cpu": cpu,
        "cpuset": cpuset,
        "memory": memory,
        "pids": pids,
        "blkio": blkio,
        "hugetlb": hugetlb,
        "intel_rdt": {},
        "network_interfaces": None,
    }
