"""Programs that work against a runtime while it works (probe/attacker.c)."""

from __future__ import annotations

import json
import signal
import subprocess
from typing import TYPE_CHECKING

from lib.runtime import poll

if TYPE_CHECKING:
    from lib.runtime import Container, Runtime


class Swap:
    """Two names that are exchanged all the time, by a process beside the runtime."""

    def __init__(self, runtime: Runtime, one: object, other: object) -> None:
        self.runtime = runtime
        self.process = runtime.spawn_program(
            runtime.tree / "attacker", "swap", one, other, stdout=subprocess.PIPE, text=True
        )

    def stop(self) -> int:
        """How often they were exchanged."""
        self.process.send_signal(signal.SIGTERM)
        self.runtime.wait(self.process)
        with self.process.stdout as said:
            found = json.loads(said.read())
        assert found["err"] == "", found
        return found["swaps"]


def ended(container: Container) -> dict:
    """End `attacker watch` in a container; what it has seen."""
    container.kill("TERM")
    assert poll(lambda: container.out.endswith("}\n")), f"{container.out} {container.err}"
    found = json.loads(container.out.splitlines()[-1])
    assert found["err"] == "", found
    return found
