"""A command in a container that runs, with pyrunc beside runc."""

from __future__ import annotations

import pytest
from day import CAPS, action, until

pytestmark = pytest.mark.engines


@action("exec: user, env, workdir, exit code")
def test_exec(user):
    name = user.start()
    done = user("exec", "-u", "alice", "-e", "A=b", "-w", "/tmp", name, "sh", "-c", "id -un; echo $A; pwd")
    assert done.out == "alice\nb\n/tmp\n"
    user("exec", name, "sh", "-c", "exit 9", code=9)
    assert user("exec", "-i", name, "cat", data="in\n").out == "in\n"


@action("exec of what is not there: 126 or 127")
def test_exec_of_nothing(user):
    name = user.start()
    failed = user("exec", name, "/nope", code=None)
    assert failed.code in (
        (126, 127) if user.engine.name == "docker" else (127,)
    )  # docker says 126 before version 28
    assert "no such file or directory" in failed.out + failed.err
    failed = user("exec", name, "/etc", code=None)
    # podman reads "is a directory", of a runc of Go 1.20 and later, as a failure of its own
    assert failed.code == 126 or "is a directory" in failed.err


@action("exec --tty")
def test_exec_on_a_terminal(user):
    name = user.start()
    seen = user.on_terminal(
        "exec", "-it", name, "sh", "-c", "sleep 1; tty; stty size; read x; echo got $x", typed="word\n"
    )
    assert "/dev/pts/" in seen.out
    assert "40 100" in seen.out
    assert "got word" in seen.out


@action("exec --detach")
def test_exec_detached(user):
    name = user.start()
    user("exec", "-d", name, "sh", "-c", "echo x >/tmp/left; sleep 100")
    assert until(lambda: user("exec", name, "cat", "/tmp/left", code=None).out) == "x\n"


@action("exec --privileged")
def test_exec_privileged(user):
    name = user.start()
    plain, more = (int(user("exec", *w, name, "sh", "-c", CAPS).out, 16) for w in ((), ("--privileged",)))
    assert plain != more
    assert more & 1 << 21  # CAP_SYS_ADMIN
