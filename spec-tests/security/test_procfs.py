"""A /proc or /sys that is not what the runtime takes it for, and settings of the host behind it."""

from __future__ import annotations

import pathlib

import pytest

req, cve = pytest.mark.req, pytest.mark.cve
FIRST = ("CVE-2019-19921", "CVE-2023-27561", "CVE-2023-28642", "CVE-2025-54867")


@req("T04")
@cve(*FIRST)
@pytest.mark.parametrize("name", ["proc", "sys"])
def test_mount_point_that_is_a_link(runtime, bundle, name):
    (bundle.rootfs / name).rmdir()
    (bundle.rootfs / name).symlink_to("/elsewhere")
    (bundle.rootfs / "elsewhere").mkdir()
    if name == "sys":
        bundle.mount("/sys", "sysfs", "sysfs", ["ro"])
    runtime.refuses(bundle)


@req("T06")
@cve("CVE-2019-16884")
def test_directory_in_the_place_of_proc(runtime, bundle):
    (bundle.path / "fake").mkdir()
    bundle.config["mounts"][0] = {"destination": "/proc", "source": "fake", "options": ["bind"]}
    runtime.refuses(bundle)


@req("T06c")
@cve("CVE-2019-16884")
def test_tmpfs_in_the_place_of_proc(runtime, bundle):
    bundle.config["mounts"][0] = {"destination": "/proc", "type": "tmpfs", "source": "tmpfs"}
    runtime.refuses(bundle)


@req("T06b")
@cve("CVE-2019-16884")
@pytest.mark.parametrize("place", ["/proc/sys", "/proc/self", "/proc/1/attr", "/proc/sys/kernel"])
def test_mount_inside_proc(runtime, bundle, place):
    runtime.refuses(bundle.mount(place), "cannot be mounted because it is inside /proc")


@req("T06b")
@cve("CVE-2019-16884")
@pytest.mark.parametrize("name", ["cpuinfo", "meminfo", "uptime", "stat"])
def test_files_that_may_be_mounted_inside_proc(runtime, bundle, name):
    (bundle.path / "fake").write_text("fake\n")
    seen = runtime.report(bundle.mount(f"/proc/{name}", None, "fake", ["bind"]), "cat", f"/proc/{name}")
    assert seen.cat(f"/proc/{name}") == "fake"


@req("T11")
@cve("CVE-2025-52881", "CVE-2025-62596")
def test_mount_inside_proc_through_a_link(runtime, bundle):
    (bundle.rootfs / "x").symlink_to("/proc/self/attr")
    runtime.refuses(bundle.mount("/x"))


@req("T11")
@cve("CVE-2025-52881", "CVE-2025-62596")
def test_a_file_over_a_setting_through_a_link(runtime, bundle):
    """What the runtime writes to one file of /proc would go to another, of the attacker's choice."""
    (bundle.rootfs / "x").symlink_to("/proc/sys/kernel")
    (bundle.path / "fake").write_text("")
    bundle.mount("/x/shmmni", None, "fake", ["bind"]).set("linux.sysctl", {"kernel.shmmni": "99"})
    runtime.refuses(bundle)
    assert (bundle.path / "fake").read_text() == ""


@req("T21", "T12p", "NS-7")
@cve("CVE-2022-0811", "CVE-2025-52881")
def test_host_settings_are_as_before(runtime, bundle):
    paths = [
        pathlib.Path("/proc/sys", n)
        for n in ("kernel/core_pattern", "kernel/hostname", "kernel/shmmni", "net/ipv4/ip_forward")
    ]
    before = [p.read_text() for p in paths]
    runtime.report(bundle.set("linux.sysctl", {"kernel.shmmni": "99", "net.ipv4.ip_forward": "1"}))
    assert [p.read_text() for p in paths] == before
