"""Id-mapped mounts: who owns what, seen through the mount, with and without a user namespace."""

from __future__ import annotations

import os
import pathlib
import subprocess

import pytest
from lib import host

req = pytest.mark.req
ONE = [{"containerID": 0, "hostID": 1000, "size": 10}]
OTHER = [{"containerID": 0, "hostID": 2000, "size": 10}]
NOBODY = 65534


@pytest.fixture
def vol(bundle):
    """A directory of the bundle with files of ids 0, 3 and 100."""
    where = bundle.path / "vol"
    where.mkdir()
    for uid in (0, 3, 100):
        (where / f"of{uid}").write_text("x")
        os.chown(where / f"of{uid}", uid, uid)
    return where


def bind(bundle, destination, source, *options, maps=None):
    more = {"uidMappings": maps, "gidMappings": maps} if maps else {}
    return bundle.mount(destination, None, source, list(options), **more)


def owners(runtime, bundle, *paths):
    """(uid, gid) of each path as the container sees it."""
    steps = [word for path in paths for word in ("stat", path)]
    seen = runtime.report(bundle, *steps)
    return [(seen.step("stat", path)["uid"], seen.step("stat", path)["gid"]) for path in paths]


@req("MO-13")
@pytest.mark.parametrize("which", ["uidMappings", "gidMappings"])
def test_mappings_of_a_mount_come_together(runtime, bundle, vol, which):
    runtime.refuses(bundle.mount("/data", None, vol, ["bind", "idmap"], **{which: ONE}))


@req("MO-18")
@pytest.mark.parametrize("option", ["idmap", "ridmap"])
def test_idmap_without_mappings_and_user_namespace(runtime, bundle, vol, option):
    runtime.refuses(bind(bundle, "/data", vol, "rbind", option))


@req("MO-12", "MO-15", "MO-16")
@pytest.mark.parametrize("option", ["idmap", "ridmap"])
@pytest.mark.only_if("idmap")
def test_ids_of_a_mount_are_mapped(runtime, bundle, vol, option):
    """An id without a mapping is nobody's."""
    bind(bundle, "/data", vol, "rbind", option, maps=ONE)
    assert owners(runtime, bundle, "/data/of0", "/data/of3", "/data/of100") == [
        (1000, 1000),
        (1003, 1003),
        (NOBODY, NOBODY),
    ]


@req("MO-12", "MO-15")
@pytest.mark.only_if("idmap")
def test_users_and_groups_have_their_own_mappings(runtime, bundle, vol):
    bundle.mount("/data", None, vol, ["bind", "idmap"], uidMappings=ONE, gidMappings=OTHER)
    assert owners(runtime, bundle, "/data/of3") == [(1003, 2003)]


@req("MO-12", "MO-14")
@pytest.mark.only_if("idmap")
def test_mappings_without_the_option(runtime, bundle, vol):
    """The option belongs beside them, but what was given may not be passed over."""
    bind(bundle, "/data", vol, "bind", maps=ONE)
    assert owners(runtime, bundle, "/data/of3") == [(1003, 1003)]


@req("MO-12", "MO-15")
@pytest.mark.only_if("idmap")
def test_what_is_written_goes_back_through_the_mapping(runtime, bundle, vol):
    """A user of the mapping makes files of the other side's id; root is not in it and cannot make any."""
    bind(bundle, "/data", vol, "bind", "idmap", maps=ONE)
    os.chmod(vol, 0o777)
    seen = runtime.report(bundle, "write", "/data/new", "x")
    assert seen.step("write").err == "EOVERFLOW"
    bundle.set("process.user", {"uid": 1003, "gid": 1004})
    assert runtime.report(bundle, "write", "/data/new", "x").step("write").err == ""
    made = (vol / "new").stat()
    assert (made.st_uid, made.st_gid) == (3, 4)


@req("MO-15")
@pytest.mark.only_if("idmap")
def test_two_mappings_of_one_source(runtime, bundle, vol):
    bind(bundle, "/a", vol, "bind", "idmap", maps=ONE)
    bind(bundle, "/b", vol, "bind", "idmap", maps=OTHER)
    bind(bundle, "/c", vol, "bind", "idmap", maps=ONE)
    bind(bundle, "/d", vol, "bind")
    seen = owners(runtime, bundle, "/a/of3", "/b/of3", "/c/of3", "/d/of3")
    assert [uid for uid, _ in seen] == [1003, 2003, 1003, 3]


@req("MO-15")
@pytest.mark.only_if("idmap")
def test_a_file_is_mapped(runtime, bundle, vol):
    bind(bundle, "/data", vol / "of3", "bind", "idmap", maps=ONE)
    assert owners(runtime, bundle, "/data") == [(1003, 1003)]


@req("MO-15", "MO-19")
@pytest.mark.parametrize(("option", "below"), [("idmap", 3), ("ridmap", 1003)])
@pytest.mark.only_if("idmap")
def test_ridmap_reaches_what_is_mounted_below(runtime, bundle, option, below):
    """The tree is two tmpfs, which have id-mapped mounts since Linux 6.3."""
    source = runtime.work / "src"
    source.mkdir()
    host.mount("tmpfs", source, "tmpfs")
    try:
        (source / "sub").mkdir()
        host.mount("tmpfs", source / "sub", "tmpfs")
        for place in (source, source / "sub"):
            (place / "file").write_text("x")
            os.chown(place / "file", 3, 3)
        bind(bundle, "/data", source, "rbind", option, maps=ONE)
        seen = owners(runtime, bundle, "/data/file", "/data/sub/file")
    finally:
        host.umount(source)
    assert seen == [(1003, 1003), (below, below)]


@req("MO-15")
@pytest.mark.only_if("idmap")
def test_attributes_beside_the_mapping(runtime, bundle, vol):
    os.chmod(vol / "of3", 0o666)
    bind(bundle, "/data", vol, "bind", "idmap", "ro", "nosuid", "noexec", maps=ONE)
    seen = runtime.report(bundle, "stat", "/data/of3", "set", "/data/of3", "x")
    assert {"ro", "nosuid", "noexec"} <= seen.mount("/data").options
    assert seen.step("stat")["uid"] == 1003
    assert seen.step("set").err == "EROFS"


@req("MO-15")
@pytest.mark.only_if("idmap")
def test_the_host_sees_nothing_of_it(runtime, bundle, vol):
    bind(bundle, "/data", vol, "bind", "idmap", maps=ONE)
    runtime.report(bundle)
    assert [(vol / f"of{uid}").stat().st_uid for uid in (0, 3, 100)] == [0, 3, 100]


# ---- with a user namespace ----


@req("MO-17", "MO-15")
@pytest.mark.parametrize("option", ["idmap", "ridmap"])
@pytest.mark.only_if("idmap")
def test_the_mappings_of_the_user_namespace(runtime, bundle, vol, option):
    """What is 3 on the disk is 3 in the container, for reading and for writing."""
    bind(bundle.userns(), "/data", vol, "bind", option)
    seen = runtime.report(bundle, "stat", "/data/of3", "write", "/data/new", "x", "stat", "/data/new")
    assert seen.step("stat", "/data/of3")["uid"] == 3
    assert seen.step("stat", "/data/new")["uid"] == 0
    assert (vol / "new").stat().st_uid == 0


@req("MO-15", "MO-17")
@pytest.mark.only_if("idmap")
def test_mappings_of_a_mount_in_a_user_namespace(runtime, bundle, vol):
    """The mount's own mapping leads to ids of the host, which the container sees through its namespace."""
    bundle.userns()
    bind(bundle, "/data", vol, "bind", "idmap", maps=[{"containerID": 0, "hostID": 100050, "size": 10}])
    bind(bundle, "/plain", vol, "bind")
    assert owners(runtime, bundle, "/data/of0", "/data/of3", "/data/of100", "/plain/of3") == [
        (50, 50),
        (53, 53),
        (NOBODY, NOBODY),
        (NOBODY, NOBODY),
    ]


@req("MO-17", "NS-2")
@pytest.mark.only_if("idmap")
def test_the_mappings_of_a_joined_user_namespace(runtime, bundle, vol):
    bundle.userns()
    holder = subprocess.Popen(["unshare", "--user", "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with holder:
        holder.stdin.write(b"there\n")
        holder.stdin.flush()
        assert holder.stdout.readline() == b"there\n"  # only now is it in its namespace
        for kind in ("uid", "gid"):
            pathlib.Path(f"/proc/{holder.pid}/{kind}_map").write_text("0 100000 65536\n")
        bundle.ns("user", f"/proc/{holder.pid}/ns/user")
        del bundle.config["linux"]["uidMappings"], bundle.config["linux"]["gidMappings"]
        bind(bundle, "/data", vol, "bind", "idmap")
        bind(bundle, "/own", vol, "bind", "idmap", maps=[{"containerID": 0, "hostID": 100050, "size": 10}])
        assert owners(runtime, bundle, "/data/of3", "/own/of3") == [(3, 3), (53, 53)]


@req("MO-4", "NS-2")
@pytest.mark.parametrize("idmap", [(), ("idmap",)], ids=["plain", "idmap"])
@pytest.mark.only_if("idmap")
def test_a_source_that_the_container_cannot_reach(runtime, bundle, vol, idmap):
    """A directory of root's alone on the way to it is the caller's business, not the container's."""
    closed = runtime.work / "closed"
    closed.mkdir(mode=0o700)
    (closed / "in").mkdir(mode=0o755)
    (closed / "in/file").write_text("here")
    bind(bundle.userns(), "/data", closed / "in", "bind", *idmap)
    assert runtime.report(bundle, "cat", "/data/file").cat("/data/file") == "here"


@req("MO-4", "NS-2")
def test_the_way_to_an_unreachable_source_stays_closed(runtime, bundle):
    """Nothing of the mount opens a way to its neighbours, and nothing mounted in the container shows on the host."""
    closed = runtime.work / "closed"
    closed.mkdir(mode=0o700)
    (closed / "in/sub").mkdir(mode=0o755, parents=True)
    (closed / "secret").write_text("not yours")
    bind(bundle.userns(), "/data", closed / "in", "bind")
    bundle.mount("/data/sub")
    seen = runtime.report(bundle, "cat", "/data/../secret", "cat", f"{closed}/secret")
    assert seen.step("cat", "/data/../secret").err == "ENOENT"
    assert not os.path.ismount(closed / "in/sub")


# ---- what cannot be ----


@req("MO-12", "MO-15")
def test_a_file_system_without_id_mapped_mounts(runtime, bundle):
    """The kernel refuses it for procfs; a runtime may not go on without."""
    runtime.refuses(bind(bundle, "/data", "/proc/self/net", "bind", "idmap", maps=ONE))


@req("ID-4", "MO-15")
@pytest.mark.parametrize(
    "maps",
    [
        [*ONE, *ONE],
        [{"containerID": 0, "hostID": 4294967295, "size": 2}],
        [{"containerID": 0, "hostID": 0, "size": 0}],
    ],
    ids=["twice", "beyond the last id", "nothing"],
)
def test_mappings_that_cannot_be(runtime, bundle, vol, maps):
    runtime.refuses(bind(bundle, "/data", vol, "bind", "idmap", maps=maps))


@req("MO-15")
def test_a_source_that_is_not_there(runtime, bundle):
    runtime.refuses(bind(bundle, "/data", bundle.path / "none", "bind", "idmap", maps=ONE), "no such file")
