"""The process that `exec` runs: the container's own by its config, changed by the command line, or one from a file."""

from __future__ import annotations

from pyrunc import _os as os
from pyrunc.errors import Fault, OpError, SpecError, StateError, UsageError
from pyrunc.spec.jsontext import scan
from pyrunc.spec.model import Capabilities, Hooks, Process, User
from pyrunc.spec.parse import reader_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, TypeVar

    from pyrunc.spec.declare import Node
    from pyrunc.spec.model import Spec

    _N = TypeVar("_N", bound=Node)

LIMIT = 64 << 20
NO_HOOKS = Hooks(at="hooks")
"""They are about the container's life, not about a further process in it."""
ID_MAX = 2**32 - 2
"""-1 means "unchanged" to setresuid(2)."""


def with_process(spec: Spec, options: dict[str, Any], arguments: Sequence[str]) -> Spec:
    """Return the container's config with the process to run in the place of its own.

    A file (`--process`) is the whole process, as in runc: nothing of the config or the other options is merged into it.
    Raises UsageError or SpecError.
    """
    if options["process"]:
        return changed(spec, process=read_process(str(options["process"])), hooks=NO_HOOKS)
    if not arguments:
        raise UsageError("exec args cannot be empty")
    if spec.process is None:
        raise StateError("the container's config has no process")
    return changed(spec, process=_by_options(spec.process, options, tuple(arguments)), hooks=NO_HOOKS)


def changed(record: _N, **values: object) -> _N:
    """Return a copy of a record with other values."""
    return type(record)(**{**record.__dict__, **values})


def read_process(path: str) -> Process:
    """Read a JSON file that is one `process` object. Raises OpError, or SpecError with every fault."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY)
        with open(fd, "rb") as file:
            data = file.read(LIMIT)
    except OSError as error:
        raise OpError(f"--process: open {path}", error.errno or 0) from None
    value, faults = scan(data, path)
    if value is None and not faults:
        raise UsageError("process property must not be empty")
    found: list[Fault] = []
    process: Process = reader_of(Process)(value, "", "process", found)
    known = {fault.at for fault in faults}
    faults.extend([fault for fault in found if fault.at not in known])
    if faults:
        raise SpecError(faults)
    return process


def _by_options(process: Process, options: dict[str, Any], args: tuple[str, ...]) -> Process:
    """Apply the command line to the container's own process; the terminal is always the command line's to say."""
    values: dict[str, object] = {
        "args": args,
        "terminal": bool(options["tty"]),
        "user": _user_of(process.user, str(options["user"]), options["additional-gids"]),
        "env": (*process.env, *options["env"]),
        "no_new_privileges": process.no_new_privileges or bool(options["no-new-privs"]),
    }
    for name, key in (("cwd", "cwd"), ("apparmor", "apparmor_profile"), ("process-label", "selinux_label")):
        if options[name]:
            values[key] = options[name]
    if options["cap"]:
        values["capabilities"] = _more_capabilities(process.capabilities, tuple(options["cap"]))
    return changed(process, **values)


def _user_of(user: User, given: str, gids: Sequence[str]) -> User:
    values: dict[str, object] = {}
    if given:
        uid, colon, gid = given.partition(":")
        values["uid"] = _parse_id(uid, "bad uid")
        if colon:
            values["gid"] = _parse_id(gid, "bad gid")
    more = []
    for text in gids:
        if text[:1] == "-":
            raise UsageError(f"additional-gids must be a positive number {text}")
        more.append(_parse_id(text, "--additional-gids"))
    return changed(user, additional_gids=(*user.additional_gids, *more), **values)


def _parse_id(text: str, where: str) -> int:
    digits = text.lstrip("0") or text[:1]
    if not (text.isascii() and text.isdecimal()) or len(digits) > len(str(ID_MAX)) or int(digits) > ID_MAX:
        raise UsageError(f"{where}: {text!r} is not a number from 0 to {ID_MAX}")
    return int(digits)


def _more_capabilities(sets: Capabilities | None, names: tuple[str, ...]) -> Capabilities:
    """Add capabilities; ambient ones only where the config lets any be inherited (an ambient one must be, capabilities(7))."""
    sets = sets or Capabilities(at="process.capabilities")
    values: dict[str, object] = {
        key: (*getattr(sets, key), *names) for key in ("bounding", "effective", "permitted")
    }
    if sets.inheritable:
        values["ambient"] = (*sets.ambient, *names)
    return changed(sets, **values)
