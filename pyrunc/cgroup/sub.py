"""Cgroups below a container's own, into which `exec --cgroup` puts a process."""

from __future__ import annotations

from pyrunc.cgroup import from_state
from pyrunc.errors import StateError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pyrunc.cgroup.manager import Manager


def parse_sub_cgroups(arguments: Sequence[str]) -> dict[str, str]:
    """Return controller -> path below the container's cgroup; the controller "" stands for all. Raises UsageError.

    An argument is `controller[,controller]:path`, or, alone, a path. The texts are runc's.
    """
    found: dict[str, str] = {}
    for argument in arguments:
        names, colon, path = argument.partition(":")
        if not colon:
            if len(arguments) > 1:
                raise UsageError(f"invalid --cgroup argument: {argument} (missing <controller>: prefix)")
            return {"": argument}
        for name in names.split(","):
            if not name:
                raise UsageError(f"invalid --cgroup argument: {argument} (empty <controller> prefix)")
            if name in found:
                raise UsageError(f"invalid --cgroup argument(s): controller {name} specified multiple times")
            found[name] = path
    return found


def sub_manager(paths: Mapping[str, str], below: Mapping[str, str]) -> Manager:
    """Return the manager for a process in the given cgroups below `paths` (controller -> path, as in the state).

    Raises StateError for a controller that the container has not, or a path that leads out of its cgroup.
    """
    for name in below:
        if name and name not in paths:
            raise StateError(f"unknown controller {name} in SubCgroupPaths")
    return from_state({name: _join(path, below.get(name, below.get("", ""))) for name, path in paths.items()})


def _join(path: str, below: str) -> str:
    parts = [part for part in below.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise StateError(f"bad sub cgroup path: {below}")
    return "/".join([path, *parts])
