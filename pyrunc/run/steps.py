"""Small facts about a plan and its container that more than one command needs."""

from __future__ import annotations

from errno import EINVAL, EPERM

from pyrunc import _os as os
from pyrunc.errors import OpError
from pyrunc.run.phrase import Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyrunc.plan.ops import Op
    from pyrunc.spec.model import Spec

NSFS_MAGIC = 0x6E736673


def step_of(op: Op, spec: Spec) -> Step:
    """Tell of an operation in the user's words."""
    return Step(op.name, op.at, op.subject(), where(op.at, spec))


def where(at: str, spec: Spec) -> str:
    """Add to the origin `mounts[3].options` what the user calls it: the destination."""
    kind, bracket, rest = at.partition("[")
    if bracket and kind == "mounts":
        return f"{at} ({spec.mounts[int(rest.partition(']')[0])].destination})"
    if bracket and at.startswith("linux.devices["):
        return f"{at} ({spec.linux.devices[int(rest.partition(']')[0])].path})"
    return at


def has_own_pid_namespace(spec: Spec) -> bool:
    """Tell whether the container's process is pid 1 of a namespace made for it."""
    return any(ns.type == "pid" and not ns.path for ns in spec.linux.namespaces)


def container_pid(pid: int, spec: Spec) -> int:
    """Return the process's pid as it is seen inside (ST-7): the last of NSpid in /proc/PID/status."""
    if has_own_pid_namespace(spec):
        return 1
    with open(f"/proc/{pid}/status", "rb") as file:
        for line in file:
            if line.startswith(b"NSpid:"):
                return int(line.split()[-1])
    return pid


def open_namespaces(inputs: Iterable[str], spec: Spec) -> dict[str, int]:
    """Open the namespaces to join; each must be a namespace, and of the type that the config says (NS-5)."""
    fds: dict[str, int] = {}
    try:
        for name in inputs:
            if name.startswith("ns:"):
                fds[name] = _open_namespace(name.removeprefix("ns:"), spec)
    except OpError:
        for fd in fds.values():
            os.close(fd)
        raise
    return fds


def _open_namespace(at: str, spec: Spec) -> int:
    from pyrunc.spec.tables import NAMESPACES
    from pyrunc.sys import fs_magic, ns_type

    namespace = next(ns for ns in spec.linux.namespaces if ns.at == at)
    assert namespace.path is not None
    try:
        # O_NONBLOCK: a fifo at the path must be an error, not a wait without end
        fd = os.open(namespace.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        raise OpError(f"{at}.path: open {namespace.path}", error.errno or EPERM) from None
    if fs_magic(fd) != NSFS_MAGIC or ns_type(fd) != NAMESPACES[namespace.type].flag:
        os.close(fd)
        raise OpError(f"{at}.path: {namespace.path} is not a {namespace.type} namespace", EINVAL)
    return fd


def ruleset_of(spec: Spec, root_fd: int) -> tuple[int]:
    """Return the Landlock ruleset of a container's annotation, to answer the executor with; `root_fd` is its root."""
    from pyrunc.run.landlock import open_ruleset
    from pyrunc.spec.landlock import landlock_of

    rules = landlock_of(spec)
    assert rules is not None
    return (open_ruleset(rules, root_fd),)
