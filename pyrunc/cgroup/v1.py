"""cgroup v1: one directory in each mounted hierarchy, the unified one beside them included."""

from __future__ import annotations

import time
from errno import EBUSY, EINVAL, ETIMEDOUT

from pyrunc import _os as os
from pyrunc.cgroup import tree
from pyrunc.cgroup.devices_v1 import devices_v1
from pyrunc.cgroup.limits_v1 import before_join, limits_v1
from pyrunc.cgroup.manager import FORBIDDEN, FREEZE_SECONDS, NO_FREEZER, Manager, Place
from pyrunc.errors import HostError, OpError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.cgroup.limits import Write
    from pyrunc.spec.resources import Resources

CPUSET_FILES = ("cpuset.cpus", "cpuset.mems")
TELLING = ("freezer", "devices", "pids", "memory")
"""Whom to ask for the container's processes, best first: what the freezer has is what it freezes."""


class ManagerV1(Manager):
    """The cgroup in all v1 hierarchies."""

    resources: Resources | None = None
    """What is known to be wanted when the cgroup is made."""

    def place_of(self, controller: str) -> Place | None:
        """Return the place in the hierarchy that has a controller."""
        for place in self.places:
            if controller in place.controllers:
                return place
        return None

    def main(self) -> Place | None:
        """Return the place that says which processes belong to the container."""
        for name in TELLING:
            place = self.place_of(name)
            if place is not None:
                return place
        return super().main()

    def clone_fd(self) -> int:
        """Return the directory in the unified hierarchy of a hybrid host; -1 without one, or without the right to it."""
        for place in self.places:
            if not place.controllers and not self.unprivileged:
                return self.fd_of(place)
        return -1

    def _drop_or_raise(self, place: Place, verb: str, error: OSError) -> None:
        """Do without the unified hierarchy, in which nothing is limited, where only those of v1 are delegated.

        Its delegation rule (cgroup_attach_permissions in kernel/cgroup/cgroup.c) asks for the common ancestor of both cgroups.
        """
        if self.unprivileged and not place.controllers and error.errno in FORBIDDEN:
            self._drop(place)
        else:
            super()._drop_or_raise(place, verb, error)

    def _made(self, place: Place, mount: int, made: list[str]) -> None:
        """Give a cpuset the CPUs and memory nodes of its parent: with none, nothing could join it."""
        if "cpuset" in place.controllers:
            for rel in made or [place.rel]:
                _fill_cpuset(mount, rel)

    def _prepare(self) -> None:
        if self.resources is not None:
            self.write_all(before_join(self.resources))

    def apply(self, resources: Resources) -> None:
        """Write the limits, the devices last. Raises SpecError, HostError or OpError."""
        now = 0
        if resources.memory is not None and resources.memory.limit and resources.memory.swap:
            now = self._number("memory", "memory.limit_in_bytes")
        self.write_all(limits_v1(resources, now))
        self._apply_devices(resources)

    def _number(self, controller: str, file: str) -> int:
        place = self.place_of(controller)
        return int(tree.read_at(self.fd_of(place), file)) if place is not None else 0

    def _apply_devices(self, resources: Resources) -> None:
        place = self.place_of("devices")
        if self.skip_devices or self.unprivileged or (place is None and not resources.devices):
            return
        writes = devices_v1(resources.devices, f"{resources.at}.devices")
        if place is None:
            raise HostError(
                f"{resources.at}.devices: cannot set devices limit: container could not join or create cgroup"
            )
        files: dict[str, int] = {}
        try:
            for write in writes:  # a dozen rules for two files: they stay open meanwhile
                self._write_rule(self.fd_of(place), files, write)
        finally:
            for fd in files.values():
                os.close(fd)

    def _write_rule(self, fd: int, files: dict[str, int], write: Write) -> None:
        try:
            if write.file not in files:
                files[write.file] = os.open(write.file, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
            os.write(files[write.file], write.value.encode())
        except OSError as error:
            raise self.refused(write, f'{write.file} "{write.value}"', error) from None

    def controller_fd(self, write: Write) -> int:
        """Return the directory that has the write's file, -1 without its controller."""
        place = self.place_of(write.controller)
        return -1 if place is None else self.fd_of(place)

    def refused(self, write: Write, file: str, error: OSError) -> OpError:
        """Return the error for a limit that the kernel refuses; memory in use is told with runc's text."""
        if error.errno == EBUSY and write.file == "memory.limit_in_bytes":
            usage = self._number("memory", "memory.usage_in_bytes")
            peak = self._number("memory", "memory.max_usage_in_bytes")
            text = f"unable to set memory limit to {write.value} (current usage: {usage}, peak usage: {peak})"
            failed = OpError(f"{write.at}: {text}")
            failed.errno = EBUSY
            return failed
        return super().refused(write, file, error)

    def oom_kills(self) -> int:
        """Return how many processes the kernel has killed for want of memory in this cgroup."""
        place = self.place_of("memory")
        if place is None or not self.exists(place):
            return 0
        return tree.counter(tree.read_at(self.fd_of(place), "memory.oom_control"), "oom_kill")

    # The freezer.

    def frozen(self) -> bool:
        """Tell whether the cgroup is frozen, or is about to be, by itself or by one above it."""
        place = self.place_of("freezer")
        return place is not None and self.exists(place) and self._freezer(place) != "THAWED"

    def _freezer(self, place: Place) -> str:
        return tree.read_at(self.fd_of(place), "freezer.state").strip()

    def freeze(self) -> None:
        """Stop every process; again and again, because a fork can escape one attempt. Raises OpError."""
        place = self.place_of("freezer")
        if place is None:
            raise HostError(NO_FREEZER)
        try:
            self._freeze(place)
        except OSError as error:
            raise OpError(f"freeze {place.path}", error.errno or EINVAL) from None

    def _freeze(self, place: Place) -> None:
        fd = self.fd_of(place)
        until = time.monotonic() + FREEZE_SECONDS
        tries = 0
        while time.monotonic() < until:
            tree.write_at(fd, "freezer.state", "FROZEN")
            if self._freezer(place) == "FROZEN":
                return
            tries += 1
            if tries % 50 == 0:  # who is stuck half-way waits for a frozen one: let all go on for a moment
                tree.write_at(fd, "freezer.state", "THAWED")
                time.sleep(0.01)
            time.sleep(0.0002)
        tree.write_at(fd, "freezer.state", "THAWED")  # half frozen is worse than not at all
        raise OSError(ETIMEDOUT, "")

    def thaw(self) -> None:
        """Let the processes go on."""
        place = self.place_of("freezer")
        if place is not None and self.exists(place):
            try:
                tree.write_at(self.fd_of(place), "freezer.state", "THAWED")
            except OSError as error:
                raise OpError(f"thaw {place.path}", error.errno or EINVAL) from None


def _fill_cpuset(mount: int, rel: str) -> None:
    """Copy CPUs and memory nodes down to a cpuset that has none. Raises OSError."""
    parent = rel.rpartition("/")[0]
    for file in CPUSET_FILES:
        if tree.read_at(mount, f"{rel}/{file}").strip():
            continue
        above = f"{parent}/{file}" if parent else file
        value = tree.read_at(mount, above).strip()
        if not value and parent:
            _fill_cpuset(mount, parent)
            value = tree.read_at(mount, above).strip()
        tree.write_at(mount, f"{rel}/{file}", value)
