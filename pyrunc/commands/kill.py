"""`pyrunc kill ID [SIGNAL]`: a signal to the container's process, or SIGKILL to all that share its fate."""

from __future__ import annotations

from pyrunc import log
from pyrunc.errors import OpError, StateError, UsageError
from pyrunc.state import open_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.commands import Args
    from pyrunc.state import Entry, StateRoot

SIGKILL, SIGTERM, LAST = 9, 15, 64
NOT_RUNNING = "container not running"
NO_CGROUP = (
    "failed to kill all processes, possibly due to lack of cgroup (Hint: enable cgroup v2 delegation): {}"
)


def run(args: Args) -> int:
    """Send the signal. Raises StateError when the container does not run; with --all that is a success."""
    name, *rest = args.positionals
    root, signal = open_root(args), rest[0] if rest else ""
    if args.options["regex"]:
        from pyrunc.commands.choose import for_each

        return for_each(root, name, lambda one: _kill_by_name(root, one, signal))
    try:
        _kill_by_name(root, name, signal)
    except StateError as error:
        if not (args.options["all"] and str(error) == NOT_RUNNING):
            raise
    return 0


def _kill_by_name(root: StateRoot, name: str, signal: str) -> None:
    with root.open(name) as entry:
        number = parse_signal(signal) if signal else SIGTERM
        kill(entry, number, entry.status())


def parse_signal(text: str) -> int:
    """Return the number of a signal: decimal, or a name with or without SIG, in any case."""
    if text.isascii() and text.isdecimal():
        digits = text.lstrip("0")
        if len(digits) <= len(str(LAST)) and int(digits or "0") <= LAST:
            return int(digits or "0")
    else:
        from pyrunc.spec.tables import SIGNALS  # engines send numbers

        name = text.upper()
        found = SIGNALS.get(name if name.startswith("SIG") else f"SIG{name}")
        if found is not None:
            return found
    raise UsageError(f"unknown signal {log.go_quote(text)}")


def kill(entry: Entry, number: int, status: str) -> None:
    """Send a signal to the container in its present status.

    Without a pid namespace of its own the end of its first process is not the end of the others, so SIGKILL goes
    to all of the cgroup: also when the first is gone and only others are left.
    """
    if number == SIGKILL and not entry.container.own_pid_namespace:
        _kill_all(entry, stopped=status == "stopped")
        return
    if status == "stopped":
        raise StateError(NOT_RUNNING)
    entry.signal(number)
    if number == SIGKILL and status == "paused":
        entry.manager().thaw()  # on v1, what is frozen does not even die


def _kill_all(entry: Entry, *, stopped: bool) -> None:
    manager = entry.manager()
    if stopped and not manager.pids():
        raise StateError(NOT_RUNNING)
    try:
        manager.kill(SIGKILL)
    except OpError as error:
        if not entry.container.rootless:
            raise
        log.warning(NO_CGROUP.format(error))
    if entry.is_alive():  # it has no cgroup, or one that we may not use
        try:
            entry.signal(SIGKILL)
        except StateError as error:
            log.debug(f"it has died meanwhile: {error}")
