"""cgroup v1 by systemd, hybrid hosts included: the scope is in the hierarchies that systemd knows, and in the others we make
the same directory.
"""

from __future__ import annotations

from pyrunc.cgroup.below import NEEDS_V2, SUBGROUP
from pyrunc.cgroup.scope import Scope
from pyrunc.cgroup.units import properties_v1
from pyrunc.cgroup.v1 import ManagerV1
from pyrunc.errors import Fault, SpecError
from pyrunc.host import groups_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyrunc.cgroup.manager import Place
    from pyrunc.spec.model import Spec
    from pyrunc.spec.resources import Resources

KNOWN = frozenset({"name=systemd", "cpu", "cpuacct", "blkio", "memory", "devices", "pids"})
"""What systemd makes a delegated scope in; in the unified hierarchy, which has no controllers here, it does as well."""


def open_v1(spec: Spec, places: Sequence[Place], scope: Scope) -> ManagerSystemdV1:
    """Return the manager of a container that is to be made. Raises SpecError."""
    if SUBGROUP in spec.annotations:
        raise SpecError([Fault(f"annotations.{SUBGROUP}", NEEDS_V2)])
    scope.limits = properties_v1(spec.linux.resources, devices=True)
    manager = ManagerSystemdV1(places)
    manager.scope = scope
    manager.resources = spec.linux.resources
    return manager


class ManagerSystemdV1(ManagerV1):
    """The cgroup of a scope in all v1 hierarchies."""

    scope = Scope("", user=False)

    def ours(self) -> list[Place]:
        """Return the places that systemd does not know; all of them once it has made its own."""
        if not self.scope.pending:
            return super().ours()
        return [place for place in self.places if place.controllers and KNOWN.isdisjoint(place.controllers)]

    def expected(self) -> list[str]:
        """Return what `create` and `join` would make now: the unit first, which tells `from_state` what we are."""
        return [self.scope.entry, *super().expected()]

    def create(self) -> None:
        """Make the directories that systemd will not. Raises OpError, HostError or StateError."""
        super().create()
        for place in self.places:
            if place not in self.ours():
                self._close(place)  # one that somebody has left behind: systemd may make it anew

    def clone_fd(self) -> int:
        """Return -1 while the cgroup is yet to be made: nothing can be born in it."""
        return -1 if self.scope.begin is not None else super().clone_fd()

    def join(self, pid: int) -> None:
        """Make the scope around the first process, and put later ones into it. Raises HostError or OpError."""
        if not self.scope.pending:
            super().join(pid)
            return
        self.scope.start(pid)
        self.created.insert(0, self.scope.entry)
        self._prepare()
        groups = groups_of(pid)
        for place in self.places:
            if groups.get(place.controllers, "").rpartition("/")[2] != self.scope.name:
                self._make(place)
                self._enter(self.fd_of(place), str(pid))

    def _prepare(self) -> None:
        """Write what must stand before the first process joins, as soon as the directories are there."""
        if not self.scope.pending:
            super()._prepare()

    def apply(self, resources: Resources) -> None:
        """Write the limits, and tell systemd what it was not told when the scope began. Raises as ManagerV1 does."""
        if not self.scope.started and self.scope.name:
            self.scope.tell(properties_v1(resources, devices=not self.skip_devices))
        super().apply(resources)

    def delete(self) -> None:
        """Stop the scope, and remove what we made ourselves. Raises HostError or OpError."""
        if self.scope.entry in self.created:
            self.scope.stop()
            self.created = [*self.created[1:], *[place.path for place in self.places]]
        super().delete()
