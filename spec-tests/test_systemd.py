"""--systemd-cgroup: the container is a scope of systemd's, on v2 and v1; CG-6, CG-7, and what engines on such hosts need."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess

import pytest
from lib import host
from lib.runtime import new_id, poll

req = pytest.mark.req
pytestmark = pytest.mark.only_if("root", "systemd")
v1, v2 = pytest.mark.only_if("cgroup-v1"), pytest.mark.only_if("cgroup-v2")
MIB = 1 << 20


def place_of(pid, controller="pids"):
    """The directory of a process: in the only hierarchy, or on v1 in that of a controller."""
    return host.cgroup_of(pid, "" if host.unified_only() else controller)


def value(pid, file):
    """What a file of a process's cgroup says."""
    return (place_of(pid, file.partition(".")[0]) / file).read_text().strip()


def show(unit, *names):
    """The properties of a unit, as systemctl shows them."""
    words = ["systemctl", "show", unit, *(f"--property={name}" for name in names)]
    lines = subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()
    return dict(line.split("=", 1) for line in lines)


def scopes(name):
    done = subprocess.run(
        ["systemctl", "list-units", "--all", "--plain", "--no-legend", f"*{name}*"],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split("\n")[:-1]


@pytest.fixture(autouse=True)
def _driver(runtime):
    runtime.globals = ("--systemd-cgroup",)


@pytest.fixture
def scope(runtime, bundle):
    """A function that creates a container in system.slice, and returns it with the name of its unit."""

    def make(path="system.slice:{prefix}:{name}"):
        name = new_id()
        bundle.set("linux.cgroupsPath", path.format(prefix="st", name=name))
        bundle.args("/bin/sleep", "1000")
        c = runtime.create(bundle)
        return c, f"st-{name}.scope"

    return make


@req("CG-1", "CG-7")
def test_the_container_is_a_scope(runtime, scope):
    c, unit = scope()
    for controller, top in host.hierarchies().items():
        assert str(host.cgroup_of(c.pid, controller)) == f"{top}/system.slice/{unit}", controller
    shown = show(unit, "ActiveState", "Delegate", "Slice", "Transient", "DefaultDependencies")
    assert shown == {
        "ActiveState": "active",
        "Delegate": "yes",
        "Slice": "system.slice",
        "Transient": "yes",
        "DefaultDependencies": "no",
    }
    runtime.globals = ()  # who deletes need not know how it was created
    runtime.ok("start", c.id)
    runtime.ok("delete", "--force", c.id)
    assert scopes(unit) == []
    assert host.cgroup_dirs(unit) == set()


@req("HP-1", "HP-2", "CG-8")
@pytest.mark.only_if("cgroup-v2", "file:/sys/kernel/mm/hugepages/hugepages-2048kB")
def test_a_controller_that_systemd_does_not_know(runtime, scope, bundle):
    """It enables its own in a new slice, and no other: the limit on huge pages needs one that it has not."""
    bundle.set("linux.resources.hugepageLimits", [{"pageSize": "2MB", "limit": 4 * MIB}])
    c, _ = scope("st-h.slice:{prefix}:{name}")
    place = host.cgroup_of(c.pid, "")
    found = {file: (place / f"hugetlb.2MB.{file}").read_text() for file in ("max", "rsvd.max")}
    assert f"{4 * MIB}\n" in found.values()
    runtime.ok("delete", "--force", c.id)
    subprocess.run(["systemctl", "stop", "st.slice"], check=True)


@req("CG-4")
def test_slices_are_expanded(runtime, scope):
    c, unit = scope("st-a-b.slice:{prefix}:{name}")
    for controller, top in host.hierarchies().items():
        wanted = f"{top}/st.slice/st-a.slice/st-a-b.slice/{unit}"
        assert str(host.cgroup_of(c.pid, controller)) == wanted, controller
    runtime.ok("delete", "--force", c.id)
    subprocess.run(["systemctl", "stop", "st.slice"], check=True)


@req("CG-6")
def test_without_a_path(runtime, bundle):
    c = runtime.create(bundle.args("/bin/sleep", "1000"))
    place = place_of(c.pid)
    assert place.parent.name == "system.slice"
    assert place.name.endswith(f"-{c.id}.scope")


@req("CG-7")
@pytest.mark.parametrize(
    "path", ["/a/b", "a:b", "a.slice:b:c:d", "nope:b:c", "a--b.slice:c:d", "/x.slice:c:d"]
)
def test_paths_that_are_none(runtime, bundle, path):
    runtime.refuses(bundle.set("linux.cgroupsPath", path))


@req("ME-1", "CP-1", "CP-3", "PD-1")
@v2
def test_limits_are_known_to_systemd_and_in_the_files(scope, bundle):
    bundle.set("linux.resources.memory", {"limit": 64 * MIB, "reservation": 32 * MIB, "swap": 96 * MIB})
    bundle.set("linux.resources.cpu", {"shares": 1024, "quota": 20000, "period": 50000, "cpus": "0"})
    bundle.set("linux.resources.pids", {"limit": 77})
    c, unit = scope()
    wanted = {
        "MemoryMax": str(64 * MIB), "MemoryLow": str(32 * MIB), "MemorySwapMax": str(32 * MIB), "TasksMax": "77",
        "CPUQuotaPerSecUSec": "400ms", "CPUQuotaPeriodUSec": "50ms", "AllowedCPUs": "0",
    }  # fmt: skip
    assert show(unit, *wanted) == wanted
    place = host.cgroup_of(c.pid, "")
    files = {
        "memory.max": str(64 * MIB),
        "memory.swap.max": str(32 * MIB),
        "cpu.max": "20000 50000",
        "cpuset.cpus": "0",
    }
    assert {name: (place / name).read_text().strip() for name in files} == files


@req("ME-1", "CP-1", "CP-3", "PD-1")
@v1
def test_limits_are_known_to_systemd_and_in_the_files_of_v1(scope, bundle):
    bundle.set("linux.resources.memory", {"limit": 64 * MIB, "reservation": 32 * MIB})
    bundle.set("linux.resources.cpu", {"shares": 512, "quota": 20000, "period": 50000, "cpus": "0"})
    bundle.set("linux.resources.pids", {"limit": 77})
    c, unit = scope()
    files = {
        "memory.limit_in_bytes": str(64 * MIB), "memory.soft_limit_in_bytes": str(32 * MIB), "pids.max": "77",
        "cpu.shares": "512", "cpu.cfs_quota_us": "20000", "cpu.cfs_period_us": "50000", "cpuset.cpus": "0",
    }  # fmt: skip
    wanted = {
        "MemoryLimit": str(64 * MIB), "CPUShares": "512", "TasksMax": "77", "CPUQuotaPerSecUSec": "400ms",
        "CPUQuotaPeriodUSec": "50ms",
    }  # fmt: skip
    assert show(unit, *wanted) == wanted
    for _ in range(2):
        assert {name: value(c.pid, name) for name in files} == files
        subprocess.run(["systemctl", "daemon-reload"], check=True)


@req("CG-2")
@v1
def test_every_hierarchy_is_left_as_it_was(runtime, scope):
    """Those that systemd does not know as well: a slice that was made for the container goes with it."""
    before = host.cgroup_dirs("st-h.slice")
    c, unit = scope("st-h.slice:{prefix}:{name}")
    assert {str(host.cgroup_of(c.pid, name)) for name in host.hierarchies()} <= host.cgroup_dirs(unit)
    runtime.ok("delete", "--force", c.id)
    subprocess.run(["systemctl", "stop", "st.slice"], check=True)
    assert host.cgroup_dirs("st-h.slice") == before == set()


@req("UN-1")
@v2
def test_unified_over_systemd(scope, bundle):
    bundle.set("linux.resources.unified", {"memory.high": str(64 * MIB), "pids.max": "55"})
    _, unit = scope()
    assert show(unit, "MemoryHigh", "TasksMax") == {"MemoryHigh": str(64 * MIB), "TasksMax": "55"}


@req("CLI-UPDATE-1")
def test_update_tells_systemd(runtime, scope):
    c, unit = scope()
    runtime.ok("update", "--memory", "33554432", "--pids-limit", "33", c.id)
    memory = "MemoryMax" if host.unified_only() else "MemoryLimit"
    assert show(unit, memory, "TasksMax") == {memory: str(32 * MIB), "TasksMax": "33"}
    subprocess.run(["systemctl", "daemon-reload"], check=True)
    assert value(c.pid, "pids.max") == "33"


@req("DA-1", "DA-2")
def test_devices_outlive_a_reload_of_the_daemon(runtime, scope, bundle):
    device = {"path": "/dev/kmsg2", "type": "c", "major": 1, "minor": 11, "fileMode": 0o666}
    bundle.add("linux.devices", device)
    rules = [
        {"allow": False, "access": "rwm"},
        {"allow": True, "type": "c", "major": 1, "minor": 11, "access": "w"},
    ]
    bundle.set("linux.resources.devices", rules)
    c, _ = scope()
    runtime.ok("start", c.id)
    for _ in range(2):
        opened = "exec 3>/dev/kmsg2 && exec 3</dev/null && ! (exec 3</dev/kmsg2) 2>/dev/null"
        runtime.ok("exec", c.id, "/bin/sh", "-c", opened)
        subprocess.run(["systemctl", "daemon-reload"], check=True)


@req("CLI-IN-1")
def test_exec_joins_the_scope(runtime, scope, tmp_path):
    c, _ = scope()
    runtime.ok("start", c.id)
    file = tmp_path / "pid"
    runtime.ok("exec", "--detach", "--pid-file", file, c.id, "/bin/sleep", "1000")
    pid = int(file.read_text())
    assert all(host.cgroup_of(pid, name) == host.cgroup_of(c.pid, name) for name in host.hierarchies())
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)  # it is our child, and the container's first process cannot end before it is reaped


@req("CG-8")
def test_annotations_are_properties(scope, bundle):
    given = {"TimeoutStopUSec": "uint64 123456789", "CollectMode": "'inactive-or-failed'"}
    bundle.set("annotations", {f"org.systemd.property.{name}": value for name, value in given.items()})
    _, unit = scope()
    assert show(unit, *given) == {"TimeoutStopUSec": "2min 3.456789s", "CollectMode": "inactive-or-failed"}


@req("CG-8")
@pytest.mark.parametrize("annotation", ["TimeoutStopUSec=nope", "X1=true", "NoSuchThing=true"])
def test_annotations_that_are_none(runtime, bundle, annotation):
    name, _, value = annotation.partition("=")
    bundle.set("annotations", {f"org.systemd.property.{name}": value})
    runtime.refuses(bundle)


@req("CG-8", "T21b")
@pytest.mark.cve("CVE-2024-3154")
@pytest.mark.parametrize("name", ["SuccessAction", "FailureAction", "JobTimeoutAction"])
def test_annotations_that_reach_beyond_the_scope(runtime, bundle, name):
    """`none` is what these are anyway: a runtime that accepts it would accept poweroff-force."""
    bundle.set("annotations", {f"org.systemd.property.{name}": "'none'"})
    runtime.refuses(bundle, name)


@req("DE-4")
def test_a_failed_unit_of_that_name_gives_way(runtime, bundle):
    name = new_id()
    words = ["systemd-run", "--scope", f"--unit=st-{name}.scope", "--property=RuntimeMaxSec=1", "sleep", "30"]
    subprocess.run(words, check=False, capture_output=True)
    assert poll(lambda: show(f"st-{name}.scope", "ActiveState") == {"ActiveState": "failed"})
    bundle.set("linux.cgroupsPath", f"system.slice:st:{name}").args("/bin/sleep", "1000")
    c = runtime.create(bundle)
    assert place_of(c.pid).name == f"st-{name}.scope"


@req("DE-4")
def test_a_scope_that_is_in_use_is_refused_and_stays(runtime, bundle):
    name = new_id()
    unit = f"st-{name}.scope"
    process = subprocess.Popen(
        ["systemd-run", "--scope", f"--unit={unit}", "sleep", "60"], stderr=subprocess.DEVNULL
    )
    try:
        assert poll(lambda: show(unit, "ActiveState") == {"ActiveState": "active"})
        runtime.refuses(bundle.set("linux.cgroupsPath", f"system.slice:st:{name}"))
        assert show(unit, "ActiveState") == {"ActiveState": "active"}
        assert pathlib.Path(f"/proc/{process.pid}").exists()
    finally:
        subprocess.run(["systemctl", "stop", unit], check=True)
        process.wait(10)


@req("CLI-CRUN-6")
@v2
def test_a_cgroup_below_the_scope(runtime, scope, bundle):
    """Limits are the scope's, processes live below it, those of `exec` as well; it goes with the scope."""
    bundle.set("annotations", {"run.oci.systemd.subgroup": "inside"})
    bundle.userns().ns("cgroup").mount("/sys/fs/cgroup", "cgroup", "cgroup", ["nosuid", "noexec", "nodev"])
    bundle.set("linux.resources.pids", {"limit": 77})
    c, unit = scope()
    top = pathlib.Path(f"/sys/fs/cgroup/system.slice/{unit}")
    assert host.cgroup_of(c.pid, "") == top / "inside"
    assert ((top / "pids.max").read_text(), (top / "inside/pids.max").read_text()) == ("77\n", "max\n")
    assert (top.stat().st_uid, (top / "inside").stat().st_uid) == (0, 100000)
    runtime.ok("start", c.id)
    assert runtime.ok("exec", c.id, "/bin/cat", "/proc/self/cgroup").out == "0::/\n"
    assert runtime.ok("ps", "--format", "json", c.id).json() == [c.pid]
    runtime.ok("delete", "--force", c.id)
    assert not top.exists()
    runtime.refuses(bundle.set("annotations", {"run.oci.systemd.subgroup": "../x"}), "subgroup")


@req("CLI-IN-1", "CG-8")
def test_without_a_bus(runtime, scope):
    """systemd's own socket serves where dbus is not there."""
    host.mount("tmpfs", "/run/dbus", "tmpfs", data="mode=755")
    try:
        c, unit = scope()
        runtime.ok("start", c.id)
        runtime.ok("exec", c.id, "/bin/true")
        runtime.ok("update", "--pids-limit", "33", c.id)
        assert value(c.pid, "pids.max") == "33"
        runtime.ok("delete", "--force", c.id)
    finally:
        host.umount("/run/dbus")
    assert scopes(unit) == []


@req("DE-4", "ME-1")
def test_an_oom_kill_leaves_no_failed_unit(runtime, bundle):
    limits = {"limit": 16 * MIB, "swap": 16 * MIB}
    if host.missing("v1:memory/memory.memsw.limit_in_bytes") and not host.unified_only():
        del limits["swap"]
    bundle.set("linux.resources.memory", limits)
    name = new_id()
    bundle.set("linux.cgroupsPath", f"system.slice:st:{name}")
    c = runtime.running(bundle.probe("alloc", 64))
    assert poll(lambda: c.status == "stopped", 20)
    runtime.ok("delete", "--force", c.id)
    assert scopes(f"st-{name}") == []
