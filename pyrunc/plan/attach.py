"""Plans that add mounts to a container that lives, and remove them: for `pyrunc mounts`.

The executor makes the mounts in the caller's mount namespace, detached, and only then joins the container's, where a detached
mount may be moved to. It keeps the caller's rights all the while: a container in a user namespace of its own could not bind
from the host.
"""

from __future__ import annotations

from pyrunc.plan.builder import CWD, DIRECTORY, FILE
from pyrunc.plan.context import Context, relative
from pyrunc.plan.filesystem import configure, fail, place, set_attributes, set_tree
from pyrunc.plan.idmap import idmap_input
from pyrunc.plan.kernel import (
    CLONE_NEWNS,
    IN_ROOT,
    MNT_DETACH,
    MOUNT_ATTR_IDMAP,
    O_PATH,
    O_PATH_DIR,
    PR_SET_DUMPABLE,
    RESOLVE_NO_SYMLINKS,
    UMOUNT_NOFOLLOW,
)
from pyrunc.plan.options import Options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.host import Host
    from pyrunc.plan.builder import Slot
    from pyrunc.plan.ops import Plan
    from pyrunc.plan.request import Facts, Request
    from pyrunc.spec.model import Mount, Spec

OF_A_NAMESPACE = frozenset({"proc", "sysfs", "mqueue", "devpts", "cgroup", "cgroup2"})
"""They show the namespace of whoever mounts them, which is the caller's."""
USERNS = "userns"
"""The input with the container's own user namespace, by which a mount is mapped that brings no mappings."""


def compile_add(spec: Spec, host: Host, request: Request, facts: Facts) -> Plan:
    """Lower the mounts of `spec` to the operations that put them into the container. Raises SpecError."""
    c = Context(spec, host, request, facts, inside=True)
    made = [(mount, _make(c, mount)) for mount in spec.mounts]
    _enter(c)
    for mount, slot in made:
        fact = facts.sources.get(f"{mount.at}.source")
        place(c, mount, slot, FILE if fact is not None and fact.kind == "file" else DIRECTORY)
    c.b.rpc("ready", "mounts")
    return c.b.finish()


def compile_remove(spec: Spec, host: Host, request: Request, facts: Facts) -> Plan:
    """Lower the destinations in `spec` to the operations that unmount them. The container stands still meanwhile.

    umount2(2) takes a path and no descriptor. A symbolic link on the way could lead it to a mask over /proc, so there may be
    none: that is asked of openat2(2) first, and nobody in the container can put one there in between.
    """
    c = Context(spec, host, request, facts, inside=True)
    _enter(c)
    for mount in spec.mounts:
        at, path = f"{mount.at}.destination", relative(mount.destination)
        if not path:
            raise fail(at, "the root of a container cannot be removed")
        c.b.open(c.root, path, O_PATH, at, resolve=IN_ROOT | RESOLVE_NO_SYMLINKS)
        c.b.umount(f"/{path}", MNT_DETACH | UMOUNT_NOFOLLOW, at)
    c.b.rpc("ready", "mounts")
    return c.b.finish()


def _enter(c: Context) -> None:
    """Join the container's mount namespace, out of its processes' reach; setns(2) brings us to its root."""
    at = "mounts"
    if "mount" not in c.joined or c.joined["mount"].path:
        raise fail("linux.namespaces", "the container has no mount namespace of its own")
    init = c.b.input("init")
    c.b.prctl(PR_SET_DUMPABLE, 0, at)
    c.b.setns(init, CLONE_NEWNS, at)
    c.b.about("mount")
    c.root = c.b.open(CWD, "/", O_PATH_DIR, at)


def _make(c: Context, mount: Mount) -> Slot:
    """Make one mount that nobody sees yet."""
    options = Options(mount)
    at = f"{mount.at}.options"
    if options.remount or options.extensions:
        raise fail(at, "a mount of a living container cannot be remounted, and has no tmpcopyup")
    if options.bind:
        return _bind(c, mount, options)
    if mount.type in OF_A_NAMESPACE:
        raise fail(
            f"{mount.at}.type", f"{mount.type} would show the host's namespace: only create can mount it"
        )
    fs = c.b.fsopen(mount.type or "none", f"{mount.at}.type")
    configure(c, fs, mount, options)
    c.b.create(fs, at)
    made = c.b.fsmount(fs, options.mount.on, at)
    set_tree(c, made, mount, options)
    return made


def _bind(c: Context, mount: Mount, options: Options) -> Slot:
    source, at = mount.source or "", f"{mount.at}.source"
    if options.data:
        raise fail(f"{mount.at}.options", "bind mounts cannot have any filesystem-specific options applied")
    path = source if source.startswith("/") else f"{c.request.bundle}/{source}"
    copy = c.b.clone(CWD, path, at, recursive=options.recursive)
    if options.idmap:
        own = c.b.input(idmap_input(c.spec.mounts, mount) if mount.uid_mappings else USERNS)
        c.b.setattr(
            copy, f"{mount.at}.options", on=MOUNT_ATTR_IDMAP, recursive=options.idmap_tree, userns=own
        )
        c.b.about(f"idmap {path}")
    set_attributes(c, copy, mount, options)
    return copy
