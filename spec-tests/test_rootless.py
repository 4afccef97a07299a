"""Ordinary users, root of a user namespace, and a container in a container."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import subprocess

import pytest
from lib import host
from lib.bundle import Unset
from lib.runtime import ENV, new_id

req = pytest.mark.req
USER = 65534
AS_USER = ("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups")
NESTED = (*AS_USER, "unshare", "--user", "--map-root-user")
OWN = [{"containerID": 0, "hostID": USER, "size": 1}]


@pytest.fixture
def mine(runtime, bundle):
    """A bundle and a state root of the user's, who is root in the container and nobody else."""
    reach = subprocess.run([*AS_USER, "test", "-x", runtime.path], check=False)
    if reach.returncode:
        pytest.skip("needs a runtime that an ordinary user can reach")
    for place in (runtime.root, runtime.work / "run"):
        place.mkdir(mode=0o700)
        os.chown(place, USER, USER)
    bundle.ns("user").set("linux.uidMappings", OWN).set("linux.gidMappings", OWN).set(
        "linux.resources", Unset
    )
    bundle.get("mounts")[2]["options"].remove("gid=5")
    bundle.own(USER)
    return bundle


def run(runtime, bundle, *prefix, probe=("report",)):
    bundle.probe(*probe)
    # cgroups are not what is asked here, and only some of the runtimes can go without
    return runtime.try_run(bundle, prefix=prefix)


def maps(result):
    assert result.code == 0, str(result)
    return [[int(word) for word in line.split()] for line in result.seen.file("uid_map").splitlines()]


@contextlib.contextmanager
def subordinate_ids(where, line):
    """Other /etc/subuid and /etc/subgid, in the mount namespace of this session."""
    where.write_text(line)
    files = ["/etc/subuid", "/etc/subgid"]
    for file in files:
        host.mount(where, file, flags=host.MS_BIND)
    try:
        yield
    finally:
        for file in files:
            host.umount(file)


@req("CLI-ROOTLESS-1")
@pytest.mark.only_if("cgroupfs")
def test_an_ordinary_user(runtime, mine):
    """One id is all that the user may map; groups cannot be set, and devices are the host's."""
    result = run(
        runtime, mine, *AS_USER, probe=("report", "cat", "/proc/self/setgroups", "stat", "/dev/null")
    )
    assert maps(result) == [[0, USER, 1]]
    assert result.seen.cat("/proc/self/setgroups") == "deny"
    assert result.seen.step("stat")["err"] == ""


@req("CLI-ROOTLESS-1", "CLI-SPEC-2", "CLI-SPEC-3")
@pytest.mark.only_if("cgroupfs")
def test_what_spec_writes_for_an_ordinary_user(runtime, mine):
    os.chown(mine.path, USER, USER)
    assert runtime.raw("spec", "--rootless", prefix=AS_USER, cwd=mine.path).code == 0
    mine.config = json.loads((mine.path / "config.json").read_text())
    mine.set("process.terminal", False)
    assert maps(run(runtime, mine, *AS_USER)) == [[0, USER, 1]]


@req("CLI-ROOTLESS-2")
@pytest.mark.only_if("tool:newuidmap", "file:/etc/subuid", "file:/etc/subgid")
@pytest.mark.only_if("cgroupfs")
def test_more_ids_of_an_ordinary_user(runtime, mine):
    more = [*OWN, {"containerID": 1, "hostID": 100000, "size": 100}]
    mine.set("linux.uidMappings", more).set("linux.gidMappings", more)
    with subordinate_ids(runtime.work / "sub", f"{USER}:100000:100\n"):
        assert maps(run(runtime, mine, *AS_USER)) == [[0, USER, 1], [1, 100000, 100]]
    with subordinate_ids(runtime.work / "sub", ""):
        refused = run(runtime, mine, *AS_USER)
    assert refused.code != 0
    assert "newuidmap" in refused.err or "newgidmap" in refused.err


@req("CLI-ROOTLESS-3")
@pytest.mark.only_if("cgroupfs")
def test_limits_without_delegation(runtime, mine):
    """Nothing was delegated: a limit that cannot be set is an error that speaks of cgroups."""
    refused = run(runtime, mine.set("linux.resources", {"memory": {"limit": 1 << 26}}), *AS_USER)
    assert refused.code != 0
    assert "cgroup" in refused.err


@req("CLI-ROOTLESS-1", "NS-2")
def test_an_ordinary_user_needs_a_user_namespace(runtime, mine):
    refused = run(runtime, mine.drop_ns("user"), *AS_USER)
    assert refused.code != 0
    assert refused.err.strip()


@req("CLI-NESTED-1")
@pytest.mark.only_if("cgroupfs")
def test_root_of_a_user_namespace(runtime, mine):
    """`unshare -Ur` denies setgroups for good; a container needs no user namespace of its own there."""
    mine.drop_ns("user").set("linux.uidMappings", Unset).set("linux.gidMappings", Unset)
    assert maps(run(runtime, mine, *NESTED)) == [[0, USER, 1]]


@req("CLI-NESTED-1")
def test_where_root_of_a_user_namespace_keeps_containers(runtime, mine):
    """In $XDG_RUNTIME_DIR, also when that is all the environment there is: so rootless podman calls."""
    mine.drop_ns("user").set("linux.uidMappings", Unset).set("linux.gidMappings", Unset)
    mine.args("/bin/true").write()
    env = {"XDG_RUNTIME_DIR": str(runtime.work / "run"), "PATH": ENV["PATH"]}
    result = runtime.raw("run", "--bundle", mine.path, new_id(), prefix=NESTED, env=env)
    assert result.code == 0, str(result)
    assert len(list((runtime.work / "run").iterdir())) == 1


@req("CLI-NESTED-2")
@pytest.mark.only_if("cgroupfs")
def test_a_user_namespace_in_a_user_namespace(runtime, mine):
    one = [{"containerID": 0, "hostID": 0, "size": 1}]
    mine.set("linux.uidMappings", one).set("linux.gidMappings", one)
    assert maps(run(runtime, mine, *NESTED)) == [[0, 0, 1]]


def outer_bundle(runtime):
    """A container that has the host's programs, and may do what a runtime does."""
    outer = runtime.bundle()
    for name in sorted(os.listdir("/")):
        if os.path.isdir(f"/{name}") and name not in {"proc", "sys", "dev", "lost+found"}:
            outer.mount(f"/{name}", "bind", os.path.realpath(f"/{name}"), ["rbind", "rprivate"])
    outer.mount("/sys", "sysfs", "sysfs", ["nosuid", "noexec", "nodev"])
    outer.mount("/sys/fs/cgroup", "cgroup", "cgroup", ["nosuid", "noexec", "nodev"])
    outer.ns("cgroup").set("linux.resources", Unset).set("process.noNewPrivileges", False)
    names = "CHOWN DAC_OVERRIDE FOWNER FSETID KILL MKNOD NET_ADMIN SETFCAP SETGID SETPCAP SETUID SYS_ADMIN SYS_CHROOT"
    return outer.caps(*names.split(), "SYS_PTRACE", "NET_BIND_SERVICE", "AUDIT_WRITE")


@req("CLI-NESTED-3")
@pytest.mark.parametrize("userns", [False, True], ids=["plain", "userns"])
def test_a_container_in_a_container(runtime, bundle, userns):
    bundle.set("linux.resources", Unset)
    if userns:
        bundle.userns()
    bundle.probe("report").write()
    outer = outer_bundle(runtime)
    outer.args(runtime.path, "--root", runtime.work / "inner", "run", "--bundle", bundle.path, "inner")
    result = runtime.try_run(outer)
    assert result.code == 0, str(result)
    assert maps(result) == ([[0, 100000, 65536]] if userns else [[0, 0, 4294967295]])


@pytest.fixture
def delegated():
    """A cgroup of the user's in every hierarchy; gives its path in them."""
    name = f"st-{os.getpid()}-deleg"
    places = [pathlib.Path(top) / name for top in set(host.hierarchies().values())]
    for place in places:
        place.mkdir()
        for file in ("cpuset.cpus", "cpuset.mems"):
            if (place / file).exists():
                (place / file).write_text((place.parent / file).read_text())
        for path in (place, *place.iterdir()):
            os.chown(path, USER, USER)
    yield f"/{name}"
    for place in places:
        for below in (*place.glob("*/"), place):
            below.rmdir()


@req("CLI-ROOTLESS-3")
@pytest.mark.only_if("v1:pids")
def test_a_limit_in_a_delegated_cgroup(runtime, mine, delegated):
    mine.set("linux.cgroupsPath", f"{delegated}/one").set("linux.resources", {"pids": {"limit": 20}})
    result = run(runtime, mine, *AS_USER, probe=("report", "cat", "/proc/self/cgroup"))
    assert result.code == 0, str(result)
    assert f":pids:{delegated}/one" in result.seen.cat("/proc/self/cgroup")
