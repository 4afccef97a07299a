"""Mounts of type cgroup: the container's view of its own cgroups."""

from __future__ import annotations

from pyrunc.plan.builder import CWD
from pyrunc.plan.filesystem import configure, fail, label, place, set_attributes, set_tree
from pyrunc.plan.kernel import MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.host import Hierarchy
    from pyrunc.plan.builder import Slot
    from pyrunc.plan.context import Context
    from pyrunc.plan.options import Options
    from pyrunc.spec.model import Mount

HARMLESS = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC


def mount(c: Context, entry: Mount, options: Options) -> None:
    """Mount what the host has: the unified hierarchy, or a tmpfs with all v1 hierarchies."""
    layout = c.host.cgroup
    if layout.mode == "none":
        raise fail(f"{entry.at}.type", "no cgroup hierarchy is mounted on this host")
    if layout.mode == "v2":
        _mount_v2(c, entry, options)
    else:
        _mount_v1(c, entry, options)


def _mount_v2(c: Context, entry: Mount, options: Options) -> None:
    """Mount cgroup2. Without a cgroup namespace of its own a container gets a copy of the host's mount: in a user namespace
    mounting is EPERM (its own part is bound then), and in the host's cgroup namespace it would give the options of the new
    mount, none, to the host's (nsdelegate and memory_recursiveprot were gone)."""
    at = f"{entry.at}.type"
    if not c.has("cgroup"):
        v2 = c.host.cgroup.v2
        assert v2 is not None
        if options.data:
            why = "without a cgroup namespace the mount is a copy of the host's, which has its own options"
            raise fail(f"{entry.at}.options", f'"{options.data[0]}": {why}')
        path = own_directory(c.facts.cgroup_dirs, v2, "") if c.userns else v2.mountpoint
        copy = c.b.clone(CWD, path, at, recursive=c.userns)
        set_attributes(c, copy, entry, options)
    else:
        fs = c.b.fsopen("cgroup2", at)
        configure(c, fs, entry, options)
        c.b.create(fs, at)
        copy = c.b.fsmount(fs, options.mount.on, at)
        set_tree(c, copy, entry, options)
    place(c, entry, copy)


def _mount_v1(c: Context, entry: Mount, options: Options) -> None:
    """Mount a tmpfs, in it each hierarchy, and a link for every controller that shares one."""
    b, at = c.b, f"{entry.at}.type"
    fs = b.fsopen("tmpfs", at)
    b.set_string(fs, "source", "tmpfs", at)
    b.set_string(fs, "mode", "0755", at)
    label(c, fs, "tmpfs")
    b.create(fs, at)
    top = b.fsmount(fs, HARMLESS, at)
    place(c, entry, top)
    layout = c.host.cgroup
    for hierarchy in (*layout.v1, layout.v2) if layout.v2 else layout.v1:
        name = hierarchy.mountpoint.rpartition("/")[2]
        if c.has("cgroup"):
            part = _hierarchy(c, hierarchy, at, options)
        else:
            part = b.clone(
                CWD, own_directory(c.facts.cgroup_dirs, hierarchy, hierarchy.mountpoint), at, recursive=True
            )
            b.setattr(part, at, on=HARMLESS | options.mount.on)
        b.move(part, b.mkpath(top, name, at), at)
        for controller in hierarchy.controllers if len(hierarchy.controllers) > 1 else ():
            if controller != name and not controller.startswith("name="):
                b.symlink(top, controller, name, at)
    set_tree(c, top, entry, options)
    if options.mount.on & MOUNT_ATTR_RDONLY:
        b.setattr(top, f"{entry.at}.options", on=MOUNT_ATTR_RDONLY)


def _hierarchy(c: Context, hierarchy: Hierarchy, at: str, options: Options) -> Slot:
    """Mount one hierarchy; in a cgroup namespace its root is the container's own cgroup."""
    b = c.b
    fs = b.fsopen("cgroup" if hierarchy.controllers else "cgroup2", at)
    b.set_string(fs, "source", "cgroup", at)
    for controller in hierarchy.controllers:
        if controller.startswith("name="):
            b.set_flag(fs, "none", at)
            b.set_string(fs, "name", controller[5:], at)
        else:
            b.set_flag(fs, controller, at)
    b.create(fs, at)
    return b.fsmount(fs, HARMLESS | options.mount.on, at)


def own_directory(dirs: dict[str, str] | None, hierarchy: Hierarchy, key: str) -> str:
    """Return the directory of the container's cgroup on the host; the caller's own when no cgroup is made."""
    made = (dirs or {}).get(key)
    if made:
        return made
    root = hierarchy.root.rstrip("/")
    own = (
        hierarchy.own.removeprefix(root)
        if hierarchy.own.startswith(f"{root}/") or hierarchy.own == root
        else ""
    )
    return f"{hierarchy.mountpoint}{own}".rstrip("/") or "/"
