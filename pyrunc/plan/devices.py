"""Device nodes and the links in /dev."""

from __future__ import annotations

from errno import EACCES, EEXIST, ENOENT, ENOTDIR, EPERM

from pyrunc import _os as os
from pyrunc.plan.builder import CWD, FILE
from pyrunc.plan.context import relative
from pyrunc.plan.kernel import CAP_MKNOD, O_PATH, ONE_STEP, S_IFCHR
from pyrunc.spec.tables import DEVICE_TYPES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.plan.builder import Slot
    from pyrunc.plan.context import Context

DEFAULT_DEVICES = {
    "dev/null": (1, 3), "dev/zero": (1, 5), "dev/full": (1, 7), "dev/random": (1, 8), "dev/urandom": (1, 9),
    "dev/tty": (5, 0),
}  # fmt: skip
"""What every container has (config-linux.md, Default Devices), by their path below the root."""
LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
}
DEFAULT_MODE = 0o666
ORIGIN = "linux.devices (default)"
NULL_ORIGIN = "stdio"
LINK_ORIGIN = "dev symbolic links (default)"


class Node:
    """A node to make: path below the root, mode with the type, number, owner, origin."""

    __slots__ = ("at", "device", "mode", "owner", "path")

    def __init__(self, path: str, mode: int, device: int, owner: tuple[int, int], at: str) -> None:
        self.path = path
        self.mode = mode
        self.device = device
        self.owner = owner
        self.at = at


def make_devices(c: Context) -> None:
    """Make the devices, default ones first, and the links; after the mounts, one of which is usually /dev
    itself.

    A /dev that is a bind mount is somebody's finished /dev, and nothing is made in it (runc does the same).
    """
    if _dev_is_bind(c):
        return
    make = _make_node if _may_mknod(c) else _bind_node
    if make is _make_node or c.mountns:
        directories: dict[str, Slot] = {}
        for node in _nodes(c):
            make(c, node, directories)
        if "dev" in directories:
            _reopen_null(c, directories["dev"])
    _make_links(c)


def _dev_is_bind(c: Context) -> bool:
    return any(
        relative(mount.destination) == "dev"
        and (mount.type == "bind" or "bind" in mount.options or "rbind" in mount.options)
        for mount in c.spec.mounts
    )


def _may_mknod(c: Context) -> bool:
    """mknod(2) needs CAP_MKNOD over the host; root of a user namespace has none."""
    return bool(not c.userns and not c.host.in_userns and c.host.effective >> CAP_MKNOD & 1)


def _nodes(c: Context) -> list[Node]:
    """Return the default nodes and the configured ones; a configured one takes the place of a default one."""
    nodes = {
        path: Node(path, S_IFCHR | DEFAULT_MODE, os.makedev(*number), (0, 0), ORIGIN)
        for path, number in DEFAULT_DEVICES.items()
    }
    for device in c.spec.linux.devices:
        path = relative(device.path)
        if path == "dev/ptmx":
            continue  # always the link to the container's own pts/ptmx
        mode = DEFAULT_MODE if device.file_mode is None else device.file_mode & 0o7777
        number = os.makedev(device.major or 0, device.minor or 0)
        owner = (device.uid or 0, device.gid or 0)
        nodes[path] = Node(path, DEVICE_TYPES[device.type] | mode, number, owner, device.at)
    return list(nodes.values())


def _make_node(c: Context, node: Node, directories: dict[str, Slot]) -> None:
    parent, _, name = node.path.rpartition("/")
    if parent not in directories:
        directories[parent] = c.b.mkpath(c.root, parent, node.at) if parent else c.root
    c.b.node(directories[parent], name, node.mode, node.device, node.owner, node.at)


def _reopen_null(c: Context, dev: Slot) -> None:
    """Put the container's /dev/null in the place of the host's on fds 0-2: criu cannot dump a file of a mount that is not
    the container's.

    Only on a file system that was mounted just now, where nobody else can have put another device.
    """
    if not c.facts.null or c.process.terminal or not _dev_is_new(c):
        return
    null = c.b.open(dev, "null", os.O_RDWR | os.O_CLOEXEC, NULL_ORIGIN, resolve=ONE_STEP)
    guard = c.b.skip_if(EACCES, EPERM)  # /dev is mounted nodev: the host's stays
    for fd in c.facts.null:
        c.b.dup2(null, fd, NULL_ORIGIN)
    c.b.land(guard)


def _dev_is_new(c: Context) -> bool:
    return c.mountns and any(
        relative(mount.destination) == "dev" and mount.type == "tmpfs" for mount in c.spec.mounts
    )


def _bind_node(c: Context, node: Node, _directories: dict[str, Slot]) -> None:
    """Bind the host's node of the same path, where we may not make one (DV-2); its owner is the host's."""
    copy = c.b.clone(CWD, f"/{node.path}", node.at)
    target = c.b.mkpath(c.root, node.path, node.at, kind=FILE, mode=0o644)
    c.b.move(copy, target, node.at)


def _make_links(c: Context) -> None:
    """Make the links, each if what it points to exists (config-linux.md, Dev Symbolic Links); one that is
    there is kept.

    Only ptmx is replaced: another container's or the host's ptmx would open terminals elsewhere.
    """
    b, at = c.b, LINK_ORIGIN
    dev = b.mkpath(c.root, "dev", at)
    b.open(c.root, "proc/self/fd", O_PATH, at)
    guard = b.skip_if(ENOENT, ENOTDIR)
    for name, target in LINKS.items():
        b.symlink(dev, name, target, at)
        b.tolerate(EEXIST)
    b.land(guard)
    b.open(c.root, "proc/kcore", O_PATH, at)
    guard = b.skip_if(ENOENT, ENOTDIR)
    b.symlink(dev, "core", "/proc/kcore", at)
    b.tolerate(EEXIST)
    b.land(guard)
    b.symlink(dev, "ptmx", "pts/ptmx", at, replace=True)
