"""`pyrunc update ID`: change the limits of a container, by options or by JSON."""

from __future__ import annotations

from pyrunc import _os as os
from pyrunc import log
from pyrunc.cgroup.update import apply_update, merge
from pyrunc.commands.inputs import read_input
from pyrunc.errors import Fault, HostError, PyruncError, SpecError, StateError, UsageError
from pyrunc.spec.fold import fold_keys
from pyrunc.spec.jsontext import dumps, loads, shown
from pyrunc.spec.parse import reader_of
from pyrunc.spec.resources import Resources
from pyrunc.spec.units import parse_size
from pyrunc.state import CONFIG, NOT_RUNNING, open_root
from pyrunc.state.lock import lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pyrunc.commands import Args
    from pyrunc.state import Entry

AT = "resources"
RESOURCES = "resources.json"
"""In the state directory: `linux.resources` after the last update."""
RDT = (
    ("l3-cache-schema", "L3", "Intel RDT/CAT: l3 cache schema is not enabled"),
    ("mem-bw-schema", "MB", "Intel RDT/MBA: memory bandwidth schema is not enabled"),
)


def run(args: Args) -> int:
    """Change the limits. Raises StateError for a stopped container; after any error the limits are as before."""
    with open_root(args).open(args.positionals[0]) as entry:
        change, schemas = read_change(args.options), read_schemas(args.options)
        lock(entry)
        if entry.status() == "stopped":
            raise StateError(NOT_RUNNING)
        stored = stored_resources(entry)
        merged = merge(stored, change)
        old = parse_resources({key: value for key, value in stored.items() if key != "devices"})
        new = parse_resources(merged)
        if schemas:
            _apply_with_schemas(entry, schemas, old, new)
        else:
            apply_update(entry.manager(), old, new)
        entry.write(RESOURCES, dumps(merged).encode("utf-8", "surrogateescape"))
    return 0


def _apply_with_schemas(entry: Entry, schemas: list[str], old: Resources, new: Resources) -> None:
    """Change the class of resctrl, too; it is changed back when a limit cannot be set."""
    from pyrunc.cgroup import resctrl_use

    group, _made = entry.read_groups()
    if not group:
        raise StateError("updating a non-existent Intel RDT configuration is not supported")
    before = resctrl_use.change(group, schemas)
    try:
        apply_update(entry.manager(), old, new)
    except PyruncError:
        resctrl_use.change(group, before)
        raise


def read_schemas(options: dict[str, Any]) -> list[str]:
    """Return the lines for resctrl that the options give. Raises HostError where it is not there, UsageError."""
    lines = []
    for option, directory, text in RDT:
        line = str(options[option])
        if not line:
            continue
        from pyrunc.host import find_resctrl

        root = find_resctrl()
        if not (root and os.path.exists(f"{root}/info/{directory}")):
            raise HostError(text)
        if not line.startswith(f"{directory}:") or "\n" in line:
            raise UsageError(f'invalid value for {option}: must be one line that starts with "{directory}:"')
        lines.append(line)
    return lines


def read_change(options: dict[str, Any]) -> dict[str, Any]:
    """Return what is to change, in the form of `linux.resources`. Raises UsageError, SpecError, HostError or OpError."""
    if options["resources"]:
        change = decode(read_input(options["resources"]))
    else:
        change = from_options(options)
        parse_resources(change)
    memory = change.get("memory", {})
    if any(memory.pop(key, None) for key in ("kernel", "kernelTCP")):
        log.warning("Kernel memory settings are ignored and will be removed")
    if change.get("devices"):
        log.warning(f"{AT}.devices: ignored: update does not change device rules")
    return change


def decode(data: bytes) -> dict[str, Any]:
    """Return what JSON text says, its keys as they are declared. Raises SpecError with every fault."""
    value = loads(data, AT)
    if not isinstance(value, dict):
        raise SpecError([Fault(AT, f"expected an object, got {shown(value)}")])
    change = fold_keys(value, Resources)
    parse_resources(change)
    assert isinstance(change, dict)
    return change


def parse_resources(value: object) -> Resources:
    """Return the record for `linux.resources` as JSON. Raises SpecError."""
    faults: list[Fault] = []
    made: Resources = reader_of(Resources)(value, "", AT, faults)
    if faults:
        raise SpecError(faults)
    return made


def stored_resources(entry: Entry) -> dict[str, Any]:
    """Return `linux.resources` as they were last set: by an update, or else by the configuration. Raises StateError."""
    try:
        value = loads(entry.read(RESOURCES), f"container {entry.name}: {RESOURCES}")
    except FileNotFoundError:
        config = loads(entry.read(CONFIG), f"container {entry.name}: {CONFIG}")
        linux = config.get("linux") if isinstance(config, dict) else None
        value = linux.get("resources") if isinstance(linux, dict) else None
    made = fold_keys(value or {}, Resources)
    if not isinstance(made, dict):
        raise StateError(f"container {entry.name}: {RESOURCES}: damaged")
    return made


# ---- options ----


def _int64(text: str) -> int:
    return _whole(text, "ParseInt", -(2**63), 2**63 - 1)


def _uint64(text: str) -> int:
    return _whole(text, "ParseUint", 0, 2**64 - 1)


def _whole(text: str, how: str, low: int, high: int) -> int:
    """Return a decimal number, refused in the words of Go's strconv. Raises ValueError."""
    digits = text[1:] if text[:1] in ("+", "-") and low < 0 else text
    if not (digits.isascii() and digits.isdecimal()):
        raise ValueError(f"strconv.{how}: parsing {log.go_quote(text)}: invalid syntax")
    if len(digits) > 20 or not low <= int(text) <= high:
        raise ValueError(f"strconv.{how}: parsing {log.go_quote(text)}: value out of range")
    return int(text)


def _size(text: str) -> int:
    if text == "-1":
        return -1
    try:
        return parse_size(text)
    except ValueError:
        raise ValueError(f"invalid size: '{text}'") from None


OPTIONS: tuple[tuple[str, str, str, Callable[[str], Any]], ...] = (
    ("cpuset-cpus", "cpu", "cpus", str),
    ("cpuset-mems", "cpu", "mems", str),
    ("cpu-idle", "cpu", "idle", _int64),
    ("cpu-burst", "cpu", "burst", _uint64),
    ("cpu-period", "cpu", "period", _uint64),
    ("cpu-rt-period", "cpu", "realtimePeriod", _uint64),
    ("cpu-share", "cpu", "shares", _uint64),
    ("cpu-quota", "cpu", "quota", _int64),
    ("cpu-rt-runtime", "cpu", "realtimeRuntime", _int64),
    ("memory", "memory", "limit", _size),
    ("memory-swap", "memory", "swap", _size),
    ("memory-reservation", "memory", "reservation", _size),
    ("kernel-memory", "memory", "kernel", _size),
    ("kernel-memory-tcp", "memory", "kernelTCP", _size),
)


def from_options(options: dict[str, Any]) -> dict[str, Any]:
    """Return the change that the options ask for. Raises UsageError."""
    change: dict[str, Any] = {}
    for option, section, key, read in OPTIONS:
        if options[option]:
            try:
                change.setdefault(section, {})[key] = read(options[option])
            except ValueError as error:
                raise UsageError(f"invalid value for {option}: {error}") from None
    if options["blkio-weight"]:
        change["blockIO"] = {"weight": options["blkio-weight"]}
    if options["pids-limit"] is not None:
        change["pids"] = {"limit": options["pids-limit"]}
    return change
