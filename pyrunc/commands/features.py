"""`pyrunc features`: what this version supports, fixed when it was built and never probed (features.md)."""

from __future__ import annotations

from pyrunc.commands import write
from pyrunc.consts import SPEC_VERSION, SPEC_VERSION_MIN
from pyrunc.spec.jsontext import dumps
from pyrunc.spec.tables import CAPABILITIES, HOOKS, MOUNT_OPTIONS, NAMESPACES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.commands import Args


def run(_args: Args) -> int:
    """Print the features document, in runC's order and indentation."""
    write(dumps(features(), "    ") + "\n")
    return 0


def features() -> dict[str, object]:
    """Return the features document; the tables in it are those that the runtime works by."""
    return {
        "ociVersionMin": SPEC_VERSION_MIN,
        "ociVersionMax": SPEC_VERSION,
        "hooks": list(HOOKS),
        "mountOptions": sorted(MOUNT_OPTIONS),
        "linux": {
            "namespaces": sorted(NAMESPACES),
            "capabilities": list(CAPABILITIES),
            "cgroup": {"v1": True, "v2": True, "systemd": False, "systemdUser": False, "rdma": True},
            "seccomp": {"enabled": False},
            "apparmor": {"enabled": False},
            "selinux": {"enabled": False},
            "intelRdt": {"enabled": True, "schemata": True, "monitoring": True},
            "mountExtensions": {"idmap": {"enabled": True}},
            "netDevices": {"enabled": True},
        },
        "annotations": {"org.opencontainers.runc.checkpoint.enabled": "false"},
        "potentiallyUnsafeConfigAnnotations": [],
    }
