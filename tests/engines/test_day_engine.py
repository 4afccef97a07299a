"""The engine ends, or is killed, under running containers, with pyrunc beside runc."""

from __future__ import annotations

import signal

import images
import pytest
from day import action, until

pytestmark = [pytest.mark.engines, pytest.mark.timeout(300)]

ENDINGS = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])


def process(user, name):
    """Return the first process of a container as the box sees it, and when it began: numbers come again."""
    pid = user.inspect(name, "{{.State.Pid}}")
    return pid, user.box("sh", "-c", f"cut -d' ' -f22 /proc/{pid}/stat 2>/dev/null").out


def alive(user, known):
    return user.box("sh", "-c", f"cut -d' ' -f22 /proc/{known[0]}/stat 2>/dev/null").out == known[1]


@action(
    "dockerd ends or is killed, and starts again: containers end, --restart always runs again", on=("docker",)
)
@ENDINGS
def test_plain(user, number):
    ends = "trap 'exit 0' TERM; while :; do sleep .1; done"
    name, always = user.start(script=ends), user.start("--restart", "always", script=ends)
    before, first = process(user, name), process(user, always)
    user.engine.restart(number)
    assert until(lambda: user.inspect(name, "{{.State.Status}}") == "exited")
    assert until(lambda: not alive(user, before)), "what dockerd calls exited has exited"
    assert until(
        lambda: user.inspect(always, "{{.State.Status}}") == "running" and process(user, always) != first
    )
    assert not alive(user, first)
    assert user("exec", always, "echo", "on").out == "on\n"
    user("start", name)
    assert user("exec", name, "echo", "again").out == "again\n"


@pytest.fixture
def live(user):
    user.engine.configure({"live-restore": True})
    assert until(lambda: user("info", "--format", "{{.LiveRestoreEnabled}}").out == "true\n")
    yield user
    user.engine.configure({})


@action("live-restore: containers go on while dockerd is stopped or killed", on=("docker",))
@ENDINGS
def test_live(live, number):
    name = live.start(script="trap 'exit 6' TERM; i=0; while :; do i=$((i+1)); echo $i; sleep .1; done")
    before = process(live, name)
    assert until(lambda: live("logs", name).out)
    live.engine.stop(number)
    assert alive(live, before)
    live.engine.serve()
    assert process(live, name) == before
    seen = len(live("logs", name).out)
    assert until(lambda: len(live("logs", name).out) > seen)
    assert live("exec", name, "echo", "on").out == "on\n"
    live("stop", "-t", "5", name)
    assert live.inspect(name, "{{.State.Status}} {{.State.ExitCode}}") == "exited 6"


def row(user, name):
    """Return ctr's line on a task, as words."""
    return next((line.split() for line in user("task", "ls").out.splitlines() if line.startswith(name)), None)


@action("containerd ends or is killed, and starts again: containers go on", on=("containerd",))
@ENDINGS
def test_containerd(user, number):
    name = user.new_name()
    user("run", "--detach", images.NAME, name, "sleep", "1000")
    before = row(user, name)
    user.engine.stop(number)
    assert until(lambda: "sleep" in user.box("cat", f"/proc/{before[1]}/cmdline").out)
    user.engine.serve()
    try:
        assert until(lambda: row(user, name) == before), (before, row(user, name))
        assert user("task", "exec", "--exec-id", "x", name, "echo", "on").out == "on\n"
        user("task", "kill", "--signal", "KILL", name)
        assert until(lambda: "STOPPED" in user("task", "ls").out)
        assert "137" in user("task", "rm", name).err
    finally:
        user("task", "rm", "--force", name, code=None)
        user("container", "rm", name, code=None)
        user.made.clear()


@action(
    "a container's shim or conmon is killed: the engine removes what is left",
    on=("containerd", "docker", "podman"),
)
def test_monitor_is_killed(user):
    name, pid, monitor = started(user)
    user.box("kill", "-9", monitor)
    # the shim's death ends the container; without conmon it goes on, and is ended by its removal
    remove(user, name)
    assert until(lambda: user.box("test", "-e", f"/proc/{pid}").code)
    name, pid, _ = started(user)  # and the engine is well
    remove(user, name)
    assert until(lambda: user.box("test", "-e", f"/proc/{pid}").code)


def started(user):
    """Start a container: its name, its first process, and that one's parent."""
    name = user.new_name()
    more = (images.NAME, name) if user.engine.name == "containerd" else ("--name", name, images.NAME)
    user("run", "--detach", *more, "sleep", "1000")
    if user.engine.name == "containerd":
        pid = next(line.split()[1] for line in user("task", "ls").out.splitlines() if line.startswith(name))
    else:
        pid = user.inspect(name, "{{.State.Pid}}")
    return name, pid, user.box("ps", "-o", "ppid=", "-p", pid).out.strip()


def remove(user, name):
    if user.engine.name == "podman":
        whole = user.inspect(name, "{{.Id}}")
        # podman 5 fails the first time; podman 4 does not ask the runtime to delete what conmon would have asked it to
        assert until(lambda: user(*user.engine.remove, name, code=None).code == 0)
        assert user.box(user.engine.runtimes[user.runtime], "delete", "--force", whole).code == 0
    if user.engine.name != "containerd":
        user(*user.engine.remove, name, code=None)
        assert name not in user("ps", "--all", "--format", "{{.Names}}").out.split()
        return
    assert until(
        lambda: user("task", "rm", "--force", name, code=None).code == 0 or name not in user("task", "ls").out
    )
    user("container", "rm", name)
    user.made.remove(name)


@action("--restart unless-stopped, always", on=("docker", "podman"))
def test_restart_policies(user):
    name = user.start("--restart", "always", script="echo once; sleep .3; exit 0")
    assert until(lambda: user("logs", name).out.count("once") >= 3)
    user(*user.engine.remove, name)
    name = user.start("--restart", "unless-stopped", script="echo once; exec sleep 1000")
    user("stop", "-t", "0", name)
    assert user.inspect(name, "{{.State.Status}}") == "exited"
    assert user("logs", name).out == "once\n"
