"""The transient scope that systemd makes for a container, whatever the version of cgroup.

systemd makes it around the container's first process. What `delete` needs is its name, which the state has among what was made
("systemd:NAME").
"""

from __future__ import annotations

from errno import EBUSY

from pyrunc.errors import BusError, HostError, OpError, StateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyrunc.cgroup.bus import Bus
    from pyrunc.cgroup.units import Property

MADE = {False: "systemd:", True: "systemd-user:"}
"""Before the unit's name in the state; True for one of the caller's own manager."""
GONE = frozenset({"org.freedesktop.systemd1.NoSuchUnit"})
EXISTS = "org.freedesktop.systemd1.UnitExists"
BUSY = "System.Error.EBUSY"
UNKNOWN = frozenset(
    {"org.freedesktop.DBus.Error.PropertyReadOnly", "org.freedesktop.DBus.Error.UnknownProperty"}
)


def connect(*, user: bool) -> Bus:
    """Connect to the system's manager, or to the caller's own. Raises HostError."""
    # with it comes jeepney, which is not for `exec`, `pause` and others that have nothing to ask
    from pyrunc.cgroup.bus import Bus

    return Bus(user=user)


class Scope:
    """A unit, and what systemd is asked to do with it. Methods raise HostError, BusError for what systemd answers."""

    def __init__(self, name: str, *, user: bool, begin: list[Property] | None = None) -> None:
        """Take the unit's name and whose manager has it; `begin` has the properties of one that is to be started."""
        self.name = name
        self.user = user
        self.begin = begin
        self.limits: list[Property] = []
        """Those for `linux.resources`, whose files are written as well."""
        self.started = False
        self.bus: Bus | None = None
        """To begin with, if there is one already."""

    @property
    def pending(self) -> bool:
        """It is to be started, and has not been."""
        return self.begin is not None and not self.started

    @property
    def entry(self) -> str:
        """What the state has of it."""
        return MADE[self.user] + self.name

    def start(self, pid: int) -> None:
        """Make the scope around a process. Raises HostError."""
        assert self.begin is not None
        bus = self.bus or connect(user=self.user)
        try:
            try:
                result = self._begin(bus, pid, self.begin)
            except BusError as error:
                if error.name != EXISTS:
                    raise
                bus.call("ResetFailedUnit", "s", self.name)  # one that has failed keeps its name until then
                result = self._begin(bus, pid, self.begin)
        finally:
            bus.close()
        if result != "done":
            raise HostError(f'error creating systemd unit "{self.name}": got "{result}"')
        self.started = True

    def _begin(self, bus: Bus, pid: int, properties: list[Property]) -> str:
        """Start the scope, without the limits that an older systemd does not know: their files are written anyway."""
        limits = self.limits
        while True:
            told = [("PIDs", ("au", [pid])), *properties, *limits]
            try:
                return bus.job("StartTransientUnit", "ssa(sv)a(sa(sv))", self.name, "fail", told, [])
            except BusError as error:
                # "Cannot set property NAME, or ..."
                left = [one for one in limits if f" {one[0]}," not in str(error)]
                if error.name not in UNKNOWN or len(left) == len(limits):
                    raise
                limits = left

    def attach(self, pid: int, below: str) -> None:
        """Put a process into the cgroup `below` the scope's, "" for that itself. Raises HostError or OpError."""
        try:
            self._ask("AttachProcessesToUnit", "ssau", self.name, below, [pid])
        except BusError as error:
            if error.name != BUSY:
                raise
            raise OpError(str(error), EBUSY) from None

    def tell(self, properties: list[Property]) -> None:
        """Set limits until the machine ends."""
        if properties:
            self._ask("SetUnitProperties", "sba(sv)", self.name, True, properties)  # noqa: FBT003  # runtime: not for ever

    def _ask(self, member: str, signature: str, *body: object) -> None:
        bus = connect(user=self.user)
        try:
            bus.call(member, signature, *body)
        finally:
            bus.close()

    def stop(self) -> None:
        """Stop the scope, which ends with its last process anyway, and clear it away if it has failed."""
        bus = connect(user=self.user)
        try:
            for ask, words in (
                (bus.job, ("StopUnit", "ss", self.name, "replace")),
                (bus.call, ("ResetFailedUnit", "s", self.name)),
            ):
                try:
                    ask(*words)
                except BusError as error:
                    if error.name not in GONE:
                        raise
        finally:
            bus.close()


def find_scope(created: Iterable[str]) -> Scope:
    """Return the scope that is among what was made; without a name when there is none (any more)."""
    for entry in created:
        for user, prefix in MADE.items():
            if entry.startswith(prefix):
                return Scope(entry.removeprefix(prefix), user=user)
    return Scope("", user=False)


def check_path(path: str) -> None:
    """Refuse the path of a scope that is none: the cgroup below it will be removed. Raises StateError."""
    if not path.endswith(".scope"):
        raise StateError(f'not the path of a scope: "{path}"')
