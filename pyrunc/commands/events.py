"""`pyrunc events ID`: what the container uses, now and then, and when it runs out of memory; JSON, an object a line."""

from __future__ import annotations

import select
import time

from pyrunc import _os as os
from pyrunc import log
from pyrunc.cgroup.oom import OomWatch
from pyrunc.cgroup.stats import stats_of
from pyrunc.commands import write
from pyrunc.errors import OpError, PyruncError, StateError, UsageError
from pyrunc.spec.jsontext import dumps
from pyrunc.spec.units import SECOND, parse_duration
from pyrunc.state import open_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyrunc.cgroup.manager import Manager
    from pyrunc.commands import Args
    from pyrunc.state import Entry

    Show = Callable[[str, "dict[str, object] | None"], None]

LINGER = 0.2
"""Seconds between two looks at a container whose first process has ended while others go on."""


def run(args: Args) -> int:
    """Print until the container ends; or once, with --stats. Raises StateError for one that has ended."""
    name = args.positionals[0]
    with open_root(args).open(name) as entry:
        interval = parse_duration(args.options["interval"])
        if interval <= 0:
            raise UsageError("duration interval must be greater than 0")
        if entry.status() == "stopped":
            raise StateError(f"container with id {name} is not running")
        show = _shower(name)
        if args.options["stats"]:
            show("stats", all_stats(entry, entry.manager()))
        else:
            Watch(entry, interval / SECOND, show).run()
    return 0


def all_stats(entry: Entry, manager: Manager) -> dict[str, object]:
    """Return what runc's events have: the cgroup's, and where the container is in a class of resctrl, that class's."""
    found = stats_of(manager)
    group, _made = entry.read_groups()
    if group:
        from pyrunc.cgroup.resctrl_use import stats
        from pyrunc.host import find_resctrl

        found["intel_rdt"] = stats(find_resctrl(), group, entry.name)
    return found


def _shower(name: str) -> Show:
    """Return who prints an event: for a person at a terminal, else for a program."""
    if os.isatty(1):
        from pyrunc.commands.meter import Meter

        return Meter(name).show
    return lambda kind, data: _print(name, kind, data)


def _print(name: str, kind: str, data: dict[str, object] | None) -> None:
    event: dict[str, object] = {"type": kind, "id": name}
    if data is not None:
        event["data"] = data
    write(dumps(event, go_html_escape=True) + "\n")


class Watch:
    """A container under watch, until it ends or its cgroup is gone."""

    def __init__(self, entry: Entry, interval: float, show: Show) -> None:
        self.entry = entry
        self.manager: Manager = entry.manager()
        self.interval = interval
        self.show = show
        self.pidfd = entry.open_pidfd()
        self.ended = False

    def run(self) -> None:
        """Print what happens."""
        try:
            with OomWatch(self.manager) as oom:
                if not oom.available:
                    log.warning("no notices of lacking memory: memory controller missing")
                self._follow(oom)
        finally:
            os.close(self.pidfd)

    def _follow(self, oom: OomWatch) -> None:
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        for fd, events in oom.watched.items():
            poll.register(fd, events)
        due = time.monotonic() + self.interval
        while not self._is_over():
            left = due - time.monotonic()
            ready = poll.poll(max(0, (min(left, LINGER) if self.ended else left) * 1000))
            if any(fd == self.pidfd for fd, _events in ready):
                self.ended = True
                poll.unregister(self.pidfd)
            for _ in range(oom.count()):
                self.show("oom", None)
            if time.monotonic() >= due:
                due += self.interval
                self._show_stats()

    def _is_over(self) -> bool:
        """Tell whether nothing of the container lives: its first process may have left others behind."""
        place = self.manager.main()
        if place is None:
            return self.ended
        return not os.path.exists(place.path) or (self.ended and not self.manager.pids())

    def _show_stats(self) -> None:
        try:
            self.show("stats", all_stats(self.entry, self.manager))
        except OpError as error:
            if not self._is_over():  # else it ended while we read
                log.warning(str(error))
        except PyruncError as error:
            log.warning(str(error))
