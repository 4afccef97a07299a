"""From (operation, errno) to a sentence about the user's own object.

The executor knows numbers only. The texts that engines look for (docker's and podman's exit codes 126 and 127 hang on
them) are runc's, to the letter.
"""

from __future__ import annotations

from errno import EACCES, EINVAL, EISDIR, ELOOP, ENOENT, ENOEXEC, ENOTDIR, EPERM, ETIMEDOUT, EXDEV

from pyrunc._record import record
from pyrunc.errors import OpError, strerror

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


@record
class Step:
    """What an error needs of an operation: its name, its origin in the config, and the thing it was about."""

    name: str
    at: str
    subject: str
    where: str
    """The origin with the user's name for it: `mounts[3].options (/data)`."""


def phrase(step: Step, errno: int, status: int, hook_output: Callable[[], str]) -> OpError:
    """Return the error to raise for a failed operation; `status` is SPAWN's wait status."""
    special = _SPECIAL.get(step.name)
    text = special(step, errno, status, hook_output) if special else ""
    if not text:
        what = f"{step.name.lower()} {step.subject}".rstrip()
        text = f"{step.where}: {what}: {strerror(errno)}"
    error = OpError(text)
    error.errno = errno
    error.plain = step.name == "EXEC"
    return error


def _find(step: Step, errno: int, _status: int, _output: Callable[[], str]) -> str:
    program = step.subject
    if "/" not in program:
        return f'exec: "{program}": executable file not found in $PATH'
    if errno in {EACCES, EISDIR}:
        return f'exec: "{program}": permission denied'
    if errno in {ENOENT, ENOTDIR}:
        return f'exec: "{program}": stat {program}: {strerror(errno)}'
    return f'exec: "{program}": {strerror(errno)}'


def _exec(step: Step, errno: int, _status: int, _output: Callable[[], str]) -> str:
    hint = " (not a program for this machine, or a script without #!)" if errno == ENOEXEC else ""
    return f"exec {step.subject}: {strerror(errno)}{hint}"


def _spawn(step: Step, errno: int, status: int, output: Callable[[], str]) -> str:
    stage, number = hook_of(step.at)
    if errno == ETIMEDOUT:
        why = "hook ran past its timeout"
    elif status:
        why = f"{describe_status(status)}, output: {output()}"
    else:
        why = f"exec {step.subject}: {strerror(errno)}"
    return f"error running {stage} hook #{number}: {why}"


def _open(step: Step, errno: int, status: int, output: Callable[[], str]) -> str:
    if (
        step.at.startswith("mounts[")
        and step.subject.lstrip("/") in {"proc", "sys"}
        and errno in {ELOOP, ENOTDIR}
    ):
        kind = "proc" if step.subject.lstrip("/") == "proc" else "sysfs"
        return f'{step.where}: filesystem "{kind}" must be mounted on ordinary directory'
    if step.at.startswith(
        "linux.sysctl"
    ):  # below the host's /proc, while all else lies below the container's root
        return f"{step.where}: open /proc/{step.subject.lstrip('/')}: {strerror(errno)}"
    return _write(step, errno, status, output)


def _move(step: Step, errno: int, _status: int, _output: Callable[[], str]) -> str:
    if errno == EXDEV and step.at.startswith("mounts["):
        return f'{step.where}: "{step.subject}" cannot be mounted because it is inside /proc'
    return ""


def _setattr(step: Step, errno: int, _status: int, _output: Callable[[], str]) -> str:
    verb, _, what = step.subject.partition(" ")
    if verb == "idmap":
        why = _NOT_MAPPED.get(errno, "")
        return f"{step.where}: cannot map the ids of {what}{why}: {strerror(errno)}"
    if verb == "clear" and errno == EPERM:
        return f"{step.where}: cannot clear locked flags {what}: {strerror(errno)}"
    if verb == "atime" and errno == EPERM:
        return f"{step.where}: cannot change locked atime flags: {strerror(errno)}"
    return ""


def _fsconfig(step: Step, errno: int, _status: int, _output: Callable[[], str]) -> str:
    key, _, number = step.subject.partition("=")
    if errno == EINVAL and key in {"uid", "gid"} and number.isdecimal():
        return f"{step.where}: fsconfig {step.subject}: is {key} {number} mapped in the user namespace?: {strerror(errno)}"
    return ""


def _write(step: Step, errno: int, _status: int, _output: Callable[[], str]) -> str:
    if step.at == "process.apparmorProfile":  # engines look for the file's name
        return f"{step.where}: {step.subject}: {strerror(errno)}"
    return ""


_NOT_MAPPED = {
    EINVAL: " (its file system has no id-mapped mounts on this kernel)",
    EPERM: " (it is mapped already, or its file system belongs to another user namespace)",
}

_SPECIAL = {
    "MOVE": _move,
    "SETATTR": _setattr,
    "FSCONFIG": _fsconfig,
    "FIND": _find,
    "EXEC": _exec,
    "SPAWN": _spawn,
    "OPEN": _open,
    "WRITE": _write,
}


def hook_of(at: str) -> tuple[str, int]:
    """Return stage and number of an origin such as "hooks.createContainer[0].path"."""
    stage, _, rest = at.removeprefix("hooks.").partition("[")
    return stage, int(rest.partition("]")[0])


def describe_status(status: int) -> str:
    """Return a wait status in Go's words: "exit status 3", "signal: killed"."""
    signal = status & 0x7F
    if signal == 0:
        return f"exit status {status >> 8 & 0xFF}"
    from pyrunc.spec.tables import SIGNAL_TEXTS

    return f"signal: {SIGNAL_TEXTS.get(signal, f'signal {signal}')}"
