"""`pyrunc delete ID`: remove a container that is not running; with --force, whatever there is of it."""

from __future__ import annotations

from pyrunc import _os as os
from pyrunc import log
from pyrunc.errors import SpecError, StateError
from pyrunc.run.destroy import destroy
from pyrunc.state import CGROUP, NO_SUCH, STATE, open_root
from pyrunc.state.lock import lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.commands import Args
    from pyrunc.spec.model import Hooks
    from pyrunc.state import Entry, StateRoot


def run(args: Args) -> int:
    """Delete the container. An unknown one is an error, and a success with --force."""
    name, force = args.positionals[0], bool(args.options["force"])
    root = open_root(args)
    if args.options["regex"]:
        from pyrunc.commands.choose import for_each

        return for_each(root, name, lambda one: _delete_by_name(root, one, force=force))
    try:
        _delete_by_name(root, name, force=force)
    except StateError as error:
        if not (force and str(error) == NO_SUCH):
            raise
    return 0


def _delete_by_name(root: StateRoot, name: str, *, force: bool) -> None:
    with root.open_directory(name) as entry:
        _delete(entry, force=force)


def _delete(entry: Entry, *, force: bool) -> None:
    lock(entry)
    try:
        entry.load()
    except StateError as error:
        _delete_leftover(entry, error, force=force)
        return
    status = entry.status()
    if not (force or status in ("stopped", "created")):
        raise StateError(f"cannot delete container {entry.name} that is not stopped: {status}")
    destroy(entry, _hooks_of(entry, force=force) if entry.container.hooks else None)


def _hooks_of(entry: Entry, *, force: bool) -> Hooks | None:
    """Return the hooks of a container, None where a `delete` before us was killed when it had removed all but the state.

    A config that cannot be read is an error, but it keeps nobody from removing the container by force.
    """
    try:
        return entry.read_spec().hooks
    except FileNotFoundError:
        return None
    except (SpecError, OSError) as error:
        if not force:
            raise
        log.warning(f"container {entry.name}: no poststop hooks are run: {error}")
        return None


def _delete_leftover(entry: Entry, error: StateError, *, force: bool) -> None:
    """Remove what has no state that can be read (`error`), if it is ours; unless forced, raise the error all the same.

    `create` begins with the record of the cgroup, so a directory with one is ours, and an empty one is
    nobody's. Any other belongs to another runtime, with which a root may be shared.
    """
    names = set(os.listdir(entry.dir_fd))
    if STATE in names and not force:
        raise error  # damaged: it can still be looked at
    if CGROUP in names:
        destroy(entry, None, manager=entry.recorded_manager())
    elif names <= {f".{CGROUP}"}:
        entry.remove()
    if not force:
        raise error
