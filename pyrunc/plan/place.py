"""The last pass over a plan's operations: a CLOSE after the last use of each slot, real slot numbers,
distances of skips.

A guard and its target enclose a region that may be skipped. A slot that was opened before a region is
closed behind it, even when its last use is inside: the skip would jump over the CLOSE otherwise. A slot
that was opened inside (by the guard itself, too) is closed inside: where it was skipped it is empty.
"""

from __future__ import annotations

from pyrunc.errors import BugError
from pyrunc.plan.ops import CODES, FIRST_INPUT, SLOTS, Op, Slot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.plan.builder import Builder, Guard

_CLOSE, _CLOSEFROM, _SPAWN = CODES["CLOSE"], CODES["CLOSEFROM"], CODES["SPAWN"]


class Region:
    """The operations between a guard and its target, and the region around it. The outermost have depth 1."""

    __slots__ = ("around", "depth", "start", "target")

    def __init__(self, guard: Guard, around: Region | None) -> None:
        self.start: int = guard.index
        self.target: int = guard.target
        self.around: Region | None = around
        self.depth: int = around.depth + 1 if around else 1


def place(builder: Builder) -> list[Op]:
    """Return the finished operations of a builder."""
    _find_last_uses(builder.ops)
    regions, inside = _find_regions(builder.guards, len(builder.ops))
    closes = _place_closes(builder, inside)
    ops, landings = _merge(builder.ops, closes, regions)
    for start, target in landings:
        ops[start].skip = target - start - 1
    _number(ops, len(builder.inputs))
    return ops


def _find_last_uses(ops: list[Op]) -> None:
    for index, op in enumerate(ops):
        for arg in op.args:
            if type(arg) is Slot:
                arg.last = index
        if op.code == _SPAWN:
            pair: Any = op.args[3]  # the slots for stdin and output
            for slot in pair:
                slot.last = index


def _find_regions(guards: list[Guard], count: int) -> tuple[list[Region], dict[int, Region]]:
    """Return the regions, and by index the innermost region that an operation is in. Regions nest, they
    never overlap."""
    regions: list[Region] = []
    inside: dict[int, Region] = {}
    for guard in sorted(guards, key=lambda guard: guard.index):
        if not guard.index < guard.target <= count:
            raise BugError(f"a skip from operation {guard.index} never lands")
        around = inside.get(guard.index)
        if around and guard.target > around.target:
            raise BugError(f"the skips from operations {around.start} and {guard.index} overlap")
        region = Region(guard, around)
        regions.append(region)
        for index in range(guard.index + 1, guard.target):
            inside[index] = region
    return regions, inside


def _place_closes(builder: Builder, inside: dict[int, Region]) -> dict[int, list[tuple[int, Slot]]]:
    """Return by index the slots to close before that operation, each with the depth of the region that its
    CLOSE is in."""
    closes: dict[int, list[tuple[int, Slot]]] = {}
    end = _end_of_slots(builder.ops)
    for slot in builder.slots:
        if slot.last >= end:
            continue
        position, region = slot.last + 1, inside.get(slot.last)
        if region or inside:
            born = inside.get(slot.born)
            if born and slot.last >= born.target:
                raise BugError(f"a slot of operation {slot.born} is used behind a skip over that operation")
            while region and slot.born < region.start:
                position, region = region.target, region.around
        if position < end:
            closes.setdefault(position, []).append((region.depth if region else 0, slot))
    return closes


def _end_of_slots(ops: list[Op]) -> int:
    """Return the index of CLOSEFROM, which closes whatever is left, or that of the last operation."""
    for index in range(len(ops) - 1, -1, -1):
        if ops[index].code == _CLOSEFROM:
            return index
    return len(ops)


def _merge(
    ops: list[Op], closes: dict[int, list[tuple[int, Slot]]], regions: list[Region]
) -> tuple[list[Op], list[tuple[int, int]]]:
    """Put the CLOSEs between the operations; return them all, and where each guard and its target are now."""
    targets: dict[int, list[Region]] = {}
    starts: dict[int, Region] = {}
    for region in regions:
        targets.setdefault(region.target, []).append(region)
        starts[region.start] = region
    merged: list[Op] = []
    begin: dict[Region, int] = {}
    landings: list[tuple[int, int]] = []
    for index in range(len(ops) + 1):
        here = closes.get(index)
        if here and len(here) > 1:
            here.sort(key=lambda entry: -entry[0])
        for region in targets.get(index, ()):
            inner = sum(depth >= region.depth for depth, _ in here or ())
            landings.append((begin[region], len(merged) + inner))
        if here:
            at = ops[index - 1].at if index else ops[0].at
            merged.extend([Op(_CLOSE, (slot,), at) for _, slot in here])
        if index < len(ops):
            if index in starts:
                begin[starts[index]] = len(merged)
            merged.append(ops[index])
    return merged, landings


def _number(ops: list[Op], inputs: int) -> None:
    """Give out slot numbers by linear scan: at its birth a slot takes the lowest free ones, its CLOSE gives
    them back."""
    free = (1 << SLOTS) - (1 << FIRST_INPUT + inputs)
    for op in ops:
        code = op.code
        op.args = tuple([arg.number if type(arg) is Slot else arg for arg in op.args])
        if code == _CLOSE:
            free |= 1 << op.args[0]  # type: ignore[operator]  # the number of its slot
        elif code == _SPAWN:
            args: list[Any] = list(op.args)
            low, high = args[3]
            args[3] = low.number | high.number << 16
            op.args = tuple(args)
        out: Any = op.out
        if out is not None:
            op.out, free = _take(free, len(out.more))
            for number, slot in enumerate((out, *out.more), op.out):
                slot.number = number


def _take(free: int, more: int) -> tuple[int, int]:
    """Return the lowest of 1 + more free numbers in a row, and what is free afterwards."""
    fits = free
    for shift in range(1, more + 1):
        fits &= free >> shift
    if not fits:
        raise BugError(f"a plan has {SLOTS} slots, and all are taken")
    low = fits & -fits
    return low.bit_length() - 1, free & ~((low << more + 1) - low)
