"""Configs and hosts to compile in tests: a config as `runc spec` writes it, hosts of each cgroup layout."""

from __future__ import annotations

import copy
import json

from pyrunc.host import CgroupLayout, Hierarchy, Host
from pyrunc.plan.compile import compile_plan as compile_create
from pyrunc.plan.exec import compile_exec
from pyrunc.plan.request import Facts, Filter, Request, Source
from pyrunc.spec.parse import parse_config

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.plan.ops import Plan

    Config = dict[str, Any]

ALL_CAPS = 2**41 - 1
HARMLESS = ["nosuid", "noexec", "nodev"]
CAPS = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
CONTROLLERS = ("cpu,cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "name=systemd")
V1 = tuple(
    Hierarchy(tuple(names.split(",")), f"/sys/fs/cgroup/{names.removeprefix('name=')}", "/", "/user")
    for names in CONTROLLERS
)
UNIFIED = Hierarchy((), "/sys/fs/cgroup/unified", "/", "/user")
V2 = Hierarchy((), "/sys/fs/cgroup", "/", "/user.slice/session-1.scope")
LAYOUTS = {
    "v1": CgroupLayout("v1", V1),
    "hybrid": CgroupLayout("hybrid", V1, UNIFIED),
    "v2": CgroupLayout("v2", (), V2),
    "none": CgroupLayout("none"),
}
HOST = Host(
    kernel=(6, 12),
    euid=0,
    egid=0,
    in_userns=False,
    umask=0o022,
    effective=ALL_CAPS,
    bounding=ALL_CAPS,
    last_cap=40,
    rlimits=dict.fromkeys(range(16), (2**64 - 1, 2**64 - 1)) | {7: (1024, 4096)},
    cgroup=LAYOUTS["v2"],
    proc_mounts=("/proc/sys/fs/binfmt_misc", "/proc", "/sys"),
)

BASE: Config = {
    "ociVersion": "1.3.0",
    "process": {
        "user": {"uid": 0, "gid": 0},
        "args": ["sh"],
        "env": ["PATH=/usr/bin:/bin", "TERM=xterm"],
        "cwd": "/",
        "capabilities": {"bounding": CAPS, "effective": CAPS, "permitted": CAPS},
        "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
        "noNewPrivileges": True,
    },
    "root": {"path": "rootfs", "readonly": True},
    "hostname": "pyrunc",
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {
            "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
            "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
        },
        {
            "destination": "/dev/pts", "type": "devpts", "source": "devpts",
            "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        },
        {
            "destination": "/dev/shm", "type": "tmpfs", "source": "shm",
            "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
        },
        {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": HARMLESS},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": [*HARMLESS, "ro"]},
        {
            "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
            "options": ["nosuid", "noexec", "nodev", "relatime", "ro"],
        },
    ],
    "linux": {
        "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount", "cgroup")],
        "maskedPaths": ["/proc/acpi", "/proc/kcore", "/proc/keys", "/sys/firmware", "/proc/scsi"],
        "readonlyPaths": ["/proc/bus", "/proc/sys", "/proc/sysrq-trigger"],
    },
}  # fmt: skip
"""The config of `runc spec`."""

MINIMAL: Config = {
    "ociVersion": "1.3.0",
    "process": {"args": ["/bin/true"], "cwd": "/"},
    "root": {"path": "rootfs"},
    "linux": {"namespaces": [{"type": "mount"}]},
}
ID_MAP = [{"containerID": 0, "hostID": 100000, "size": 65536}]


def base() -> Config:
    """Return a copy of BASE to change."""
    return copy.deepcopy(BASE)


def minimal() -> Config:
    """Return a copy of MINIMAL to change."""
    return copy.deepcopy(MINIMAL)


ALLOW_ALL = bytes.fromhex("060000000000ff7f")
"""A filter of one instruction: tests/seccomp has those that a profile makes."""


def compile_config(
    config: Config, host: Host = HOST, facts: Facts | None = None, *, inside: bool = False, **request: Any
) -> Plan:
    """Parse and compile a config, as if for `run`, or (`inside`) for `exec` of its process."""
    spec = parse_config(json.dumps(config).encode())
    wanted = {"id": "c1", "bundle": "/bundle", "wait": False} | request
    compile_plan = compile_exec if inside else compile_create
    return compile_plan(spec, host, Request(**wanted), facts or facts_of(config))


def facts_of(config: Config) -> Facts:
    """Return facts as if every source were there; those with a dot in their name are files. What is null is not there."""
    sources = {
        f"mounts[{index}].source": Source("file" if "." in (mount.get("source") or "") else "dir")
        for index, mount in enumerate(config.get("mounts") or ())
    }
    seccomp = (config.get("linux") or {}).get("seccomp")
    notifies = "SCMP_ACT_NOTIFY" in json.dumps(seccomp)
    return Facts(
        sources,
        filter=Filter(ALLOW_ALL, 12 if notifies else 4) if seccomp else None,
        cgroup_dirs={entry.mountpoint: f"{entry.mountpoint}/c1" for entry in (*V1, UNIFIED)}
        | {"": "/sys/fs/cgroup/c1"},
    )
