"""Paths of the container that are made, made read-only or covered."""

from __future__ import annotations

from errno import ENOENT, ENOTDIR

from pyrunc.plan.context import relative
from pyrunc.plan.kernel import MOUNT_ATTR_RDONLY, O_PATH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.plan.context import Context


def make_cwd(c: Context) -> None:
    """Make the working directory when the image lacks it, as runc does; before the root may become
    read-only."""
    path = relative(c.process.cwd)
    if path:
        c.b.mkpath(c.root, path, "process.cwd")


def make_readonly(c: Context) -> None:
    """Mount a read-only copy of each path over itself; a path that is not there is skipped.

    After all mounts, or one of them would cover it; before the masks, which may lie below.
    """
    for index, path in enumerate(c.spec.linux.readonly_paths):
        at = f"linux.readonlyPaths[{index}]"
        target = c.b.open(c.root, relative(path), O_PATH, at)
        guard = c.b.skip_if(ENOENT, ENOTDIR)
        copy = c.b.clone(target, "", at, recursive=True)
        c.b.setattr(copy, at, on=MOUNT_ATTR_RDONLY)
        c.b.move(copy, target, at)
        c.b.land(guard)


def mask(c: Context) -> None:
    """Cover paths: a directory by an empty read-only tmpfs, anything else by the host's /dev/null.

    The last of all mounts. Before PIVOT, which takes the host's tree away: neither could be cloned
    afterwards.
    """
    covered = set()
    for index, path in enumerate(c.spec.linux.masked_paths):
        target = relative(path)
        if target not in covered:
            covered.add(target)
            at = f"linux.maskedPaths[{index}]"
            c.b.cover(c.root, target, c.null(at), c.mask, at)
            c.b.tolerate(ENOENT, ENOTDIR)
