"""The places that a restored container's mounts go to, made where the root file system lacks them.

The executor makes them for a new container; here it is criu that mounts, and it makes nothing.
"""

from __future__ import annotations

from pyrunc import _os as os
from pyrunc.errors import OpError
from pyrunc.plan.kernel import IN_ROOT, O_PATH
from pyrunc.sys import openat2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyrunc.spec.model import Mount

WHERE = O_PATH | os.O_CLOEXEC


def ensure_mountpoints(root: str, mounts: Sequence[Mount], bundle: str) -> None:
    """Make the destinations that are missing, with no link leading out of the root. Raises OpError.

    Not those below another mount: criu brings back what that one holds.
    """
    try:
        fd = os.open(root, WHERE | os.O_DIRECTORY)
    except OSError as error:
        raise OpError(f"root.path: open {root}", error.errno or 0) from None
    try:
        for mount in mounts:
            if any(mount.destination.startswith(f"{one.destination.rstrip('/')}/") for one in mounts):
                continue
            source = os.path.join(bundle, mount.source or "")
            is_file = "bind" in (mount.type, *mount.options) or "rbind" in mount.options
            try:
                _ensure(fd, mount.destination.strip("/"), is_file=is_file and not os.path.isdir(source))
            except OSError as error:
                what = f"{mount.at}.destination ({mount.destination})"
                raise OpError(what, error.errno or 0) from None
    finally:
        os.close(fd)


def _ensure(root: int, path: str, *, is_file: bool) -> None:
    parts = path.split("/")
    for count in range(1, len(parts) + 1):
        try:
            os.close(openat2(root, "/".join(parts[:count]) or ".", WHERE, 0, IN_ROOT))
        except FileNotFoundError:
            parent = openat2(root, "/".join(parts[: count - 1]) or ".", WHERE, 0, IN_ROOT)
            try:
                _make(parent, parts[count - 1], is_file=is_file and count == len(parts))
            finally:
                os.close(parent)


def _make(parent: int, name: str, *, is_file: bool) -> None:
    if is_file:
        os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644, dir_fd=parent))
    else:
        os.mkdir(name, 0o755, dir_fd=parent)
