"""The environment of the container's process: process.env, the last of equal names wins, and HOME.

HOME comes from the container's own /etc/passwd, a file that a stranger wrote: it is opened below the root of the
container, must be a plain file, and only its first mebibyte is read (a FIFO there hangs other runtimes).
"""

from __future__ import annotations

from _stat import S_ISREG
from errno import ELOOP, ENOENT, ENOTDIR, ENXIO

from pyrunc import _os as os
from pyrunc.sys import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, openat2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

PASSWD_LIMIT = 1 << 20


def environment(env: Iterable[str], uid: int, root_fd: int) -> bytes:
    """Return the environment as NUL-terminated strings; `root_fd` is the container's root (O_PATH)."""
    values: dict[str, str] = {}
    for entry in env:
        name, _, value = entry.partition("=")
        values.pop(name, None)  # a later entry also takes the later place, as in runc
        values[name] = value
    if not values.get("HOME"):
        values["HOME"] = home_of(uid, root_fd)
    return b"".join(b"%s=%s\0" % (os.fsencode(name), os.fsencode(value)) for name, value in values.items())


def home_of(uid: int, root_fd: int) -> str:
    """Return the home directory of `uid` by the container's /etc/passwd, "/" where it does not say."""
    wanted = b"%d" % uid
    for line in _passwd(root_fd).split(b"\n"):
        fields = line.split(b":")
        if len(fields) >= 6 and fields[2] == wanted and fields[5] and b"\0" not in fields[5]:
            return os.fsdecode(fields[5])
    return "/"


def _passwd(root_fd: int) -> bytes:
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY
    try:
        fd = openat2(root_fd, "etc/passwd", flags, 0, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
    except OSError as error:
        if error.errno in {ENOENT, ENOTDIR, ELOOP, ENXIO} or isinstance(error, PermissionError):
            return b""  # an image without users, or one that plays tricks: HOME is / then
        raise
    try:
        return os.read(fd, PASSWD_LIMIT) if S_ISREG(os.fstat(fd).st_mode) else b""
    finally:
        os.close(fd)
