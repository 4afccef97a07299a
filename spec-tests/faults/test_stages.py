"""Hooks, mounts and programs that fail: what was begun is undone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from lib.faults import failing, gone
from lib.runtime import new_id

if TYPE_CHECKING:
    from lib.hooks import Log

fault, req = pytest.mark.fault, pytest.mark.req


@fault("F12")
@req("LC-13", "HK-17")
@pytest.mark.parametrize("stage", ["prestart", "createRuntime", "createContainer"])
def test_failing_hook_of_run(runtime, bundle, hooks: Log, stage):
    hooks.hook(stage, "exit", "1")
    hooks.hook("poststop", "exit", "1", tag="-1")
    hooks.hook("poststop", tag="-2")
    ident = new_id()
    result = runtime.try_run(bundle.probe("say", "ran"), ident=ident)
    assert result.code != 0
    assert "ran" not in result.out.split()
    assert hooks.ran() == [stage, "poststop-1", "poststop-2"]
    assert gone(runtime, ident) == []


@fault("F12")
@req("LC-9", "LC-7")
@pytest.mark.parametrize("stage", ["startContainer", "poststart"])
def test_failing_hook_of_start_in_run(runtime, bundle, hooks: Log, stage):
    hooks.hook(stage, "exit", "1")
    hooks.hook("poststop")
    ident = new_id()
    result = runtime.try_run(bundle.probe("hold"), ident=ident, timeout=8)
    assert result.code != 0
    assert sorted(hooks.ran()) == sorted([stage, "poststop"])
    assert gone(runtime, ident) == []


@fault("F13")
@req("ER-1")
def test_failing_mount_in_run(runtime, bundle):
    with runtime.assert_untouched():
        assert runtime.try_run(bundle.mount("/x", "nosuchfs")).code == 1


@req("ER-1", "CLI-PIDFILE-1")
def test_no_pid_file_of_a_program_that_could_not_be_run(runtime, bundle):
    """Found, but refused by execve: by then the pid file may have been written."""
    script = bundle.rootfs / "run.sh"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    pid_file = runtime.work / "late.pid"
    bundle.args("/run.sh").write()
    result = runtime.raw(*runtime.options, "run", "--pid-file", pid_file, "--bundle", bundle.path, new_id())
    assert result.code != 0
    assert not pid_file.exists()


@fault("F20")
@req("ER-1")
@pytest.mark.parametrize("socket", ["absent", "closed", "file"])
def test_console_socket_without_a_receiver(runtime, bundle, console, socket):
    bundle.set("process.terminal", True)
    path = runtime.work / "no.sock"
    if socket == "closed":
        path = console.path
        console.close()
    elif socket == "file":
        path.write_text("")
    ident = new_id()
    with runtime.assert_untouched():
        bundle.write()
        result = runtime.cmd("create", "--bundle", bundle.path, "--console-socket", path, ident, timeout=10)
        assert result.code != 0
        assert result.err.strip()


CALLS = [
    ("openat2", "EAGAIN", (1, 2, 5)),
    ("mkdir,mkdirat", "ENOSPC", (1, 2, 3, 5, 8)),
    ("mount,fsmount,move_mount", "ENOMEM", (1, 2, 4, 7)),
    ("clone,clone3,fork,vfork", "EAGAIN", (1,)),
    ("rename,renameat,renameat2", "EIO", (1, 2)),
    ("memfd_create", "ENOMEM", (1,)),
    ("pivot_root", "EINVAL", (1,)),
    ("socketpair,pipe2", "EMFILE", (1, 2)),
    ("write", "ENOSPC", (1, 2, 3, 5)),
    ("write", "EINTR", (1, 2, 3)),
    ("recvmsg,sendmsg,recvfrom,sendto", "EINTR", (1, 2, 3)),
    ("capset", "EPERM", (1,)),
    ("execve", "EIO", (2,)),
]


@fault("F21")
@req("ER-1")
@pytest.mark.only_if("tool:strace")
@pytest.mark.parametrize(("calls", "errno", "whens"), CALLS, ids=lambda value: str(value).replace(",", "-"))
def test_system_call_that_fails(runtime, bundle, calls, errno, whens):
    """`run` succeeds none the less, or fails in words and leaves nothing."""
    bundle.args("/bin/true")
    for when in whens:
        ident = new_id()
        result = runtime.try_run(bundle, ident=ident, prefix=failing(calls, errno, when), timeout=15)
        assert "Traceback" not in result.said, (when, result.said)
        assert "goroutine" not in result.said, (when, result.said)
        assert result.code == 0 or result.err.strip() or calls == "write", when  # the message is a write, too
        runtime.cmd("delete", "--force", ident)
        assert gone(runtime, ident) == [], (when, result.said)
