"""Who owns a container's own part of cgroup v2: the user of its program, by the rules of the specification (CO-1 to CO-9).

With the files of /sys/kernel/cgroup/delegate an init system in the container can make cgroups of its own, and move processes
among them, but not lift the container's limits.
"""

from __future__ import annotations

from pyrunc import _os as os
from pyrunc.cgroup import tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.spec.model import Linux, Spec

DELEGATE = "/sys/kernel/cgroup/delegate"
WITHOUT_LIST = ("cgroup.procs", "cgroup.subtree_control", "cgroup.threads")
DESTINATION = "/sys/fs/cgroup"


def owner_of(spec: Spec) -> int | None:
    """Return the user on the host that shall own the cgroup, None to leave it: without a cgroup namespace of its own and a
    writable mount the container has no use for it."""
    writable = any(
        mount.source == "cgroup" and _clean(mount.destination) == DESTINATION and "ro" not in mount.options
        for mount in spec.mounts
    )
    if not (writable and any(space.type == "cgroup" and not space.path for space in spec.linux.namespaces)):
        return None
    return on_host(spec.linux, spec.process.user.uid if spec.process else 0)


def _clean(path: str) -> str:
    return "/" + "/".join([part for part in path.split("/") if part not in ("", ".")])


def on_host(linux: Linux, uid: int) -> int | None:
    """Return the id on the host of a user in the container; None if it is not mapped, or in a namespace that is joined."""
    user = [space for space in linux.namespaces if space.type == "user"]
    if not user:
        return uid
    for mapping in () if user[0].path else linux.uid_mappings:
        if 0 <= uid - mapping.container_id < mapping.size:
            return mapping.host_id + uid - mapping.container_id
    return None


def give(cgroup: int, uid: int) -> None:
    """Make a user the owner of an open cgroup, and of what may be delegated in it. Raises OSError."""
    os.chown(cgroup, uid, -1)
    for name in _delegated():
        try:
            os.chown(name, uid, -1, dir_fd=cgroup, follow_symlinks=False)
        except FileNotFoundError:
            continue  # of a controller that is not enabled here (CO-7)


def _delegated(path: str = DELEGATE) -> tuple[str, ...]:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return WITHOUT_LIST  # not mounted, perhaps: the kernel has it since 4.15
    try:
        text = os.read(fd, tree.PAGE)
    finally:
        os.close(fd)
    return tuple([name for name in text.decode("ascii", "replace").split() if "/" not in name])
