"""What state.json holds, with runc's names for its keys where the meaning is runc's; and which process a pid is."""

from __future__ import annotations

import time
from errno import ENOENT, ESRCH

from pyrunc import _os as os
from pyrunc._record import record
from pyrunc.errors import StateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

STATE = "state.json"
PREPARED = "ready.json"
"""What will be state.json once the container is ready."""
FORMAT = 1
MAX_PID = 2**31 - 1
PHASES = ("creating", "created", "starting", "running")


@record
class Container:
    """What state.json holds."""

    id: str
    oci_version: str
    bundle: str
    rootfs: str
    created: str
    """RFC 3339, UTC, with nanoseconds."""
    phase: str
    """creating, created, starting or running: what was last begun. Whether it still lives is the kernel's to say."""
    init_process_pid: int = 0
    init_process_start: int = 0
    """Field 22 of /proc/PID/stat: a pid alone may be somebody else's by now."""
    cgroup_paths: dict[str, str] = {}
    created_cgroups: tuple[str, ...] = ()
    """Which of them, and of those above them, we have made: only they are removed (DE-4)."""
    annotations: dict[str, str] = {}
    hooks: bool = False
    """config.json has hooks of a stage that start or delete run."""
    own_pid_namespace: bool = True
    rootless: bool = False
    no_new_keyring: bool = False
    """It has the session keyring of whoever created it."""


def now() -> str:
    """Return the time as RFC 3339, UTC, with nanoseconds."""
    return timestamp(time.time_ns())


def timestamp(nanoseconds: int) -> str:
    """Return a time since the epoch as Go prints RFC3339Nano: no zeros at the end, and no fraction that is zero."""
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(nanoseconds // 10**9))
    return f"{seconds}.{nanoseconds % 10**9:09d}".rstrip("0").rstrip(".") + "Z"


def process_start(pid: int) -> int:
    """Return the start time of a process in clock ticks since boot, 0 when it is gone or a zombie (proc_pid_stat(5))."""
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
        try:
            text = os.read(fd, 4096)
        finally:
            os.close(fd)
    except OSError as error:
        if error.errno not in {ENOENT, ESRCH}:
            raise
        return 0
    fields = text.rpartition(b")")[2].split()  # the name in the parentheses may hold anything
    if len(fields) < 20 or fields[0] in {b"Z", b"X"}:
        return 0
    return int(fields[19])


_STRINGS = frozenset({str})
_KINDS: Mapping[str, type] = {
    "id": str, "oci_version": str, "bundle": str, "rootfs": str, "created": str, "phase": str,
    "init_process_pid": int, "init_process_start": int, "cgroup_paths": dict, "created_cgroups": list,
    "annotations": dict, "hooks": bool, "own_pid_namespace": bool, "rootless": bool,
    "no_new_keyring": bool,
}  # fmt: skip


def parse_container(value: object, name: str) -> Container:
    """Return what the value of the state.json in directory `name` says. Raises StateError."""
    where = f"container {name}: {STATE}"
    if not isinstance(value, dict) or value.get("pyrunc") != FORMAT:
        raise StateError(f"{where}: damaged, or written by another version of pyrunc")
    fields: dict[str, object] = {}
    for key, kind in _KINDS.items():
        found = value.get(key)
        if type(found) is not kind or not is_sound(found):
            raise StateError(f"{where}: {key}: damaged")
        fields[key] = tuple(found) if kind is list else found  # type: ignore[arg-type]  # a list, by the line above
    for key, allowed in (("id", (name,)), ("phase", PHASES)):
        if fields[key] not in allowed:
            raise StateError(f"{where}: {key}: damaged")
    return Container(**fields)  # type: ignore[arg-type]  # _KINDS is checked against the record by a test


def is_sound(value: object) -> bool:
    """Tell whether a map or a list holds strings only, and a number can be a pid or a time."""
    if isinstance(value, int):
        return 0 <= value < 2**63
    if isinstance(value, dict | list):
        inside: Iterable[object] = value.values() if isinstance(value, dict) else value
        return _STRINGS.issuperset(map(type, inside))
    return True


def fields_of(container: Container) -> dict[str, object]:
    """Return the container's fields by name."""
    return {name: getattr(container, name) for name in _KINDS}
