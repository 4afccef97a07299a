"""A /dev that the attacker has made: fake nodes in the places that the runtime uses."""

from __future__ import annotations

import os
import stat

import pytest
from lib.probe import seen_in

req, cve = pytest.mark.req, pytest.mark.cve
MASKING = ("CVE-2025-31133", "CVE-2025-62161")


def without_dev(bundle) -> None:
    bundle.config["mounts"] = [m for m in bundle.config["mounts"] if not m["destination"].startswith("/dev")]


@pytest.fixture
def made_dev(runtime, bundle):
    """A directory of the host's for /dev, with true nodes but for null; and files that nobody may see."""
    own = runtime.work / "dev"
    own.mkdir()
    for name, minor in (("zero", 5), ("full", 7), ("random", 8), ("urandom", 9)):
        os.mknod(own / name, 0o666 | stat.S_IFCHR, os.makedev(1, minor))
    os.mknod(own / "tty", 0o666 | stat.S_IFCHR, os.makedev(5, 0))
    for name in ("pts", "shm"):
        (own / name).mkdir()
    (bundle.rootfs / "secret").write_text("SECRET")
    (bundle.rootfs / "leak").write_text("LEAK")
    without_dev(bundle)
    bundle.mount("/dev", None, own, ["rbind"]).set("linux.maskedPaths", ["/secret"])
    return own


@req("MK-2")
@cve(*MASKING)
@pytest.mark.parametrize(
    "null",
    [
        pytest.param("link", marks=req("T09")),
        pytest.param("missing", marks=req("T09b")),
        *(pytest.param(what, marks=req("T09c")) for what in ("file", "other device", "directory")),
    ],
)
def test_masked_with_a_null_device_that_is_none(runtime, bundle, made_dev, null):
    """It is an error, or the path is masked with something else: neither the secret nor the attacker's file shows."""
    match null:
        case "link":
            (made_dev / "null").symlink_to("/leak")
        case "file":
            (made_dev / "null").write_text("LEAK")
        case "other device":
            os.mknod(made_dev / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 5))
        case "directory":
            (made_dev / "null").mkdir()
    result = runtime.try_run(bundle.probe("out", "/seen", "cat", "/secret"))
    seen = (bundle.rootfs / "seen").read_text() if (bundle.rootfs / "seen").exists() else ""
    for word in ("SECRET", "LEAK"):
        assert word not in result.said
        assert word not in seen
    if seen:
        step = seen_in(seen).step("cat")
        assert step.err or step.text == "", step


@req("T09d", "MK-2")
@cve(*MASKING)
def test_a_masked_link_masks_what_it_leads_to(runtime, bundle):
    (bundle.rootfs / "secret").write_text("SECRET")
    (bundle.rootfs / "link").symlink_to("/secret")
    seen = runtime.report(bundle.set("linux.maskedPaths", ["/link"]), "cat", "/link", "cat", "/secret")
    for path in ("/link", "/secret"):
        step = seen.step("cat", path)
        assert step.err or step.text == ""


@req("T09e", "MK-2")
@cve(*MASKING)
def test_masked_directories_cannot_be_undone(runtime, bundle):
    """Two of them, one named twice: empty, and neither to be written to, to be uncovered nor to be removed."""
    for name in ("one", "two"):
        (bundle.rootfs / name).mkdir()
        (bundle.rootfs / name / "secret").write_text("SECRET")
    bundle.set("linux.maskedPaths", ["/one", "/two", "/one"])
    steps = []
    for name in ("one", "two"):
        steps += ["ls", f"/{name}", "write", f"/{name}/x", "x", "umount", f"/{name}", "rm", f"/{name}"]
    seen = runtime.report(bundle, *steps)
    for name in ("one", "two"):
        assert seen.step("ls", f"/{name}")["names"] == []
        assert seen.step("write", f"/{name}/x").err in {"EROFS", "ENOSPC"}
        assert seen.step("umount", f"/{name}").err == "EPERM"
        assert seen.step("rm", f"/{name}").err == "EBUSY"
    assert {m.place for m in seen.mounts if m.place in {"/one", "/two"}} == {"/one", "/two"}


@req("T10", "DD-2")
@cve("CVE-2025-52565", "CVE-2025-62161")
@pytest.mark.parametrize("ptmx", ["link", "file", "node"])
def test_terminals_in_a_plain_directory(runtime, bundle, trap, console, ptmx):
    """/dev/pts with links for terminals: what is put on /dev/console must be a terminal, or nothing is."""
    without_dev(bundle)
    pts = bundle.rootfs / "dev/pts"
    pts.mkdir()
    for number in range(10):
        (pts / str(number)).symlink_to("/secret")
    (bundle.rootfs / "secret").write_text("SECRET")
    match ptmx:
        case "link":
            (pts / "ptmx").symlink_to(trap / "marker")
        case "file":
            (pts / "ptmx").write_text("")
        case "node":
            os.mknod(pts / "ptmx", 0o666 | stat.S_IFCHR, os.makedev(5, 2))
    bundle.set("process.terminal", True).probe("hold")
    result = runtime.try_create(bundle, None, "--console-socket", console.path)
    if result.code == 0:
        pid = runtime.ok("state", runtime.states()[0]).json()["pid"]
        node = os.stat(f"/proc/{pid}/root/dev/console")
        assert stat.S_ISCHR(node.st_mode)
        assert os.major(node.st_rdev) == 136
    assert (bundle.rootfs / "secret").read_text() == "SECRET"


@req("T14")
@cve("CVE-2026-88265")
def test_null_device_that_is_a_file(runtime, bundle, trap):
    without_dev(bundle)
    (bundle.rootfs / "dev/null").write_text("victim")
    before = os.stat(bundle.rootfs / "dev/null")
    bundle.set("process.user", {"uid": 1234, "gid": 1234})
    result = runtime.try_run(bundle.probe("stat", "/dev/null"))
    if result.code == 0:
        shown = result.seen.step("stat")
        assert (shown["type"], shown["major"], shown["minor"]) == ("char", 1, 3)
    after = os.stat(bundle.rootfs / "dev/null")
    assert (after.st_uid, after.st_mode) == (before.st_uid, before.st_mode)
    assert (bundle.rootfs / "dev/null").read_text() == "victim"


@req("T14", "CLI-STDIO-1")
@cve("ownership through a standard stream")
def test_null_device_of_the_host_keeps_its_owner(runtime, bundle):
    before = os.stat("/dev/null")
    c = runtime.running(bundle.set("process.user", {"uid": 1234, "gid": 1234}).probe("hold"))
    after = os.stat("/dev/null")
    assert (after.st_uid, after.st_gid, after.st_mode) == (before.st_uid, before.st_gid, before.st_mode)
    assert c.status == "running"


@req("T14c", "CLI-STDIO-1")
@cve("ownership through a standard stream")
def test_null_device_of_the_host_keeps_its_owner_in_an_exec(runtime, bundle):
    before = os.stat("/dev/null")
    c = runtime.running(bundle.probe("hold"))
    with open("/dev/null", "r+b") as null:
        process = runtime.spawn(
            *runtime.options,
            "exec",
            "--user",
            "1234:1234",
            c.id,
            "/bin/true",
            stdin=null,
            out=null,
            err=null,
        )
        assert runtime.wait(process) == 0
    inside = os.stat(f"/proc/{c.pid}/root/dev/null")
    after = os.stat("/dev/null")
    assert (after.st_uid, after.st_gid, after.st_mode) == (before.st_uid, before.st_gid, before.st_mode)
    assert (inside.st_uid, inside.st_gid) == (0, 0)
