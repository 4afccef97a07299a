"""What callers of runc rely on when they look at, stop, change and watch containers; CLI.md has the ids."""

from __future__ import annotations

import os
import pathlib
import time

import pytest
from lib import host
from lib.runtime import poll

req = pytest.mark.req
TICKER = "i=0; while :; do i=$((i+1)); echo $i > /tick; sleep 0.02; done"


def ticking(runtime, bundle):
    """A container that counts in a file while it is not paused."""
    c = runtime.running(bundle.args("/bin/sh", "-c", TICKER))
    assert poll(lambda: count(c) > 0)
    return c


def count(container) -> int:
    path = container.bundle.rootfs / "tick"
    return int(path.read_text() or 0) if path.exists() else 0


def stands_still(container) -> bool:
    before = count(container)
    time.sleep(0.2)
    return count(container) == before


# ---- pause and resume ----


@req("CLI-PAUSE-1", "CLI-LOG-4", "ST-5")
def test_pause_and_resume(runtime, bundle):
    c = ticking(runtime, bundle)
    paused = runtime.ok("pause", c.id)
    assert c.status == "paused"
    assert "paused" in runtime.ok("list").out
    assert stands_still(c)
    resumed = runtime.ok("resume", c.id)
    assert c.status == "running"
    assert not stands_still(c)
    assert paused.said + resumed.said == ""


@req("CLI-PAUSE-1")
def test_pause_with_an_environment_of_nothing_but_xdg_runtime_dir(runtime, bundle):
    c = ticking(runtime, bundle)
    runtime.ok("pause", c.id, env={"XDG_RUNTIME_DIR": ""})
    assert c.status == "paused"
    runtime.ok("resume", c.id, env={"XDG_RUNTIME_DIR": ""})
    assert c.status == "running"


@req("CLI-PAUSE-2")
def test_pause_in_the_wrong_state(runtime, bundle):
    c = ticking(runtime, bundle)
    assert "not paused" in runtime.fails("resume", c.id).err
    runtime.ok("pause", c.id)
    c.stop()
    result = runtime.cmd("pause", c.id)
    assert result.code == 1
    assert "container not running" in result.err
    assert "container not paused" in runtime.cmd("resume", c.id).err
    assert "does not exist" in runtime.cmd("pause", f"{c.id}-no").err


@req("CLI-PAUSE-2")
def test_pause_of_a_paused_one(runtime, bundle):
    c = ticking(runtime, bundle)
    runtime.ok("pause", c.id)
    assert "container not running" in runtime.fails("pause", c.id).err
    assert c.status == "paused"


@req("CLI-PAUSE-3")
def test_kill_of_a_paused_one(runtime, bundle):
    c = ticking(runtime, bundle)
    pid = c.pid
    runtime.ok("pause", c.id)
    c.kill("KILL")
    c.wait(pid)
    c.delete()


@req("CLI-PAUSE-3")
def test_delete_of_a_paused_one(runtime, bundle):
    c = ticking(runtime, bundle)
    pid = c.pid
    runtime.ok("pause", c.id)
    result = runtime.fails("delete", c.id)
    assert f"cannot delete container {c.id} that is not stopped: paused" in result.err
    c.delete("--force")
    c.wait(pid)


@req("CLI-PAUSE-4")
def test_pause_of_a_created_one(runtime, bundle):
    c = runtime.create(bundle.args("/bin/sh", "-c", TICKER))
    runtime.ok("pause", c.id)
    assert c.status == "paused"
    assert "cannot start a container in the paused state" in runtime.fails("start", c.id).err
    runtime.ok("resume", c.id)
    assert c.status == "created"
    c.start()
    assert poll(lambda: count(c) > 0)


@req("CLI-PAUSE-1")
def test_pause_while_processes_are_made(runtime, bundle):
    """A cgroup in which tasks appear all the time is hard to freeze (v1): it takes more than one attempt."""
    c = runtime.running(
        bundle.args("/bin/sh", "-c", "while :; do /bin/true & /bin/true; echo 1 > /tick; done")
    )
    assert poll(lambda: count(c) > 0)
    for _ in range(5):
        runtime.ok("pause", c.id)
        assert c.status == "paused"
        runtime.ok("resume", c.id)
        assert c.status == "running"


# ---- ps ----


def two_processes(runtime, bundle):
    c = runtime.running(bundle.args("/bin/sh", "-c", "sleep 1000 & exec sleep 1001"))
    assert poll(lambda: len(host.cgroup_of(c.pid, "pids").joinpath("cgroup.procs").read_text().split()) == 2)
    return c


def pids_of(container) -> list[int]:
    return sorted(map(int, (host.cgroup_of(container.pid, "pids") / "cgroup.procs").read_text().split()))


@req("CLI-PS-1")
@pytest.mark.only_if("v1:pids", "tool:ps")
def test_ps_table(runtime, bundle):
    c = two_processes(runtime, bundle)
    result = runtime.ok("ps", c.id)
    header, *rows = result.out.splitlines()
    assert header.split() == ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
    assert sorted(int(row.split()[1]) for row in rows) == pids_of(c)
    assert result.err == ""
    assert runtime.ok("ps", "--format", "table", c.id).out.splitlines()[0] == header


@req("CLI-PS-2")
@pytest.mark.only_if("v1:pids")
@pytest.mark.parametrize("form", [["--format", "json"], ["-f", "json"], ["-format=json"]])
def test_ps_json(runtime, bundle, form):
    c = two_processes(runtime, bundle)
    result = runtime.ok("ps", *form, c.id)
    assert sorted(result.json()) == pids_of(c)
    assert result.out == "[" + ",".join(map(str, result.json())) + "]\n"


@req("CLI-PS-2")
@pytest.mark.only_if("v1:pids")
def test_ps_sees_cgroups_below(runtime, bundle):
    c = two_processes(runtime, bundle)
    for top in {
        str(host.cgroup_of(c.pid, k)) for k in ("pids", "devices", "freezer") if k in host.hierarchies()
    }:
        os.mkdir(f"{top}/below")
        (pathlib.Path(top) / "below/cgroup.procs").write_text(str(c.pid))
    assert c.pid in runtime.ok("ps", "--format", "json", c.id).json()


@req("CLI-PS-2", "CLI-PS-1")
@pytest.mark.only_if("tool:ps")
def test_ps_of_a_stopped_one(runtime, bundle):
    c = two_processes(runtime, bundle)
    c.stop()
    assert runtime.ok("ps", "--format", "json", c.id).out == "null\n"
    assert len(runtime.ok("ps", c.id).out.splitlines()) == 1


@req("CLI-PS-3")
@pytest.mark.only_if("v1:pids", "tool:ps")
def test_ps_options_are_those_of_ps(runtime, bundle):
    c = two_processes(runtime, bundle)
    header, *rows = runtime.ok("ps", c.id, "-e", "-x").out.splitlines()
    assert header.split() == ["PID", "TTY", "STAT", "TIME", "COMMAND"]
    assert len(rows) == 2
    header, *rows = runtime.ok("ps", c.id, "-e", "-f").out.splitlines()  # not our --format
    assert header.split()[:2] == ["UID", "PID"]
    assert len(rows) == 2


@req("CLI-PS-3")
@pytest.mark.only_if("v1:pids", "tool:ps")
def test_ps_finds_the_column_by_its_header(runtime, bundle):
    c = two_processes(runtime, bundle)
    header, *rows = runtime.ok("ps", c.id, "-eo", "ppid,pid,comm").out.splitlines()
    assert header.split() == ["PPID", "PID", "COMMAND"]
    assert sorted(int(row.split()[1]) for row in rows) == pids_of(c)
    assert "couldn't find PID field in ps output" in runtime.fails("ps", c.id, "-eo", "ppid,comm").err
    assert "exit status 1: error" in runtime.fails("ps", c.id, "--nonsense").err


@req("CLI-PS-4")
def test_ps_in_another_format(runtime, bundle):
    c = runtime.create(bundle)
    assert "invalid format option" in runtime.fails("ps", "--format", "xml", c.id).err
