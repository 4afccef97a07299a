"""`pyrunc pause ID`: stop every process of the container where it stands."""

from __future__ import annotations

from pyrunc import log
from pyrunc.errors import HostError, OpError, StateError
from pyrunc.state import NOT_RUNNING, open_root
from pyrunc.state.lock import lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.commands import Args

FULL_ACCESS = "{} failure might be caused by lack of full access to cgroups"


def run(args: Args) -> int:
    """Freeze the container's cgroup. Raises StateError unless it is created or running."""
    with open_root(args).open(args.positionals[0]) as entry:
        lock(entry)  # a `delete` beside us would wait for a process that, once frozen, does not die
        if entry.status() not in ("created", "running"):
            raise StateError(NOT_RUNNING)
        try:
            entry.manager().pause()
        except (HostError, OpError):
            if entry.container.rootless:
                log.warning(FULL_ACCESS.format("pause"))
            raise
    return 0
