"""On cgroup v2 a container's processes are born in its cgroup, as strace(1) sees it."""

from __future__ import annotations

import json
import os
import platform
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
        lines = self.file.read_text().splitlines()
        return [line for line in lines if re.search(r"clone3\(|cgroup\.procs.*O_WRONLY", line)]

    def opened(self, *words: str) -> list[str]:
        """Run a command; return what the process itself has opened."""
        self.call(*words, prefix=("strace", "-e", "trace=openat", "-o", str(self.file)))
        return self.file.read_text().splitlines()


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


@pytest.mark.parametrize("command", ["create", "start", "exec", "update", "delete"])
def test_the_systemd_driver_is_in_the_snapshot(bundle: Path, traced: Traced, command: str) -> None:
    """What speaks to the bus takes longer to load than all the rest of a `create`."""
    if not os.path.isdir("/run/systemd/system") or platform.machine() != "x86_64":
        pytest.skip("needs systemd as the first process")
    traced.command.append("--systemd-cgroup")
    make, remove = ("create", "--bundle", str(bundle), ID), ("delete", "--force", ID)
    traced.call(*make)  # the first of all makes the snapshot
    if command == "create":
        traced.call(*remove)
    words = {"create": make, "exec": ("exec", ID, "/bin/busybox", "true"), "delete": remove}
    words["update"] = ("update", "--pids-limit", "50", ID)
    opened = traced.opened(*words.get(command, (command, ID)))

    assert any("snapshot" in line for line in opened), opened
    known = ("pyrunc/start.pyc", "jeepney/__init__.py")  # whether they are as they were
    assert [line for line in opened if ".py" in line and not any(name in line for name in known)] == []
