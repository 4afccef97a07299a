"""The lock of a container, for commands that look at it and then change it: `delete`, `pause`, `resume`, `update`."""

from __future__ import annotations

import fcntl
import time

from pyrunc.errors import StateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.state import Entry

PATIENCE = 10.0
"""Seconds to wait for another command to leave the container alone."""
PAUSE = 0.01


def lock(entry: Entry) -> None:
    """Lock the container, but do not wait for ever: a hook of the command that holds it may be stuck. Raises StateError."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(entry.dir_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                raise StateError(f"container {entry.name}: another command is still working on it") from None
            time.sleep(PAUSE)
        else:
            entry.locked = True
            return
