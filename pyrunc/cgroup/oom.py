"""Notices that the kernel makes when a cgroup runs out of memory: an eventfd on v1, a file to poll on v2."""

from __future__ import annotations

import select
from errno import EAGAIN, ENODEV, ENOENT

from pyrunc import _os as os
from pyrunc.cgroup import tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

    from pyrunc.cgroup.manager import Manager, Place

GONE = frozenset({ENOENT, ENODEV})


class OomWatch:
    """Tells how often a cgroup has run out of memory since it was last asked; `watched` is what to poll meanwhile."""

    def __init__(self, manager: Manager) -> None:
        self.watched: dict[int, int] = {}
        self._owned: list[int] = []
        self._manager = manager
        self._eventfd = -1
        self._seen = manager.oom_kills()
        place = _memory_place(manager)
        self.available = place is not None
        if place is not None and place.controllers:
            self._register(manager.fd_of(place))
        elif place is not None:
            self._follow(manager.fd_of(place))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        for fd in self._owned:
            os.close(fd)

    def _register(self, cgroup: int) -> None:
        """Have v1 write to an eventfd; a kernel without event_control leaves the counter to look at."""
        try:
            control = os.open("memory.oom_control", os.O_RDONLY | os.O_CLOEXEC, dir_fd=cgroup)
            self._owned.append(control)
            notice = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            self._owned.append(notice)
            tree.write_at(cgroup, "cgroup.event_control", f"{notice} {control}")
        except OSError as error:
            if error.errno not in GONE:
                raise
            return
        self._eventfd = notice
        self.watched[notice] = select.POLLIN

    def _follow(self, cgroup: int) -> None:
        """Poll v2's memory.events: kernfs wakes with POLLPRI whenever one of its counters has changed."""
        try:
            events = os.open("memory.events", os.O_RDONLY | os.O_CLOEXEC, dir_fd=cgroup)
        except FileNotFoundError:
            self.available = False  # no memory controller
            return
        self._owned.append(events)
        self.watched[events] = select.POLLPRI
        os.read(events, 4096)  # what has changed so far is known

    def count(self) -> int:
        """Return the number of notices since the last call."""
        if self._eventfd >= 0:
            return self._notices()
        for fd in self.watched:
            self._reread(fd)
        kills = self._manager.oom_kills()
        new, self._seen = max(kills - self._seen, 0), kills
        return new

    def _notices(self) -> int:
        """Return 1 if the eventfd was written to; the kernel does that also when the cgroup is removed."""
        try:
            os.eventfd_read(self._eventfd)
        except OSError as error:
            if error.errno != EAGAIN:
                raise
            return 0
        place = _memory_place(self._manager)
        return int(place is not None and os.path.exists(place.path))

    def _reread(self, fd: int) -> None:
        """Read the file from its start: until then it counts as changed."""
        try:
            os.lseek(fd, 0, os.SEEK_SET)
            os.read(fd, 4096)
        except OSError as error:
            if error.errno not in GONE:  # the cgroup is being removed
                raise


def _memory_place(manager: Manager) -> Place | None:
    from pyrunc.cgroup.v1 import ManagerV1

    if isinstance(manager, ManagerV1):
        return manager.place_of("memory")
    return manager.main()
