"""The lines that containerd's shim sends (by go-runc), for ctr, nerdctl, Kubernetes and Docker; CLI.md has the ids."""

from __future__ import annotations

import json
import os
import shutil
import signal

import pytest
from lib import host
from lib.callers import PATH, Caller, alive_child, knows, last_error, log_entries, pid_in, reap
from lib.console import Receiver, read_line
from lib.runtime import new_id, poll, process_state

req = pytest.mark.req
FLAGS = "--root {root}/default --log {b}/log.json --log-format json"
ENV = {
    "PATH": PATH,
    "GOMAXPROCS": "4",
    "TTRPC_ADDRESS": "/run/containerd/containerd.sock.ttrpc",
    "GRPC_ADDRESS": "/run/containerd/containerd.sock",
    "NAMESPACE": "default",
    "MAX_SHIM_VERSION": "2",
    "OTEL_SERVICE_NAME": "containerd-shim-x",
}


@pytest.fixture
def shim(runtime, bundle):
    """A shim, whose containers are gone at the end."""
    made = Caller(runtime, FLAGS, ENV)
    bundle.args("/bin/sleep", "60")
    made.use(bundle)
    made.log = bundle.path / "log.json"
    made.pid_file = bundle.path / "init.pid"
    yield made
    made("delete --force {id}")
    shutil.rmtree(runtime.root / "default", ignore_errors=True)


def create(shim, options: str = "", **how) -> int:
    """Task.Create: exit 0 means that the pid file is complete."""
    code = shim.runtime.wait(
        shim.spawn(f"create --bundle {{b}} --pid-file {{b}}/init.pid {options} {{id}}", **how)
    )
    assert code == 0, shim.log.read_text()
    return pid_in(shim.pid_file)


def running(shim) -> int:
    pid = create(shim)
    shim("start {id}", combined=True).silent()
    return pid


def nothing_logged(shim) -> None:
    assert shim.log.read_text() == "" if shim.log.exists() else True


# ---- the verbs ----


@req("CLI-REPLAY-1")
def test_a_task_from_create_to_delete(shim, bundle):
    bundle.args("/bin/sh", "-c", "echo out; echo err >&2; read x; echo got $x; exit 3").write()
    pipes = [os.pipe() for _ in range(3)]
    (stdin, feed), (out, to_out), (err, to_err) = pipes
    pid = create(shim, stdin=stdin, out=to_out, err=to_err)
    for fd in (stdin, to_out, to_err):
        os.close(fd)
    assert alive_child(pid)
    assert process_state(pid) == "S"
    shim("start {id}", combined=True).silent()
    os.write(feed, b"word\n")
    os.close(feed)
    with open(out, "rb") as said, open(err, "rb") as complained:
        assert said.read() == b"out\ngot word\n"  # to its end: nobody else holds it
        assert complained.read() == b"err\n"
    assert reap(pid) == 3
    shim("delete {id}", combined=True).silent()
    nothing_logged(shim)
    assert "does not exist" in shim("delete {id}", combined=True).said


@req("CLI-REPLAY-1")
def test_both_options_of_create(shim):
    pid = create(shim, "--no-pivot --no-new-keyring")
    shim("start {id}", combined=True).silent()
    shim("kill {id} 9", combined=True).silent()
    assert reap(pid) == -9
    shim("delete {id}", combined=True).silent()


@req("CLI-REPLAY-1")
def test_delete_of_what_never_started(shim):
    """Also after every create that failed; and once more, for the shim may have died in between."""
    pid = create(shim)
    shim("delete --force {id}", combined=True).silent()
    assert poll(lambda: process_state(pid) in {None, "Z"})
    shim("delete --force {id}", combined=True).silent()


@req("CLI-REPLAY-1")
def test_older_shims_name_criu(shim):
    flags = "--root {root}/default --log {b}/log.json --log-format json --criu criu"
    answer = shim("create --bundle {b} --pid-file {b}/init.pid {id}", flags=flags, out=None, err=None)
    if answer.code == 0:
        shim("start {id}", flags=flags, combined=True).silent()
    else:
        pytest.skip("needs a runtime that takes --criu")


@req("CLI-REPLAY-1")
@pytest.mark.only_if("v1:pids")
def test_pids_and_pause(shim):
    pid = running(shim)
    answer = shim("ps --format json {id}", combined=True)
    assert answer.out == f"[{pid}]\n"
    shim("pause {id}", combined=True).silent()
    assert shim("state {id}", flags="--root {root}/default").out.count('"paused"') == 1
    shim("resume {id}", combined=True).silent()


@req("CLI-REPLAY-1")
@pytest.mark.only_if("v1:pids", "v1:cpu")
@pytest.mark.parametrize("option", ["--resources=-", "--resources -"])
def test_update_from_standard_input(shim, option):
    pid = running(shim)
    resources = {"pids": {"limit": 31}, "cpu": {"shares": 300}, "memory": {}, "blockIO": {}}
    shim(f"update {option} {{id}}", stdin=json.dumps(resources), combined=True).silent()
    assert (host.cgroup_of(pid, "pids") / "pids.max").read_text() == "31\n"
    assert (host.cgroup_of(pid, "cpu") / "cpu.shares").read_text() == "300\n"


@req("CLI-REPLAY-1")
@pytest.mark.parametrize("options", ["", "--all "])
def test_kill_by_number(shim, options):
    pid = running(shim)
    shim(f"kill {options}{{id}} 9", combined=True).silent()
    assert reap(pid) == -9


@req("CLI-REPLAY-1")
def test_exec_by_a_process_file(shim, bundle):
    """The file is gone when exec has returned: nothing may read it later."""
    pid = running(shim)
    process = {
        **bundle.get("process"),
        "args": ["/bin/sh", "-c", "echo hi; exec sleep 60"],
        "terminal": False,
    }
    (bundle.path / "runc-process1").write_text(json.dumps(process))
    reader, writer = os.pipe()
    code = shim.runtime.wait(
        shim.spawn(
            "exec --process {b}/runc-process1 --detach --pid-file {b}/one.pid {id}", out=writer, err=writer
        )
    )
    (bundle.path / "runc-process1").unlink()
    os.close(writer)
    assert code == 0, shim.log.read_text()
    inner = pid_in(bundle.path / "one.pid")
    assert alive_child(inner)
    assert os.read(reader, 10) == b"hi\n"
    os.kill(inner, signal.SIGTERM)  # the shim signals processes of exec by itself
    os.kill(inner, signal.SIGKILL)
    assert reap(inner) in {-9, -15}
    assert os.read(reader, 10) == b""
    os.close(reader)
    assert process_state(pid) == "S"
    nothing_logged(shim)


@req("CLI-REPLAY-1", "CLI-CONSOLE-1")
@pytest.mark.parametrize("way", ["create", "exec"])
def test_a_terminal(shim, bundle, way):
    """Standard streams are /dev/null and what is captured; the master has come when the command returns."""
    shell = ["/bin/sh", "-c", "echo on $(tty); exec sleep 60"]
    receiver = Receiver(shim.runtime.work / "pty.sock")
    shim.names["s"] = receiver.path
    try:
        if way == "create":
            bundle.set("process.terminal", True).args(*shell).write()
            line = "create --bundle {b} --pid-file {b}/init.pid --console-socket {s} {id}"
        else:
            running(shim)
            process = {**bundle.get("process"), "args": shell, "terminal": True}
            (bundle.path / "p").write_text(json.dumps(process))
            line = "exec --process {b}/p --console-socket {s} --detach --pid-file {b}/one.pid {id}"
        shim(line).silent()
        master = receiver.receive()
        assert 0 < len(receiver.name) < 4096
        if way == "create":
            shim("start {id}", combined=True).silent()
        assert read_line(master, "on /dev/").strip() in {"on /dev/pts/0", "on /dev/console", "on /dev/pts/1"}
        if way == "exec":
            inner = pid_in(bundle.path / "one.pid")
            os.kill(inner, signal.SIGKILL)
            reap(inner)
    finally:
        receiver.close()


@req("CLI-REPLAY-1")
def test_what_go_runc_can_send_as_well(shim, bundle):
    bundle.args("/bin/sleep", "60").write()
    shim("run --bundle {b} --pid-file {b}/init.pid --detach {id}", out=None, err=None).silent()
    pid = pid_in(shim.pid_file)
    listed = json.loads(shim("list --format=json").out)
    assert [(c["id"], c["pid"], c["status"], c["bundle"]) for c in listed] == [
        (shim.id, pid, "running", str(bundle.path))
    ]
    state = json.loads(shim("state {id}").out)
    assert {"id", "pid", "status", "bundle", "rootfs", "created"} <= set(state)


@req("CLI-REPLAY-1")
def test_one_dash_before_a_long_name(shim, bundle):
    bundle.args("/bin/true").write()
    answer = shim("run -no-subreaper --bundle {b} {id}")
    if knows(answer) is None:
        pytest.skip("needs a runtime with run --no-subreaper")
    answer.silent()


@req("CLI-REPLAY-1")
@pytest.mark.only_if("v1:memory")
def test_events(shim):
    pid = running(shim)
    answer = shim("events --stats {id}")
    if knows(answer) is None:
        pytest.skip("needs a runtime with events")
    event = json.loads(answer.out)
    assert (event["type"], event["id"]) == ("stats", shim.id)
    process = shim.spawn("events --interval=1s {id}", out=-1)
    assert json.loads(process.stdout.readline())["type"] == "stats"
    shim("kill {id} 9").silent()
    reap(pid)
    shim("delete {id}").silent()
    assert shim.runtime.wait(process) == 0
    process.stdout.close()


@req("CLI-REPLAY-1", "CLI-PIDFD-1")
def test_preserved_descriptors_and_a_pidfd(shim, bundle):
    bundle.args("/bin/sh", "-c", "cat <&3").write()
    receiver = Receiver(shim.runtime.work / "pidfd.sock")
    shim.names["s"] = receiver.path
    read, write = os.pipe()
    os.write(write, b"through three")
    os.close(write)
    out = shim.runtime.work / "out"
    try:
        line = "create --bundle {b} --pid-file {b}/init.pid --preserve-fds 1 --pidfd-socket {s} {id}"
        with out.open("wb") as to:
            process = shim.spawn(line, out=to, err=to, **shim.with_third(read))
            code = shim.runtime.wait(process)
        if code and "pidfd-socket" in out.read_text():
            pytest.skip("needs a runtime with --pidfd-socket")
        assert code == 0, out.read_text()
        receiver.receive()
        shim("start {id}", combined=True).silent()
        assert reap(pid_in(shim.pid_file)) == 0
        assert out.read_text() == "through three"
    finally:
        os.close(read)
        receiver.close()


@req("CLI-REPLAY-1")
def test_probes(shim):
    answer = shim("features", flags="")
    if knows(answer) is not None:
        assert answer.err == ""
        assert json.loads(answer.out)["ociVersionMax"]
    version = shim("--version", flags="")
    assert (version.code, version.err) == (0, "")
    lines = version.out.splitlines()
    assert " version " in lines[0]
    assert any(line.startswith("commit: ") for line in lines)
    assert any(line.startswith("spec: ") for line in lines)


# ---- the channel for errors ----


FAILURES = [
    ("state {id}", "does not exist"),
    ("start {id}", "does not exist"),
    ("kill {id} 9", "does not exist"),
    ("kill --all {id} 9", "does not exist"),
    ("delete {id}", "does not exist"),
    ("pause {id}", "does not exist"),
    ("resume {id}", "does not exist"),
    ("ps --format json {id}", "does not exist"),
    ("update --resources=- {id}", "does not exist"),
    ("exec --process {b}/config.json --detach --pid-file {b}/x.pid {id}", "does not exist"),
    ("create --bundle {b}/none --pid-file {b}/init.pid {id}", "no such file or directory"),
]


@req("CLI-REPLAY-2", "CLI-LOG-1")
@pytest.mark.parametrize(("line", "words"), FAILURES, ids=[line.partition(" ")[0] for line, _ in FAILURES])
def test_a_failure_is_one_object_in_the_log(shim, line, words):
    os.makedirs(shim.runtime.root / "default", mode=0o700)
    answer = shim(line, stdin="{}", combined=True)
    assert answer.code == (255 if line.startswith("exec") else 1)
    assert len(log_entries(shim.log)) == 1
    assert words in last_error(shim.log).lower()
    assert last_error(shim.log) in answer.said
    assert not shim.pid_file.exists()


@req("CLI-REPLAY-2", "CLI-EXEC-1")
@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("nowhere-to-be-found", "executable file not found in $PATH"),
        ("/nonexist", "no such file or directory"),
        ("/etc/passwd", "permission denied"),
    ],
)
def test_a_program_that_cannot_be_run(shim, bundle, program, words):
    """`start` reports what execve says too late: the shim reads it after create."""
    bundle.args(program).write()
    answer = shim("create --bundle {b} --pid-file {b}/init.pid {id}")
    assert answer.code == 1
    assert words.lower() in last_error(shim.log).lower()
    shim("delete --force {id}", combined=True).silent()


@req("CLI-REPLAY-2")
def test_texts_that_the_shim_looks_for(shim):
    pid = running(shim)
    shim("create --bundle {b} --pid-file {b}/two.pid {id}")
    assert "container with given ID already exists" in last_error(shim.log)
    assert shim("delete {id}", combined=True).code == 1
    assert "cannot delete container" in last_error(shim.log)
    shim("kill {id} 9", combined=True).silent()
    reap(pid)
    answer = shim("kill {id} 15", combined=True)
    assert answer.code == 1
    words = ("container not running", "no such process", "process already finished")  # checkKillError
    assert any(text in last_error(shim.log) for text in words)
    shim("kill --all {id} 9", combined=True)
    shim("delete {id}", combined=True).silent()


@req("CLI-REPLAY-2")
def test_the_log_is_there_whatever_fails(shim):
    """Also where the options do not make sense: the caller opens the file without asking."""
    shim.names["other"] = new_id()
    for line in ("create --bundle {b} --no-such-option {id}", "state {id} {other}"):
        shim.log.unlink(missing_ok=True)
        assert shim(line, combined=True).code == 1
        assert len(log_entries(shim.log)) == 1
