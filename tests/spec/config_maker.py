"""Random configs from the declaration, and random damage to them. Everything follows from the seed."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

from pyrunc.spec.declare import Bool, Enum, Int, List, Map, fields_of
from pyrunc.spec.model import Spec

if TYPE_CHECKING:
    import random

    from pyrunc.spec.declare import Kind

TEXTS = (
    "",
    "x",
    "/",
    "/proc",
    "rootfs",
    "a=b",
    "é",
    "0-3,7",
    "2MB",
    "2MB\n",
    "MB:0=1",
    "MB:0=1\n",
    "c\n",
    "1.0.2",
)
ODD: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, -2, 7, 512, 2**16, 2**31, 2**32 - 1, 2**32, 2**63, 2**64, 1.0, 1.5, [], {}, [None],
    {"": 5}, {"x": 5}, "RLIMIT_TEST", "rshared", "SCMP_ACT_ALLOW", "RLIMIT_CPU\n", *TEXTS,
)  # fmt: skip
FOREIGN = (
    ("windows", 5),
    ("solaris", []),
    ("vm", {"kernel": 1}),
    ("zos", {"namespaces": 3}),
    ("freebsd", "x"),
)


DEFAULT: dict[str, Any] = {
    "ociVersion": "1.3.0",
    "process": {
        "terminal": True, "user": {"uid": 0, "gid": 0}, "args": ["sh"], "env": ["PATH=/bin", "TERM=xterm"], "cwd": "/",
        "capabilities": {"bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"]},
        "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}], "noNewPrivileges": True,
    },
    "root": {"path": "rootfs", "readonly": True},
    "hostname": "runc",
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=65536k"]},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
        {"destination": "/etc/resolv.conf", "type": "bind", "source": "/etc/resolv.conf", "options": ["rbind", "ro"]},
    ],
    "linux": {
        "resources": {"devices": [{"allow": False, "access": "rwm"}], "memory": {"limit": 2**20}, "cpu": {"cpus": "0-1"}},
        "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount", "cgroup")],
        "sysctl": {"net.ipv4.ip_forward": "1"},
        "maskedPaths": ["/proc/acpi", "/proc/kcore"],
        "readonlyPaths": ["/proc/bus", "/proc/sys"],
    },
}  # fmt: skip
"""What `spec` writes, near enough, and some more."""


def make_config(rnd: random.Random) -> dict[str, Any]:
    """Return a config in which every single value is valid, by itself."""
    config = make(Spec, rnd, dense=1.0)
    assert isinstance(config, dict)
    return config


def make(kind: Kind, rnd: random.Random, dense: float) -> Any:
    """Return a valid value of a kind; an optional property is there with a chance of `dense`, less further down."""
    if isinstance(kind, Bool):
        return rnd.random() < 0.5
    if isinstance(kind, Int):
        return rnd.choice(
            (kind.low, kind.high, rnd.randint(kind.low, kind.high), min(max(1, kind.low), kind.high))
        )
    if isinstance(kind, Enum):
        return rnd.choice(kind.values)
    if isinstance(kind, List):
        return [make(kind.of, rnd, dense) for _ in range(rnd.randint(kind.at_least, 2))]
    if isinstance(kind, Map):
        return {
            rnd.choice(("x", "net.x", "monotonic", "é")): make(kind.of, rnd, dense)
            for _ in range(rnd.randint(0, 2))
        }
    if isinstance(kind, type):
        wanted = [f for f in fields_of(kind) if f.required or rnd.random() < dense]
        return {field.key: make(field.kind, rnd, dense * 0.7) for field in wanted}
    texts = [text for text in TEXTS if kind.fits is None or (kind.fits(text) and not text.endswith("\n"))]
    return rnd.choice(texts)


def spoil(config: dict[str, Any], rnd: random.Random) -> dict[str, Any]:
    """Return the config with one value in it replaced, removed or added."""
    config = copy.deepcopy(config)
    holder, key = rnd.choice(list(_places(config)) or [(config, "ociVersion")])
    action = rnd.random() if config else 0.0
    if action < 0.7:
        holder[key] = copy.deepcopy(rnd.choice(ODD))
    elif action < 0.85:
        del holder[key]
    elif isinstance(holder, dict):
        holder[rnd.choice(("foo", "", "\n", str(key).upper(), "path"))] = copy.deepcopy(rnd.choice(ODD))
    else:
        holder.append(copy.deepcopy(rnd.choice(ODD)))
    if rnd.random() < 0.05:
        config.update([rnd.choice(FOREIGN)])
    return config


def _places(value: Any) -> Any:
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in pairs:
        yield value, key
        yield from _places(child)


def encode(config: object) -> bytes:
    return json.dumps(config, ensure_ascii=False).encode()
