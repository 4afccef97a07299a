"""Is it still the same process? A pid alone does not say: numbers are given out again."""

from __future__ import annotations

import _signal
import os
from errno import EINVAL, ENOENT, EPERM, ESRCH

from pyrunc.errors import OpError, StateError

NOT_RUNNING = "container not running"
ENDED = frozenset({b"Z", b"X", b"x"})
"""States of /proc/PID/stat in which a process has ended: a zombie waits for its parent only."""


def start_time(pid: int) -> int:
    """Return when a process started (field 22 of proc_pid_stat(5), in ticks since boot); 0 when it has ended."""
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
        try:
            stat = os.read(fd, 4096)
        finally:
            os.close(fd)
    except OSError as error:
        if error.errno not in {ENOENT, ESRCH}:
            raise OpError(f"read /proc/{pid}/stat", error.errno or EINVAL) from None
        return 0
    # the name in field 2 may hold blanks and parentheses; from the last one on there are none
    fields = stat[stat.rindex(b")") + 2 :].split(b" ", 20)
    return 0 if fields[0] in ENDED else int(fields[19])


def is_alive(pid: int, start: int) -> bool:
    """Tell whether the process that had this pid at that time has not ended."""
    return pid > 0 and start_time(pid) == start != 0


def open_pidfd(pid: int, start: int) -> int:
    """Return a pidfd of that very process. Raises StateError when it has ended.

    The descriptor first, the start time after it: so the pid cannot change hands between the two.
    """
    if pid <= 0:
        raise StateError(NOT_RUNNING)
    try:
        fd = os.pidfd_open(pid)
    except OSError as error:
        if error.errno not in {ESRCH, EINVAL}:  # EINVAL: the number is a thread's by now
            raise OpError(f"pidfd_open {pid}", error.errno or EINVAL) from None
        raise StateError(NOT_RUNNING) from None
    if not is_alive(pid, start):
        os.close(fd)
        raise StateError(NOT_RUNNING)
    return fd


def send_signal(pidfd: int, number: int) -> None:
    """Send a signal through a pidfd. Raises StateError when the process has ended meanwhile, else OpError."""
    try:
        _signal.pidfd_send_signal(pidfd, number)
    except OSError as error:
        if error.errno == ESRCH:
            raise StateError(NOT_RUNNING) from None
        raise OpError("unable to signal init", error.errno or EPERM) from None
