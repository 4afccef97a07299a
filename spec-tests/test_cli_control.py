"""What callers of runc rely on when they look at, stop, change and watch containers; CLI.md has the ids."""

from __future__ import annotations

import time

import pytest
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
