"""`pyrunc mounts add|remove ID FILE`: mounts for a container that lives already, as crun has it."""

from __future__ import annotations

from pyrunc.commands.inputs import read_input
from pyrunc.errors import StateError, UsageError
from pyrunc.run import attach
from pyrunc.state import NOT_RUNNING, open_root
from pyrunc.state.lock import lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.commands import Args

VERBS = {"add": attach.add, "remove": attach.remove}


def run(args: Args) -> int:
    """Add or remove what the file lists. Raises PyruncError."""
    verb, name, path = args.positionals
    if verb not in VERBS:
        raise UsageError(f"mounts: {verb}: expected add or remove")
    with open_root(args).open(name) as entry:
        mounts = attach.parse_mounts(read_input(path), path)
        lock(entry)
        if entry.status() not in ("created", "running", "paused"):
            raise StateError(NOT_RUNNING)
        VERBS[verb](entry, mounts)
    return 0
