"""Signals, pauses, restarts and limits, with pyrunc beside runc."""

from __future__ import annotations

import time

import pytest
from day import action, until

pytestmark = pytest.mark.engines


# ---- signals, pause ----


@action("stop, and its time limit")
def test_stop(user):
    trap = "trap 'exit 5' TERM; echo ready; while :; do sleep .1; done"
    for script, code in ((trap, "5"), ("trap '' TERM; echo ready; while :; do sleep .1; done", "137")):
        name = user.start(script=script)
        assert until(lambda name=name: user("logs", name).out)
        user("stop", "-t", "1", name)
        assert user.inspect(name, "{{.State.ExitCode}}") == code
        assert user.inspect(name, "{{.State.Status}}") == "exited"


@action("kill --signal")
def test_kill(user):
    script = "trap 'echo one' USR1; trap 'echo two; exit 0' USR2; echo ready; while :; do sleep .1; done"
    name = user.start(script=script)
    assert until(lambda: user("logs", name).out)
    user("kill", "--signal", "USR1", name)
    assert until(lambda: "one" in user("logs", name).out)
    user("kill", "--signal", "SIGUSR2", name)
    assert user("wait", name).out.strip() == "0"
    assert user("logs", name).out == "ready\none\ntwo\n"
    assert user("kill", name, code=None).code != 0


@action("restart")
def test_restart(user):
    name = user.start(script="echo once; exec sleep 1000")
    user("restart", "-t", "0", name)
    assert until(lambda: user("logs", name).out.count("once") == 2)
    assert user.inspect(name, "{{.State.Status}}") == "running"


@action("--restart on-failure")
def test_restart_policy(user):
    name = user.start("--restart", "on-failure:2", script="echo once; exit 1")
    assert until(lambda: user("logs", name).out.count("once") == 3)
    assert until(lambda: user.inspect(name, "{{.State.Status}}") == "exited")


@action("pause, unpause")
def test_pause(user):
    name = user.start(script="while :; do echo x >>/tmp/n; sleep .1; done")
    count = lambda: len(user("cp", f"{name}:/tmp/n", "-").out)  # noqa: E731
    user("pause", name)
    assert user.inspect(name, "{{.State.Status}}") == "paused"
    assert user("exec", name, "true", code=None).code != 0
    first = count()
    time.sleep(0.5)
    assert count() == first
    user("unpause", name)
    assert user.inspect(name, "{{.State.Status}}") == "running"
    assert until(lambda: len(user("exec", name, "cat", "/tmp/n").out) > 4)


# ---- limits ----


def limit_of(user, name, v1, v2):
    """Read a limit as the container sees it."""
    script = f"cat /sys/fs/cgroup/{v1} 2>/dev/null || cat /sys/fs/cgroup/{v2}"
    return user("exec", name, "sh", "-c", script).out.strip()


MEMORY = ("memory/memory.limit_in_bytes", "memory.max")


@action("update of limits")
def test_update(user):
    name = user.start("--memory", "32m", "--memory-swap", "32m")
    assert limit_of(user, name, *MEMORY) == str(32 << 20)
    user("update", "--memory", "64m", "--memory-swap", "64m", name)
    assert limit_of(user, name, *MEMORY) == str(64 << 20)


@action("limits: --memory, --cpus, --cpu-shares, --cpuset-cpus, --pids-limit")
def test_limits(user):
    name = user.start(
        "--memory", "32m", "--cpus", "0.5", "--cpu-shares", "512", "--cpuset-cpus", "0", "--pids-limit", "20"
    )  # fmt: skip
    assert limit_of(user, name, *MEMORY) == str(32 << 20)
    assert limit_of(user, name, "cpu/cpu.cfs_quota_us", "cpu.max").split()[0] == "50000"
    assert limit_of(user, name, "cpu/cpu.shares", "cpu.weight") in ("512", "20")
    assert limit_of(user, name, "cpuset/cpuset.cpus", "cpuset.cpus") == "0"
    assert limit_of(user, name, "pids/pids.max", "pids.max") == "20"


@action("the memory limit is hit: OOMKilled")
def test_oom(user):
    hog = "dd if=/dev/zero of=/dev/null bs=64M count=1"
    name = user.start("--memory", "16m", script=f"exec {hog}")
    assert user("wait", name).out.strip() == "137"
    # the engine learns of it by an event that may come after the exit of a first process
    name = user.start("--memory", "16m", script=f"{hog}; code=$?; sleep 1; exit $code")
    user("wait", name)
    assert user.inspect(name, "{{.State.OOMKilled}} {{.State.ExitCode}}") == "true 137"
