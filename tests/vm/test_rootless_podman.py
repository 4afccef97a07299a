"""Podman of an ordinary user with a systemd of their own, and pyrunc below it: a day with each cgroup manager."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from engine import LIMITS, MEMORY, MIB, Engine, check_limits, images, live_a_day, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

PYRUNC = os.environ.get("RUNTIME", "/src/.venv/bin/pyrunc")
MANAGERS = ("systemd", "cgroupfs")
pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]


def session_users() -> list[int]:
    """Return the users with a systemd of their own; of the test machine's the first has more delegated."""
    found = Path("/run/user").glob("*/systemd/private")
    return sorted({int(socket.parent.parent.name) for socket in found} - {0})


class Podman(Engine):
    """One user's, in a scope of theirs, as in a terminal."""

    def __init__(self, uid: int) -> None:
        self.uid = uid
        entry = pwd.getpwuid(uid)
        self.become = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--init-groups"]
        env = {
            "PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": entry.pw_dir, "USER": entry.pw_name, "LC_ALL": "C.UTF-8",
            "XDG_RUNTIME_DIR": f"/run/user/{uid}", "DBUS_SESSION_BUS_ADDRESS": f"unix:path=/run/user/{uid}/bus",
        }  # fmt: skip
        super().__init__([], f"user.slice/user-{uid}.slice/user@{uid}.service/", env)
        self.manage(MANAGERS[0])

    def manage(self, manager: str) -> None:
        """Let `manager` make the cgroups from now on."""
        scope = ["systemd-run", "--user", "--scope", "--quiet", "--collect", "--"]
        self.words = [*self.become, *scope, "podman", "--runtime", PYRUNC, "--cgroup-manager", manager]

    def units(self) -> list[str]:
        """Return what is left of containers in the user's systemd."""
        done = subprocess.run(
            [*self.become, "systemctl", "--user", "list-units", "--all", "--plain", "--no-legend", "libpod-*"],
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
    tester.manage(request.param)
    yield tester
    tester("rm", "--all", "--force", "--time", "0")
    assert wait_for(lambda: not tester.units()), tester.units()


def test_a_day_of_a_container(podman: Podman) -> None:
    live_a_day(podman)


def test_top(tester: Podman) -> None:
    tester.start("top")
    assert "sleep 1000" in tester("top", "top", "args")
    tester("rm", "--force", "--time", "0", "top")


def test_limits(tester: Podman) -> None:
    """By the user's systemd; of podman's own accord there are none with cgroupfs, for an ordinary user."""
    tester.manage("systemd")
    place = tester.start("limits", *LIMITS)
    check_limits(place)
    tester("update", "--memory", "48m", "limits")
    assert place.read(MEMORY) == str(48 * MIB)
    told = json.loads(tester("stats", "--no-stream", "--format", "json", "limits"))
    assert told[0]["pids"] == "1"
    tester("rm", "--force", "--time", "0", "limits")


def test_what_was_not_delegated(users: list[int], tmp_path: Path) -> None:
    """A limit on a controller that the user's systemd does not have is an error; without it all is as ever."""
    plain = loaded(users[1], tmp_path)
    if "cpuset" in Path(f"/sys/fs/cgroup/user.slice/user-{plain.uid}.slice/user@{plain.uid}.service/cgroup.controllers"
                        ).read_text().split():  # fmt: skip
        pytest.skip("needs a user to whom systemd delegates less")
    refused = plain.run("--cpuset-cpus", "0", images.NAME, "true")
    assert refused.returncode != 0
    assert "cpuset" in refused.stderr
    there = plain.run("--pids-limit", "50", images.NAME, "echo", "there")
    assert (there.returncode, there.stdout) == (0, "there\n"), there.stderr
    assert wait_for(lambda: not plain.units()), plain.units()
