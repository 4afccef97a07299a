"""A plan as bytes, as csrc/plan_ops.h has them: header, fixed-size records, one blob of strings."""

from __future__ import annotations

from _struct import Struct, pack

import pyrunc._shim as _shim
from pyrunc.plan.ops import SLOT_NONE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyrunc.plan.ops import Arg, Plan

MAGIC = 0x316E6C50
TRACE = 1
HEADER = Struct("=6I40x")
RECORD = Struct("=6HI5Q")
_FORMAT = "6HI5Q"
_PAD = [(0,) * (5 - n) for n in range(6)]
_NO_ERRNOS = (0, 0, 0, 0)
_ALL = 2**64 - 1


def encode(plan: Plan, *, trace: bool = False) -> bytes:
    """Return the plan as the executor maps it. With `trace` it will tell when each operation ended."""
    blob = Blob()
    fields: list[int] = []
    for op in plan.ops:
        args = op.args
        for arg in args:
            if type(arg) is not int:
                args = tuple(blob.place(args))
                break
        out = op.out
        fields += (op.code, SLOT_NONE if out is None else out, op.skip)  # type: ignore[arg-type]  # numbers since finish()
        tolerate = op.tolerate
        fields += (*tolerate, *_NO_ERRNOS[len(tolerate) :]) if tolerate else _NO_ERRNOS
        fields += args  # type: ignore[arg-type]  # numbers, now that the strings are offsets
        fields += _PAD[len(args)]
    records = pack("=" + _FORMAT * len(plan.ops), *fields)
    strings = blob.data()
    header = HEADER.pack(
        MAGIC,
        _shim.lib.pyrunc_ops_hash(),
        len(plan.ops),
        len(strings),
        len(plan.inputs),
        TRACE if trace else 0,
    )
    return header + records + strings


class Blob:
    """The strings of a plan; equal ones are stored once. The first byte is NUL, so that 0 is the empty
    string."""

    def __init__(self) -> None:
        self.offsets: dict[object, int] = {"": 0}
        self.parts: list[bytes] = [b"\0"]
        self.size = 1

    def place(self, args: Sequence[Arg]) -> list[Arg]:
        """Return the arguments of an operation with offsets in the place of strings."""
        placed = list(args)
        for position, value in enumerate(args):
            if isinstance(value, str):
                offset = self.offsets.get(value)
                placed[position] = self.string(value) if offset is None else offset
            elif isinstance(value, bytes):
                placed[position] = self.constant(value) | len(value) << 32
            elif isinstance(value, tuple):
                placed[position] = self.strings(value) | len(value) << 32  # type: ignore[arg-type]  # of strings by now
        return placed

    def string(self, text: str) -> int:
        """Store a NUL-terminated string."""
        return self._add(text, text.encode("utf-8", "surrogateescape") + b"\0")

    def strings(self, texts: tuple[str, ...]) -> int:
        """Store a run of NUL-terminated strings."""
        if texts not in self.offsets:
            self._add(texts, b"".join([text.encode("utf-8", "surrogateescape") + b"\0" for text in texts]))
        return self.offsets[texts]

    def constant(self, value: bytes) -> int:
        """Store bytes."""
        return self.offsets[value] if value in self.offsets else self._add(value, value)

    def data(self) -> bytes:
        """Return all of it; it ends with a NUL."""
        return b"".join([*self.parts, b"\0"])

    def _add(self, key: object, data: bytes) -> int:
        offset = self.offsets[key] = self.size
        self.parts.append(data)
        self.size += len(data)
        return offset
