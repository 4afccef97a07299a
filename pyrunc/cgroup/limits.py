"""A limit on its way from `linux.resources` to a file, and what v1 and v2 have in common."""

from __future__ import annotations

from pyrunc._record import record
from pyrunc.errors import Fault, SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.spec.resources import CPU, HugepageLimit, Rdma, Resources, ThrottleDevice

MAX = "max"


@record
class Write:
    """One value for one file of a cgroup."""

    controller: str
    """As runc names it in messages: cpu, memory, blkio, ..."""
    file: str
    value: str
    at: str
    """The path in config.json, "linux.resources.memory.limit"."""
    instead: tuple[tuple[str, str], ...] = ()
    """Other (file, value) pairs to take, in order, where this kernel has no such file."""
    optional: bool = False
    """A kernel without the file, or one that no longer has the limit, is no error: Manager.warnings tells."""
    named: bool = False
    """The user has named the file itself (`unified`); its controller is a guess."""
    again: bool = False
    """EINVAL may come of the old value of another file: written again after all the others."""


def refuse(at: str, message: str) -> SpecError:
    """Return the error for a value that no kernel would take as it is meant."""
    return SpecError([Fault(at, message)])


def rdma_value(at: str, device: str, limit: Rdma) -> str:
    """Return a line for rdma.max (RD-1: one of the two numbers at least)."""
    words = [device]
    if limit.hca_handles is not None:
        words.append(f"hca_handle={limit.hca_handles}")
    if limit.hca_objects is not None:
        words.append(f"hca_object={limit.hca_objects}")
    if len(words) == 1:
        raise refuse(at, "expected at least one of hcaHandles and hcaObjects")
    return " ".join(words)


def cpuset(limits: CPU) -> list[Write]:
    """Return the writes for CPUs and memory nodes, the same on v1 and v2."""
    writes = []
    if limits.cpus:
        writes.append(Write("cpuset", "cpuset.cpus", limits.cpus, f"{limits.at}.cpus"))
    if limits.mems:
        writes.append(Write("cpuset", "cpuset.mems", limits.mems, f"{limits.at}.mems"))
    return writes


def rdma(resources: Resources) -> list[Write]:
    """Return the writes for `rdma`, the same on v1 and v2."""
    writes = []
    for device, limit in resources.rdma.items():
        at = f'{resources.at}.rdma["{device}"]'
        writes.append(Write("rdma", "rdma.max", rdma_value(at, device, limit), at))
    return writes


def hugetlb(limit: HugepageLimit, fault_file: str, reserve_file: str) -> list[Write]:
    """Return the writes for one page size: the limit on faults, then on reservations where the kernel has it.

    HP-2 wants the second; the first bounds kernels and mappings (MAP_NORESERVE) that reserve nothing.
    """
    size = limit.page_size
    at = f"{limit.at}.limit"
    return [
        Write("hugetlb", f"hugetlb.{size}.{fault_file}", str(limit.limit), at),
        Write("hugetlb", f"hugetlb.{size}.{reserve_file}", str(limit.limit), at, optional=True),
    ]


def device_number(device: ThrottleDevice) -> str:
    """Return "MAJOR:MINOR"."""
    return f"{device.major}:{device.minor}"


def pids(resources: Resources) -> list[Write]:
    """Return the write for `pids.limit`: negative is unlimited, 0 a limit like any other (PD-2)."""
    if resources.pids is None or resources.pids.limit is None:
        return []
    limit = resources.pids.limit
    return [Write("pids", "pids.max", MAX if limit < 0 else str(limit), f"{resources.pids.at}.limit")]
