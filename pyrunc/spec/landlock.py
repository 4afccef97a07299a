"""The annotation `org.pyrunc.landlock` (experimental): what the container's processes may do with files and TCP ports.

A JSON object; each key that is there takes a right away from everything but what its list names:

    {"read": ["/usr", "/etc"], "write": ["/tmp"], "execute": ["/usr/bin"], "bind": [8080], "connect": [443]}

Paths are absolute, in the container, and stand for all that is below them. landlock(7) has the details.
"""

from __future__ import annotations

from pyrunc._record import record as _record
from pyrunc.errors import Fault, SpecError
from pyrunc.spec.jsontext import scan, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dataclasses import dataclass as record

    from pyrunc.spec.model import Spec
else:
    record = _record

ANNOTATION = "org.pyrunc.landlock"
AT = f"annotations.{ANNOTATION}"
PATHS = ("read", "write", "execute")
PORTS = ("bind", "connect")


@record
class Landlock:
    """The rules of one container: paths and ports by the name of what they allow. What is no key is not restricted."""

    paths: dict[str, tuple[str, ...]]
    ports: dict[str, tuple[int, ...]]


def landlock_of(spec: Spec) -> Landlock | None:
    """Return the rules of a config, None without the annotation. Raises SpecError with every fault."""
    text = spec.annotations.get(ANNOTATION)
    if text is None:
        return None
    value, faults = scan(text.encode("utf-8", "surrogateescape"), AT)
    if not faults and not isinstance(value, dict):
        faults = [Fault(AT, f"expected an object, got {shown(value)}")]
    table = value if isinstance(value, dict) else {}
    for key, entries in table.items():
        faults += _faults(key, entries)
    if not table and not faults:
        faults = [Fault(AT, f"no rules: one of {', '.join((*PATHS, *PORTS))}")]
    if faults:
        raise SpecError(faults)
    return Landlock(
        {key: tuple(table[key]) for key in PATHS if key in table},
        {key: tuple(table[key]) for key in PORTS if key in table},
    )


def _faults(key: str, entries: object) -> list[Fault]:
    if key not in (*PATHS, *PORTS):
        return [Fault(f"{AT}.{key}", f"unknown: one of {', '.join((*PATHS, *PORTS))}")]
    if not isinstance(entries, list):
        return [Fault(f"{AT}.{key}", f"expected an array, got {shown(entries)}")]
    fits, expected = (_is_path, "an absolute path") if key in PATHS else (_is_port, "a port from 0 to 65535")
    return [
        Fault(f"{AT}.{key}[{index}]", f"expected {expected}, got {shown(entry)}")
        for index, entry in enumerate(entries)
        if not fits(entry)
    ]


def _is_path(entry: object) -> bool:
    return isinstance(entry, str) and entry[:1] == "/"


def _is_port(entry: object) -> bool:
    return type(entry) is int and 0 <= entry <= 65535
