"""A Landlock ruleset for a container: made by us, applied by the executor to itself (RESTRICT).

The paths are the container's, so they are resolved by the kernel below the root that the executor sends, and a link that
leads out of it leads nowhere (openat2(2), RESOLVE_IN_ROOT). Numbers and versions are those of landlock(7).
"""

from __future__ import annotations

from _stat import S_ISDIR
from _struct import pack
from errno import ENOSYS, EOPNOTSUPP

from pyrunc import _os as os
from pyrunc.errors import HostError, OpError
from pyrunc.spec.landlock import AT
from pyrunc.sys import (
    RESOLVE_IN_ROOT,
    RESOLVE_NO_MAGICLINKS,
    landlock_add,
    landlock_create,
    landlock_version,
    openat2,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.spec.landlock import Landlock

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
REMOVE, MAKE = 0b11 << 4, 0b1111111 << 6
REFER, TRUNCATE, IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV
"""What a rule about something that is no directory may allow."""
RIGHTS = {
    "read": READ_FILE | READ_DIR,
    "write": WRITE_FILE | REMOVE | MAKE | REFER | TRUNCATE | IOCTL_DEV,
    "execute": EXECUTE,
}
SINCE = {REFER: 2, TRUNCATE: 3, IOCTL_DEV: 5}
"""The version of the interface that brought a right."""
READ_AS_WELL = {"execute": READ_FILE}
"""execve(2) opens the program for reading: who may execute it may read it."""
PORT_RIGHTS = {"bind": 1 << 0, "connect": 1 << 1}
PORTS_SINCE = 4
PATH_BENEATH, NET_PORT = 1, 2
NO_LANDLOCK = (
    "this kernel has no Landlock, or it is not among the security modules that were chosen at boot (lsm=)"
)


def open_ruleset(rules: Landlock, root_fd: int) -> int:
    """Return the ruleset, for paths below the root. Raises HostError where the kernel lacks it, OpError for a path."""
    version = _version()
    if rules.ports and version < PORTS_SINCE:
        raise HostError(f"{AT}: ports need Linux 6.7")
    known = ~sum(right for right, since in SINCE.items() if since > version)
    files = sum(RIGHTS[name] for name in rules.paths) & known
    ports = sum(PORT_RIGHTS[name] for name in rules.ports)
    ruleset = landlock_create(pack("=QQ", files, ports) if ports else pack("=Q", files))
    try:
        for name, paths in rules.paths.items():
            for index, path in enumerate(paths):
                rights = (RIGHTS[name] | READ_AS_WELL.get(name, 0)) & files
                _allow_path(ruleset, root_fd, path, rights, f"{AT}.{name}[{index}]")
        for name, numbers in rules.ports.items():
            for number in numbers:
                landlock_add(ruleset, NET_PORT, pack("=QQ", PORT_RIGHTS[name], number))
    except BaseException:
        os.close(ruleset)
        raise
    return ruleset


def _version() -> int:
    try:
        return landlock_version()
    except OSError as error:
        if error.errno not in {ENOSYS, EOPNOTSUPP}:
            raise
        raise HostError(f"{AT}: {NO_LANDLOCK}") from None


def _allow_path(ruleset: int, root_fd: int, path: str, rights: int, at: str) -> None:
    try:
        fd = openat2(root_fd, path, os.O_PATH, 0, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
    except OSError as error:
        raise OpError(f"{at}: {path}", error.errno or ENOSYS) from None
    try:
        if not S_ISDIR(os.fstat(fd).st_mode):
            rights &= OF_FILES
        landlock_add(ruleset, PATH_BENEATH, pack("=Qi", rights, fd))
    finally:
        os.close(fd)
