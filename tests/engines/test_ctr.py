"""What a user of containerd does with ctr, with pyrunc beside runc as the shim's binary."""

from __future__ import annotations

import functools

import day
import images
import pytest
from box import HOME
from day import CAPS, until

pytestmark = pytest.mark.engines


action = functools.partial(day.action, on=("containerd",))


@pytest.fixture
def ctr(user):
    """A user whose containers go away by ctr's words."""

    def run(*words, script, code=0, **more):
        return user(
            "run", "--rm", *words, images.NAME, user.new_name(), "sh", "-c", script, code=code, **more
        )

    def start(*words, script="exec sleep 1000"):
        name = user.new_name()
        user("run", "--detach", *words, images.NAME, name, "sh", "-c", script)
        return name

    def leave():
        while user.made:
            name = user.made.pop()
            user("task", "rm", "--force", name, code=None)
            user("container", "rm", name, code=None)

    user.run, user.start, user.leave = run, start, leave
    return user


def status(ctr, name):
    rows = [line.split() for line in ctr("task", "ls").out.splitlines()]
    return next((row[2] for row in rows if row[0] == name), None)


def execute(ctr, name, *words, **more):
    return ctr("task", "exec", "--exec-id", ctr.new_name(), name, *words, **more)


@action("run --rm")
def test_ctr_run(ctr):
    assert ctr.run(script="echo hello; echo oops >&2")[:2] == ("hello\n", "oops\n")


@action("run --interactive")
def test_ctr_input(ctr):
    # not cat: ctr 1.6 loses the end of file when it comes before the task
    assert ctr.run(script="head -n 1", data="through\n").out == "through\n"


@action("run --tty")
def test_ctr_terminal(ctr):
    seen = ctr.on_terminal(
        "run", "--rm", "--tty", images.NAME, ctr.new_name(), "sh", "-c", "sleep 1; tty; stty size; read x; echo got $x",
        typed="word\n",
    )  # fmt: skip
    assert "/dev/pts/0" in seen.out or "/dev/console" in seen.out
    assert "got word" in seen.out
    assert seen.code == 0


@action("run --detach, ps, logs, wait, rm")
def test_ctr_detached(ctr):
    name = ctr.start(script="exec sleep 1000")
    assert status(ctr, name) == "RUNNING"
    ctr("task", "kill", "--signal", "SIGKILL", name)
    assert until(lambda: status(ctr, name) == "STOPPED")
    ctr("task", "rm", name, code=None)
    ctr("container", "rm", name)
    assert name not in ctr("container", "ls").out


@action("the runtime that was asked for is used")
def test_ctr_the_runtime(ctr):
    name = ctr.start()
    root = ("--root", "/run/containerd/runc/default")
    knows = {
        each: ctr.box(path, *root, "state", name).code == 0 for each, path in ctr.engine.runtimes.items()
    }
    assert [each for each, yes in knows.items() if yes] == [ctr.runtime]


@action("exit codes 0-255, 128+n")
@pytest.mark.parametrize("code", [0, 1, 42, 255])
def test_ctr_exit_code(ctr, code):
    ctr.run(script=f"exit {code}", code=code)


@action("exit codes 0-255, 128+n")
def test_ctr_exit_by_a_signal(ctr):
    name = ctr.start()
    ctr("task", "kill", "--signal", "9", name)
    assert until(lambda: status(ctr, name) == "STOPPED")
    assert "exit code 137" in ctr("task", "rm", name).err


@action("exit code 127: not found")
@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("/nope", 'exec: "/nope": stat /nope: no such file or directory'),
        ("nope", "executable file not found in $PATH"),
    ],
)
def test_ctr_not_found(ctr, program, why):
    assert why in ctr("run", "--rm", images.NAME, ctr.new_name(), program, code=1).err
    said = ctr("run", "--rm", images.NAME, ctr.new_name(), "/etc", code=1).err
    assert (
        "permission denied" in said or "is a directory" in said
    )  # the latter with a runc of Go 1.20 and later


@action("--env, --workdir, --hostname, --entrypoint, --label")
def test_ctr_environment(ctr):
    words = ("--env", "A=b c", "--cwd", "/var", "--label", "x=y")
    assert ctr.run(*words, script='echo "$A" $(pwd)').out == "b c /var\n"


@action("--uidmap: a user namespace")
def test_ctr_user_namespace(ctr):
    words = ("--uidmap", "0:100000:65536", "--gidmap", "0:100000:65536")
    assert ctr.run(*words, script="cat /proc/self/uid_map; id -u").out.split() == [
        "0",
        "100000",
        "65536",
        "0",
    ]


@action("--volume, also :ro, --mount")
def test_ctr_mount(ctr):
    folder = f"{HOME}/mount-{ctr.runtime}"
    ctr.box.write(f"{folder}/there", "seen")
    mount = f"type=bind,src={folder},dst=/v,options=rbind"
    assert ctr.run("--mount", f"{mount}:rw", script="cat /v/there; echo new >/v/made").out == "seen"
    assert ctr.box("cat", f"{folder}/made").out == "new\n"
    assert "Read-only" in ctr.run("--mount", f"{mount}:ro", script="echo no >/v/made", code=1).err


@action("--read-only, --tmpfs")
def test_ctr_read_only(ctr):
    assert ctr.run("--read-only", script="touch /x 2>/dev/null || echo refused").out == "refused\n"


@action("exec: user, env, workdir, exit code")
def test_ctr_exec(ctr):
    name = ctr.start()
    assert execute(ctr, name, "id", "-u").out == "0\n"
    assert execute(ctr, name, "head", "-n", "1", data="in\n").out == "in\n"
    done = ctr(
        "task", "exec", "--exec-id", "x", "--user", "alice", "--cwd", "/tmp", name, "sh", "-c", "id -u; pwd"
    )
    assert done.out == "1000\n/tmp\n"
    execute(ctr, name, "sh", "-c", "exit 9", code=9)


@action("exec of what is not there: 126 or 127")
def test_ctr_exec_of_nothing(ctr):
    name = ctr.start()
    assert 'exec: "/nope": stat /nope: no such file or directory' in execute(ctr, name, "/nope", code=1).err


@action("exec --tty")
def test_ctr_exec_on_a_terminal(ctr):
    name = ctr.start()
    words = ("task", "exec", "--exec-id", "x", "--tty", name, "sh", "-c", "sleep 1; tty; read x; echo got $x")
    seen = ctr.on_terminal(*words, typed="word\n")
    assert "/dev/pts/" in seen.out
    assert "got word" in seen.out


@action("exec --detach")
def test_ctr_exec_detached(ctr):
    name = ctr.start()
    ctr("task", "exec", "--detach", "--exec-id", "d", name, "sh", "-c", "echo x >/tmp/left; sleep 100")
    assert until(lambda: execute(ctr, name, "cat", "/tmp/left", code=None).out) == "x\n"
    assert "d" in ctr("task", "ps", name).out


@action("top")
def test_ctr_ps(ctr):
    name = ctr.start(script="sleep 1000 & exec sleep 1000")
    assert until(lambda: len(ctr("task", "ps", name).out.splitlines()) == 3)


@action("stats")
def test_ctr_metrics(ctr):
    name = ctr.start()
    said = ctr("task", "metrics", name).out
    assert "memory.usage" in said
    assert "pids.current" in said


@action("kill --signal")
def test_ctr_kill(ctr):
    name = ctr.start(script="trap 'exit 7' USR1; touch /ready; while :; do sleep .1; done")
    assert until(lambda: execute(ctr, name, "ls", "/ready", code=None).code == 0)
    ctr("task", "kill", "--signal", "SIGUSR1", name)
    assert until(lambda: status(ctr, name) == "STOPPED")
    failed = ctr("task", "kill", "--signal", "SIGKILL", name, code=None)
    assert failed.code == 1
    assert "not found" in failed.err
    assert "exit code 7" in ctr("task", "rm", name).err


@action("kill --all")
def test_ctr_kill_all(ctr):
    name = ctr.start(script="sleep 1000 & exec sleep 1000")
    ctr("task", "kill", "--all", "--signal", "SIGKILL", name)
    assert until(lambda: status(ctr, name) == "STOPPED")


@action("pause, unpause")
def test_ctr_pause(ctr):
    name = ctr.start()
    ctr("task", "pause", name)
    assert status(ctr, name) == "PAUSED"
    ctr("task", "resume", name)
    assert status(ctr, name) == "RUNNING"
    assert execute(ctr, name, "echo", "on").out == "on\n"


@action("limits: --memory, --cpus, --cpu-shares, --cpuset-cpus, --pids-limit")
def test_ctr_limits(ctr):
    name = ctr.start("--memory-limit", str(32 << 20), "--cpus", "0.5")
    said = ctr("task", "metrics", name).out
    assert str(32 << 20) in said


@action("the memory limit is hit: OOMKilled")
def test_ctr_oom(ctr):
    hog = "exec dd if=/dev/zero of=/dev/null bs=64M count=1"
    ctr.run("--memory-limit", str(16 << 20), script=hog, code=137)


@action("--cap-add, --cap-drop")
def test_ctr_capabilities(ctr):
    plain = int(ctr.run(script=CAPS).out, 16)
    assert int(ctr.run("--cap-add", "CAP_SYS_TIME", script=CAPS).out, 16) == plain | 1 << 25
    assert int(ctr.run("--cap-drop", "CAP_CHOWN", script=CAPS).out, 16) == plain & ~1


@action("--privileged")
def test_ctr_privileged(ctr):
    said = ctr.run("--privileged", script=f"{CAPS}; mount -t tmpfs x /tmp && echo mounted").out.split()
    assert int(said[0], 16) & 1 << 21
    assert said[1] == "mounted"


@action("default seccomp, masked and read-only paths")
def test_ctr_seccomp(ctr):
    assert ctr.run("--seccomp", script="grep ^Seccomp: /proc/self/status").out == "Seccomp:\t2\n"


@action("--pid, --network, --ipc, --uts host")
def test_ctr_host_network(ctr):
    script = "readlink /proc/self/ns/net"
    ours = ctr.box("readlink", "/proc/1/ns/net").out
    assert ctr.run("--net-host", script=script).out == ours
    assert ctr.run(script=script).out != ours


@action("twenty at a time, then nothing is left")
def test_ctr_many(ctr):
    words = [
        ctr.engine.command(ctr.runtime, "run", "--detach", images.NAME, ctr.new_name(), "sleep", "1000")
        for _ in range(20)
    ]
    names = list(ctr.made)
    jobs = " & ".join(" ".join(command) for command in words)
    assert ctr.box("sh", "-c", f"{jobs} & wait", limit=100).code == 0
    assert all(status(ctr, name) == "RUNNING" for name in names)
    ctr.leave()
    assert not [name for name in names if name in ctr("container", "ls").out]
    assert not [name for name in names if name in ctr.box("ls", "/run/containerd/runc/default").out]
