"""JSON that commands are handed beside config.json: the process of `exec`, the resources of `update`, mounts, a recorded host,
Landlock's annotation.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from cases import HOST
from config_maker import DEFAULT, encode, make, spoil
from fuzzing import Target, told

from pyrunc.cgroup.limits_v1 import limits_v1
from pyrunc.cgroup.limits_v2 import limits_v2
from pyrunc.cgroup.units import properties_of
from pyrunc.cgroup.update import merge
from pyrunc.check import CheckFacts, check
from pyrunc.commands.update import decode, parse_resources
from pyrunc.errors import HostError, SpecError, UsageError
from pyrunc.host import from_dict, to_dict
from pyrunc.run.attach import parse_mounts
from pyrunc.run.process import NO_HOOKS, changed, read_process
from pyrunc.spec.jsontext import loads
from pyrunc.spec.landlock import ANNOTATION, landlock_of
from pyrunc.spec.model import Mount, Process
from pyrunc.spec.parse import parse_config
from pyrunc.spec.resources import Resources

if TYPE_CHECKING:
    import random
    from typing import Any

SPEC = parse_config(encode(DEFAULT))
FACTS = CheckFacts("/bundle")


class JsonTarget(Target):
    """JSON text, damaged as a value as often as as bytes."""

    def fresh(self, rnd: random.Random) -> dict[str, Any]:
        """Return a good value to damage."""
        raise TypeError("a target says what is good")

    def make(self, rnd: random.Random) -> bytes:
        value = self.fresh(rnd)
        for _ in range(rnd.choice((0, 1, 1, 3))):
            value = spoil(value, rnd)
        return json.dumps(value).encode()


class ProcessFile(JsonTarget):
    """`exec --process FILE`."""

    name = "process"

    def __init__(self) -> None:
        self.scratch = tempfile.TemporaryDirectory(prefix="pyrunc-fuzz-")
        self.file = Path(self.scratch.name) / "process.json"

    def clean(self) -> None:
        self.scratch.cleanup()

    def fresh(self, rnd: random.Random) -> dict[str, Any]:
        return make(Process, rnd, 0.8)  # type: ignore[no-any-return]

    def judge(self, data: bytes) -> str:
        self.file.write_bytes(data)
        process, said = told(lambda: read_process(str(self.file)), SpecError, UsageError)
        if process is None:
            return said
        spec = changed(SPEC, process=process, hooks=NO_HOOKS)
        return told(lambda: check(spec, FACTS), SpecError)[1] or "read"


class ResourcesJson(JsonTarget):
    """`update --resources FILE`, and what becomes of it on either version of cgroups and with systemd."""

    name = "resources"

    def fresh(self, rnd: random.Random) -> dict[str, Any]:
        value: dict[str, Any] = make(Resources, rnd, 0.6)
        return {key.upper() if rnd.random() < 0.1 else key: child for key, child in value.items()}

    def judge(self, data: bytes) -> str:
        change, said = told(lambda: decode(data), SpecError)
        if change is None:
            return said
        stored = {"memory": {"limit": 5}, "cpu": {"quota": 7, "cpus": "0"}, "blockIO": {"weight": 10}}
        new, said = told(lambda: parse_resources(merge(stored, change)), SpecError)  # type: ignore[arg-type]
        if not isinstance(new, Resources):
            return said
        works = (
            lambda: list(limits_v1(new)),
            lambda: list(limits_v2(new)),
            lambda: properties_of(new, devices=True),
        )
        return "; ".join(told(work, SpecError, HostError)[1] or "taken" for work in works)


class Mounts(JsonTarget):
    """`mounts add FILE`."""

    name = "mounts"

    def fresh(self, rnd: random.Random) -> dict[str, Any]:
        return {"mounts": [make(Mount, rnd, 0.7) for _ in range(rnd.randint(0, 3))]}

    def judge(self, data: bytes) -> str:
        mounts, said = told(lambda: parse_mounts(data, "mounts.json"), SpecError)
        if not isinstance(mounts, tuple):
            return said
        return told(lambda: check(changed(SPEC, mounts=mounts), FACTS), SpecError)[1] or "read"


class HostFile(JsonTarget):
    """`plan --host FILE`: what is taken can be written again, and is the same then."""

    name = "host-file"

    def fresh(self, rnd: random.Random) -> dict[str, Any]:
        return to_dict(HOST)

    def judge(self, data: bytes) -> str:
        value, said = told(lambda: loads(data, "host"), SpecError)
        if said:
            return said
        host, said = told(lambda: from_dict(value), SpecError)
        if host is None:
            return said
        assert from_dict(to_dict(host)) == host  # type: ignore[arg-type]
        return "read"


class Landlock(JsonTarget):
    """The annotation with Landlock's rules."""

    name = "landlock"

    def fresh(self, rnd: random.Random) -> dict[str, Any]:
        return {
            "read": ["/usr", "/etc"],
            "write": ["/tmp"],
            "execute": ["/"],
            "bind": [80],
            "connect": [65535],
        }

    def judge(self, data: bytes) -> str:
        spec = changed(SPEC, annotations={ANNOTATION: data.decode("utf-8", "surrogateescape")})
        return told(lambda: landlock_of(spec), SpecError)[1] or "read"


TARGETS = (ProcessFile, ResourcesJson, Mounts, HostFile, Landlock)
