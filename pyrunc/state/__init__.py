"""The state directory: what is known of each container, under one root, a directory each.

A directory's name is the container's id, a string from a stranger: `check_id` is the one place that lets it become a path.
Making the directory is what makes an id unique; a lock on it keeps two commands apart. Files are written under a temporary name
and renamed. A directory whose state.json has no key "pyrunc" belongs to another runtime that shares the root (dockerd gives all
its runtimes one): it is never touched.
"""

from __future__ import annotations

from errno import EAGAIN, EEXIST, ELOOP, ENOENT, ENOTDIR

from pyrunc import _os as os
from pyrunc.errors import OpError, StateError, UsageError
from pyrunc.spec.jsontext import quoted
from pyrunc.state.entry import CGROUP, CONFIG, DIRECTORY, NO_SUCH, NOT_RUNNING, Entry
from pyrunc.state.record import STATE, Container, process_start

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.commands import Args

__all__ = [
    "CGROUP",
    "CONFIG",
    "NOT_RUNNING",
    "NO_SUCH",
    "STATE",
    "Container",
    "Entry",
    "StateRoot",
    "check_id",
    "open_root",
    "process_start",
    "refuse_others",
]

ID_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+.-")
NAME_MAX = 255


def check_id(name: str) -> None:
    """Raise UsageError unless `name` may be a container's id: [A-Za-z0-9_+.-]+, not . or .., at most 255 characters."""
    if not name:
        raise UsageError("container id cannot be empty")
    if name in {".", ".."} or not ID_CHARACTERS.issuperset(name) or len(name) > NAME_MAX:
        raise UsageError(f"invalid container ID format: {quoted(name[:NAME_MAX])}")


class StateRoot:
    """The directory of all containers' directories."""

    def __init__(self, path: str) -> None:
        self.path = path

    def create(self, name: str) -> Entry:
        """Make and lock the directory of a new container. Raises StateError when the id is taken."""
        check_id(name)
        path = f"{self.path}/{name}"
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            raise StateError("container with given ID already exists") from None
        except OSError as error:
            raise OpError(f"mkdir {path}", error.errno or EEXIST) from None
        try:
            entry = Entry(self.path, name, os.open(path, DIRECTORY))
        except FileNotFoundError:
            return self.create(name)  # a `delete` was quicker, as below
        entry.lock()
        if entry.is_gone():  # a `delete` took the empty directory for a leftover
            entry.close()
            return self.create(name)
        return entry

    def open_directory(self, name: str, *, lock: bool = False) -> Entry:
        """Open a container's directory, whatever is in it. Raises StateError when there is none."""
        check_id(name)
        try:
            entry = Entry(self.path, name, os.open(f"{self.path}/{name}", DIRECTORY))
        except OSError as error:
            if error.errno in {ENOENT, ENOTDIR, ELOOP}:
                raise StateError(NO_SUCH) from None
            raise OpError(f"open {self.path}/{name}", error.errno or ENOENT) from None
        try:
            refuse_others(os.fstat(entry.dir_fd), f"{self.path}/{name}")
            if lock:
                entry.lock()
        except BaseException:
            entry.close()
            raise
        return entry

    def open(self, name: str, *, lock: bool = False) -> Entry:
        """Open a container of ours and read its state. Raises StateError."""
        entry = self.open_directory(name, lock=lock)
        try:
            entry.load()
        except BaseException:
            entry.close()
            raise
        return entry

    def names(self) -> list[str]:
        """Return the names of all directories that could be containers, sorted. Raises OSError."""
        found = []
        with os.scandir(self.path) as entries:
            found = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        return sorted(name for name in found if ID_CHARACTERS.issuperset(name))


def open_root(args: Args, *, ensure: bool = False) -> StateRoot:
    """Return the root of the command line; with `ensure` it is made when it is missing (0700).

    Raises StateError when somebody else may write to it.
    """
    if ensure:
        _ensure_root(args.root, own=args.default_root and os.geteuid() != 0)
    try:
        status = os.stat(args.root)
    except OSError:
        return StateRoot(args.root)  # whoever needs it says so
    refuse_others(status, args.root, sticky=True)
    return StateRoot(args.root)


def refuse_others(status: os.stat_result, path: str, *, sticky: bool = False) -> None:
    """Raise StateError for a directory that others may write to: state says what is killed and what is removed.

    With `sticky` it may be one in which nobody can rename or remove what is another's, such as /tmp.
    """
    if status.st_uid != os.geteuid():
        raise StateError(f"{path}: is the directory of another user (uid {status.st_uid}): not used")
    if status.st_mode & 0o022 and not (sticky and status.st_mode & 0o1000):
        raise StateError(f"{path}: others may write to it (mode {status.st_mode & 0o7777:04o}): not used")


def _ensure_root(path: str, *, own: bool) -> None:
    before = os.umask(0o077)  # also for what is missing above it
    try:
        os.makedirs(path, 0o700, exist_ok=True)
        if own:
            os.chmod(path, 0o1700)  # sticky: what cleans $XDG_RUNTIME_DIR leaves such files alone
    except OSError as error:
        hint = " (the path in $XDG_RUNTIME_DIR must be writable by the user)" if own else ""
        raise OpError(f"mkdir {path}{hint}", error.errno or EAGAIN) from None
    finally:
        os.umask(before)
