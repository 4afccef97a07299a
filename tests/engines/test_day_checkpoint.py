"""Checkpoint and restore by each engine, where its criu works, with pyrunc beside runc."""

from __future__ import annotations

import images
import pytest
from day import action, until

pytestmark = pytest.mark.engines

ACTION = "checkpoint, restore"
COUNT = "i=0; while :; do i=$((i+1)); echo $i >/tmp/now && mv /tmp/now /tmp/n; sleep .1; done"


@pytest.fixture(autouse=True)
def criu(user):
    """Debian 12's criu fails on newer kernels."""
    checked = user.box("sh", "-c", "command -v criu >/dev/null && criu check")
    if checked.code:
        pytest.skip("needs a criu that works with this kernel")


def goes_on(read, before):
    """Whether the counter of the restored container has gone on where it was, and not begun anew."""
    assert until(read), "it runs"
    first = int(read())
    assert first >= before
    return until(lambda: int(read()) > first)


def start_from_checkpoint(user, name):
    """Docker hands the checkpoint to containerd, which refuses what it has from making it, until it has collected that."""
    started = lambda: user("start", "--checkpoint", "one", name, code=None)  # noqa: E731
    ended = []
    assert until(lambda: ended.append(started()) or "already exists" not in ended[-1].err, 30)
    assert ended[-1].code == 0, ended[-1].err


@action(ACTION)
def test_checkpoint(user):
    name = user.start(script=COUNT)
    read = lambda: user("exec", name, "cat", "/tmp/n", code=None).out  # noqa: E731
    assert until(lambda: read() and int(read()) > 5)
    before = int(read())
    if user.engine.name == "docker":
        user("checkpoint", "create", name, "one")
    else:
        user("container", "checkpoint", name)
    assert until(lambda: user.inspect(name, "{{.State.Status}}") == "exited")
    if user.engine.name == "docker":
        start_from_checkpoint(user, name)
    else:
        user("container", "restore", name)
    assert goes_on(read, before)
    user("kill", name)
    assert user("wait", name).out.strip() == "137"


@action(ACTION)
def test_checkpoint_that_goes_on(user):
    name = user.start(script=COUNT)
    read = lambda: user("exec", name, "cat", "/tmp/n", code=None).out  # noqa: E731
    assert until(lambda: read() and int(read()) > 2)
    if user.engine.name == "docker":
        user("checkpoint", "create", "--leave-running", name, "one")
    else:
        user("container", "checkpoint", "--leave-running", name)
    assert goes_on(read, 2)
    assert user.inspect(name, "{{.State.Status}}") == "running"


@action(ACTION, on=("containerd",))
def test_checkpoint_with_ctr(user):
    name, image = user.new_name(), f"localhost/checkpoint-{user.runtime}:1"
    user("run", "--detach", images.NAME, name, "sh", "-c", COUNT)
    words = ("task", "exec", "--exec-id", "x", name, "cat", "/tmp/n")
    read = lambda: user(*words, code=None).out  # noqa: E731
    try:
        assert until(lambda: read() and int(read()) > 5)
        before = int(read())
        user("container", "checkpoint", "--task", "--rw", name, image)
        remove(user, name)
        user("container", "restore", "--live", "--rw", name, image)
        assert goes_on(read, before)
    finally:
        remove(user, name)
        user("image", "rm", image, code=None)
        user.made.clear()


def remove(user, name):
    user("task", "rm", "--force", name, code=None)
    user("container", "rm", name, code=None)
