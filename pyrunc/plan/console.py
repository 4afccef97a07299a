"""The session of the process: its terminal, or the guarantee that it has none."""

from __future__ import annotations

from _struct import pack
from errno import EINVAL, EPERM, EROFS

from pyrunc import _os as os
from pyrunc.plan.builder import FILE, STDIO
from pyrunc.plan.kernel import (
    KEEP_ID,
    O_PATH,
    ONE_STEP,
    TIOCSCTTY,
    TIOCSWINSZ,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.plan.builder import Slot
    from pyrunc.plan.context import Context

TERMINAL = "process.terminal"


def start_session(c: Context) -> None:
    """Become the leader of a session of our own: nothing of the container can type into the caller's
    terminal (TIOCSTI).

    After PIVOT, for the terminal comes from the container's devpts; before the root may become read-only.
    """
    if c.process.terminal:
        slave = _open_terminal(c)
        _mount_console(c, slave)
        c.b.setsid(TERMINAL)
        for fd in range(3):
            c.b.dup2(slave, fd, TERMINAL)
        c.b.ioctl(slave, TIOCSCTTY, b"", TERMINAL)
    else:
        c.b.setsid(TERMINAL)
        _own_stdio(c)


def _open_terminal(c: Context) -> Slot:
    """Make a pty in the container's devpts, send its master to the caller, size it, give it to the user."""
    size = c.process.console_size
    ptmx = c.b.open(c.root, "dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC, TERMINAL)
    slave = c.b.pty(ptmx, TERMINAL)
    if size is not None:
        dimensions = pack("=4H", min(size.height, 0xFFFF), min(size.width, 0xFFFF), 0, 0)
        c.b.ioctl(slave, TIOCSWINSZ, dimensions, "process.consoleSize")
    c.b.sendfd(c.b.input("console"), ptmx, b"/dev/ptmx", TERMINAL)
    if c.process.user.uid:
        c.b.chown(
            slave, c.process.user.uid, KEEP_ID, TERMINAL
        )  # the group stays the one of devpts' gid= option
    return slave


def _mount_console(c: Context, slave: Slot) -> None:
    """Mount the slave on /dev/console. The slave is below the new root, so it can be cloned after PIVOT.

    A /dev/console that is a symbolic link is refused: the image would choose what is covered (runc 1.1
    truncated it).
    """
    if not c.mountns or c.inside:
        return  # of a container that runs, /dev/console belongs to its first process
    copy = c.b.clone(slave, "", TERMINAL)
    dev = c.b.mkpath(c.root, "dev", TERMINAL)
    c.b.mkpath(dev, "console", TERMINAL, kind=FILE, mode=0o600)
    target = c.b.open(dev, "console", O_PATH, TERMINAL, resolve=ONE_STEP)
    c.b.move(copy, target, TERMINAL)


def _own_stdio(c: Context) -> None:
    """Give pipes, sockets and files on fds 0-2 to the user, who may want to open /dev/stdout."""
    for slot, wanted in zip(STDIO, c.facts.stdio, strict=True):
        if wanted:
            c.b.chown(slot, c.process.user.uid, KEEP_ID, "process.user.uid")
            c.b.tolerate(
                EPERM, EROFS, EINVAL
            )  # unmapped owner, read-only file system: the fd itself works all the same
