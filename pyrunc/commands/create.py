"""`pyrunc create ID`: make everything but run the program; `start` does that."""

from __future__ import annotations

from pyrunc.run.story import creating, request_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.commands import Args


def run(args: Args) -> int:
    """Create the container; return 0 once it waits for `start`."""
    request, options = request_of(args, wait=True)
    with creating(args, request, options) as creation:
        creation.build()
    return 0
