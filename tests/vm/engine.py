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
V2 = Path("/sys/fs/cgroup/cgroup.controllers").exists()
"""cgroup v2 alone."""
FILES = {
    True: {
        "memory.max": str(64 * MIB), "pids.max": "77", "cpu.max": "50000 100000", "cpuset.cpus": "0", "cpu.weight": "100",
    },
    False: {
        "memory.limit_in_bytes": str(64 * MIB), "pids.max": "77", "cpu.cfs_quota_us": "50000", "cpu.cfs_period_us": "100000",
        "cpuset.cpus": "0", "cpu.shares": "1024",
    },
}[V2]  # fmt: skip
"""What the kernel has of `LIMITS`."""
MEMORY = "memory.max" if V2 else "memory.limit_in_bytes"


def wait_for(what: Callable[[], object], seconds: float = 60.0) -> object:
    """Ask until the answer is true or the time is up."""
    until = time.monotonic() + seconds
    while not (answer := what()) and time.monotonic() < until:
        time.sleep(0.1)
    return answer


class Cgroup:
    """The cgroup of a process, in every hierarchy."""

    def __init__(self, pid: int | str) -> None:
        lines = [line.split(":", 2) for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()]
        self.paths = {name: path for _, names, path in lines for name in names.split(",")}
        self.path = self.paths["" if V2 else "pids"]
        self.name = self.path.rpartition("/")[2]

    def _file(self, name: str) -> Path:
        controller = "" if V2 else name.partition(".")[0]
        return Path(f"/sys/fs/cgroup/{controller}{self.paths[controller]}", name)

    def read(self, name: str) -> str:
        """Return what a file says."""
        return self._file(name).read_text().strip()

    def is_frozen(self) -> bool:
        return "frozen 1" in self.read("cgroup.events") if V2 else self.read("freezer.state") == "FROZEN"

    def exists(self) -> bool:
        """Tell whether it is there still, in any hierarchy of those with limits."""
        return any(self._file(name).exists() for name in (*FILES, *(() if V2 else ("freezer.state",))))


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

    def start(self, name: str, *options: str) -> Cgroup:
        """Start a container that sleeps; return its cgroup."""
        self("run", "--detach", "--name", name, "--network", "none", *options, images.NAME, "sleep", "1000")
        ident, pid = self("inspect", "--format", "{{.Id}} {{.State.Pid}}", name).split()
        place = Cgroup(pid)
        assert place.path.startswith(f"/{self.unit.format(ident)}"), place.path
        return place


def live_a_day(engine: Engine) -> None:
    """Run, exec, pause, stop, start, remove."""
    said = engine.run(images.NAME, "sh", "-c", "echo $(id -u); cat /proc/self/cgroup")
    first, *cgroups = said.stdout.splitlines()
    assert (said.returncode, first) == (0, "0"), said.stderr
    assert cgroups == ["0::/"] or not V2
    assert engine.run(images.NAME, "sh", "-c", "exit 7").returncode == 7
    place = engine.start("day")
    assert engine("exec", "day", "sh", "-c", "cat /proc/1/cmdline | tr '\\0' ' '") == "sleep 1000"
    assert engine.try_("exec", "day", "sh", "-c", "exit 9").returncode == 9
    assert engine("ps", "--format", "{{.Names}} {{.Status}}").startswith("day Up ")
    engine("pause", "day")
    assert engine("inspect", "--format", "{{.State.Status}}", "day") == "paused"
    assert place.is_frozen()
    engine("unpause", "day")
    engine("stop", "--time", "0", "day")
    assert engine("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", "day") == "exited 137"
    assert wait_for(lambda: not place.exists())
    engine("start", "day")
    engine("rm", "--force", "day")
    assert engine("ps", "--all", "--quiet") == ""
    assert wait_for(lambda: not place.exists())


def check_limits(place: Cgroup) -> None:
    """Look for `LIMITS` in the kernel's files."""
    assert {name: place.read(name) for name in FILES} == FILES
