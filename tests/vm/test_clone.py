"""On cgroup v2 a container's processes are born in its cgroup, as strace(1) sees it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

PYRUNC = os.environ.get("RUNTIME", "pyrunc")
ID = f"born-{os.getpid()}"
pytestmark = [pytest.mark.root, pytest.mark.slow]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """Return a bundle that runs busybox."""
    if os.geteuid() != 0:
        pytest.skip("needs real root")
    if "cgroup2" not in {
        line.split()[2] for line in Path("/proc/mounts").read_text().splitlines() if "/sys/fs/cgroup " in line
    }:
        pytest.skip("needs cgroup v2 alone")
    (tmp_path / "rootfs/bin").mkdir(parents=True)
    shutil.copy("/bin/busybox", tmp_path / "rootfs/bin")
    subprocess.run([PYRUNC, "spec", "--bundle", tmp_path], check=True)
    config = json.loads((tmp_path / "config.json").read_text())
    config["process"] |= {"terminal": False, "args": ["/bin/busybox", "sh"]}  # its input is empty
    (tmp_path / "config.json").write_text(json.dumps(config))
    return tmp_path


class Traced:
    """pyrunc, with a state root of its own."""

    def __init__(self, tmp_path: Path) -> None:
        self.file = tmp_path / "trace"
        self.command = [PYRUNC, "--root", str(tmp_path / "state")]

    def call(self, *words: str, prefix: tuple[str, ...] = ()) -> None:
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
        subprocess.run([*prefix, *self.command, *words], check=True, timeout=100, **quiet)  # type: ignore[call-overload]

    def __call__(self, *words: str) -> list[str]:
        """Run a command; return its calls of clone3, and its writes to cgroup.procs."""
        self.call(*words, prefix=("strace", "-f", "-e", "trace=clone3,openat", "-o", str(self.file)))
        return [
            line
            for line in self.file.read_text().splitlines()
            if re.search(r"clone3\(|cgroup\.procs.*O_WRONLY", line)
        ]


@pytest.fixture
def traced(tmp_path: Path) -> Iterator[Traced]:
    """Return pyrunc below strace."""
    made = Traced(tmp_path)
    yield made
    made.call("delete", "--force", ID)


def test_processes_are_born_in_their_cgroup(bundle: Path, traced: Traced) -> None:
    """strace follows a container to its end, so that `exec` is looked at in one that it did not see begin."""
    born_there(traced("run", "--bundle", str(bundle), ID))
    traced.call("create", "--bundle", str(bundle), ID)
    born_there(traced("exec", ID, "/bin/busybox", "true"))


def born_there(calls: list[str]) -> None:
    assert any("CLONE_INTO_CGROUP" in call for call in calls), calls
    assert not any("cgroup.procs" in call for call in calls), calls
