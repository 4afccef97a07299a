"""Podman of an ordinary user with a systemd of their own, and pyrunc below it: a day with each cgroup manager."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "engines"))
import images

if TYPE_CHECKING:
    from collections.abc import Iterator

PYRUNC = os.environ.get("RUNTIME", "/src/.venv/bin/pyrunc")
MANAGERS = ("systemd", "cgroupfs")
MIB = 1 << 20
pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]


def session_users() -> list[int]:
    """Return the users with a systemd of their own; of the test machine's the first has more delegated."""
    found = Path("/run/user").glob("*/systemd/private")
    return sorted({int(socket.parent.parent.name) for socket in found} - {0})


class Podman:
    """One user's."""

    def __init__(self, uid: int) -> None:
        self.uid = uid
        entry = pwd.getpwuid(uid)
        self.env = {
            "PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": entry.pw_dir, "USER": entry.pw_name, "LC_ALL": "C.UTF-8",
            "XDG_RUNTIME_DIR": f"/run/user/{uid}", "DBUS_SESSION_BUS_ADDRESS": f"unix:path=/run/user/{uid}/bus",
        }  # fmt: skip
        self.manager = MANAGERS[0]

    def try_(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run podman in a scope of the user's, as in a terminal."""
        become = ["setpriv", f"--reuid={self.uid}", f"--regid={self.uid}", "--init-groups"]
        scope = ["systemd-run", "--user", "--scope", "--quiet", "--collect", "--"]
        command = ["podman", "--runtime", PYRUNC, "--cgroup-manager", self.manager, *words]
        return subprocess.run(
            [*become, *scope, *command],
            env=self.env, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=240,
        )  # fmt: skip

    def __call__(self, *words: str) -> str:
        done = self.try_(*words)
        assert done.returncode == 0, f"{words}: {done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def start(self, name: str, *options: str) -> Path:
        """Start a container that sleeps; return its cgroup."""
        self("run", "--detach", "--name", name, "--network", "none", *options, images.NAME, "sleep", "1000")
        return self.cgroup(name)

    def cgroup(self, name: str) -> Path:
        pid = int(self("inspect", "--format", "{{.State.Pid}}", name))
        return Path("/sys/fs/cgroup" + Path(f"/proc/{pid}/cgroup").read_text().split("::", 1)[1].strip())

    def units(self) -> list[str]:
        """Return what is left of containers in the user's systemd."""
        done = subprocess.run(
            ["setpriv", f"--reuid={self.uid}", f"--regid={self.uid}", "--init-groups",
             "systemctl", "--user", "list-units", "--all", "--plain", "--no-legend", "libpod-*"],
            env=self.env, capture_output=True, text=True, check=True,
        )  # fmt: skip
        return [line.split()[0] for line in done.stdout.splitlines()]


def loaded(uid: int, tmp: Path) -> Podman:
    podman = Podman(uid)
    archive = tmp / "image.tar"
    images.write_archive(archive)
    archive.chmod(0o644)
    for above in (tmp, *tmp.parents):
        above.chmod(above.stat().st_mode | 0o011)
    podman("load", "--input", str(archive))
    return podman


@pytest.fixture(scope="module")
def users() -> list[int]:
    if os.geteuid() != 0:
        pytest.skip("needs real root")
    found = session_users()
    if len(found) < 2 or not os.path.isdir("/run/systemd/system"):
        pytest.skip("needs systemd as the first process and 2 ordinary users with a systemd of their own")
    return found


@pytest.fixture(scope="module")
def tester(users: list[int], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    podman = loaded(users[0], tmp_path_factory.mktemp("podman"))
    yield podman
    podman("rm", "--all", "--force", "--time", "0")


@pytest.fixture(params=MANAGERS)
def podman(tester: Podman, request: pytest.FixtureRequest) -> Iterator[Podman]:
    tester.manager = request.param
    yield tester
    tester("rm", "--all", "--force", "--time", "0")
    assert wait_for(lambda: not tester.units()), tester.units()


def wait_for(what: object, seconds: float = 10.0) -> object:
    """Ask until the answer is true or the time is up."""
    until = time.monotonic() + seconds
    while not (answer := what()) and time.monotonic() < until:  # type: ignore[operator]
        time.sleep(0.05)
    return answer


def test_a_day_of_a_container(podman: Podman) -> None:
    assert podman("run", "--rm", "--network", "none", images.NAME, "sh", "-c", "echo $(id -u)") == "0"
    assert podman.try_("run", "--rm", "--network", "none", images.NAME, "sh", "-c", "exit 7").returncode == 7
    place = podman.start("day")
    assert f"user@{podman.uid}.service" in str(place)
    assert podman("exec", "day", "sh", "-c", "cat /proc/1/cmdline | tr '\\0' ' '") == "sleep 1000"
    assert podman.try_("exec", "day", "sh", "-c", "exit 9").returncode == 9
    assert podman("ps", "--format", "{{.Names}} {{.Status}}").startswith("day Up ")
    assert "sleep 1000" in podman("top", "day", "args")
    podman("pause", "day")
    assert podman("inspect", "--format", "{{.State.Status}}", "day") == "paused"
    podman("unpause", "day")
    podman("stop", "--time", "0", "day")
    assert podman("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", "day") == "exited 137"
    podman("start", "day")
    podman("rm", "--force", "--time", "0", "day")
    assert podman("ps", "--all", "--quiet") == ""


def test_limits(tester: Podman) -> None:
    """By the user's systemd; of podman's own accord there are none with cgroupfs, for an ordinary user."""
    tester.manager = "systemd"
    place = tester.start(
        "limits",
        "--memory",
        "64m",
        "--pids-limit",
        "77",
        "--cpus",
        "0.5",
        "--cpuset-cpus",
        "0",
        "--cpu-shares",
        "1024",
    )
    names = ("memory.max", "pids.max", "cpu.max", "cpuset.cpus", "cpu.weight")
    assert [(place / name).read_text().strip() for name in names] == [
        str(64 * MIB),
        "77",
        "50000 100000",
        "0",
        "100",
    ]
    tester("update", "--memory", "48m", "limits")
    assert (place / "memory.max").read_text().strip() == str(48 * MIB)
    told = json.loads(tester("stats", "--no-stream", "--format", "json", "limits"))
    assert told[0]["pids"] == "1"
    tester("rm", "--force", "--time", "0", "limits")


def test_what_was_not_delegated(users: list[int], tmp_path: Path) -> None:
    """A limit on a controller that the user's systemd does not have is an error; without it all is as ever."""
    plain = loaded(users[1], tmp_path)
    if "cpuset" in Path(f"/sys/fs/cgroup/user.slice/user-{plain.uid}.slice/user@{plain.uid}.service/cgroup.controllers"
                        ).read_text().split():  # fmt: skip
        pytest.skip("needs a user to whom systemd delegates less")
    options = ("run", "--rm", "--network", "none", "--cpuset-cpus", "0", images.NAME, "true")
    refused = plain.try_(*options)
    assert refused.returncode != 0
    assert "cpuset" in refused.stderr
    assert (
        plain("run", "--rm", "--network", "none", "--pids-limit", "50", images.NAME, "echo", "there")
        == "there"
    )
    assert wait_for(lambda: not plain.units()), plain.units()
