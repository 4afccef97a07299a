"""The lines that CRI-O and conmon-rs send, and what they take out of the answers; CLI.md has the ids."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess

import pytest
from lib import host
from lib.callers import PATH, Caller, alive_child, knows, pid_in, reap
from lib.console import read_line
from lib.runtime import poll, process_state

req = pytest.mark.req
ENV = {"PATH": PATH, "CRI_O_EXTERNAL": "1", "XDG_RUNTIME_DIR": "/run/user/0"}
STREAMING = {"XDG_RUNTIME_DIR": "/run/user/0"}
"""All that a streamed exec has."""
NOT_FOUND = ("no such process", "container not running", "invalid process")
"""What ends CRI-O's loop of kills."""


@pytest.fixture
def crio(runtime, bundle):
    made = Caller(runtime, "--root {root}", ENV, p=runtime.work / "pidfile")
    bundle.args("/bin/sleep", "60")
    made.use(bundle)
    return made


def create(crio, flags: str = "--root={root}") -> int:
    """By conmon, which CRI-O gives the runtime's root in one word."""
    assert crio.wait("create --bundle {b} --pid-file {p} {id}", flags=flags) == 0
    return pid_in(crio.names["p"])


def running(crio) -> int:
    pid = create(crio)
    crio("start {id}").silent()
    return pid


def state(crio) -> dict:
    answer = crio("state {id}")
    assert (answer.code, answer.err) == (0, "")
    found = json.loads(answer.out)
    # Go's time.Time reads RFC 3339, with any number of digits for the part of a second
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z", found["created"])
    assert isinstance(found["pid"], int)
    return found


@req("CLI-REPLAY-6")
def test_the_life_of_a_container(crio):
    pid = create(crio)
    assert (state(crio)["status"], state(crio)["pid"]) == ("created", pid)
    crio("start {id}").silent()
    assert state(crio)["status"] == "running"
    crio("kill {id} 15").silent()  # the pid 1 of a container has no handler
    assert process_state(pid) == "S"
    crio("kill {id} KILL").silent()
    assert reap(pid) == -9
    assert state(crio)["status"] == "stopped"
    crio("delete --force {id}").silent()
    assert crio("state {id}").code != 0


@req("CLI-REPLAY-6", "CLI-KILL-2")
def test_kill_of_all_and_of_the_dead(crio):
    pid = running(crio)
    crio("kill -a {id} 9").silent()
    assert reap(pid) == -9
    answer = crio("kill {id} 9")
    assert answer.code == 1
    assert any(text in answer.err for text in NOT_FOUND)


@req("CLI-REPLAY-6")
@pytest.mark.only_if("v1:pids", "v1:cpu", "v1:memory")
def test_pause_and_update(crio):
    pid = running(crio)
    crio("pause {id}").silent()
    assert state(crio)["status"] == "paused"
    crio("resume {id}").silent()
    change = {"cpu": {"shares": 250, "quota": 40000, "period": 100000}, "memory": {"limit": 80 << 20}}
    crio("update --resources - {id}", stdin=json.dumps(change)).silent()
    assert (host.cgroup_of(pid, "cpu") / "cpu.shares").read_text() == "250\n"
    assert int((host.cgroup_of(pid, "memory") / "memory.limit_in_bytes").read_text()) == 80 << 20


# ---- exec in the foreground: probes and `kubectl exec` ----


def exec_line(crio, bundle, *args: str, terminal: bool = False) -> str:
    process = {**bundle.get("process"), "args": list(args), "terminal": terminal}
    (bundle.path / "exec-process").write_text(json.dumps(process))
    return "exec --process {b}/exec-process {id}"


@req("CLI-REPLAY-6", "CLI-IN-2")
@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137)])
def test_exec_is_the_process(crio, bundle, script, code):
    running(crio)
    line = exec_line(crio, bundle, "/bin/sh", "-c", f"cat; echo err >&2; {script}")
    answer = crio(line, stdin="a line\n", env=STREAMING)
    assert (answer.code, answer.out, answer.err) == (code, "a line\n", "err\n")


@req("CLI-REPLAY-6", "CLI-IN-2")
def test_a_probe_that_takes_too_long(crio, bundle):
    """CRI-O signals the runtime, which must hand that on."""
    running(crio)
    line = exec_line(
        crio, bundle, "/bin/sh", "-c", "trap 'exit 21' TERM; echo on; while :; do sleep 0.05; done"
    )
    process = crio.spawn(line, out=subprocess.PIPE, env=STREAMING)
    with process.stdout as said:
        assert said.readline() == b"on\n"
        process.send_signal(signal.SIGTERM)
        assert crio.runtime.wait(process) == 21


@req("CLI-REPLAY-6", "CLI-IN-9")
def test_exec_on_a_terminal(crio, bundle):
    """Its slave is the runtime's standard streams, and the process has a terminal of the container's own."""
    running(crio)
    line = exec_line(crio, bundle, "/bin/sh", "-c", "echo on $(tty); read x; echo got $x", terminal=True)
    master, slave = pty.openpty()
    try:
        process = crio.spawn(line, stdin=slave, out=slave, err=slave, env=STREAMING, start_new_session=True)
        os.close(slave)
        assert "on /dev/pts/" in read_line(master, "on /dev/")
        os.write(master, b"word\n")
        assert "got word" in read_line(master, "got word")
        assert crio.runtime.wait(process) == 0
    finally:
        os.close(master)


@req("CLI-REPLAY-6", "CLI-IN-3")
def test_exec_of_what_is_not_there(crio, bundle):
    running(crio)
    answer = crio(exec_line(crio, bundle, "/nonexistent"), env=STREAMING)
    assert answer.code == 255
    assert "no such file or directory" in answer.err


@req("CLI-REPLAY-6")
@pytest.mark.only_if("tool:taskset")
def test_behind_taskset(crio, bundle):
    """infra_ctr_cpuset: the commands run on a few processors; a container runs where its cgroup lets it."""
    prefix = ["taskset", "--cpu-list", "0"]
    assert crio.wait("create --bundle {b} --pid-file {p} {id}", prefix=prefix) == 0
    crio("start {id}", prefix=prefix).silent()
    crio("kill {id} KILL", prefix=prefix).silent()
    assert reap(pid_in(crio.names["p"])) == -9
    crio("delete --force {id}", prefix=prefix).silent()


@req("CLI-REPLAY-6", "CLI-FEATURES-1")
def test_probes(crio):
    """Both outputs are taken together: a word on the standard error spoils them."""
    version = crio("--version", flags="", combined=True)
    assert version.code == 0
    assert " version " in version.out.splitlines()[0]
    answer = crio("features", flags="", combined=True)
    if knows(answer) is None:
        pytest.skip("needs a runtime with features")
    features = json.loads(answer.out)
    assert features["ociVersionMin"]
    assert features["ociVersionMax"]


# ---- conmon-rs ----


@req("CLI-REPLAY-6", "CLI-PARSE-1")
def test_conmon_rs_repeats_global_options(crio):
    flags = "--root=/nonexistent --root={root}"
    assert crio.wait("create --bundle {b} --pid-file {p} {id}", flags=flags) == 0
    pid = pid_in(crio.names["p"])
    assert alive_child(pid)
    crio("start {id}", flags=flags).silent()
    reader, writer = os.pipe()
    line = "exec -d --pid-file={b}/xp {id} /bin/busybox echo some -x words"
    assert crio.wait(line, flags=flags, out=writer, err=writer) == 0
    os.close(writer)
    assert poll((crio.names["b"] / "xp").exists)
    assert reap(pid_in(crio.names["b"] / "xp")) == 0
    with open(reader, "rb") as said:
        assert said.read() == b"some -x words\n"
