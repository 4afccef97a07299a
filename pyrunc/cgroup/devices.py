"""What device rules have in common on v1 and v2: the letters, the wildcard, the devices that are always allowed."""

from __future__ import annotations

from pyrunc.cgroup.limits import refuse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.spec.resources import DeviceRule

ALL = "*"
ACCESS = "rwm"

DEFAULTS: tuple[tuple[str, str, str, str], ...] = (
    ("c", ALL, ALL, "m"),  # making a node opens nothing
    ("b", ALL, ALL, "m"),
    ("c", "1", "3", ACCESS),  # /dev/null
    ("c", "1", "8", ACCESS),  # /dev/random
    ("c", "1", "7", ACCESS),  # /dev/full
    ("c", "5", "0", ACCESS),  # /dev/tty
    ("c", "1", "5", ACCESS),  # /dev/zero
    ("c", "1", "9", ACCESS),  # /dev/urandom
    ("c", "136", ALL, ACCESS),  # /dev/pts/*
    ("c", "5", "2", ACCESS),  # /dev/ptmx
    ("c", "10", "200", ACCESS),  # /dev/net/tun
)
"""Allowed after the user's rules, whatever those say: type, major, minor, access (runc's list)."""


def access_of(rule: DeviceRule) -> str:
    """Return the letters of a rule's access, in the order of ACCESS. Raises SpecError."""
    given = rule.access or ""
    if not given:
        raise refuse(f"{rule.at}.access", "device access field cannot be empty")
    if not set(given) <= set(ACCESS):
        raise refuse(f"{rule.at}.access", f'expected letters of "{ACCESS}", got "{given}"')
    return "".join([letter for letter in ACCESS if letter in given])


def types_of(rule: DeviceRule) -> str:
    """Return the types of device that a rule is about, "b", "c" or "bc"."""
    return "bc" if rule.type in {None, "a"} else str(rule.type)


def number_of(number: int | None) -> str:
    """Return a major or minor number as text, ALL for any."""
    return ALL if number is None or number < 0 else str(number)
