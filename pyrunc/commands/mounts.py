"""`pyrunc mounts add|remove ID FILE`: mounts for a container that lives already, as crun has it."""

from __future__ import annotations

from errno import ENOENT

from pyrunc.errors import OpError, StateError, UsageError
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
        mounts = attach.parse_mounts(read(path), path)
        lock(entry)
        if entry.status() not in ("created", "running", "paused"):
            raise StateError(NOT_RUNNING)
        VERBS[verb](entry, mounts)
    return 0


def read(path: str) -> bytes:
    """Return a file's content; "-" is standard input. Raises OpError."""
    try:
        with open(0 if path == "-" else path, "rb", closefd=path != "-") as file:
            return file.read()
    except OSError as error:
        raise OpError(f"open {path}", error.errno or ENOENT) from None
