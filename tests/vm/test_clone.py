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
    config["process"] |= {"terminal": False, "args": ["/bin/busybox", "sleep", "1000"]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    return tmp_path


@pytest.fixture
def traced(tmp_path: Path) -> Iterator[object]:
    """Return a function that runs a command of pyrunc, and gives the calls of clone3 and the writes to cgroup.procs."""
    root = ("--root", str(tmp_path / "state"))

    def run(*words: str) -> list[str]:
        file = tmp_path / "trace"
        command = ["strace", "-f", "-e", "trace=clone3,openat", "-o", file, PYRUNC, *root, *words]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        return [
            line
            for line in file.read_text().splitlines()
            if re.search(r"clone3\(|cgroup\.procs.*O_WRONLY", line)
        ]

    yield run
    subprocess.run([PYRUNC, *root, "delete", "--force", ID], check=True)


def test_processes_are_born_in_their_cgroup(bundle: Path, traced: object) -> None:
    for words in (("run", "--detach", "--bundle", str(bundle), ID), ("exec", ID, "/bin/busybox", "true")):
        calls = traced(*words)  # type: ignore[operator]
        assert any("CLONE_INTO_CGROUP" in call for call in calls), calls
        assert not any("cgroup.procs" in call for call in calls), calls
