"""Mounts: order, places, sources, and every option of the spec's table."""

from __future__ import annotations

import contextlib
import os

import pytest
from lib import host
from lib.bundle import Unset

req = pytest.mark.req


@contextlib.contextmanager
def mounted_tree(where, propagation: int | None = None):
    """A tmpfs with a file and another tmpfs below it: what a recursive bind is told from a plain one by."""
    where.mkdir()
    host.mount("tmpfs", where, "tmpfs")
    try:
        if propagation is not None:
            host.mount("none", where, flags=propagation)
        (where / "file").write_text("top")
        (where / "sub").mkdir()
        host.mount("tmpfs", where / "sub", "tmpfs")
        (where / "sub/file").write_text("sub")
        yield where
    finally:
        host.umount(where)


# ---- the entry ----


@req("MO-1")
def test_mounts_are_made_in_the_listed_order(runtime, bundle):
    bundle.mount("/a").mount("/a/b").mount("/a/b/c").mount("/z").mount("/m")
    places = [m.place for m in runtime.report(bundle).mounts]
    assert [p for p in places if p[:2] in {"/a", "/z", "/m"}] == ["/a", "/a/b", "/a/b/c", "/z", "/m"]


@req("MO-1")
def test_a_later_mount_covers_an_earlier_one(runtime, bundle):
    bundle.mount("/a").mount("/a/b").mount("/a")
    seen = runtime.report(bundle, "ls", "/a")
    assert seen.step("ls")["names"] == []
    assert [m.place for m in seen.mounts if m.place == "/a"] == ["/a", "/a"]


@req("MO-2", "EX-3")
@pytest.mark.parametrize("destination", [Unset, ""], ids=["absent", "empty"])
def test_destination_is_required(runtime, bundle, destination):
    bundle.mount("/x")
    if destination is Unset:
        del bundle.config["mounts"][-1]["destination"]
    else:
        bundle.config["mounts"][-1]["destination"] = ""
    runtime.refuses(bundle)


@req("MO-3")
@pytest.mark.parametrize("destination", ["a/x", "./a/x", "a/../a/x"])
def test_relative_destination_is_below_the_root(runtime, bundle, destination):
    assert runtime.report(bundle.mount(destination)).mount("/a/x").kind == "tmpfs"


@req("MO-3")
def test_destination_stays_inside_the_root(runtime, bundle):
    assert runtime.report(bundle.mount("/../../../a")).mount("/a").kind == "tmpfs"


@req("MO-4")
@pytest.mark.parametrize("form", ["absolute", "relative", "dotted"])
def test_source_of_a_bind(runtime, bundle, form):
    (bundle.path / "vol").mkdir()
    (bundle.path / "vol/file").write_text("here")
    source = {"absolute": bundle.path / "vol", "relative": "vol", "dotted": "./rootfs/../vol"}[form]
    seen = runtime.report(bundle.mount("/data", None, source, ["bind"]), "cat", "/data/file")
    assert seen.cat("/data/file") == "here"


@req("MO-5", "MO-11")
@pytest.mark.parametrize(
    "kind", [None, "none", "bind", "tmpfs", "dummy"], ids=["no type", "none", "bind", "tmpfs", "dummy"]
)
@pytest.mark.parametrize("option", ["bind", "rbind"])
def test_bind_is_told_by_its_options(runtime, bundle, kind, option):
    (bundle.path / "vol").mkdir()
    (bundle.path / "vol/file").write_text("here")
    seen = runtime.report(bundle.mount("/data", kind, bundle.path / "vol", [option]), "cat", "/data/file")
    assert seen.cat("/data/file") == "here"


@req("MO-5")
def test_bind_by_type_alone(runtime, bundle):
    """The spec looks at the options only, newer versions of runc take it: never may it be something else."""
    (bundle.path / "vol").mkdir()
    (bundle.path / "vol/file").write_text("here")
    result = runtime.try_run(bundle.mount("/data", "bind", "vol").probe("cat", "/data/file"))
    assert result.code != 0 or result.seen.cat("/data/file") == "here"


@req("MO-5")
def test_bind_of_a_file(runtime, bundle):
    (bundle.path / "f").write_text("a file")
    seen = runtime.report(
        bundle.mount("/etc/new/f", None, "f", ["bind", "ro"]), "cat", "/etc/new/f", "set", "/etc/new/f", "x"
    )
    assert seen.cat("/etc/new/f") == "a file"
    assert seen.step("set").err == "EROFS"


@req("MO-6")
@pytest.mark.parametrize(("option", "sub"), [("bind", []), ("rbind", ["file"])])
def test_recursive_bind(runtime, bundle, option, sub):
    with mounted_tree(runtime.work / "src") as source:
        seen = runtime.report(
            bundle.mount("/data", None, source, [option]), "cat", "/data/file", "ls", "/data/sub"
        )
    assert seen.cat("/data/file") == "top"
    assert seen.step("ls")["names"] == sub


@req("MO-11", "LC-2b")
@pytest.mark.parametrize("kind", [None, "nosuchfs", ""], ids=["absent", "unknown", "empty"])
def test_type_that_is_no_file_system(runtime, bundle, kind):
    runtime.refuses(bundle.mount("/x", kind, "tmpfs"))


@req("CR-7", "LC-2b")
def test_missing_source_of_a_bind(runtime, bundle):
    runtime.refuses(bundle.mount("/x", None, "/nonexistent/source", ["bind"]), "no such file or directory")
    assert not (bundle.rootfs / "nonexistent").exists()


@req("CR-7")
def test_directory_on_a_file(runtime, bundle):
    (bundle.path / "vol").mkdir()
    runtime.refuses(bundle.mount("/etc/passwd", None, "vol", ["bind"]))


@req("MO-3", "CR-7")
def test_destination_below_a_file(runtime, bundle):
    runtime.refuses(bundle.mount("/etc/passwd/x"))


@req("LC-2a")
def test_destination_through_a_symbolic_link_stays_inside(runtime, bundle):
    (bundle.rootfs / "link").symlink_to("/real")
    (bundle.rootfs / "real").mkdir()
    assert runtime.report(bundle.mount("/link/x")).mount("/real/x").kind == "tmpfs"


@req("FE-7", "MO-11")
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("proc", []),
        ("sysfs", ["nosuid", "noexec", "nodev", "ro"]),
        ("devpts", ["newinstance", "ptmxmode=0666"]),
        ("mqueue", ["nosuid"]),
        ("ramfs", []),
    ],
)
def test_file_systems(runtime, bundle, kind, options):
    where = "/proc2" if kind == "proc" else "/x"
    assert runtime.report(bundle.mount(where, kind, kind, options)).mount(where).kind == kind


@req("MO-11")
@pytest.mark.only_if("fs:overlay")
def test_overlay(runtime, bundle):
    for name in ("lower", "upper", "work"):
        (bundle.path / name).mkdir()
    (bundle.path / "lower/file").write_text("low")
    data = [
        f"{key}dir={bundle.path}/{name}"
        for key, name in (("lower", "lower"), ("upper", "upper"), ("work", "work"))
    ]
    bundle.mount("/data", "overlay", "overlay", data)
    seen = runtime.report(bundle, "cat", "/data/file", "write", "/data/new", "x")
    assert seen.cat("/data/file") == "low"
    assert (bundle.path / "upper/new").read_text() == "x"


# ---- options ----

# option: (flags it must show, flags it must not show, options before it)
FLAGS = {
    "async": (set(), {"sync"}, ["sync"]),
    "atime": (set(), {"noatime"}, ["noatime"]),
    "defaults": ({"rw"}, {"nosuid", "nodev", "noexec", "ro"}, []),
    "dev": (set(), {"nodev"}, ["nodev"]),
    "diratime": (set(), {"nodiratime"}, ["nodiratime"]),
    "exec": (set(), {"noexec"}, ["noexec"]),
    "loud": (set(), set(), ["silent"]),
    "noatime": ({"noatime"}, {"relatime"}, []),
    "nodev": ({"nodev"}, set(), []),
    "nodiratime": ({"nodiratime"}, set(), []),
    "noexec": ({"noexec"}, set(), []),
    "noiversion": (set(), set(), []),
    "nolazytime": (set(), {"lazytime"}, ["lazytime"]),
    "norelatime": (set(), set(), ["relatime"]),
    "nostrictatime": (set(), set(), ["strictatime"]),
    "nosuid": ({"nosuid"}, set(), []),
    "relatime": ({"relatime"}, {"noatime"}, []),
    "ro": ({"ro"}, {"rw"}, []),
    "rw": ({"rw"}, {"ro"}, ["ro"]),
    "silent": (set(), set(), []),
    "strictatime": (set(), {"relatime", "noatime"}, []),
    "suid": (set(), {"nosuid"}, ["nosuid"]),
    "iversion": (set(), set(), []),
    "dirsync": ({"dirsync"}, set(), []),
    "lazytime": ({"lazytime"}, set(), []),
    "sync": ({"sync"}, set(), []),
}


@req("MO-6", "FE-7")
@pytest.mark.parametrize("option", FLAGS)
def test_option_on_a_new_file_system(runtime, bundle, option):
    shown, hidden, before = FLAGS[option]
    mount = runtime.report(bundle.mount("/data", options=[*before, option])).mount("/data")
    flags = mount.options | mount.data
    assert shown <= flags
    assert not hidden & mount.options


PER_MOUNT = ["noatime", "nodev", "nodiratime", "noexec", "nosuid", "relatime", "ro"]


@req("MO-6")
@pytest.mark.parametrize("option", PER_MOUNT)
def test_option_on_a_bind(runtime, bundle, option):
    (bundle.path / "vol").mkdir()
    mount = runtime.report(bundle.mount("/data", None, "vol", ["bind", option])).mount("/data")
    assert option in mount.options


@req("MO-6")
@pytest.mark.parametrize("option", ["nodev", "noexec", "nosuid", "ro", "noatime"])
def test_option_of_a_recursive_bind_is_for_its_top_only(runtime, bundle, option):
    with mounted_tree(runtime.work / "src") as source:
        seen = runtime.report(bundle.mount("/data", None, source, ["rbind", option]))
    assert option in seen.mount("/data").options
    assert option not in seen.mount("/data/sub").options


@req("MO-6")
@pytest.mark.parametrize(
    ("option", "shown"),
    [
        ("private", set()),
        ("rprivate", set()),
        ("shared", {"shared"}),
        ("rshared", {"shared"}),
        ("slave", {"master"}),
        ("rslave", {"master"}),
        ("unbindable", {"unbindable"}),
        ("runbindable", {"unbindable"}),
    ],
)
def test_propagation_of_a_mount(runtime, bundle, option, shown):
    with mounted_tree(runtime.work / "src", host.MS_SHARED) as source:
        seen = runtime.report(bundle.mount("/data", None, source, ["rbind", option]))
    of = {
        place: {p.partition(":")[0] for p in seen.mount(place).propagation}
        for place in ("/data", "/data/sub")
    }
    assert shown <= of["/data"]
    if not shown:
        assert not of["/data"]
    assert ("shared" in of["/data"]) == ("shared" in shown)
    if option in {"rshared", "runbindable"}:
        assert shown <= of["/data/sub"]
    if option == "unbindable":
        assert "unbindable" not in of["/data/sub"]


@req("MO-6")
def test_remount(runtime, bundle):
    bundle.mount("/data", options=["size=64k"]).mount("/data", options=["remount", "ro", "nosuid"])
    seen = runtime.report(bundle, "write", "/data/x", "x")
    assert {"ro", "nosuid"} <= seen.mount("/data").options
    assert [m.place for m in seen.mounts].count("/data") == 1
    assert seen.step("write").err == "EROFS"


@req("MO-6")
def test_the_last_of_two_contrary_options_counts(runtime, bundle):
    bundle.mount("/a", options=["ro", "rw"]).mount("/b", options=["rw", "ro"])
    seen = runtime.report(bundle)
    assert "rw" in seen.mount("/a").options
    assert "ro" in seen.mount("/b").options


# option: (shown on both, not shown on both, flags of the source's mounts)
RECURSIVE = {
    "rro": ({"ro"}, set(), []),
    "rrw": ({"rw"}, {"ro"}, []),
    "rnosuid": ({"nosuid"}, set(), []),
    "rsuid": (set(), {"nosuid"}, ["nosuid"]),
    "rnodev": ({"nodev"}, set(), []),
    "rdev": (set(), {"nodev"}, ["nodev"]),
    "rnoexec": ({"noexec"}, set(), []),
    "rexec": (set(), {"noexec"}, ["noexec"]),
    "rnodiratime": ({"nodiratime"}, set(), []),
    "rdiratime": (set(), {"nodiratime"}, ["nodiratime"]),
    "rnoatime": ({"noatime"}, {"relatime"}, []),
    "ratime": (set(), {"noatime"}, []),
    "rrelatime": ({"relatime"}, {"noatime"}, []),
    "rnorelatime": (set(), set(), []),
    "rstrictatime": (set(), {"relatime", "noatime"}, []),
    "rnostrictatime": (set(), set(), []),
    "rnosymfollow": ({"nosymfollow"}, set(), []),
    "rsymfollow": (set(), {"nosymfollow"}, []),
}
KERNEL_FLAGS = {"nosuid": 2, "nodev": 4, "noexec": 8, "nodiratime": 2048}


@req("MO-7")
@pytest.mark.only_if("kernel:5.14")
@pytest.mark.parametrize("option", RECURSIVE)
def test_recursive_option(runtime, bundle, option):
    shown, hidden, before = RECURSIVE[option]
    with mounted_tree(runtime.work / "src") as source:
        for flag in before:
            for place in (source, source / "sub"):
                host.mount("none", place, flags=0x20 | host.MS_BIND | KERNEL_FLAGS[flag])
        seen = runtime.report(bundle.mount("/data", None, source, ["rbind", option]), timeout=5)
    for place in ("/data", "/data/sub"):
        options = seen.mount(place).options
        assert shown <= options, place
        assert not hidden & options, place


# ---- flags that the kernel locks when a user namespace gets a copy of the host's mounts ----

LOCKED = {"ro": 1, "nosuid": 2, "nodev": 4, "noexec": 8, "noatime": 1024}


@contextlib.contextmanager
def flagged_source(where, *flags):
    """A tmpfs that everybody may write, mounted with flags."""
    where.mkdir()
    host.mount("tmpfs", where, "tmpfs", data="mode=1777")
    (where / "sub").mkdir()
    try:
        host.mount("none", where, flags=0x20 | host.MS_BIND | sum(LOCKED[flag] for flag in flags))
        yield where
    finally:
        host.umount(where)


@req("MO-6", "NS-2")
@pytest.mark.parametrize(
    "options", [[], ["ro"], ["nosuid"], ["rprivate"]], ids=["none", "ro", "nosuid", "rprivate"]
)
def test_locked_flags_of_a_source_stay(runtime, bundle, options):
    """Options that do not ask for it may not take a flag away, and may not fail because the kernel keeps it."""
    bundle.userns()
    with flagged_source(runtime.work / "src", "nosuid", "nodev", "noexec", "noatime") as source:
        seen = runtime.report(bundle.mount("/data", None, source, ["rbind", *options])).mount("/data").options
    assert {"nosuid", "nodev", "noexec", "noatime"} <= seen
    assert "ro" in seen if "ro" in options else "rw" in seen


@req("MO-6", "CR-7")
@pytest.mark.parametrize(
    ("flag", "option"),
    [("ro", "rw"), ("ro", "rrw"), ("nosuid", "suid"), ("nodev", "dev"), ("noexec", "exec"), ("noatime", "strictatime")],
)  # fmt: skip
def test_a_locked_flag_that_is_to_go(runtime, bundle, flag, option):
    """The kernel says no; going on with the flag would not be what was asked for."""
    bundle.userns()
    with flagged_source(runtime.work / "src", flag) as source:
        runtime.refuses(bundle.mount("/data", None, source, ["rbind", option]))


@req("MO-6")
@pytest.mark.parametrize(("flag", "option"), [("ro", "rw"), ("nosuid", "suid"), ("noexec", "exec")])
def test_without_a_user_namespace_a_flag_of_the_source_can_go(runtime, bundle, flag, option):
    with flagged_source(runtime.work / "src", flag) as source:
        seen = runtime.report(bundle.mount("/data", None, source, ["rbind", option])).mount("/data").options
    assert flag not in seen


@req("MO-7")
@pytest.mark.only_if("kernel:5.10")
@pytest.mark.parametrize(
    ("options", "shown"), [(["nosymfollow"], True), (["nosymfollow", "symfollow"], False)]
)
def test_nosymfollow(runtime, bundle, options, shown):
    assert (
        "nosymfollow" in runtime.report(bundle.mount("/data", options=options)).mount("/data").options
    ) == shown


@req("MO-8")
@pytest.mark.parametrize("option", ["mand", "nomand"])
def test_mandatory_locking_options_are_recognised(runtime, bundle, option):
    """Linux 5.15 and later ignore the flag; taking it for data of the file system would be an error."""
    runtime.report(bundle.mount("/data", options=[option]))


@req("MO-8")
def test_tmpcopyup(runtime, bundle):
    (bundle.rootfs / "data/sub").mkdir(parents=True)
    (bundle.rootfs / "data/sub/file").write_text("of the image")
    (bundle.rootfs / "data/link").symlink_to("sub/file")
    (bundle.rootfs / "data/sub").chmod(0o750)
    os.chown(bundle.rootfs / "data/sub/file", 3, 4)
    bundle.mount("/data", options=["tmpcopyup"])
    seen = runtime.report(
        bundle, "cat", "/data/link", "stat", "/data/sub", "stat", "/data/sub/file", "write", "/data/new", "x"
    )
    assert seen.mount("/data").kind == "tmpfs"
    assert seen.cat("/data/link") == "of the image"
    assert seen.step("stat", "/data/sub")["mode"] == 0o750
    assert (seen.step("stat", "/data/sub/file")["uid"], seen.step("stat", "/data/sub/file")["gid"]) == (3, 4)
    assert not (bundle.rootfs / "data/new").exists()


@req("MO-9", "MO-10")
def test_unknown_options_are_data_for_the_file_system(runtime, bundle):
    seen = runtime.report(
        bundle.mount("/data", options=["size=64k", "nosuid", "mode=711", "uid=7"]),
        "stat",
        "/data",
        "statvfs",
        "/data",
    )
    assert seen.step("stat")["mode"] == 0o711
    assert seen.step("stat")["uid"] == 7
    assert seen.step("statvfs")["bytes"] == 65536


@req("MO-10", "CR-7")
def test_data_that_the_file_system_does_not_know(runtime, bundle):
    runtime.refuses(bundle.mount("/data", options=["no_such_option"]), "invalid argument")


@req("MO-10")
def test_data_with_a_comma_inside_one_option(runtime, bundle):
    seen = runtime.report(bundle.mount("/data", options=["size=64k,mode=711"]), "stat", "/data")
    assert seen.step("stat")["mode"] == 0o711


@req("MO-6", "MO-11")
@pytest.mark.only_if("cgroup-v1")
@pytest.mark.parametrize("cgroupns", [False, True], ids=["host cgroupns", "own cgroupns"])
def test_cgroup_mount_on_v1(runtime, bundle, cgroupns):
    if cgroupns:
        bundle.ns("cgroup")
    bundle.mount("/sys", "sysfs", "sysfs", ["nosuid", "noexec", "nodev", "ro"])
    bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", ["nosuid", "noexec", "nodev", "relatime", "ro"])
    seen = runtime.report(
        bundle, "cat", "/sys/fs/cgroup/pids/cgroup.procs", "write", "/sys/fs/cgroup/pids/x", "x"
    )
    pids = seen.mount("/sys/fs/cgroup/pids")
    assert "ro" in pids.options
    assert seen.cat("/sys/fs/cgroup/pids/cgroup.procs").split() == ["1"]
    assert seen.step("write").err in {"EROFS", "EACCES"}
    assert [m.place for m in seen.mounts if m.kind == "cgroup" and "ro" not in m.options] == []


@req("CLI-MOUNT-1")
@pytest.mark.parametrize("options", [[], ["ro"]], ids=["rw", "ro"])
def test_mode_of_a_directory_that_a_tmpfs_covers(runtime, bundle, options):
    """Without mode= a tmpfs takes the mode of the directory it covers, as runc has it."""
    (bundle.rootfs / "data").mkdir()
    (bundle.rootfs / "data").chmod(0o1770)
    assert (
        runtime.report(bundle.mount("/data", options=options), "stat", "/data").step("stat")["mode"] == 0o1770
    )
