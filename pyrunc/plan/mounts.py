"""The mounts of the config, in their order.

Each is made detached, gets its attributes, and only then a place: there is no moment in which it is visible and writable.
Sources are paths of the host, read in the container's mount namespace. Destinations are resolved below the root, at run
time, and used by fd from then on.
"""

from __future__ import annotations

from errno import ENOENT, ENOTDIR

from pyrunc.errors import Fault, SpecError
from pyrunc.plan import cgroups
from pyrunc.plan.builder import CWD, DIRECTORY, FILE
from pyrunc.plan.context import relative
from pyrunc.plan.kernel import IN_ROOT, MOUNT_ATTR_RDONLY, O_PATH, O_PATH_DIR, RESOLVE_NO_SYMLINKS
from pyrunc.plan.options import Options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.plan.builder import Slot
    from pyrunc.plan.context import Context
    from pyrunc.spec.model import Mount

NO_SYMLINK_TYPES = {"proc", "sysfs"}
"""Types whose destination must not be reached through a symbolic link of the image (CVE-2019-19921, CVE-2023-27561)."""
HOST_TREES = {"proc": ("pid", "/proc"), "sysfs": ("network", "/sys"), "mqueue": ("ipc", "/dev/mqueue")}
"""File systems that show one namespace: in a user namespace, without such a namespace of its own, the kernel refuses to
mount one (EPERM); what is meant then is the host's, which can be bound."""
MAX_VALUE = 255
"""Bytes of a string that fsconfig(2) takes."""
MAX_DELAYED = 24
"""Slots that mounts which become read-only later may hold; any further ones become so at once."""


def mount_all(c: Context) -> None:
    """Mount everything that the config lists."""
    if not c.mountns:
        return
    for mount in c.spec.mounts:
        options = Options(mount)
        if options.remount:
            _remount(c, mount, options)
        elif options.bind:
            _bind(c, mount, options)
        elif mount.type == "cgroup" or (mount.type == "cgroup2" and c.host.cgroup.mode == "v2"):
            cgroups.mount(c, mount, options)
        elif c.userns and mount.type in HOST_TREES and not c.has(HOST_TREES[mount.type][0]):
            _bind_host_tree(c, mount, options)
        else:
            _new(c, mount, options)


def fail(at: str, message: str) -> SpecError:
    """Return an error about one place in the config."""
    return SpecError([Fault(at, message)])


def _bind(c: Context, mount: Mount, options: Options) -> None:
    """Bind a path of the host; it keeps the flags of its source but for what the options say.

    In a user namespace the kernel keeps some of these flags locked: clearing one is EPERM then, as in runc, while an option
    that was not given touches nothing.
    """
    if options.data:
        raise fail(f"{mount.at}.options", "bind mounts cannot have any filesystem-specific options applied")
    source = mount.source or ""
    at = f"{mount.at}.source"
    path = source if source.startswith("/") else f"{c.request.bundle}/{source}"
    copy = c.b.clone(CWD, path, at, recursive=options.recursive)
    set_attributes(c, copy, mount, options)
    fact = c.facts.sources.get(at)
    kind = FILE if fact is not None and fact.kind == "file" else DIRECTORY
    c.b.move(copy, destination(c, mount, kind), mount.at)


def _bind_host_tree(c: Context, mount: Mount, options: Options) -> None:
    copy = c.b.clone(CWD, HOST_TREES[mount.type or ""][1], f"{mount.at}.type", recursive=True)
    set_attributes(c, copy, mount, options)
    c.b.move(copy, destination(c, mount), mount.at)


def set_attributes(c: Context, slot: Slot, mount: Mount, options: Options) -> None:
    """Apply what options say about an existing mount: attributes of it and of its tree, propagation."""
    at = f"{mount.at}.options"
    if options.mount:
        c.b.setattr(slot, at, on=options.mount.on, off=options.mount.off)
    set_tree(c, slot, mount, options)


def set_tree(c: Context, slot: Slot, mount: Mount, options: Options) -> None:
    """Apply recursive options and propagation."""
    at = f"{mount.at}.options"
    if options.tree:
        c.b.setattr(slot, at, on=options.tree.on, off=options.tree.off, recursive=True)
    for propagation, recursive in options.propagation:
        c.b.setattr(slot, at, propagation=propagation, recursive=recursive)


def destination(c: Context, mount: Mount, kind: int = DIRECTORY) -> Slot:
    """Return the slot of the mount point, which is made when it is missing."""
    at = f"{mount.at}.destination"
    path = relative(mount.destination)
    target = c.b.mkpath(c.root, path, at, kind=kind, mode=0o644 if kind == FILE else 0o755)
    if mount.type in NO_SYMLINK_TYPES:
        target = c.b.open(c.root, path, O_PATH_DIR, at, resolve=IN_ROOT | RESOLVE_NO_SYMLINKS)
    return target


def _remount(c: Context, mount: Mount, options: Options) -> None:
    """Change the flags of a mount that is there already; those of its file system cannot be changed by mount_setattr(2)."""
    if options.data:
        raise fail(f"{mount.at}.options", f"{options.data[0]}: a remount cannot change options of the file system")
    target = c.b.open(c.root, relative(mount.destination), O_PATH, f"{mount.at}.destination")
    set_attributes(c, target, mount, options)


def _new(c: Context, mount: Mount, options: Options) -> None:
    """Mount a new file system."""
    b, at = c.b, f"{mount.at}.type"
    path = relative(mount.destination)
    attrs = options.mount.on
    delay = bool(attrs & MOUNT_ATTR_RDONLY) and (mount.type == "tmpfs" or path == "dev") and len(c.delayed) < MAX_DELAYED
    if delay:
        attrs &= ~MOUNT_ATTR_RDONLY
        options.flags = [flag for flag in options.flags if flag != "ro"]
    fs = b.fsopen(mount.type or "none", at)
    configure(c, fs, mount, options)
    if mount.type == "tmpfs":
        made = _tmpfs(c, fs, mount, options, attrs, path)
    else:
        b.create(fs, at)
        made = b.fsmount(fs, attrs, at)
    set_tree(c, made, mount, options)
    b.move(made, destination(c, mount), mount.at)
    if delay:
        c.delayed.append((made, f"{mount.at}.options"))


def _tmpfs(c: Context, fs: Slot, mount: Mount, options: Options, attrs: int, path: str) -> Slot:
    """Make a tmpfs. Without an option `mode` it takes the mode of the directory that it covers, with tmpcopyup its content."""
    b, at = c.b, f"{mount.at}.options"
    copyup = "tmpcopyup" in options.extensions
    if copyup or not any(entry.startswith("mode=") for entry in options.data):
        covered = b.open(c.root, path, O_PATH_DIR, at)
        guard = b.skip_if(ENOENT, ENOTDIR)
        if not any(entry.startswith("mode=") for entry in options.data):
            b.copymode(fs, covered, at)
        b.land(guard)
    b.create(fs, at)
    made = b.fsmount(fs, attrs, at)
    if copyup:
        covered = b.open(c.root, path, O_PATH_DIR, at)
        guard = b.skip_if(ENOENT, ENOTDIR)
        b.copyup(covered, made, at)
        b.land(guard)
    return made


def configure(c: Context, fs: Slot, mount: Mount, options: Options) -> None:
    """Give a new file system its source, its flags and its data, as mount(2) would."""
    at = f"{mount.at}.options"
    if mount.source:
        c.b.set_string(fs, "source", _value(mount.source, f"{mount.at}.source"), f"{mount.at}.source")
    for flag in options.flags:
        c.b.set_flag(fs, flag, at)
    for entry in options.data:
        key, equals, value = entry.partition("=")
        if not equals:
            c.b.set_flag(fs, key, at)
        elif len(value) > MAX_VALUE and mount.type == "overlay" and key == "lowerdir" and c.host.kernel >= (6, 5):
            _add_layers(c, fs, value, at)
        else:
            c.b.set_string(fs, key, _value(value, at), at)


def _value(value: str, at: str) -> str:
    if len(value.encode()) > MAX_VALUE:
        raise fail(at, f"longer than {MAX_VALUE} bytes, the most that fsconfig(2) takes: {value[:40]}...")
    return value


def _add_layers(c: Context, fs: Slot, lowerdir: str, at: str) -> None:
    r"""Add the layers of an overlay one by one (Linux 6.5): "a:b::data", with "\:" for a colon within a path."""
    layers = lowerdir.replace("\\:", "\0").split(":")
    key = "lowerdir+"
    for layer in layers:
        if not layer:
            key = "datadir+"  # after a double colon
        else:
            c.b.set_string(fs, key, _value(layer.replace("\0", ":"), at), at)
