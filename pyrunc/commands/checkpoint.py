"""`pyrunc checkpoint ID`: write a running container to files, by criu(8)."""

from __future__ import annotations

from pyrunc import log
from pyrunc.errors import StateError
from pyrunc.run.checkpoint import CHECKPOINTED, Checkpoint
from pyrunc.run.destroy import destroy
from pyrunc.state import open_root
from pyrunc.state.lock import lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.commands import Args


def run(args: Args) -> int:
    """Dump the container; it is gone afterwards, unless it was told to go on (--leave-running, --pre-dump)."""
    with open_root(args).open(args.positionals[0]) as entry:
        lock(entry)
        status = entry.status()
        if status not in CHECKPOINTED:
            raise StateError(f"Container cannot be checkpointed in {status} state")
        if entry.container.rootless:
            log.warning("pyrunc checkpoint is untested with rootless containers")
        checkpoint = Checkpoint(args, entry)
        checkpoint.run()
        if not (args.options["leave-running"] or checkpoint.pre_dump):
            destroy(entry, checkpoint.spec.hooks)
    return 0
