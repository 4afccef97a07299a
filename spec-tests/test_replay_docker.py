"""What Docker does beyond containerd's lines: BuildKit, its probes, and what it makes of messages; CLI.md has the ids."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import subprocess

import pytest
from lib import host
from lib.callers import PATH, Caller, knows, last_error, log_entries, pid_in, reap
from lib.console import read_line
from lib.runtime import poll

req = pytest.mark.req
ENV = {"PATH": PATH, "HOME": "/root", "GOMAXPROCS": "4"}
SHIM = "--root {root} --log {b}/log.json --log-format json"


@pytest.fixture
def dockerd(runtime, bundle):
    """A shim of Docker's, whose state root does not name the runtime."""
    made = Caller(runtime, SHIM, ENV)
    bundle.args("/bin/sleep", "60")
    made.use(bundle)
    made.log = bundle.path / "log.json"
    return made


# ---- the daemon ----


@req("CLI-REPLAY-3")
def test_a_runtime_with_arguments_is_a_script(dockerd, bundle):
    """`runtimeArgs` make dockerd write one, without exec: the runtime's parent is a shell, which ends before its child."""
    script = dockerd.runtime.work / "pyrunc-with-args"
    script.write_text(f"#!/bin/sh\n{dockerd.runtime.path} --debug $@\n")
    script.chmod(0o755)
    bundle.args("/bin/sh", "-c", "exit 6").write()

    def by_script(line: str) -> int:
        process = subprocess.Popen(
            [script, *dockerd.words(line)], cwd=bundle.path, env=ENV, stdin=subprocess.DEVNULL
        )
        return process.wait(20)

    assert by_script("create --bundle {b} --pid-file {b}/init.pid {id}") == 0
    pid = pid_in(bundle.path / "init.pid")
    assert by_script("start {id}") == 0
    assert reap(pid) == 6
    assert by_script("delete {id}") == 0
    assert all(entry["level"] != "error" for entry in log_entries(dockerd.log))


def cli_code(message: str) -> int:
    """setExitCodeFromError of dockerd: what `docker run` leaves with."""
    text = message.lower()
    if any(
        words in text
        for words in ("executable file not found", "no such file or directory", "system cannot find")
    ):
        return 127
    if any(words in text for words in ("permission denied", "not a directory", "is a directory")):
        return 126
    return 128


@req("CLI-REPLAY-3", "CLI-EXEC-1")
@pytest.mark.parametrize(
    ("program", "code"), [("nowhere", 127), ("/nonexist", 127), ("/etc", 126), ("/etc/passwd", 126)]
)
def test_exit_codes_come_from_messages(dockerd, bundle, program, code):
    bundle.args(program).write()
    assert dockerd("create --bundle {b} --pid-file {b}/init.pid {id}").code == 1
    assert cli_code(last_error(dockerd.log)) == code


@req("CLI-REPLAY-3", "CLI-UPDATE-2")
@pytest.mark.only_if("v1:memory", "v1:cpu")
def test_docker_update(dockerd, bundle):
    """toContainerdResources: what is not given is not there, but the objects are."""
    assert dockerd.wait("create --bundle {b} --pid-file {b}/init.pid {id}") == 0
    pid = pid_in(bundle.path / "init.pid")
    dockerd("start {id}").silent()
    resources = {"memory": {"limit": 96 << 20, "reservation": 48 << 20}, "cpu": {"cpus": "0", "mems": "0"}}
    dockerd("update --resources=- {id}", stdin=json.dumps(resources)).silent()
    assert int((host.cgroup_of(pid, "memory") / "memory.limit_in_bytes").read_text()) == 96 << 20
    dockerd("update --resources=- {id}", stdin='{"memory":{},"cpu":{"shares":77}}').silent()
    assert (host.cgroup_of(pid, "cpu") / "cpu.shares").read_text() == "77\n"
    assert int((host.cgroup_of(pid, "memory") / "memory.limit_in_bytes").read_text()) == 96 << 20


@req("CLI-REPLAY-3", "CLI-VERSION-1")
def test_probes(dockerd):
    """`docker info` wants a line with `version` and one with `commit`; what is before the first is the name."""
    lines = dockerd("--version", flags="").out.strip().splitlines()
    name, _, version = next(line for line in lines if "version" in line).partition(" version ")
    assert name
    assert re.match(r"\d+\.\d+", version)
    assert any(line.startswith("commit:") for line in lines)
    answer = dockerd("features", flags="")
    if knows(answer) is not None:
        assert "rro" in json.loads(answer.out)["mountOptions"]


# ---- BuildKit ----


@pytest.fixture
def buildkit(runtime, bundle):
    """No --root: whatever /run holds, BuildKit's runtime finds an empty one here."""
    run = runtime.work / "run"
    run.mkdir()
    host.mount(str(run), "/run", flags=host.MS_BIND)
    made = Caller(runtime, "--log {b}/runc-log.json --log-format json", ENV)
    bundle.args("/bin/sleep", "60")
    made.use(bundle)
    made.log = bundle.path / "runc-log.json"
    yield made
    runtime.raw("delete", "--force", made.id)
    host.umount("/run")


def state_of(buildkit) -> str:
    """Asked every 100 ms, from before there is a container."""
    answer = buildkit("state {id}")
    return json.loads(answer.out)["status"] if answer.code == 0 else ""


def needs_keep(buildkit) -> None:
    if "--keep" not in buildkit("run --help", flags="").out:
        pytest.skip("needs a runtime with run --keep")


@req("CLI-REPLAY-4", "CLI-RUN-3")
@pytest.mark.parametrize("option", ["", "--no-pivot "])
def test_a_step_of_a_build(buildkit, bundle, option):
    needs_keep(buildkit)
    bundle.args("/bin/sh", "-c", "cat; echo err >&2; exit 17").write()
    answer = buildkit(f"run --bundle {{b}} {option}--keep {{id}}", stdin="text\n", start_new_session=True)
    assert (answer.code, answer.out, answer.err) == (17, "text\n", "err\n")
    assert state_of(buildkit) == "stopped"
    buildkit("delete {id}").silent()
    assert state_of(buildkit) == ""


@req("CLI-REPLAY-4")
def test_exec_beside_a_step(buildkit, bundle):
    needs_keep(buildkit)
    step = buildkit.spawn("run --bundle {b} --keep {id}", start_new_session=True)
    assert poll(lambda: state_of(buildkit) == "running")
    process = {**bundle.get("process"), "args": ["/bin/sh", "-c", "cat; exit 8"], "terminal": False}
    (bundle.path / "process").write_text(json.dumps(process))
    answer = buildkit(
        "exec --process {b}/process --pid-file {b}/xp {id}", stdin="in\n", start_new_session=True
    )
    assert (answer.code, answer.out, answer.err) == (8, "in\n", "")
    assert pid_in(bundle.path / "xp") > 1
    buildkit("kill {id} 9").silent()
    assert buildkit.runtime.wait(step) == 137
    buildkit("delete {id}").silent()


@req("CLI-REPLAY-4")
def test_a_step_on_a_terminal(buildkit, bundle):
    """The slave of BuildKit's terminal is the runtime's standard streams."""
    needs_keep(buildkit)
    bundle.args("/bin/sh", "-c", "echo on $(tty); read x; echo got $x").set("process.terminal", True).write()
    master, slave = pty.openpty()
    try:
        step = buildkit.spawn(
            "run --bundle {b} --keep {id}", stdin=slave, out=slave, err=slave, start_new_session=True
        )
        os.close(slave)
        assert "on /dev/" in read_line(master, "on /dev/")
        os.write(master, b"word\n")
        assert "got word" in read_line(master, "got word")
        assert buildkit.runtime.wait(step) == 0
    finally:
        with contextlib.suppress(OSError):
            os.close(master)
    buildkit("delete {id}").silent()


@req("CLI-REPLAY-4", "CLI-REPLAY-2")
def test_a_step_that_cannot_be_run(buildkit, bundle):
    needs_keep(buildkit)
    bundle.args("/nonexistent").write()
    answer = buildkit("run --bundle {b} --keep {id}")
    assert answer.code == 1
    assert "no such file or directory" in last_error(buildkit.log)
    buildkit("delete {id}")
    assert state_of(buildkit) == ""
