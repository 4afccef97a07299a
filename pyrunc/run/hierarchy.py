"""The options of the host's cgroup2, which are those of every mount of it.

criu mounts it once more, without any, to look at the whole tree: then nsdelegate and memory_recursiveprot are gone for the
host as well. So they are given back.
"""

from __future__ import annotations

from pyrunc import _os as os
from pyrunc import log
from pyrunc._record import record
from pyrunc.errors import strerror
from pyrunc.host import unescape

MS_REMOUNT = 0x20
FLAGS = {
    b"ro": 0x1, b"nosuid": 0x2, b"nodev": 0x4, b"noexec": 0x8, b"sync": 0x10, b"noatime": 0x400, b"nodiratime": 0x800,
    b"relatime": 0x200000,
}  # fmt: skip
"""What a remount is told of the mount itself, to leave it as it is (mount(2))."""
COMMON = frozenset((b"rw", b"ro"))


@record
class Mount:
    """A mount of cgroup2."""

    point: str
    flags: int
    options: bytes
    """Those of the file system."""


def find_unified(mountinfo: bytes) -> Mount | None:
    """Return the mount of cgroup2 that lies on top, by the text of /proc/PID/mountinfo."""
    found = None
    for line in mountinfo.splitlines():
        fields, _, rest = line.partition(b" - ")
        if rest.startswith(b"cgroup2 "):
            point, per_mount = fields.split(b" ")[4:6]
            flags = sum(FLAGS.get(word, 0) for word in per_mount.split(b","))
            options = [word for word in rest.split(b" ")[2].split(b",") if word not in COMMON]
            found = Mount(unescape(point), flags, b",".join(options))
    return found


def unified() -> Mount | None:
    """Return it as it is now."""
    with open("/proc/self/mountinfo", "rb") as file:
        return find_unified(file.read())


def give_back(before: Mount | None) -> None:
    """Give the hierarchy the options that it had; a failure is a warning, for what criu was asked to do is done."""
    now = unified()
    if before is None or now is None or now.options == before.options:
        return
    errno = _remount(before)
    if errno:
        log.warning(f"{before.point}: cannot give back {before.options.decode()}: {strerror(errno)}")


def _remount(mount: Mount) -> int:
    from pyrunc._shim import ffi, lib

    call = ffi.cast(
        "int (*)(const char *, const char *, const char *, unsigned long, const char *)",
        lib.pyrunc_symbol(ffi.NULL, b"mount"),
    )
    failed = call(b"none", os.fsencode(mount.point), ffi.NULL, MS_REMOUNT | mount.flags, mount.options)
    return int(ffi.errno) if failed else 0
