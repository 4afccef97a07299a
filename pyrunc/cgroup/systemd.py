"""cgroup v2 by systemd: the container is a transient scope, which systemd makes around the container's first process.

systemd owns the directory, and is told every limit; the files are written as well, for what it has no property for. What
`delete` needs is the name of the unit, which the state has among what was made ("systemd:NAME").
"""

from __future__ import annotations

from errno import EACCES, EBUSY, EPERM

from pyrunc import _os as os
from pyrunc.cgroup import tree
from pyrunc.cgroup.below import SUBGROUP, sub_of
from pyrunc.cgroup.bus import Bus, BusError
from pyrunc.cgroup.gvariant import annotated
from pyrunc.cgroup.manager import JOIN, Place, refusal
from pyrunc.cgroup.paths import clean, join
from pyrunc.cgroup.units import expand_slice, parse_place, properties_of
from pyrunc.cgroup.v2 import ManagerV2, enable
from pyrunc.errors import HostError, OpError, StateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyrunc.cgroup.units import Property
    from pyrunc.host import CgroupLayout
    from pyrunc.spec.model import Spec
    from pyrunc.spec.resources import Resources

MADE = {False: "systemd:", True: "systemd-user:"}
"""Before the unit's name in the state; True for one of the caller's own manager."""
NEEDS_V2 = "the systemd cgroup driver needs a host with cgroup v2 alone"
GONE = frozenset({"org.freedesktop.systemd1.NoSuchUnit"})
EXISTS = "org.freedesktop.systemd1.UnitExists"
BUSY = "System.Error.EBUSY"
UNKNOWN = frozenset(
    {"org.freedesktop.DBus.Error.PropertyReadOnly", "org.freedesktop.DBus.Error.UnknownProperty"}
)


def open_scope(layout: CgroupLayout, spec: Spec, name: str, *, user: bool) -> ManagerSystemd:
    """Return the manager of a container that is to be made. Raises SpecError, HostError."""
    if layout.mode != "v2" or layout.v2 is None:
        raise HostError(NEEDS_V2)
    linux = spec.linux
    parent, unit = parse_place(linux.cgroups_path, name, user=user)
    bus = Bus(user=user)
    try:
        above = clean(str(bus.property("ControlGroup")))
    finally:
        bus.close()
    rel = clean(f"{above}{expand_slice(parent)}/{unit}")
    mount = layout.v2.mountpoint
    manager = ManagerSystemd([Place((), join(mount, rel), mount, rel)])
    manager.name, manager.user = unit, user
    manager.unprivileged = user
    manager.begin = [
        ("Description", ("s", f"pyrunc container {name}")),
        ("Slice", ("s", parent)),
        ("Delegate", ("b", True)),
        *[(f"{what}Accounting", ("b", True)) for what in ("Memory", "CPU", "IO", "Tasks")],
        ("DefaultDependencies", ("b", False)),
        *annotated(spec.annotations),
    ]
    manager.limits = properties_of(linux.resources, devices=not user)
    manager.sub = sub_of(spec.annotations, SUBGROUP)
    return manager


def find_unit(created: Iterable[str]) -> tuple[str, bool]:
    """Return the unit among what was made, and whether it is of the user's manager; "" without one."""
    for entry in created:
        for user, prefix in MADE.items():
            if entry.startswith(prefix):
                return entry.removeprefix(prefix), user
    return "", False


class ManagerSystemd(ManagerV2):
    """The cgroup of a scope."""

    name = ""
    """Of the unit."""
    user = False
    """It belongs to the caller's own manager."""
    begin: list[Property] | None = None
    """The properties to begin with; None for a scope that is there already."""
    limits: list[Property] = []
    """Those for `linux.resources`, whose files are written as well."""
    started = False

    def expected(self) -> list[str]:
        """Return what `create` would make now: the unit."""
        return [MADE[self.user] + self.name]

    def create(self) -> None:
        """Refuse a cgroup that is in use; the scope itself needs a process to begin with. Raises StateError or OpError."""
        if os.path.lexists(self.places[0].path):
            self._check_unused()
            self.close()

    def clone_fd(self) -> int:
        """Return -1 while the cgroup is yet to be made: nothing can be born in it."""
        return -1 if self.begin is not None else super().clone_fd()

    def join(self, pid: int) -> None:
        """Make the scope around the first process, and put later ones into it. Raises HostError or OpError."""
        if self.begin is None or self.started:
            self._join_later(pid)
            return
        self._start(pid, self.begin)
        self.started = True
        self.created = self.expected()
        if not self.user:
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
        try:
            super().join(pid)
        except OpError as error:
            # an ordinary user may not move a process out of the session's scope; their manager may (systemd 238)
            if not (self.user and error.errno in {EACCES, EPERM}) or not self.name:
                raise
            self._attach(pid)

    def _attach(self, pid: int) -> None:
        below = self.places[0].path.rpartition(f"/{self.name}")[
            2
        ]  # where the first process is now, if not in the scope itself
        try:
            self._ask("AttachProcessesToUnit", "ssau", self.name, below, [pid])
        except BusError as error:
            if error.name != BUSY:
                raise
            raise OpError(str(error), EBUSY) from None

    def _start(self, pid: int, properties: list[Property]) -> None:
        bus = Bus(user=self.user)
        try:
            try:
                result = self._begin(bus, pid, properties)
            except BusError as error:
                if error.name != EXISTS:
                    raise
                bus.call("ResetFailedUnit", "s", self.name)  # one that has failed keeps its name until then
                result = self._begin(bus, pid, properties)
        finally:
            bus.close()
        if result != "done":
            raise HostError(f'error creating systemd unit "{self.name}": got "{result}"')

    def _begin(self, bus: Bus, pid: int, properties: list[Property]) -> str:
        """Start the scope, without the limits that an older systemd does not know: their files are written anyway."""
        limits = self.limits
        while True:
            told = [("PIDs", ("au", [pid])), *properties, *limits]
            try:
                return bus.job("StartTransientUnit", "ssa(sv)a(sa(sv))", self.name, "fail", told, [])
            except BusError as error:
                left = [
                    one for one in limits if f" {one[0]}," not in str(error)
                ]  # "Cannot set property NAME, or ..."
                if error.name not in UNKNOWN or len(left) == len(limits):
                    raise
                limits = left

    def _ask(self, member: str, signature: str, *body: object) -> None:
        bus = Bus(user=self.user)
        try:
            bus.call(member, signature, *body)
        finally:
            bus.close()

    def apply(self, resources: Resources) -> None:
        """Write the limits, and tell systemd what it was not told when the scope began. Raises as ManagerV2 does."""
        if not self.started and self.name:
            self.check_usage(resources)  # before systemd sets a limit at which the kernel would kill
            told = properties_of(resources, devices=not (self.skip_devices or self.user))
            if told:
                self._ask("SetUnitProperties", "sba(sv)", self.name, True, told)  # noqa: FBT003  # runtime: not for ever
        super().apply(resources)

    def delete(self) -> None:
        """Stop the scope, which ends with its last process anyway, and clear it away if it has failed."""
        self.close()
        if not self.created:
            return
        bus = Bus(user=self.user)
        try:
            self._stop(bus)
        finally:
            bus.close()
        place = self.places[0]
        try:
            tree.remove_path(place.path, self.magic_of)
        except OSError as error:
            raise OpError(
                f"unable to remove container's cgroup: rmdir {place.path}", error.errno or EACCES
            ) from None
        self.created = []

    def _stop(self, bus: Bus) -> None:
        try:
            bus.job("StopUnit", "ss", self.name, "replace")
        except BusError as error:
            if error.name not in GONE:
                raise
        try:
            bus.call("ResetFailedUnit", "s", self.name)
        except BusError as error:
            if error.name not in GONE:
                raise


def check_path(path: str) -> None:
    """Refuse the path of a scope that is none: the cgroup below it will be removed. Raises StateError."""
    if not path.endswith(".scope"):
        raise StateError(f'not the path of a scope: "{path}"')
