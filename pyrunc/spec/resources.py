"""What config.json says about the container's cgroup: `linux.resources`. `model.py` tells how to read it."""

from __future__ import annotations

from pyrunc.spec.declare import Enum, Int, List, Map, Node, need, opt
from pyrunc.spec.values import (
    ANY_MAJOR,
    ANY_MINOR,
    BOOL,
    BYTES,
    INT64,
    MAJOR,
    MINOR,
    PAGE_SIZE,
    STR,
    STRING_MAP,
    UINT16,
    UINT32,
    UINT64,
)  # fmt: skip

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


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
    "Some of `r`, `w` and `m` (mknod); all three when absent."


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

    page_size: str = need(PAGE_SIZE)
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
