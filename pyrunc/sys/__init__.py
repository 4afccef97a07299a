"""One thin function for each system call that `os` does not have. They raise OSError and nothing else."""

from __future__ import annotations

import _signal
from errno import ENOSPC

from pyrunc import _os as os
from pyrunc._shim import ffi, lib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10

_EXECUTABLE_DIRS = ("/run", "/tmp", "/var/tmp", "/dev/shm")  # noqa: S108  # nothing gets a name there


def _check(result: int, filename: str | None = None) -> int:
    if result < 0:
        raise OSError(-result, os.strerror(-result), filename)
    return result


def spawn(
    clone_flags: int, cgroup_fd: int, exe: int, stdio: tuple[int, int, int], preserve: int, fds: Sequence[int]
) -> tuple[int, int]:
    """Start the executor `exe` by clone3(2); return its pid and a pidfd.

    In it, stdio are fds 0-2, our own fds 3 .. 3+preserve-1 stay as they are, `fds` follow them, and nothing else
    is open. With `cgroup_fd` (-1 for none) it is born in that cgroup. A failed execveat(2) leaves no process.
    """
    pidfd = ffi.new("int *")
    pid: int = lib.pyrunc_spawn(clone_flags, cgroup_fd, exe, stdio, preserve, fds, len(fds), pidfd)
    return _check(pid), pidfd[0]


def executor_fd() -> int:
    """Return the executor in a sealed memfd. Raises EACCES where vm.memfd_noexec forbids that."""
    fd: int = lib.pyrunc_executor_fd()
    return _check(fd)


def executor_bytes() -> bytes:
    """Return the executor itself."""
    length = ffi.new("unsigned long *")
    data = lib.pyrunc_executor_bytes(length)
    return bytes(ffi.buffer(data, length[0]))


def executor_tmpfile(directories: Sequence[str] = _EXECUTABLE_DIRS) -> int:
    """Return the executor in a file without a name, in the first directory that allows that."""
    error = OSError(ENOSPC, os.strerror(ENOSPC))
    for directory in directories:
        try:
            if not os.statvfs(directory).f_flag & os.ST_NOEXEC:
                return _executor_in(directory)
        except OSError as failed:
            error = failed
    raise error


def _executor_in(directory: str) -> int:
    fd = os.open(directory, os.O_TMPFILE | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o500)
    try:
        os.write(fd, executor_bytes())
        # a file that someone may write to cannot be executed (ETXTBSY), and ours must not be written to
        return os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(fd)


def memfd_sealed(data: bytes, name: str) -> int:
    """Return a memfd with these bytes, at offset 0, that nobody can change any more."""
    fd: int = lib.pyrunc_memfd_sealed(name.encode(), data, len(data))
    return _check(fd)


def openat2(dir_fd: int, path: str, flags: int, mode: int = 0, resolve: int = 0) -> int:
    """openat2(2); the fd is CLOEXEC in any case."""
    fd: int = lib.pyrunc_openat2(dir_fd, os.fsencode(path), flags, mode, resolve)
    return _check(fd, path)


def fs_magic(fd: int) -> int:
    """Return the magic number of the file system that `fd` lies on: f_type of fstatfs(2)."""
    magic: int = lib.pyrunc_fs_magic(fd)
    return _check(magic)


def ns_type(fd: int) -> int:
    """Return the CLONE_NEW* flag of a namespace: NS_GET_NSTYPE of ioctl_ns(2)."""
    flag: int = lib.pyrunc_ns_type(fd)
    return _check(flag)


def landlock_version() -> int:
    """Return the version of the Landlock interface: landlock_create_ruleset(2) with LANDLOCK_CREATE_RULESET_VERSION."""
    return _check(lib.pyrunc_landlock_create(b"", 0, 1))


def landlock_create(attr: bytes) -> int:
    """Return a new ruleset that handles the rights of a struct landlock_ruleset_attr."""
    fd: int = lib.pyrunc_landlock_create(attr, len(attr), 0)
    return _check(fd)


def landlock_add(ruleset: int, kind: int, attr: bytes) -> None:
    """landlock_add_rule(2)."""
    _check(lib.pyrunc_landlock_add(ruleset, kind, attr))


def become_subreaper() -> None:
    """Adopt orphaned descendants: PR_SET_CHILD_SUBREAPER of prctl(2)."""
    _check(lib.pyrunc_prctl_subreaper(1))


def close_range(first: int, last: int, flags: int = 0) -> None:
    """close_range(2); unlike os.closerange it is one call, and takes CLOSE_RANGE_CLOEXEC."""
    _check(lib.pyrunc_close_range(first, last, flags))


def close_all(fds: Iterable[int]) -> None:
    """Close each."""
    for fd in fds:
        os.close(fd)


def pidfd_open(pid: int) -> int:
    """pidfd_open(2)."""
    return os.pidfd_open(pid)


def pidfd_send_signal(pidfd: int, number: int) -> None:
    """pidfd_send_signal(2)."""
    _signal.pidfd_send_signal(pidfd, number)
