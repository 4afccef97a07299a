"""`pyrunc start ID`: run the program of a created container."""

from __future__ import annotations

from pyrunc import _os as os
from pyrunc.run.start import Start, check_created
from pyrunc.state import open_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.commands import Args
    from pyrunc.run.notify import Notify
    from pyrunc.state import Entry


def run(args: Args) -> int:
    """Start the container; return 0 once its program runs and the poststart hooks have."""
    with open_root(args).open(args.positionals[0], lock=True) as entry:
        check_created(entry.status())
        notify = _open_notify(entry)
        Start(entry).go()
        if notify is not None:
            pid, pidfd = entry.container.init_process_pid, entry.open_pidfd()
            entry.unlock()  # the program takes its time, and may be deleted meanwhile
            notify.wait(pidfd, pid)
    return 0


def _open_notify(entry: Entry) -> Notify | None:
    """Return the socket for the program's READY, where the caller wants it and the container was made for it."""
    manager = os.environ.get("NOTIFY_SOCKET", "")
    if not manager or not os.path.isdir(f"/proc/self/fd/{entry.dir_fd}/notify"):
        return None
    from pyrunc.run.notify import Notify

    return Notify(entry, manager)
