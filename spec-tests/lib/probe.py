"""Reading what the probe wrote."""

from __future__ import annotations

import json
import re
from typing import NamedTuple

from lib.host import capability_masks


class Mount(NamedTuple):
    id: int
    parent: int
    device: str
    root: str
    place: str
    options: set[str]
    propagation: set[str]
    kind: str
    source: str
    data: set[str]


def parse_mountinfo(text: str) -> list[Mount]:
    mounts = []
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        number, parent, device, root, place, options, *optional = left.split(" ")
        kind, source, data = right.split(" ", 2)
        root, place, source = (
            re.sub(r"\\(\d{3})", lambda m: chr(int(m[1], 8)), x) for x in (root, place, source)
        )
        mounts.append(
            Mount(
                int(number),
                int(parent),
                device,
                root,
                place,
                set(options.split(",")),
                set(optional),
                kind,
                source,
                set(data.split(",")),
            )
        )
    return mounts


class Step(dict):
    """One step's result; `err` is "" when the call succeeded."""

    @property
    def err(self) -> str:
        return self["err"]

    @property
    def text(self) -> str:
        return self["text"]


class Seen:
    """What one run of the probe reported."""

    def __init__(self, line: str) -> None:
        document = json.loads(line)
        self.report = document.get("report", {})
        self.steps = [Step(step) for step in document["did"]]

    def __getitem__(self, key: str) -> object:
        return self.report[key]

    def step(self, command: str, *args: object) -> Step:
        """The first step of that command whose arguments begin with `args`."""
        wanted = [str(a) for a in args]
        for step in self.steps:
            if step["cmd"] == command and step["args"][: len(wanted)] == wanted:
                return step
        raise LookupError(f"the probe did no {command} {wanted}")

    def cat(self, path: str) -> str:
        step = self.step("cat", path)
        assert step.err == "", f"cat {path}: {step.err}"
        return step.text.strip()

    @property
    def env(self) -> list[str]:
        return self.report["env"]

    def file(self, name: str) -> str:
        assert self.report[name]["err"] == "", f"{name}: {self.report[name]['err']}"
        return self.report[name]["text"]

    @property
    def status(self) -> dict[str, str]:
        return dict(re.findall(r"^(\w+):[ \t]*(.*)$", self.file("status"), re.MULTILINE))

    @property
    def caps(self) -> dict[str, int]:
        return capability_masks(self.file("status"))

    @property
    def mounts(self) -> list[Mount]:
        return parse_mountinfo(self.file("mountinfo"))

    def mount(self, place: str) -> Mount:
        """The mount on top at `place`."""
        found = [m for m in self.mounts if m.place == place]
        assert found, f"nothing is mounted at {place}: {[m.place for m in self.mounts]}"
        return found[-1]

    @property
    def cgroups(self) -> dict[str, str]:
        lines = (line.split(":", 2) for line in self.file("cgroup").splitlines())
        return {name: path for _, names, path in lines for name in names.split(",")}


def seen_in(text: str) -> Seen:
    """The probe's report in an output that may hold other lines, or what a terminal adds."""
    found = re.search(r'\{"(report|did)":.*\]\}', text.replace("\r", ""))
    assert found, f"the probe's report is not in this output: {text[:2000]!r}"
    return Seen(found[0])
