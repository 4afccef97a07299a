"""`pyrunc features`: what this version supports (features.md)."""

from __future__ import annotations

from pyrunc.commands import write
from pyrunc.consts import SPEC_VERSION, SPEC_VERSION_MIN
from pyrunc.spec.jsontext import dumps
from pyrunc.spec.tables import (
    CAPABILITIES,
    HOOKS,
    MEMORY_POLICY_FLAGS,
    MEMORY_POLICY_MODES,
    MOUNT_OPTIONS,
    NAMESPACES,
    SECCOMP_ACTIONS,
    SECCOMP_ARCHITECTURES,
    SECCOMP_FLAGS,
    SECCOMP_OPERATORS,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.commands import Args


UNSAFE = ("org.criu.config", "org.pyrunc.landlock", "org.systemd.property.", "run.oci.")
"""What an engine should not let an image or a pod choose: docs/annotations.md."""


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
            "cgroup": {"v1": True, "v2": True, "systemd": True, "systemdUser": True, "rdma": True},
            "seccomp": _seccomp(),
            "apparmor": {"enabled": True},
            "selinux": {"enabled": True},
            "intelRdt": {"enabled": True, "schemata": True, "monitoring": True},
            "memoryPolicy": {"modes": sorted(MEMORY_POLICY_MODES), "flags": sorted(MEMORY_POLICY_FLAGS)},
            "mountExtensions": {"idmap": {"enabled": True}},
            "netDevices": {"enabled": True},
        },
        "annotations": {"org.opencontainers.runc.checkpoint.enabled": "true", **_libseccomp()},
        "potentiallyUnsafeConfigAnnotations": list(UNSAFE),
    }


def _seccomp() -> dict[str, object]:
    """What the compiler knows; the flags of this kernel are the one thing that is probed (features-linux.md)."""
    from pyrunc.seccomp import supported_flags

    return {
        "enabled": True,
        "actions": sorted(SECCOMP_ACTIONS),
        "operators": sorted(SECCOMP_OPERATORS),
        "archs": sorted(SECCOMP_ARCHITECTURES),
        "knownFlags": list(SECCOMP_FLAGS),
        "supportedFlags": supported_flags(),
    }


def _libseccomp() -> dict[str, str]:
    """Tell which libseccomp is here, as runC does; nothing where there is none."""
    from pyrunc.errors import HostError
    from pyrunc.seccomp.library import version_text

    try:
        return {"io.github.seccomp.libseccomp.version": version_text()}
    except HostError:
        return {}
