"""linux.intelRdt as far as a host without resctrl can tell: it is refused there, and so are values that are none."""

from __future__ import annotations

import os
import pathlib

import pytest

req = pytest.mark.req
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
