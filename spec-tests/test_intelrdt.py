"""linux.intelRdt. A host without resctrl can only tell that it is refused there, and that values are refused that are none."""

from __future__ import annotations

import os
import pathlib

import pytest

req = pytest.mark.req
with_resctrl = pytest.mark.only_if("resctrl")
TOP = pathlib.Path("/sys/fs/resctrl")
MOUNTED = " - resctrl " in pathlib.Path("/proc/self/mountinfo").read_text()
without_resctrl = pytest.mark.skipif(MOUNTED, reason="needs a host without resctrl")


@req("RT-2")
@without_resctrl
@pytest.mark.parametrize(
    "rdt", [{}, {"closID": "x"}, {"closID": "/"}, {"l3CacheSchema": "L3:0=f"}, {"enableMonitoring": True}]
)
def test_host_without_resctrl(runtime, bundle, rdt):
    runtime.refuses(bundle.set("linux.intelRdt", rdt))


@req("RT-5", "RT-6")
@pytest.mark.parametrize(
    "rdt",
    [
        {"l3CacheSchema": "MB:0=50"},
        {"l3CacheSchema": "L3:0=f\nL3:1=f"},
        {"memBwSchema": "L3:0=f"},
        {"memBwSchema": "MB:0=50\nMB:1=50"},
        {"schemata": ["L3:0=f", "MB:0=50\nL3:0=1"]},
        {"closID": ".."},
        {"closID": "a/b"},
    ],
)
def test_value_that_is_none(runtime, bundle, rdt):
    runtime.refuses(bundle.set("linux.intelRdt", rdt))


@req("RT-3", "RT-8")
def test_unset_touches_nothing(runtime, bundle):
    def seen() -> list[tuple[str, int]]:
        top = "/sys/fs/resctrl"
        return [(path, os.stat(path).st_mtime_ns) for path, _, _ in os.walk(top)]

    before = seen()
    runtime.run(bundle.probe("report"))
    assert seen() == before


def line_of(group: pathlib.Path, resource: str) -> str:
    """The line of a resource in the schemata of a group, without padding."""
    lines = [line.strip() for line in (group / "schemata").read_text().splitlines()]
    return next((line for line in lines if line.startswith(f"{resource}:")), "")


def tasks(group: pathlib.Path) -> list[int]:
    return [int(line) for line in (group / "tasks").read_text().split()]


@req("RT-1", "RT-9", "RT-12")
@with_resctrl
def test_class_with_the_name_of_the_container(runtime, bundle):
    c = runtime.running(bundle.set("linux.intelRdt", {}).probe("hold"))
    assert c.pid in tasks(TOP / c.id)
    c.stop()
    assert c.delete().code == 0
    assert not (TOP / c.id).exists()


@req("RT-4")
@with_resctrl
def test_class_of_the_root(runtime, bundle):
    c = runtime.running(bundle.set("linux.intelRdt", {"closID": "/"}).probe("hold"))
    assert c.pid in tasks(TOP)


@req("RT-11", "RT-12")
@with_resctrl
def test_class_that_must_be_there(runtime, bundle):
    group = TOP / f"st-{os.getpid()}-class"
    bundle.set("linux.intelRdt", {"closID": group.name}).probe("hold")
    runtime.refuses(bundle)
    group.mkdir()
    try:
        c = runtime.running(bundle)
        assert c.pid in tasks(group)
        c.stop()
        assert c.delete().code == 0
        assert group.exists()
    finally:
        group.rmdir()


@req("RT-7", "RT-10")
@with_resctrl
def test_class_is_made_and_then_compared(runtime, bundle):
    root = next((line for line in (line_of(TOP, "L3"), line_of(TOP, "MB")) if line), "")
    key = "l3CacheSchema" if root.startswith("L3:") else "memBwSchema"
    group = TOP / f"st-{os.getpid()}-class"
    try:
        runtime.running(bundle.set("linux.intelRdt", {"closID": group.name, key: root}).probe("hold"))
        assert line_of(group, root[:2]) == root
        runtime.running(
            runtime.bundle().set("linux.intelRdt", {"closID": group.name, key: root}).probe("hold")
        )
        other = root.replace(root.rpartition("=")[2], "1" if key == "l3CacheSchema" else "10")
        runtime.refuses(runtime.bundle().set("linux.intelRdt", {"closID": group.name, key: other}))
    finally:
        runtime.clean_containers()
        group.rmdir()


@req("RT-13")
@with_resctrl
def test_monitoring_group(runtime, bundle):
    c = runtime.running(bundle.set("linux.intelRdt", {"closID": "/", "enableMonitoring": True}).probe("hold"))
    assert c.pid in tasks(TOP / "mon_groups" / c.id)
    c.stop()
    assert c.delete().code == 0
    assert not (TOP / "mon_groups" / c.id).exists()


@req("CLI-UPDATE-7", "CLI-EVENTS-1")
@with_resctrl
def test_update_and_events(runtime, bundle):
    root = next((line for line in (line_of(TOP, "L3"), line_of(TOP, "MB")) if line), "")
    option = "--l3-cache-schema" if root.startswith("L3:") else "--mem-bw-schema"
    key = "l3_cache_schema" if root.startswith("L3:") else "mem_bw_schema"
    c = runtime.running(bundle.set("linux.intelRdt", {}).probe("hold"))
    smaller = root.replace(root.rpartition("=")[2], "1" if option == "--l3-cache-schema" else "10")
    runtime.ok("update", option, smaller, c.id)
    told = runtime.ok("events", "--stats", c.id).json()["data"]["intel_rdt"]
    assert told[key].rpartition("=")[2].lstrip("0") in {"1", "10"}
    assert told[f"{key}_root"].replace(" ", "") == root.replace(" ", "")
    other = runtime.running(runtime.bundle().probe("hold"))
    said = runtime.fails("update", option, smaller, other.id).err
    assert "updating a non-existent Intel RDT configuration is not supported" in said
