"""Undo a container: its processes, its cgroup, its state directory, and then its poststop hooks.

Each step can be repeated: a `delete` that was killed is finished by the next one. The state directory goes last of what was
made, so that there is a next one.
"""

from __future__ import annotations

import _signal
import os
import select

from pyrunc import log
from pyrunc.errors import OpError, PyruncError, StateError
from pyrunc.run.hooks import run_hook, state_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.cgroup.manager import Manager
    from pyrunc.spec.model import Hooks
    from pyrunc.state import Entry

PATIENCE_MS = 10_000


def destroy(entry: Entry, hooks: Hooks | None, *, manager: Manager | None = None) -> None:
    """Kill what is left, remove what was made, run the poststop hooks. Raises OpError when something cannot be removed.

    A poststop hook that fails is a warning; the ones after it still run (LC-13).
    """
    manager = manager or entry.manager()
    end_process(entry)
    manager.kill(_signal.SIGKILL)  # all of it at once; with a pid namespace of its own nothing is left by now
    manager.delete()
    entry.remove()
    run_poststop(entry, hooks)


def end_process(entry: Entry) -> None:
    """SIGKILL the container's process and wait for its end. Raises OpError when it does not end."""
    try:
        pidfd = entry.open_pidfd()
    except StateError:
        return  # it has ended, or never was
    try:
        entry.signal(_signal.SIGKILL)
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        if not poll.poll(PATIENCE_MS):
            raise OpError("container init still running")
    except StateError:
        return
    finally:
        os.close(pidfd)


def run_poststop(entry: Entry, hooks: Hooks | None) -> None:
    """Run the poststop hooks: the container is gone, they are told its last state."""
    if hooks is None or not hooks.poststop:
        return
    state = state_json(entry.container, "stopped", 0)
    for index, hook in enumerate(hooks.poststop):
        try:
            run_hook(hook, "poststop", index, state)
        except PyruncError as error:
            log.warning(str(error))
