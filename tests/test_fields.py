"""No property of config.json is read and then forgotten.

The test walks the declaration. For each property it changes the value in a config that has it, and leaves it out; some
change that is accepted must show: in the plan, in what is written to cgroup files and id maps, in what a hook is started
with, in the state, or in a warning. A part that is refused as not supported counts, and so does a property of the table
WITHOUT_EFFECT, which the page docs/config.md prints.
"""

from __future__ import annotations

import copy
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

sys.path.insert(0, str(Path(__file__).parent / "plan"))

from cases import ALL_CAPS, HOST, LAYOUTS, facts_of, minimal

from pyrunc import check
from pyrunc.cgroup.devices_v1 import devices_v1
from pyrunc.cgroup.devices_v2 import matches
from pyrunc.cgroup.limits_v1 import before_join, limits_v1
from pyrunc.cgroup.limits_v2 import ignored, limits_v2
from pyrunc.errors import Fault, PyruncError, SpecError
from pyrunc.host import Host
from pyrunc.plan.compile import compile_plan
from pyrunc.plan.render import render
from pyrunc.plan.request import Request
from pyrunc.run import agent, destroy, hooks, idmap, start
from pyrunc.run.environ import environment
from pyrunc.seccomp import make_filter
from pyrunc.spec.declare import Bool, Enum, Int, List, Map, Str, fields_of
from pyrunc.spec.model import Spec
from pyrunc.spec.parse import parse_config
from pyrunc.spec.reference import WITHOUT_EFFECT
from pyrunc.state import Container, StateRoot

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyrunc.spec.declare import Kind

    Config = dict[str, Any]

MAP = {"containerID": 0, "hostID": 100000, "size": 65536}
MORE = {"containerID": 70000, "hostID": 300000, "size": 5}
SMALL = {"containerID": 1, "hostID": 2000, "size": 10}
CAPS = ["CAP_KILL", "CAP_CHOWN"]
HOOK = {"path": "/bin/true", "args": ["true", "x"], "env": ["A=b"], "timeout": 3}
RATE = [{"major": 8, "minor": 16, "rate": 4096}]

FULL: Config = {
    "ociVersion": "1.3.0",
    "hostname": "one",
    "domainname": "two",
    "annotations": {"org.example.a": "b"},
    "root": {"path": "rootfs", "readonly": True},
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/t", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "size=64k"]},
        {"destination": "/b", "type": "bind", "source": "/srv", "options": ["ro"]},
    ],
    "hooks": {
        stage: [HOOK]
        for stage in ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
    },
    "process": {
        "terminal": True,
        "consoleSize": {"height": 25, "width": 80},
        "user": {"uid": 1, "gid": 2, "umask": 18, "additionalGids": [5, 6]},
        "args": ["sh", "-c"],
        "env": ["PATH=/bin", "X=y"],
        "cwd": "/tmp",
        "capabilities": {
            "bounding": CAPS, "effective": CAPS, "inheritable": CAPS, "permitted": [*CAPS, "CAP_SETUID"], "ambient": CAPS,
        },
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 512, "hard": 1024}],
        "noNewPrivileges": True,
        "oomScoreAdj": 100,
        "scheduler": {"policy": "SCHED_BATCH", "nice": 4, "flags": ["SCHED_FLAG_RESET_ON_FORK"]},
        "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 4},
        "execCPUAffinity": {"initial": "0", "final": "1"},
    },
    "linux": {
        "namespaces": [
            *({"type": kind} for kind in ("pid", "ipc", "uts", "mount", "cgroup", "time")),
            {"type": "network", "path": "/run/netns/a"},
        ],
        "timeOffsets": {"monotonic": {"secs": 5, "nanosecs": 7}},
        "devices": [{"path": "/dev/x", "type": "c", "major": 10, "minor": 7, "fileMode": 384, "uid": 3, "gid": 4}],
        "netDevices": {"eth1": {"name": "eth7"}},
        "cgroupsPath": "/a/b",
        "rootfsPropagation": "rprivate",
        "sysctl": {"net.ipv4.ip_forward": "1"},
        "maskedPaths": ["/proc/kcore"],
        "readonlyPaths": ["/proc/sys"],
        "personality": {"domain": "LINUX32", "flags": ["NONE"]},
        "resources": {
            "devices": [{"allow": True, "type": "c", "major": 10, "minor": 200, "access": "rw"}],
            "memory": {
                "limit": 2**24, "reservation": 2**22, "swap": 2**25, "kernel": 2**23, "kernelTCP": 2**22,
                "swappiness": 10, "disableOOMKiller": True, "useHierarchy": True, "checkBeforeUpdate": True,
            },
            "cpu": {
                "shares": 512, "quota": 20000, "burst": 500, "period": 50000, "realtimeRuntime": 950,
                "realtimePeriod": 10000, "cpus": "0", "mems": "0", "idle": 1,
            },
            "pids": {"limit": 50},
            "blockIO": {
                "weight": 20, "leafWeight": 30,
                "weightDevice": [{"major": 8, "minor": 0, "weight": 40, "leafWeight": 50}],
                "throttleReadBpsDevice": RATE, "throttleWriteBpsDevice": RATE,
                "throttleReadIOPSDevice": RATE, "throttleWriteIOPSDevice": RATE,
            },
            "hugepageLimits": [{"pageSize": "2MB", "limit": 2**21}],
            "network": {"classID": 5, "priorities": [{"name": "eth0", "priority": 7}]},
            "rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 9}},
        },
    },
}  # fmt: skip
"""Almost every property, on a host with cgroup v1."""


def changed(**values: Any) -> Config:
    """Return FULL with some properties in another way; dots are double underscores."""
    config = copy.deepcopy(FULL)
    for path, value in values.items():
        *above, last = path.split("__")
        holder = config
        for key in above:
            holder = holder[key]
        if value is None:
            del holder[last]
        else:
            holder[last] = value
    return config


def user_namespace() -> Config:
    config = changed(linux__uidMappings=[MAP, MORE], linux__gidMappings=[MAP, MORE])
    config["linux"]["namespaces"].append({"type": "user"})
    return config


def idmapped() -> Config:
    config = changed()
    config["mounts"][2] |= {"uidMappings": [SMALL], "gidMappings": [SMALL]}
    return config


def deadline() -> Config:
    attributes = {"policy": "SCHED_DEADLINE", "runtime": 1000, "deadline": 2000, "period": 3000}
    return changed(process__scheduler=attributes)


BASES = {
    "most of it": FULL,
    "user namespace": user_namespace(),
    "idmapped mount": idmapped(),
    "cgroup v2": changed(
        linux__resources__devices=None,
        linux__resources__unified={"memory.high": "1000000"},
        linux__resources__blockIO__leafWeight=None,
    ),
    "real-time": changed(process__scheduler={"policy": "SCHED_FIFO", "priority": 3}),
    "deadline": deadline(),
    "two namespaces": minimal() | {"linux": {"namespaces": [{"type": "mount"}, {"type": "ipc"}]}},
}

PARTS: dict[str, Any] = {
    "linux.seccomp": {
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 5, "architectures": ["SCMP_ARCH_X86"],
        "flags": ["SECCOMP_FILTER_FLAG_LOG"], "listenerPath": "/run/agent.sock", "listenerMetadata": "x",
        "syscalls": [{
            "names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 7,
            "args": [{"index": 1, "value": 3, "valueTwo": 5, "op": "SCMP_CMP_MASKED_EQ"}],
        }],
    },
    "linux.intelRdt": {
        "closID": "gold", "schemata": ["L2:0=f"], "l3CacheSchema": "L3:0=f", "memBwSchema": "MB:0=50",
        "enableMonitoring": True,
    },
    "linux.memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]},
    "linux.mountLabel": "system_u:object_r:container_file_t:s0",
    "process.apparmorProfile": "docker-default",
    "process.selinuxLabel": "system_u:system_r:container_t:s0",
}  # fmt: skip
"""Parts that a host may lack, or that this version may refuse: each is added to FULL by itself."""


def with_part(path: str) -> Config:
    config = copy.deepcopy(FULL)
    section, _, key = path.partition(".")
    config[section][key] = PARTS[path]
    return config


BASES |= {path: with_part(path) for path in PARTS}


# What a config does, as a list of texts.


def effects(config: Config, directory: Path) -> list[str]:
    """Return all that can be seen of a config without making a container. Raises SpecError for one that is refused."""
    spec = parse_config(json.dumps(config).encode())
    seen = check.check(spec, check.CheckFacts(bundle="/bundle"))
    seen += _plans(spec, config)
    seen += _agent(spec)
    seen += _limits(spec)
    seen += _maps(spec)
    seen += _hooks(spec)
    seen += _state(spec, directory)
    root = os.open("/", os.O_PATH)
    try:
        seen.append(str(environment(spec.process.env, spec.process.user.uid, root)))
    finally:
        os.close(root)
    return seen


def _plans(spec: Spec, config: Config) -> Iterator[str]:
    host = Host(**(HOST.__dict__ | {"lsm": ("apparmor", "selinux"), "effective": ALL_CAPS}))
    for wait in (True, False):
        request = Request(id="c1", bundle="/bundle", wait=wait)
        facts = facts_of(config)
        if spec.linux.seccomp is not None:
            object.__setattr__(facts, "filter", make_filter(spec.linux.seccomp, ""))
        yield f"{render(compile_plan(spec, host, request, facts))} {facts.__dict__.get('filter')}"


def _agent(spec: Spec) -> Iterator[str]:
    """Where the agent of seccomp is, and what it is told."""
    if spec.linux.seccomp is None:
        return
    told: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(agent, "_connect", lambda path: told.append(path) or 0)
        patch.setattr(agent, "memfd_sealed", lambda text, _name: told.append(str(text)) or 0)
        container = Container("c1", "1.3.0", "/bundle", "/bundle/rootfs", "", "created")
        agent.agent_files(spec, container, "creating", 1)
    yield from told


def _limits(spec: Spec) -> Iterator[str]:
    """The writes of both drivers; a refusal of one of them is an effect there, as an error that says so."""
    resources = spec.linux.resources
    for name, writes in (
        ("v1", lambda: [*limits_v1(resources), *before_join(resources), *devices_v1(resources.devices, "x")]),
        ("v2", lambda: [*limits_v2(resources), *matches(resources.devices)]),
    ):
        try:
            yield f"{name}: {[str(write.__dict__) for write in writes()]}"
        except PyruncError as error:
            yield f"{name}: {error}"
    yield str(ignored(resources))
    from pyrunc.cgroup.paths import locate

    yield str(locate(LAYOUTS["v2"], spec.linux.cgroups_path, "c1"))


def _maps(spec: Spec) -> Iterator[str]:
    found: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(idmap, "_write", lambda _pid, name, text, at: found.append(f"{at} {name} {text}"))
        if any(namespace.type == "user" for namespace in spec.linux.namespaces):
            idmap.write_maps(1, "linux", spec.linux.uid_mappings, spec.linux.gid_mappings, HOST)
        for mount in spec.mounts:
            if mount.uid_mappings:
                idmap.write_maps(1, mount.at, mount.uid_mappings, mount.gid_mappings, HOST)
    return iter(found)


class _Entry:
    """As much of an entry as the hooks of start and delete look at."""

    container = None


def _hooks(spec: Spec) -> Iterator[str]:
    """What the hooks are started with that the parent runs; the others stand in the plan."""
    found: list[str] = []
    with pytest.MonkeyPatch.context() as patch:

        def spawned(path: str, argv: Any, env: Any, **_more: object) -> int:
            found.append(f"{path} {list(argv)} {sorted(zip(env.keys(), env.values(), strict=True))}")
            return 1

        patch.setattr(hooks.os, "posix_spawn", spawned)
        patch.setattr(hooks, "_wait", lambda _pid, timeout: found.append(f"timeout {timeout}"))
        patch.setattr(hooks, "state_json", lambda *_facts: b"{}")
        hooks.run_hooks(spec.hooks.prestart, "prestart", b"")
        hooks.run_hooks(spec.hooks.create_runtime, "createRuntime", b"")
        patch.setattr(
            _Entry,
            "container",
            type("C", (), {"init_process_pid": 1, "own_pid_namespace": True, "annotations": {}})(),
            raising=False,
        )
        start.poststart(_Entry(), spec)  # type: ignore[arg-type]
        destroy.run_poststop(_Entry(), spec.hooks)  # type: ignore[arg-type]
    return iter(found)


class _Manager:
    paths: dict[str, str] = {}

    def expected(self) -> list[str]:
        return []


def _state(spec: Spec, directory: Path) -> Iterator[str]:
    """The state, without the copy of the config."""
    entry = StateRoot(str(directory)).create("c1")
    try:
        entry.begin(spec, b"", "/bundle", _Manager(), rootless=False)  # type: ignore[arg-type]
        facts = dict(entry.container.__dict__)
        del facts["created"]
        yield str(facts)
    finally:
        entry.remove()
        entry.close()


# The walk.


def properties(kind: Kind, at: str) -> Iterator[tuple[str, Kind]]:
    """Yield each property by its path, `[]` for an entry of a list, `.*` for one of a map; an object by what is in it."""
    inner = kind
    while isinstance(inner, List | Map):
        at += "[]" if isinstance(inner, List) else ".*"
        inner = inner.of
    if not isinstance(inner, type):
        return
    for field in fields_of(inner):
        path = f"{at}.{field.key}".lstrip(".")
        below = list(properties(field.kind, path))
        yield from below or [(path, field.kind)]


ALL = dict(properties(Spec, ""))


def places(value: Any, path: str) -> Iterator[tuple[Any, Any]]:
    """Yield (holder, key) of each value that a path with `[]` and `*` in it names."""
    head, _, rest = path.partition(".")
    if head.endswith("[]") and head != "[]":
        head, rest = head[:-2], f"[].{rest}"
    keys: list[Any] = [head]
    if head == "[]":
        keys = list(range(len(value)))
    elif head == "*":
        keys = list(value)
    for key in keys:
        if head in ("[]", "*") or key in value:
            if rest:
                yield from places(value[key], rest)
            else:
                yield value, key


def others(kind: Kind, value: Any) -> list[Any]:
    """Return other values that the property might have."""
    if isinstance(kind, Bool):
        return [not value]
    if isinstance(kind, Int):
        return [number for number in (value + 1, value - 1, value + 4096) if kind.low <= number <= kind.high]
    if isinstance(kind, Enum):
        return [other for other in kind.values if other != value]
    if isinstance(kind, Str):
        return [
            text for text in (f"{value}x", f"{value}1", "/other", "1", "4MB", "1.9.0", "r") if text != value
        ]
    if isinstance(kind, List) and value and not isinstance(kind.of, type):
        return [value[:-1], *([*value[:-1], other] for other in others(kind.of, value[-1]))]
    if isinstance(kind, Map) and isinstance(kind.of, Str):
        return [{key: f"{text}0" for key, text in value.items()}]
    return []


def variants(base: Config, path: str) -> Iterator[Config]:
    """Yield the config with the property left out, and with other values."""
    for index in range(len(list(places(base, path)))):
        config = copy.deepcopy(base)
        holder, key = list(places(config, path))[index]
        value = holder.pop(key)
        yield config
        for other in others(ALL[path], value):
            config = copy.deepcopy(base)
            holder, key = list(places(config, path))[index]
            holder[key] = other
            yield config


def shows(base: Config, path: str, directory: Path) -> bool:
    """Tell whether some accepted change of the property has an effect."""
    before = effects(base, directory)
    for config in variants(base, path):
        try:
            if effects(config, directory) != before:
                return True
        except SpecError:
            continue
    return False


def refusal(config: Config) -> list[Fault]:
    """Return what is refused as not supported."""
    spec = parse_config(json.dumps(config).encode())
    try:
        check.check(spec, check.CheckFacts(bundle="/bundle"))
    except SpecError as error:
        return [fault for fault in error.faults if "not supported" in fault.message]
    return []


def is_below(path: str, tops: tuple[str, ...]) -> bool:
    return any(path == top or path.startswith((f"{top}.", f"{top}[")) for top in tops)


@pytest.mark.parametrize("path", [path for path in ALL if not is_below(path, tuple(WITHOUT_EFFECT))])
def test_a_property_has_an_effect(path: str, tmp_path: Path) -> None:
    bases = [base for base in BASES.values() if list(places(base, path)) and not refusal(base)]
    assert bases, "no config of this test has it: add it to one"
    assert any(shows(base, path, tmp_path) for base in bases), "it is read and then forgotten"


@pytest.mark.parametrize("path", WITHOUT_EFFECT)
def test_the_table_of_what_has_no_effect_is_true(path: str, tmp_path: Path) -> None:
    below = [name for name in ALL if is_below(name, (path,))]
    assert below
    for name in below:
        bases = [base for base in BASES.values() if list(places(base, name)) and not refusal(base)]
        assert bases
        assert not any(shows(base, name, tmp_path) for base in bases)
