"""The root file system: from a directory of the host to the root of the container."""

from __future__ import annotations

from errno import EINVAL, ENOENT, EPERM

from pyrunc.plan.builder import CWD, ROOT_CHROOT, ROOT_DIR
from pyrunc.plan.context import relative
from pyrunc.plan.filesystem import label
from pyrunc.plan.kernel import (
    MNT_DETACH,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY,
    MS_PRIVATE,
    MS_REC,
    MS_SLAVE,
    O_PATH_DIR,
)
from pyrunc.spec.tables import PROPAGATIONS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.plan.builder import Slot
    from pyrunc.plan.context import Context

ORIGIN = "linux.rootfsPropagation"
ROOT = "root.path"


def prepare(c: Context) -> None:
    """Mount the root directory onto itself, in a tree from which nothing spreads to the host."""
    if not c.mountns:
        c.root = c.b.open(CWD, c.rootfs, O_PATH_DIR, ROOT)
        return
    c.slash = c.b.open(CWD, "/", O_PATH_DIR, ORIGIN)
    _stop_propagation(c)
    c.root = c.b.clone(CWD, c.rootfs, ROOT, recursive=True)
    place = c.b.open(CWD, c.rootfs, O_PATH_DIR, ROOT)
    if c.spec.linux.masked_paths or c.request.no_pivot:
        _mount_mask(c, place)
    c.b.move(c.root, place, ROOT)
    c.root.era = "root"


def _stop_propagation(c: Context) -> None:
    """Make the copied tree a slave of the host's, or private: what is mounted here does not appear there.

    With "shared" the tree must stay as it is, since bind mounts of it shall carry new mounts to the host.
    Then the one mount that the root directory lies on becomes private: else our first mount would appear on
    the host, and PIVOT refuses a root whose parent is shared. Its mount point is a fact that the parent
    gathered.
    """
    name = c.spec.linux.rootfs_propagation or "rslave"
    if name in {"shared", "rshared"}:
        parent = c.b.open(CWD, c.facts.rootfs_mount, O_PATH_DIR, ORIGIN)
        c.b.setattr(parent, ORIGIN, propagation=MS_PRIVATE)
        return
    kind = MS_PRIVATE if name in {"private", "rprivate"} else MS_SLAVE
    c.b.setattr(c.slash, ORIGIN, propagation=kind, recursive=True)


def _mount_mask(c: Context, place: Slot) -> None:
    """Mount the empty tmpfs of which clones will cover directories, where nobody sees it: below the mount
    of the root.

    Before Linux 6.15 only a mount that is attached can be cloned. On the root directory, under the root's
    own mount, it is; the parent there is never shared, and PIVOT leaves it behind with the host's tree. Two
    inodes, since some kernels count the root directory twice.
    """
    at = "linux.maskedPaths" if c.spec.linux.masked_paths else "--no-pivot"
    fs = c.b.fsopen("tmpfs", at)
    c.b.set_string(fs, "nr_blocks", "1", at)
    c.b.set_string(fs, "nr_inodes", "2", at)
    c.b.set_string(fs, "mode", "0755", at)
    c.b.set_flag(fs, "ro", at)
    label(c, fs, "tmpfs")
    c.b.create(fs, at)
    attrs = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC
    c.mask = c.b.fsmount(fs, attrs, at)
    c.b.move(c.mask, place, at)


def pivot(c: Context) -> None:
    """Make the root the root. Whatever still needs the host's tree must have happened."""
    if not c.mountns:
        c.b.pivot(c.root, ROOT_CHROOT, ROOT)
    elif c.request.no_pivot:
        _move_over_slash(c)
    else:
        c.b.pivot(c.root, ROOT_DIR, ROOT)


def _move_over_slash(c: Context) -> None:
    """Without pivot_root (a ramdisk cannot be left) the host's tree stays under the new root.

    Every proc and sysfs in it is unmounted or at least covered: as long as one is fully visible, a user
    namespace inside may mount its own (mount_too_revealing in fs/namespace.c). The tree becomes a slave
    first, or the host would lose them.
    """
    at = "--no-pivot"
    c.b.setattr(c.slash, at, propagation=MS_SLAVE, recursive=True)
    for path in c.host.proc_mounts:
        c.b.umount(path, MNT_DETACH, at)
        c.b.tolerate(EINVAL, EPERM, ENOENT)
        c.b.cover(c.slash, relative(path), c.null(at), c.mask, at)
        c.b.tolerate(ENOENT)
    c.b.move(c.root, c.slash, at)
    c.b.pivot(c.root, ROOT_CHROOT, at)


def finish(c: Context) -> None:
    """Set what would have been in the way: propagation, then the mounts that had to be writable, then the
    root."""
    name = c.spec.linux.rootfs_propagation
    if name and c.mountns:
        flags = PROPAGATIONS[name]
        c.b.setattr(c.root, ORIGIN, propagation=flags & ~MS_REC, recursive=bool(flags & MS_REC))
    for slot, at in c.delayed:
        c.b.setattr(slot, at, on=MOUNT_ATTR_RDONLY)
    assert c.spec.root is not None
    if c.spec.root.readonly:
        c.b.setattr(c.root, "root.readonly", on=MOUNT_ATTR_RDONLY)
