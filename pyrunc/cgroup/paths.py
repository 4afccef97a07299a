"""Where a container's cgroup is: from cgroupsPath and the caller's own cgroup to a directory below a mount.

Pure. Every path is made of names only before it is joined to a mount point, so no `..` leads out of one: crun
made directories of the host's root file system from `../../../../x` for years.
"""

from __future__ import annotations

from pyrunc.errors import Fault, SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.host import CgroupLayout, Hierarchy

AT = "linux.cgroupsPath"


def clean(path: str) -> str:
    """Return a path's names, joined by "/", with `.` and `..` resolved as if its start were the root."""
    names: list[str] = []
    for name in path.split("/"):
        if name == "..":
            del names[-1:]
        elif name not in {"", "."}:
            names.append(name)
    return "/".join(names)


def below(path: str, root: str) -> str | None:
    """Return the part of an absolute path below `root`, cleaned; None where it lies elsewhere."""
    path, root = clean(path), clean(root)
    if not root or path == root:
        return "" if path == root else path
    return path[len(root) + 1 :] if path.startswith(f"{root}/") else None


def own_below_mount(hierarchy: Hierarchy) -> str:
    """Return the caller's own cgroup relative to the mount point; "" where it cannot be seen there.

    The mount may show a part of the hierarchy only, its `root`.
    """
    if hierarchy.root.startswith("/.."):  # mounted above the caller's cgroup namespace: the names are hidden
        return ""
    return below(hierarchy.own, hierarchy.root) or ""


def inside(hierarchy: Hierarchy, cgroups_path: str | None, name: str, *, beside: bool) -> str:
    """Return the container's cgroup, relative to the hierarchy's mount point. Raises SpecError.

    An absolute path starts at the mount point (CG-3). A relative one, and the container's id where there is
    none (CG-6), starts below the caller's own cgroup, as in runc; on v2 `beside` it, because a cgroup with
    processes of its own cannot hand controllers to its children.
    """
    given = cgroups_path or name
    path = clean(given)
    if not path:
        raise SpecError([Fault(AT, f'expected the path of a cgroup below the mount point, got "{given}"')])
    if given.startswith("/"):
        return path
    own = own_below_mount(hierarchy)
    if beside:
        own = own.rpartition("/")[0]
    return f"{own}/{path}" if own else path


def at_mount(hierarchy: Hierarchy, path: str) -> str:
    """Return a cgroup, given by its path in the hierarchy, relative to the mount point."""
    rel = None if hierarchy.root.startswith("/..") else below(path, hierarchy.root)
    return clean(path) if rel is None else rel


def locate(layout: CgroupLayout, cgroups_path: str | None, name: str) -> list[tuple[Hierarchy, str]]:
    """Return each hierarchy to join, with the container's cgroup in it.

    All of v1, and the unified one beside it: that has no controllers to hand on, so v1's rule holds for it.
    """
    hierarchies = [*layout.v1, layout.v2] if layout.v2 is not None else layout.v1
    beside = layout.mode == "v2"
    return [(hierarchy, inside(hierarchy, cgroups_path, name, beside=beside)) for hierarchy in hierarchies]


def join(mountpoint: str, path: str) -> str:
    """Return an absolute path on the host."""
    return f"{mountpoint.rstrip('/')}/{path}"
