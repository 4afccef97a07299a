"""Races: a name that is exchanged all the time, between a look at it and its use.

Each has a bounded number of runs; `attempts` counts the exchanges that happened meanwhile.
"""

from __future__ import annotations

import os
import stat
import threading

import pytest
from lib import attack, host
from lib.runtime import mount_table

req, cve = pytest.mark.req, pytest.mark.cve
RUNS = 40


@pytest.fixture
def swap(runtime, record_property):
    """Start exchanging two names. At the end there was an exchange for every look that a runtime could take."""
    made = []

    def start(one, other):
        made.append(attack.Swap(runtime, one, other))
        return made[-1]

    yield start
    counts = [swapper.stop() for swapper in made]
    record_property("attempts", sum(counts))
    assert all(count > RUNS for count in counts), f"too few exchanges to prove anything: {counts}"


@cve("CVE-2021-30465", "CVE-2024-45310")
@pytest.mark.parametrize(
    "form", [pytest.param("absolute", marks=req("T07r")), pytest.param("dots", marks=req("T08r"))]
)
def test_mount_points_on_a_volume_that_changes(runtime, bundle, trap, swap, form):
    """A directory that is a link out of the root every other moment, above the places of a tmpfs and of a file."""
    volume = bundle.rootfs / "vol"
    (volume / "a").mkdir(parents=True)
    (volume / "b").symlink_to(trap if form == "absolute" else f"../../../../../../../..{trap}")
    (bundle.path / "file").write_text("x")
    swap(volume / "a", volume / "b")
    bundle.mount("/vol/a/q/w/e/r").mount("/vol/a/f/g", None, "file", ["bind"]).args("/bin/true")
    with runtime.assert_untouched():
        for _ in range(60):
            runtime.try_run(bundle)


@req("T07r", "T08r")
@cve("CVE-2021-30465", "CVE-2024-45310")
def test_the_exchange_catches_who_looks_first(runtime, bundle, swap):
    """Who resolves a path below the root and then makes what is missing by that path ends up in the host."""
    volume, out = bundle.rootfs / "vol", runtime.work / "out"
    (volume / "a").mkdir(parents=True)
    out.mkdir()
    (volume / "b").symlink_to(out)
    swap(volume / "a", volume / "b")
    for n in range(20000):
        try:  # either look may find what has just been exchanged
            if os.path.realpath(volume / "a").startswith(str(bundle.rootfs)):
                os.mkdir(volume / "a" / f"d{n}")
        except OSError:
            continue
        if os.listdir(out):
            break
    assert os.listdir(out)


@req("T11r")
@cve("CVE-2025-52881", "CVE-2025-62596")
@pytest.mark.parametrize("target", ["/proc/sys/kernel", "/proc/self/attr"])
def test_settings_behind_a_volume_that_changes(runtime, bundle, swap, target):
    """A tmpfs that lands in /proc would swallow what the runtime writes there: then it is an error, not a success."""
    volume = bundle.rootfs / "vol"
    (volume / "a").mkdir(parents=True)
    (volume / "b").symlink_to(target)
    swap(volume / "a", volume / "b")
    bundle.mount("/vol/a").set("linux.sysctl", {"kernel.shmmni": "99"})
    bundle.probe("report", "cat", "/proc/sys/kernel/shmmni")
    before = host.settings()
    started = 0
    for _ in range(RUNS):
        result = runtime.try_run(bundle)
        if result.code == 0:
            started += 1
            assert result.seen.cat("/proc/sys/kernel/shmmni") == "99"
            assert [m.place for m in result.seen.mounts if m.place.startswith("/proc/")] == []
    assert started, "not one of the runs came through: nothing is proved"
    assert host.settings() == before


@req("T12r")
@cve("CVE-2026-41579", "CVE-2026-47766")
@pytest.mark.parametrize("dev_mount", [False, True], ids=["no mount", "tmpfs"])
def test_dev_that_changes(runtime, bundle, trap, swap, dev_mount):
    (bundle.rootfs / "dev2").symlink_to(f"../../../../../../..{trap}")
    if not dev_mount:
        bundle.config["mounts"] = [
            m for m in bundle.config["mounts"] if not m["destination"].startswith("/dev")
        ]
    swap(bundle.rootfs / "dev", bundle.rootfs / "dev2")
    bundle.args("/bin/true")
    for _ in range(RUNS):
        runtime.try_run(bundle)


@req("T09r", "MK-2")
@cve("CVE-2025-31133", "CVE-2025-62161")
def test_masked_with_a_null_device_that_changes(runtime, bundle, swap):
    """/dev is a volume, and its null is a link to the attacker's file every other moment."""
    dev = runtime.work / "dev"
    dev.mkdir()
    os.mknod(dev / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    (dev / "other").symlink_to("/leak")
    (bundle.rootfs / "leak").write_text("LEAK")
    (bundle.rootfs / "secret").write_text("SECRET")
    bundle.config["mounts"] = [m for m in bundle.config["mounts"] if not m["destination"].startswith("/dev")]
    bundle.mount("/dev", None, dev, ["rbind"]).set("linux.maskedPaths", ["/secret"]).probe("cat", "/secret")
    swap(dev / "null", dev / "other")
    for _ in range(RUNS):
        result = runtime.try_run(bundle)
        assert "SECRET" not in result.said
        assert "LEAK" not in result.said


@req("T09r", "MK-2")
@cve("CVE-2025-31133", "CVE-2025-62161")
def test_a_masked_path_that_changes(runtime, bundle, swap):
    """A file one moment and a directory the next: it is covered by what fits, or it is an error."""
    volume = bundle.rootfs / "vol"
    (volume / "b").mkdir(parents=True)
    (volume / "a").write_text("SECRET")
    bundle.set("linux.maskedPaths", ["/vol/a"]).probe("report")
    swap(volume / "a", volume / "b")
    started = 0
    for _ in range(RUNS):
        result = runtime.try_run(bundle)
        if result.code == 0:
            started += 1
            assert len([m for m in result.seen.mounts if m.place.startswith("/vol/")]) == 1
    assert started, "not one of the runs came through: nothing is proved"


@req("T02r", "PR-6")
@cve("CVE-2024-21626")
def test_cwd_of_an_exec_that_changes(runtime, bundle, leak, trap, swap):
    """A directory of the container's, and a link to a descriptor that leads to the host, take turns."""
    (bundle.rootfs / "w/a").mkdir(parents=True)
    (bundle.rootfs / "w/b").symlink_to("/proc/self/fd/60")
    c = runtime.running(bundle.probe("hold"))
    swap(bundle.rootfs / "w/a", bundle.rootfs / "w/b")
    marker = str(trap / "marker").lstrip("/")
    for _ in range(RUNS):
        result = runtime.cmd("exec", "--cwd", "/w/a", c.id, "/probe", "report", "stat", marker, pass_fds=leak)
        if result.code == 0:
            assert result.seen.step("stat").err != "", "the program runs in a directory of the host"
            assert result.seen["cwd"] in {"/w/a", "/w/b"}


@req("T33", "RP-1")
@cve("mounts that leak to the host")
def test_mounts_of_others_come_and_go_meanwhile(runtime, bundle, record_property):
    """The table of mounts changes under the runtime's eyes; nothing of the container may show in it afterwards."""
    top = runtime.work / "shared"
    top.mkdir()
    host.mount("tmpfs", top, "tmpfs")
    host.mount("none", top, flags=host.MS_SHARED)
    over, count = threading.Event(), 0
    (top / "churn").mkdir()

    def churn() -> None:
        nonlocal count
        while not over.is_set():
            host.mount("tmpfs", top / "churn", "tmpfs")
            host.umount(top / "churn")
            count += 1

    thread = threading.Thread(target=churn)
    try:
        place = top / "rootfs"
        place.mkdir()
        host.mount(str(bundle.rootfs), place, flags=host.MS_BIND)
        before = mount_table()
        bundle.set("root.path", str(place)).args("/bin/true")
        thread.start()
        for n in range(40):
            runtime.run(bundle.set("linux.rootfsPropagation", "shared" if n % 2 else "private"))
        over.set()
        thread.join()
        record_property("attempts", count)
        assert mount_table() == before
        assert count > 40
    finally:
        over.set()
        thread.join()
        host.umount(top)
