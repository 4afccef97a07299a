"""Files below a directory that is held by its descriptor: no path is resolved twice, no link is followed."""

from __future__ import annotations

import os
from errno import EISDIR, EPERM

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
WRITE = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
_CHUNK = 1 << 16


def read_at(dir_fd: int, name: str) -> bytes:
    """Return the contents of a file. Raises OSError."""
    fd = os.open(name, READ, dir_fd=dir_fd)
    try:
        data = os.read(fd, _CHUNK)
        if len(data) < _CHUNK:
            return data
        parts = [data]
        while parts[-1]:
            parts.append(os.read(fd, _CHUNK))
        return b"".join(parts)
    finally:
        os.close(fd)


def write_at(dir_fd: int, name: str, data: bytes, *, flags: int = os.O_TRUNC) -> None:
    """Write a file of mode 0600. Raises OSError."""
    fd = os.open(name, WRITE | flags, 0o600, dir_fd=dir_fd)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(fd, rest) :]
    finally:
        os.close(fd)


def replace_at(dir_fd: int, name: str, data: bytes) -> None:
    """Write a file that its readers see old or new, never half. Raises OSError.

    The temporary name may be fixed: whoever writes holds the lock on the directory.
    """
    new = f"{name}.new"
    try:
        write_at(dir_fd, new, data)
        os.rename(new, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
    except OSError:
        unlink_at(dir_fd, new)
        raise


def unlink_at(dir_fd: int, name: str) -> None:
    """Remove a file, if it is there. Raises OSError."""
    try:
        os.unlink(name, dir_fd=dir_fd)
    except FileNotFoundError:
        return


def empty_at(dir_fd: int, keep: Sequence[str] = ()) -> None:
    """Remove everything below a directory but the names in `keep`, without following a link. Raises OSError."""
    for name in os.listdir(dir_fd):
        if name in keep:
            continue
        try:
            unlink_at(dir_fd, name)
        except OSError as error:
            if error.errno not in {EISDIR, EPERM}:  # Linux says the one of a directory, POSIX the other
                raise
            _remove_dir_at(dir_fd, name)


def _remove_dir_at(dir_fd: int, name: str) -> None:
    fd = os.open(name, DIRECTORY, dir_fd=dir_fd)
    try:
        empty_at(fd)
    finally:
        os.close(fd)
    os.rmdir(name, dir_fd=dir_fd)
