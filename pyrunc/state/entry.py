"""One container's directory: its files, its state, the socket on which it waits for its start."""

from __future__ import annotations

from errno import EAGAIN, ECONNREFUSED, EINVAL, ENOENT, ESRCH

from pyrunc import _os as os
from pyrunc.consts import SPEC_VERSION
from pyrunc.errors import OpError, PyruncError, StateError
from pyrunc.spec.jsontext import dumps, loads
from pyrunc.state.record import (
    FORMAT,
    MAX_PID,
    PREPARED,
    STATE,
    Container,
    fields_of,
    is_sound,
    now,
    parse_container,
    process_start,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    import signal as _signal
    from collections.abc import Sequence
    from typing import Self

    from pyrunc.cgroup.manager import Manager
    from pyrunc.spec.model import Spec
else:
    import _signal  # the public module imports enum; sockets, locks and cgroups are imported where they are needed

NO_SUCH = "container does not exist"
NOT_RUNNING = "container not running"
CONFIG, CGROUP, START, SOCKET = "config.json", "cgroup.json", "start.json", "start.sock"
RESCTRL = "resctrl.json"
STEP_WORDS = 4
"""Strings in a Step of `pyrunc.run.phrase`."""
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LIMIT = 64 << 20


class Entry:
    """One container's directory, open."""

    def __init__(self, root: str, name: str, dir_fd: int) -> None:
        self.root = root
        self.name = name
        self.dir_fd = dir_fd
        self.locked = False
        self._container: Container | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def lock(self) -> None:
        """Wait until no other command works on this container."""
        import fcntl

        fcntl.flock(self.dir_fd, fcntl.LOCK_EX)
        self.locked = True

    def unlock(self) -> None:
        """Let other commands work on it."""
        import fcntl

        fcntl.flock(self.dir_fd, fcntl.LOCK_UN)
        self.locked = False

    def close(self) -> None:
        """Close the directory, and the lock with it; the entry is of no use afterwards."""
        os.close(self.dir_fd)

    def is_gone(self) -> bool:
        """Tell whether another command has removed the directory."""
        return os.fstat(self.dir_fd).st_nlink == 0

    @property
    def container(self) -> Container:
        """Return what was last read or written."""
        if self._container is None:
            raise StateError(NO_SUCH)
        return self._container

    def is_begun(self) -> bool:
        """Tell whether a process of the container may have joined its cgroup: not when all that is known is its making."""
        return self._container is not None and self._container.phase != "creating"

    # Files.

    def read(self, name: str) -> bytes:
        """Return the content of a file of ours. Raises OSError."""
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=self.dir_fd)
        try:
            return os.read(fd, min(os.fstat(fd).st_size, _LIMIT))
        finally:
            os.close(fd)

    def write(self, name: str, data: bytes) -> None:
        """Write a file as a whole, or not at all. Raises OpError."""
        temporary = f".{name}"
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(temporary, flags, 0o600, dir_fd=self.dir_fd)
            try:
                view = memoryview(data)
                while view:
                    view = view[os.write(fd, view) :]
            finally:
                os.close(fd)
            os.rename(temporary, name, src_dir_fd=self.dir_fd, dst_dir_fd=self.dir_fd)
        except OSError as error:
            raise OpError(f"write {self.root}/{self.name}/{name}", error.errno or EAGAIN) from None

    def load(self) -> None:
        """Read state.json. Raises StateError: for a foreign directory that there is no such container, else what is wrong."""
        try:
            data = self.read(STATE)
        except FileNotFoundError:
            raise StateError(NO_SUCH) from None
        except OSError as error:  # a directory or a link in the place of the file
            raise StateError(f"container {self.name}: {STATE}: {error.strerror}") from None
        value = self._decode(data)
        if isinstance(value, dict) and "pyrunc" not in value and "id" in value:
            raise StateError(NO_SUCH)  # another runtime's
        self._container = parse_container(value, self.name)

    def _decode(self, data: bytes) -> object:
        try:
            return loads(data, f"container {self.name}: {STATE}")
        except PyruncError as error:
            raise StateError(str(error)) from None

    def save(self, **changes: object) -> None:
        """Write the state with some fields changed."""
        self._write_as(STATE, **changes)

    def _write_as(self, file: str, **changes: object) -> None:
        values = {**fields_of(self.container), **changes}
        self._container = Container(**values)  # type: ignore[arg-type]  # names of the record's own fields
        values["created_cgroups"] = list(self.container.created_cgroups)
        self.write(file, dumps({"pyrunc": FORMAT, **values}).encode("utf-8", "surrogateescape"))

    # A container's life.

    def begin(
        self,
        spec: Spec,
        config: bytes,
        bundle: str,
        manager: Manager,
        *,
        rootless: bool,
        no_new_keyring: bool = False,
    ) -> None:
        """Write down what is about to be made, before it is: whatever kills us, `delete --force` finds it (phase creating)."""
        root = spec.root.path if spec.root is not None else ""
        hooks = spec.hooks
        made = manager.expected()
        self.write(CGROUP, dumps({"paths": manager.paths, "created": made}).encode())
        self.write(CONFIG, config)
        self._container = Container(
            id=self.name,
            oci_version=SPEC_VERSION,
            bundle=bundle,
            rootfs=os.path.normpath(f"{bundle}/{root}" if not root.startswith("/") else root),
            created=now(),
            phase="creating",
            cgroup_paths=manager.paths,
            created_cgroups=tuple(made),
            annotations=dict(spec.annotations or {}),
            hooks=bool(hooks.start_container or hooks.poststart or hooks.poststop),
            own_pid_namespace=any(ns.type == "pid" and not ns.path for ns in spec.linux.namespaces),
            rootless=rootless,
            no_new_keyring=no_new_keyring,
        )
        self.save()

    def prepare(self, pid: int, phase: str, manager: Manager) -> None:
        """Write the state of a container that is about to be ready, under a name that counts only after `ready`.

        The smaller record gets the process at once: it is for whoever must kill what was left half-made. Raises
        StateError when the process has ended.
        """
        start = process_start(pid)
        if not start:
            raise StateError("container init died before it was ready")
        self.write(CGROUP, self.read(CGROUP).partition(b"\n")[0] + b"\n%d %d\n" % (pid, start))
        self._write_as(
            PREPARED,
            phase=phase,
            init_process_pid=pid,
            init_process_start=start,
            cgroup_paths=manager.paths,
            created_cgroups=tuple(manager.created),
        )

    def ready(self) -> None:
        """Let what was prepared count. Raises OpError."""
        try:
            os.rename(PREPARED, STATE, src_dir_fd=self.dir_fd, dst_dir_fd=self.dir_fd)
        except OSError as error:
            raise OpError(f"write {self.root}/{self.name}/{STATE}", error.errno or EAGAIN) from None

    def enter(self, phase: str) -> None:
        """Go on to another phase."""
        self.save(phase=phase)

    def is_alive(self) -> bool:
        """Tell whether the container's process is there, and is that process."""
        pid, start = self.process()
        return 0 < pid <= MAX_PID and process_start(pid) == start != 0

    def process(self) -> tuple[int, int]:
        """Return the container's process and when it started; 0, 0 when none is known, also where state.json is damaged."""
        if self._container is not None:
            return self._container.init_process_pid, self._container.init_process_start
        try:
            words = self.read(CGROUP).partition(b"\n")[2].split()
        except FileNotFoundError:
            return 0, 0  # `create` was killed before it wrote anything
        if len(words) != 2 or not all(word.isdigit() and len(word) < 19 for word in words):
            return 0, 0
        return int(words[0]), int(words[1])

    def status(self) -> str:
        """Return creating, created, running, paused or stopped."""
        container = self.container
        if container.phase == "creating":
            return "creating" if self._is_locked() else "stopped"
        if not self.is_alive():
            return "stopped"
        from pyrunc.cgroup import is_frozen

        if is_frozen(container.cgroup_paths):
            return "paused"
        if container.phase == "created":
            return "created"
        waits = container.phase == "starting" and not self._is_locked() and self._still_waits()
        return "created" if waits else "running"

    def _is_locked(self) -> bool:
        """Tell whether another command holds the lock; a creator that was killed does not."""
        if self.locked:
            return False
        try:
            fd = os.open(".", DIRECTORY, dir_fd=self.dir_fd)
        except FileNotFoundError:
            return False
        import fcntl

        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        else:
            return False
        finally:
            os.close(fd)

    def _still_waits(self) -> bool:
        """Tell whether the executor still listens: a start was killed before its word was heard."""
        try:
            self.connect().close()  # who connects and leaves is forgotten (WAIT, in csrc/plan_ops.h)
        except OSError as error:
            if error.errno not in {ECONNREFUSED, ENOENT}:
                raise
            return False  # nobody listens any more: the program runs
        return True

    def open_pidfd(self) -> int:
        """Return a pidfd of the container's process. Raises StateError when it is not there any more."""
        pid, start = self.process()
        if not 0 < pid <= MAX_PID:  # 0 and -1 would be our own group, and everybody
            raise StateError(NOT_RUNNING)
        try:
            fd = os.pidfd_open(pid)
        except OSError as error:
            if error.errno not in {ESRCH, EINVAL}:  # EINVAL: the number is a thread's by now
                raise
            raise StateError(NOT_RUNNING) from None
        # looked at after the open: the number cannot be given out again while it is ours
        if process_start(pid) != start or not start:
            os.close(fd)
            raise StateError(NOT_RUNNING)
        return fd

    def signal(self, number: int) -> None:
        """Send a signal to the container's process. Raises StateError or OpError with runc's texts."""
        fd = self.open_pidfd()
        try:
            _signal.pidfd_send_signal(fd, number)
        except ProcessLookupError:
            raise StateError(NOT_RUNNING) from None
        except OSError as error:
            raise OpError("unable to signal init", error.errno or EAGAIN) from None
        finally:
            os.close(fd)

    def manager(self) -> Manager:
        """Return the manager of the container's cgroup."""
        from pyrunc.cgroup import from_state

        return from_state(self.container.cgroup_paths, self.container.created_cgroups)

    def recorded_manager(self) -> Manager:
        """Return the manager by the second, smaller record: for a container whose state.json is damaged."""
        from pyrunc.cgroup import from_state

        value = loads(self.read(CGROUP).partition(b"\n")[0], f"container {self.name}: {CGROUP}")
        match value:
            case {"paths": dict(paths), "created": list(made)} if is_sound(paths) and is_sound(made):
                return from_state(paths, made)
        raise StateError(f"container {self.name}: {CGROUP}: damaged")

    def read_spec(self) -> Spec:
        """Return the config as it was when the container was created."""
        from pyrunc.spec.parse import parse_config

        return parse_config(self.read(CONFIG))

    # The word to start.

    def listen(self) -> int:
        """Return a listening socket, bound in the directory; the executor will accept on it."""
        import _socket

        sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
        # by the directory's fd: the path itself may be longer than the 108 bytes of a socket's address
        sock.bind(f"/proc/self/fd/{self.dir_fd}/{SOCKET}")
        os.chmod(SOCKET, 0o600, dir_fd=self.dir_fd)
        sock.listen(8)
        return sock.detach()

    def connect(self) -> _socket.socket:
        """Connect to the executor that waits. Raises OSError."""
        import _socket

        sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
        try:
            sock.connect(f"/proc/self/fd/{self.dir_fd}/{SOCKET}")
        except OSError:
            sock.close()
            raise
        return sock

    def write_steps(self, first: int, steps: Sequence[Sequence[str]]) -> None:
        """Keep what `start` needs to put errors into words: the operations from `first` on."""
        self.write(
            START,
            dumps({"first": first, "steps": [list(step) for step in steps]}).encode(
                "utf-8", "surrogateescape"
            ),
        )

    def read_steps(self) -> tuple[int, list[list[str]]]:
        """Return what write_steps wrote. Raises StateError."""
        match loads(self.read(START), f"container {self.name}: {START}"):
            case {"first": int(first), "steps": list(steps)} if all(map(_is_step, steps)):
                return first, steps
        raise StateError(f"container {self.name}: {START}: damaged")

    # Groups of resctrl, in a file of their own: few containers have any.

    def write_groups(self, path: str, made: Sequence[str]) -> None:
        """Keep the class of resctrl that the container is in, and the directories to remove with it, innermost first."""
        self.write(RESCTRL, dumps({"path": path, "made": list(made)}).encode("utf-8", "surrogateescape"))

    def read_groups(self) -> tuple[str, list[str]]:
        """Return what write_groups wrote; "" and nothing without it. Raises StateError."""
        try:
            data = self.read(RESCTRL)
        except FileNotFoundError:
            return "", []
        match loads(data, f"container {self.name}: {RESCTRL}"):
            case {"path": str(path), "made": list(made)} if is_sound(made):
                return path, made
        raise StateError(f"container {self.name}: {RESCTRL}: damaged")

    # The end.

    def remove(self) -> None:
        """Remove the directory, state.json last: until then another `delete` can go on, and knows the hooks. Raises OpError."""
        try:
            names = [name for name in os.listdir(self.dir_fd) if name not in (STATE, CONFIG)]
            for name in [*names, CONFIG, STATE]:
                remove_at(self.dir_fd, name)
            os.rmdir(f"{self.root}/{self.name}")
        except FileNotFoundError:
            return  # somebody else has finished it
        except OSError as error:
            raise OpError(
                f"unable to remove container state dir: {self.root}/{self.name}", error.errno or EAGAIN
            ) from None


def _is_step(words: object) -> bool:
    """Tell whether this is what is kept of a Step."""
    return isinstance(words, list) and len(words) == STEP_WORDS and is_sound(words)


def remove_at(dir_fd: int, name: str) -> None:
    """Remove a name, and what is below it, without following a link; one that is gone already is fine. Raises OSError."""
    try:
        os.unlink(name, dir_fd=dir_fd)
    except FileNotFoundError:
        return
    except IsADirectoryError:
        fd = os.open(name, DIRECTORY, dir_fd=dir_fd)
        try:
            for below in os.listdir(fd):
                remove_at(fd, below)
        finally:
            os.close(fd)
        os.rmdir(name, dir_fd=dir_fd)
