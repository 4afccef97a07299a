"""Facts about one bundle that decide how it is compiled: what a bind mount's source is, what stdio is,
where the root lies."""

from __future__ import annotations

from _stat import S_ISCHR, S_ISDIR

from pyrunc import _os as os
from pyrunc.errors import Fault, SpecError
from pyrunc.plan.request import Facts, Source
from pyrunc.sys import fs_magic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.host import Host
    from pyrunc.plan.request import Filter
    from pyrunc.spec.model import Mount, Spec

PROC_SUPER_MAGIC = 0x9FA0
NULL_DEVICE = os.makedev(1, 3)

FAIL_UNKNOWN = "run.oci.seccomp_fail_unknown_syscall"
"""crun's annotation: a system call that libseccomp does not know is an error, and not left out."""


def gather(
    spec: Spec,
    bundle: str,
    host: Host,
    cgroup_dirs: dict[str, str] | None,
    cgroup_tasks: tuple[str, ...] = (),
    cache: str = "",
) -> Facts:
    """Look at the bundle's sources and at fds 0-2; `cgroup_dirs` and `cgroup_tasks` are what the cgroup
    manager will make."""
    _check_proc_binds(spec, bundle)
    sources = {f"{mount.at}.source": _source(mount, bundle) for mount in spec.mounts if _is_bind(mount)}
    if host.euid == 0 and any(namespace.type == "user" for namespace in spec.linux.namespaces):
        from pyrunc.run.reach import mark_unreachable

        mark_unreachable(sources, spec, bundle)
    stdio = owned_stdio()
    rootfs_mount = "/"
    if spec.root is not None and spec.linux.rootfs_propagation in {"shared", "rshared"}:
        rootfs_mount = mount_point(os.path.join(bundle, spec.root.path))
    null = null_stdio(stdio)
    return Facts(sources, stdio, null, cgroup_dirs, cgroup_tasks, filter_of(spec, cache), rootfs_mount)


def filter_of(spec: Spec, cache: str) -> Filter | None:
    """Return the seccomp filter, None without a profile; `cache` is the directory of compiled ones."""
    if spec.linux.seccomp is None:
        return None
    from pyrunc.seccomp import make_filter

    if FAIL_UNKNOWN in spec.annotations:
        from pyrunc.seccomp.compile import check_names

        check_names(spec.linux.seccomp)
    return make_filter(spec.linux.seccomp, cache)


def _check_proc_binds(spec: Spec, bundle: str) -> None:
    """Refuse a bind over /proc that is no procfs: what is written below it would go astray (CVE-2019-16884)."""
    for mount in spec.mounts:
        if (
            _is_bind(mount)
            and mount.destination.strip("/") == "proc"
            and not _is_procfs(mount.source or "", bundle)
        ):
            message = f'"{mount.destination}" cannot be mounted because it is not of type proc'
            raise SpecError([Fault(f"{mount.at}.source", message)])


def _is_procfs(source: str, bundle: str) -> bool:
    try:
        fd = os.open(os.path.join(bundle, source), os.O_PATH | os.O_CLOEXEC)
    except OSError:  # the kernel will say why when it is mounted
        return True
    try:
        return fs_magic(fd) == PROC_SUPER_MAGIC
    finally:
        os.close(fd)


def _is_bind(mount: Mount) -> bool:
    return mount.type == "bind" or "bind" in mount.options or "rbind" in mount.options


def _source(mount: Mount, bundle: str) -> Source:
    """A source that cannot be looked at counts as missing: the kernel will say why when it is mounted."""
    try:
        mode = os.stat(os.path.join(bundle, mount.source or "")).st_mode
    except OSError:  # whatever it is, open_tree(2) meets it again, and its errno is told
        return Source("missing")
    return Source("dir" if S_ISDIR(mode) else "file")


def owned_stdio() -> tuple[bool, bool, bool]:
    """Tell which of fds 0-2 should belong to the container's user."""
    return _is_owned(0), _is_owned(1), _is_owned(2)


def _is_owned(fd: int) -> bool:
    """Tell whether an fd should belong to the container's user; devices such as /dev/null belong to
    everybody, ttys excepted."""
    try:
        status = os.fstat(fd)
    except OSError:  # closed: the executor opens /dev/null there
        return False
    return not S_ISCHR(status.st_mode) or (status.st_rdev != NULL_DEVICE and os.isatty(fd))


def null_stdio(owned: tuple[bool, bool, bool]) -> tuple[int, ...]:
    """Return which of fds 0-2 are /dev/null, or will be, for they are closed; those that are `owned` are not."""
    return tuple([fd for fd in range(3) if not owned[fd] and _is_null(fd)])


def _is_null(fd: int) -> bool:
    try:
        status = os.fstat(fd)
    except OSError:  # closed: the executor opens /dev/null there
        return True
    return S_ISCHR(status.st_mode) and status.st_rdev == NULL_DEVICE


def mount_point(path: str) -> str:
    """Return the mount point of the mount that a path lies on, by the kernel's own number for it ("/" when
    it is not told)."""
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:  # no root directory: the plan's first look at it will say so
        return "/"
    try:
        with open(f"/proc/self/fdinfo/{fd}", "rb") as file:
            number = next(line.split()[1] for line in file if line.startswith(b"mnt_id:"))
    finally:
        os.close(fd)
    with open("/proc/self/mountinfo", "rb") as file:
        for line in file:
            fields = line.split()
            if fields[0] == number:
                return os.fsdecode(_unescape(fields[4]))
    return "/"


def _unescape(field: bytes) -> bytes:
    r"""Undo the kernel's octal escapes of blanks: "\040"."""
    head, *rest = field.split(b"\\")
    return head + b"".join([bytes([int(part[:3], 8)]) + part[3:] for part in rest])
