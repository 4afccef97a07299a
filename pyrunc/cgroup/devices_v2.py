"""Device rules as a BPF program for a cgroup of v2, and its place there.

The kernel asks the program about each open and mknod: which device (type, major, minor), which of read, write and mknod,
often several at once. The rules are tried from the last to the first, so that the last one wins: one that allows takes its
letters from what is still asked for, one that denies a letter which is still asked for ends it. What no rule speaks of is
denied. Unlike the lists of exceptions of v1, this can hold any order of rules.
"""

from __future__ import annotations

from _struct import Struct

from pyrunc import _os as os
from pyrunc._record import record
from pyrunc.cgroup.devices import ALL, DEFAULTS, access_of, number_of, types_of
from pyrunc.cgroup.limits import refuse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyrunc.spec.resources import DeviceRule

BLOCK, CHAR = 1, 2
MKNOD, READ, WRITE = 1, 2, 4
LETTERS = {"r": READ, "w": WRITE, "m": MKNOD}
EVERY_ACCESS = MKNOD | READ | WRITE
TYPES = {"b": BLOCK, "c": CHAR}
LARGEST = 0xFFFFFFFF

_INSTRUCTION = Struct("=BBhi")
RESULT, CONTEXT, TYPE, WANTED, MAJOR, MINOR = range(6)
"""The registers: r0 to r5."""

# Operations, by the names of include/uapi/linux/bpf.h; all on 32 bits.
LDX_W, MOV_K, MOV_X, AND_K, RSH_K, EXIT = 0x61, 0xB4, 0xBC, 0x54, 0x74, 0x95
JA, JNE_K, JSET_K = 0x05, 0x56, 0x46


@record
class Match:
    """One rule for one type of device; None stands for all."""

    allow: bool
    type: int | None
    major: int | None
    minor: int | None
    access: int


def matches(rules: Iterable[DeviceRule]) -> list[Match]:
    """Return the rules in their order, the default devices last. Raises SpecError."""
    found = []
    for rule in rules:
        types = types_of(rule)
        found.append(
            Match(
                allow=rule.allow,
                type=None if len(types) > 1 else TYPES[types],
                major=_number(rule.major, f"{rule.at}.major"),
                minor=_number(rule.minor, f"{rule.at}.minor"),
                access=_mask(access_of(rule)),
            )
        )
    defaults = [
        Match(
            allow=True, type=TYPES[kind], major=_default(major), minor=_default(minor), access=_mask(access)
        )
        for kind, major, minor, access in DEFAULTS
    ]
    return found + defaults


def _mask(access: str) -> int:
    return sum([LETTERS[letter] for letter in access])


def _default(number: str) -> int | None:
    return None if number == ALL else int(number)


def _number(number: int | None, at: str) -> int | None:
    text = number_of(number)
    if text != ALL and int(text) > LARGEST:
        raise refuse(at, f"{text} is more than any device has")
    return _default(text)


def _op(code: int, register: int = 0, source: int = 0, offset: int = 0, value: int = 0) -> bytes:
    return _INSTRUCTION.pack(
        code, source << 4 | register, offset, value - (1 << 32) if value >> 31 else value
    )


def _end(result: int) -> bytes:
    return _op(MOV_K, RESULT, value=result) + _op(EXIT)


PROLOGUE = b"".join(
    [
        _op(
            LDX_W, WANTED, CONTEXT, 0
        ),  # bpf_cgroup_dev_ctx: access_type, which is access << 16 | type; major; minor
        _op(MOV_X, TYPE, WANTED),
        _op(AND_K, TYPE, value=0xFFFF),
        _op(RSH_K, WANTED, value=16),
        _op(LDX_W, MAJOR, CONTEXT, 4),
        _op(LDX_W, MINOR, CONTEXT, 8),
        _op(JNE_K, WANTED, offset=2, value=0),
        _end(1),  # access(2) with F_OK asks for nothing
    ]
)


def program(rules: Iterable[Match]) -> bytes:
    """Return the instructions that decide as the rules do, the last that speaks of a letter first. Pure."""
    code = [PROLOGUE]
    for rule in reversed(list(rules)):
        verdict = _verdict(rule)
        tests = [(TYPE, rule.type), (MAJOR, rule.major), (MINOR, rule.minor)]
        wanted = [(register, value) for register, value in tests if value is not None]
        body = len(verdict) // _INSTRUCTION.size
        for left, (register, value) in zip(range(len(wanted) - 1, -1, -1), wanted, strict=True):
            code.append(_op(JNE_K, register, offset=left + body, value=value))
        code.append(verdict)
        if not wanted and rule.access == EVERY_ACCESS:
            return b"".join(code)  # nothing gets past it, and the kernel refuses what can never be reached
    return b"".join([*code, _end(0)])


def _verdict(rule: Match) -> bytes:
    if rule.access == EVERY_ACCESS:
        return _end(int(rule.allow))
    if rule.allow:
        rest = _op(AND_K, WANTED, value=EVERY_ACCESS & ~rule.access)
        return rest + _op(JNE_K, WANTED, offset=2, value=0) + _end(1)
    return _op(JSET_K, WANTED, offset=1, value=rule.access) + _op(JA, offset=2) + _end(0)


def enforce(cgroup: int, rules: Iterable[DeviceRule]) -> None:
    """Make a cgroup, by its open directory, go by the rules. Raises SpecError, OSError.

    Programs that are there already, of an earlier call or of systemd's DeviceAllow, give way: each of them can deny what these
    rules allow. A single one is replaced at once; of more, the new one stands before the old ones go.
    """
    from pyrunc.sys import bpf

    code = program(matches(rules))
    old = bpf.attached(cgroup)
    new = -1
    try:
        new = bpf.load(code)
        bpf.attach(cgroup, new, old[0] if len(old) == 1 else -1)
        for fd in old if len(old) > 1 else ():
            bpf.detach(cgroup, fd)
    finally:
        for fd in (*old, new):
            if fd >= 0:
                os.close(fd)
