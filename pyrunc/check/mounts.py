"""Rules on mounts, masked paths and read-only paths."""

from __future__ import annotations

from pyrunc.check.common import clean, find_namespace, is_absolute, mapping_faults
from pyrunc.errors import Fault
from pyrunc.spec.jsontext import quoted
from pyrunc.spec.tables import MOUNT_OPTIONS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyrunc.check.common import CheckFacts
    from pyrunc.spec.model import Mount, Spec

MAY_COVER_PROC = frozenset((
    "/proc/cpuinfo", "/proc/diskstats", "/proc/meminfo", "/proc/stat", "/proc/swaps", "/proc/uptime",
    "/proc/loadavg", "/proc/slabinfo", "/proc/sys/kernel/ns_last_pid", "/proc/sys/crypto/fips_enabled",
))  # fmt: skip
"""Files of /proc that may be mounted over (runC's list, what lxcfs provides)."""


def is_bind(mount: Mount) -> bool:
    """MO-5: the options make it a bind mount; to runC and its callers the type "bind" alone does, too."""
    return mount.type == "bind" or "bind" in mount.options or "rbind" in mount.options


def check_mounts(spec: Spec, _facts: CheckFacts) -> Iterator[Fault]:
    """MO-2, MO-4, MO-10: each mount by itself."""
    for mount in spec.mounts:
        yield from _destination_faults(mount)
        if is_bind(mount):
            yield from _bind_faults(mount)
        elif not mount.type and "remount" not in mount.options:
            yield Fault(f"{mount.at}.type", "required for a mount that is no bind mount")
        if "tmpcopyup" in mount.options and mount.type != "tmpfs":
            yield Fault(f"{mount.at}.options", "tmpcopyup works on a tmpfs only")


def _destination_faults(mount: Mount) -> Iterator[Fault]:
    """Refuse what would cover the root, or /proc with what is no proc (CVE-2019-16884, as runC).

    That is by the letters of the path. Whoever mounts looks again at where the path led.
    """
    destination = clean(mount.destination)
    if destination == "/":
        shown = quoted(mount.destination)
        yield Fault(f"{mount.at}.destination", f"mountpoint {shown} is on the top of rootfs")
    elif destination == "/proc":
        if mount.type != "proc" and not is_bind(mount):
            message = f"{quoted(mount.destination)} cannot be mounted because it is not of type proc"
            yield Fault(f"{mount.at}.destination", message)
    elif destination.startswith("/proc/") and destination not in MAY_COVER_PROC:
        message = f"{quoted(mount.destination)} cannot be mounted because it is inside /proc"
        yield Fault(f"{mount.at}.destination", message)


def _bind_faults(mount: Mount) -> Iterator[Fault]:
    if not mount.source and "remount" not in mount.options:
        yield Fault(f"{mount.at}.source", "required for a bind mount")
    data = [option for option in mount.options if option not in MOUNT_OPTIONS]
    if data:
        message = "bind mounts cannot have any filesystem-specific options applied"
        yield Fault(f"{mount.at}.options", f"{message}: {quoted(','.join(data))}", _option_hint(data[0]))


def _option_hint(option: str) -> str:
    from pyrunc.spec.hints import nearest

    meant = nearest(option, MOUNT_OPTIONS)
    return f'did you mean "{meant}"?' if meant else ""


def check_id_mapped_mounts(spec: Spec, facts: CheckFacts) -> Iterator[Fault]:
    """MO-13, MO-17, MO-18: mappings of a mount come in pairs, on bind mounts, and from somewhere."""
    for mount in spec.mounts:
        wants = bool(mount.uid_mappings or mount.gid_mappings)
        if wants:
            yield from mapping_faults(mount.at, mount.uid_mappings, mount.gid_mappings)
        if bool(mount.uid_mappings) != bool(mount.gid_mappings):
            yield Fault(mount.at, "id-mapped mounts must have both uid and gid mappings specified")
        if "idmap" in mount.options or "ridmap" in mount.options:
            if not wants and find_namespace(spec, "user") is None:
                yield Fault(
                    f"{mount.at}.options", "idmap needs mappings, of the mount or of a user namespace"
                )
            wants = True
        if wants and (not is_bind(mount) or "remount" in mount.options):
            yield Fault(mount.at, "id-mapped mounts are only supported for bind-mounts")
        if wants and facts.rootless:
            yield Fault(mount.at, "id-mapped mounts are not supported for rootless containers")


def check_mount_namespace(spec: Spec, _facts: CheckFacts) -> Iterator[Fault]:
    """NS-7: without a mount namespace the container has the host's, which nothing may be done to."""
    if find_namespace(spec, "mount") is not None:
        return
    linux = spec.linux
    without = "without a private MNT namespace"
    if spec.mounts:
        yield Fault("mounts", f"unable to mount {without}")
    if linux.masked_paths or linux.readonly_paths:
        at = "linux.maskedPaths" if linux.masked_paths else "linux.readonlyPaths"
        yield Fault(at, f"unable to restrict sys entries {without}")
    if spec.root and spec.root.readonly:
        yield Fault("root.readonly", f"unable to make the root read-only {without}")
    if linux.rootfs_propagation:
        yield Fault("linux.rootfsPropagation", f"unable to set a mount propagation {without}")


def check_path_lists(spec: Spec, _facts: CheckFacts) -> Iterator[Fault]:
    """MK-1, RX-1: masked and read-only paths are absolute."""
    for key, paths in (
        ("maskedPaths", spec.linux.masked_paths),
        ("readonlyPaths", spec.linux.readonly_paths),
    ):
        for index, path in enumerate(paths):
            if path[:1] != "/":
                yield Fault(f"linux.{key}[{index}]", f"{quoted(path)} is not an absolute path")
            elif path[1:2] in ("", "/", ".") and clean(path) == "/":
                yield Fault(f"linux.{key}[{index}]", f"{quoted(path)} is the root itself")


def warn_of_mounts(spec: Spec, _facts: CheckFacts) -> Iterator[Fault]:
    """MO-3: a relative destination is taken from / and is deprecated."""
    for mount in spec.mounts:
        if not is_absolute(mount.destination):
            message = (
                f"mount destination {quoted(mount.destination)} is not absolute, taken from / (deprecated)"
            )
            yield Fault(f"{mount.at}.destination", message)


CHECKS = (check_mounts, check_id_mapped_mounts, check_mount_namespace, check_path_lists)
WARNINGS = (warn_of_mounts,)
