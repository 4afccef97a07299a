"""`pyrunc resume ID`: let the processes of a paused container go on."""

from __future__ import annotations

from pyrunc import log
from pyrunc.commands.pause import FULL_ACCESS
from pyrunc.errors import OpError, StateError
from pyrunc.state import open_root
from pyrunc.state.lock import lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.commands import Args


def run(args: Args) -> int:
    """Thaw the container's cgroup. Raises StateError unless it is paused."""
    with open_root(args).open(args.positionals[0]) as entry:
        lock(entry)
        if entry.status() != "paused":
            raise StateError("container not paused")
        try:
            entry.manager().thaw()
        except OpError:
            if entry.container.rootless:
                log.warning(FULL_ACCESS.format("resume"))
            raise
    return 0
