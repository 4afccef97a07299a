"""`pyrunc spec`: write a config.json to begin with."""

from __future__ import annotations

from pyrunc import _os as os
from pyrunc.consts import SPEC_VERSION
from pyrunc.errors import OpError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.commands import Args

CAPABILITIES = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
HARDENED = ["nosuid", "noexec", "nodev"]
PTS_OPTIONS = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]
MOUNTS: tuple[tuple[str, str, str, list[str] | None], ...] = (
    ("/proc", "proc", "proc", None),
    ("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
    ("/dev/pts", "devpts", "devpts", PTS_OPTIONS),
    ("/dev/shm", "tmpfs", "shm", [*HARDENED, "mode=1777", "size=65536k"]),  # noqa: S108 - in the container
    ("/dev/mqueue", "mqueue", "mqueue", HARDENED),
    ("/sys", "sysfs", "sysfs", [*HARDENED, "ro"]),
    ("/sys/fs/cgroup", "cgroup", "cgroup", [*HARDENED, "relatime", "ro"]),
)
MASKED_PATHS = [
    "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
    "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi",
]  # fmt: skip
READONLY_PATHS = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]


def run(args: Args) -> int:
    """Write config.json into the bundle; never over one that is there."""
    bundle = args.options["bundle"] or "."
    config = default_config(cgroup_namespace=os.path.exists("/sys/fs/cgroup/cgroup.controllers"))
    if args.options["rootless"]:
        make_rootless(config, os.geteuid(), os.getegid())
    if not os.path.isdir(bundle):
        raise UsageError(f"chdir {bundle}: no such file or directory")
    path = os.path.join(bundle, "config.json")
    try:
        fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o666)
    except FileExistsError:
        raise UsageError("File config.json exists. Remove it first") from None
    except OSError as error:
        raise OpError(f"open {path}", error.errno or 0) from error
    import json  # this command is in no hurry

    with os.fdopen(fd, "w", encoding="utf-8") as file:
        file.write(json.dumps(config, indent="\t", ensure_ascii=False))
    return 0


def default_config(*, cgroup_namespace: bool) -> dict[str, Any]:
    """Return the configuration that runC writes, key by key in its order; the hostname is ours."""
    namespaces = ["pid", "network", "ipc", "uts", "mount"]
    if cgroup_namespace:
        namespaces.append("cgroup")
    return {
        "ociVersion": SPEC_VERSION,
        "process": _process(),
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "pyrunc",
        "mounts": [_mount(*row) for row in MOUNTS],
        "linux": {
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
            "namespaces": [{"type": name} for name in namespaces],
            "maskedPaths": list(MASKED_PATHS),
            "readonlyPaths": list(READONLY_PATHS),
        },
    }


def _process() -> dict[str, Any]:
    path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return {
        "terminal": True,
        "user": {"uid": 0, "gid": 0},
        "args": ["sh"],
        "env": [path, "TERM=xterm"],
        "cwd": "/",
        "capabilities": {name: list(CAPABILITIES) for name in ("bounding", "effective", "permitted")},
        "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
        "noNewPrivileges": True,
    }


def _mount(destination: str, fstype: str, source: str, options: list[str] | None) -> dict[str, Any]:
    mount: dict[str, Any] = {"destination": destination, "type": fstype, "source": source}
    if options:
        mount["options"] = list(options)
    return mount


def make_rootless(config: dict[str, Any], uid: int, gid: int) -> None:
    """Turn the default configuration into one for an ordinary user: one id to map, no limits to set."""
    linux = config["linux"]
    kept = [entry for entry in linux["namespaces"] if entry["type"] != "network"]
    del linux["resources"]
    rest = {key: linux.pop(key) for key in ("maskedPaths", "readonlyPaths")}
    linux["uidMappings"] = [{"containerID": 0, "hostID": uid, "size": 1}]
    linux["gidMappings"] = [{"containerID": 0, "hostID": gid, "size": 1}]
    linux["namespaces"] = [*kept, {"type": "user"}]
    linux.update(rest)
    config["mounts"] = [_rootless_mount(mount) for mount in config["mounts"]]


def _rootless_mount(mount: dict[str, Any]) -> dict[str, Any]:
    """Bind the host's /sys, which needs a network namespace to be mounted; drop ids that have no mapping."""
    if mount["destination"] == "/sys":
        return _mount("/sys", "none", "/sys", ["rbind", *HARDENED, "ro"])
    options = mount.get("options")
    if options:
        mount["options"] = [option for option in options if not option.startswith(("uid=", "gid="))]
    return mount
