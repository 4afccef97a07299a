"""Privileges and namespaces, with pyrunc beside runc."""

from __future__ import annotations

import json

import pytest
from box import HOME
from day import CAPS, action, until

pytestmark = pytest.mark.engines


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
