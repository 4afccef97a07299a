"""What callers that were written for crun, or for systemd, give and expect; CLI.md has the ids."""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import socket
import subprocess

import pytest
from lib.console import Receiver
from lib.runtime import new_id, poll

req = pytest.mark.req
ENV = {"PATH": os.environ["PATH"]}


@pytest.fixture
def receiver(runtime):
    made = Receiver(runtime.work / "receiver.sock")
    yield made
    made.close()


def pid_behind(fd: int) -> int:
    info = pathlib.Path(f"/proc/self/fdinfo/{fd}").read_text()
    return int(next(line.split()[1] for line in info.splitlines() if line.startswith("Pid:")))


def needs(result, word: str) -> None:
    """Skip where the runtime does not know an option at all."""
    if any(text in result.said for text in ("not defined", "unrecognized option", "No help topic")):
        pytest.skip(f"needs a runtime with {word}")
    assert result.code == 0, str(result)


# ---- pidfds ----


@req("CLI-PIDFD-1")
def test_the_pidfd_of_an_exec(runtime, bundle, receiver, tmp_path):
    c = runtime.running(bundle.args("/bin/sleep", "60"))
    file = tmp_path / "pid"
    command = (
        "exec",
        "--detach",
        "--pid-file",
        file,
        "--pidfd-socket",
        receiver.path,
        c.id,
        "/bin/sleep",
        "60",
    )
    needs(runtime.cmd(*command), "exec --pidfd-socket")
    pid = int(file.read_text())
    assert pid_behind(receiver.receive()) == pid
    assert receiver.name == b"setns"
    os.kill(pid, signal.SIGKILL)
    c.reap(pid)


@req("CLI-PIDFD-1")
def test_a_pidfd_by_annotation(runtime, bundle, receiver):
    bundle.set("annotations", {"run.oci.pidfd_receiver": str(receiver.path)})
    c = runtime.create(bundle)
    with contextlib.suppress(TimeoutError):
        assert pid_behind(receiver.receive()) == c.pid
        return
    pytest.skip("needs the annotation run.oci.pidfd_receiver, which runc has not")


@req("CLI-PIDFD-1")
def test_nobody_wants_the_pidfd(runtime, bundle):
    bundle.write()
    with runtime.assert_untouched():
        result = runtime.cmd(
            "create", "--bundle", bundle.path, "--pidfd-socket", runtime.work / "nobody", new_id()
        )
        assert result.code != 0
        assert result.err.strip()


# ---- sd_notify ----


class Manager:
    """The service manager's socket."""

    def __init__(self, path):
        self.path = str(path)
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(self.path)
        self.sock.settimeout(5)

    def hear(self) -> bytes:
        """Everything up to the barrier, which is answered; b"" of what never comes."""
        said = b""
        with contextlib.suppress(TimeoutError):
            while b"BARRIER=" not in said:
                text, fds, *_ = socket.recv_fds(self.sock, 4096, 4)
                said += text
                for fd in fds:
                    os.close(fd)
        return said


@pytest.fixture
def manager(tmp_path):
    made = Manager(tmp_path / "manager")
    yield made
    made.sock.close()


def say(container, *messages: bytes) -> None:
    """Speak to the container's socket as its program would."""
    inside = pathlib.Path(f"/proc/{container.pid}/root/run/notify/notify.sock")
    assert poll(inside.exists)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.connect(str(inside))
        for message in messages:
            sender.send(message)


@req("CLI-NOTIFY-1")
@pytest.mark.parametrize("detach", [True, False], ids=["detached", "foreground"])
def test_ready_of_a_run(runtime, bundle, manager, detach):
    """A detached run returns once the program is ready; a foreground one is the service itself."""
    from lib.runtime import Container

    bundle.args("/bin/sh", "-c", "echo $NOTIFY_SOCKET; exec sleep 60").write()
    c = Container(runtime, new_id(), bundle)
    options = ["--detach"] if detach else []
    with c.out_path.open("wb") as out, c.err_path.open("wb") as err:
        process = runtime.spawn(
            *runtime.options, "run", *options, "--bundle", bundle.path, c.id,
            env=ENV | {"NOTIFY_SOCKET": manager.path}, out=out, err=err,
        )  # fmt: skip
    assert poll(lambda: c.out_path.read_text() == "/run/notify/notify.sock\n")
    assert process.poll() is None
    say(c, b"STATUS=x", b"READY=1\n")
    said = manager.hear()
    assert b"READY=1\n" in said
    assert b"STATUS" not in said
    pid = c.pid
    assert f"MAINPID={pid if detach else process.pid}\n".encode() in said
    if detach:
        assert runtime.wait(process) == 0
    c.kill("KILL")
    if detach:
        c.reap(pid)
    else:
        assert runtime.wait(process) == 137


@req("CLI-NOTIFY-1")
def test_a_program_that_ends_before_it_is_ready(runtime, bundle, manager):
    bundle.args("/bin/true").write()
    result = runtime.cmd(
        "run", "--detach", "--bundle", bundle.path, new_id(),
        env=ENV | {"NOTIFY_SOCKET": manager.path},
    )  # fmt: skip
    assert result.code == 0


# ---- crun's options and annotations ----


@req("CLI-CRUN-1")
def test_another_name_for_the_config(runtime, bundle):
    bundle.args("/bin/echo", "other").write()
    (bundle.path / "config.json").rename(bundle.path / "other.json")
    result = runtime.cmd("run", "--config", "other.json", "--bundle", bundle.path, new_id(), cwd=bundle.path)
    needs(result, "--config")
    assert result.out == "other\n"


@req("CLI-CRUN-2")
def test_log_level(runtime, bundle):
    bundle.set("process.capabilities.bounding", ["CAP_NO_SUCH"]).args("/bin/true").write()
    result = runtime.raw("--log-level", "error", *runtime.options, "run", "--bundle", bundle.path, new_id())
    needs(result, "--log-level")
    assert result.err == ""
    assert runtime.raw("--log-level", "loud", *runtime.options, "list").code != 0


@req("CLI-CRUN-3")
def test_the_callers_groups_are_kept(runtime, bundle):
    bundle.set("annotations", {"run.oci.keep_original_groups": "1"}).args("/bin/busybox", "id", "-G").write()
    command = [runtime.path, *runtime.options, "run", "--bundle", bundle.path, new_id()]
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=True, extra_groups=[7, 4711]
    )
    if done.stdout.split() == ["0"]:
        pytest.skip("needs the annotation run.oci.keep_original_groups, which runc has not")
    assert set(done.stdout.split()) == {"0", "7", "4711"}


@req("CLI-CRUN-4")
def test_output_of_hooks(runtime, bundle, tmp_path):
    names = {f"run.oci.hooks.{name}": str(tmp_path / name) for name in ("stdout", "stderr")}
    bundle.set("annotations", names).hook("createRuntime", "/bin/sh", "-c", "echo out; echo err >&2")
    bundle.hook("poststop", "/bin/sh", "-c", "echo more")
    runtime.run(bundle.args("/bin/true"))
    if not (tmp_path / "stdout").exists():
        pytest.skip("needs the annotation run.oci.hooks.stdout, which runc has not")
    assert (tmp_path / "stdout").read_text() == "out\nmore\n"
    assert (tmp_path / "stderr").read_text() == "err\n"


@req("CLI-CRUN-4")
def test_output_of_the_last_hook(runtime, bundle, tmp_path):
    """startContainer runs when the runtime has nothing left to do but to wait."""
    bundle.set("annotations", {"run.oci.hooks.stdout": str(tmp_path / "stdout")})
    bundle.hook("createRuntime", "/bin/echo", "first").hook("startContainer", "/bin/busybox", "echo", "last")
    runtime.run(bundle.args("/bin/true"))
    if not (tmp_path / "stdout").exists():
        pytest.skip("needs the annotation run.oci.hooks.stdout, which runc has not")
    assert (tmp_path / "stdout").read_text() == "first\nlast\n"
