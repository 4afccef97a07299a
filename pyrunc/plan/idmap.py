"""Sources of bind mounts that take more than root of the container's user namespace may do: id-mapped ones, and
those behind a directory that is closed to its ids."""

from __future__ import annotations

from pyrunc.plan.builder import CWD
from pyrunc.plan.kernel import MOUNT_ATTR_IDMAP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.plan.builder import Builder, Slot
    from pyrunc.plan.context import Context
    from pyrunc.plan.options import Options
    from pyrunc.spec.model import IDMapping, Mount


def copy_source(c: Context, mount: Mount, options: Options, path: str) -> Slot:
    """Clone the source of a bind mount, mapped where its options say so.

    In a user namespace the parent does it (pyrunc/run/sources.py): mapping the ids of a file system needs
    CAP_SYS_ADMIN over whoever mounted it, which is the host.
    """
    at = f"{mount.at}.source"
    if c.userns:
        copy = c.b.rpc_fds("source", 1, at)[0]
        copy.era = "detached"
        c.b.about(path)
        return copy
    return clone_mapped(c.b, mount, options, path, idmap_input(c.spec.mounts, mount))


def clone_mapped(b: Builder, mount: Mount, options: Options, path: str, name: str) -> Slot:
    """Clone a source as this process may; with idmap, map it by the user namespace that arrives as `name`.

    The mount is mapped as long as nobody can see it: the kernel refuses it later.
    """
    copy = b.clone(CWD, path, f"{mount.at}.source", recursive=options.recursive)
    if options.idmap:
        at = f"{mount.at}.options"
        b.setattr(copy, at, on=MOUNT_ATTR_IDMAP, recursive=options.idmap_tree, userns=b.input(name))
        b.about(f"idmap {path}")
    return copy


def idmap_input(mounts: tuple[Mount, ...], mount: Mount) -> str:
    """Return the name of the input that has a mount's mappings: mounts with equal ones share the first's."""
    maps = _numbers(mount)
    return f"idmap:{next(other.at for other in mounts if _numbers(other) == maps)}"


def _numbers(mount: Mount) -> list[list[tuple[int, int, int]]]:
    def triple(m: IDMapping) -> tuple[int, int, int]:
        return m.container_id, m.host_id, m.size

    return [[triple(m) for m in maps] for maps in (mount.uid_mappings, mount.gid_mappings)]
