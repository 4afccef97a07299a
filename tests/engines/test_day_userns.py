"""User namespaces that the engine arranges for all containers, and terminals that are left, with pyrunc beside runc."""

from __future__ import annotations

from pathlib import Path

import images
import pytest
from box import HOME
from day import action, until

pytestmark = [pytest.mark.engines, pytest.mark.timeout(300)]

RANGES = (("daemon", 100000, 65536), ("containers", 300000, 200000))
MAP = "cat /proc/self/uid_map"


@pytest.fixture
def subids(user):
    """Ranges for the engine, in files that only the box sees."""
    text = "".join(f"{name}:{first}:{count}\n" for name, first, count in RANGES)
    files = {"/etc/subuid": text, "/etc/subgid": text, "/etc/passwd": Path("/etc/passwd").read_text()}
    if "\ncontainers:" not in files["/etc/passwd"]:  # newer libsubid finds ranges of those whom it knows
        files["/etc/passwd"] += "containers:x:64000:65534::/nonexistent:/usr/sbin/nologin\n"
    for place, content in files.items():
        path = user.box.write(f"{HOME}/ids{place}", content)
        assert user.box("mount", "--bind", path, place).code == 0
    yield user
    for place in files:
        user.box("umount", place)


@pytest.fixture
def remapped(subids, archive):
    """dockerd that maps the ids of all containers; it keeps their images apart."""
    subids.engine.more = ["--userns-remap=daemon"]
    subids.engine.restart()
    if subids("images", "--quiet").out == "":
        subids("load", "--input", archive)
    yield subids
    subids.leave()
    subids.engine.more = []
    subids.engine.restart()


@action("userns-remap, --userns auto", on=("docker",))
def test_remap(remapped):
    user = remapped
    assert user.run(script=f"{MAP}; id -u; touch /x && echo wrote").out.split() == [
        "0",
        "100000",
        "65536",
        "0",
        "wrote",
    ]
    assert user.run("--userns", "host", script=MAP).out.split() == ["0", "0", "4294967295"]
    name = user.start("--user", "alice", "--volume", f"{user.new_name()}:/data", "--tmpfs", "/t")
    assert user("exec", name, "id", "-u").out == "1000\n"
    pid = user.inspect(name, "{{.State.Pid}}")
    assert user.box("stat", "-c", "%u", f"/proc/{pid}").out == "101000\n"
    assert user("exec", "--user", "root", name, "sh", "-c", "touch /data/x && echo wrote").out == "wrote\n"
    user("stop", "-t", "0", name)
    user("start", name)
    assert user("exec", name, "echo", "on").out == "on\n"


@action("userns-remap, --userns auto", on=("podman",))
def test_auto(subids):
    user = subids
    first, start, size = user.run("--userns", "auto:size=2000", script=MAP).out.split()
    assert (first, size) == ("0", "2000")
    assert 300000 <= int(start) < 500000
    name = user.start("--userns", "auto:size=65536", "--user", "alice", "--tmpfs", "/t")
    assert user("exec", name, "sh", "-c", "id -u; touch /t/x && echo wrote").out.split() == ["1000", "wrote"]
    script = "readlink /proc/self/ns/user"
    assert (
        user.run("--userns", f"container:{name}", script=script).out
        == user("exec", name, "sh", "-c", script).out
    )


@action("run --tty: left by its keys", on=("docker",))
def test_detach_keys(user):
    name = user.new_name()
    script = "echo ready; while read x; do echo got $x; done"
    words = ("run", "--interactive", "--tty", "--name", name, images.NAME, "sh", "-c", script)
    seen = user.on_terminal(*words, typed="\x10\x11")
    assert "ready" in seen.out
    assert user.inspect(name, "{{.State.Status}}") == "running"
    script = "echo hello >/proc/1/fd/1; echo there; read x; echo got $x"
    seen = user.on_terminal("exec", "-it", name, "sh", "-c", script, typed="on\n")
    assert "got on" in seen.out
    assert until(lambda: "hello" in user("logs", name).out)


@action("cpu, memory, pids and blkio as stats and inspect tell them")
def test_inspect(user):
    name = user.start("--memory", "32m", "--pids-limit", "50")
    form = "{{.HostConfig.Memory}} {{.HostConfig.PidsLimit}} {{.State.Running}} {{.State.Paused}}"
    assert user.inspect(name, form) == f"{32 << 20} 50 true false"
    seen = user("stats", "--no-stream", "--format", "{{.MemUsage}}|{{.BlockIO}}|{{.CPUPerc}}", name).out
    assert "33.55MB" in seen or "32MiB" in seen
    assert "%" in seen
