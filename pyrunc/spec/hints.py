"""What a fault in config.json was probably meant to be. Loaded only when there is a fault."""

from __future__ import annotations

from pyrunc.errors import Fault
from pyrunc.spec.declare import List, Map, fields_of
from pyrunc.spec.jsontext import key_at, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator

    from pyrunc.spec.declare import Kind

_LISTED = 12  # an enumeration longer than this is not spelt out
_STRANGERS = 50  # an object with more unknown keys than this has no slip in it


def key_hint(wanted: str, present: Iterable[str], known: Container[str]) -> str:
    """Return a hint where a key that means nothing looks like the missing one."""
    strangers = [key for key in present if key not in known][:_STRANGERS]
    meant = nearest(wanted, strangers)
    return f"did you mean {quoted(wanted)} by {quoted(meant)}?" if meant else ""


def enum_hint(value: str, values: tuple[str, ...]) -> str:
    """Return the nearest value, or all of them where they are few."""
    meant = nearest(value, values) or _without_prefix(value, values)
    if meant:
        return f"did you mean {quoted(meant)}?"
    return "one of " + ", ".join([quoted(name) for name in values]) if len(values) <= _LISTED else ""


def type_hint(expected: str, value: object) -> str:
    """Return what to change where the value is right but its JSON type is not."""
    if isinstance(value, str):
        if expected.startswith("an integer") and value.isascii() and value.removeprefix("-").isdigit():
            return "write it without quotes"
        if expected == "true or false" and value in ("true", "false"):
            return "write it without quotes"
        if expected == "an array":
            return f"write [{quoted(value)}]"
    if isinstance(value, float) and expected.startswith("an integer") and value.is_integer():
        return "write it without a fraction or an exponent"
    return ""


def nearest(text: str, candidates: Iterable[str]) -> str:
    """Return the candidate that a slip of a letter or two would have made of `text`, or ""."""
    best, best_distance = "", 1 + min(2, len(text) // 4)
    for candidate in candidates:
        if candidate.lower() == text.lower():
            return candidate
        if abs(len(candidate) - len(text)) < best_distance:
            distance = _distance(text.lower(), candidate.lower())
            if distance < best_distance:
                best, best_distance = candidate, distance
    return best


def _without_prefix(text: str, candidates: Iterable[str]) -> str:
    """Return the candidate that ends in `text`: SYS_ADMIN is CAP_SYS_ADMIN."""
    tail = "_" + text.upper()
    return next((candidate for candidate in candidates if text and candidate.endswith(tail)), "")


def _distance(one: str, other: str) -> int:
    """Return how many letters must be changed, added, removed or swapped with their neighbour."""
    if max(len(one), len(other)) > 64:
        return 99
    before: list[int] = []
    above = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        row = [i]
        for j, b in enumerate(other, 1):
            cost = min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (a != b))
            if i > 1 and j > 1 and a == other[j - 2] and b == one[i - 2]:
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
        before, above = above, row
    return above[-1]


def slips(value: object, kind: Kind, at: str = "") -> Iterator[Fault]:
    """Find properties, at any depth, that will be ignored but look like a known one that is absent."""
    if isinstance(kind, List) and isinstance(value, list):
        for index, child in enumerate(value):
            yield from slips(child, kind.of, f"{at}[{index}]")
    elif isinstance(kind, Map) and isinstance(value, dict):
        for key, child in value.items():
            yield from slips(child, kind.of, key_at(at, key))
    elif isinstance(kind, type) and isinstance(value, dict):
        kinds = {field.key: field.kind for field in fields_of(kind)}
        absent = [key for key in kinds if key not in value] if len(value) - len(kinds) < _STRANGERS else []
        for key, child in value.items():
            if key in kinds:
                yield from slips(child, kinds[key], key_at(at, key))
            elif meant := nearest(key, absent):
                yield Fault(key_at(at, key), "unknown, so ignored", f"did you mean {quoted(meant)}?")
