"""What callers of runc rely on when they create, start, kill, delete and run; CLI.md has the ids."""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import socket
import subprocess

import pytest
from lib.console import Receiver
from lib.probe import seen_in
from lib.runtime import ENV, new_id, orphans, poll, process_state

fault, req, cve = pytest.mark.fault, pytest.mark.req, pytest.mark.cve


# ---- create, start, kill, delete ----


@req("CLI-CREATE-1", "CLI-LOG-4")
def test_create_and_start_say_nothing(runtime, bundle):
    c = runtime.create(bundle.probe("quiet", "hold"))
    started = c.start()
    assert c.out + c.err + started.said == ""


@req("CLI-CREATE-2")
def test_texts_about_the_id(runtime, bundle):
    c = runtime.create(bundle)
    assert "container with given ID already exists" in runtime.try_create(bundle, c.id).err
    assert "container id cannot be empty" in runtime.try_create(bundle, "").err
    for wrong in ("a/b", "..", "a b"):
        assert "invalid container ID format" in runtime.try_create(bundle, wrong).err


@req("CLI-PIDFILE-1")
@pytest.mark.parametrize("command", ["create", "run"])
def test_pid_file(runtime, bundle, command):
    if command == "create":
        c = runtime.create(bundle.probe("hold"), "--pid-file", "pid")
    else:
        c = runtime.detached(bundle.probe("hold"), "--pid-file", "pid")
    assert (runtime.work / "pid").read_text() == str(c.pid)


@req("CLI-PIDFILE-1")
def test_no_pid_file_after_a_failure(runtime, bundle):
    runtime.try_create(bundle.args("/no/such/program"), None, "--pid-file", runtime.work / "pid")
    assert not list(runtime.work.glob("*pid*"))


@fault("F20")
@req("CLI-PIDFILE-1", "ER-1")
def test_pid_file_that_cannot_be_written(runtime, bundle):
    with runtime.assert_untouched():
        assert runtime.try_create(bundle, None, "--pid-file", runtime.work / "absent/pid").code != 0


@fault("F02", "F05b")
@req("CLI-START-1")
def test_texts_of_start(runtime, bundle):
    c = runtime.running(bundle.probe("hold"))
    assert "cannot start an already running container" in runtime.cmd("start", c.id).err
    c.stop()
    assert "cannot start a container that has stopped" in runtime.cmd("start", c.id).err


@req("CLI-START-2")
def test_nobody_holds_the_output_of_start(runtime, bundle):
    c = runtime.create(bundle.probe("hold"))
    process = runtime.spawn(*runtime.options, "start", c.id, out=subprocess.PIPE, err=subprocess.STDOUT)
    try:
        assert process.communicate(timeout=5)[0] == b""  # waits until every holder has closed it
    finally:
        runtime.wait(process)
    assert c.status == "running"


@req("CLI-KILL-1")
@pytest.mark.parametrize("name", ["FOO", "-1", "999", "SIGSIG"], ids=repr)
def test_unknown_signal(runtime, bundle, name):
    c = runtime.running(bundle.probe("hold"))
    runtime.fails("kill", c.id, "--", name) if name.startswith("-") else runtime.fails("kill", c.id, name)
    assert c.status == "running"


@fault("F02")
@req("CLI-KILL-2")
def test_kill_of_a_dead_container_in_words(runtime, bundle):
    c = runtime.create(bundle)
    c.stop()
    result = runtime.cmd("kill", c.id, "TERM")
    assert result.code == 1
    assert "container not running" in result.err


@req("CLI-KILL-2")
def test_kill_all_of_a_dead_container(runtime, bundle):
    c = runtime.create(bundle)
    c.stop()
    runtime.ok("kill", "--all", c.id, "KILL")
    runtime.ok("kill", c.id, "9", "-a")


@fault("F22")
@req("CLI-KILL-3")
def test_kill_without_a_pid_namespace(runtime, bundle):
    bundle.drop_ns("pid").probe("spawn", "spawn", "hold")
    c = runtime.running(bundle)
    children = [step["child"] for step in c.seen().steps]
    assert poll(lambda: all(process_state(child) == "S" for child in children))
    pid = c.pid
    c.kill("KILL")
    c.wait(pid)
    for child in children:
        c.wait(child)


@fault("F22")
@req("CLI-DELETE-3", "LC-12")
def test_force_delete_without_a_pid_namespace(runtime, bundle):
    c = runtime.running(bundle.drop_ns("pid").probe("spawn", "hold"))
    child = c.seen().step("spawn")["child"]
    c.delete("--force")
    c.wait(child)


@fault("F05b")
@req("CLI-DELETE-1")
def test_delete_of_a_running_container_in_words(runtime, bundle):
    c = runtime.running(bundle.probe("hold"))
    result = runtime.cmd("delete", c.id)
    assert result.code == 1
    assert f"cannot delete container {c.id} that is not stopped: running" in result.err


@fault("F05b")
@req("CLI-DELETE-2")
@pytest.mark.parametrize("flag", ["--force", "-f"])
def test_force_delete(runtime, bundle, flag):
    c = runtime.running(bundle.probe("hold"))
    pid = c.pid
    c.delete(flag)
    c.wait(pid)
    assert not c.exists()
    assert runtime.ok("delete", flag, c.id).said == ""
    assert runtime.cmd("delete", c.id).code == 1


@req("CLI-DELETE-3")
def test_delete_of_a_created_container(runtime, bundle):
    c = runtime.create(bundle)
    pid = c.pid
    c.delete()
    c.wait(pid)
    assert not c.exists()


# ---- run ----


@req("CLI-RUN-1")
@pytest.mark.parametrize("code", [0, 1, 42, 255])
def test_exit_status_of_run(runtime, bundle, code):
    ident = new_id()
    assert runtime.try_run(bundle.probe("exit", code), ident=ident).code == code
    assert runtime.cmd("state", ident).code == 1
    assert ident not in runtime.states()


@req("CLI-RUN-1")
def test_exit_status_after_a_signal(runtime, bundle):
    assert runtime.try_run(bundle.drop_ns("pid").probe("die", "KILL")).code == 137


@req("CLI-RUN-2")
def test_detached_run(runtime, bundle):
    c = runtime.detached(bundle.probe("report", "pause", "exit", "7"))
    assert c.status == "running"
    pid = c.pid
    assert pid in orphans(), "the process is not the child of the caller's reaper"
    c.seen()
    c.kill("WINCH")
    c.kill("KILL")
    c.wait(pid)
    assert c.status == "stopped"


@req("CLI-RUN-2", "LC-10")
def test_exit_status_reaches_the_reaper(runtime, bundle):
    c = runtime.create(bundle.probe("exit", "42"))
    pid = c.pid
    c.start()
    assert c.reap(pid) == 42
    assert c.status == "stopped"


@req("CLI-RUN-3")
def test_keep(runtime, bundle):
    ident = new_id()
    assert runtime.try_run(bundle.probe("exit", 3), "--keep", ident=ident).code == 3
    assert runtime.ok("state", ident).json()["status"] == "stopped"
    runtime.ok("delete", ident)


@fault("F18")
@req("CLI-RUN-4")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_signals_to_a_foreground_run(runtime, bundle, number):
    bundle.probe("stop-on", int(number), "write", "/ready", "x", "hold").write()
    process = runtime.spawn(*runtime.options, "run", "--bundle", bundle.path, new_id())
    try:
        assert poll((bundle.rootfs / "ready").exists)
        process.send_signal(number)
    finally:
        assert runtime.wait(process, 5) == 100 + number


@fault("F18")
@req("CLI-RUN-4")
def test_killed_run_leaves_what_force_delete_removes(runtime, bundle):
    ident = new_id()
    bundle.probe("write", "/ready", "x", "hold").write()
    process = runtime.spawn(*runtime.options, "run", "--bundle", bundle.path, ident)
    assert poll((bundle.rootfs / "ready").exists)
    process.kill()
    runtime.wait(process)
    runtime.ok("delete", "--force", ident)


@req("CLI-RUN-5")
def test_standard_input_of_a_foreground_run(runtime, bundle):
    result = runtime.run(bundle.probe("stdin", "complain", "to stderr"), stdin=b"from the caller\n")
    assert result.seen.step("stdin").text == "from the caller\n"
    assert result.err == "to stderr\n"


@req("CLI-RUN-5")
def test_pipes_of_a_foreground_run(runtime, bundle):
    bundle.probe("stdin", "say", "done").write()
    argv = (*runtime.options, "run", "--bundle", bundle.path, new_id())
    process = runtime.spawn(*argv, stdin=subprocess.PIPE, out=subprocess.PIPE, err=subprocess.PIPE)
    try:
        out, err = process.communicate(b"x" * 1000, timeout=10)
    finally:
        runtime.wait(process)
    assert err == b""
    assert seen_in(out.decode()).step("stdin").text == "x" * 1000


@req("CLI-RUN-5", "PR-2")
@pytest.mark.only_if("tool:script")
def test_foreground_terminal(runtime, bundle):
    # The size may come a moment after the process.
    bundle.args("sh", "-c", "sleep 0.2; exec /probe report").set("process.terminal", True).write()
    ident = new_id()
    command = f"stty rows 33 cols 77; {runtime.path} --root {runtime.root} run --bundle {bundle.path} {ident}"
    done = subprocess.run(
        ["script", "-qefc", command, "/dev/null"],
        capture_output=True,
        timeout=10,
        stdin=subprocess.DEVNULL,
        env=ENV,
        check=False,
    )
    seen = seen_in(done.stdout.decode())
    assert [t["isatty"] for t in seen["tty"]] == [1, 1, 1]
    assert seen["controlling_tty"] == 1
    assert (seen["tty"][0]["rows"], seen["tty"][0]["cols"]) == (33, 77)
    assert done.returncode == 0


@req("CLI-ENVIRON-1")
@pytest.mark.parametrize(
    "env",
    [{}, {"XDG_RUNTIME_DIR": ""}, {"PYTHONPATH": "/nonexistent", "PYTHONHOME": "/nonexistent"}],
    ids=str,
)
def test_environment_of_callers(runtime, bundle, env):
    bundle.probe("hold").write()
    ident = new_id()
    runtime.ok("create", "--bundle", bundle.path, ident, env=env)
    runtime.ok("start", ident, env=env)
    runtime.ok("state", ident, env=env)
    runtime.ok("kill", ident, "9", env=env)
    runtime.ok("delete", "--force", ident, env=env)


@req("CLI-CONSOLE-2")
def test_text_about_the_console(runtime, bundle):
    said = runtime.try_create(bundle.set("process.terminal", True)).err
    assert "cannot allocate tty if" in said
    assert "will detach without setting console socket" in said


@req("CLI-PIDFD-1")
def test_pidfd_socket(runtime, bundle):
    receiver = Receiver(runtime.work / "pidfd.sock")
    try:
        ident = new_id()
        result = runtime.try_create(bundle, ident, "--pidfd-socket", receiver.path)
        assert result.code == 0, str(result)
        fd = receiver.receive()
        info = pathlib.Path(f"/proc/self/fdinfo/{fd}").read_text()
        assert f"Pid:\t{runtime.ok('state', ident).json()['pid']}\n" in info
    finally:
        receiver.close()


@req("CLI-NOPIVOT-1")
def test_no_pivot(runtime, bundle):
    seen = runtime.report_with(bundle, ["--no-pivot"])
    assert seen["cwd"] == "/"
    assert seen.mount("/proc").kind == "proc"


@req("CLI-KEYRING-1", "T35")
@cve("keys of the caller")
@pytest.mark.only_if("file:/proc/keys")
@pytest.mark.parametrize("option", [[], ["--no-new-keyring"]], ids=["new", "no new"])
def test_session_keyring(runtime, bundle, option):
    bundle.set("linux.maskedPaths", []).probe("cat", "/proc/keys")
    ident = new_id()
    seen = runtime.run(bundle, *option, ident=ident).seen
    assert (f"_ses.{ident}" in seen.cat("/proc/keys")) == (not option)


@req("CLI-NOTIFY-1")
def test_notify_socket(runtime, bundle):
    """The READY of the program comes to the caller's socket, with the pid that the runtime vouches for."""
    path = runtime.work / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))
        listener.settimeout(3)
        ident = new_id()
        container = runtime.create(
            bundle.probe("report", "hold"), ident=ident, env=ENV | {"NOTIFY_SOCKET": str(path)}
        )
        process = runtime.spawn(*runtime.options, "start", ident, env=ENV | {"NOTIFY_SOCKET": str(path)})
        seen = container.seen()
        assert "NOTIFY_SOCKET=/run/notify/notify.sock" in seen.env
        inside = pathlib.Path(f"/proc/{container.pid}/root/run/notify/notify.sock")
        assert poll(inside.exists)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.connect(str(inside))
            sender.send(b"STATUS=x")
            sender.send(b"READY=1\nMAINPID=1\n")
        said = b""
        with contextlib.suppress(TimeoutError):
            while b"MAINPID=" not in said or b"BARRIER=" not in said:
                text, fds, *_ = socket.recv_fds(listener, 4096, 4)
                said += text
                for fd in fds:  # of BARRIER=1: the runtime waits until they are closed
                    os.close(fd)
        pid = container.pid
        container.kill("KILL")
        container.reap(pid)  # the runtime may wait until the pid is gone
        runtime.wait(process)
    assert b"READY=1" in said, said
    assert b"MAINPID=1\n" not in said
