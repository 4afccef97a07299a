"""What every kind of mount has in common: options applied, a destination opened, a new file system
configured."""

from __future__ import annotations

from pyrunc.errors import Fault, SpecError
from pyrunc.plan.builder import DIRECTORY, FILE
from pyrunc.plan.context import relative
from pyrunc.plan.kernel import IN_ROOT, O_PATH_DIR, RESOLVE_NO_SYMLINKS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.plan.builder import Slot
    from pyrunc.plan.context import Context
    from pyrunc.plan.options import Options
    from pyrunc.spec.model import Mount

NO_SYMLINK_TYPES = {"proc", "sysfs"}
"""Types whose destination must not be reached through a symbolic link of the image (CVE-2019-19921,
CVE-2023-27561)."""
PROC_SUPER_MAGIC = 0x9FA0
MAX_VALUE = 255
"""Bytes of a string that fsconfig(2) takes."""


def fail(at: str, message: str) -> SpecError:
    """Return an error about one place in the config."""
    return SpecError([Fault(at, message)])


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


def place(c: Context, mount: Mount, made: Slot, kind: int = DIRECTORY) -> None:
    """Move a mount to its destination, which may lie on a procfs only where the config says so itself."""
    inside = relative(mount.destination).split("/")[0] == "proc"
    c.b.move(made, destination(c, mount, kind), mount.at, forbid=0 if inside else PROC_SUPER_MAGIC)
    c.b.about(mount.destination)


def destination(c: Context, mount: Mount, kind: int = DIRECTORY) -> Slot:
    """Return the slot of the mount point, which is made when it is missing."""
    at = f"{mount.at}.destination"
    path = relative(mount.destination)
    target = c.b.mkpath(c.root, path, at, kind=kind, mode=0o644 if kind == FILE else 0o755)
    if mount.type in NO_SYMLINK_TYPES:
        target = c.b.open(c.root, path, O_PATH_DIR, at, resolve=IN_ROOT | RESOLVE_NO_SYMLINKS)
    return target


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
        elif (
            len(value) > MAX_VALUE
            and mount.type == "overlay"
            and key == "lowerdir"
            and c.host.kernel >= (6, 5)
        ):
            _add_layers(c, fs, value, at)
        else:
            c.b.set_string(fs, key, _value(value, at), at)
    label(c, fs, mount.type or "")


def label(c: Context, fs: Slot, fstype: str) -> None:
    """Give a new file system the SELinux label of linux.mountLabel."""
    if c.spec.linux.mount_label:
        from pyrunc.plan.labels import label_mount

        label_mount(c, fs, fstype)


def _value(value: str, at: str) -> str:
    if len(value.encode()) > MAX_VALUE:
        raise fail(at, f"longer than {MAX_VALUE} bytes, the most that fsconfig(2) takes: {value[:40]}...")
    return value


def _add_layers(c: Context, fs: Slot, lowerdir: str, at: str) -> None:
    r"""Add the layers of an overlay one by one (Linux 6.5): "a:b::data", with "\:" for a colon within a
    path."""
    layers = lowerdir.replace("\\:", "\0").split(":")
    key = "lowerdir+"
    for layer in layers:
        if not layer:
            key = "datadir+"  # after a double colon
        else:
            c.b.set_string(fs, key, _value(layer.replace("\0", ":"), at), at)
