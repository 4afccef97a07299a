"""Sysctls, rootfs propagation, masked and read-only paths, personality."""

from __future__ import annotations

import os
import pathlib

import pytest
from lib import host
from lib.bundle import Unset
from lib.runtime import new_id

req, cve = pytest.mark.req, pytest.mark.cve


# ---- sysctl ----


@req("SY-1", "CR-4")
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("net.ipv4.ip_forward", "1"),
        ("net/ipv4/ip_forward", "1"),
        ("net.ipv4.conf.lo.forwarding", "1"),
        ("kernel.shmmni", "777"),
        ("kernel.msgmax", "4096"),
        ("kernel.sem", "100\t200\t30\t40"),
        ("fs.mqueue.msg_max", "7"),
        ("kernel.domainname", "example.org"),
    ],
)
def test_sysctl(runtime, bundle, key, value):
    path = "/proc/sys/" + key.replace(".", "/")
    if not os.path.exists(path):
        pytest.skip(f"needs {path}")
    before = pathlib.Path(path).read_text()
    assert runtime.report(bundle.set("linux.sysctl", {key: value}), "cat", path).cat(path) == value
    assert pathlib.Path(path).read_text() == before


@req("SY-1")
def test_sysctl_where_proc_is_not_mounted(runtime, bundle):
    bundle.config["mounts"] = [m for m in bundle.config["mounts"] if m["destination"] != "/proc"]
    runtime.report(bundle.set("linux.sysctl", {"kernel.shmmni": "777"}))


@req("SY-1", "CR-7", "T21")
@cve("CVE-2022-0811", "CVE-2025-52881")
@pytest.mark.parametrize(
    "key",
    [
        "kernel.foo",
        "vm.swappiness",
        "kernel.core_pattern",
        "kernel/core_pattern",
        "net/../kernel/core_pattern",
        "kernel.shmmax/../core_pattern",
        "fs.mqueue.../../x",
        "net.",
        "net..ipv4",
        "net.ipv4.ip_forward\0x",
        "kernel.hostname",
        "",
        "/",
        "../kernel/shmmax",
    ],
)
def test_sysctl_that_is_not_of_a_namespace(runtime, bundle, key):
    names = ("kernel/core_pattern", "vm/swappiness", "kernel/hostname")
    before = [pathlib.Path("/proc/sys", n).read_text() for n in names]
    runtime.refuses(bundle.set("linux.sysctl", {key: "1"}))
    assert [pathlib.Path("/proc/sys", n).read_text() for n in names] == before


@req("SY-1")
@pytest.mark.parametrize(
    ("kind", "key"),
    [
        ("network", "net.ipv4.ip_forward"),
        ("ipc", "kernel.shmmni"),
        ("ipc", "fs.mqueue.msg_max"),
        ("uts", "kernel.domainname"),
    ],
)
def test_sysctl_of_a_namespace_that_is_the_callers(runtime, bundle, kind, key):
    bundle.drop_ns(kind)
    if kind == "uts":
        bundle.set("hostname", Unset)
    runtime.refuses(bundle.set("linux.sysctl", {key: "1"}))


@req("SY-1")
def test_sysctl_of_the_callers_network_namespace_by_its_path(runtime, bundle):
    runtime.refuses(
        bundle.ns("network", "/proc/self/ns/net").set("linux.sysctl", {"net.ipv4.ip_forward": "1"})
    )


@req("SY-1", "CR-7")
@pytest.mark.parametrize("value", ["junk", 5], ids=str)
def test_sysctl_value_that_is_none(runtime, bundle, value):
    runtime.refuses(bundle.set("linux.sysctl", {"kernel.shmmni": value}))


# ---- propagation of the root ----


@req("RP-1", "CR-4")
@pytest.mark.parametrize("value", ["shared", "slave", "private", "rshared", "rslave", "rprivate"])
def test_root_propagation(runtime, bundle, value):
    """The rootfs lies on a shared mount: only a shared root may show a peer group of its own."""
    host.mount(str(bundle.rootfs), bundle.rootfs, flags=host.MS_BIND)
    try:
        host.mount("none", bundle.rootfs, flags=host.MS_SHARED)
        root = runtime.report(bundle.set("linux.rootfsPropagation", value)).mount("/")
    finally:
        host.umount(bundle.rootfs)
    seen = {p.partition(":")[0] for p in root.propagation}
    assert ("shared" in seen) == value.endswith("shared")
    assert "master" not in seen or value.endswith("slave")


@req("RP-1")
def test_unbindable_root(runtime, bundle):
    seen = runtime.report(bundle.set("linux.rootfsPropagation", "unbindable"))
    assert "unbindable" in seen.mount("/").propagation


@req("RP-1", "EX-3")
@pytest.mark.parametrize("value", ["foo", "", "SHARED"])
def test_root_propagation_that_is_none(runtime, bundle, value):
    if value == "":
        runtime.report(bundle.set("linux.rootfsPropagation", Unset))
    else:
        runtime.refuses(bundle.set("linux.rootfsPropagation", value))


@req("RP-1", "T33")
@cve("mounts that leak to the host")
@pytest.mark.parametrize("value", ["shared", "rshared", "slave", "private", Unset], ids=str)
def test_mounts_of_the_container_stay_in_it(runtime, bundle, value):
    """On a shared mount a mistake would show in the caller's table: the leak guard of every test looks, this one provokes."""
    top = runtime.work / "shared"
    top.mkdir()
    host.mount("tmpfs", top, "tmpfs")
    try:
        host.mount("none", top, flags=host.MS_SHARED)
        place = top / "rootfs"
        place.mkdir()
        host.mount(str(bundle.rootfs), place, flags=host.MS_BIND)
        host.mount("none", place, flags=host.MS_SHARED)
        bundle.set("root.path", str(place)).set("linux.rootfsPropagation", value)
        with runtime.assert_untouched():
            runtime.report(bundle)
    finally:
        host.umount(top)


# ---- masked and read-only paths ----


@req("MK-1", "EX-3")
@pytest.mark.parametrize("path", ["proc/kcore", "", "./x", 5], ids=repr)
def test_masked_path_must_be_absolute(runtime, bundle, path):
    runtime.refuses(bundle.set("linux.maskedPaths", [path]))


@req("RX-1", "EX-3")
@pytest.mark.parametrize("path", ["proc/sys", "", "./x", 5], ids=repr)
def test_readonly_path_must_be_absolute(runtime, bundle, path):
    runtime.refuses(bundle.set("linux.readonlyPaths", [path]))


def secrets(bundle) -> None:
    (bundle.rootfs / "secret").write_text("secret")
    (bundle.rootfs / "dir").mkdir()
    (bundle.rootfs / "dir/file").write_text("secret")


@req("MK-2")
def test_masked_paths(runtime, bundle):
    secrets(bundle)
    bundle.set("linux.maskedPaths", ["/secret", "/dir", "/does/not/exist"])
    seen = runtime.report(
        bundle,
        "cat",
        "/secret",
        "ls",
        "/dir",
        "write",
        "/dir/x",
        "x",
        "rm",
        "/dir",
        "umount",
        "/secret",
        "stat",
        "/secret",
        "umount",
        "/dir",
    )
    assert seen.cat("/secret") == ""
    assert seen.step("ls")["names"] == []
    assert seen.step("write").err in {"EROFS", "EACCES"}
    assert seen.step("rm").err == "EBUSY"
    assert {s.err for s in seen.steps if s["cmd"] == "umount"} == {"EPERM"}
    assert (bundle.rootfs / "secret").read_text() == "secret"
    assert (bundle.rootfs / "dir/file").exists()
    assert "ro" in seen.mount("/dir").options


@req("MK-2")
def test_masked_paths_of_proc(runtime, bundle):
    seen = runtime.report(
        bundle.set("linux.maskedPaths", ["/proc/kcore", "/proc/acpi", "/proc/keys"]), "cat", "/proc/keys"
    )
    assert seen.cat("/proc/keys") == ""


@req("MK-2")
def test_masked_twice_is_masked_once(runtime, bundle):
    secrets(bundle)
    seen = runtime.report(bundle.set("linux.maskedPaths", ["/dir", "/dir", "/dir/"]), "ls", "/dir")
    assert seen.step("ls")["names"] == []


@req("MK-2")
def test_masked_link_masks_its_target(runtime, bundle):
    secrets(bundle)
    (bundle.rootfs / "link").symlink_to("/secret")
    assert runtime.report(bundle.set("linux.maskedPaths", ["/link"]), "cat", "/secret").cat("/secret") == ""


@req("MK-2")
def test_link_out_of_the_root_masks_nothing_of_the_host(runtime, bundle):
    witness = runtime.work / "witness"
    witness.write_text("host")
    (bundle.rootfs / "link").symlink_to(f"../../../../../..{witness}")
    with runtime.assert_untouched():
        runtime.report(bundle.set("linux.maskedPaths", ["/link"]))
    assert witness.read_text() == "host"


@req("RX-2")
def test_readonly_paths(runtime, bundle):
    secrets(bundle)
    bundle.set("linux.readonlyPaths", ["/dir", "/secret", "/proc/sys", "/does/not/exist"])
    seen = runtime.report(
        bundle,
        "set",
        "/secret",
        "x",
        "write",
        "/dir/x",
        "x",
        "cat",
        "/dir/file",
        "set",
        "/proc/sys/kernel/shmmni",
        "5",
        "write",
        "/y",
        "x",
    )
    assert [s.err for s in seen.steps] == ["EROFS", "EROFS", "", "EROFS", ""]
    assert seen.cat("/dir/file") == "secret"


@req("RX-2")
def test_readonly_path_keeps_the_other_flags(runtime, bundle):
    bundle.mount("/data", options=["nosuid", "nodev", "noexec"]).set("linux.readonlyPaths", ["/data"])
    assert {"ro", "nosuid", "nodev", "noexec"} <= runtime.report(bundle).mount("/data").options


@req("RX-2")
def test_readonly_path_with_mounts_below(runtime, bundle):
    bundle.mount("/data").mount("/data/sub").set("linux.readonlyPaths", ["/data"])
    seen = runtime.report(bundle, "write", "/data/x", "x", "ls", "/data")
    assert seen.step("write").err == "EROFS"
    assert seen.step("ls")["names"] == ["sub"]


# ---- personality ----


@req("PE-1")
@pytest.mark.parametrize(("domain", "number"), [("LINUX", 0), ("LINUX32", 8)])
def test_personality(runtime, bundle, domain, number):
    seen = runtime.report(bundle.set("linux.personality", {"domain": domain}))
    assert seen["personality"] == number
    assert (seen["machine"] == os.uname().machine) == (domain == "LINUX")


@req("PE-1", "EX-3")
@pytest.mark.parametrize("value", [{}, {"domain": "X"}, {"domain": ""}, {"domain": 5}, "LINUX"], ids=str)
def test_personality_that_is_none(runtime, bundle, value):
    runtime.refuses(bundle.set("linux.personality", value))


@req("PE-2")
def test_personality_flags_have_no_values(runtime, bundle):
    """An error, or a warning and no flag: never in silence."""
    bundle.set("linux.personality", {"domain": "LINUX", "flags": ["ADDR_NO_RANDOMIZE"]})
    log = runtime.work / "log"
    bundle.probe("report").write()
    result = runtime.cmd("--log", log, "run", "--bundle", bundle.path, new_id())
    assert result.code != 0 or "flags" in log.read_text() + result.err
    if result.code == 0:
        assert result.seen["personality"] == 0
