"""What a plan is compiled from beside the Spec and the Host: the command's wishes, and facts about the
bundle."""

from __future__ import annotations

from pyrunc._record import record as _record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dataclasses import dataclass as record
else:
    record = _record


@record
class Source:
    """What stat(2) says of a bind mount's source or a device on the host; `kind` is "dir", "file" or
    "missing". `reachable` is false when the ids of the container's user namespace could not search their way to it."""

    kind: str
    reachable: bool = True


@record
class Filter:
    """linux.seccomp, compiled."""

    program: bytes
    """An array of struct sock_filter."""
    flags: int
    """SECCOMP_FILTER_FLAG_*."""


@record
class Facts:
    """Facts about the bundle, gathered before compiling so that the compiler can stay pure."""

    sources: dict[str, Source]
    """By origin: "mounts[3].source" -> Source."""
    stdio: tuple[bool, bool, bool] = (False, False, False)
    """Which of fds 0-2 belong to a pipe, socket, tty or file that the container's user must own (never
    /dev/null)."""
    null: tuple[int, ...] = ()
    """Which of fds 0-2 are the host's /dev/null."""
    cgroup_dirs: dict[str, str] | None = None
    """v1: hierarchy mountpoint -> absolute host path of the container's cgroup in it; for cgroup mounts
    without a cgroup namespace. v2: {"": path}. None when no cgroup is made."""
    cgroup_tasks: tuple[str, ...] = ()
    """v1: the `tasks` files of the container's cgroups, which arrive as inputs "cgroup:PATH"."""
    filter: Filter | None = None
    """The seccomp filter, if there is a profile."""
    rootfs_mount: str = "/"
    """Mount point of the mount that the root directory lies on; gathered only when rootfs_propagation is
    shared."""


@record
class Request:
    """What the command line asks for."""

    id: str
    bundle: str
    """Absolute path."""
    wait: bool
    """Stop before the program until `start` says go (create); run goes straight on."""
    no_pivot: bool = False
    no_new_keyring: bool = False
    preserve_fds: int = 0
    """Descriptors 3 .. 3+n-1 go into the container."""
    cgroups: bool = True
    """False: no cgroup is made or joined (--cgroup-manager disabled)."""
    systemd: bool = False
    """systemd makes the cgroup (--systemd-cgroup)."""
    lenient_cgroups: bool = False
    """Go without a cgroup where the caller may not make one and the config asks for none (--rootless)."""
    rootless: bool = False
    """The caller is not root (effective uid other than 0)."""
    config: str = "config.json"
    """Name of the config in the bundle, or its path."""
    notify: str = ""
    """Directory of the state in which the socket for sd_notify(3) will be; "" for none."""
    cache: str = ""
    """Where compiled filters are kept: the state root; "" for nowhere."""
