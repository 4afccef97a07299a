"""The lines that conmon, Podman and Buildah send, and what they take out of the answers; CLI.md has the ids."""

from __future__ import annotations

import json
import os
import re
import signal

import pytest
from lib import host
from lib.callers import PATH, Caller, alive_child, knows, only_error, pid_in, reap
from lib.console import Receiver, read_line
from lib.runtime import poll, process_state

req = pytest.mark.req
CONMON = "--log-format=json --log {work}/oci-log"
ENGINE = {"PATH": PATH, "HOME": "/root", "XDG_RUNTIME_DIR": "", "_OCI_SYNCPIPE": "3", "_OCI_STARTPIPE": "4"}
BARE = {"XDG_RUNTIME_DIR": ""}
"""All that Podman gives to kill, delete, pause and resume."""


@pytest.fixture
def conmon(runtime, bundle):
    """conmon with runtime arguments as Podman gives them; `--root` stands for the state root of the test."""
    made = Caller(runtime, f"--root={{root}} {CONMON}", ENGINE, p=runtime.work / "pidfile")
    bundle.args("/bin/sleep", "60")
    made.use(bundle)
    return made


@pytest.fixture
def podman(conmon):
    """Podman itself, which calls without a log and with next to no environment."""
    return Caller(conmon.runtime, "--root={root}", BARE, id=conmon.id)


def started(conmon, podman, options: str = "") -> int:
    code = conmon.wait(f"create --bundle {{b}} --pid-file {{p}} {options} {{id}}", umask=0o22)
    assert code == 0, (conmon.runtime.work / "oci-log").read_text()
    podman("start {id}", env=BARE | {"PATH": PATH}).silent()
    return pid_in(conmon.names["p"])


# ---- conmon ----


@req("CLI-REPLAY-5")
def test_create_by_conmon(conmon, podman, bundle):
    """conmon waits for the runtime, is the reaper of the container, and tells its exit status."""
    bundle.args("/bin/sh", "-c", "echo one; echo two >&2; exit 5").write()
    out, to_out = os.pipe()
    err, to_err = os.pipe()
    code = conmon.wait("create --bundle {b} --pid-file {p} --no-new-keyring {id}", out=to_out, err=to_err)
    os.close(to_out)
    os.close(to_err)
    assert code == 0
    pid = pid_in(conmon.names["p"])
    assert alive_child(pid)
    podman("start {id}", env=BARE | {"PATH": PATH}).silent()
    with open(out, "rb") as said, open(err, "rb") as complained:
        assert (said.read(), complained.read()) == (b"one\n", b"two\n")
    assert reap(pid) == 5
    podman("delete --force {id}").silent()
    assert (conmon.runtime.work / "oci-log").read_text() == ""


@req("CLI-REPLAY-5", "CLI-CONSOLE-1")
@pytest.mark.parametrize("way", ["create", "exec"])
def test_a_terminal_by_conmon(conmon, podman, bundle, way):
    """The standard error is a pipe even then, for what goes wrong early."""
    shell = ["/bin/sh", "-c", "echo on $(tty); exec sleep 60"]
    receiver = Receiver(conmon.runtime.work / "conmon-term.XXXXXX")
    conmon.names["s"] = receiver.path
    try:
        if way == "create":
            bundle.set("process.terminal", True).args(*shell).write()
            conmon("create --bundle {b} --pid-file {p} --console-socket {s} {id}").silent()
        else:
            started(conmon, podman)
            process = {**bundle.get("process"), "args": shell, "terminal": True}
            (bundle.path / "exec").write_text(json.dumps(process))
            conmon("exec --pid-file {b}/xp --process {b}/exec --detach --console-socket {s} {id}").silent()
        master = receiver.receive()
        assert 0 < len(receiver.name) < 4096
        if way == "create":
            podman("start {id}", env=BARE | {"PATH": PATH}).silent()
        else:
            inner = pid_in(bundle.path / "xp")
        assert "on /dev/" in read_line(master, "on /dev/")
        if way == "exec":
            os.kill(inner, signal.SIGKILL)
            reap(inner)
    finally:
        receiver.close()


@req("CLI-REPLAY-5")
def test_exec_by_conmon(conmon, podman, bundle):
    started(conmon, podman)
    process = {**bundle.get("process"), "args": ["/bin/sh", "-c", "echo in; exit 4"], "terminal": False}
    (bundle.path / "exec").write_text(json.dumps(process))
    out, to_out = os.pipe()
    code = conmon.wait("exec --pid-file {b}/xp --process {b}/exec --detach {id}", out=to_out, err=to_out)
    os.close(to_out)
    assert code == 0
    inner = pid_in(bundle.path / "xp")
    with open(out, "rb") as said:
        assert said.read() == b"in\n"
    assert reap(inner) == 4


@req("CLI-REPLAY-5")
def test_exec_that_fails_leaves_no_pid_file(conmon, podman, bundle):
    """conmon 2.2 goes by the file alone."""
    started(conmon, podman)
    process = {**bundle.get("process"), "args": ["/nonexistent"], "terminal": False}
    (bundle.path / "exec").write_text(json.dumps(process))
    answer = conmon("exec --pid-file {b}/xp --process {b}/exec --detach {id}")
    assert answer.code != 0
    assert "no such file or directory" in answer.err.lower()
    assert not (bundle.path / "xp").exists()


@req("CLI-REPLAY-5")
def test_descriptors_through_conmon(conmon, bundle):
    bundle.args("/bin/sh", "-c", "cat <&3").write()
    read, write = os.pipe()
    os.write(write, b"through three")
    os.close(write)
    out = conmon.runtime.work / "out"
    try:
        with out.open("wb") as to:
            line = "create --bundle {b} --pid-file {p} --preserve-fds 1 {id}"
            assert conmon.wait(line, out=to, err=to, **conmon.with_third(read)) == 0, out.read_text()
    finally:
        os.close(read)
    conmon("start {id}").silent()
    assert reap(pid_in(conmon.names["p"])) == 0
    assert out.read_text() == "through three"


# ---- failures ----


def podmans_verdict(text: str) -> str:
    """getOCIRuntimeError of libpod, in its order."""
    if re.search(r"(?i).*permission denied.*|.*operation not permitted.*", text):
        return "126"
    if re.search(
        r"(?i).*executable file not found in.*|.*no such file or directory.*|.*open executable.*", text
    ):
        return "127"
    return "125"


@req("CLI-REPLAY-5", "CLI-LOG-1")
@pytest.mark.parametrize(
    ("program", "verdict"),
    [("/nonexistent", "127"), ("nowhere-to-be-found", "127"), ("/etc/passwd", "126"), ("/etc", "126")],
)
def test_create_that_fails(conmon, podman, bundle, program, verdict):
    """The whole log is one JSON object; the standard error is what conmon hands on without a log."""
    bundle.args(program).write()
    answer = conmon("create --bundle {b} --pid-file {p} {id}")
    assert answer.code == 1
    assert podmans_verdict(only_error(conmon.runtime.work / "oci-log")) == verdict
    assert podmans_verdict(answer.err) == verdict
    assert answer.err.count("\n") == 1
    assert len(answer.err) < 8192
    assert not conmon.names["p"].exists()
    assert podman("delete --force {id}").code in {0, 1}  # crun: there is nothing to delete


@req("CLI-REPLAY-5")
def test_without_a_log_the_standard_error_is_the_message(conmon, bundle):
    """For runtimes that are not listed in runtime_supports_json."""
    bundle.args("/nonexistent").write()
    answer = conmon("create --bundle {b} --pid-file {p} {id}", flags="--root={root}")
    assert podmans_verdict(answer.err) == "127"
    assert answer.err.count("\n") == 1


# ---- Podman's own calls ----


@req("CLI-REPLAY-5", "CLI-ENVIRON-1")
@pytest.mark.parametrize("options", ["", "--all "])
def test_kill_with_an_empty_environment(conmon, podman, options):
    pid = started(conmon, podman)
    podman(f"kill {options}{{id}} 15").silent()
    assert process_state(pid) == "S"  # sleep as pid 1 ignores it
    podman(f"kill {options}{{id}} 9").silent()
    assert reap(pid) == -9
    assert podman("kill {id} 9").code == 1  # then Podman asks by kill(pid, 0)


@req("CLI-REPLAY-5")
@pytest.mark.only_if("v1:pids")
def test_pause_and_update(conmon, podman):
    pid = started(conmon, podman)
    podman("pause {id}").silent()
    assert conmon.state()["status"] == "paused"
    podman("resume {id}").silent()
    (conmon.runtime.work / "podman1").write_text('{"pids":{"limit":44},"memory":{},"cpu":{}}')
    podman("update --resources={work}/podman1 {id}").silent()
    assert (host.cgroup_of(pid, "pids") / "pids.max").read_text() == "44\n"
    podman("delete --force {id}").silent()
    assert poll(lambda: process_state(pid) in {None, "Z"})


@req("CLI-REPLAY-5", "CLI-STATE-1")
def test_state_with_a_closed_standard_error(conmon, podman):
    """Podman 4 asks so; it knows four words."""
    prefix = ["/bin/sh", "-c", 'exec "$@" 2>&-', "sh"]
    started(conmon, podman)
    answer = podman("state {id}", prefix=prefix)
    assert answer.code == 0
    assert json.loads(answer.out)["status"] == "running"
    podman("kill {id} 9").silent()
    assert poll(lambda: json.loads(podman("state {id}", prefix=prefix).out)["status"] == "stopped")
    podman("delete --force {id}", prefix=prefix).silent()
    assert podman("state {id}", prefix=prefix).code == 1


@req("CLI-REPLAY-5")
def test_probes(podman):
    version = podman("--version", flags="")
    assert version.code == 0
    assert version.out.strip()
    answer = podman("checkpoint --help", flags="", env={"PATH": PATH})
    if knows(answer) is None or "checkpoint" not in podman("--help", flags="").out:
        pytest.skip("needs a runtime with checkpoint")
    assert answer.code == 0


@req("CLI-REPLAY-5")
def test_probe_of_restore(podman):
    """Pods can be restored where the option is known and wants its value."""
    answer = podman("restore --lsm-mount-context", flags="", env={"PATH": PATH})
    if "No help topic" in answer.said or "unknown command" in answer.said:
        pytest.skip("needs a runtime with restore")
    assert "flag needs an argument" in answer.said or "requires an argument" in answer.said


@req("CLI-REPLAY-5")
def test_no_cgroups(conmon, podman):
    """`podman run --cgroups=disabled`, for runtimes of runtime_supports_nocgroups."""
    flags = "--root={root} --cgroup-manager disabled"
    code = conmon.wait("create --bundle {b} --pid-file {p} {id}", flags=flags)
    if code and conmon.runtime.raw("--cgroup-manager", "disabled", "list").code:
        pytest.skip("needs a runtime with --cgroup-manager")
    assert code == 0
    pid = pid_in(conmon.names["p"])
    with open("/proc/self/cgroup") as ours, open(f"/proc/{pid}/cgroup") as its:
        assert its.read() == ours.read()


# ---- Buildah ----


@req("CLI-REPLAY-7")
@pytest.mark.parametrize("option", ["--no-new-keyring", "--no-pivot"])
@pytest.mark.parametrize("signal_word", ["", " SIGKILL"])
def test_buildah(runtime, bundle, option, signal_word):
    """`podman build`: state every 100 ms, and signals by name or not at all."""
    buildah = Caller(runtime, "--root={root}", {"PATH": PATH})
    bundle.args("/bin/sh", "-c", "trap 'exit 9' TERM; while :; do sleep 0.05; done")
    buildah.use(bundle)
    pid_file = bundle.path / "pid"
    assert buildah.wait(f"create --bundle {{b}} --pid-file {{b}}/pid {option} {{id}}") == 0
    pid = pid_in(pid_file)
    assert json.loads(buildah("state {id}").out)["status"] == "created"
    buildah("start {id}").silent()
    assert poll(lambda: json.loads(buildah("state {id}").out)["status"] == "running")
    assert poll(lambda: _catches_term(pid))
    buildah(f"kill {{id}}{signal_word}").silent()
    assert reap(pid) == (-9 if signal_word else 9)
    assert json.loads(buildah("state {id}").out)["status"] == "stopped"
    buildah("delete {id}").silent()
    assert buildah("state {id}").code == 1


def _catches_term(pid: int) -> bool:
    with open(f"/proc/{pid}/status") as status:
        caught = next(line for line in status if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)
