"""`linux.resources` as writes to the files of cgroup v2, converted from v1's terms as runc does. Pure.

As in runc, a limit of 0 is none at all for memory, cpu and weights: engines send it for "not set".
"""

from __future__ import annotations

from pyrunc.cgroup.limits import MAX, Write, cpuset, device_number, hugetlb, pids, rdma, refuse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.spec.resources import CPU, BlockIO, Memory, Resources, ThrottleDevice

MIN_SHARES, MAX_SHARES = 2, 262144
MAX_WEIGHT = 10000
DEFAULT_PERIOD = 100000
DOMAIN_CONTROLLERS = frozenset({"memory", "io", "hugetlb"})
"""Controllers that a threaded cgroup cannot have; runc counts cpu among them, the kernel does not."""


def limits_v2(resources: Resources) -> list[Write]:
    """Return all writes, in order; `unified` comes last and overrides; devices are in devices_v2.py. Raises SpecError."""
    if resources.network is not None and (resources.network.class_id or resources.network.priorities):
        raise refuse(resources.network.at, "cgroup v2 has no counterpart of net_cls and net_prio")
    writes = pids(resources)
    if resources.memory is not None:
        writes += memory(resources.memory)
    if resources.block_io is not None:
        writes += block_io(resources.block_io)
    if resources.cpu is not None:
        writes += [*cpu(resources.cpu), *cpuset(resources.cpu)]
    for limit in resources.hugepage_limits:
        writes += hugetlb(limit, "max", "rsvd.max")
    return [*writes, *rdma(resources), *unified(resources)]


def ignored(resources: Resources) -> tuple[str, ...]:
    """Return a warning for each setting that v2 has no counterpart of, and that runc ignores as well."""
    limits = resources.memory
    if limits is None:
        return ()
    given = (
        ("kernel", bool(limits.kernel)),
        ("kernelTCP", bool(limits.kernel_tcp)),
        ("swappiness", limits.swappiness is not None),
        ("disableOOMKiller", bool(limits.disable_oom_killer)),
        ("useHierarchy", limits.use_hierarchy is False),
    )
    return tuple(
        [f"{limits.at}.{key}: ignored: cgroup v2 has no such setting" for key, set_ in given if set_]
    )


def number(value: int) -> str:
    """Return a limit as v2 writes it: -1 is "max"."""
    return MAX if value == -1 else str(value)


def swap_max(limit: int, swap: int) -> str | None:
    """Return memory.swap.max for v1's two limits; None leaves it alone. Raises ValueError."""
    if not swap:
        # v1 would let swap follow a memory limit that is lifted
        return MAX if limit == -1 else None
    if swap == -1 or limit == -1:
        return number(swap)
    if not limit:
        raise ValueError("unable to set swap limit without memory limit")
    if swap < limit:
        raise ValueError("memory+swap limit should be >= memory limit")
    return str(swap - limit)


def memory(limits: Memory) -> list[Write]:
    """Return the writes for memory."""
    writes = []
    try:
        swap = swap_max(limits.limit or 0, limits.swap or 0)
    except ValueError as error:
        raise refuse(f"{limits.at}.swap", str(error)) from None
    if swap is not None:
        at = f"{limits.at}.{'swap' if limits.swap else 'limit'}"
        # a kernel without swap accounting has no file, and no need to be told all or nothing
        writes.append(Write("memory", "memory.swap.max", swap, at, optional=swap in {MAX, "0"}))
    if limits.limit:
        writes.append(Write("memory", "memory.max", number(limits.limit), f"{limits.at}.limit"))
    if limits.reservation:
        at = f"{limits.at}.reservation"
        writes.append(Write("memory", "memory.low", number(limits.reservation), at))
    return writes


def weight_of_shares(shares: int) -> int:
    """Return cpu.weight for v1's cpu.shares: ceil(10^((l² + 125 l) / 612 - 7/34)), l = log2(shares).

    runc's formula since 1.3.2. It maps the least, the default and the greatest (2, 1024, 262144) to the
    least, the default and the greatest (1, 100, 10000); the linear one before it did not.
    """
    if shares <= MIN_SHARES:
        return 1
    if shares >= MAX_SHARES:
        return MAX_WEIGHT
    from math import ceil, log2

    power = log2(shares)
    return ceil(10 ** ((power * power + 125 * power) / 612 - 7 / 34))


def cpu(limits: CPU) -> list[Write]:
    """Return the writes for CPU time."""
    at = limits.at
    for key, value in (
        ("realtimeRuntime", limits.realtime_runtime),
        ("realtimePeriod", limits.realtime_period),
    ):
        if value:
            raise refuse(f"{at}.{key}", "cgroup v2 has no counterpart of real-time groups")
    writes = []
    if limits.shares:
        writes.append(Write("cpu", "cpu.weight", str(weight_of_shares(limits.shares)), f"{at}.shares"))
    if limits.burst is not None:
        writes.append(
            Write(
                "cpu",
                "cpu.max.burst",
                str(limits.burst),
                f"{at}.burst",
                again=bool(limits.quota or limits.period),
            )
        )
    if limits.quota or limits.period:
        quota = str(limits.quota) if limits.quota and limits.quota > 0 else MAX
        key = "quota" if limits.quota else "period"
        writes.append(Write("cpu", "cpu.max", f"{quota} {limits.period or DEFAULT_PERIOD}", f"{at}.{key}"))
    if limits.idle is not None:
        # after the weight: the kernel refuses a weight for what is idle
        writes.append(Write("cpu", "cpu.idle", str(limits.idle), f"{at}.idle"))
    return writes


def io_weight(weight: int) -> int:
    """Return io.weight (1 to 10000) for v1's blkio.weight (10 to 1000), as runc does."""
    return max(1 + (weight - 10) * 9999 // 990, 1)


def block_io(limits: BlockIO) -> list[Write]:
    """Return the writes for block devices; BFQ's weight, in v1's range, is taken where there is one."""
    at = limits.at
    writes = []
    if limits.leaf_weight:
        raise refuse(f"{at}.leafWeight", "cgroup v2 has no counterpart of leaf weights")
    if limits.weight:
        instead = (("io.weight", str(io_weight(limits.weight))),)
        writes.append(Write("io", "io.bfq.weight", str(limits.weight), f"{at}.weight", instead))
    for device in limits.weight_device:
        if device.leaf_weight:
            raise refuse(f"{device.at}.leafWeight", "cgroup v2 has no counterpart of leaf weights")
        if device.weight is None:
            raise refuse(device.at, "expected a weight")
        if device.weight:
            major_minor = f"{device.major}:{device.minor}"
            instead = (("io.weight", f"{major_minor} {io_weight(device.weight)}"),)
            line = f"{major_minor} {device.weight}"
            writes.append(Write("io", "io.bfq.weight", line, f"{device.at}.weight", instead))
    return [
        *writes,
        *_throttle("rbps", limits.throttle_read_bps_device),
        *_throttle("wbps", limits.throttle_write_bps_device),
        *_throttle("riops", limits.throttle_read_iops_device),
        *_throttle("wiops", limits.throttle_write_iops_device),
    ]


def _throttle(key: str, devices: tuple[ThrottleDevice, ...]) -> list[Write]:
    # a rate of 0 lifts the limit on v1
    return [
        Write("io", "io.max", f"{device_number(device)} {key}={device.rate or MAX}", device.at)
        for device in devices
    ]


def unified(resources: Resources) -> list[Write]:
    """Return the writes for `unified`; keys are names of files, known or not (UN-2). Raises SpecError."""
    writes: list[Write] = []
    for key, value in resources.unified.items():
        at = f'{resources.at}.unified["{key}"]'
        if "/" in key or key in {"", ".", ".."}:
            raise refuse(at, f'unified resource "{key}" must be a file name (no slashes)')
        lines = value.splitlines() or [""]  # a line a write: io.max takes one device at a time
        writes += [Write(key.partition(".")[0], key, line, at, named=True) for line in lines]
    return writes
