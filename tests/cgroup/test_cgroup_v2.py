"""cgroup v2: on a tree of plain files that stands for the mount, and for life and death on a real unified mount."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pyrunc import host
from pyrunc.cgroup import from_state, is_frozen
from pyrunc.cgroup.manager import Place
from pyrunc.cgroup.v2 import ManagerV2
from pyrunc.errors import HostError, OpError, StateError
from pyrunc.spec.resources import CPU, BlockIO, DeviceRule, HugepageLimit, Memory, Pids, Resources

if TYPE_CHECKING:
    import subprocess

    from conftest import Fake

R = "linux.resources"


def test_controllers_are_enabled_from_the_mount_down(fake: Fake) -> None:
    fake.open().create()

    assert fake.read("cgroup.subtree_control") == "+cpu +memory +pids +io"
    assert fake.read("a/cgroup.subtree_control") == "+cpu +memory +pids +io"
    assert fake.read("a/c/cgroup.subtree_control") == ""


def test_what_is_enabled_already_is_left_alone(fake: Fake) -> None:
    (fake.path / "cgroup.subtree_control").write_text("cpu io memory pids")

    fake.open().create()

    assert fake.read("cgroup.subtree_control") == "cpu io memory pids"


def test_limits_arrive(fake: Fake) -> None:
    resources = Resources(
        at=R,
        memory=Memory(limit=100, swap=150, at=f"{R}.memory"),
        pids=Pids(limit=0, at=f"{R}.pids"),
        cpu=CPU(quota=5000, shares=1024, at=f"{R}.cpu"),
        unified={"memory.high": "77", "pids.max": "9"},
    )
    manager = fake.open(resources)
    manager.create()

    manager.apply(resources)

    written = {
        name: fake.read(f"a/c/{name}")
        for name in ("memory.max", "memory.swap.max", "memory.high", "cpu.weight")
    }
    assert written == {
        "memory.max": "100",
        "memory.swap.max": "50x",
        "memory.high": "77x",
        "cpu.weight": "100",
    }
    assert fake.read("a/c/cpu.max") == "5000 100000"
    assert (
        fake.read("a/c/pids.max") == "9ax"
    )  # unified over pids.limit; a plain file keeps the old "max" behind it


def test_weights_fall_back_to_the_file_that_is_there(fake: Fake) -> None:
    resources = Resources(at=R, block_io=BlockIO(weight=1000, at=f"{R}.blockIO"))
    manager = fake.open(resources)
    manager.create()

    manager.apply(resources)

    assert fake.read("a/c/io.weight") == "10000"


def test_a_missing_controller_is_told_with_runcs_text(fake: Fake) -> None:
    resources = Resources(
        at=R, hugepage_limits=(HugepageLimit(page_size="2MB", limit=1, at=f"{R}.hugepageLimits[0]"),)
    )
    manager = fake.open(resources)
    manager.create()

    with pytest.raises(HostError) as caught:
        manager.apply(resources)

    text = "cannot set hugetlb limit: container could not join or create cgroup"
    assert str(caught.value) == f"{R}.hugepageLimits[0].limit: {text}"


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (
            "rdma.max",
            'unified resource "rdma.max" can\'t be set: controller rdma not available: no such file or directory',
        ),
        (
            "memory.nope",
            "write memory.nope: this kernel has no such file or device: no such file or directory",
        ),
        (
            "cgroup.nope",
            "write cgroup.nope: this kernel has no such file or device: no such file or directory",
        ),
    ],
)
def test_unified_files_that_are_not_there(fake: Fake, key: str, text: str) -> None:
    resources = Resources(at=R, unified={key: "1"})
    manager = fake.open(resources)
    manager.create()

    with pytest.raises(OpError) as caught:
        manager.apply(resources)

    assert str(caught.value) == f'{R}.unified["{key}"]: {text}'


def test_devices_are_governed_even_without_a_rule_but_not_by_who_may_not(fake: Fake) -> None:
    rule = DeviceRule(allow=False, access="rwm", at=f"{R}.devices[0]")
    for resources, more in (
        (Resources(at=R), {}),
        (Resources(at=R, devices=(rule,)), {}),
        (Resources(at=R), {"rootless": True}),
    ):
        manager = fake.open(resources, path=f"/d{len(fake.rules)}{len(more)}", **more)
        manager.create()
        manager.apply(resources)

    assert fake.rules == [0, 1]


def test_a_relative_path_lies_beside_the_callers_own(fake: Fake) -> None:
    manager = fake.open(path=None)

    assert manager.paths == {"": f"{fake.path}/user/id1"}
    assert manager.mount_dirs() == manager.paths


def test_an_invalid_domain_is_made_threaded_where_that_will_do(fake: Fake) -> None:
    manager = fake.open(Resources(at=R, pids=Pids(limit=5, at=f"{R}.pids")), path="/a")
    (fake.path / "a").mkdir()
    (fake.path / "a" / "cgroup.type").write_text("domain invalid")

    manager.create()

    assert fake.read("a/cgroup.type").startswith("threaded")


@pytest.mark.parametrize("kind", ["domain invalid", "threaded", "domain threaded"])
def test_domain_controllers_want_a_domain(fake: Fake, kind: str) -> None:
    manager = fake.open(Resources(at=R, memory=Memory(limit=5, at=f"{R}.memory")), path="/a")
    (fake.path / "a").mkdir()
    (fake.path / "a" / "cgroup.type").write_text(kind)

    with pytest.raises(HostError, match=r'^cannot enter cgroupv2 "a" with domain controllers -- it is in '):
        manager.create()


def test_a_cgroup_in_use_is_refused_and_stays(fake: Fake) -> None:
    manager = fake.open(path="/a")
    (fake.path / "a").mkdir()
    (fake.path / "a" / "cgroup.procs").write_text("17\n19\n")

    with pytest.raises(StateError, match=r"^container's cgroup is not empty: 2 process\(es\) found$"):
        manager.create()

    assert (fake.path / "a").is_dir()


def test_a_frozen_cgroup_is_refused(fake: Fake) -> None:
    manager = fake.open(path="/a")
    (fake.path / "a").mkdir()
    (fake.path / "a" / "cgroup.freeze").write_text("1\n")

    with pytest.raises(StateError, match=r"^container's cgroup unexpectedly frozen$"):
        manager.create()


def test_oom_kills(fake: Fake) -> None:
    manager = fake.open()
    manager.create()

    assert manager.oom_kills() == 2


def test_clone_fd_is_the_directory(fake: Fake) -> None:
    manager = fake.open()
    manager.create()

    assert os.readlink(f"/proc/self/fd/{manager.clone_fd()}") == manager.paths[""]


def test_a_place_that_is_no_cgroup_is_never_written(tmp_path: Path) -> None:
    manager = ManagerV2([Place((), f"{tmp_path}/c", str(tmp_path), "c")])

    with pytest.raises(OpError, match="not on a cgroup file system"):
        manager.create()

    assert list(tmp_path.iterdir()) == []


# Rootless.


@pytest.fixture
def closed(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Return a mount in which nothing may be made."""

    def refuse(path: str, _mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "mkdir", refuse)
    return fake


def test_rootless_without_path_and_limits_goes_without(closed: Fake) -> None:
    manager = closed.open(path=None, rootless=True)

    manager.create()

    assert manager.paths == {}
    assert manager.mount_dirs() is None
    assert manager.clone_fd() == -1
    manager.join(os.getpid())
    manager.apply(Resources(at=R))
    assert manager.pids() == []
    manager.kill(signal.SIGKILL)
    manager.delete()


def test_rootless_with_limits_is_told(closed: Fake) -> None:
    resources = Resources(at=R, pids=Pids(limit=5, at=f"{R}.pids"))

    with pytest.raises(
        OpError, match=r"rootless needs no limits . no cgrouppath when no permission is granted for cgroups"
    ):
        closed.open(resources, path=None, rootless=True).create()


def test_rootless_with_a_path_is_told(closed: Fake) -> None:
    with pytest.raises(
        OpError, match=r"^unable to apply cgroup configuration: create .*: permission denied$"
    ):
        closed.open(path="/x", rootless=True).create()


def test_root_is_told(closed: Fake) -> None:
    with pytest.raises(
        OpError, match=r"^unable to apply cgroup configuration: create .*: permission denied$"
    ):
        closed.open(path=None).create()


# A real cgroup2 mount: the unified one of a hybrid host has no controllers, but everything about life and death.


@pytest.fixture
def unified() -> ManagerV2:
    """Return the manager of a cgroup that is made in the unified hierarchy."""
    layout = host.probe().cgroup
    if os.geteuid() != 0 or layout.v2 is None:
        pytest.skip("needs real root and a cgroup2 mount")
    rel = f"pyrunc-test-{os.getpid()}-{time.monotonic_ns()}/c"
    mount = layout.v2.mountpoint
    return ManagerV2([Place((), f"{mount}/{rel}", mount, rel)])


@pytest.mark.root
def test_freeze_kill_delete_for_real(unified: ManagerV2, sleeper: subprocess.Popen[bytes]) -> None:
    unified.create()
    try:
        assert len(unified.created) == 2
        (Path(unified.paths[""]) / "cgroup.procs").write_text(str(sleeper.pid))
        assert unified.pids() == [sleeper.pid]
        assert not is_frozen(unified.paths)
        unified.freeze()
        assert is_frozen(unified.paths)
        assert unified.frozen()

        again = from_state(unified.paths, unified.created)
        again.kill(signal.SIGKILL)

        assert sleeper.wait(5) == -signal.SIGKILL
    finally:
        sleeper.kill()
        sleeper.wait(5)
        unified.delete()
    assert not Path(unified.places[0].path).parent.exists()


@pytest.mark.root
def test_delete_takes_what_the_container_has_made_below(unified: ManagerV2) -> None:
    unified.create()
    (Path(unified.paths[""]) / "x" / "y").mkdir(parents=True)

    from_state(unified.paths, unified.created).delete()

    assert not Path(unified.places[0].path).exists()


# Freezing on the fake tree, whose cgroup.events answers at once.


def test_pause_and_thaw(fake: Fake) -> None:
    manager = fake.open(path="/a")
    manager.create()

    manager.pause()
    assert fake.read("a/cgroup.freeze") == "1"
    assert manager.frozen()
    manager.thaw()
    assert fake.read("a/cgroup.freeze") == "0"


def test_a_cgroup_that_systemd_removes_meanwhile(fake: Fake) -> None:
    """With a scope that is so as soon as its last process has ended, while `delete` goes on."""
    manager = fake.open(path="/a")
    manager.create()
    assert manager.exists(manager.places[0])
    shutil.rmtree(fake.path / "a")

    assert not manager.frozen()
    manager.thaw()
    manager.kill(signal.SIGKILL)
    assert manager.pids() == []


@pytest.mark.parametrize("number", [errno.ENOENT, errno.ENODEV])
def test_a_cgroup_that_systemd_removes_at_the_same_moment(
    fake: Fake, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    manager = fake.open(path="/a")
    manager.create()

    def rmdir(*_args: object, **_more: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("pyrunc.cgroup.tree.os.rmdir", rmdir)
    manager.delete()


def test_what_does_not_freeze_is_let_go(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyrunc.cgroup.v2.FREEZE_SECONDS", 0.02)
    manager = fake.open(path="/a")
    manager.create()
    (fake.path / "a" / "cgroup.events").write_text("populated 1\nfrozen 0\n")

    with pytest.raises(OpError, match=r"^freeze /.*/a: connection timed out$"):
        manager.pause()

    assert fake.read("a/cgroup.freeze") == "0"


def test_pause_of_what_pyrunc_is_in_itself(fake: Fake) -> None:
    manager = fake.open(path="/a")
    manager.create()
    (fake.path / "a" / "cgroup.procs").write_text(f"{os.getpid()}\n")

    with pytest.raises(StateError, match=r"^unable to freeze: pyrunc itself is in the container's cgroup$"):
        manager.pause()

    assert fake.read("a/cgroup.freeze") == "0"


def test_pause_without_a_cgroup() -> None:
    with pytest.raises(HostError, match=r"^cannot toggle freezer: cgroups not configured for container$"):
        ManagerV2([]).pause()
