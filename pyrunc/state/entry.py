"""One container's directory, held by its descriptor: its files, its lock, its life cycle.

cgroup       which cgroup directories are its own, written before they are made, and then its pid: with
             that `delete --force` finds what to kill and to remove even if state.json is damaged
config.json  the copy that counts: later edits of the bundle's change nothing
state.json   a `Container`
steps.json   what the executor does after `start` has said go, for error messages
start.sock   where the executor waits for that word
"""

from __future__ import annotations

import os
import time
from errno import EAGAIN, ECONNREFUSED, EINVAL, ENOENT, EWOULDBLOCK

from pyrunc.errors import OpError, SpecError, StateError
from pyrunc.spec.jsontext import dumps, loads
from pyrunc.state import process
from pyrunc.state.files import empty_at, read_at, replace_at, unlink_at, write_at
from pyrunc.state.record import (
    FORMAT,
    MARKER,
    STATE,
    Container,
    encode_container,
    is_all_text,
    is_ours,
    parse_container,
    timestamp,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Sequence
    from types import TracebackType
    from typing import Self

    from pyrunc.cgroup import Manager
    from pyrunc.spec.model import Spec

CGROUP, CONFIG, STEPS, SOCKET = "cgroup", "config.json", "steps.json", "start.sock"
BACKLOG = 16
NAMESPACES = {
    "NEWCGROUP": "cgroup", "NEWIPC": "ipc", "NEWNET": "net", "NEWNS": "mnt", "NEWPID": "pid",
    "NEWTIME": "time", "NEWUSER": "user", "NEWUTS": "uts",
}  # fmt: skip


class NoContainerError(StateError):
    """There is no such container of ours; what stands in its place, if anything, is left alone."""

    def __init__(self) -> None:
        super().__init__("container does not exist")


class Entry:
    """The directory of one container. `damage` says why its state.json cannot be read, if so."""

    def __init__(self, name: str, root_fd: int, dir_fd: int) -> None:
        self.id = name
        self.damage: StateError | None = None
        self._root_fd = root_fd
        self._dir_fd = dir_fd
        self._container: Container | None = None
        self._locked = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the directory, which also gives up the lock."""
        if self._dir_fd >= 0:
            os.close(self._dir_fd)
            self._dir_fd = -1
            self._locked = False

    # What is written down.

    @property
    def container(self) -> Container:
        """Return what state.json says. Raises StateError when it is damaged, or not written yet."""
        if self._container is None:
            raise self.damage or NoContainerError()
        return self._container

    def load(self) -> None:
        """Read state.json. Raises NoContainerError when there is none, or one of another runtime."""
        self._container = self.damage = None
        try:
            data = read_at(self._dir_fd, STATE)
        except FileNotFoundError:
            if self.is_leftover():
                raise NoContainerError from None
            data = b""  # somebody has removed it
        except OSError as error:
            raise self._failed("read", STATE, error) from None
        try:
            self._container = parse_container(data, self.id)
        except StateError as error:
            if not is_ours(data) and self._record() is None:
                raise NoContainerError from None
            self.damage = error

    def begin(self, spec: Spec, config: bytes, bundle: str, manager: Manager, *, rootless: bool) -> None:
        """Write down what will be made, before any of it is. Raises OpError."""
        hooks = spec.hooks
        container = Container(
            id=self.id,
            bundle=bundle,
            rootfs=os.path.normpath(os.path.join(bundle, spec.root.path)) if spec.root else "",
            oci_version=spec.oci_version,
            created=timestamp(time.time_ns()),
            annotations=dict(spec.annotations),
            rootless=rootless,
            hooks=any(getattr(hooks, stage) for stage in type(hooks).declared),
            private_pids=any(space.type == "pid" and not space.path for space in spec.linux.namespaces),
            phase="creating",
            cgroup_paths=manager.paths,
            created_cgroups=tuple(manager.expected()),
        )
        record = {MARKER: FORMAT, "paths": container.cgroup_paths, "created": list(container.created_cgroups)}
        self._write(CGROUP, f"{dumps(record)}\n".encode())
        self._write(CONFIG, config)
        self._save(container)

    def ready(self, pid: int, phase: str, manager: Manager) -> None:
        """Write down that the container is made, and which process it is. Raises OpError or StateError."""
        start = process.start_time(pid)
        if not start:
            raise StateError("container init died before it was ready")
        self._write(CGROUP, b"%d %d\n" % (pid, start), flags=os.O_APPEND)
        changed = self.container.with_(
            phase=phase,
            cgroup_paths=manager.paths,
            created_cgroups=tuple(manager.created),
            init_process_pid=pid,
            init_process_start=start,
            namespace_paths={name: f"/proc/{pid}/ns/{file}" for name, file in NAMESPACES.items()},
        )
        self._save(changed)

    def enter(self, phase: str) -> None:
        """Write down that the container has come to another phase. Raises OpError."""
        self._save(self.container.with_(phase=phase))

    def _save(self, container: Container) -> None:
        try:
            replace_at(self._dir_fd, STATE, encode_container(container))
        except OSError as error:
            raise self._failed("write", STATE, error) from None
        self._container = container

    def _write(self, name: str, data: bytes, *, flags: int = os.O_TRUNC) -> None:
        try:
            write_at(self._dir_fd, name, data, flags=flags)
        except OSError as error:
            raise self._failed("write", name, error) from None

    def _failed(self, verb: str, name: str, error: OSError) -> OpError:
        return OpError(f"container {self.id}: {verb} {name}", error.errno or EINVAL)

    def _record(self) -> tuple[dict[str, str], list[str], int, int] | None:
        """Return paths, made directories, pid and start time of the file `cgroup`; None if it is not ours."""
        try:
            first, _, second = read_at(self._dir_fd, CGROUP).partition(b"\n")
            table = loads(first, CGROUP)
            pid, start = (int(word) for word in (second or b"0 0").split())
        except (OSError, SpecError, ValueError):
            return None  # absent or damaged as well: there is nothing left to go by
        match table:
            case {"pyrunc": 1, "paths": dict(paths), "created": list(created)}:
                if is_all_text([*paths.values(), *created]):
                    return paths, created, pid, start
        return None

    def read_config(self) -> bytes:
        """Return config.json as it was when the container was created. Raises OpError."""
        try:
            return read_at(self._dir_fd, CONFIG)
        except OSError as error:
            raise self._failed("read", CONFIG, error) from None

    def read_spec(self) -> Spec:
        """Return the config as it was when the container was created. Raises OpError or SpecError."""
        from pyrunc.spec.parse import parse_config

        return parse_config(self.read_config())

    def write_steps(self, first: int, steps: Sequence[Sequence[str]]) -> None:
        """Keep what errors after `start` need: operations from number `first` on, in words. Raises OpError."""
        self._write(STEPS, dumps([first, [list(step) for step in steps]]).encode("utf-8", "replace"))

    def read_steps(self) -> tuple[int, list[list[str]]]:
        """Return what `write_steps` kept. Raises OpError or StateError."""
        try:
            value = loads(read_at(self._dir_fd, STEPS), STEPS)
        except OSError as error:
            raise self._failed("read", STEPS, error) from None
        except SpecError as error:
            raise StateError(f"container {self.id}: {error}") from None
        match value:
            case [int(first), list(steps)]:
                return first, steps
        raise StateError(f"container {self.id}: {STEPS}: expected a number and an array")

    # Its life.

    def status(self) -> str:
        """Return "creating", "created", "running", "paused" or "stopped". Raises StateError when damaged."""
        container = self.container
        if container.phase == "creating":
            return "creating" if self._is_being_made() else "stopped"
        if not process.is_alive(container.init_process_pid, container.init_process_start):
            return "stopped"
        if container.phase == "created" or (container.phase == "starting" and self._is_waiting()):
            return "created"
        from pyrunc.cgroup import is_frozen

        return "paused" if is_frozen(container.cgroup_paths) else "running"

    def _is_being_made(self) -> bool:
        """Tell whether a `create` is at work: it holds the lock. If we hold it, a former one was killed."""
        if self._locked:
            return False
        import fcntl

        try:
            fcntl.flock(self._dir_fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno != EWOULDBLOCK:
                raise self._failed("lock", "", error) from None
            return True
        fcntl.flock(self._dir_fd, fcntl.LOCK_UN)
        return False

    def _is_waiting(self) -> bool:
        """Tell whether the executor still listens: a `start` was killed before it could write "running"."""
        import _socket

        sock = _socket.socket(
            _socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC | _socket.SOCK_NONBLOCK
        )
        try:
            sock.connect(self._socket_path())  # who connects and leaves is forgotten (plan_ops.h, WAIT)
        except OSError as error:
            if error.errno in {ECONNREFUSED, ENOENT}:
                return False
            if error.errno != EAGAIN:
                raise self._failed("connect", SOCKET, error) from None
        finally:
            sock.close()
        return True

    def _process(self) -> tuple[int, int]:
        if self._container is not None:
            return self._container.init_process_pid, self._container.init_process_start
        record = self._record()
        return (0, 0) if record is None else record[2:]

    def open_pidfd(self) -> int:
        """Return a pidfd of the container's process; the caller closes it. Raises StateError when it has ended."""
        return process.open_pidfd(*self._process())

    def signal(self, number: int) -> None:
        """Send a signal to the container's process. Raises StateError when it has ended, OpError when refused."""
        pidfd = self.open_pidfd()
        try:
            process.send_signal(pidfd, number)
        finally:
            os.close(pidfd)

    def manager(self) -> Manager:
        """Return the manager of its cgroup, also when state.json is damaged. Raises StateError."""
        from pyrunc.cgroup import from_state

        if self._container is not None:
            return from_state(self._container.cgroup_paths, self._container.created_cgroups)
        record = self._record()
        return from_state({}) if record is None else from_state(record[0], record[1])

    @property
    def owner(self) -> int:
        """Return the user id that the directory belongs to."""
        return os.fstat(self._dir_fd).st_uid

    # The word to go.

    def _socket_path(self) -> str:
        # through the descriptor: the path of a state root may be longer than the 108 bytes of sun_path
        return f"/proc/self/fd/{self._dir_fd}/{SOCKET}"

    def listen(self) -> int:
        """Return the socket for the executor to wait on; the caller closes it. Raises OpError."""
        import _socket

        sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
        try:
            sock.bind(self._socket_path())
            os.chmod(SOCKET, 0o600, dir_fd=self._dir_fd)
            sock.listen(BACKLOG)
        except OSError as error:
            sock.close()
            raise self._failed("listen on", SOCKET, error) from None
        return sock.detach()

    def connect(self) -> _socket.socket:
        """Return a connection to the waiting executor. Raises OSError; ECONNREFUSED when it waits no more."""
        import _socket

        sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
        try:
            sock.connect(self._socket_path())
        except OSError:
            sock.close()
            raise
        return sock

    # Lock and end.

    def lock(self) -> None:
        """Wait until no other command works on the container. Raises OpError."""
        import fcntl

        try:
            fcntl.flock(self._dir_fd, fcntl.LOCK_EX)
        except OSError as error:
            raise self._failed("lock", "", error) from None
        self._locked = True

    def unlock(self) -> None:
        """Let other commands at it."""
        if self._locked:
            import fcntl

            fcntl.flock(self._dir_fd, fcntl.LOCK_UN)
            self._locked = False

    def is_gone(self) -> bool:
        """Tell whether the directory was removed, or replaced by another, since it was opened."""
        try:
            there = os.stat(self.id, dir_fd=self._root_fd, follow_symlinks=False)
        except FileNotFoundError:
            return True
        here = os.fstat(self._dir_fd)
        return (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino)

    def is_leftover(self) -> bool:
        """Tell whether there is no state.json, and never was a process of a container of ours."""
        if os.access(STATE, os.F_OK, dir_fd=self._dir_fd, follow_symlinks=False):
            return False
        record = self._record()
        return record is None or record[2] == 0

    def remove(self) -> None:
        """Remove the directory; state.json goes last, so that an interrupted `delete` can be repeated.

        A damaged one goes before `cgroup`, by which it is known as ours. Raises OpError.
        """
        if self.is_gone():
            return
        last = (CGROUP, STATE) if self.damage is None else (STATE, CGROUP)
        try:
            empty_at(self._dir_fd, last)
            for name in last:
                unlink_at(self._dir_fd, name)
            os.rmdir(self.id, dir_fd=self._root_fd)
        except OSError as error:
            raise OpError("unable to remove container state dir", error.errno or EINVAL) from None
