"""The first hour with Docker or Podman, with pyrunc beside runc: what works with one works with the other."""

from __future__ import annotations

import time

import images
import pytest
from day import action, until

pytestmark = pytest.mark.engines


# ---- run ----


@action("run --rm")
def test_run(user):
    assert user.run(script="echo hello; echo oops >&2")[:2] == ("hello\n", "oops\n")
    assert user.runtime in user("info").out + user.runtime


@action("run --interactive")
def test_input(user):
    assert user.run("-i", images.NAME, "cat", data="through\n").out == "through\n"


@action("run --tty")
def test_terminal(user):
    seen = user.on_terminal(
        "run", "--rm", "-it", images.NAME, "sh", "-c", "sleep 1; tty; stty size; read x; echo got $x",
        typed="word\n",
    )  # fmt: skip
    assert "/dev/pts/0" in seen.out or "/dev/console" in seen.out
    assert "40 100" in seen.out
    assert "got word" in seen.out
    assert seen.code == 0


@action("run --detach, ps, logs, wait, rm")
def test_detached(user):
    name = user.start(script="echo begun; sleep 1; exit 3")
    assert name in user("ps", "--format", "{{.Names}}").out.split()
    assert user("wait", name).out.strip() == "3"
    assert user("logs", name).out == "begun\n"
    user("rm", name)
    assert name not in user("ps", "--all", "--format", "{{.Names}}").out.split()


@action("the runtime that was asked for is used")
def test_the_runtime(user):
    name = user.start()
    form = "{{.HostConfig.Runtime}}" if user.engine.name == "docker" else "{{.OCIRuntime}}"
    assert user.inspect(name, form) == user.runtime


@action("create, start, attach to the output")
def test_create_then_start(user):
    name = user.new_name()
    user("create", "--name", name, images.NAME, "echo", "later")
    assert user("start", "--attach", name).out == "later\n"
    assert user("start", "--attach", name).out == "later\n"


@action("exit codes 0-255, 128+n")
@pytest.mark.parametrize("code", [0, 1, 42, 255])
def test_exit_code(user, code):
    user.run(script=f"exit {code}", code=code)


@action("exit codes 0-255, 128+n")
def test_exit_by_a_signal(user):
    script = "dd if=/dev/zero of=/dev/null & kill -9 $!; wait $!"
    user.run(script=script, code=137)
    name = user.start()
    user("kill", name)
    assert user("wait", name).out.strip() == "137"


@action("exit code 125: the engine refuses")
def test_exit_code_125(user):
    user.run("--cap-add", "NO_SUCH_CAPABILITY", script="true", code=125)


@action("exit code 126: cannot be executed")
@pytest.mark.parametrize("program", ["/etc", "/etc/passwd"])
def test_exit_code_126(user, program):
    said = user.run(images.NAME, program, code=126).err.lower()
    assert (
        "permission denied" in said or "is a directory" in said
    )  # the latter with a runc of Go 1.20 and later


@action("exit code 127: not found")
@pytest.mark.parametrize(
    ("program", "why"), [("/nope", "no such file"), ("nope", "executable file not found")]
)
def test_exit_code_127(user, program, why):
    assert why in user.run(images.NAME, program, code=127).err


@action("--env, --workdir, --hostname, --entrypoint, --label")
def test_environment(user):
    more = (
        "-e",
        "A=b c",
        "-w",
        "/var",
        "--hostname",
        "box",
        "--label",
        "x=y",
        "--entrypoint",
        "/bin/busybox",
    )
    script = 'echo "$A" $(pwd) $(hostname) "$PATH" "$HOME"'
    assert user.run(*more, images.NAME, "sh", "-c", script).out == "b c /var box /bin /root\n"


@action("--user, --group-add")
@pytest.mark.parametrize(
    ("words", "uid", "gid", "groups"),
    [
        (["--user", "alice"], 1000, 1000, {"1000", "2000"}),
        (["--user", "1234:5"], 1234, 5, {"5"}),
        (["--user", "alice", "--group-add", "77"], 1000, 1000, {"77", "1000"}),
    ],
)
def test_user(user, words, uid, gid, groups):
    said = user.run(*words, script="id -u; id -g; id -G").out.split()
    assert said[:2] == [str(uid), str(gid)]
    assert groups <= set(said[2:])


# ---- what is going on ----


@action("top")
def test_top(user):
    name = user.start()
    assert "sleep 1000" in user("top", name).out


@action("stats")
def test_stats(user):
    name = user.start(script="head -c 4000000 /dev/zero >/dev/shm/x; exec sleep 1000")
    form = "{{.MemUsage}}|{{.PIDs}}"
    seen = lambda: user("stats", "--no-stream", "--format", form, name).out.replace("i", "")  # noqa: E731
    assert until(lambda: "MB" in (said := seen()) and said.strip().endswith("|1"))  # head may still be there


@action("logs --follow")
def test_logs(user):
    name = user.start(script="for i in 1 2 3; do echo $i; sleep .3; done")
    assert user("logs", "--follow", name).out == "1\n2\n3\n"


@action("events")
def test_events(user):
    begun = str(int(time.time()))
    name = user.start(script="true")
    user("wait", name)
    seen = user(
        "events", "--since", begun, "--until", str(int(time.time()) + 2), "--filter", f"container={name}"
    ).out
    assert " start " in seen
    assert " die" in seen or " died" in seen


# ---- more ----


@action("health checks")
def test_health(user):
    if user.engine.name == "docker":
        words = ("--health-cmd", "test -e /tmp/well", "--health-interval", "1s", "--health-retries", "1")
        name = user.start(*words, script="sleep 2; touch /tmp/well; exec sleep 1000")
        assert until(lambda: user.inspect(name, "{{.State.Health.Status}}") == "healthy")
    else:  # without systemd nobody runs the checks but the user
        name = user.start("--health-cmd", "test -e /tmp/well", "--health-interval", "disable")
        assert user("healthcheck", "run", name, code=None).code == 1
        user("exec", name, "touch", "/tmp/well")
        user("healthcheck", "run", name)


@action("pods", on=("podman",))
def test_pod(user):
    pod = f"pod-{user.runtime}"
    user(
        "pod", "create", "--name", pod, "--cgroup-parent", user.box.parent, "--infra-image", images.NAME,
        "--infra-command", "sleep 1000", "--network", "none",
    )  # fmt: skip
    try:
        name = user.new_name()
        user("run", "-d", "--name", name, "--pod", pod, images.NAME, "sleep", "1000")
        assert user("exec", name, "readlink", "/proc/self/ns/net").out.startswith("net:")
        assert user("pod", "inspect", "--format", "{{.State}}", pod).out.strip() == "Running"
    finally:
        user("pod", "rm", "--force", "--time", "0", pod)
