"""What the kernel says of the host, read from recorded texts and from this very host."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrunc import host
from pyrunc.errors import HostError, SpecError
from pyrunc.host import CgroupLayout, Hierarchy, Host

V1 = b"""\
1 1 0:1 / / rw - ext4 /dev/vda rw
31 1 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:7 master:3 - cgroup cgroup rw,cpuacct,cpu
33 31 0:30 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,release_agent=/lib/agent,name=systemd
"""
V1_OWN = b"4:cpu,cpuacct:/user.slice\n1:name=systemd:/user.slice/a:b\n"
UNIFIED = b"34 31 0:31 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n"
V2 = b"1 1 0:1 / / rw - ext4 /dev/vda rw\n40 1 0:40 / /sys/fs/cgroup rw shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"


def test_v1_hierarchies_know_their_controllers_whatever_else_the_options_say() -> None:
    layout = host.parse_layout(V1, V1_OWN)

    assert layout.mode == "v1"
    assert layout.v2 is None
    assert layout.v1 == (
        Hierarchy(("cpu", "cpuacct"), "/sys/fs/cgroup/cpu,cpuacct", "/", "/user.slice"),
        Hierarchy(("name=systemd",), "/sys/fs/cgroup/systemd", "/", "/user.slice/a:b"),
    )


def test_hybrid_is_v1_with_a_unified_hierarchy_beside_it() -> None:
    layout = host.parse_layout(V1 + UNIFIED, V1_OWN + b"0::/init.scope\n")

    assert layout.mode == "hybrid"
    assert layout.v2 == Hierarchy((), "/sys/fs/cgroup/unified", "/", "/init.scope")
    assert len(layout.v1) == 2


def test_v2() -> None:
    layout = host.parse_layout(V2, b"0::/system.slice/x.service\n")

    assert layout == CgroupLayout("v2", (), Hierarchy((), "/sys/fs/cgroup", "/", "/system.slice/x.service"))


def test_a_named_hierarchy_beside_cgroup2_does_not_make_it_hybrid() -> None:
    named = b"41 1 0:41 / /run/old rw - cgroup cgroup rw,name=systemd\n"

    layout = host.parse_layout(V2 + named, b"1:name=systemd:/\n0::/\n")

    assert layout.mode == "v2"
    assert layout.v1 == ()


@pytest.mark.parametrize("own", [b"", b"0::/\n"])
def test_nothing_mounted(own: bytes) -> None:
    assert host.parse_layout(b"1 1 0:1 / / rw - ext4 /dev/vda rw\n", own) == CgroupLayout("none")


def test_of_two_mounts_of_a_hierarchy_the_first_counts() -> None:
    again = b"50 1 0:29 /user.slice /mnt/again rw - cgroup cgroup rw,cpuacct,cpu\n"

    assert host.parse_layout(V1 + again, V1_OWN).v1[0].mountpoint == "/sys/fs/cgroup/cpu,cpuacct"


def test_a_bind_mounted_part_keeps_its_root() -> None:
    part = b"1 1 0:1 / / rw - ext4 /dev/vda rw\n9 1 0:2 /docker/abc /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n"

    (pids,) = host.parse_layout(part, b"3:pids:/docker/abc/x\n").v1

    assert (pids.root, pids.own) == ("/docker/abc", "/docker/abc/x")


def test_a_hidden_mount_is_left_out() -> None:
    over = b"60 31 0:60 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n61 60 0:40 / /sys/fs/cgroup/two rw - cgroup2 none rw\n"

    layout = host.parse_layout(V1 + over, V1_OWN + b"0::/\n")

    assert layout == CgroupLayout("v2", (), Hierarchy((), "/sys/fs/cgroup/two", "/", "/"))


def test_a_newer_root_below_old_mounts_hides_nothing() -> None:
    """switch_root moves /sys below a root that was mounted after it."""
    table = b"9 70 0:9 / /sys rw - sysfs s rw\n10 9 0:40 / /sys/fs/cgroup rw - cgroup2 c rw\n70 1 8:1 / / rw - ext4 r rw\n"

    assert host.parse_layout(table, b"0::/\n").mode == "v2"


def test_octal_escapes_of_a_mount_point() -> None:
    table = rb"9 1 0:9 /a\134b /mnt/c\040d\012e rw - cgroup2 c rw" + b"\n"

    layout = host.parse_layout(table, b"0::/\n")

    assert layout.v2 is not None
    assert (layout.v2.mountpoint, layout.v2.root) == ("/mnt/c d\ne", "/a\\b")


@pytest.mark.parametrize("release", ["5.13.19-foo", "4.19.0", "5.9.1", "3.10", "garbage", ""])
def test_an_old_kernel_is_refused_in_one_line(release: str) -> None:
    with pytest.raises(HostError) as caught:
        host.parse_release(release)

    assert str(caught.value) == f"pyrunc needs Linux 5.14 or later: this is {release}"


@pytest.mark.parametrize(
    ("release", "kernel"),
    [("5.14", (5, 14)), ("5.14.0-rc1", (5, 14)), ("6.1-foo", (6, 1)), ("10.0.1+", (10, 0))],
)
def test_a_new_kernel_is_taken(release: str, kernel: tuple[int, int]) -> None:
    assert host.parse_release(release) == kernel


def test_status_fields() -> None:
    status = b"Name:\tx\nUmask:\t0077\nCapEff:\t00000000000000ff\nCapBnd:\t000001ffffffffff\n"

    assert host.parse_status(status) == (0o077, 0xFF, 0x1FFFFFFFFFF)


def test_limits_are_what_getrlimit_says() -> None:
    limits = host.probe().rlimits

    assert sorted(limits) == list(range(16))
    for number, pair in limits.items():
        assert pair == tuple(value & host.RLIM_INFINITY for value in resource.getrlimit(number))


def test_probe_agrees_with_this_process() -> None:
    here = host.probe()
    mask = os.umask(0)
    os.umask(mask)

    assert here.umask == mask
    assert (here.euid, here.egid) == (os.geteuid(), os.getegid())
    assert here.kernel >= host.MINIMUM
    assert here.bounding < 1 << (here.last_cap + 1)
    assert here.proc_mounts == ()


@pytest.mark.parametrize(
    ("uid_map", "setgroups", "allowed"),
    [("0 0 4294967295", "allow", True), ("0 1000 1", "deny", False), ("0 1000 65536", "allow", True)],
)
def test_setgroups_may_be_denied(tmp_path: Path, uid_map: str, setgroups: str, allowed: bool) -> None:
    own = tmp_path / "self"
    own.mkdir()
    for name in ("status", "mountinfo", "limits", "cgroup"):
        (own / name).write_bytes(Path(f"/proc/self/{name}").read_bytes())
    (own / "uid_map").write_text(f"{uid_map}\n")
    (own / "setgroups").write_text(f"{setgroups}\n")

    assert host.probe(proc=os.fspath(tmp_path)).setgroups == allowed


def test_proc_mounts_deepest_first_and_only_whole_ones() -> None:
    table = (
        b"1 1 0:1 / /proc rw - proc proc rw\n2 1 0:1 /sys /proc/sys rw - proc proc rw\n"
        b"3 1 0:2 / /mnt/deep/sys rw - sysfs sysfs rw\n"
    )

    assert host.parse_proc_mounts(table) == ("/mnt/deep/sys", "/proc")


def test_probe_finds_the_proc_of_this_host() -> None:
    assert "/proc" in host.probe(mounts=True).proc_mounts


def test_an_unreadable_proc_is_told(tmp_path: os.PathLike[str]) -> None:
    with pytest.raises(HostError, match=r"^read .*/self/status: no such file or directory$"):
        host.probe(proc=os.fspath(tmp_path))


# A recorded host.


def test_a_recorded_host_comes_back() -> None:
    import json

    here = host.probe(mounts=True)

    assert host.from_dict(json.loads(json.dumps(host.to_dict(here)))) == here


BASE = Host(
    kernel=(6, 1), euid=0, egid=0, in_userns=False, umask=18, effective=1, bounding=1, last_cap=40,
    rlimits={7: (1024, 4096)}, cgroup=host.parse_layout(V1 + UNIFIED, V1_OWN + b"0::/\n"), proc_mounts=("/proc",),
)  # fmt: skip


@pytest.mark.parametrize(
    ("change", "at"),
    [
        ({"kernel": [6]}, "kernel"),
        ({"kernel": "6.1"}, "kernel"),
        ({"euid": -1}, "euid"),
        ({"euid": True}, "euid"),
        ({"umask": None}, "umask"),
        ({"in_userns": 0}, "in_userns"),
        ({"effective": 2**64}, "effective"),
        ({"rlimits": {"x": [1, 2]}}, 'rlimits["x"]'),
        ({"rlimits": {"7": [1]}}, 'rlimits["7"]'),
        ({"proc_mounts": ["proc"]}, "proc_mounts[0]"),
        ({"cgroup": None}, "cgroup"),
        ({"cgroup": {"mode": "v3", "v1": [], "v2": None}}, "cgroup.mode"),
        ({"cgroup": {"mode": "v2", "v1": [], "v2": None}}, "cgroup.mode"),
        ({"cgroup": {"mode": "v1", "v1": [{}], "v2": None}}, "cgroup.v1[0].controllers"),
        (
            {"cgroup": {"mode": "v2", "v1": [], "v2": {"controllers": [], "mountpoint": "x"}}},
            "cgroup.v2.mountpoint",
        ),
    ],
)
def test_a_wrong_recorded_host_is_told_by_field(change: dict[str, object], at: str) -> None:
    with pytest.raises(SpecError) as caught:
        host.from_dict({**host.to_dict(BASE), **change})

    assert caught.value.faults[0].at == at


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(key=st.sampled_from(sorted(host.to_dict(BASE))), value=JSON)
def test_no_recorded_host_ends_in_a_traceback(key: str, value: object) -> None:
    facts = {**host.to_dict(BASE), key: value}

    try:
        assert host.to_dict(host.from_dict(facts)) == facts
    except SpecError as error:
        assert error.faults[0].at.startswith(key)  # noqa: PT017 - one of two outcomes
