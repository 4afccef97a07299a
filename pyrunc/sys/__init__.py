"""One thin wrapper per system call: Python's types outside, the shim or CPython's own wrapper inside, OSError only.

Descriptors that are returned belong to the caller and are CLOEXEC.
"""

from __future__ import annotations

import fcntl
import os
from errno import ENOEXEC

import _signal

from pyrunc import _shim

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_IN_ROOT = 0x10
SEALS = 0x0F
"""F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW and F_SEAL_WRITE: nothing of the file can change any more."""
EXECUTABLE_DIRS = ("/run", "/tmp", "/var/tmp", "/dev/shm")  # noqa: S108  # for a file that never has a name

_ffi = _shim.ffi
_lib = _shim.lib


def _checked(result: int, name: str | None = None) -> int:
    if result < 0:
        raise OSError(-result, os.strerror(-result), name)
    return result


def spawn(
    clone_flags: int, cgroup_fd: int, exe_fd: int, stdio: tuple[int, int, int], preserve: int, fds: Sequence[int]
) -> tuple[int, int]:
    """clone3(2) and execveat(2) of `exe_fd`; return pid and pidfd. See pyrunc_spawn in csrc/shim.c for what the child has."""
    pidfd = _ffi.new("int *")
    pid = _lib.pyrunc_spawn(clone_flags, cgroup_fd, exe_fd, list(stdio), preserve, list(fds), len(fds), pidfd)
    return _checked(pid), int(pidfd[0])


def executor_fd() -> int:
    """Return the executor in a sealed memfd, ready to be executed."""
    return _checked(_lib.pyrunc_executor_fd())


def executor_tmpfile() -> int:
    """Return the executor in a file without a name, opened by a path only (a writable descriptor would be ETXTBSY)."""
    length = _ffi.new("unsigned long *")
    data = _ffi.buffer(_lib.pyrunc_executor_bytes(length), length[0])
    for directory in EXECUTABLE_DIRS:
        try:
            fd = os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o700)
        except OSError:
            continue  # not there, read-only, or a file system without O_TMPFILE: the next one
        try:
            os.write(fd, data)
            os.fchmod(fd, 0o500)
            return os.open(f"/proc/self/fd/{fd}", os.O_PATH | os.O_CLOEXEC)
        finally:
            os.close(fd)
    raise OSError(ENOEXEC, os.strerror(ENOEXEC))


def memfd_sealed(data: bytes, name: str) -> int:
    """Return a memfd that holds `data` and can never hold anything else (memfd_create(2))."""
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)
    return fd


def openat2(dir_fd: int, path: str, flags: int, mode: int, resolve: int) -> int:
    """openat2(2), always CLOEXEC."""
    return _checked(_lib.pyrunc_openat2(dir_fd, os.fsencode(path), flags, mode, resolve), path)


def fs_magic(fd: int) -> int:
    """Return the magic number of the file system that `fd` lies on (statfs(2), f_type)."""
    return _checked(_lib.pyrunc_fs_magic(fd))


def ns_type(fd: int) -> int:
    """Return the CLONE_NEW* flag of a namespace's descriptor (ioctl_ns(2), NS_GET_NSTYPE)."""
    return _checked(_lib.pyrunc_ns_type(fd))


def pidfd_open(pid: int) -> int:
    """pidfd_open(2)."""
    return os.pidfd_open(pid)


def pidfd_send_signal(pidfd: int, number: int) -> None:
    """pidfd_send_signal(2)."""
    _signal.pidfd_send_signal(pidfd, number)


def become_subreaper() -> None:
    """Let what our children leave behind become our children (PR_SET_CHILD_SUBREAPER)."""
    _checked(_lib.pyrunc_prctl_subreaper(1))


def close_all(fds: Iterable[int]) -> None:
    """close(2) each."""
    for fd in fds:
        os.close(fd)
