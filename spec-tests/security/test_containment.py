"""Walls between the container and the rest: control groups, mounts, sessions, keys."""

from __future__ import annotations

import os

import pytest
from lib import host

req, cve = pytest.mark.req, pytest.mark.cve


@req("T17", "MO-5")
@cve("CVE-2023-25809", "CVE-2022-0492")
@pytest.mark.parametrize("userns", [False, True], ids=["root", "userns"])
@pytest.mark.parametrize("cgroupns", [False, True], ids=["host's cgroups", "cgroupns"])
def test_cgroups_are_read_only_where_asked_for(runtime, bundle, userns, cgroupns):
    if userns:
        bundle.userns()
    if cgroupns:
        bundle.ns("cgroup")
    bundle.mount("/sys", "sysfs", "sysfs", ["nosuid", "noexec", "nodev", "ro"])
    bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", ["nosuid", "noexec", "nodev", "relatime", "ro"])
    tops = [os.path.basename(top) for name, top in host.hierarchies().items() if name and "=" not in name]
    place = "/sys/fs/cgroup" if host.unified_only() else f"/sys/fs/cgroup/{tops[0]}"
    seen = runtime.report(bundle, "write", f"{place}/cgroup.procs", "1", "mkdir", f"{place}/mine")
    found = [m for m in seen.mounts if m.kind in {"cgroup", "cgroup2"}]
    assert found
    assert [m.place for m in found if "ro" not in m.options] == []
    assert {seen.step(name).err for name in ("write", "mkdir")} <= {"EROFS", "EACCES"}


@req("T22", "CLI-EXEC-1")
@cve("cgroup path traversal")
@pytest.mark.parametrize("path", ["..", "/../..", "../..", "a/../../..", "/"], ids=str)
def test_cgroup_of_an_exec_stays_below_the_containers(runtime, bundle, path):
    """An exec may go to a group below the container's, and nowhere else."""
    c = runtime.running(bundle.probe("hold"))
    result = runtime.cmd("exec", "--cgroup", path, c.id, "/probe", "report")
    if path == "/" and result.code == 0:
        assert all(c.id in at for name, at in result.seen.cgroups.items() if name in host.hierarchies())
    else:
        assert result.code != 0, str(result)


@req("T22b")
@cve("cgroup path traversal")
@pytest.mark.only_if("v1:pids")
def test_a_hierarchy_that_is_none(runtime, bundle):
    """A tmpfs over a hierarchy takes every limit and every process without a word, and holds none."""
    top = host.hierarchies()["pids"]
    script = f'mount -t tmpfs none {top} && exec "$@"'
    bundle.set("linux.resources.pids", {"limit": 5}).probe("report").write()
    result = runtime.try_run(bundle, prefix=("unshare", "-m", "sh", "-c", script, "sh"))
    assert result.code != 0, str(result)


@req("T33c", "CLI-NOPIVOT-1")
@cve("procfs behind the root")
@pytest.mark.parametrize("options", [[], ["--no-pivot"]], ids=["pivot", "no pivot"])
def test_no_other_proc_is_in_reach(runtime, bundle, options):
    """A bare procfs that stays visible somewhere lets a nested user namespace mount another one, without the masks."""
    bundle.set("linux.maskedPaths", ["/proc/kcore", "/proc/keys"]).set("linux.readonlyPaths", ["/proc/sys"])
    (bundle.rootfs / "mnt").mkdir()
    result = runtime.run(bundle.probe("report", "nested-proc", "/mnt", "ls", "/proc/1/root"), *options)
    assert result.seen.step("nested-proc").err == "EPERM"
    assert "probe" in result.seen.step("ls")["names"]


@req("T34", "PR-2")
@cve("CVE-2017-5226")
def test_own_session_without_a_terminal(runtime, bundle):
    """A container in the caller's session could push characters into its terminal (TIOCSTI)."""
    seen = runtime.report(bundle)
    assert seen["sid"] == 1
    assert seen["controlling_tty"] == 0
    assert seen.file("stat").rpartition(")")[2].split()[4] == "0"


@req("T34")
@cve("CVE-2017-5226")
def test_own_session_in_the_callers_pid_namespace(runtime, bundle):
    seen = runtime.report(bundle.drop_ns("pid"))
    assert seen["sid"] == seen["pid"]


@req("T35")
@cve("keys of the caller")
@pytest.mark.only_if("file:/proc/keys")
def test_keys_of_the_caller_are_not_seen(runtime, bundle):
    bundle.set("process.user", {"uid": 4321, "gid": 4321})
    keys = runtime.report(bundle, "cat", "/proc/keys").cat("/proc/keys")
    named = [line for line in keys.splitlines() if "_ses." in line]
    assert len(named) <= 1
