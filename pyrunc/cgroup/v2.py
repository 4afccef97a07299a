"""cgroup v2: one directory, its controllers enabled from the mount down."""

from __future__ import annotations

import time
from errno import EACCES, EBUSY, EINVAL, ENOENT, EOPNOTSUPP, EPERM, EROFS, ETIMEDOUT

from pyrunc import _os as os
from pyrunc.cgroup import tree
from pyrunc.cgroup.limits_v2 import DOMAIN_CONTROLLERS, limits_v2
from pyrunc.cgroup.manager import (
    FORBIDDEN,
    FREEZE_SECONDS,
    JOIN,
    NO_FREEZER,
    SIGKILL,
    Manager,
    Place,
    refusal,
)
from pyrunc.cgroup.tree import GONE
from pyrunc.errors import HostError, OpError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.cgroup.limits import Write
    from pyrunc.spec.resources import Resources

ROOTLESS = "rootless needs no limits + no cgrouppath when no permission is granted for cgroups"
CANNOT_ENABLE = frozenset({EBUSY, EOPNOTSUPP, EACCES, EPERM, EROFS, EINVAL, ENOENT})
"""Processes live there; threaded; not delegated; real-time tasks. The limit that needs it tells."""


class ManagerV2(Manager):
    """The cgroup in the unified hierarchy."""

    wanted: tuple[str, ...] = ()
    """Controllers of the limits that are known to be wanted when the cgroup is made."""
    owner: int | None = None
    """The user that the cgroup is given to."""
    sub = ""
    """A cgroup below, for the processes (cgroup/below.py)."""
    _controllers: tuple[str, ...] | None = None

    def mount_dirs(self) -> dict[str, str] | None:
        """Return {"": the container's directory}; None when there is none."""
        return {"": self.places[0].path} if self.places else None

    def _made(self, place: Place, mount: int, _made: list[str]) -> None:
        """Hand the controllers down to the new cgroup. Raises OSError or OpError."""
        names = place.rel.split("/")
        for depth in range(len(names)):
            above = "/".join(names[:depth]) or "."
            enable(mount, above)
            self._check_type(mount, "/".join(names[: depth + 1]))

    def _check_type(self, mount: int, rel: str) -> None:
        """Cope with a tree in which somebody keeps threads or processes inside (domain invalid, threaded)."""
        try:
            kind = tree.read_at(mount, f"{rel}/cgroup.type").strip()
        except FileNotFoundError:
            return  # the hierarchy's root has none
        if kind == "domain":
            return
        domain = sorted(DOMAIN_CONTROLLERS.intersection(self.wanted))
        if domain:
            state = "an invalid state" if kind == "domain invalid" else f"{kind} mode"
            raise HostError(f'cannot enter cgroupv2 "{rel}" with domain controllers -- it is in {state}')
        if kind == "domain invalid":
            tree.write_at(mount, f"{rel}/cgroup.type", "threaded")

    def _prepare(self) -> None:
        if self.owner is not None and self.places:
            self._give(self.fd_of(self.places[0]))

    def _give(self, cgroup: int) -> None:
        """Let the container's user own an open cgroup. Raises OpError."""
        if self.owner is None:
            return
        from pyrunc.cgroup.owner import give

        try:
            give(cgroup, self.owner)
        except OSError as error:
            # root of a user namespace may give away only what belongs to a user of that
            if not (self.unprivileged and error.errno in FORBIDDEN):
                raise refusal(f"{JOIN}: chown {self.places[0].path} to {self.owner}", error) from None

    def go_down(self, pid: int, name: str) -> None:
        """Move the first process below, and hand the controllers down: whoever comes later is led there by EBUSY.

        `name` is the new cgroup's path below the container's. Raises OpError.
        """
        try:
            cgroup = self.fd_of(self.places[0])
            os.mkdir(name, 0o755, dir_fd=cgroup)
            fd = tree.open_at(cgroup, name, self.magic_of)
            try:
                tree.write_at(fd, "cgroup.procs", str(pid))
                enable(cgroup, name.rpartition("/")[0] or ".")
                self._give(fd)
            finally:
                os.close(fd)
        except OSError as error:
            raise refusal(f"{JOIN}: {self.places[0].path}/{name}", error) from None

    def _drop_or_raise(self, place: Place, verb: str, error: OSError) -> None:
        if self.lenient and error.errno in FORBIDDEN and self.wanted:
            raise OpError(f"{JOIN}: {ROOTLESS}: {verb} {place.path}", error.errno or EACCES) from None
        super()._drop_or_raise(place, verb, error)

    def clone_fd(self) -> int:
        """Return the directory for CLONE_INTO_CGROUP; -1 for an unprivileged caller, who lacks the right."""
        if not self.places or self.unprivileged:
            return -1
        place = self.places[0]
        try:
            return self.fd_of(place)
        except OSError as error:
            raise refusal(f"{JOIN}: open {place.path}", error) from None

    def apply(self, resources: Resources) -> None:
        """Write the limits; `unified` last, over the others. Raises SpecError, HostError or OpError."""
        self.check_usage(resources)
        self.write_all(limits_v2(resources))
        self._apply_devices(resources)

    def _apply_devices(self, resources: Resources) -> None:
        """Attach the device program, which only root outside of user namespaces may do. Raises SpecError or OpError."""
        if self.skip_devices or self.unprivileged or not self.places:
            return
        from pyrunc.cgroup.devices_v2 import enforce

        try:
            enforce(self.fd_of(self.places[0]), resources.devices)
        except OSError as error:
            raise refusal(f"{resources.at}.devices: device program of {self.places[0].path}", error) from None

    def check_usage(self, resources: Resources) -> None:
        """ME-5: refuse a limit below what is in use, at which the kernel would kill. Raises OpError with runc's texts."""
        limits = resources.memory
        if limits is None or not limits.check_before_update or not self.places:
            return
        try:
            usage = int(tree.read_at(self.fd_of(self.places[0]), "memory.current"))
        except FileNotFoundError:
            return  # no memory controller: the limit itself will fail
        for what, key, limit in (("memory+swap", "swap", limits.swap), ("memory", "limit", limits.limit)):
            if limit and 0 < limit <= usage:
                raise OpError(f"{limits.at}.{key}: rejecting {what} limit {limit} <= usage {usage}")

    def controller_fd(self, write: Write) -> int:
        """Return the directory, -1 when the write's controller is not enabled in it."""
        if not self.places:
            return -1
        fd = self.fd_of(self.places[0])
        # some files are there without a controller: let the kernel judge what the user has named
        return fd if write.named or write.controller in self._enabled(fd) else -1

    def _enabled(self, fd: int) -> tuple[str, ...]:
        if self._controllers is None:
            self._controllers = tuple(tree.read_at(fd, "cgroup.controllers").split())
        return self._controllers

    def refused(self, write: Write, file: str, error: OSError) -> OpError:
        """Return the error for a refused limit; for `unified`, say if the controller is missing."""
        known = ("cgroup", *self._enabled(self.fd_of(self.places[0])))
        if write.named and error.errno in {ENOENT, *FORBIDDEN} and write.controller not in known:
            text = f"can't be set: controller {write.controller} not available"
            return refusal(f'{write.at}: unified resource "{file}" {text}', error)
        return super().refused(write, file, error)

    def oom_kills(self) -> int:
        """Return how many processes the kernel has killed for want of memory in this cgroup."""
        if not self.places or not self.exists(self.places[0]):
            return 0
        try:
            return tree.counter(tree.read_at(self.fd_of(self.places[0]), "memory.events"), "oom_kill")
        except FileNotFoundError:
            return 0  # without the memory controller nothing is counted

    # Freezing and killing.

    def frozen(self) -> bool:
        """Tell whether the cgroup has been told to freeze."""
        if not self.places or not self.exists(self.places[0]):
            return False
        try:
            return tree.read_at(self.fd_of(self.places[0]), "cgroup.freeze").strip() == "1"
        except OSError as error:
            if error.errno in GONE:
                return False
            raise

    def freeze(self) -> None:
        """Stop every process, and wait until they stand. Raises OpError."""
        if not self.places:
            raise HostError(NO_FREEZER)
        try:
            self._freeze(self.fd_of(self.places[0]))
        except OSError as error:
            raise OpError(f"freeze {self.places[0].path}", error.errno or EINVAL) from None

    def _freeze(self, fd: int) -> None:
        tree.write_at(fd, "cgroup.freeze", "1")
        until = time.monotonic() + FREEZE_SECONDS
        while time.monotonic() < until:
            if tree.counter(tree.read_at(fd, "cgroup.events"), "frozen"):
                return
            time.sleep(0.001)
        tree.write_at(fd, "cgroup.freeze", "0")
        raise OSError(ETIMEDOUT, "")

    def thaw(self) -> None:
        """Let the processes go on."""
        if self.places and self.exists(self.places[0]):
            try:
                tree.write_at(self.fd_of(self.places[0]), "cgroup.freeze", "0")
            except OSError as error:
                if error.errno in GONE:
                    return
                raise OpError(f"thaw {self.places[0].path}", error.errno or EINVAL) from None

    def kill(self, signal: int) -> None:
        """Send a signal to every process; SIGKILL in one step, from which no fork escapes. Raises OpError."""
        if signal == SIGKILL and self.places and self.exists(self.places[0]):
            self._refuse_own(self.pids())
            try:
                return tree.write_at(self.fd_of(self.places[0]), "cgroup.kill", "1")
            except OSError as error:
                if error.errno not in {EOPNOTSUPP, *GONE}:  # a threaded cgroup cannot be killed as a whole
                    raise OpError(
                        "unable to kill all processes: write cgroup.kill", error.errno or EINVAL
                    ) from None
        return super().kill(signal)


def enable(mount: int, rel: str) -> None:
    """Hand every controller of a cgroup to its children, as far as that can be done. Raises OSError."""
    available = tree.read_at(mount, f"{rel}/cgroup.controllers").split()
    enabled = tree.read_at(mount, f"{rel}/cgroup.subtree_control").split()
    missing = [name for name in available if name not in enabled]
    if not missing:
        return
    try:
        tree.write_at(mount, f"{rel}/cgroup.subtree_control", " ".join([f"+{name}" for name in missing]))
    except OSError:
        for name in missing:
            _enable_one(mount, rel, name)


def _enable_one(mount: int, rel: str, name: str) -> None:
    try:
        tree.write_at(mount, f"{rel}/cgroup.subtree_control", f"+{name}")
    except OSError as error:
        if error.errno not in CANNOT_ENABLE:
            raise
