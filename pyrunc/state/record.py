"""state.json: one container as it is written down. Keys are runc's where they mean the same."""

from __future__ import annotations

import time

from pyrunc._record import record
from pyrunc.errors import SpecError, StateError
from pyrunc.spec.jsontext import dumps, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MARKER = "pyrunc"
FORMAT = 1
"""The value of the key "pyrunc", which tells our state.json from another runtime's."""
STATE = "state.json"
PHASES = ("creating", "created", "starting", "running")
MAX_PID = 2**31 - 1


@record
class Container:
    """What start, state, kill and delete need to know."""

    id: str
    bundle: str
    """Absolute."""
    rootfs: str
    """Absolute."""
    oci_version: str
    """As the config says it."""
    created: str
    """RFC 3339 with nanoseconds, UTC."""
    annotations: Mapping[str, str]
    rootless: bool
    hooks: bool
    """The config has hooks: start and delete then read it."""
    private_pids: bool
    """It has a pid namespace of its own, in which nothing survives its first process."""
    phase: str
    """How far it has come: one of PHASES. Whether it still runs is asked of the kernel."""
    cgroup_paths: Mapping[str, str]
    """Controller -> absolute path; "" is cgroup2."""
    created_cgroups: tuple[str, ...]
    """The directories that were made for it; before they are made, those that will be."""
    init_process_pid: int = 0
    """0 until there is one."""
    init_process_start: int = 0
    """Field 22 of its /proc/PID/stat."""
    namespace_paths: Mapping[str, str] = {}
    """"NEWPID" -> "/proc/PID/ns/pid" and so on."""

    def with_(self, **changes: object) -> Container:
        """Return a copy with some values changed."""
        return Container(**{**self.__dict__, **changes})


def encode_container(container: Container) -> bytes:
    """Return the text of state.json."""
    values: dict[str, object] = {MARKER: FORMAT, **container.__dict__}
    values["created_cgroups"] = list(container.created_cgroups)
    return dumps(values).encode("utf-8", "replace")


def is_ours(data: bytes) -> bool:
    """Tell whether a state.json bears our marker."""
    try:
        value = loads(data, STATE)
    except SpecError:
        return False
    return isinstance(value, dict) and MARKER in value


def parse_container(data: bytes, name: str) -> Container:
    """Return the container that state.json tells of; `name` is its directory's. Raises StateError."""
    try:
        value = loads(data, STATE)
    except SpecError as error:
        raise StateError(f"container {name}: {error}") from None
    if not isinstance(value, dict):
        raise _damaged(name, "expected an object")
    if value.get(MARKER) != FORMAT:
        raise _damaged(name, f"{MARKER}: expected the format {FORMAT}, which this version writes")
    fields = {key: _field(value, key, name) for key in _KINDS}
    if fields["id"] != name or fields["phase"] not in PHASES:
        raise _damaged(name, "id or phase: not what this version writes")
    fields["created_cgroups"] = tuple(value["created_cgroups"])
    return Container(**fields)  # type: ignore[arg-type]  # _field has checked them


_KINDS: dict[str, type] = {
    "id": str, "bundle": str, "rootfs": str, "oci_version": str, "created": str, "phase": str,
    "annotations": dict, "cgroup_paths": dict, "namespace_paths": dict, "created_cgroups": list,
    "rootless": bool, "hooks": bool, "private_pids": bool, "init_process_pid": int, "init_process_start": int,
}  # fmt: skip
_WORDS: dict[type, str] = {
    str: "a string", dict: "an object of strings", list: "an array of strings", bool: "true or false",
    int: "a number that can be one",
}  # fmt: skip


def _damaged(name: str, why: str) -> StateError:
    return StateError(f"container {name}: {STATE}: {why}")


def _field(table: Mapping[str, object], key: str, name: str) -> object:
    value, kind = table.get(key), _KINDS[key]
    if type(value) is not kind:  # not isinstance: true is no number
        raise _damaged(name, f"{key}: expected {_WORDS[kind]}")
    if isinstance(value, (dict, list)) and not is_all_text(
        value.values() if isinstance(value, dict) else value
    ):
        raise _damaged(name, f"{key}: expected {_WORDS[kind]}")
    if isinstance(value, int) and not 0 <= value <= (MAX_PID if key.endswith("pid") else 2**64):
        raise _damaged(name, f"{key}: expected {_WORDS[kind]}")
    return value


def is_all_text(values: Iterable[object]) -> bool:
    """Tell whether all values are strings."""
    return all(isinstance(value, str) for value in values)


def timestamp(nanoseconds: int) -> str:
    """Return a time as Go's RFC3339Nano in UTC: no zeros at the end of the fraction, and none at all for zero."""
    seconds, rest = divmod(nanoseconds, 10**9)
    year, month, day, hour, minute, second = time.gmtime(seconds)[:6]
    whole = f"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}"
    fraction = f".{rest:09}".rstrip("0") if rest else ""
    return f"{whole}{fraction}Z"
