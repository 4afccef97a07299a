"""cgroup v1 on the real hierarchies of this host, in cgroups of our own."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pyrunc.cgroup import from_state, is_frozen, tree
from pyrunc.errors import HostError, OpError, PyruncError, SpecError, StateError
from pyrunc.spec.resources import CPU, DeviceRule, Memory, Network, Pids, Resources

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import MakeManager

    from pyrunc.cgroup.manager import Manager

pytestmark = pytest.mark.root
R = "linux.resources"
SMALL = Resources(
    at=R,
    memory=Memory(limit=64 << 20, swap=64 << 20, at=f"{R}.memory"),
    pids=Pids(limit=5, at=f"{R}.pids"),
    cpu=CPU(quota=50000, period=100000, shares=512, cpus="0", at=f"{R}.cpu"),
)


def content(manager: Manager, controller: str, file: str) -> str:
    return (Path(manager.paths[controller]) / file).read_text().strip()


def join_as_the_executor_does(manager: Manager, pid: int) -> None:
    """Enter the hierarchies that the executor enters by itself, then those that are left to `join`."""
    for path in manager.tasks():
        Path(path).write_text(str(pid))
    for place in manager.places:
        (Path(place.path) / "cgroup.procs").write_text(str(pid))
    manager.join(pid)


def test_every_hierarchy_is_joined_at_the_same_path(
    make: MakeManager, sleeper: subprocess.Popen[bytes]
) -> None:
    manager = make()
    manager.create()

    join_as_the_executor_does(manager, sleeper.pid)

    lines = Path(f"/proc/{sleeper.pid}/cgroup").read_text().splitlines()
    assert {line.split(":", 2)[2] for line in lines} == {f"/{make.base}/c"}  # type: ignore[attr-defined]
    assert manager.pids() == [sleeper.pid]


def test_create_limits_and_delete_leave_nothing(make: MakeManager) -> None:
    manager = make(SMALL)
    expected = manager.expected()
    manager.create()
    manager.apply(SMALL)

    assert sorted(manager.created) == sorted(expected)
    assert content(manager, "memory", "memory.limit_in_bytes") == str(64 << 20)
    assert content(manager, "memory", "memory.memsw.limit_in_bytes") == str(64 << 20)
    assert content(manager, "pids", "pids.max") == "5"
    assert content(manager, "cpu", "cpu.cfs_quota_us") == "50000"
    assert content(manager, "cpu", "cpu.shares") == "512"
    assert content(manager, "cpuset", "cpuset.cpus") == "0"
    assert content(manager, "cpuset", "cpuset.mems") != ""
    assert manager.warnings == []

    paths = list(manager.paths.values())
    from_state(manager.paths, manager.created).delete()

    assert [path for path in paths if Path(path).parent.exists()] == []


def test_devices_end_as_the_rules_say(make: MakeManager) -> None:
    resources = Resources(
        at=R, devices=(DeviceRule(allow=True, type="c", major=10, minor=229, access="rw", at=R),)
    )
    manager = make(resources)
    manager.create()

    manager.apply(resources)

    listed = content(manager, "devices", "devices.list").splitlines()
    assert "c 10:229 rw" in listed
    assert "a *:* rwm" not in listed
    assert len(listed) == 12


def test_a_cgroup_that_was_there_before_survives(make: MakeManager) -> None:
    first = make()
    first.create()
    second = make()

    second.create()

    assert second.created == []
    second.delete()
    assert all(Path(path).is_dir() for path in first.paths.values())
    first.delete()


def test_a_cgroup_in_use_is_refused_and_nothing_is_left(
    make: MakeManager, sleeper: subprocess.Popen[bytes]
) -> None:
    first = make(path="/BASE/one")
    first.create()
    (Path(first.paths["devices"]) / "cgroup.procs").write_text(str(sleeper.pid))
    second = make(path="/BASE/one")

    with pytest.raises(StateError, match=r"^container's cgroup is not empty: 1 process\(es\) found$"):
        second.create()

    assert second.created == []
    assert Path(first.paths["devices"]).is_dir()


def test_a_frozen_cgroup_is_refused(make: MakeManager) -> None:
    first = make()
    first.create()
    first.freeze()

    with pytest.raises(StateError, match=r"^container's cgroup unexpectedly frozen$"):
        make().create()

    first.thaw()


def test_a_failure_on_the_way_leaves_nothing(make: MakeManager) -> None:
    bad = Resources(at=R, cpu=CPU(cpus="x-y", at=f"{R}.cpu"))
    manager = make(bad)

    with pytest.raises(OpError) as caught:
        manager.create()

    assert str(caught.value) == f"{R}.cpu.cpus: write cpuset.cpus: invalid argument"
    assert manager.expected() == make(bad).expected()
    assert not any(Path(path).parent.exists() for path in manager.paths.values())


def test_a_refused_limit_names_its_place_in_the_config(make: MakeManager) -> None:
    manager = make()
    manager.create()

    with pytest.raises(OpError) as caught:
        manager.apply(Resources(at=R, memory=Memory(limit=-5, at=f"{R}.memory")))

    assert str(caught.value) == f"{R}.memory.limit: write memory.limit_in_bytes: invalid argument"


def test_a_limit_below_what_is_in_use_is_told_with_both_figures(make: MakeManager) -> None:
    manager = make()
    manager.create()
    script = f"open('{manager.paths['memory']}/cgroup.procs','w').write('0'); x=bytearray(9<<20); print(flush=True); input()"
    with subprocess.Popen(
        ["python3", "-ISc", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as eater:
        assert eater.stdout is not None
        eater.stdout.readline()
        with pytest.raises(
            OpError, match=r"unable to set memory limit to 1 \(current usage: \d{7,}, peak usage: \d{7,}\)$"
        ):
            manager.apply(Resources(at=R, memory=Memory(limit=1, at=f"{R}.memory")))
        eater.kill()


def test_memory_and_swap_can_be_raised_and_lowered_together(make: MakeManager) -> None:
    manager = make()
    manager.create()

    for limit in (32 << 20, 128 << 20, 16 << 20, -1, 64 << 20):
        swap = -1 if limit == -1 else limit
        manager.apply(Resources(at=R, memory=Memory(limit=limit, swap=swap, at=f"{R}.memory")))

    assert content(manager, "memory", "memory.memsw.limit_in_bytes") == str(64 << 20)


def test_a_missing_controller_with_a_limit_is_told(make: MakeManager) -> None:
    resources = Resources(at=R, network=Network(class_id=5, at=f"{R}.network"))
    manager = make(resources)
    manager.create()
    manager.places = [place for place in manager.places if "net_cls" not in place.controllers]

    with pytest.raises(HostError) as caught:
        manager.apply(resources)

    text = "cannot set net_cls limit: container could not join or create cgroup"
    assert str(caught.value) == f"{R}.network.classID: {text}"


def test_unified_on_v1_is_refused_before_anything_is_made(make: MakeManager) -> None:
    with pytest.raises(SpecError, match="invalid configuration: cannot use unified on cgroup v1"):
        make(Resources(at=R, unified={"memory.high": "1"}))


def test_kill_reaches_all_and_those_below_even_frozen_ones(make: MakeManager) -> None:
    manager = make()
    manager.create()
    script = "while :; do sleep 0.01 & wait; done"
    with subprocess.Popen(["sh", "-c", script]) as forker:
        join_as_the_executor_does(manager, forker.pid)
        below = Path(manager.paths["freezer"]) / "below"
        below.mkdir()
        with subprocess.Popen(["sleep", "60"]) as other:
            (below / "cgroup.procs").write_text(str(other.pid))
            manager.freeze()
            assert is_frozen(manager.paths)

            from_state(manager.paths, manager.created).kill(signal.SIGKILL)

            assert forker.wait(5) == -signal.SIGKILL
            assert other.wait(5) == -signal.SIGKILL
    assert not manager.frozen()
    end = time.monotonic() + 5
    while manager.pids() and time.monotonic() < end:
        time.sleep(0.01)
    manager.delete()
    assert not below.exists()


def test_kill_refuses_to_kill_itself(make: MakeManager) -> None:
    manager = make()
    manager.create()
    own = Path("/proc/self/cgroup").read_text()
    home = next(line.split(":", 2)[2] for line in own.splitlines() if ":freezer:" in line)
    (Path(manager.paths["freezer"]) / "cgroup.procs").write_text(str(os.getpid()))
    try:
        with pytest.raises(StateError, match=r"pyrunc itself is in the container's cgroup"):
            manager.kill(signal.SIGKILL)
    finally:
        top = Path(manager.paths["freezer"]).parents[1]
        (Path(f"{top}{home}") / "cgroup.procs").write_text(str(os.getpid()))


def test_a_foreign_process_in_it_keeps_it_and_is_told(
    make: MakeManager, sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree, "FIRST_PAUSE", 0.00001)
    manager = make()
    manager.create()
    (Path(manager.paths["pids"]) / "cgroup.procs").write_text(str(sleeper.pid))

    with pytest.raises(
        OpError, match=r"^unable to remove container's cgroup: rmdir .*: device or resource busy$"
    ):
        from_state(manager.paths, manager.created).delete()

    assert Path(manager.paths["pids"]).is_dir()
    assert not Path(manager.paths["cpu"]).exists()
    sleeper.kill()
    sleeper.wait(5)
    from_state(manager.paths, manager.created).delete()
    assert not Path(manager.paths["pids"]).exists()


@pytest.mark.parametrize("path", ["", "/", "/x", "rel/x", "/sys/../x/y", "/sys//x", "/sys/fs/."])
def test_a_damaged_record_names_nothing_to_remove(path: str) -> None:
    with pytest.raises(StateError, match=r"^not the path of a cgroup: "):
        from_state({}, [path])


def test_deleting_twice_is_fine(make: MakeManager) -> None:
    manager = make()
    manager.create()
    created = list(manager.created)

    from_state(manager.paths, created).delete()
    from_state(manager.paths, created).delete()


def test_no_descriptor_is_left_open(make: MakeManager) -> None:
    before = len(os.listdir("/proc/self/fd"))
    manager = make(SMALL)
    manager.create()
    manager.apply(SMALL)
    manager.delete()

    assert len(os.listdir("/proc/self/fd")) == before


# An ordinary user, on hierarchies that belong to root.


def as_nobody(act: Callable[[], str]) -> str:
    """Return what `act` says in a child without any privilege: its result, or its error."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            text = act()
        except PyruncError as error:
            text = str(error)
        except BaseException as error:  # noqa: BLE001 - the parent compares the text
            text = repr(error)
        os.write(write, text.encode())
        os._exit(0)
    os.close(write)
    with open(read, encoding="utf-8") as pipe:
        said = pipe.read()
    os.waitpid(pid, 0)
    return said


PIDS = Resources(at=R, pids=Pids(limit=5, at=f"{R}.pids"))


def test_rootless_without_path_and_limits_goes_without_a_cgroup(make: MakeManager) -> None:
    def act() -> str:
        manager = make(path="", rootless=True)
        manager.create()
        manager.join(os.getpid())
        manager.apply(Resources(at=R))
        manager.delete()
        return f"{manager.paths} {manager.mount_dirs()} {manager.tasks()} {manager.clone_fd()}"

    assert as_nobody(act) == "{} None () -1"


def test_rootless_with_a_limit_is_told(make: MakeManager) -> None:
    def act() -> str:
        manager = make(PIDS, path="", rootless=True)
        manager.create()
        manager.apply(PIDS)
        return "applied"

    text = "cannot set pids limit: container could not join or create cgroup"
    assert as_nobody(act) == f"{R}.pids.limit: {text}"


def test_rootless_with_a_path_is_told(make: MakeManager) -> None:
    def act() -> str:
        make(rootless=True).create()
        return "created"

    said = as_nobody(act)

    assert said.startswith("unable to apply cgroup configuration: create /")
    assert said.endswith(": permission denied")
