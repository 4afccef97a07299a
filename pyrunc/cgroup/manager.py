"""One container's cgroup, whatever the driver: what v1 and v2 do alike, and what each must bring.

`create` makes the directories, `join` puts a process in, `apply` writes limits, `kill` and `delete` end it.
What was really made is remembered (`created`): only that is removed (DE-4).
"""

from __future__ import annotations

import time
from errno import EACCES, EINVAL, ENODEV, ENOENT, EOPNOTSUPP, EPERM, EROFS

from pyrunc import _os as os
from pyrunc.cgroup import tree
from pyrunc.errors import BugError, HostError, OpError, StateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pyrunc.cgroup.limits import Write
    from pyrunc.cgroup.tree import MagicOf
    from pyrunc.spec.resources import Resources

SIGKILL = 9
FORBIDDEN = frozenset({EACCES, EPERM, EROFS})
NO_LONGER = frozenset({ENOENT, EOPNOTSUPP, 524})
"""No such file, or a limit that the kernel has given up (524 is its ENOTSUPP)."""
JOIN = "unable to apply cgroup configuration"
FREEZE_SECONDS = 2.0
NO_FREEZER = "cannot toggle freezer: cgroups not configured for container"


class Place:
    """The container's cgroup in one hierarchy. `fd` is -1 until it is open."""

    __slots__ = ("controllers", "fd", "mountpoint", "path", "rel")

    def __init__(self, controllers: tuple[str, ...], path: str, mountpoint: str = "", rel: str = "") -> None:
        self.controllers = controllers
        self.path = path
        self.mountpoint = mountpoint
        self.rel = rel
        self.fd = -1


class Manager:
    """The cgroup of one container; `open_manager` and `from_state` make one of the right kind."""

    def __init__(
        self,
        places: Iterable[Place],
        *,
        created: Iterable[str] = (),
        lenient: bool = False,
    ) -> None:
        """Take the places to use; `lenient` drops one that the caller may not write."""
        self.places = list(places)
        self.created = list(created)
        self.lenient = lenient
        self.unprivileged = False
        self.skip_devices = False
        self.warnings: list[str] = []
        self.magic_of: MagicOf = tree.fs_magic

    @property
    def paths(self) -> dict[str, str]:
        """Return controller -> absolute path, as in runc's state.json; "" is cgroup2."""
        return {name: place.path for place in self.places for name in place.controllers or ("",)}

    def mount_dirs(self) -> dict[str, str] | None:
        """Return mount point -> the container's directory in it, for cgroup mounts; None without any."""
        return {place.mountpoint: place.path for place in self.places} or None

    def ours(self) -> list[Place]:
        """Return the places in which `create` makes the directory: all, unless somebody else makes some of them."""
        return list(self.places)

    def expected(self) -> list[str]:
        """Return what `create` would make now: what a `delete` must remove if we are killed meanwhile."""
        missing = []
        for place in self.ours():
            path = place.path
            while len(path) > len(place.mountpoint) and not os.path.lexists(path):
                missing.append(path)
                path = path.rpartition("/")[0]
        return missing

    # Making it.

    def create(self) -> None:
        """Make the directories; on failure nothing is left. Raises OpError, HostError or StateError."""
        made = False
        try:
            for place in self.ours():
                self._make(place)
            self._check_unused()
            self._prepare()
            made = True
        except OSError as error:
            raise refusal(JOIN, error) from None
        finally:
            if not made:
                self._undo()

    def _make(self, place: Place) -> None:
        try:
            mount = tree.open_mount(place.mountpoint, self.magic_of)
            try:
                made = tree.make_at(mount, place.rel)
                self.created += [f"{place.mountpoint}/{rel}" for rel in made]
                place.fd = tree.open_at(mount, place.rel, self.magic_of)
                self._made(place, mount, made)
            finally:
                os.close(mount)
        except OSError as error:
            self._drop_or_raise(place, "create", error)

    def _made(self, place: Place, mount: int, made: list[str]) -> None:
        """Fill in what a new cgroup needs before anything can be in it. Raises OSError."""

    def _prepare(self) -> None:
        """Write what must stand before the first process joins."""

    def _drop_or_raise(self, place: Place, verb: str, error: OSError) -> None:
        """Go on without a hierarchy that the caller may not use; its limits then fail in `apply`."""
        if not (self.lenient and error.errno in FORBIDDEN):
            raise refusal(f"{JOIN}: {verb} {place.path}", error) from None
        self._drop(place)

    def _drop(self, place: Place) -> None:
        self.places.remove(place)
        self._close(place)
        if place.path in self.created:
            tree.remove_empty(place.path, self.magic_of)
            self.created.remove(place.path)

    def _undo(self) -> None:
        self.close()
        for path in sorted(self.created, key=len, reverse=True):
            tree.remove_empty(path, self.magic_of)
        self.created = []

    def _check_unused(self) -> None:
        """Refuse a cgroup in which somebody lives already, and a frozen one (CG-1); runc's texts."""
        made = set(self.created)
        for place in self.places:
            pids = tree.pids_below(place.fd) if place.path not in made and self.exists(place) else []
            if pids:
                raise StateError(f"container's cgroup is not empty: {len(pids)} process(es) found")
        if self.frozen():
            raise StateError("container's cgroup unexpectedly frozen")

    # Using it.

    def tasks(self) -> tuple[str, ...]:
        """Return the `tasks` files by which a single-threaded process joins v1 hierarchies itself, at once.

        Somebody else's write of its pid would wait for an RCU grace period, 10 ms and more (cgroup_procs_write_start
        in kernel/cgroup/cgroup.c). None where a hierarchy may yet be dropped.
        """
        return (
            ()
            if self.lenient
            else tuple([f"{place.path}/tasks" for place in self.ours() if place.controllers])
        )

    def open_tasks(self) -> dict[str, int]:
        """Open these files; the caller owns the descriptors. Raises OpError."""
        fds: dict[str, int] = {}
        tasks = self.tasks()
        for place in self.places:
            path = f"{place.path}/tasks"
            if path in tasks:
                try:
                    fds[path] = os.open(
                        "tasks", os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=self.fd_of(place)
                    )
                except OSError as error:
                    raise refusal(f"{JOIN}: open {path}", error) from None
        return fds

    def join(self, pid: int) -> None:
        """Move a process into the cgroup, in every hierarchy that it is not in by `tasks` or `clone_fd`. Raises OpError."""
        value = str(pid)
        there, tasks = self.clone_fd(), self.tasks()
        for place in list(self.places):
            if f"{place.path}/tasks" in tasks or (there >= 0 and place.fd == there):
                continue
            try:
                self._enter(self.fd_of(place), value)
            except OSError as error:
                self._drop_or_raise(place, f"adding pid {pid} to", error)

    def _enter(self, fd: int, value: str) -> None:
        for pause in (0.001, 0.01, 0.03):
            try:
                return tree.write_at(fd, "cgroup.procs", value)
            except OSError as error:
                if error.errno != EINVAL:  # a task that is still being made (TASK_NEW), says runc
                    raise
            time.sleep(pause)
        return tree.write_at(fd, "cgroup.procs", value)

    def clone_fd(self) -> int:
        """Return the directory for CLONE_INTO_CGROUP, -1 where that cannot be used."""
        return -1

    def apply(self, resources: Resources) -> None:  # noqa: ARG002  # the drivers use it
        """Write the limits. Raises SpecError, HostError or OpError, each naming the path in the config."""
        raise BugError(type(self).__name__)  # the drivers have their own

    def pids(self) -> list[int]:
        """Return the processes in the cgroup and below, as this pid namespace sees them."""
        place = self.main()
        return tree.pids_below(self.fd_of(place)) if place is not None and self.exists(place) else []

    def oom_kills(self) -> int:
        """Return how many processes the kernel has killed for want of memory in this cgroup."""
        raise BugError(type(self).__name__)  # the drivers have their own

    def frozen(self) -> bool:
        """Tell whether the cgroup is frozen, or is about to be."""
        raise BugError(type(self).__name__)  # the drivers have their own

    def freeze(self) -> None:
        """Stop every process of the cgroup; return once they stand still. Raises OpError."""
        raise BugError(type(self).__name__)  # the drivers have their own

    def thaw(self) -> None:
        """Let them go on."""
        raise BugError(type(self).__name__)  # the drivers have their own

    def main(self) -> Place | None:
        """Return the place that says which processes belong to the container."""
        return self.places[0] if self.places else None

    # Ending it.

    def kill(self, signal: int) -> None:
        """Send a signal to every process. SIGKILL also thaws: what is frozen cannot die. Raises OpError."""
        if not self.pids():
            return
        stopped = self._try_freeze()
        try:
            self._signal_all(signal)
        finally:
            if stopped or (signal == SIGKILL and self.frozen()):
                self.thaw()

    def _try_freeze(self) -> bool:
        """Freeze, so that nothing forks away from a signal; tell whether that has changed anything."""
        if self.frozen():
            return False
        self._refuse_own(self.pids())
        try:
            self.freeze()
        except (OpError, HostError):
            return False  # without a freezer, _signal_all comes back until nobody is left
        return True

    def _refuse_own(self, pids: Sequence[int], what: str = "unable to kill all processes") -> None:
        if os.getpid() in pids:
            raise StateError(f"{what}: pyrunc itself is in the container's cgroup")

    def pause(self) -> None:
        """Freeze for as long as the user likes. Raises HostError without a freezer, OpError, StateError."""
        self._refuse_own(self.pids(), "unable to freeze")
        self.freeze()

    def _signal_all(self, signal: int) -> None:
        done: set[int] = set()
        for _ in range(10 if signal == SIGKILL else 1):
            pids = [pid for pid in self.pids() if pid not in done]
            self._refuse_own(pids)
            for pid in pids:
                self._signal(pid, signal)
            done.update(pids)
            if not pids:
                return

    def _signal(self, pid: int, signal: int) -> None:
        assert pid > 0  # 0 and -1 would be our own group, and everybody
        try:
            os.kill(pid, signal)
        except ProcessLookupError:
            return  # it has ended since
        except OSError as error:
            raise refusal(f"unable to kill all processes: kill {pid}", error) from None

    def delete(self) -> None:
        """Remove the directories that `create` made, and all below them. Raises OpError with runc's text."""
        self.close()
        leaves = {place.path for place in self.places}
        failed: OpError | None = None
        for path in sorted(set(self.created), key=len, reverse=True):
            try:
                if path in leaves:
                    tree.remove_path(path, self.magic_of, 1 if failed else tree.REMOVE_TRIES)
                else:
                    tree.remove_empty(path, self.magic_of)
            except OSError as error:
                text = f"unable to remove container's cgroup: rmdir {path}"
                failed = failed or refusal(text, error)
        if failed is not None:
            raise failed
        self.created = []

    # Descriptors.

    def fd_of(self, place: Place) -> int:
        """Return the open directory of a place. Raises OSError; OpError when it is no cgroup."""
        if place.fd < 0:
            fd = tree.open_mount(place.path, self.magic_of)
            os.close(fd)
            place.fd = os.open(place.path, tree.DIRECTORY)
        return place.fd

    def exists(self, place: Place) -> bool:
        """Tell whether the directory of a place is still there, and a cgroup."""
        try:
            self.fd_of(place)
        except FileNotFoundError:
            return False
        return True

    def _close(self, place: Place) -> None:
        if place.fd >= 0:
            os.close(place.fd)
            place.fd = -1

    def close(self) -> None:
        """Close every descriptor; they open again when they are needed."""
        for place in self.places:
            self._close(place)

    # Limits.

    def write_all(self, writes: Iterable[Write]) -> None:
        """Write limits in order. Raises HostError for a missing controller, OpError for a refusal."""
        later = [write for write in writes if not self._write(write, later=write.again)]
        for write in later:
            self._write(write, later=False)

    def _write(self, write: Write, *, later: bool) -> bool:
        """Write one limit; tell, where that is allowed, that it must be tried again later."""
        fd = self.controller_fd(write)
        if fd < 0:
            if write.optional:
                self._ignore(write)
                return True
            raise HostError(
                f"{write.at}: cannot set {write.controller} limit: container could not join or create cgroup"
            )
        file, value = _choose(fd, write)
        try:
            tree.write_at(fd, file, value)
        except OSError as error:
            if later and error.errno == EINVAL:
                return False
            if not (write.optional and error.errno in NO_LONGER):
                raise self.refused(write, file, error) from None
            self._ignore(write)
        return True

    def controller_fd(self, write: Write) -> int:  # noqa: ARG002  # the same
        """Return the directory that has the write's file, -1 when its controller is not there."""
        raise BugError(type(self).__name__)  # the drivers have their own

    def refused(self, write: Write, file: str, error: OSError) -> OpError:
        """Return the error for a limit that the kernel refuses."""
        if error.errno in {ENOENT, ENODEV}:
            return refusal(f"{write.at}: write {file}: this kernel has no such file or device", error)
        return refusal(f"{write.at}: write {file}", error)

    def _ignore(self, write: Write) -> None:
        self.warnings.append(f"{write.at}: ignored: this kernel has no {write.file}")


def _choose(fd: int, write: Write) -> tuple[str, str]:
    """Return the first of a write's files that this kernel has, with the value for it."""
    for file, value in ((write.file, write.value), *write.instead) if write.instead else ():
        if os.access(file, os.F_OK, dir_fd=fd):
            return file, value
    return write.file, write.value


def refusal(text: str, error: OSError) -> OpError:
    """Return an OpError that ends in the text of an OSError's errno."""
    return OpError(text, error.errno or EINVAL)
