"""`pyrunc start ID`: run the program of a created container."""

from __future__ import annotations

from pyrunc.run.start import Start, check_created
from pyrunc.state import open_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.commands import Args


def run(args: Args) -> int:
    """Start the container; return 0 once its program runs and the poststart hooks have."""
    with open_root(args).open(args.positionals[0], lock=True) as entry:
        check_created(entry.status())
        Start(entry).go()
    return 0
