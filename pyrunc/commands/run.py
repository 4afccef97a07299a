"""`pyrunc run ID`: create and start in one go; in the foreground unless --detach."""

from __future__ import annotations

from pyrunc.errors import PyruncError
from pyrunc.run.conduct import Ended
from pyrunc.run.story import creating, request_of
from pyrunc.run.trace import TRACE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.commands import Args
    from pyrunc.run.create import Creation


def run(args: Args) -> int:
    """Return the exit code of the container's process; 0 as soon as it runs when detached."""
    request, options = request_of(args, wait=False)
    wakeup = -1
    if not args.options["detach"]:
        wakeup = prepare_foreground(subreaper=not args.options["no-subreaper"])
    with creating(args, request, options) as creation:
        talk = creation.build()
        try:
            talk.run()
        except Ended:
            creation.output.close()  # of the startContainer hooks
            if creation.entry.container.phase != "running":
                creation.entry.enter("running")
        creation.hooks_ran = True  # the program has run: poststop hooks are due, whatever comes
        if creation.spec.hooks.poststart:
            from pyrunc.run.start import poststart

            poststart(creation.entry, creation.spec)
    if wakeup < 0:
        if creation.notify is not None:
            creation.notify.wait(creation.pidfd, creation.pid)
        return 0
    return _foreground(creation, wakeup, keep=bool(args.options["keep"]))


def prepare_foreground(*, subreaper: bool) -> int:
    """Get ready to serve a container in the foreground; return the pipe that signals come by."""
    from pyrunc.run.foreground import catch_signals
    from pyrunc.sys import become_subreaper

    if subreaper:
        become_subreaper()
    return catch_signals()


def _foreground(creation: Creation, wakeup: int, *, keep: bool) -> int:
    from pyrunc.run.foreground import wait_foreground

    relay = None
    if creation.master is not None:
        from pyrunc.run.console import Relay, open_host_terminal, receive_master

        relay = Relay(receive_master(creation.master), open_host_terminal())
    code = wait_foreground(creation.pid, creation.pidfd, wakeup, relay, creation.notify)
    TRACE.phase("wait for the program")
    creation.entry.lock()
    if not keep and not creation.entry.is_gone():
        destroy_ended(creation)
    TRACE.phase("destroy")
    return code


def destroy_ended(creation: Creation) -> None:
    """Remove what is left of an ended container; the program's exit code counts for more than a failure here."""
    from pyrunc import log
    from pyrunc.run.destroy import destroy

    try:
        destroy(creation.entry, creation.spec.hooks, manager=creation.prepared.manager)
    except PyruncError as error:
        log.warning(str(error))
