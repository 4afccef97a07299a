"""What only cgroup v2 has: one tree for all, its rules about where processes may be, cgroup.kill, pressure, delegation."""

from __future__ import annotations

import json
import os
import pathlib

import pytest
from lib import host
from lib.runtime import PREFIX, poll, process_state

req = pytest.mark.req
pytestmark = pytest.mark.only_if("root", "cgroup-v2")
MIB = 1 << 20
DRIVERS = ["cgroupfs", pytest.param("systemd", marks=pytest.mark.only_if("systemd"))]


@pytest.fixture(params=DRIVERS)
def driver(runtime, request):
    runtime.globals = ("--systemd-cgroup",) if request.param == "systemd" else ()
    return request.param


def place_of(container):
    return host.cgroup_of(container.pid, "")


# ---- where processes may be ----


@req("CG-1", "CLI-CGROUP-2")
@pytest.mark.only_if("cgroupfs")
def test_a_cgroup_with_a_process_in_it(runtime, bundle):
    with runtime.premade_cgroup("full") as path:
        sleeper = runtime.spawn_sleep()
        try:
            pathlib.Path(f"/sys/fs/cgroup{path}/cgroup.procs").write_text(str(sleeper.pid))
            runtime.refuses(bundle.set("linux.cgroupsPath", path), "cgroup is not empty")
            assert sleeper.poll() is None
        finally:
            sleeper.kill()
            runtime.wait(sleeper)


@req("CG-1", "CLI-CGROUP-2")
@pytest.mark.only_if("cgroupfs")
def test_a_frozen_cgroup(runtime, bundle):
    with runtime.premade_cgroup("frozen") as path:
        pathlib.Path(f"/sys/fs/cgroup{path}/cgroup.freeze").write_text("1")
        runtime.refuses(bundle.set("linux.cgroupsPath", path), "frozen", timeout=10)


@req("CG-8", "UN-3")
@pytest.mark.only_if("cgroupfs")
def test_below_a_threaded_cgroup(runtime, bundle):
    """A container that needs no controller of whole processes is made threaded as well; another is refused."""
    with runtime.premade_cgroup("threads/one") as path:
        pathlib.Path(f"/sys/fs/cgroup{path}/cgroup.type").write_text("threaded")
        beside = f"{path.rpartition('/')[0]}/c"
        bundle.set("linux.cgroupsPath", beside)
        runtime.refuses(bundle.set("linux.resources.memory", {"limit": 64 * MIB}), "domain controllers")
        bundle.set("linux.resources.memory", None).set("linux.resources.pids", {"limit": 77})
        place = place_of(runtime.create(bundle.args("/bin/sleep", "1000")))
        assert str(place) == f"/sys/fs/cgroup{beside}"
        assert (place / "cgroup.type").read_text() == "threaded\n"
        assert (place / "pids.max").read_text() == "77\n"


@req("CG-8", "CLI-IN-1")
def test_exec_follows_a_container_that_has_moved_down(runtime, bundle, driver):
    """An init system in the container makes cgroups with controllers: the one above then takes no process (EBUSY)."""
    c = runtime.running(bundle.args("/bin/sleep", "1000"))
    place = place_of(c)
    (place / "init").mkdir()
    (place / "init/cgroup.procs").write_text(str(c.pid))
    (place / "cgroup.subtree_control").write_text("+pids")
    assert (
        runtime.ok("exec", c.id, "/bin/cat", "/proc/self/cgroup").out.strip().endswith(f"/{place.name}/init")
    )
    runtime.ok("pause", c.id)
    assert poll(lambda: "frozen 1" in (place / "init/cgroup.events").read_text())
    runtime.ok("delete", "--force", c.id)
    assert not place.exists()


# ---- ending and stopping ----


@req("CLI-KILL-3")
def test_kill_reaches_all_without_a_pid_namespace(runtime, bundle, driver):
    bundle.drop_ns("pid").args("/bin/sh", "-c", "sleep 1001 & sleep 1002 & exec sleep 1003")
    c = runtime.running(bundle)
    place = place_of(c)
    assert poll(lambda: len((place / "cgroup.procs").read_text().split()) == 3)
    pids = [int(word) for word in (place / "cgroup.procs").read_text().split()]
    c.kill("KILL")
    assert poll(lambda: all(process_state(pid) in {None, "Z"} for pid in pids))


@req("CLI-PAUSE-1", "CLI-PAUSE-3")
def test_pause_freezes_the_cgroup(runtime, bundle, driver):
    c = runtime.running(bundle.args("/bin/sleep", "1000"))
    place = place_of(c)
    runtime.ok("pause", c.id)
    assert "frozen 1" in (place / "cgroup.events").read_text()
    pid = c.pid
    c.kill("KILL")
    c.wait(pid)


# ---- limits that hold ----


@req("ME-1")
def test_memory_limit_holds(runtime, bundle, driver):
    """Also after an OOM kill, which makes a unit that has failed, nothing is left of it."""
    bundle.set("linux.resources.memory", {"limit": 16 * MIB, "swap": 16 * MIB})
    assert runtime.try_run(bundle.probe("alloc", 64)).code == 137
    assert runtime.try_run(bundle.probe("alloc", 4)).code == 0


@req("PD-1")
def test_pids_limit_holds(runtime, bundle, driver):
    seen = runtime.report(bundle.set("linux.resources.pids", {"limit": 2}), "spawn", "spawn")
    assert [s.err for s in seen.steps] == ["", "EAGAIN"]


@req("CP-1")
def test_cpu_quota_holds(runtime, bundle, driver):
    bundle.set("linux.resources.cpu", {"quota": 10000, "period": 50000})
    place = place_of(runtime.running(bundle.probe("burn", 60, "report", "hold")))
    assert poll(lambda: "nr_throttled 0\n" not in (place / "cpu.stat").read_text(), 10)


@req("ME-5")
def test_check_before_update(runtime, bundle, driver):
    """A limit below what is in use is refused where the config asks for the look, and changes nothing."""
    bundle.set("linux.resources.memory", {"limit": 64 * MIB, "checkBeforeUpdate": True})
    c = runtime.running(bundle.args("/bin/sleep", "1000"))
    refused = runtime.cmd("update", "--memory", "4096", c.id)
    assert refused.code != 0
    assert "usage" in refused.err
    assert (place_of(c) / "memory.max").read_text() == f"{64 * MIB}\n"


@req("CLI-UPDATE-1", "CLI-UPDATE-4")
def test_update(runtime, bundle, driver):
    bundle.set("linux.resources", {"memory": {"limit": 64 * MIB, "swap": 96 * MIB}, "cpu": {"shares": 512}})
    c = runtime.running(bundle.args("/bin/sleep", "1000"))
    place = place_of(c)

    def held(*names):
        return [(place / name).read_text().strip() for name in names]

    runtime.ok(
        "update", "--memory", str(32 * MIB), "--memory-swap", str(40 * MIB), "--cpu-share", "1024", c.id
    )
    assert held("memory.max", "memory.swap.max", "cpu.weight") == [str(32 * MIB), str(8 * MIB), "100"]
    change = {"cpu": {"quota": 30000, "period": 60000, "burst": 5000}, "pids": {"limit": 55}}
    change["unified"] = {"memory.high": str(16 * MIB)}
    runtime.ok("update", "--resources=-", c.id, stdin=json.dumps(change).encode())
    assert held("cpu.max", "cpu.max.burst", "pids.max", "memory.high") == [
        "30000 60000",
        "5000",
        "55",
        str(16 * MIB),
    ]
    runtime.ok("update", "--memory=-1", c.id)
    assert held("memory.max", "memory.swap.max") == ["max", "max"]


# ---- looking and handing on ----


@req("CLI-EVENTS-1")
@pytest.mark.only_if("file:/proc/pressure/cpu")
def test_pressure(runtime, bundle, request):
    """What runc tells since 1.2."""
    if not request.config.stash_version.startswith("pyrunc"):
        pytest.skip("needs a runtime with psi in its events")
    c = runtime.running(bundle.args("/bin/sleep", "1000"))
    told = runtime.ok("events", "--stats", c.id).json()["data"]
    for kind in ("cpu", "memory", "blkio"):
        assert set(told[kind]["psi"]["some"]) == {"avg10", "avg60", "avg300", "total"}, kind


@req("CO-1", "CO-4", "CO-6", "CO-9")
def test_what_is_delegated(runtime, bundle, driver):
    """The directory and the files that the kernel lists, and no other."""
    bundle.userns().ns("cgroup").mount("/sys/fs/cgroup", "cgroup", "cgroup", ["nosuid", "noexec", "nodev"])
    place = place_of(runtime.create(bundle.args("/bin/sleep", "1000")))
    listed = pathlib.Path("/sys/kernel/cgroup/delegate").read_text().split()
    theirs = {file.name for file in place.iterdir() if file.stat().st_uid == 100000}
    assert theirs == {name for name in listed if (place / name).exists()}
    assert place.stat().st_uid == 100000


@req("CLI-CRUN-7")
@pytest.mark.only_if("ns:cgroup")
def test_a_cgroup_to_delegate(runtime, bundle, driver):
    """The limits are above it, where the container can see them and not change them; it goes with the container."""
    bundle.set("annotations", {"run.oci.delegate-cgroup": "inside"}).userns().ns("cgroup")
    bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", ["nosuid", "noexec", "nodev", "ro"])
    bundle.set("linux.resources.pids", {"limit": 77})
    c = runtime.create(bundle.args("/bin/sleep", "1000"))
    place = place_of(c)
    top = place.parent
    assert place.name == "inside"
    assert ((top / "pids.max").read_text(), (place / "pids.max").read_text()) == ("77\n", "max\n")
    assert (top.stat().st_uid, place.stat().st_uid, (place / "cgroup.procs").stat().st_uid) == (
        0,
        100000,
        100000,
    )
    runtime.ok("start", c.id)
    seen = runtime.ok("exec", c.id, "/bin/cat", "/proc/self/cgroup", "/sys/fs/cgroup/pids.max").out
    assert seen == "0::/inside\n77\n"
    runtime.ok("pause", c.id)
    runtime.ok("resume", c.id)
    runtime.ok("delete", "--force", c.id)
    assert not top.exists()


@req("CLI-CRUN-7")
def test_a_cgroup_to_delegate_that_is_none(runtime, bundle, driver):
    for name in ("../x", "..", "a/b"):
        runtime.refuses(
            bundle.set("annotations", {"run.oci.delegate-cgroup": name}), "run.oci.delegate-cgroup"
        )


@req("CG-3", "NS-6")
@pytest.mark.only_if("ns:cgroup")
def test_the_cgroup_namespace_begins_at_the_containers_cgroup(runtime, bundle, driver):
    bundle.ns("cgroup").mount("/sys/fs/cgroup", "cgroup", "cgroup", ["ro"])
    bundle.set("linux.resources.pids", {"limit": 77})
    seen = runtime.report(bundle, "cat", "/sys/fs/cgroup/pids.max")
    assert set(seen.cgroups.values()) == {"/"}
    assert seen.cat("/sys/fs/cgroup/pids.max") == "77"


@req("DE-4")
@pytest.mark.only_if("cgroupfs")
def test_parents_that_others_made_stay(runtime, bundle):
    with runtime.premade_cgroup("parent") as path:
        c = runtime.create(bundle.set("linux.cgroupsPath", f"{path}/a/b"))
        c.delete("--force")
        assert [p.name for p in pathlib.Path(f"/sys/fs/cgroup{path}").iterdir() if p.is_dir()] == []
        assert os.path.isdir(f"/sys/fs/cgroup/{PREFIX}parent")
