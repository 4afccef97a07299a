"""What this kernel and this host can do: probed once, handed on as a value.

`plan` sees only the record, so a plan can be compiled for a host that is not this one (`pyrunc plan --host FILE`).
"""

from __future__ import annotations

from pyrunc._record import record as _record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dataclasses import dataclass

    record = dataclass(frozen=True)
else:
    record = _record


@record
class Hierarchy:
    """One mounted cgroup hierarchy, as the caller sees it."""

    controllers: tuple[str, ...]
    """Controllers of a v1 hierarchy (`("cpu", "cpuacct")`, `("name=systemd",)`); empty for cgroup2."""
    mountpoint: str
    """Absolute path where it is mounted; the v1 mount root is the hierarchy's root or the caller's part of it."""
    root: str
    """Root of that mount inside the hierarchy (field 4 of mountinfo), "/" where all of it is visible."""
    own: str
    """The caller's own cgroup in it, from /proc/self/cgroup, relative to the hierarchy's root."""


@record
class CgroupLayout:
    """Where cgroups are mounted. `mode` is "v1", "hybrid", "v2" or "none"."""

    mode: str
    v1: tuple[Hierarchy, ...] = ()
    """In the order of the mount table; every mounted v1 hierarchy, named ones included."""
    v2: Hierarchy | None = None
    """The cgroup2 mount: the only one in mode v2, the unified one beside v1 in mode hybrid."""


@record
class Host:
    """Facts about kernel, host and caller that decide how a config is lowered into a plan."""

    kernel: tuple[int, int]
    euid: int
    egid: int
    in_userns: bool
    """The caller is not in the initial user namespace (its uid_map is not the identity over all ids)."""
    umask: int
    effective: int
    """Effective capabilities of the caller, as a mask."""
    bounding: int
    """Bounding set of the caller, as a mask."""
    last_cap: int
    rlimits: dict[int, tuple[int, int]]
    """The caller's resource limits: number -> (soft, hard); RLIM_INFINITY is 2**64 - 1."""
    cgroup: CgroupLayout
    proc_mounts: tuple[str, ...] = ()
    """Mount points, deepest first, of every proc and sysfs whose root is visible; only --no-pivot needs them."""
