"""Undo a container: its processes, its cgroup, its state directory, and then its poststop hooks.

Each step can be repeated: a `delete` that was killed is finished by the next one. The state directory goes
last of what was made, so that there is a next one.
"""

from __future__ import annotations

import select

from pyrunc import _os as os
from pyrunc import log
from pyrunc.errors import OpError, PyruncError, StateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal

    from pyrunc.cgroup.manager import Manager
    from pyrunc.spec.model import Hooks
    from pyrunc.state import Entry
else:
    import _signal  # the public module imports enum

PATIENCE_MS = 10_000


def destroy(entry: Entry, hooks: Hooks | None, *, manager: Manager | None = None, begun: bool = True) -> None:
    """Kill what is left, remove what was made, run the poststop hooks. Raises OpError for what cannot be removed.

    Not `begun` is a container of which no process was ever started: whoever is in its cgroup is somebody else (a
    cgroup with processes in it is refused). A poststop hook that fails is a warning; the ones after it still run (LC-13).
    """
    manager = manager or entry.manager()
    end_process(entry, manager)
    if begun and (entry.is_begun() or manager.created):
        manager.kill(_signal.SIGKILL)  # with a pid namespace of its own nothing is left by now
    manager.delete()
    _, groups = entry.read_groups()
    if groups:
        from pyrunc.cgroup import resctrl

        resctrl.remove(groups)
    entry.remove()
    run_poststop(entry, hooks)


def end_process(entry: Entry, manager: Manager) -> None:
    """SIGKILL the container's process and wait for its end. Raises OpError when it does not end."""
    try:
        pidfd = entry.open_pidfd()
    except (StateError, FileNotFoundError):
        return  # it has ended, or never was: the file is the record that `create` begins with
    try:
        entry.signal(_signal.SIGKILL)
        if manager.frozen():
            manager.thaw()  # on v1, what is frozen does not even die
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        if not poll.poll(PATIENCE_MS):
            raise OpError("container init still running")
    except StateError:
        return  # it ended by itself
    finally:
        os.close(pidfd)


def run_poststop(entry: Entry, hooks: Hooks | None) -> None:
    """Run the poststop hooks: the container is gone, they are told its last state."""
    if hooks is None or not hooks.poststop:
        return
    from pyrunc.run.hooks import run_hook, state_json

    state = state_json(entry.container, "stopped", 0)
    for index, hook in enumerate(hooks.poststop):
        try:
            run_hook(hook, "poststop", index, state, entry.container.annotations)
        except PyruncError as error:
            log.warning(str(error))
