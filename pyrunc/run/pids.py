"""Processes of ours, and the files that tell their ids."""

from __future__ import annotations

import _signal
from errno import EEXIST, EPERM, ESRCH

from pyrunc import _os as os
from pyrunc.errors import OpError
from pyrunc.sys import pidfd_send_signal


def kill_and_reap(pid: int, pidfd: int) -> None:
    """SIGKILL a child of ours, and wait for its end."""
    try:
        pidfd_send_signal(pidfd, _signal.SIGKILL)
    except OSError as error:
        if error.errno != ESRCH:
            raise
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        return  # a foreground run's loop has reaped it already


def write_pid_file(path: str, pid: int) -> None:
    """Write the pid, decimal, by temporary file and rename: callers wait for the name to appear. Raises OpError."""
    directory, _, name = path.rpartition("/")
    temporary = f"{directory}/.{name}"
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            os.write(fd, b"%d" % pid)
        finally:
            os.close(fd)
        os.rename(temporary, path)
    except OSError as error:
        if error.errno != EEXIST:  # else it is somebody else's
            remove_file(temporary)
        raise OpError(f"--pid-file: write {path}", error.errno or EPERM) from None


def remove_file(path: str) -> None:
    """unlink(2); a file that is not there is fine."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
