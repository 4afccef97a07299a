"""Ordinary users who have a systemd of their own: containers as its scopes, and in cgroups that were delegated."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest
from lib import host
from lib.runtime import new_id, poll
from lib.user import OfUser, own_cgroup

req = pytest.mark.req
pytestmark = pytest.mark.only_if("cgroup-v2", "systemd", "sessions:1")
MIB = 1 << 20


def user_of(runtime, uid, **how):
    made = OfUser(runtime, uid, **how)
    if subprocess.run([*made.become, "test", "-x", made.path], check=False).returncode:
        pytest.skip("needs a runtime that an ordinary user can reach")
    return made


@pytest.fixture(params=["session", "elsewhere"])
def user(runtime, request):
    """Called from a scope of the user's own, and from a service of root's, as cron and sudo do."""
    made = user_of(runtime, host.session_users()[0], scope=request.param == "session")
    made.globals = ("--systemd-cgroup",)
    yield made
    made.clean_containers()
    assert made.states() == []


@pytest.fixture
def in_scope(runtime):
    """Without systemd's help, in a scope that was delegated."""
    made = user_of(runtime, host.session_users()[0], scope=True)
    yield made
    made.clean_containers()
    assert made.states() == []


def files(place, *names):
    return {name: (place / name).read_text().strip() for name in names}


# ---- scopes ----


@req("CLI-USER-1")
def test_a_day_of_a_container(user):
    """Every command that speaks of cgroups, on a scope in the user's own slice."""
    c = user.create(user.bundle())
    place = host.cgroup_of(c.pid, "")
    unit = place.name
    assert place.parent == own_cgroup(user.uid) / "user.slice"
    assert unit.endswith(f"-{c.id}.scope")
    assert user.show(unit, "ActiveState", "Delegate") == {"ActiveState": "active", "Delegate": "yes"}
    c.start()
    user.ok("exec", "--detach", "--pid-file", user.own / "pid", c.id, "/bin/sleep", "1000")
    pid = int((user.own / "pid").read_text())
    assert host.cgroup_of(pid, "") == place
    assert user.ok("ps", "--format", "json", c.id).json() == [c.pid, pid]
    user.ok("pause", c.id)
    assert (c.status, files(place, "cgroup.freeze")) == ("paused", {"cgroup.freeze": "1"})
    user.ok("resume", c.id)
    assert '"pids"' in user.ok("events", "--stats", c.id).out
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    c.stop()
    c.delete()
    assert not place.exists()
    assert user.systemctl("list-units", "--all", "--plain", "--no-legend", f"*{c.id}*") == ""


@req("CLI-USER-2", "CLI-UPDATE-1")
def test_limits_of_a_scope(user):
    bundle = user.bundle().set("linux.resources.memory", {"limit": 64 * MIB, "reservation": 32 * MIB})
    bundle.set("linux.resources.cpu", {"shares": 512, "quota": 20000, "period": 50000, "cpus": "0"})
    bundle.set("linux.resources.pids", {"limit": 77}).set(
        "linux.resources.unified", {"memory.high": str(48 * MIB)}
    )
    c = user.create(bundle)
    place = host.cgroup_of(c.pid, "")
    assert files(place, "memory.max", "memory.low", "memory.high", "cpu.max", "cpuset.cpus", "pids.max") == {
        "memory.max": str(64 * MIB), "memory.low": str(32 * MIB), "memory.high": str(48 * MIB),
        "cpu.max": "20000 50000", "cpuset.cpus": "0", "pids.max": "77",
    }  # fmt: skip
    wanted = {"MemoryMax": str(64 * MIB), "TasksMax": "77", "AllowedCPUs": "0", "CPUQuotaPerSecUSec": "400ms"}
    assert user.show(place.name, *wanted) == wanted
    user.ok("update", "--memory", str(48 * MIB), "--pids-limit", "33", c.id)
    assert user.show(place.name, "MemoryMax", "TasksMax") == {"MemoryMax": str(48 * MIB), "TasksMax": "33"}
    assert files(place, "memory.max", "pids.max") == {"memory.max": str(48 * MIB), "pids.max": "33"}


@req("CLI-USER-2", "CG-4")
def test_a_slice_of_the_users(user):
    name = new_id()
    c = user.create(user.bundle().set("linux.cgroupsPath", f"st-user.slice:st:{name}"))
    assert host.cgroup_of(c.pid, "") == own_cgroup(user.uid) / f"st.slice/st-user.slice/st-{name}.scope"
    c.delete("--force")
    user.systemctl("stop", "st.slice")


@req("CLI-USER-3")
@pytest.mark.only_if("sessions:2")
def test_a_controller_that_was_not_delegated(runtime):
    """systemd itself passes over a limit that it cannot set; a container without its limit is none."""
    uid = host.session_users()[-1]
    lacking = {"cpuset", "io"} - set((own_cgroup(uid) / "cgroup.controllers").read_text().split())
    if not lacking:
        pytest.skip("needs a user to whom systemd delegates less")
    user = user_of(runtime, uid, scope=True)
    user.globals = ("--systemd-cgroup",)
    user.refuses(user.bundle().set("linux.resources.cpu", {"cpus": "0"}), "cpuset")
    c = user.create(user.bundle().set("linux.resources.pids", {"limit": 77}))
    assert files(host.cgroup_of(c.pid, ""), "pids.max") == {"pids.max": "77"}
    user.clean_containers()


@req("CLI-USER-1")
def test_a_foreground_run(user):
    assert user.run(user.bundle().args("/bin/sh", "-c", "echo it is $(id -u)")).out == "it is 0\n"


# ---- files ----


@req("CLI-USER-4", "CLI-ROOTLESS-3")
def test_a_relative_path_lies_beside_the_callers_scope(in_scope):
    """The user may write there, and move processes from their scope to it."""
    bundle = in_scope.bundle().set("linux.cgroupsPath", f"st-{new_id()}/c")
    bundle.set("linux.resources.pids", {"limit": 77}).set("linux.resources.memory", {"limit": 64 * MIB})
    c = in_scope.create(bundle)
    place = host.cgroup_of(c.pid, "")
    assert own_cgroup(in_scope.uid) in place.parents
    assert files(place, "pids.max", "memory.max") == {"pids.max": "77", "memory.max": str(64 * MIB)}
    c.start()
    in_scope.ok("exec", c.id, "/bin/true")
    in_scope.ok("update", "--pids-limit", "33", c.id)
    assert files(place, "pids.max") == {"pids.max": "33"}
    in_scope.ok("pause", c.id)
    in_scope.ok("resume", c.id)
    c.delete("--force")
    assert poll(lambda: not place.exists())


@req("CLI-USER-4")
def test_without_a_path(in_scope):
    c = in_scope.create(in_scope.bundle().set("linux.resources.pids", {"limit": 77}))
    assert files(host.cgroup_of(c.pid, ""), "pids.max") == {"pids.max": "77"}


@req("CLI-ROOTLESS-3")
def test_a_path_outside_of_what_was_delegated(in_scope):
    in_scope.refuses(in_scope.bundle().set("linux.cgroupsPath", f"/st-{new_id()}"), "cgroup")


@req("CLI-ROOTLESS-3")
def test_neither_limits_nor_a_path_where_nothing_was_delegated(runtime):
    """Called from a service of root's: the container goes without a cgroup of its own, and a limit is refused."""
    user = user_of(runtime, host.session_users()[0])
    assert user.run(user.bundle().args("/bin/true")).code == 0
    user.refuses(user.bundle().set("linux.resources.pids", {"limit": 77}), "cgroup")
