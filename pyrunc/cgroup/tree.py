"""Directories of a cgroup file system by descriptor: make, read, write, list, remove.

Everything is relative to a directory whose file-system magic was checked: where something else is mounted
(CVE-2019-19921's class), that is an error before it is a write.
"""

from __future__ import annotations

import time
from errno import EBUSY, EEXIST, ENODEV, ENOENT, ENOTEMPTY, EOPNOTSUPP

from pyrunc import _os as os
from pyrunc.errors import OpError
from pyrunc.host import CGROUP2_SUPER_MAGIC, CGROUP_SUPER_MAGIC

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    MagicOf = Callable[[int], int]

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
HANDLE = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
MAGICS = frozenset({CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC})
BUSY = frozenset({EBUSY, ENOTEMPTY, EEXIST})
GONE = frozenset({ENOENT, ENODEV})
"""What a cgroup answers that others have removed or are removing (kernfs): systemd does that when a scope's last process has
ended."""
REMOVE_TRIES = 12
"""With pauses that double from a millisecond: two seconds in all."""
FIRST_PAUSE = 0.001
PAGE = 1 << 16
"""More than any file of a cgroup gives at once."""


def fs_magic(fd: int) -> int:
    """Return the type of the file system that an open file is on (fstatfs)."""
    from pyrunc.sys import fs_magic as ask

    return ask(fd)


def open_mount(path: str, magic_of: MagicOf) -> int:
    """Open a cgroup by its absolute path, as a handle. Raises OSError; OpError when it is none."""
    fd = os.open(path, HANDLE)
    if magic_of(fd) not in MAGICS:
        os.close(fd)
        raise OpError(f"open {path}: not on a cgroup file system")
    return fd


def open_at(fd: int, path: str, magic_of: MagicOf) -> int:
    """Open a cgroup below another for reading. Raises OSError; OpError when it is none."""
    made = os.open(path, DIRECTORY, dir_fd=fd)
    if magic_of(made) not in MAGICS:
        os.close(made)
        raise OpError(f"open {path}: not on a cgroup file system")
    return made


def make_at(fd: int, path: str) -> list[str]:
    """Make a cgroup and what is missing above it; return what was made, outermost first. Raises OSError."""
    made: list[str] = []
    try:
        _make(fd, path, made, 3)
    except OSError:
        for name in reversed(made):
            _try_rmdir(name, fd)
        raise
    return made


def _make(fd: int, path: str, made: list[str], tries: int) -> None:
    parent = path.rpartition("/")[0]
    try:
        os.mkdir(path, 0o755, dir_fd=fd)
    except FileExistsError:
        return
    except FileNotFoundError:
        if not (parent and tries):
            raise
    else:
        made.append(path)
        return
    _make(fd, parent, made, 3)
    _make(fd, path, made, tries - 1)  # again: another container's delete may have taken the empty parent away


def read_at(fd: int, name: str) -> str:
    """Return the contents of a file of a cgroup. Raises OSError."""
    file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
    try:
        parts = [os.read(file, PAGE)]
        while len(parts[-1]) > 0:
            parts.append(os.read(file, PAGE))
    finally:
        os.close(file)
    return b"".join(parts).decode("ascii", "replace")


def write_at(fd: int, name: str, *values: str) -> None:
    """Write values into a file of a cgroup, each in a write(2) of its own. Raises OSError."""
    file = os.open(name, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
    try:
        for value in values:
            os.write(file, value.encode())
    finally:
        os.close(file)


def counter(text: str, key: str) -> int:
    """Return the number behind a key of a flat-keyed file (memory.events, cgroup.events); 0 without it."""
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if name == key:
            return int(value)
    return 0


def pids_in(fd: int) -> list[int]:
    """Return the processes of one cgroup, without those of cgroups below. Raises OSError."""
    try:
        text = read_at(fd, "cgroup.procs")
    except OSError as error:
        if error.errno != EOPNOTSUPP:  # a threaded cgroup tells of threads only
            raise
        text = read_at(fd, "cgroup.threads")
    # 0 is a process of another pid namespace, which cannot be named here
    return [pid for pid in map(int, text.split()) if pid > 0]


def pids_below(fd: int) -> list[int]:
    """Return the processes of a cgroup and of all below it; what vanishes meanwhile is left out."""
    try:
        pids = pids_in(fd)
        children = children_of(fd)
    except OSError as error:
        if error.errno in GONE:  # removed while it was being read
            return []
        raise
    for name in children:
        try:
            child = os.open(name, DIRECTORY, dir_fd=fd)
        except FileNotFoundError:
            continue  # removed since it was listed
        try:
            pids += pids_below(child)
        finally:
            os.close(child)
    return pids


def children_of(fd: int) -> list[str]:
    """Return the names of the cgroups directly below. Raises OSError."""
    if os.fstat(fd).st_nlink == 2:  # kernfs counts directories as links: no need to list twenty files
        return []
    with os.scandir(fd) as entries:
        return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]


def remove_at(fd: int, name: str, tries: int = REMOVE_TRIES) -> None:
    """Remove a cgroup and those below it, waiting for processes that are just ending. Raises OSError."""
    pause = FIRST_PAUSE
    for attempt in range(1, tries + 1):
        try:
            os.rmdir(name, dir_fd=fd)
        except OSError as error:
            if error.errno in GONE:
                return
            if error.errno not in BUSY or attempt == tries:
                raise
        else:
            return
        if not _remove_below(fd, name) or attempt > 1:
            time.sleep(pause)
            pause *= 2


def _remove_below(fd: int, name: str) -> bool:
    """Try to remove the cgroups below `name`; tell whether there was any."""
    try:
        here = os.open(name, DIRECTORY, dir_fd=fd)
    except FileNotFoundError:
        return True
    try:
        children = children_of(here)
        for child in children:
            _remove_below(here, child)
            _try_rmdir(child, here)
    except FileNotFoundError:
        return True  # systemd was quicker
    finally:
        os.close(here)
    return bool(children)


def _try_rmdir(name: str, fd: int) -> None:
    try:
        os.rmdir(name, dir_fd=fd)
    except OSError as error:
        if error.errno not in GONE and error.errno not in BUSY:  # the outer loop comes back to what is busy
            raise


def remove_path(path: str, magic_of: MagicOf, tries: int = REMOVE_TRIES) -> None:
    """Remove a cgroup by its absolute path, with those below it. Raises OSError or OpError."""
    _from_above(path, magic_of, lambda fd, name: remove_at(fd, name, tries))


def remove_empty(path: str, magic_of: MagicOf) -> None:
    """Remove a cgroup that was made on the way to a container's, unless somebody else uses it by now."""
    _from_above(path, magic_of, lambda fd, name: _try_rmdir(name, fd))


def _from_above(path: str, magic_of: MagicOf, act: Callable[[int, str], None]) -> None:
    parent, _, name = path.rpartition("/")
    try:
        fd = open_mount(parent or "/", magic_of)
    except FileNotFoundError:
        return  # gone, and its parent as well
    try:
        act(fd, name)
    finally:
        os.close(fd)
