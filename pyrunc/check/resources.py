"""Rules on `linux.resources`. Loaded when a config has more than rules on devices."""

from __future__ import annotations

from pyrunc.check.common import is_number_list
from pyrunc.errors import Fault
from pyrunc.spec.jsontext import key_at, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyrunc.check.common import CheckFacts
    from pyrunc.spec.model import BlockIO, Resources, WeightDevice


def check_memory(resources: Resources, _facts: CheckFacts) -> Iterator[Fault]:
    """ME-1: swap is memory and swap together."""
    memory = resources.memory
    if memory and memory.limit and memory.swap and 0 < memory.swap < memory.limit:
        yield Fault(f"{memory.at}.swap", "memory+swap limit should be >= memory limit")


def check_cpu(resources: Resources, _facts: CheckFacts) -> Iterator[Fault]:
    """CP-2: burst is not above a positive quota; CP-3: cpus and mems are lists."""
    cpu = resources.cpu
    if cpu is None:
        return
    if cpu.quota and cpu.burst and 0 < cpu.quota < cpu.burst:
        yield Fault(f"{cpu.at}.burst", f"{cpu.burst} is above the quota {cpu.quota}")
    for key, text in (("cpus", cpu.cpus), ("mems", cpu.mems)):
        if text and not is_number_list(text):
            yield Fault(f"{cpu.at}.{key}", f'{quoted(text)} is not a list such as "0-3,7"')


def check_block_io(resources: Resources, _facts: CheckFacts) -> Iterator[Fault]:
    """BI-1: a weight is 10 to 1000 (0 is unset); BI-2: an entry for a device has a weight."""
    block_io = resources.block_io
    if block_io is None:
        return
    entries: tuple[BlockIO | WeightDevice, ...] = (block_io, *block_io.weight_device)
    for entry in entries:
        for key, weight in (("weight", entry.weight), ("leafWeight", entry.leaf_weight)):
            if weight and not 10 <= weight <= 1000:
                yield Fault(f"{entry.at}.{key}", f"{weight} is not from 10 to 1000")
    for entry in block_io.weight_device:
        if entry.weight is None and entry.leaf_weight is None:
            yield Fault(entry.at, "weight or leafWeight is required")


def check_network(resources: Resources, _facts: CheckFacts) -> Iterator[Fault]:
    """NW-1: the name goes into a line of net_prio.ifpriomap."""
    for entry in resources.network.priorities if resources.network else ():
        if not entry.name or entry.name.split() != [entry.name]:
            yield Fault(f"{entry.at}.name", f"{quoted(entry.name)} is not the name of an interface")


def check_rdma(resources: Resources, _facts: CheckFacts) -> Iterator[Fault]:
    """RD-1: at least one of the two limits; the device's name goes into a line of rdma.max."""
    for device, limits in resources.rdma.items():
        if limits.hca_handles is None and limits.hca_objects is None:
            yield Fault(limits.at, "hcaHandles or hcaObjects is required")
        if device.split() != [device]:
            yield Fault(limits.at, f"{quoted(device)} is not the name of a device")


def check_unified(resources: Resources, _facts: CheckFacts) -> Iterator[Fault]:
    """UN-5: a key is the name of a file in the container's cgroup, never a way out of it."""
    for key in resources.unified:
        if "/" in key:
            message = f"unified resource {quoted(key)} must be a file name (no slashes)"
            yield Fault(key_at("linux.resources.unified", key), message)
        elif key in ("", ".", ".."):
            yield Fault("linux.resources.unified", f"unified resource {quoted(key)} must be a file name")


CHECKS = (
    check_memory,
    check_cpu,
    check_block_io,
    check_network,
    check_rdma,
    check_unified,
)
