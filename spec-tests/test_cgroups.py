"""Control groups: where they are, and every resource on cgroup v1 (cgroup v2 where a host has it alone)."""

from __future__ import annotations

import os
import shutil

import pytest
from lib import host
from lib.bundle import Unset
from lib.runtime import PREFIX, new_id, poll

req, cve = pytest.mark.req, pytest.mark.cve
v1 = pytest.mark.only_if("cgroup-v1")
MIB = 1 << 20


def value(container, controller: str, name: str) -> str:
    """A control file of the container's cgroup."""
    return (host.cgroup_of(container.pid, controller) / name).read_text().strip()


def limited(runtime, bundle, controller: str, name: str, **resources: object) -> str:
    """Create with these resources; the control file's text."""
    for key, wanted in resources.items():
        bundle.set(f"linux.resources.{key}", wanted)
    return value(runtime.create(bundle), controller, name)


# ---- the path ----


@req("CG-2", "CG-3", "CG-8")
@pytest.mark.parametrize("path", ["{p}abs", "{p}abs/deep/er"])
@pytest.mark.only_if("cgroupfs")
def test_absolute_path_is_below_the_mount_point(runtime, bundle, path):
    path = f"/{path.format(p=PREFIX)}"
    with runtime.premade_cgroup("abs"):
        c = runtime.create(bundle.set("linux.cgroupsPath", path))
        for controller, top in host.hierarchies().items():
            assert str(host.cgroup_of(c.pid, controller)) == top + path, controller


@req("CG-2", "CG-4")
@pytest.mark.only_if("cgroupfs")
def test_relative_path_ends_as_given(runtime, bundle):
    c = runtime.create(bundle.set("linux.cgroupsPath", f"{PREFIX}rel/b"))
    ends = {k: str(host.cgroup_of(c.pid, k)).endswith(f"/{PREFIX}rel/b") for k in host.hierarchies()}
    runtime.remove_cgroups(f"{PREFIX}rel")  # a parent may stay, as with runc
    assert all(ends.values()), ends


@req("CG-5")
@pytest.mark.parametrize("form", ["/{p}same", "{p}same"])
@pytest.mark.only_if("cgroupfs")
def test_same_path_is_the_same_place(runtime, bundle, form):
    path, places = form.format(p=PREFIX), []
    for _ in range(2):
        c = runtime.create(bundle.set("linux.cgroupsPath", path))
        places.append({k: str(host.cgroup_of(c.pid, k)) for k in host.hierarchies()})
        c.stop()
        c.delete()
    assert places[0] == places[1]


@req("CG-6", "CLI-CGROUP-1")
def test_default_path_is_named_by_the_id(runtime, bundle):
    c = runtime.create(bundle)
    (name,) = {place.rpartition("/")[2] for place in host.cgroup_dirs(c.id)}
    assert name.endswith(f"-{c.id}.scope") if host.driver_options() else name == c.id


@req("CG-9", "CLI-CGROUP-1")
@v1
def test_every_hierarchy_is_joined(runtime, bundle):
    c = runtime.create(bundle)
    assert {k for k in host.hierarchies() if c.id in str(host.cgroup_of(c.pid, k))} == set(host.hierarchies())


@req("CG-7", "T22")
@cve("cgroup path traversal")
@pytest.mark.parametrize(
    "path", ["../../{p}x", "/a/../../{p}x", "/../../../../../{p}x", "../../../../../../{p}x/y"]
)
def test_path_stays_below_the_mount_point(runtime, bundle, path):
    """Cleaned or refused; nothing may appear outside of the cgroup file systems."""
    path = path.format(p=PREFIX)
    result = runtime.try_create(bundle.set("linux.cgroupsPath", path))
    if result.code == 0:
        assert host.cgroup_dirs(f"{PREFIX}x")
    wrong = [
        "/",
        "/sys/",
        "/sys/fs/",
        str(runtime.work) + "/",
        *([] if host.unified_only() else ["/sys/fs/cgroup/"]),
    ]
    strays = [place + f"{PREFIX}x" for place in wrong if os.path.lexists(place + f"{PREFIX}x")]
    runtime.remove_cgroups(f"{PREFIX}x")
    for place in strays:
        shutil.rmtree(place, ignore_errors=True)
    assert strays == []


@req("CG-1", "CLI-CGROUP-2")
@v1
@pytest.mark.only_if("cgroupfs")
def test_cgroup_with_a_process_in_it(runtime, bundle):
    with runtime.premade_cgroup("full") as path:
        sleeper = runtime.spawn_sleep()
        try:
            for top in set(host.hierarchies().values()):
                with open(f"{top}{path}/cgroup.procs", "w") as procs:
                    procs.write(str(sleeper.pid)) if not os.path.exists(f"{top}{path}/cpuset.cpus") else None
            runtime.refuses(bundle.set("linux.cgroupsPath", path), "cgroup is not empty")
            assert sleeper.poll() is None
        finally:
            sleeper.kill()
            runtime.wait(sleeper)


@req("CG-1", "CLI-CGROUP-2")
@pytest.mark.only_if("v1:freezer")
def test_frozen_cgroup(runtime, bundle):
    with runtime.premade_cgroup("frozen") as path:
        state = f"{host.hierarchies()['freezer']}{path}/freezer.state"
        with open(state, "w") as file:
            file.write("FROZEN")
        try:
            result = runtime.try_create(bundle.set("linux.cgroupsPath", path), timeout=5)
            assert result.code != 0
            assert "frozen" in result.err
        finally:
            with open(state, "w") as file:
                file.write("THAWED")


@req("CG-1", "DE-4")
@v1
@pytest.mark.only_if("cgroupfs")
def test_two_containers_do_not_share_a_cgroup(runtime, bundle):
    path = f"/{PREFIX}shared"
    first = runtime.create(bundle.set("linux.cgroupsPath", path))
    second = runtime.bundle().set("linux.cgroupsPath", path)
    assert runtime.try_create(second).code != 0
    assert first.status == "created"
    assert str(host.cgroup_of(first.pid, "pids")).endswith(path)


@req("CG-3", "NS-6")
@pytest.mark.only_if("ns:cgroup")
def test_cgroup_namespace_is_rooted_at_the_containers_cgroup(runtime, bundle):
    seen = runtime.report(bundle.ns("cgroup"))
    assert set(seen.cgroups.values()) == {"/"}


# ---- memory ----


@req("ME-1", "CP-1", "PD-1")
@v1
@pytest.mark.parametrize(
    ("section", "setting", "controller", "name", "text"),
    [
        ("memory", {"limit": 64 * MIB}, "memory", "memory.limit_in_bytes", str(64 * MIB)),
        ("memory", {"limit": -1}, "memory", "memory.limit_in_bytes", "9223372036854771712"),
        ("memory", {"reservation": 32 * MIB}, "memory", "memory.soft_limit_in_bytes", str(32 * MIB)),
        (
            "memory",
            {"limit": 64 * MIB, "swap": 96 * MIB},
            "memory",
            "memory.memsw.limit_in_bytes",
            str(96 * MIB),
        ),
        (
            "memory",
            {"limit": 64 * MIB, "swap": -1},
            "memory",
            "memory.memsw.limit_in_bytes",
            "9223372036854771712",
        ),
        ("memory", {"swappiness": 10}, "memory", "memory.swappiness", "10"),
        ("memory", {"swappiness": 0}, "memory", "memory.swappiness", "0"),
        ("cpu", {"shares": 512}, "cpu", "cpu.shares", "512"),
        ("cpu", {"quota": 20000, "period": 50000}, "cpu", "cpu.cfs_quota_us", "20000"),
        ("cpu", {"quota": 20000, "period": 50000}, "cpu", "cpu.cfs_period_us", "50000"),
        ("cpu", {"quota": -1}, "cpu", "cpu.cfs_quota_us", "-1"),
        ("cpu", {"quota": 50000, "burst": 10000}, "cpu", "cpu.cfs_burst_us", "10000"),
        ("cpu", {"idle": 1}, "cpu", "cpu.idle", "1"),
        ("cpu", {"realtimeRuntime": 1000, "realtimePeriod": 900000}, "cpu", "cpu.rt_runtime_us", "1000"),
        ("cpu", {"realtimeRuntime": 1000, "realtimePeriod": 900000}, "cpu", "cpu.rt_period_us", "900000"),
        ("cpu", {"cpus": "0"}, "cpuset", "cpuset.cpus", "0"),
        ("cpu", {"mems": "0"}, "cpuset", "cpuset.mems", "0"),
        ("pids", {"limit": 77}, "pids", "pids.max", "77"),
        ("pids", {"limit": -1}, "pids", "pids.max", "max"),
        # systemd gives its scopes a limit by default
        pytest.param("pids", {}, "pids", "pids.max", "max", marks=pytest.mark.only_if("cgroupfs")),
    ],
    ids=lambda v: v if isinstance(v, str) else str(v).replace(" ", ""),
)
def test_resource_on_v1(runtime, bundle, section, setting, controller, name, text):
    if missing := host.missing(f"v1:{controller}/{name}"):
        pytest.skip(f"needs {missing}")
    assert limited(runtime, bundle, controller, name, **{section: setting}) == text


@req("ME-4")
@pytest.mark.only_if("v1:memory/memory.oom_control")
def test_oom_killer_disabled(runtime, bundle):
    text = limited(
        runtime, bundle, "memory", "memory.oom_control", memory={"limit": 64 * MIB, "disableOOMKiller": True}
    )
    assert "oom_kill_disable 1" in text


@req("ME-2", "ME-4")
@v1
@pytest.mark.parametrize(
    "setting",
    [{"kernel": 16 * MIB}, {"kernelTCP": 16 * MIB}, {"useHierarchy": True}],
    ids=str,
)
def test_outdated_memory_settings_are_no_error(runtime, bundle, setting):
    runtime.create(bundle.set("linux.resources.memory", {"limit": 64 * MIB, **setting}))


@req("ME-1", "ME-3", "EX-3", "CR-7")
@v1
@pytest.mark.parametrize(
    "setting",
    [
        {"swappiness": 200},
        {"limit": 64 * MIB, "swap": 32 * MIB},
        {"limit": -7},
        {"limit": 2**63},
        {"limit": 1.5},
        {"swappiness": -1},
        {"limit": "1m"},
    ],
    ids=str,
)
def test_memory_setting_that_is_none(runtime, bundle, setting):
    runtime.refuses(bundle.set("linux.resources.memory", setting))


@req("ME-1")
@pytest.mark.only_if("v1:memory")
def test_memory_limit_holds(runtime, bundle):
    bundle.set("linux.resources.memory", {"limit": 16 * MIB, "swap": 16 * MIB})
    assert runtime.try_run(bundle.probe("alloc", 64)).code == 137
    assert runtime.try_run(bundle.probe("alloc", 4)).code == 0


@req("ME-5")
@pytest.mark.only_if("v1:memory")
def test_check_before_update(runtime, bundle):
    """May be looked at when limits are updated; at create it is no fault."""
    assert limited(
        runtime,
        bundle,
        "memory",
        "memory.limit_in_bytes",
        memory={"limit": 64 * MIB, "checkBeforeUpdate": True},
    ) == str(64 * MIB)


# ---- cpu ----


@req("CP-2", "EX-3")
@pytest.mark.only_if("v1:cpu/cpu.cfs_burst_us")
def test_burst_above_the_quota(runtime, bundle):
    """MAY be an error; taking it and passing over it in silence is none of the choices."""
    ident = new_id()
    bundle.set("linux.resources.cpu", {"quota": 20000, "period": 100000, "burst": 30000})
    if runtime.try_create(bundle, ident).code == 0:
        pid = runtime.ok("state", ident).json()["pid"]
        assert (host.cgroup_of(pid, "cpu") / "cpu.cfs_burst_us").read_text() == "30000\n"


@req("CP-1", "CP-3", "EX-3", "CR-7")
@v1
@pytest.mark.parametrize(
    "setting",
    [
        {"cpus": "abc"},
        {"cpus": "0-"},
        {"mems": "x-y"},
        {"cpus": "4095"},
        {"idle": 7},
        {"shares": -1},
        {"period": 1},
        {"quota": 1},
        {"shares": "512"},
        {"period": -5},
    ],
    ids=str,
)
def test_cpu_setting_that_is_none(runtime, bundle, setting):
    runtime.refuses(bundle.set("linux.resources.cpu", setting))


@req("CP-1")
@pytest.mark.only_if("v1:cpu/cpu.stat")
def test_cpu_quota_holds(runtime, bundle):
    bundle.set("linux.resources.cpu", {"quota": 10000, "period": 50000})
    c = runtime.running(bundle.probe("burn", 60, "report", "hold"))
    place = host.cgroup_of(c.pid, "cpu")
    assert poll(lambda: "nr_throttled 0" not in (place / "cpu.stat").read_text(), 3)


# ---- block I/O ----


def block_device() -> str:
    """major:minor of some whole disk."""
    names = sorted(n for n in os.listdir("/sys/block") if not n.startswith(("zram", "ram")))
    return open(f"/sys/block/{names[-1]}/dev").read().strip()


@req("BI-1")
@pytest.mark.only_if("v1:blkio/blkio.bfq.weight")
def test_block_io_weight(runtime, bundle):
    assert limited(runtime, bundle, "blkio", "blkio.bfq.weight", blockIO={"weight": 500}).endswith("500")


@req("BI-1", "CR-7")
@v1
@pytest.mark.parametrize("weight", [1001, 70000, -1], ids=str)
def test_block_io_weight_that_is_none(runtime, bundle, weight):
    runtime.refuses(bundle.set("linux.resources.blockIO", {"weight": weight}))


@req("BI-3")
@pytest.mark.only_if("v1:blkio/blkio.throttle.read_bps_device")
@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("throttleReadBpsDevice", "read_bps"),
        ("throttleWriteBpsDevice", "write_bps"),
        ("throttleReadIOPSDevice", "read_iops"),
        ("throttleWriteIOPSDevice", "write_iops"),
    ],
)
def test_throttle(runtime, bundle, key, name):
    with open("/proc/partitions") as file:
        whole = [line.split() for line in file.read().splitlines()[2:]]
    major, minor = next((int(a), int(b)) for a, b, _, n in whole if os.path.exists(f"/sys/block/{n}"))
    text = limited(
        runtime,
        bundle,
        "blkio",
        f"blkio.throttle.{name}_device",
        blockIO={key: [{"major": major, "minor": minor, "rate": 102400}]},
    )
    assert text == f"{major}:{minor} 102400"


@req("BI-2", "BI-3", "EX-3")
@v1
@pytest.mark.parametrize(
    "setting",
    [
        {"weightDevice": [{"major": 8, "minor": 0}]},
        {"weightDevice": [{"major": 8, "weight": 500}]},
        {"throttleReadBpsDevice": [{"major": 8, "minor": 0}]},
        {"throttleReadBpsDevice": [{"minor": 0, "rate": 5}]},
        {"throttleWriteIOPSDevice": [{"major": 8, "minor": 0, "rate": -1}]},
    ],
    ids=lambda s: str(s)[:48],
)
def test_block_io_setting_that_is_none(runtime, bundle, setting):
    runtime.refuses(bundle.set("linux.resources.blockIO", setting))


# ---- the rest ----


@req("HP-1", "EX-3")
@v1
@pytest.mark.parametrize(
    "limit",
    [
        {"pageSize": "3MB", "limit": 0},
        {"limit": 1},
        {"pageSize": "2MB"},
        {"pageSize": "2M", "limit": 1},
        {"pageSize": "../2MB", "limit": 1},
        {"pageSize": "64kB", "limit": 1},
    ],
    ids=str,
)
def test_huge_page_limit_that_is_none(runtime, bundle, limit):
    runtime.refuses(bundle.set("linux.resources.hugepageLimits", [limit]))


@req("HP-1", "HP-2")
@pytest.mark.only_if("v1:hugetlb/hugetlb.2MB.limit_in_bytes")
def test_huge_page_limit(runtime, bundle):
    bundle.set("linux.resources.hugepageLimits", [{"pageSize": "2MB", "limit": 4 * MIB}])
    place = host.cgroup_of(runtime.create(bundle).pid, "hugetlb")
    names = [
        n for n in ("hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.rsvd.limit_in_bytes") if (place / n).exists()
    ]
    assert {(place / n).read_text() for n in names} == {f"{4 * MIB}\n"}


@req("HP-1", "CR-7")
@pytest.mark.only_if("cgroup-v1", "not-v1:hugetlb")
def test_huge_page_limit_without_the_controller(runtime, bundle):
    runtime.refuses(bundle.set("linux.resources.hugepageLimits", [{"pageSize": "2MB", "limit": 4 * MIB}]))


@req("NW-1")
@pytest.mark.only_if("v1:net_cls")
def test_network_class(runtime, bundle):
    assert limited(runtime, bundle, "net_cls", "net_cls.classid", network={"classID": 1048577}) == "1048577"


@req("NW-1", "CR-7")
@pytest.mark.only_if("cgroup-v1", "not-v1:net_cls", "not-v1:net_prio")
@pytest.mark.parametrize(
    "setting", [{"classID": 1048577}, {"priorities": [{"name": "lo", "priority": 5}]}], ids=str
)
def test_network_without_the_controller(runtime, bundle, setting):
    runtime.refuses(bundle.set("linux.resources.network", setting))


@req("NW-1", "EX-3")
@pytest.mark.parametrize(
    "setting",
    [{"classID": -1}, {"classID": "x"}, {"priorities": [{"name": "lo"}]}, {"priorities": [{"priority": 1}]}],
    ids=str,
)
def test_network_setting_that_is_none(runtime, bundle, setting):
    runtime.refuses(bundle.set("linux.resources.network", setting))


@req("PD-2")
@pytest.mark.only_if("v1:pids")
def test_pids_limit_of_zero_is_a_limit(runtime, bundle):
    """Counted as at most the one process that the container has (0 itself could not be joined to on v2)."""
    assert limited(runtime, bundle, "pids", "pids.max", pids={"limit": 0}) in {"0", "1"}


@req("PD-1", "PD-2")
@pytest.mark.only_if("v1:pids", "cgroupfs")
@pytest.mark.parametrize("resource", [Unset, None])
def test_no_pids_limit(runtime, bundle, resource):
    assert limited(runtime, bundle, "pids", "pids.max", pids=resource) == "max"


@req("PD-1")
@pytest.mark.only_if("v1:pids")
def test_pids_limit_holds(runtime, bundle):
    seen = runtime.report(bundle.set("linux.resources.pids", {"limit": 2}), "spawn", "spawn")
    assert [s.err for s in seen.steps] == ["", "EAGAIN"]


@req("RD-1", "EX-3")
@pytest.mark.parametrize("limit", [{}, {"hcaHandles": -1}, {"hcaObjects": "x"}], ids=str)
def test_rdma_limit_that_is_none(runtime, bundle, limit):
    runtime.refuses(bundle.set("linux.resources.rdma", {"mlx5_1": limit}))


@req("RD-1", "CR-7")
@pytest.mark.only_if("cgroup-v1", "not-v1:rdma")
def test_rdma_without_the_controller(runtime, bundle):
    runtime.refuses(bundle.set("linux.resources.rdma", {"mlx5_1": {"hcaHandles": 3}}))


@req("UN-4")
@v1
def test_unified_on_v1(runtime, bundle):
    runtime.refuses(bundle.set("linux.resources.unified", {"memory.max": "1000000"}))


@req("UN-5", "EX-3")
@pytest.mark.parametrize("key", ["../x", "a/b", "..", ".", "", "/etc/x"])
def test_unified_key_that_is_no_file_name(runtime, bundle, key):
    runtime.refuses(bundle.set("linux.resources.unified", {key: "1"}))


@req("UN-1", "UN-2")
@pytest.mark.only_if("cgroup-v2")
def test_unified(runtime, bundle):
    bundle.set("linux.resources.unified", {"memory.oom.group": "1", "pids.max": "55"})
    c = runtime.create(bundle)
    assert (value(c, "", "memory.oom.group"), value(c, "", "pids.max")) == ("1", "55")


@req("UN-3", "CR-7")
@pytest.mark.only_if("cgroup-v2")
@pytest.mark.parametrize("key", ["nope.max", "memory.nope"])
def test_unified_of_no_controller(runtime, bundle, key):
    runtime.refuses(bundle.set("linux.resources.unified", {key: "1"}))


@req("ME-1", "CP-1", "PD-1", "UN-4")
@pytest.mark.only_if("cgroup-v2")
@pytest.mark.parametrize(
    ("section", "setting", "name", "text"),
    [
        ("memory", {"limit": 64 * MIB}, "memory.max", str(64 * MIB)),
        ("memory", {"reservation": 32 * MIB}, "memory.low", str(32 * MIB)),
        ("memory", {"limit": 64 * MIB, "swap": 96 * MIB}, "memory.swap.max", str(32 * MIB)),
        ("cpu", {"shares": 1024}, "cpu.weight", "100"),
        ("cpu", {"quota": 20000, "period": 50000}, "cpu.max", "20000 50000"),
        ("pids", {"limit": 77}, "pids.max", "77"),
    ],
    ids=str,
)
def test_resource_on_v2(runtime, bundle, section, setting, name, text):
    assert limited(runtime, bundle, "", name, **{section: setting}) == text


@req("CO-1", "CO-4", "CO-6", "CO-8", "CO-9")
@pytest.mark.only_if("cgroup-v2")
def test_cgroup_is_owned_by_the_user_namespace(runtime, bundle):
    bundle.userns().ns("cgroup").mount("/sys/fs/cgroup", "cgroup", "cgroup", ["nosuid", "noexec", "nodev"])
    place = host.cgroup_of(runtime.create(bundle).pid, "")
    assert place.stat().st_uid == 100000
    assert (place / "cgroup.procs").stat().st_uid == 100000
    assert (place / "memory.max").stat().st_uid == 0


@req("CO-3", "CO-5", "CO-7")
@pytest.mark.only_if("cgroup-v2")
def test_cgroup_is_not_chowned_without_a_writable_mount(runtime, bundle):
    bundle.userns().ns("cgroup").mount("/sys/fs/cgroup", "cgroup", "cgroup", ["ro"])
    assert host.cgroup_of(runtime.create(bundle).pid, "").stat().st_uid == 0


@req("CO-2")
@v1
def test_cgroup_is_not_chowned_on_v1(runtime, bundle):
    bundle.userns().ns("cgroup").mount("/sys/fs/cgroup", "cgroup", "cgroup", ["nosuid"])
    place = host.cgroup_of(runtime.create(bundle).pid, "pids")
    assert (place.stat().st_uid, (place / "cgroup.procs").stat().st_uid) == (0, 0)
