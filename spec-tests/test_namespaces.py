"""Default file systems, namespaces new and joined, id mappings, time offsets."""

from __future__ import annotations

import os
import re
import time

import pytest
from lib import host
from lib.bundle import Unset
from lib.runtime import poll

req, cve = pytest.mark.req, pytest.mark.cve
FILES = {
    "pid": "pid",
    "network": "net",
    "mount": "mnt",
    "ipc": "ipc",
    "uts": "uts",
    "user": "user",
    "cgroup": "cgroup",
    "time": "time",
}
OWN = {
    kind: os.readlink(f"/proc/self/ns/{name}")
    for kind, name in FILES.items()
    if os.path.exists(f"/proc/self/ns/{name}")
}


def with_ns(bundle, kind: str):
    """The bundle with a new namespace of that kind (a user namespace comes with mappings)."""
    return bundle.userns() if kind == "user" else bundle.ns(kind)


@req("FS-1")
def test_only_what_is_listed_is_mounted(runtime, bundle):
    assert [m.place for m in runtime.report(bundle).mounts] == ["/", "/proc", "/dev", "/dev/pts", "/dev/shm"]


@req("FS-1")
def test_default_file_systems_work(runtime, bundle):
    seen = runtime.report(
        bundle.mount("/sys", "sysfs", "sysfs", ["ro"]),
        "open",
        "/dev/pts/ptmx",
        "rw",
        "write",
        "/dev/shm/x",
        "x",
    )
    assert [seen.mount(p).kind for p in ("/proc", "/sys", "/dev/pts", "/dev/shm")] == [
        "proc",
        "sysfs",
        "devpts",
        "tmpfs",
    ]
    assert [s.err for s in seen.steps] == ["", ""]


@req("NS-1", "NS-6", "FL-1")
@pytest.mark.parametrize("kind", FILES)
def test_new_namespace(runtime, bundle, kind):
    if kind not in OWN:
        pytest.skip(f"needs {kind} namespaces in the kernel")
    seen = runtime.report(with_ns(bundle, kind))
    assert seen["ns"][FILES[kind]] != OWN[kind]


@req("NS-1")
def test_new_pid_namespace_begins_at_one(runtime, bundle):
    seen = runtime.report(bundle, "ls", "/proc")
    assert seen["pid"] == 1
    assert [n for n in seen.step("ls")["names"] if n.isdigit()] == ["1"]


@req("NS-1")
def test_loopback_of_a_new_network_namespace_is_up(runtime, bundle):
    bundle.mount("/sys", "sysfs", "sysfs", ["ro"])
    seen = runtime.report(
        bundle, "ls", "/sys/class/net", "cat", "/sys/class/net/lo/flags", "cat", "/proc/net/if_inet6"
    )
    assert "lo" in seen.step("ls")["names"]
    assert int(seen.cat("/sys/class/net/lo/flags"), 16) & 1


@req("NS-7")
@pytest.mark.parametrize("kind", ["pid", "network", "ipc", "uts", "cgroup", "user", "time"])
def test_namespace_that_is_not_listed_is_the_callers(runtime, bundle, kind):
    if kind not in OWN:
        pytest.skip(f"needs {kind} namespaces in the kernel")
    bundle.drop_ns(kind)
    if kind == "uts":
        bundle.set("hostname", Unset)
    assert runtime.report(bundle)["ns"][FILES[kind]] == OWN[kind]


@req("NS-7", "T33b")
@cve("mounts that leak to the host")
def test_no_mount_namespace(runtime, bundle):
    """Mounts would be made in the caller's namespace then: refused, or at least gone afterwards."""
    bundle.drop_ns("mount")
    with runtime.assert_untouched():
        result = runtime.try_run(bundle.probe("report"))
        assert result.code != 0, "mounts without a mount namespace were accepted"


@req("NS-7", "T33b")
@cve("mounts that leak to the host")
def test_no_namespaces_at_all(runtime, bundle):
    bundle.set("linux.namespaces", []).set("hostname", Unset)
    with runtime.assert_untouched():
        assert runtime.try_run(bundle.probe("report")).code != 0


@req("NS-2", "EX-3")
@pytest.mark.parametrize("kind", ["foo", "", "PID", "net", Unset, 5], ids=str)
def test_namespace_of_no_type(runtime, bundle, kind):
    bundle.add("linux.namespaces", {} if kind is Unset else {"type": kind})
    runtime.refuses(bundle)


@req("NS-8")
@pytest.mark.parametrize("kind", ["pid", "network", "mount", "ipc", "uts"])
def test_namespace_listed_twice(runtime, bundle, kind):
    runtime.refuses(bundle.add("linux.namespaces", {"type": kind}))


@req("NS-4", "NS-3")
@pytest.mark.parametrize("kind", ["network", "ipc", "uts", "cgroup", "pid", "time"])
def test_join(runtime, bundle, kind):
    if kind not in OWN:
        pytest.skip(f"needs {kind} namespaces in the kernel")
    holder = runtime.running(runtime.bundle().ns(kind).probe("hold"))
    path = f"/proc/{holder.pid}/ns/{FILES[kind]}"
    if kind == "uts":
        bundle.set("hostname", Unset)
    joined = runtime.running(bundle.ns(kind, path).probe("hold"))
    assert os.readlink(f"/proc/{joined.pid}/ns/{FILES[kind]}") == os.readlink(path)


@req("NS-4")
@pytest.mark.only_if("tool:unshare")
def test_join_a_mount_namespace(runtime, bundle):
    holder = runtime.spawn_sleep("unshare", "-m", "--propagation", "private")
    path = f"/proc/{holder.pid}/ns/mnt"
    try:
        assert poll(lambda: os.readlink(path) != OWN["mount"])
        joined = runtime.running(bundle.ns("mount", path).probe("hold"))
        assert os.readlink(f"/proc/{joined.pid}/ns/mnt") == os.readlink(path)
        joined.stop()
    finally:
        holder.kill()
        runtime.wait(holder)


@req("NS-4", "DE-4")
def test_join_a_user_namespace_with_its_network(runtime, bundle):
    holder = runtime.running(runtime.bundle().userns().probe("hold"))
    ns = f"/proc/{holder.pid}/ns"
    bundle.ns("user", f"{ns}/user").ns("network", f"{ns}/net").set("linux.resources", Unset)
    bundle.own(100000)
    c = runtime.running(bundle.probe("hold"))
    for name in ("user", "net"):
        assert os.readlink(f"/proc/{c.pid}/ns/{name}") == os.readlink(f"{ns}/{name}")
    assert open_text(f"/proc/{c.pid}/uid_map").split() == ["0", "100000", "65536"]


def open_text(path: str) -> str:
    with open(path) as file:
        return file.read()


@req("NS-4")
def test_join_the_namespace_of_a_bound_file(runtime, bundle):
    holder = runtime.running(runtime.bundle().probe("hold"))
    place = runtime.work / "netns"
    place.touch()
    host.mount(f"/proc/{holder.pid}/ns/net", place, flags=host.MS_BIND)
    try:
        seen = runtime.report(bundle.ns("network", place))
        assert seen["ns"]["net"] == os.readlink(f"/proc/{holder.pid}/ns/net")
    finally:
        host.umount(place)


@req("NS-3", "EX-3")
@pytest.mark.parametrize("path", ["proc/self/ns/net", "./x", "../../proc/self/ns/net"])
def test_join_by_a_relative_path(runtime, bundle, path):
    runtime.refuses(bundle.ns("network", path))


@req("NS-5")
@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("ipc", "/proc/self/ns/net"),
        ("network", "/proc/self/ns/uts"),
        ("pid", "/proc/self/ns/ipc"),
        ("uts", "/proc/self/ns/mnt"),
    ],
)
def test_join_a_namespace_of_another_type(runtime, bundle, kind, path):
    runtime.refuses(bundle.ns(kind, path).set("hostname", Unset))


@req("NS-5")
@pytest.mark.parametrize("what", ["file", "fifo", "directory", "missing", "socket link"])
def test_join_what_is_no_namespace(runtime, bundle, what):
    path = runtime.work / "ns"
    match what:
        case "file":
            path.touch()
        case "fifo":
            os.mkfifo(path)
        case "directory":
            path.mkdir()
        case "socket link":
            path.symlink_to("/dev/null")
    runtime.refuses(bundle.ns("network", path), timeout=5)


# ---- user namespace ----


@req("ID-1")
def test_mappings(runtime, bundle):
    bundle.userns()
    bundle.set(
        "linux.uidMappings",
        [
            {"containerID": 0, "hostID": 100000, "size": 1000},
            {"containerID": 1000, "hostID": 300000, "size": 5},
        ],
    )
    bundle.set("linux.gidMappings", [{"containerID": 0, "hostID": 100000, "size": 77}])
    seen = runtime.report(bundle)
    assert [line.split() for line in seen.file("uid_map").splitlines()] == [
        ["0", "100000", "1000"],
        ["1000", "300000", "5"],
    ]
    assert [line.split() for line in seen.file("gid_map").splitlines()] == [["0", "100000", "77"]]
    assert seen["uids"] == [0, 0, 0]


@req("ID-1", "EX-3")
@pytest.mark.parametrize("key", ["containerID", "hostID", "size"])
@pytest.mark.parametrize("value", [-1, 2**32, "0", 1.5], ids=str)
def test_mapping_that_is_none(runtime, bundle, key, value):
    bundle.userns()
    bundle.config["linux"]["uidMappings"][0][key] = value
    runtime.refuses(bundle)


@req("ID-2")
def test_mappings_chown_nothing(runtime, bundle):
    bundle.userns()
    (bundle.rootfs / "mine").touch()
    os.chown(bundle.rootfs / "mine", 7, 7)
    before = {str(p): os.lstat(p).st_uid for p in sorted(bundle.rootfs.rglob("*"))}
    runtime.report(bundle)
    after = {str(p): os.lstat(p).st_uid for p in sorted(bundle.rootfs.rglob("*"))}
    assert {p: after[p] for p in before} == before


@req("ID-3")
def test_more_mappings_than_the_kernel_takes(runtime, bundle):
    bundle.userns()
    lines = [{"containerID": n, "hostID": 100000 + 2 * n, "size": 1} for n in range(341)]
    runtime.refuses(bundle.set("linux.uidMappings", lines))


@req("ID-3")
def test_as_many_mappings_as_the_kernel_takes(runtime, bundle):
    """The kernel reads at most a page: short numbers."""
    bundle.userns()
    lines = [{"containerID": n, "hostID": 2000 + 2 * n, "size": 1} for n in range(340)]
    bundle.own(2000)
    assert len(runtime.report(bundle.set("linux.uidMappings", lines)).file("uid_map").splitlines()) == 340


@req("ID-4")
@pytest.mark.only_if("tool:newuidmap")
def test_user_namespace_without_mappings(runtime, bundle):
    """runc refuses it; crun maps the caller's own id, and the caller's subordinate ids where there are any."""
    bundle.ns("user").set("linux.resources", Unset)
    bundle.get("mounts")[2]["options"].remove("gid=5")  # the tty group may have no mapping
    result = runtime.try_run(bundle.probe("report"))
    if result.code == 0:
        first, *more = [line.split() for line in result.seen.file("uid_map").splitlines()]
        assert first == ["0", "0", "1"]
        assert [line[0] for line in more] in ([], ["1"])
    else:
        assert "mapping" in result.err


@req("ID-4", "CR-7")
@pytest.mark.parametrize("fault", ["overlap", "size 0", "uid 0 unmapped", "user unmapped"])
def test_user_namespace_that_cannot_be(runtime, bundle, fault):
    bundle.userns()
    one = {"containerID": 0, "hostID": 100000, "size": 10}
    match fault:
        case "overlap":
            bundle.set("linux.uidMappings", [one, {"containerID": 5, "hostID": 200000, "size": 10}])
        case "size 0":
            bundle.set("linux.uidMappings", [one | {"size": 0}])
        case "uid 0 unmapped":
            bundle.set("linux.uidMappings", [one | {"containerID": 1}])
        case "user unmapped":
            bundle.set("linux.uidMappings", [one]).set("process.user.uid", 11)
    runtime.refuses(bundle)


@req("DV-2", "DD-1", "NS-1")
def test_devices_in_a_user_namespace(runtime, bundle):
    """mknod is not allowed there: the host's nodes are bound."""
    seen = runtime.report(
        bundle.userns(), "stat", "/dev/null", "write", "/dev/null", "x", "open", "/dev/zero", "r"
    )
    shown = seen.step("stat")
    assert (shown["type"], shown["major"], shown["minor"]) == ("char", 1, 3)
    assert [s.err for s in seen.steps] == ["", "", ""]


# ---- time ----


@req("TI-1")
@pytest.mark.only_if("ns:time")
def test_time_offsets(runtime, bundle):
    offsets = {
        "monotonic": {"secs": 7881, "nanosecs": 2718281},
        "boottime": {"secs": 1337, "nanosecs": 3141519},
    }
    before = time.clock_gettime(time.CLOCK_MONOTONIC)
    seen = runtime.report(bundle.ns("time").set("linux.timeOffsets", offsets))
    lines = dict(re.findall(r"(\w+)\s+(\d+\s+\d+)", seen.file("timens_offsets")))
    assert lines["monotonic"].split() == ["7881", "2718281"]
    assert lines["boottime"].split() == ["1337", "3141519"]
    assert 7880 <= seen["clocks"]["monotonic"] - before < 7900


@req("TI-1")
@pytest.mark.only_if("ns:time")
def test_negative_time_offset(runtime, bundle):
    seen = runtime.report(bundle.ns("time").set("linux.timeOffsets", {"boottime": {"secs": -1}}))
    assert re.search(r"boottime\s+-1\s+0", seen.file("timens_offsets"))


@req("TI-1", "EX-3")
@pytest.mark.only_if("ns:time")
@pytest.mark.parametrize(
    "offsets",
    [
        {"realtime": {"secs": 1}},
        {"monotonic": 5},
        {"monotonic": {"secs": "1"}},
        {"monotonic": {"secs": 1, "nanosecs": 10**9}},
    ],
    ids=str,
)
def test_time_offsets_that_are_none(runtime, bundle, offsets):
    runtime.refuses(bundle.ns("time").set("linux.timeOffsets", offsets))


@req("TI-1", "CLI-CHECK-1")
def test_time_offsets_without_a_time_namespace(runtime, bundle):
    runtime.refuses(bundle.set("linux.timeOffsets", {"monotonic": {"secs": 1}}))
