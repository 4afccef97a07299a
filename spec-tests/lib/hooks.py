"""Hooks that write down what they see, and the reading of it."""

from __future__ import annotations

import json
import os
import stat
from typing import TYPE_CHECKING

from lib.probe import Seen

if TYPE_CHECKING:
    import pathlib

    from lib.bundle import Bundle
    from lib.runtime import Runtime

STAGES = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
AT_CREATE = STAGES[:3]
IN_RUNTIME_NS = ("prestart", "createRuntime", "poststart", "poststop")


class Log:
    """Where hooks of every stage append their reports, in the order in which they ran.

    A hook inside the container after the pivot sees only the root file system, so that its log is a file there.
    """

    def __init__(self, runtime: Runtime, bundle: Bundle) -> None:
        self.bundle, self.runtime = bundle, runtime
        self.outside = runtime.work / "hooks.log"
        self.inside = bundle.rootfs / "hooks.log"

    def paths(self, stage: str) -> tuple[str, str]:
        """The probe's path and the log's, as a hook of that stage sees them."""
        return (
            ("/probe", "/hooks.log")
            if stage == "startContainer"
            else (str(self.runtime.tree / "probe"), str(self.outside))
        )

    def hook(self, stage: str, *commands: str, tag: str = "", **more: object) -> None:
        """A hook that logs its stage, standard input, and whatever else the commands see."""
        program, log = self.paths(stage)
        self.bundle.hook(
            stage, program, "out", log, "report", "stdin", "access", f"{stage}{tag}", *commands, **more
        )

    def entries(self) -> list[tuple[str, Seen]]:
        """(stage and tag, report) of each hook that ran; the ones inside the container come last."""
        lines = [
            line
            for path in (self.outside, self.inside)
            if path.exists()
            for line in path.read_text().splitlines()
        ]
        return [(seen.step("access")["args"][0], seen) for seen in map(Seen, lines)]

    def ran(self) -> list[str]:
        return [name for name, _ in self.entries()]

    def of(self, name: str) -> Seen:
        return dict(self.entries())[name]


def stdin_state(seen: Seen) -> dict:
    return json.loads(seen.step("stdin").text)


def script(path: pathlib.Path, body: str) -> str:
    """A shell script of the host's, for hooks of the runtime's namespaces."""
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    return os.fspath(path)
