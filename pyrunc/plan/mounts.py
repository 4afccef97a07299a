"""The mounts of the config, in their order.

Each is made detached, gets its attributes, and only then a place: there is no moment in which it is visible
and writable. Sources are paths of the host, read in the container's mount namespace. Destinations are
resolved below the root, at run time, and used by fd from then on.
"""

from __future__ import annotations

from errno import ENOENT, ENOTDIR

from pyrunc.plan import cgroups
from pyrunc.plan.builder import CWD, DIRECTORY, FILE
from pyrunc.plan.context import relative
from pyrunc.plan.filesystem import configure, fail, place, set_attributes, set_tree
from pyrunc.plan.kernel import MOUNT_ATTR_RDONLY, O_PATH, O_PATH_DIR
from pyrunc.plan.options import Options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.plan.builder import Slot
    from pyrunc.plan.context import Context
    from pyrunc.spec.model import Mount

HOST_TREES = {"proc": ("pid", "/proc"), "sysfs": ("network", "/sys"), "mqueue": ("ipc", "/dev/mqueue")}
"""File systems that show one namespace: in a user namespace, without such a namespace of its own, the kernel
refuses to mount one (EPERM); what is meant then is the host's, which can be bound."""
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


def _bind(c: Context, mount: Mount, options: Options) -> None:
    """Bind a path of the host; it keeps the flags of its source but for what the options say.

    In a user namespace the kernel keeps some of these flags locked: clearing one is EPERM then, as in runc,
    while an option that was not given touches nothing.
    """
    if options.data:
        raise fail(f"{mount.at}.options", "bind mounts cannot have any filesystem-specific options applied")
    source = mount.source or ""
    at = f"{mount.at}.source"
    path = source if source.startswith("/") else f"{c.request.bundle}/{source}"
    fact = c.facts.sources.get(at)
    if options.idmap or (c.userns and fact is not None and not fact.reachable):
        from pyrunc.plan.idmap import copy_source

        copy = copy_source(c, mount, options, path)
    else:
        copy = c.b.clone(CWD, path, at, recursive=options.recursive)
    set_attributes(c, copy, mount, options)
    kind = FILE if fact is not None and fact.kind == "file" else DIRECTORY
    place(c, mount, copy, kind)


def _bind_host_tree(c: Context, mount: Mount, options: Options) -> None:
    copy = c.b.clone(CWD, HOST_TREES[mount.type or ""][1], f"{mount.at}.type", recursive=True)
    set_attributes(c, copy, mount, options)
    place(c, mount, copy)


def _remount(c: Context, mount: Mount, options: Options) -> None:
    """Change the flags of a mount that is there already; those of its file system cannot be changed by
    mount_setattr(2)."""
    if options.data:
        raise fail(
            f"{mount.at}.options", f"{options.data[0]}: a remount cannot change options of the file system"
        )
    target = c.b.open(c.root, relative(mount.destination), O_PATH, f"{mount.at}.destination")
    set_attributes(c, target, mount, options)


def _new(c: Context, mount: Mount, options: Options) -> None:
    """Mount a new file system."""
    b, at = c.b, f"{mount.at}.type"
    path = relative(mount.destination)
    attrs = options.mount.on
    delay = (
        bool(attrs & MOUNT_ATTR_RDONLY)
        and (mount.type == "tmpfs" or path == "dev")
        and len(c.delayed) < MAX_DELAYED
    )
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
    place(c, mount, made)
    if delay:
        c.delayed.append((made, f"{mount.at}.options"))


def _tmpfs(c: Context, fs: Slot, mount: Mount, options: Options, attrs: int, path: str) -> Slot:
    """Make a tmpfs. Without an option `mode` it takes the mode of the directory that it covers, with
    tmpcopyup its content."""
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
