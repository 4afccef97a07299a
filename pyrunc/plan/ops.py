"""Operations and plans as values, and the one list of operations as the shim hands it over
(csrc/plan_ops.h)."""

from __future__ import annotations

import pyrunc._shim as _shim
from pyrunc._record import record as _record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dataclasses import dataclass as record
    from typing import TypeAlias

    Arg: TypeAlias = "int | str | bytes | tuple[str, ...] | Slot | tuple[Slot, Slot]"
else:
    record = _record

SLOT_NONE = 0xFFFF
SLOT_CWD = 0xFFFE
SLOT_TALK = 3
FIRST_INPUT = 4
SLOTS = 64


class Slot:
    """A variable of the plan: an fd. `more` slots after it are filled by the same operation, with the
    numbers after its own."""

    __slots__ = ("born", "era", "last", "more", "number")

    def __init__(self, era: str, born: int, number: int = -1) -> None:
        self.era = era
        self.born = born
        self.last = born
        self.number = number
        self.more: tuple[Slot, ...] = ()


@record
class Signature:
    """One entry of the list of operations: its number is its place there."""

    name: str
    makes: bool
    """It fills a slot."""
    args: tuple[tuple[str, str], ...]
    """(name, type) of each argument."""
    text: str


def signatures() -> tuple[Signature, ...]:
    """Return the list of operations in full. Compiling and encoding need only the names: a test holds the arguments that
    the builder writes to their types."""
    found = []
    lines = _shim.ffi.string(_shim.lib.pyrunc_ops_text()).decode().splitlines()
    for name, signature, text in [line.split("\t") for line in lines]:
        words = signature.split()
        makes = words[:1] == [">"]
        pairs = [word.partition(":") for word in words[makes:]]
        found.append(Signature(name, makes, tuple([(arg, kind) for arg, _, kind in pairs]), text))
    return tuple(found)


NAMES: tuple[str, ...] = tuple(_shim.ffi.string(_shim.lib.pyrunc_ops_names()).decode().split())
CODES = {name: code for code, name in enumerate(NAMES)}


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
        if self.name == "SETATTR":
            return _cleared(int(self.args[3]))  # type: ignore[arg-type]  # by the signature
        if self.name == "FSCONFIG":
            _, _, key, value = self.args
            return f"{key!s}={value!s}" if value else str(key)
        if not [arg for arg in self.args if isinstance(arg, str)]:
            return ""  # so it is with every question of the executor: no need to read the list of operations
        types = [kind for _, kind in signatures()[self.code].args]
        for arg, kind in zip(self.args, types, strict=True):
            if kind == "path":
                return f"/{arg!s}" if self.args[0] != SLOT_CWD and "slot" in types else str(arg)
            if kind == "str":
                return str(arg)
        return ""


def _cleared(attrs: int) -> str:
    """Return what a SETATTR takes away: the kernel may have locked it."""
    from pyrunc.plan.kernel import MOUNT_ATTR__ATIME
    from pyrunc.plan.names import TABLES

    flags = attrs & ~MOUNT_ATTR__ATIME
    names = "|".join([f"MS_{name}" for bit, name in TABLES["mattr"] if flags & bit])
    return f"clear {names}" if flags else "atime" if attrs else ""


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
