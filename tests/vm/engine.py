"""What the tests of engines in the machine share: an engine's command line, a day of a container, limits."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "engines"))
import images

if TYPE_CHECKING:
    from collections.abc import Callable

MIB = 1 << 20
LIMITS = (
    *("--memory", "64m", "--pids-limit", "77", "--cpus", "0.5", "--cpuset-cpus", "0"),
    *("--cpu-shares", "1024"),
)
FILES = {
    "memory.max": str(64 * MIB),
    "pids.max": "77",
    "cpu.max": "50000 100000",
    "cpuset.cpus": "0",
    "cpu.weight": "100",
}
"""What the kernel has of `LIMITS`."""


def wait_for(what: Callable[[], object], seconds: float = 60.0) -> object:
    """Ask until the answer is true or the time is up."""
    until = time.monotonic() + seconds
    while not (answer := what()) and time.monotonic() < until:
        time.sleep(0.1)
    return answer


class Engine:
    """A command that begins with the same words, in an environment of its own unless that is None."""

    def __init__(self, words: list[str], unit: str = "", env: dict[str, str] | None = None) -> None:
        """Take the words; `unit` is where its containers' units are, with {} for the id, "" where nobody asks."""
        self.words, self.unit, self.env = words, unit, env

    def try_(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.words, *words], env=self.env, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True,
            check=False, timeout=240,
        )  # fmt: skip

    def __call__(self, *words: str) -> str:
        done = self.try_(*words)
        assert done.returncode == 0, f"{words}: {done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a container that goes with its program."""
        return self.try_("run", "--rm", "--network", "none", *words)

    def start(self, name: str, *options: str) -> Path:
        """Start a container that sleeps; return its cgroup."""
        self("run", "--detach", "--name", name, "--network", "none", *options, images.NAME, "sleep", "1000")
        ident, pid = self("inspect", "--format", "{{.Id}} {{.State.Pid}}", name).split()
        inside = Path(f"/proc/{pid}/cgroup").read_text().split("::", 1)[1].strip()
        assert inside.startswith(f"/{self.unit.format(ident)}"), inside
        return Path(f"/sys/fs/cgroup{inside}")


def live_a_day(engine: Engine) -> None:
    """Run, exec, pause, stop, start, remove."""
    said = engine.run(images.NAME, "sh", "-c", "echo $(id -u); cat /proc/self/cgroup")
    assert (said.returncode, said.stdout.splitlines()) == (0, ["0", "0::/"]), said.stderr
    assert engine.run(images.NAME, "sh", "-c", "exit 7").returncode == 7
    place = engine.start("day")
    assert engine("exec", "day", "sh", "-c", "cat /proc/1/cmdline | tr '\\0' ' '") == "sleep 1000"
    assert engine.try_("exec", "day", "sh", "-c", "exit 9").returncode == 9
    assert engine("ps", "--format", "{{.Names}} {{.Status}}").startswith("day Up ")
    engine("pause", "day")
    assert engine("inspect", "--format", "{{.State.Status}}", "day") == "paused"
    assert "frozen 1" in (place / "cgroup.events").read_text()
    engine("unpause", "day")
    engine("stop", "--time", "0", "day")
    assert engine("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", "day") == "exited 137"
    assert wait_for(lambda: not place.exists())
    engine("start", "day")
    engine("rm", "--force", "day")
    assert engine("ps", "--all", "--quiet") == ""
    assert wait_for(lambda: not place.exists())


def check_limits(place: Path) -> None:
    """Look for `LIMITS` in the kernel's files."""
    assert {name: (place / name).read_text().strip() for name in FILES} == FILES
