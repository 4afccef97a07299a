"""`pyrunc restore ID`: bring a container back from the files of `checkpoint`, by criu(8)."""

from __future__ import annotations

from pyrunc.commands.run import destroy_ended, prepare_foreground
from pyrunc.run.restore import Restore, fill
from pyrunc.run.story import creating, request_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.commands import Args


def run(args: Args) -> int:
    """Return the exit code of the container's process; 0 as soon as it runs again when detached."""
    fill(args)
    request, options = request_of(args, wait=False)
    wakeup = -1
    if not args.options["detach"]:
        wakeup = prepare_foreground(subreaper=not args.options["no-subreaper"])
    with creating(args, request, options) as creation:
        restore = Restore(args, creation)
        restore.run()
    if wakeup < 0:
        return 0
    from pyrunc.run.foreground import wait_foreground

    relay = None
    if restore.master >= 0:
        from pyrunc.run.console import Relay, open_host_terminal

        relay = Relay(restore.master, open_host_terminal())
    code = wait_foreground(creation.pid, creation.pidfd, wakeup, relay)
    creation.entry.lock()
    if not creation.entry.is_gone():
        destroy_ended(creation)
    return code
