"""Where a container's cgroup is. The security property: never outside the mount."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrunc.cgroup import paths
from pyrunc.errors import SpecError
from pyrunc.host import CgroupLayout, Hierarchy

PIDS = Hierarchy(("pids",), "/sys/fs/cgroup/pids", "/", "/user/me")
UNIFIED = Hierarchy((), "/sys/fs/cgroup", "/", "/user/me")
TRICKY = st.lists(st.sampled_from(["..", ".", "", "a", "b.c", "...", "..a"]), max_size=8).map("/".join)


@pytest.mark.parametrize(
    ("given_path", "v1", "v2"),
    [
        ("/abs/x", "abs/x", "abs/x"),
        ("rel/x", "user/me/rel/x", "user/rel/x"),
        (None, "user/me/id1", "user/id1"),
        ("", "user/me/id1", "user/id1"),
        ("../../../../esc", "user/me/esc", "user/esc"),
        ("/a/../../x", "x", "x"),
        ("slice:prefix:name", "user/me/slice:prefix:name", "user/slice:prefix:name"),
        ("//a//./b/", "a/b", "a/b"),
    ],
)
def test_the_rules_of_runc(given_path: str | None, v1: str, v2: str) -> None:
    assert paths.inside(PIDS, given_path, "id1", beside=False) == v1
    assert paths.inside(UNIFIED, given_path, "id1", beside=True) == v2


@given(TRICKY)
def test_cleaning_is_that_of_a_path_at_its_root(path: str) -> None:
    cleaned = paths.clean(path)

    assert "/" + cleaned == os.path.normpath("///" + path)
    assert not {"", ".", ".."} & set(cleaned.split("/")) or not cleaned


@given(path=TRICKY, root=TRICKY, own=TRICKY, beside=st.booleans())
def test_no_path_leaves_the_mount(path: str, root: str, own: str, *, beside: bool) -> None:
    hierarchy = Hierarchy(("pids",), "/m/pids", f"/{root}", f"/{own}")

    try:
        inside = paths.inside(hierarchy, path, "id1", beside=beside)
    except SpecError as error:
        assert error.faults[0].at == "linux.cgroupsPath"  # noqa: PT017 - one of two outcomes
        assert not paths.clean(path)
    else:
        full = paths.join(hierarchy.mountpoint, inside)
        assert os.path.normpath(full) == full
        assert full.startswith("/m/pids/")


@given(path=TRICKY)
def test_the_same_value_gives_the_same_place(path: str) -> None:
    layout = CgroupLayout("v1", (PIDS,))

    try:
        first = paths.locate(layout, path, "id1")
    except SpecError:
        return
    assert first == paths.locate(layout, path, "id1")


@pytest.mark.parametrize("path", ["/", "..", ".", "/..", "a/.."])
def test_the_root_itself_is_refused(path: str) -> None:
    with pytest.raises(SpecError, match="below the mount point"):
        paths.inside(PIDS, path, "id1", beside=False)


@pytest.mark.parametrize(
    ("root", "own", "expected"),
    [
        ("/", "/", ""),
        ("/", "/a/b", "a/b"),
        ("/a", "/a/b", "b"),
        ("/a", "/a", ""),
        ("/a", "/ab", ""),  # not below what is mounted: only the mount's root is known
        ("/..", "/", ""),
        ("/../..", "/x", ""),
    ],
)
def test_the_own_cgroup_as_the_mount_shows_it(root: str, own: str, expected: str) -> None:
    assert paths.own_below_mount(Hierarchy(("pids",), "/m", root, own)) == expected


def test_a_hybrid_host_joins_the_unified_hierarchy_by_the_rule_of_v1() -> None:
    layout = CgroupLayout("hybrid", (PIDS,), Hierarchy((), "/sys/fs/cgroup/unified", "/", "/user/me"))

    assert [inside for _, inside in paths.locate(layout, None, "id1")] == ["user/me/id1", "user/me/id1"]
