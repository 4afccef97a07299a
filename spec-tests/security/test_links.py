"""Links in the root file system: what is made for the container must be made in it."""

from __future__ import annotations

import pytest

req, cve = pytest.mark.req, pytest.mark.cve


def without_dev(bundle) -> None:
    bundle.config["mounts"] = [m for m in bundle.config["mounts"] if not m["destination"].startswith("/dev")]


@cve("CVE-2019-18837", "CVE-2024-45310", "CVE-2021-30465")
@pytest.mark.parametrize(
    "form", [pytest.param("absolute", marks=req("T07")), pytest.param("dots", marks=req("T08"))]
)
def test_mount_through_a_link_out_of_the_root(runtime, bundle, trap, form):
    (bundle.rootfs / "link").symlink_to(trap if form == "absolute" else f"../../../../../../..{trap}")
    runtime.try_run(bundle.mount("/link/a/b").probe("report"))
    (bundle.path / "f").write_text("x")
    runtime.try_run(bundle.mount("/link/file", None, "f", ["bind"]).probe("report"))


@req("T07", "T08")
@cve("CVE-2019-18837", "CVE-2024-45310", "CVE-2021-30465")
@pytest.mark.parametrize("place", ["cwd", "device"])
def test_other_things_through_a_link_out_of_the_root(runtime, bundle, trap, place):
    """The working directory and a device's node are made before the program runs, too."""
    (bundle.rootfs / "link").symlink_to(f"../../../../../../..{trap}")
    if place == "cwd":
        bundle.set("process.cwd", "/link/a/b")
    else:
        bundle.add("linux.devices", {"path": "/link/null", "type": "c", "major": 1, "minor": 3})
    runtime.try_run(bundle.probe("report"))


@req("T12")
@cve("CVE-2026-41579", "CVE-2026-47766")
@pytest.mark.parametrize("dev_mount", [False, True], ids=["no mount", "tmpfs"])
def test_dev_that_is_a_link_out_of_the_root(runtime, bundle, trap, dev_mount):
    """CVE-2026-41579: devices and links were made in a directory of the host."""
    (bundle.rootfs / "dev").rmdir()
    (bundle.rootfs / "dev").symlink_to(f"../../../../../../..{trap}")
    if not dev_mount:
        without_dev(bundle)
    runtime.try_run(bundle.probe("report"))


@req("T12b", "DD-3")
@cve("CVE-2026-41579", "CVE-2026-47766")
def test_ptmx_of_a_linked_dev_is_not_replaced(runtime, bundle, trap):
    (bundle.rootfs / "dev").rmdir()
    (bundle.rootfs / "dev").symlink_to(f"../../../../../../..{trap}")
    (trap / "marker").rename(trap / "ptmx")
    try:
        runtime.try_run(bundle.probe("report"))
        assert (trap / "ptmx").read_text() == "host"
    finally:
        (trap / "ptmx").rename(trap / "marker")


@req("T13", "DD-2")
@cve("CVE-2026-88264")
def test_console_that_is_a_link_out_of_the_root(runtime, bundle, trap, console):
    without_dev(bundle)
    (bundle.rootfs / "dev/console").symlink_to(f"../../../../../../..{trap}/console")
    bundle.mount("/dev/pts", "devpts", "devpts", ["newinstance", "ptmxmode=0666"]).set(
        "process.terminal", True
    )
    runtime.try_create(bundle, None, "--console-socket", console.path)


@req("T13b", "DD-2")
@cve("CVE-2026-88264", "CVE-2025-52565")
def test_console_that_is_a_link_to_a_file_of_both(runtime, bundle, trap, console):
    """A path that the host and the root file system have: neither file is truncated, neither is covered."""
    without_dev(bundle)
    inner = bundle.rootfs / str(trap).lstrip("/") / "marker"
    inner.parent.mkdir(parents=True)
    inner.write_text("of the image")
    (bundle.rootfs / "dev/console").symlink_to(trap / "marker")
    bundle.mount("/dev/pts", "devpts", "devpts", ["newinstance", "ptmxmode=0666"]).set(
        "process.terminal", True
    )
    bundle.probe("report", "cat", trap / "marker", "hold")
    result = runtime.try_create(bundle, None, "--console-socket", console.path)
    if result.code == 0:
        ident = runtime.states()[0]
        pid = runtime.ok("state", ident).json()["pid"]
        with open(f"/proc/{pid}/mountinfo") as table:
            assert [line for line in table if line.split()[4].endswith("/marker")] == []
    assert inner.read_text() == "of the image"
