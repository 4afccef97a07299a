"""The compiler: what the rules accept becomes a plan that the executor's own checker takes; and the options of mounts."""

from __future__ import annotations

import copy
import json
import random
from typing import TYPE_CHECKING, Any

import hosted
from cases import HOST, LAYOUTS, base, facts_of
from config_maker import make_config, spoil
from fuzzing import Target, told
from goldens import CASES

from pyrunc.check import CheckFacts, check
from pyrunc.errors import HostError, SpecError
from pyrunc.host import Host
from pyrunc.plan.compile import compile_plan
from pyrunc.plan.encode import encode
from pyrunc.plan.exec import compile_exec
from pyrunc.plan.ops import Plan
from pyrunc.plan.render import render
from pyrunc.plan.request import Request
from pyrunc.spec.model import Spec
from pyrunc.spec.parse import parse_config
from pyrunc.spec.tables import MOUNT_OPTIONS

if TYPE_CHECKING:
    from collections.abc import Callable


def any_host(rnd: random.Random) -> Host:
    """Return a host that differs from the usual one in what a plan depends on."""
    changes = {
        "kernel": rnd.choice(((5, 14), (6, 1), (6, 6), (6, 12), (6, 18))),
        "euid": rnd.choice((0, 0, 1000)),
        "in_userns": rnd.random() < 0.2,
        "effective": rnd.choice((2**41 - 1, 0, 1 << 21)),
        "cgroup": rnd.choice(list(LAYOUTS.values())),
        "setgroups": rnd.random() < 0.9,
        "lsm": rnd.choice(((), ("apparmor",), ("selinux",))),
    }
    return Host(**{**HOST.__dict__, **changes})


def compiled(data: bytes) -> str:
    """Return what became of a config on a host and by a request that follow from its bytes."""
    rnd = random.Random(data)
    spec, said = told(lambda: parse_config(data), SpecError)
    if not isinstance(spec, Spec):
        return said
    host = any_host(rnd)
    refused, said = told(lambda: check(spec, CheckFacts("/bundle", rootless=host.euid != 0)), SpecError)
    if refused is None:
        return said
    if spec.process is None or spec.root is None:
        return "no process or no root"  # what create refuses before it compiles
    request = Request("c1", "/bundle", wait=rnd.random() < 0.5, no_pivot=rnd.random() < 0.1, rootless=host.euid != 0,
                      preserve_fds=rnd.choice((0, 0, 3)))  # fmt: skip
    facts = facts_of(json.loads(data))
    make: Callable[..., Plan] = compile_exec if rnd.random() < 0.2 else compile_plan
    plan, said = told(lambda: make(spec, host, request, facts), SpecError, HostError)
    if not isinstance(plan, Plan):
        return said
    verdict = hosted.check(encode(plan, trace=rnd.random() < 0.1))
    assert verdict == 0, f"the checker refuses operation {verdict}: {render(plan)}"
    assert plan.ops[-1].name == "EXEC", "the last operation is not EXEC"
    assert all(text.isprintable() for text in render(plan).splitlines()), "a plan that acts on a terminal"
    return " ".join(sorted({op.name for op in plan.ops}))


class PlanTarget(Target):
    """Configs that mostly pass the rules: the golden ones and their parts put together, a little damaged."""

    name = "plan"

    def make(self, rnd: random.Random) -> bytes:
        config = copy.deepcopy(rnd.choice(list(CASES.values())).config)
        other = copy.deepcopy(rnd.choice(list(CASES.values())).config)
        for key in ("mounts", "hooks", "process"):
            if key in other and rnd.random() < 0.3:
                config[key] = other[key]
        linux = other.get("linux", {})
        for key in rnd.sample(sorted(linux), min(len(linux), rnd.choice((0, 0, 1, 2)))):
            config.setdefault("linux", {})[key] = linux[key]
        if rnd.random() < 0.1:
            config["linux"] = make_config(rnd).get("linux", {})
        for _ in range(rnd.choice((0, 0, 1, 1, 2))):
            config = spoil(config, rnd)
        return json.dumps(config).encode()

    def judge(self, data: bytes) -> str:
        return compiled(data)


OPTIONS = sorted(MOUNT_OPTIONS)
DATA = ("size=1k", "mode=755", "mode=", "gid=5", "uid=4294967295", "lowerdir=/a:/b\\:c", "upperdir=/u", 'context="a,b"', "a,b",
        '"', "\\", "=", ",", "size=99999999999999999999", "x" * 300, "idmap=uids=0-1-2", "é", " ")  # fmt: skip


class MountOptions(Target):
    """Lists of options of one mount: one a line, after its type and its destination."""

    name = "mount-options"
    tokens = tuple(word.encode() + b"\n" for word in (*OPTIONS, *DATA))

    def make(self, rnd: random.Random) -> bytes:
        kind = rnd.choice(
            ("bind", "tmpfs", "proc", "sysfs", "overlay", "devpts", "mqueue", "cgroup", "none", "", "ext4")
        )
        options = rnd.choices((*OPTIONS, *DATA), k=rnd.choice((0, 1, 2, 3, 5, 9)))
        places = ("/data", "/proc", "/proc/x", "/dev", "/", "/sys/fs/cgroup", "/a/../b", "x", "/dev/shm")
        return "\n".join([kind, rnd.choice(places), *options]).encode()

    def judge(self, data: bytes) -> str:
        kind, destination, *options = (data.decode("utf-8", "replace").replace("\0", "") + "\n\n").split("\n")
        mount: dict[str, Any] = {
            "destination": destination,
            "source": "/src",
            "options": [o for o in options if o],
        }
        if kind:
            mount["type"] = kind
        config = base()
        config["mounts"].append(mount)
        return compiled(json.dumps(config).encode())


TARGETS = (PlanTarget, MountOptions)
