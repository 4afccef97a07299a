"""`exec`: one more process in a container that lives; CLI.md has the ids."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import signal
import subprocess

import pytest
from lib import host
from lib.console import read_line
from lib.probe import seen_in
from lib.runtime import poll

req = pytest.mark.req
ALL_CPUS = f"0-{os.cpu_count() - 1}"
NAMESPACES = ("mnt", "pid", "ipc", "uts", "net", "cgroup", "user")


@pytest.fixture
def sleeper(runtime, bundle):
    """A container that stays."""
    return runtime.running(bundle.args("/bin/sleep", "60"))


def end(container, pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    container.reap(pid)


def cgroups(pid: int | str) -> dict[str, str]:
    lines = pathlib.Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    return {line.split(":", 2)[1]: line.split(":", 2)[2] for line in lines}


@req("CLI-IN-1")
def test_it_is_in_all_namespaces_of_the_container(runtime, sleeper, tmp_path):
    file = tmp_path / "pid"
    runtime.ok("exec", "--detach", "--pid-file", file, sleeper.id, "/bin/sleep", "60")
    pid = int(file.read_text())
    assert pid != sleeper.pid
    for name in NAMESPACES:
        assert os.readlink(f"/proc/{pid}/ns/{name}") == os.readlink(f"/proc/{sleeper.pid}/ns/{name}"), name
    assert cgroups(pid) == cgroups(sleeper.pid)
    assert os.readlink(f"/proc/{pid}/root") == "/"
    end(sleeper, pid)


@req("CLI-IN-1")
def test_it_sees_what_the_container_sees(runtime, sleeper):
    seen = runtime.ok("exec", sleeper.id, "/probe", "report").seen
    assert seen["pid"] > 1
    assert set(seen["fds"]) == {"0", "1", "2"}
    assert seen["cwd"] == "/"


@req("CLI-IN-2")
@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137)])
def test_its_exit_code(runtime, sleeper, script, code):
    assert runtime.cmd("exec", sleeper.id, "/bin/sh", "-c", script).code == code


@req("CLI-IN-3")
@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["nonexistent"], 'exec: "nonexistent": executable file not found in $PATH'),
        (["/nonexistent"], "no such file or directory"),
        (["/etc"], 'exec: "/etc": '),
    ],
    ids=["by name", "by path", "directory"],
)
def test_a_program_that_is_not_there(runtime, sleeper, command, words):
    result = runtime.cmd("exec", sleeper.id, *command)
    assert result.code == 255
    assert words in result.err.replace("\\", "")
    assert runtime.cmd("exec", sleeper.id, "/bin/true").code == 0


@req("CLI-IN-4")
def test_options_change_the_process(runtime, sleeper):
    result = runtime.ok(
        "exec", "--user", "1000:5", "--additional-gids", "7", "--cwd", "/tmp", "--env", "A=b",
        "--cap", "CAP_SYS_PTRACE", "--no-new-privs", sleeper.id, "/probe", "report",
    )  # fmt: skip
    seen = result.seen
    assert (seen["uids"][1], seen["gids"][1]) == (1000, 5)
    assert 7 in seen["groups"]
    assert seen["cwd"] == "/tmp"
    assert "A=b" in seen["env"]
    assert seen["no_new_privs"] == 1


@req("CLI-IN-4")
def test_options_end_at_the_container(runtime, sleeper):
    result = runtime.ok("exec", sleeper.id, "/bin/echo", "-n", "--cwd", "--user")
    assert result.out == "--cwd --user"


@req("CLI-IN-5")
def test_a_process_from_a_file(runtime, sleeper, tmp_path):
    file = tmp_path / "process.json"
    process = {
        "args": ["/bin/sh", "-c", "pwd; id -u; echo $B; echo $HOME"],
        "cwd": "/etc",
        "env": ["PATH=/bin", "B=c"],
    }
    file.write_text(json.dumps({**process, "user": {"uid": 5, "gid": 6}}))
    assert runtime.ok("exec", "--process", file, sleeper.id).out.split() == ["/etc", "5", "c", "/"]


@req("CLI-IN-5")
@pytest.mark.parametrize(
    "text",
    ["{", "[]", '{"args": ["/bin/true"]}', '{"args": [], "cwd": "/"}', '{"args": ["/bin/true"], "cwd": "x"}'],
)
def test_a_file_that_is_no_process(runtime, sleeper, tmp_path, text):
    file = tmp_path / "process.json"
    file.write_text(text)
    result = runtime.cmd("exec", "--process", file, sleeper.id)
    assert result.code != 0
    assert result.err.strip()
    assert sleeper.status == "running"


@req("CLI-IN-6")
def test_in_a_created_container(runtime, bundle):
    c = runtime.create(bundle.args("/bin/sleep", "60"))
    assert runtime.ok("exec", c.id, "/bin/echo", "here").out == "here\n"
    assert c.status == "created"


@req("CLI-IN-7")
def test_in_a_stopped_container(runtime, bundle):
    c = runtime.running(bundle.args("/bin/true"))
    assert poll(lambda: c.status == "stopped")
    result = runtime.cmd("exec", c.id, "/bin/true")
    assert result.code not in {0, 127}
    assert result.err.strip()


@req("CLI-IN-8")
def test_in_a_paused_container(runtime, sleeper):
    runtime.ok("pause", sleeper.id)
    result = runtime.cmd("exec", sleeper.id, "/bin/true")
    assert result.code != 0
    assert "paused" in result.err
    runtime.ok("resume", sleeper.id)
    runtime.ok("exec", sleeper.id, "/bin/true")


@req("CLI-IN-9")
def test_a_terminal(runtime, sleeper, console, tmp_path):
    file = tmp_path / "pid"
    runtime.ok(
        "exec", "--tty", "--detach", "--console-socket", console.path, "--pid-file", file,
        sleeper.id, "/probe", "report", "hold",
    )  # fmt: skip
    seen = seen_in(read_line(console.receive(), '"did":'))
    assert [t["isatty"] for t in seen["tty"]] == [1, 1, 1]
    assert seen["controlling_tty"] == 1
    end(sleeper, int(file.read_text()))


@req("CLI-IN-10")
def test_cgroups_of_its_own(runtime, sleeper, tmp_path):
    below = [host.cgroup_of(sleeper.pid, name) / "sub" for name in host.hierarchies()]
    below = list(dict.fromkeys(below))
    for path in below:
        path.mkdir()
        for name in ("cpuset.cpus", "cpuset.mems"):
            if (path / name).exists():
                (path / name).write_text((path.parent / name).read_text())
    try:
        file = tmp_path / "pid"
        runtime.ok("exec", "--cgroup", "sub", "--detach", "--pid-file", file, sleeper.id, "/bin/sleep", "60")
        pid = int(file.read_text())
        joined = {name: path for name, path in cgroups(pid).items() if name or host.unified_only()}
        assert joined
        assert all(path.endswith("/sub") for path in joined.values())
        end(sleeper, pid)
        assert poll(lambda: not (below[0] / "cgroup.procs").read_text())
        for wrong in ("nope", "../../x"):
            assert runtime.cmd("exec", "--cgroup", wrong, sleeper.id, "/bin/true").code not in {0, 1}
    finally:
        for path in below:
            poll(lambda path=path: not (path / "cgroup.procs").read_text())
            path.rmdir()


@req("LP-13", "LP-14")
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two CPUs")
@pytest.mark.parametrize(("affinity", "cpus"), [({"initial": "0", "final": "1"}, "1"), ({"final": "0"}, "0")])
def test_affinity(runtime, bundle, affinity, cpus):
    c = runtime.running(bundle.args("/bin/sleep", "60").set("process.execCPUAffinity", affinity))
    status = pathlib.Path(f"/proc/{c.pid}/status").read_text()
    assert f"Cpus_allowed_list:\t{ALL_CPUS}\n" in status
    assert f"Cpus_allowed_list:\t{cpus}\n" in runtime.ok("exec", c.id, "/bin/cat", "/proc/self/status").out


@req("CLI-AFFINITY-1")
def test_the_callers_affinity_is_not_inherited(runtime, sleeper):
    taskset = shutil.which("taskset")
    command = [
        taskset,
        "-c",
        "0",
        runtime.path,
        *runtime.options,
        "exec",
        sleeper.id,
        "/bin/cat",
        "/proc/self/status",
    ]
    out = subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True).stdout
    assert f"Cpus_allowed_list:\t{ALL_CPUS}\n" in out


@req("CLI-IN-1")
def test_in_a_user_namespace(runtime, bundle):
    c = runtime.running(bundle.userns().args("/bin/sleep", "60"))
    result = runtime.ok("exec", c.id, "/bin/sh", "-c", "id -u; readlink /proc/self/ns/user")
    assert result.out.split() == ["0", os.readlink(f"/proc/{c.pid}/ns/user")]


@req("CLI-IN-1")
def test_many_at_once(runtime, sleeper):
    command = [runtime.path, *runtime.options, "exec", sleeper.id, "/bin/true"]
    running = [subprocess.Popen(list(map(str, command)), stdin=subprocess.DEVNULL) for _ in range(20)]
    assert [process.wait(timeout=60) for process in running] == [0] * 20


@req("CLI-IN-1")
def test_without_the_bundle(runtime, sleeper):
    """What a container is was settled when it was created."""
    (sleeper.bundle.path / "config.json").unlink()
    runtime.ok("exec", sleeper.id, "/bin/true")


@req("CLI-IN-2")
def test_signals_reach_the_process(runtime, sleeper):
    script = "trap 'exit 9' TERM; echo go; while :; do sleep 0.05; done"
    command = (*runtime.options, "exec", sleeper.id, "/bin/sh", "-c", script)
    with (runtime.work / "signal.out").open("wb") as out:
        process = runtime.spawn(*command, out=out, err=subprocess.DEVNULL)
    assert poll(lambda: (runtime.work / "signal.out").read_text() == "go\n")
    process.send_signal(signal.SIGTERM)
    assert runtime.wait(process) == 9
