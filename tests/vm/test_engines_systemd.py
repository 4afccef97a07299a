"""Docker, containerd and podman of root where systemd makes the cgroups, as on most hosts: a day with pyrunc below each."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from engine import LIMITS, MEMORY, MIB, V2, Cgroup, Engine, check_limits, images, live_a_day, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PYRUNC = os.environ.get("RUNTIME", "/src/.venv/bin/pyrunc")
PROPERTIES = {"TasksMax": "77", "CPUQuotaPerSecUSec": "500ms"} | (
    {"MemoryMax": str(64 * MIB), "AllowedCPUs": "0", "CPUWeight": "100"}
    if V2
    else {"MemoryLimit": str(64 * MIB), "CPUShares": "1024"}
)
"""What systemd knows of `LIMITS`."""
pytestmark = [pytest.mark.root, pytest.mark.timeout(900)]


def systemctl(*words: str) -> str:
    done = subprocess.run(["systemctl", *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def scopes() -> list[str]:
    """Return the units of containers that systemd still knows."""
    listed = systemctl("list-units", "--all", "--plain", "--no-legend", "docker-*", "libpod-*", "cri-*")
    return [line.split()[0] for line in listed.splitlines()]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if os.geteuid() != 0 or not os.path.isdir("/run/systemd/system"):
        pytest.skip("needs systemd as the first process")
    if not all(map(shutil.which, ("dockerd", "docker", "containerd", "ctr", "podman", "conmon"))):
        pytest.skip("needs Docker, containerd, podman")
    path = tmp_path_factory.mktemp("engines") / "image.tar"
    images.write_archive(path)
    return path


@pytest.fixture(scope="module")
def docker(archive: Path) -> Iterator[Engine]:
    """A dockerd of our own, which asks systemd for cgroups: by default with cgroup v2."""
    home = archive.parent / "docker"
    home.mkdir()
    socket = f"unix://{home}/docker.sock"
    config: dict[str, object] = {"runtimes": {"pyrunc": {"path": PYRUNC}}, "default-runtime": "pyrunc"}
    if not V2:
        config["exec-opts"] = ["native.cgroupdriver=systemd"]
    (home / "daemon.json").write_text(json.dumps(config))
    command = [
        "dockerd",
        f"--data-root={home}/root",
        f"--exec-root={home}/exec",
        f"--pidfile={home}/pid",
        f"--host={socket}",
    ]
    command += [
        f"--config-file={home}/daemon.json",
        "--storage-driver=vfs",
        "--bridge=none",
        "--iptables=false",
        "--ip-forward=false",
    ]
    with (home / "log").open("w") as log:
        daemon = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        engine = Engine(["docker", "--host", socket], "system.slice/docker-{}.scope")
        try:
            assert wait_for(lambda: engine.try_("version").returncode == 0, 120), (home / "log").read_text()[
                -3000:
            ]
            engine("load", "--input", str(archive))
            yield engine
            left = engine("ps", "--all", "--quiet").split()
            if left:
                engine("rm", "--force", *left)
        finally:
            daemon.terminate()
            daemon.wait(60)


@pytest.fixture(scope="module")
def podman(archive: Path) -> Iterator[Engine]:
    home = archive.parent / "podman"
    command = [
        "podman",
        "--root",
        f"{home}/root",
        "--runroot",
        f"{home}/run",
        "--tmpdir",
        f"{home}/tmp",
        "--storage-driver",
        "vfs",
    ]
    engine = Engine(
        [*command, "--runtime", PYRUNC, "--cgroup-manager", "systemd"], "machine.slice/libpod-{}.scope"
    )
    engine("load", "--input", str(archive))
    yield engine
    engine("rm", "--all", "--force", "--time", "0")


@pytest.fixture(params=["docker", "podman"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    found: Engine = request.getfixturevalue(request.param)
    yield found
    assert wait_for(lambda: not scopes()), scopes()


def test_docker_asks_systemd(docker: Engine) -> None:
    told = docker("info", "--format", "{{.CgroupDriver}} {{.CgroupVersion}} {{.DefaultRuntime}}")
    assert told == f"systemd {2 if V2 else 1} pyrunc"


def test_a_day_of_a_container(engine: Engine) -> None:
    live_a_day(engine)


def test_limits_are_systemds_too(engine: Engine) -> None:
    """In the files and in the unit: else a reload of systemd would take them back."""
    place = engine.start("limits", *LIMITS)
    systemctl("daemon-reload")
    check_limits(place)
    shown = systemctl("show", place.name, f"--property={','.join(PROPERTIES)}")
    assert dict(line.split("=", 1) for line in shown.splitlines()) == PROPERTIES
    engine("update", "--memory", "48m", "--memory-swap", "96m", "limits")
    systemctl("daemon-reload")
    assert place.read(MEMORY) == str(48 * MIB)
    assert engine("stats", "--no-stream", "--format", "{{.PIDs}}", "limits") == "1"
    engine("rm", "--force", "limits")


def test_devices_after_a_reload(docker: Engine) -> None:
    """systemd loads its own device program anew; what the engine forbids stays forbidden, what it allows allowed."""
    docker.start("devices")
    for _ in range(2):
        assert docker("exec", "devices", "sh", "-c", "head -c 3 /dev/zero | wc -c") == "3"
        opened = docker.try_("exec", "devices", "sh", "-c", "rm -f /mem; mknod /mem c 1 1 && cat /mem")
        assert opened.returncode != 0
        assert "not permitted" in opened.stderr
        systemctl("daemon-reload")
    docker("rm", "--force", "devices")


def test_containerd_as_kubernetes_asks(docker: Engine, archive: Path) -> None:
    """SystemdCgroup = true: a cgroupsPath of slice, prefix and name, and containers of a pod in a slice of its own."""
    ctr = Engine(["ctr", "--address", f"{archive.parent}/docker/exec/containerd/containerd.sock"])
    ctr("images", "import", "--snapshotter", "native", str(archive))
    name, pod = "ctr-one", "kubepods-burstable-podone.slice"
    ctr(
        "run", "--detach", "--snapshotter", "native", "--runc-binary", PYRUNC, "--runc-systemd-cgroup", "--memory-limit",
        str(32 * MIB), "--cgroup", f"{pod}:cri:{name}", images.NAME, name, "sleep", "1000",
    )  # fmt: skip
    pid = ctr("task", "ls").splitlines()[1].split()[1]
    place = Cgroup(pid)
    assert place.path == f"/kubepods.slice/kubepods-burstable.slice/{pod}/cri-{name}.scope"
    assert place.read(MEMORY) == str(32 * MIB)
    assert ctr("task", "exec", "--exec-id", "e", name, "echo", "on") == "on"
    ctr("task", "kill", "--signal", "KILL", name)
    assert wait_for(lambda: "STOPPED" in ctr("task", "ls"))
    ctr("task", "rm", name)
    ctr("container", "rm", name)
    assert wait_for(lambda: not scopes()), scopes()
    systemctl("stop", "kubepods.slice")
