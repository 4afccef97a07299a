"""The day of a user of Docker or Podman, with pyrunc beside runc: what works with one works with the other."""

from __future__ import annotations

import json
import time

import images
import pytest
from box import HOME

pytestmark = pytest.mark.engines
BOTH = ("docker", "podman")
CAPS = r"sed -n 's/^CapEff:\t//p' /proc/self/status"


def action(name, on=BOTH):
    return pytest.mark.action(name, on=on)


def until(what, limit=10.0):
    """Wait until `what()` is true; its last value is the answer."""
    end = time.monotonic() + limit
    while not (seen := what()) and time.monotonic() < end:
        time.sleep(0.1)
    return seen


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
    assert "permission denied" in user.run(images.NAME, program, code=126).err.lower()


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


# ---- files ----


@action("--volume, also :ro, --mount")
def test_volume(user):
    folder = f"{HOME}/volume-{user.engine.name}-{user.runtime}"
    user.box.write(f"{folder}/there", "seen")
    assert user.run("-v", f"{folder}:/v", script="cat /v/there; echo new >/v/made").out == "seen"
    assert user.box("cat", f"{folder}/made").out == "new\n"
    assert "Read-only" in user.run("-v", f"{folder}:/v:ro", script="echo no >/v/made", code=None).err
    mount = f"type=bind,source={folder},target=/m,readonly"
    assert "Read-only" in user.run("--mount", mount, script="cat /m/there; echo no >/m/made", code=None).err


@action("named volumes")
def test_named_volume(user):
    name = user.new_name()
    user.run("-v", f"{name}:/data", script="echo kept >/data/x")
    assert user.run("-v", f"{name}:/data", script="cat /data/x").out == "kept\n"
    user("volume", "rm", name)


@action("--read-only, --tmpfs")
def test_read_only(user):
    script = "touch /x 2>/dev/null || echo refused; touch /t/x && grep ' /t ' /proc/mounts"
    said = user.run("--read-only", "--tmpfs", "/t:size=1m,mode=700", script=script).out
    assert said.startswith("refused\n")
    assert "tmpfs" in said
    assert "size=1024k" in said


@action("--shm-size")
def test_shm(user):
    assert "size=2048k" in user.run("--shm-size", "2m", script="grep ' /dev/shm ' /proc/mounts").out


@action("--device")
def test_device(user):
    assert user.run("--device", "/dev/full:/dev/brim:rw", script="stat -c '%F %t %T' /dev/brim").out.split()[
        -2:
    ] == ["1", "7"]


@action("cp in both directions")
def test_cp(user):
    name = user.start()
    path = user.box.write(f"{HOME}/{name}", "copied")
    user("cp", path, f"{name}:/tmp/x")
    assert user("exec", name, "cat", "/tmp/x").out == "copied"
    user("cp", f"{name}:/tmp/x", f"{path}.back")
    assert user.box("cat", f"{path}.back").out == "copied"


@action("diff, commit")
def test_commit(user):
    name = user.start(script="echo x >/home/new")
    user("wait", name)
    assert "A /home/new" in user("diff", name).out
    user("commit", name, f"localhost/{name}:1")
    assert user("run", "--rm", f"localhost/{name}:1", "cat", "/home/new").out == "x\n"
    user("rmi", f"localhost/{name}:1")


# ---- exec ----


@action("exec: user, env, workdir, exit code")
def test_exec(user):
    name = user.start()
    done = user("exec", "-u", "alice", "-e", "A=b", "-w", "/tmp", name, "sh", "-c", "id -un; echo $A; pwd")
    assert done.out == "alice\nb\n/tmp\n"
    user("exec", name, "sh", "-c", "exit 9", code=9)
    assert user("exec", "-i", name, "cat", data="in\n").out == "in\n"


@action("exec of what is not there: 126 or 127")
def test_exec_of_nothing(user):
    name = user.start()
    failed = user("exec", name, "/nope", code=None)
    assert failed.code == (126 if user.engine.name == "docker" else 127)  # docker 20.10 says 126
    assert "no such file or directory" in failed.out + failed.err
    assert user("exec", name, "/etc", code=None).code == 126


@action("exec --tty")
def test_exec_on_a_terminal(user):
    name = user.start()
    seen = user.on_terminal(
        "exec", "-it", name, "sh", "-c", "sleep 1; tty; stty size; read x; echo got $x", typed="word\n"
    )
    assert "/dev/pts/" in seen.out
    assert "40 100" in seen.out
    assert "got word" in seen.out


@action("exec --detach")
def test_exec_detached(user):
    name = user.start()
    user("exec", "-d", name, "sh", "-c", "echo x >/tmp/left; sleep 100")
    assert until(lambda: user("exec", name, "cat", "/tmp/left", code=None).out) == "x\n"


@action("exec --privileged")
def test_exec_privileged(user):
    name = user.start()
    plain, more = (int(user("exec", *w, name, "sh", "-c", CAPS).out, 16) for w in ((), ("--privileged",)))
    assert plain != more
    assert more & 1 << 21  # CAP_SYS_ADMIN


# ---- what is going on ----


@action("top")
def test_top(user):
    name = user.start()
    assert "sleep 1000" in user("top", name).out


@action("stats")
def test_stats(user):
    name = user.start(script="head -c 4000000 /dev/zero >/dev/shm/x; exec sleep 1000")
    form = "{{.MemUsage}}|{{.PIDs}}"
    seen = until(
        lambda: (
            (s := user("stats", "--no-stream", "--format", form, name).out)
            and "MB" in s.replace("i", "")
            and s
        )
    )
    assert seen.strip().split("|")[1] == "1"


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


# ---- signals, pause, update ----


@action("stop, and its time limit")
def test_stop(user):
    trap = "trap 'exit 5' TERM; echo ready; while :; do sleep .1; done"
    for script, code in ((trap, "5"), ("trap '' TERM; echo ready; while :; do sleep .1; done", "137")):
        name = user.start(script=script)
        assert until(lambda name=name: user("logs", name).out)
        user("stop", "-t", "1", name)
        assert user.inspect(name, "{{.State.ExitCode}}") == code
        assert user.inspect(name, "{{.State.Status}}") == "exited"


@action("kill --signal")
def test_kill(user):
    script = "trap 'echo one' USR1; trap 'echo two; exit 0' USR2; echo ready; while :; do sleep .1; done"
    name = user.start(script=script)
    assert until(lambda: user("logs", name).out)
    user("kill", "--signal", "USR1", name)
    assert until(lambda: "one" in user("logs", name).out)
    user("kill", "--signal", "SIGUSR2", name)
    assert user("wait", name).out.strip() == "0"
    assert user("logs", name).out == "ready\none\ntwo\n"
    assert user("kill", name, code=None).code != 0


@action("restart")
def test_restart(user):
    name = user.start(script="echo once; exec sleep 1000")
    user("restart", "-t", "0", name)
    assert until(lambda: user("logs", name).out.count("once") == 2)
    assert user.inspect(name, "{{.State.Status}}") == "running"


@action("--restart on-failure")
def test_restart_policy(user):
    name = user.start("--restart", "on-failure:2", script="echo once; exit 1")
    assert until(lambda: user("logs", name).out.count("once") == 3)
    assert until(lambda: user.inspect(name, "{{.State.Status}}") == "exited")


@action("pause, unpause")
def test_pause(user):
    name = user.start(script="while :; do echo x >>/tmp/n; sleep .1; done")
    count = lambda: len(user("cp", f"{name}:/tmp/n", "-").out)  # noqa: E731
    user("pause", name)
    assert user.inspect(name, "{{.State.Status}}") == "paused"
    assert user("exec", name, "true", code=None).code != 0
    first = count()
    time.sleep(0.5)
    assert count() == first
    user("unpause", name)
    assert user.inspect(name, "{{.State.Status}}") == "running"
    assert until(lambda: len(user("exec", name, "cat", "/tmp/n").out) > 4)


def limit_of(user, name, v1, v2):
    """Read a limit as the container sees it."""
    script = f"cat /sys/fs/cgroup/{v1} 2>/dev/null || cat /sys/fs/cgroup/{v2}"
    return user("exec", name, "sh", "-c", script).out.strip()


MEMORY = ("memory/memory.limit_in_bytes", "memory.max")


@action("update of limits")
def test_update(user):
    name = user.start("--memory", "32m", "--memory-swap", "32m")
    assert limit_of(user, name, *MEMORY) == str(32 << 20)
    user("update", "--memory", "64m", "--memory-swap", "64m", name)
    assert limit_of(user, name, *MEMORY) == str(64 << 20)


@action("limits: --memory, --cpus, --cpu-shares, --cpuset-cpus, --pids-limit")
def test_limits(user):
    name = user.start(
        "--memory", "32m", "--cpus", "0.5", "--cpu-shares", "512", "--cpuset-cpus", "0", "--pids-limit", "20"
    )  # fmt: skip
    assert limit_of(user, name, *MEMORY) == str(32 << 20)
    assert limit_of(user, name, "cpu/cpu.cfs_quota_us", "cpu.max").split()[0] == "50000"
    assert limit_of(user, name, "cpu/cpu.shares", "cpu.weight") in ("512", "20")
    assert limit_of(user, name, "cpuset/cpuset.cpus", "cpuset.cpus") == "0"
    assert limit_of(user, name, "pids/pids.max", "pids.max") == "20"


@action("the memory limit is hit: OOMKilled")
def test_oom(user):
    hog = "dd if=/dev/zero of=/dev/null bs=64M count=1"
    name = user.start("--memory", "16m", script=f"exec {hog}")
    assert user("wait", name).out.strip() == "137"
    # the engine learns of it by an event that may come after the exit of a first process
    name = user.start("--memory", "16m", script=f"{hog}; code=$?; sleep 1; exit $code")
    user("wait", name)
    assert user.inspect(name, "{{.State.OOMKilled}} {{.State.ExitCode}}") == "true 137"


# ---- privileges ----


@action("--cap-add, --cap-drop")
def test_capabilities(user):
    plain = int(user.run(script=CAPS).out, 16)
    more = int(user.run("--cap-add", "SYS_TIME", script=CAPS).out, 16)
    less = int(user.run("--cap-drop", "ALL", "--cap-add", "CHOWN", script=CAPS).out, 16)
    assert (more, less) == (plain | 1 << 25, 1)


@action("--privileged")
def test_privileged(user):
    said = user.run("--privileged", script=f"{CAPS}; mount -t tmpfs x /tmp && echo mounted; ls /dev/full").out
    assert int(said.split()[0], 16) & 1 << 21
    assert "mounted\n/dev/full" in said
    assert "Seccomp:\t0" in user.run("--privileged", script="cat /proc/self/status").out


@action("default seccomp, masked and read-only paths")
def test_defaults(user):
    script = "grep ^Seccomp: /proc/self/status; unshare -m true 2>&1; cat /proc/kcore 2>/dev/null | head -c 1 | wc -c;"
    script += " echo 1 >/proc/sys/kernel/panic; ls /proc/acpi /sys/firmware | wc -l"
    said = user.run(script=script, code=None)
    assert said.out.startswith("Seccomp:\t2\n")
    assert "not permitted" in said.out
    assert "\n0\n" in said.out
    assert "Read-only" in said.err


@action("--security-opt seccomp=PROFILE, seccomp=unconfined")
def test_seccomp(user):
    rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}
    profile = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
    path = user.box.write(f"{HOME}/seccomp.json", json.dumps(profile))
    assert "No space" in user.run("--security-opt", f"seccomp={path}", script="mkdir /x", code=1).err
    script = "grep ^Seccomp: /proc/self/status"
    assert user.run("--security-opt", "seccomp=unconfined", script=script).out == "Seccomp:\t0\n"


@action("--security-opt no-new-privileges")
def test_no_new_privileges(user):
    script = "grep NoNewPrivs /proc/self/status"
    assert user.run("--security-opt", "no-new-privileges", script=script).out == "NoNewPrivs:\t1\n"


@action("--ulimit")
def test_ulimit(user):
    words = (
        "--ulimit",
        "nofile=100:200",
        "--ulimit",
        "core=0",
        "--ulimit",
        "nproc=1000:1000",
    )  # podman would raise nproc
    assert user.run(*words, script="ulimit -n; ulimit -Hn; ulimit -c").out.split() == ["100", "200", "0"]


@action("--sysctl")
def test_sysctl(user):
    words = ("--sysctl", "kernel.msgmax=4096", "--sysctl", "net.ipv4.ip_forward=1")
    script = "cat /proc/sys/kernel/msgmax /proc/sys/net/ipv4/ip_forward"
    assert user.run(*words, script=script).out.split() == ["4096", "1"]


@action("--oom-score-adj")
def test_oom_score(user):
    assert user.run("--oom-score-adj", "500", script="cat /proc/self/oom_score_adj").out == "500\n"


# ---- namespaces, init ----


@action("--init")
def test_init(user):
    assert "init" in user.run("--init", script="cat /proc/1/cmdline").out


@action("--pid, --network, --ipc, --uts host")
@pytest.mark.parametrize(
    ("option", "name"), [("pid", "pid"), ("network", "net"), ("ipc", "ipc"), ("uts", "uts")]
)
def test_host_namespace(user, option, name):
    ours = user.box("readlink", f"/proc/1/ns/{name}").out
    assert user.run(f"--{option}", "host", script=f"readlink /proc/self/ns/{name}").out == ours
    assert user.run(script=f"readlink /proc/self/ns/{name}").out != ours


@action("--pid host: stop ends all of it")
def test_stop_with_the_hosts_pids(user):
    name = user.start("--pid", "host", script="sleep 1234 & exec sleep 1000")
    user("stop", "-t", "0", name)
    assert until(lambda: "sleep 1234" not in user.box("ps", "-eo", "args").out)


@action("--network none")
def test_network_none(user):
    assert user.run("--network", "none", script="ls /sys/class/net").out.split() == ["lo"]


@action("--pid, --network, --ipc container:NAME")
@pytest.mark.parametrize(("option", "name"), [("pid", "pid"), ("network", "net"), ("ipc", "ipc")])
def test_namespace_of_another(user, option, name):
    shared = ("--ipc", "shareable") if option == "ipc" else ()
    other = user.start(*shared)
    theirs = user("exec", other, "readlink", f"/proc/self/ns/{name}").out
    assert (
        user.run(f"--{option}", f"container:{other}", script=f"readlink /proc/self/ns/{name}").out == theirs
    )


@action("--cgroupns private")
def test_cgroup_namespace(user):
    words = ("--cgroupns", "private")
    assert ":/\n" in user.run(*words, script="cat /proc/self/cgroup").out
    assert user.engine.box.parent not in user.run(*words, script="cat /proc/self/cgroup").out


@action("--uidmap: a user namespace", on=("podman",))
def test_user_namespace(user):
    said = user.run(
        "--uidmap", "0:100000:1000", "--gidmap", "0:100000:1000", script="cat /proc/self/uid_map; id -u"
    )
    assert said.out.split() == ["0", "100000", "1000", "0"]


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


@action("build with RUN steps", on=("podman",))
def test_build(user):
    folder = f"{HOME}/build-{user.runtime}"
    user.box.write(
        f"{folder}/Containerfile", f"FROM {images.NAME}\nRUN echo built >/built && id -u\nUSER alice\n"
    )
    user(
        "build",
        "--network",
        "none",
        "--cgroup-parent",
        user.box.parent,
        "-t",
        f"built-{user.runtime}",
        folder,
    )
    assert (
        user("run", "--rm", f"built-{user.runtime}", "sh", "-c", "cat /built; id -un").out == "built\nalice\n"
    )


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


@action("twenty at a time, then nothing is left")
def test_many(user):
    names = [user.new_name() for _ in range(20)]
    jobs = " & ".join(
        " ".join(user.engine.command(user.runtime, "run", "-d", "--name", name, images.NAME, "sleep", "1000"))
        for name in names
    )
    assert user.box("sh", "-c", f"{jobs} & wait", limit=100).code == 0
    listed = user("ps", "--format", "{{.Names}}").out.split()
    assert set(names) <= set(listed)
    user(*user.engine.remove, *names, limit=100)
    assert not set(names) & set(user("ps", "--all", "--format", "{{.Names}}").out.split())
