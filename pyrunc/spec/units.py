"""Amounts as people and Go programs write them: durations and sizes. Pure."""

from __future__ import annotations

SECOND = 10**9
_UNITS = {
    "ns": 1, "us": 10**3, "\xb5s": 10**3, "\u03bcs": 10**3, "ms": 10**6,
    "s": SECOND, "m": 60 * SECOND, "h": 3600 * SECOND,
}  # fmt: skip
_SIZES = {"": 0, "b": 0, "k": 10, "m": 20, "g": 30, "t": 40, "p": 50}
_DIGITS = frozenset("0123456789")


def parse_duration(text: str) -> int:
    """Return a duration in nanoseconds: "5s", "1m30s", "1.5h", "0" (Go's time.ParseDuration). Raises ValueError."""
    rest = text[1:] if text[:1] in {"-", "+"} else text
    if rest == "0":
        return 0
    total = 0
    if not rest:
        raise ValueError(text)
    while rest:
        amount, rest = _split(rest, _DIGITS | {"."})
        letters = len(rest) - len(rest.lstrip("".join(_UNITS)))
        unit, rest = rest[:letters], rest[letters:]
        if unit not in _UNITS:
            raise ValueError(text)
        total += _decimal(amount, _UNITS[unit])
    return -total if text[0] == "-" else total


def _split(text: str, characters: frozenset[str]) -> tuple[str, str]:
    end = 0
    while end < len(text) and text[end] in characters:
        end += 1
    return text[:end], text[end:]


def _decimal(amount: str, factor: int) -> int:
    """Return the product of a decimal fraction and a whole number, rounded down, without floating point."""
    whole, _, part = amount.partition(".")
    if not (whole or part) or not _DIGITS.issuperset(whole + part):
        raise ValueError(amount)
    return int(whole + part) * factor // int("1" + "0" * len(part))


def parse_size(text: str) -> int:
    """Return a size in bytes: "512m", "1.5GiB", "100 kb", base 1024 (docker/go-units). Raises ValueError."""
    amount, unit = _split(text.strip(), _DIGITS | {"."})
    unit = unit.strip().lower()
    for ending in ("ib", "b"):
        if len(unit) > 1:
            unit = unit.removesuffix(ending)
    if unit not in _SIZES:
        raise ValueError(text)
    return _decimal(amount, 1 << _SIZES[unit])


def show_size(number: float) -> str:
    """Return a size for people: "64.0 MiB"."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if number < 1024 or unit == "TiB":
            break
        number /= 1024
    return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
