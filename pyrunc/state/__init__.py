"""The state root: a directory with one directory a container. Ids are checked here, before any path is joined."""

from __future__ import annotations

import os
from errno import EACCES, EEXIST, EINVAL, ELOOP, ENOENT, ENOTDIR

from pyrunc.errors import OpError, StateError, UsageError
from pyrunc.state.entry import Entry, NoContainerError
from pyrunc.state.files import DIRECTORY
from pyrunc.state.record import Container

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Protocol

    class Args(Protocol):
        """The part of a command line that says where the states are."""

        root: str
        default_root: bool


__all__ = ["Container", "Entry", "NoContainerError", "StateRoot", "check_id", "open_root"]

ID_MAX = 255
_ID_CHARS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+.-")
_SHOWN = 64


def check_id(name: str) -> None:
    """Raise UsageError, with runc's texts, for what cannot be a container's id."""
    if not name:
        raise UsageError("container id cannot be empty")
    if name in {".", ".."} or len(name) > ID_MAX or not _ID_CHARS.issuperset(name):
        shown = name if len(name) <= _SHOWN else f"{name[:_SHOWN]}..."
        raise UsageError(f"invalid container ID format: {ascii(shown)[1:-1]}")


def open_root(args: Args, *, ensure: bool = False) -> StateRoot:
    """Open the state root; make it, 0700, if `ensure`. One that is missing otherwise has no containers."""
    root = StateRoot(args.root, is_default=args.default_root)
    if ensure:
        root.ensure()
    return root


class StateRoot:
    """The directory of all containers' states."""

    def __init__(self, path: str, *, is_default: bool = False) -> None:
        self.path = path
        self.is_default = is_default
        self._fd = self._open()

    def _open(self) -> int:
        try:
            return os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            return -1
        except OSError as error:
            raise OpError(f"open {self.path}", error.errno or EINVAL) from None

    def close(self) -> None:
        """Close the directory."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def ensure(self) -> None:
        """Make the directory if it is missing, 0700. Raises OpError, with a hint for $XDG_RUNTIME_DIR."""
        if self._fd >= 0:
            return
        try:
            _make_dirs(self.path)
            if self.is_default and os.geteuid() != 0:
                os.chmod(self.path, 0o1700)  # the sticky bit: some clean $XDG_RUNTIME_DIR of what is old
        except OSError as error:
            hint = ""
            if self.is_default and error.errno == EACCES:
                hint = "the path in $XDG_RUNTIME_DIR must be writable by the user: "
            raise OpError(f"{hint}mkdir {self.path}", error.errno or EINVAL) from None
        self._fd = self._open()

    def create(self, name: str) -> Entry:
        """Make a container's directory, locked; that it can be made says that the id is free.

        Raises UsageError, StateError when the id is taken, OpError.
        """
        check_id(name)
        try:
            os.mkdir(name, 0o700, dir_fd=self._fd)
            entry = Entry(name, self._fd, os.open(name, DIRECTORY, dir_fd=self._fd))
        except FileExistsError:
            raise StateError("container with given ID already exists") from None
        except OSError as error:
            raise OpError(f"mkdir {self.path}/{name}", error.errno or EINVAL) from None
        entry.lock()
        if entry.is_gone():  # a `delete` took the empty directory for a leftover
            entry.close()
            return self.create(name)
        return entry

    def open(self, name: str, *, lock: bool = False) -> Entry:
        """Open a container of ours; with `lock`, once no other command works on it.

        A damaged state.json is no error yet: `Entry.damage`. Raises UsageError, NoContainerError, OpError.
        """
        check_id(name)
        entry = self._open_entry(name)
        try:
            if lock:
                entry.lock()
            entry.load()
        except BaseException:
            entry.close()
            raise
        return entry

    def _open_entry(self, name: str) -> Entry:
        if self._fd < 0:
            raise NoContainerError
        try:
            return Entry(name, self._fd, os.open(name, DIRECTORY, dir_fd=self._fd))
        except OSError as error:
            if error.errno in {ENOENT, ENOTDIR, ELOOP}:
                raise NoContainerError from None
            raise OpError(f"open {self.path}/{name}", error.errno or EINVAL) from None

    def entries(self) -> Iterator[Entry]:
        """Yield our containers by name; the directories of others are passed over. The caller closes each.

        Raises OpError when a root that was asked for by name does not exist.
        """
        if self._fd < 0:
            if self.is_default:
                return
            raise OpError(f"open {self.path}", ENOENT)
        for name in sorted(os.listdir(self._fd)):
            try:
                yield self.open(name)
            except (NoContainerError, UsageError):
                continue  # a file, another runtime's, or one that was deleted just now

    def remove_leftover(self, name: str) -> bool:
        """Remove a directory without a state.json, as a `create` or `delete` that was killed leaves it.

        Tell whether there was one. Another runtime's has a state.json, and stays. Raises UsageError, OpError.
        """
        check_id(name)
        try:
            entry = self._open_entry(name)
        except NoContainerError:
            return False
        with entry:
            entry.lock()
            if entry.is_gone() or not entry.is_leftover():
                return False
            entry.remove()
        return True


def _make_dirs(path: str) -> None:
    try:
        os.mkdir(path, 0o700)
    except FileNotFoundError:
        _make_dirs(os.path.dirname(path))
        os.mkdir(path, 0o700)
    except OSError as error:
        if error.errno != EEXIST:
            raise
