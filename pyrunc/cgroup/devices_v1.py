"""Device rules as writes to devices.deny and devices.allow of cgroup v1. Pure.

The kernel keeps a default (all or nothing) and a list of exceptions. It takes an exception away only as a
whole: denying 1:3 after allowing 1:* changes nothing, in silence. So the rules are played through here first,
and one that the kernel could not hold is an error, as in runc.
"""

from __future__ import annotations

from pyrunc._record import record
from pyrunc.cgroup.devices import ACCESS, ALL, DEFAULTS, access_of, number_of, types_of
from pyrunc.cgroup.limits import Write, refuse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TypeAlias

    from pyrunc.spec.resources import DeviceRule

    Key: TypeAlias = tuple[str, str, str]

DEFAULT_AT = "the default devices"


@record
class Verdict:
    """What the rules come to: the default, and exceptions to it, (type, major, minor) -> access."""

    allow: bool
    exceptions: dict[Key, str]
    at: dict[Key, str]
    """Where each exception came from, for messages."""


def judge(rules: Iterable[DeviceRule]) -> Verdict:
    """Play the rules, in their order (DA-1), on a cgroup that denies everything. Raises SpecError."""
    verdict = Verdict(allow=False, exceptions={}, at={})
    for rule in rules:
        verdict = _apply(verdict, rule)
    for type_, major, minor, access in DEFAULTS:
        _play(verdict, allow=True, key=(type_, major, minor), access=access, at=DEFAULT_AT)
    return verdict


def _apply(verdict: Verdict, rule: DeviceRule) -> Verdict:
    access = access_of(rule)
    types = types_of(rule)
    major, minor = number_of(rule.major), number_of(rule.minor)
    if types == "bc" and major == minor == ALL and len(access) == len(ACCESS):
        return Verdict(allow=rule.allow, exceptions={}, at={})
    for type_ in types:
        _play(verdict, allow=rule.allow, key=(type_, major, minor), access=access, at=rule.at)
    return verdict


def _play(verdict: Verdict, *, allow: bool, key: Key, access: str, at: str) -> None:
    if allow != verdict.allow:
        old = verdict.exceptions.get(key, "")
        verdict.exceptions[key] = "".join([letter for letter in ACCESS if letter in old + access])
        verdict.at[key] = at
        return
    for other, old in list(verdict.exceptions.items()):
        if _covers(key, other):
            _take(verdict, other, access)
        elif _meet(key, other) and set(old) & set(access):
            _refuse_hole(verdict, key, other, at)


def _take(verdict: Verdict, key: Key, access: str) -> None:
    left = "".join([letter for letter in verdict.exceptions[key] if letter not in access])
    if left:
        verdict.exceptions[key] = left
    else:
        del verdict.exceptions[key]


def _covers(wide: Key, narrow: Key) -> bool:
    return wide[0] == narrow[0] and all(a in {ALL, b} for a, b in zip(wide[1:], narrow[1:], strict=True))


def _meet(one: Key, other: Key) -> bool:
    numbers = zip(one[1:], other[1:], strict=True)
    return one[0] == other[0] and all(a == b or ALL in {a, b} for a, b in numbers)


def _refuse_hole(verdict: Verdict, key: Key, other: Key, at: str) -> None:
    """Raise SpecError at the user's rule: the denial of a part, or the whole that a default is a part of."""
    text = f"cannot punch hole in existing wildcard rule [{_text(other)} {verdict.exceptions[other]}]"
    where = at if at != DEFAULT_AT else verdict.at[other]
    raise refuse(where, f"rule [{_text(key)}] is not supported by devices cgroupv1 ({text})")


def _text(key: Key) -> str:
    return f"{key[0]} {key[1]}:{key[2]}"


def devices_v1(rules: Iterable[DeviceRule], at: str) -> list[Write]:
    """Return the writes that bring any cgroup to the rules' verdict. Raises SpecError."""
    verdict = judge(rules)
    first, rest = ("devices.allow", "devices.deny") if verdict.allow else ("devices.deny", "devices.allow")
    exceptions = [
        Write("devices", rest, f"{_text(key)} {access}", verdict.at.get(key) or at)
        for key, access in verdict.exceptions.items()
    ]
    return [Write("devices", first, "a", at), *exceptions]
