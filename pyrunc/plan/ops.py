"""Operations and plans as values, and the one list of operations as the shim hands it over
(csrc/plan_ops.h)."""

from __future__ import annotations

import pyrunc._shim as _shim
from pyrunc._record import record as _record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dataclasses import dataclass as record
    from typing import TypeAlias

    from pyrunc.plan.builder import Slot

    Arg: TypeAlias = int | str | bytes | tuple[str, ...] | Slot | tuple[Slot, Slot]
else:
    record = _record

SLOT_NONE = 0xFFFF
SLOT_CWD = 0xFFFE
SLOT_TALK = 3
FIRST_INPUT = 4
SLOTS = 64


@record
class Signature:
    """One entry of the list of operations: its number is its place there."""

    name: str
    makes: bool
    """It fills a slot."""
    args: tuple[tuple[str, str], ...]
    """(name, type) of each argument."""
    text: str


def _lines() -> list[list[str]]:
    """Return the shim's list: name, signature and text of each operation."""
    text = _shim.ffi.string(_shim.lib.pyrunc_ops_text()).decode()
    return [line.split("\t") for line in text.splitlines()]


def signatures() -> tuple[Signature, ...]:
    """Return the list of operations in full; what encoding needs of it stands in the tables below."""
    found = []
    for name, signature, text in _lines():
        words = signature.split()
        makes = words[:1] == [">"]
        pairs = [word.partition(":") for word in words[makes:]]
        found.append(Signature(name, makes, tuple([(arg, kind) for arg, _, kind in pairs]), text))
    return tuple(found)


_LINES = _lines()
NAMES = tuple([line[0] for line in _LINES])
CODES = {name: code for code, name in enumerate(NAMES)}
_TYPES = [[word.partition(":")[2] for word in line[1].removeprefix(">").split()] for line in _LINES]
SLOT_ARGS = tuple([tuple([i for i, kind in enumerate(types) if kind == "slot"]) for types in _TYPES])
"""By code: which arguments are slots."""
_STORED = {"path", "str", "bytes", "strs"}
BLOB_ARGS = tuple([tuple([(i, kind) for i, kind in enumerate(types) if kind in _STORED]) for types in _TYPES])
"""By code: which arguments live in the blob, and how."""


class Op:
    """One operation. `args` follow the signature; slots are numbers once the builder has finished.

    `skip` operations are skipped when it fails with one of `tolerate`. `about` is the user's name for what
    the operation is about, where its arguments do not say it.
    """

    __slots__ = ("about", "args", "at", "code", "out", "skip", "tolerate")

    def __init__(self, code: int, args: tuple[Arg, ...], at: str, out: Slot | None = None) -> None:
        self.code = code
        self.args = args
        self.at = at
        self.out: Slot | int | None = out
        self.skip = 0
        self.tolerate: tuple[int, ...] = ()
        self.about = ""

    @property
    def name(self) -> str:
        """Its name in the list of operations."""
        return NAMES[self.code]

    def subject(self) -> str:
        """Return what it is about, for a message: a path, a file system, a value."""
        if self.about:
            return self.about
        if self.name == "FSCONFIG":
            _, _, key, value = self.args
            return f"{key!s}={value!s}" if value else str(key)
        for position, kind in BLOB_ARGS[self.code]:
            arg = str(self.args[position])
            if kind == "path":
                below = self.args[0] != SLOT_CWD and SLOT_ARGS[self.code]
                return f"/{arg}" if below else arg
            if kind == "str":
                return arg
        return ""


@record
class Plan:
    """A whole plan: what the executor will do, and what it must be given."""

    ops: tuple[Op, ...]
    clone_flags: int
    """Namespaces that the executor is spawned into (CLONE_NEW*)."""
    inputs: tuple[str, ...]
    """Names of the descriptors that arrive as slots 4, 5, ...: "listener", "console", "ns:" and the origin
    of a namespace."""
    preserve: int
    """Descriptors 3 .. 3+n-1 of the caller go into the container."""
    warnings: tuple[str, ...]

    @property
    def forks(self) -> bool:
        """Whether the container's process is a child of the process that was spawned."""
        return any(op.code == _FORK for op in self.ops)


_FORK = CODES["FORK"]
