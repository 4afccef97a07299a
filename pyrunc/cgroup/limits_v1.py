"""`linux.resources` as writes to the files of cgroup v1. Pure; the devices are in devices_v1.py.

As in runc, a limit of 0 is none at all for memory, cpu, blkio and net_cls: engines send it for "not set".
"""

from __future__ import annotations

from pyrunc.cgroup.limits import Write, cpuset, device_number, hugetlb, pids, rdma, refuse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.spec.resources import CPU, BlockIO, Memory, Network, Resources

MIN_SHARES, MAX_SHARES = 2, 262144


def limits_v1(resources: Resources, memory_limit: int = 0) -> list[Write]:
    """Return all writes, in order; `memory_limit` is memory.limit_in_bytes as it is. Raises SpecError."""
    if resources.unified:
        raise refuse(f"{resources.at}.unified", "invalid configuration: cannot use unified on cgroup v1")
    writes: list[Write] = []
    if resources.memory is not None:
        writes += memory(resources.memory, memory_limit)
    if resources.cpu is not None:
        writes += [*cpuset(resources.cpu), *cpu(resources.cpu), *realtime(resources.cpu)]
    writes += pids(resources)
    if resources.block_io is not None:
        writes += block_io(resources.block_io)
    for limit in resources.hugepage_limits:
        writes += hugetlb(limit, "limit_in_bytes", "rsvd.limit_in_bytes")
    if resources.network is not None:
        writes += network(resources.network)
    return writes + rdma(resources)


def before_join(resources: Resources) -> list[Write]:
    """Return what must stand before the first process enters.

    A real-time process (a caller under SCHED_RR hands that on) is refused by a cpu cgroup without real-time
    runtime, and any process by a cpuset without CPUs or memory nodes.
    """
    if resources.cpu is None:
        return []
    return [*cpuset(resources.cpu), *realtime(resources.cpu)]


def memory(limits: Memory, now: int) -> list[Write]:
    """Return the writes for memory, in the order in which the kernel takes them."""
    swap = limits.swap or 0
    if limits.limit == -1 and not swap:
        swap = -1  # memory+swap below memory is refused; without swap accounting there is no such file
    first: list[Write] = []
    if limits.limit:
        first.append(Write("memory", "memory.limit_in_bytes", str(limits.limit), f"{limits.at}.limit"))
    if swap:
        derived = not limits.swap
        at = f"{limits.at}.{'limit' if derived else 'swap'}"
        second = Write("memory", "memory.memsw.limit_in_bytes", str(swap), at, optional=derived)
        # the kernel keeps memory <= memory+swap at every moment, so the one that grows goes first
        first.insert(0 if swap == -1 or (limits.limit and now < swap) else len(first), second)
    return first + _soft_memory(limits)


def _soft_memory(limits: Memory) -> list[Write]:
    writes = []
    if limits.reservation:
        at = f"{limits.at}.reservation"
        writes.append(Write("memory", "memory.soft_limit_in_bytes", str(limits.reservation), at))
    if limits.kernel:
        at = f"{limits.at}.kernel"
        writes.append(Write("memory", "memory.kmem.limit_in_bytes", str(limits.kernel), at, optional=True))
    if limits.kernel_tcp:
        at = f"{limits.at}.kernelTCP"
        file = "memory.kmem.tcp.limit_in_bytes"
        writes.append(Write("memory", file, str(limits.kernel_tcp), at, optional=True))
    if limits.use_hierarchy is not None:
        value = str(int(limits.use_hierarchy))
        writes.append(Write("memory", "memory.use_hierarchy", value, f"{limits.at}.useHierarchy"))
    if limits.disable_oom_killer:
        writes.append(Write("memory", "memory.oom_control", "1", f"{limits.at}.disableOOMKiller"))
    if limits.swappiness is not None:
        writes.append(Write("memory", "memory.swappiness", str(limits.swappiness), f"{limits.at}.swappiness"))
    return writes


def cpu(limits: CPU) -> list[Write]:
    """Return the writes for CPU time. Raises SpecError for shares that the kernel would change in silence."""
    writes = []
    if limits.shares:
        _check_shares(limits.shares, f"{limits.at}.shares")
        writes.append(Write("cpu", "cpu.shares", str(limits.shares), f"{limits.at}.shares"))
    again = bool(
        limits.quota
    )  # old quota / new period may exceed the parent's share until the quota is new too
    if limits.period:
        at = f"{limits.at}.period"
        writes.append(Write("cpu", "cpu.cfs_period_us", str(limits.period), at, again=again))
    if limits.burst is not None:
        at = f"{limits.at}.burst"
        writes.append(Write("cpu", "cpu.cfs_burst_us", str(limits.burst), at, again=again))
    if limits.quota:
        writes.append(Write("cpu", "cpu.cfs_quota_us", str(limits.quota), f"{limits.at}.quota"))
    if limits.idle is not None:
        writes.append(Write("cpu", "cpu.idle", str(limits.idle), f"{limits.at}.idle"))
    return writes


def _check_shares(shares: int, at: str) -> None:
    if shares < MIN_SHARES:
        raise refuse(at, f"the minimum allowed cpu-shares is {MIN_SHARES}")
    if shares > MAX_SHARES:
        raise refuse(at, f"the maximum allowed cpu-shares is {MAX_SHARES}")


def realtime(limits: CPU) -> list[Write]:
    """Return the writes for real-time scheduling: the period first, a runtime above it is refused."""
    writes = []
    if limits.realtime_period:
        at = f"{limits.at}.realtimePeriod"
        writes.append(Write("cpu", "cpu.rt_period_us", str(limits.realtime_period), at))
    if limits.realtime_runtime:
        at = f"{limits.at}.realtimeRuntime"
        writes.append(Write("cpu", "cpu.rt_runtime_us", str(limits.realtime_runtime), at))
    return writes


def block_io(limits: BlockIO) -> list[Write]:
    """Return the writes for block devices; the weights are BFQ's where CFQ is gone (Linux 5.0)."""
    at = limits.at
    writes = []
    if limits.weight:
        weight = str(limits.weight)
        instead = (("blkio.bfq.weight", weight),)
        writes.append(Write("blkio", "blkio.weight", weight, f"{at}.weight", instead))
    if limits.leaf_weight:
        writes.append(Write("blkio", "blkio.leaf_weight", str(limits.leaf_weight), f"{at}.leafWeight"))
    for device in limits.weight_device:
        number = f"{device.major}:{device.minor}"
        if device.weight is None and device.leaf_weight is None:
            raise refuse(device.at, "expected at least one of weight and leafWeight")
        if device.weight:
            line = f"{number} {device.weight}"
            instead = (("blkio.bfq.weight_device", line),)
            writes.append(Write("blkio", "blkio.weight_device", line, f"{device.at}.weight", instead))
        if device.leaf_weight:
            line = f"{number} {device.leaf_weight}"
            writes.append(Write("blkio", "blkio.leaf_weight_device", line, f"{device.at}.leafWeight"))
    return writes + _throttles(limits)


def _throttles(limits: BlockIO) -> list[Write]:
    tables = (
        ("blkio.throttle.read_bps_device", limits.throttle_read_bps_device),
        ("blkio.throttle.write_bps_device", limits.throttle_write_bps_device),
        ("blkio.throttle.read_iops_device", limits.throttle_read_iops_device),
        ("blkio.throttle.write_iops_device", limits.throttle_write_iops_device),
    )
    return [
        Write("blkio", file, f"{device_number(device)} {device.rate}", device.at)
        for file, devices in tables
        for device in devices
    ]


def network(limits: Network) -> list[Write]:
    """Return the writes for network classes and priorities."""
    writes = [
        Write("net_prio", "net_prio.ifpriomap", f"{entry.name} {entry.priority}", entry.at)
        for entry in limits.priorities
    ]
    if limits.class_id:
        writes.append(Write("net_cls", "net_cls.classid", str(limits.class_id), f"{limits.at}.classID"))
    return writes
