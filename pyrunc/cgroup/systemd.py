"""cgroup v2 by systemd: systemd owns the directory, and is told every limit; the files are written as well, for what it has
no property for.
"""

from __future__ import annotations

from errno import EACCES, EPERM

from pyrunc import _os as os
from pyrunc.cgroup import tree
from pyrunc.cgroup.below import SUBGROUP, sub_of
from pyrunc.cgroup.gvariant import annotated
from pyrunc.cgroup.manager import JOIN, Place, refusal
from pyrunc.cgroup.paths import at_mount, clean, join
from pyrunc.cgroup.scope import Scope, connect
from pyrunc.cgroup.units import expand_slice, parse_place, properties_of
from pyrunc.cgroup.v2 import ManagerV2, enable
from pyrunc.errors import HostError, OpError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.cgroup.manager import Manager
    from pyrunc.host import CgroupLayout
    from pyrunc.spec.model import Spec
    from pyrunc.spec.resources import Resources

NO_CGROUPS = "the systemd cgroup driver needs cgroups: no hierarchy is mounted"
NOT_BY_USERS = "cannot use rootless systemd cgroups manager on cgroup v1"


def open_scope(layout: CgroupLayout, spec: Spec, name: str, *, user: bool) -> Manager:
    """Return the manager of a container that is to be made. Raises SpecError, HostError."""
    if layout.mode == "none":
        raise HostError(NO_CGROUPS)
    if user and layout.mode != "v2":
        raise HostError(NOT_BY_USERS)
    parent, unit = parse_place(spec.linux.cgroups_path, name, user=user)
    bus = connect(user=user)
    above = clean(str(bus.property("ControlGroup")))
    scope = Scope(unit, user=user, begin=[
        ("Description", ("s", f"pyrunc container {name}")),
        ("Slice", ("s", parent)),
        ("Delegate", ("b", True)),
        *[(f"{what}Accounting", ("b", True)) for what in ("Memory", "CPU", "IO", "Tasks")],
        ("DefaultDependencies", ("b", False)),
        *annotated(spec.annotations),
    ])  # fmt: skip
    scope.bus = bus
    places = []
    for hierarchy in (*layout.v1, layout.v2):
        if hierarchy is not None:
            rel = at_mount(hierarchy, f"{above}{expand_slice(parent)}/{unit}")
            places.append(
                Place(hierarchy.controllers, join(hierarchy.mountpoint, rel), hierarchy.mountpoint, rel)
            )
    if layout.mode != "v2":
        from pyrunc.cgroup.systemd_v1 import open_v1

        return open_v1(spec, places, scope)
    scope.limits = properties_of(spec.linux.resources, devices=not user)
    manager = ManagerSystemd(places)
    manager.scope = scope
    manager.unprivileged = user
    manager.sub = sub_of(spec.annotations, SUBGROUP)
    return manager


class ManagerSystemd(ManagerV2):
    """The cgroup of a scope."""

    scope = Scope("", user=False)

    def expected(self) -> list[str]:
        """Return what `create` would make now: the unit."""
        return [self.scope.entry]

    def create(self) -> None:
        """Refuse a cgroup that is in use; the scope itself needs a process to begin with. Raises StateError or OpError."""
        if os.path.lexists(self.places[0].path):
            self._check_unused()
            self.close()

    def clone_fd(self) -> int:
        """Return -1 while the cgroup is yet to be made: nothing can be born in it."""
        return -1 if self.scope.begin is not None else super().clone_fd()

    def join(self, pid: int) -> None:
        """Make the scope around the first process, and put later ones into it. Raises HostError or OpError."""
        if not self.scope.pending:
            self._join_later(pid)
            return
        self.scope.start(pid)
        self.created = self.expected()
        if not self.scope.user:
            self._hand_down()
        if self.sub:
            self.go_down(pid, self.sub)
            self.owner = None  # the scope above it stays systemd's
        self._prepare()

    def _hand_down(self) -> None:
        """Let the scope have every controller: systemd enables those alone that it knows (not hugetlb, rdma, misc)."""
        place = self.places[0]
        names = place.rel.split("/")
        try:
            mount = tree.open_mount(place.mountpoint, self.magic_of)
            try:
                for depth in range(len(names)):
                    enable(mount, "/".join(names[:depth]) or ".")
            finally:
                os.close(mount)
        except OSError as error:
            raise refusal(f"{JOIN}: {place.path}", error) from None

    def _join_later(self, pid: int) -> None:
        scope = self.scope
        try:
            super().join(pid)
        except OpError as error:
            # an ordinary user may not move a process out of the session's scope; their manager may (systemd 238)
            if not (scope.user and error.errno in {EACCES, EPERM}) or not scope.name:
                raise
            # where the first process is now, if not in the scope itself
            scope.attach(pid, self.places[0].path.rpartition(f"/{scope.name}")[2])

    def apply(self, resources: Resources) -> None:
        """Write the limits, and tell systemd what it was not told when the scope began. Raises as ManagerV2 does."""
        if not self.scope.started and self.scope.name:
            self.check_usage(resources)  # before systemd sets a limit at which the kernel would kill
            self.scope.tell(properties_of(resources, devices=not (self.skip_devices or self.scope.user)))
        super().apply(resources)

    def delete(self) -> None:
        """Stop the scope, and remove what is left of it. Raises HostError or OpError."""
        self.close()
        if not self.created:
            return
        self.scope.stop()
        place = self.places[0]
        try:
            tree.remove_path(place.path, self.magic_of)
        except OSError as error:
            raise OpError(
                f"unable to remove container's cgroup: rmdir {place.path}", error.errno or EACCES
            ) from None
        self.created = []
