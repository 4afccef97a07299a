"""A scope on cgroup v1, in the hierarchies of this host, by a systemd that the test plays."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pyrunc.cgroup import from_state, open_manager, systemd
from pyrunc.cgroup.scope import Scope
from pyrunc.cgroup.systemd_v1 import KNOWN, ManagerSystemdV1
from pyrunc.cgroup.units import properties_v1
from pyrunc.errors import HostError, SpecError, StateError
from pyrunc.host import CgroupLayout, groups_of
from pyrunc.spec.model import Linux, Spec
from pyrunc.spec.resources import CPU, BlockIO, Memory, Pids, Resources

if TYPE_CHECKING:
    import subprocess

    from conftest import MakeManager

R = "linux.resources"
UNIT = "pyrunc-id1.scope"


class Systemd:
    """Makes and removes the scope in the hierarchies that systemd knows."""

    def __init__(self, base: str) -> None:
        self.base = base
        self.asked: list[str] = []
        self.told: list[object] = []
        self.makes = True
        self.fails = False
        self.places: list[Path] = []

    def property(self, _name: str) -> str:
        return f"/{self.base}"

    def close(self) -> None:
        """Be closed, as a connection is."""

    def start(self, pid: int) -> None:
        self.asked.append("start")
        if self.fails:
            raise HostError("no")
        for place in self.places if self.makes else ():
            place.mkdir(parents=True, exist_ok=True)
            (place / "cgroup.procs").write_text(str(pid))

    def stop(self) -> None:
        self.asked.append("stop")


@pytest.fixture
def played(make: MakeManager, layout: CgroupLayout, monkeypatch: pytest.MonkeyPatch) -> Systemd:
    """Return the systemd of this test."""
    one = Systemd(make.base)  # type: ignore[attr-defined]
    known = [
        one
        for one in (*layout.v1, layout.v2)
        if one is not None and (not one.controllers or not KNOWN.isdisjoint(one.controllers))
    ]
    one.places = [Path(hierarchy.mountpoint, one.base, "system.slice", UNIT) for hierarchy in known]

    def start(scope: Scope, pid: int) -> None:
        one.start(pid)
        scope.started = True

    monkeypatch.setattr(systemd, "connect", lambda **_who: one)
    monkeypatch.setattr(Scope, "start", start)
    monkeypatch.setattr(Scope, "stop", lambda _scope: one.stop())
    monkeypatch.setattr(Scope, "tell", lambda _scope, properties: one.told.append(properties))
    return one


def scope_of(layout: CgroupLayout, **more: Any) -> ManagerSystemdV1:
    """Return the manager of a container without a path."""
    annotations = more.pop("annotations", {})
    linux = Linux(cgroups_path=None, resources=more.pop("resources", Resources(at=R)))
    spec = Spec(oci_version="1.3.0", linux=linux, annotations=annotations)
    manager = open_manager(layout, spec, "id1", systemd=True, **more)
    assert isinstance(manager, ManagerSystemdV1)
    return manager


def below(layout: CgroupLayout, base: str) -> set[Path]:
    """Return what there is of this test, in every hierarchy."""
    tops = [Path(one.mountpoint, base) for one in (*layout.v1, layout.v2) if one is not None]
    return {top for top in tops if top.exists()} | {
        path for top in tops for path in top.rglob("*") if path.is_dir()
    }


@pytest.mark.parametrize("makes", [True, False])
def test_a_scope_is_in_every_hierarchy(
    played: Systemd, layout: CgroupLayout, sleeper: subprocess.Popen[bytes], makes: bool
) -> None:
    """Also in those that it should have made and has not."""
    played.makes = makes
    manager = scope_of(layout, resources=Resources(at=R, pids=Pids(at=f"{R}.pids", limit=9)))
    begun = manager.expected()
    manager.create()
    assert set(begun) == {f"systemd:{UNIT}", *manager.created}
    assert played.asked == []
    manager.join(sleeper.pid)
    manager.apply(Resources(at=R, pids=Pids(at=f"{R}.pids", limit=9)))

    assert {path.rpartition("/")[2] for path in groups_of(sleeper.pid).values()} == {UNIT}
    assert played.told == []  # it was when the scope began
    again = from_state(manager.paths, manager.created)
    assert isinstance(again, ManagerSystemdV1)
    assert again.pids() == [sleeper.pid]
    again.apply(Resources(at=R, pids=Pids(at=f"{R}.pids", limit=7)))
    assert ("TasksMax", ("t", 7)) in played.told[0]  # type: ignore[operator]
    sleeper.kill()
    sleeper.wait()
    manager.close()
    again.delete()
    assert played.asked == ["start", "stop"]
    slices = {above for place in played.places for above in list(place.parents)[:2]}
    assert below(layout, played.base) == (slices if makes else set())


def test_a_scope_that_does_not_start(
    played: Systemd, layout: CgroupLayout, sleeper: subprocess.Popen[bytes]
) -> None:
    """One of that name may be somebody else's: it is not stopped."""
    played.fails = True
    manager = scope_of(layout)
    manager.create()
    with pytest.raises(HostError):
        manager.join(sleeper.pid)
    manager.delete()

    assert played.asked == ["start"]
    assert below(layout, played.base) == set()


def test_a_scope_in_use(played: Systemd, layout: CgroupLayout, sleeper: subprocess.Popen[bytes]) -> None:
    played.start(sleeper.pid)
    before = below(layout, played.base)
    with pytest.raises(StateError, match=r"^container's cgroup is not empty: 1 process"):
        scope_of(layout).create()

    assert below(layout, played.base) == before
    sleeper.kill()
    sleeper.wait()


def test_users_have_none(layout: CgroupLayout) -> None:
    with pytest.raises(HostError, match=r"^cannot use rootless systemd cgroups manager on cgroup v1$"):
        scope_of(layout, in_userns=True)


def test_no_hierarchy_at_all() -> None:
    with pytest.raises(HostError, match=r"no hierarchy is mounted$"):
        scope_of(CgroupLayout("none"))


def test_a_cgroup_below_it(played: Systemd, layout: CgroupLayout) -> None:
    with pytest.raises(SpecError, match=r"^annotations.run.oci.systemd.subgroup: .* v2 alone$"):
        scope_of(layout, annotations={"run.oci.systemd.subgroup": "x"})
    assert played.asked == []


def test_limits_are_properties() -> None:
    resources = Resources(
        at=R,
        memory=Memory(limit=4096, swap=-1, at=f"{R}.memory"),
        cpu=CPU(shares=1024, quota=-1, period=3000, cpus="0-1", at=f"{R}.cpu"),
        pids=Pids(limit=0, at=f"{R}.pids"),
        block_io=BlockIO(weight=100, at=f"{R}.blockIO"),
    )

    assert dict(properties_v1(resources, devices=False)) == {
        "MemoryLimit": ("t", 4096),
        "CPUShares": ("t", 1024),
        "CPUQuotaPeriodUSec": ("t", 3000),
        "CPUQuotaPerSecUSec": ("t", 2**64 - 1),
        "BlockIOWeight": ("t", 100),
        "TasksMax": ("t", 1),
    }


def test_no_limits_are_none() -> None:
    assert dict(properties_v1(Resources(at=R, memory=Memory(limit=-1, at=f"{R}.memory")), devices=False)) == {
        "MemoryLimit": ("t", 2**64 - 1)
    }
    assert properties_v1(Resources(at=R), devices=False) == []
    assert [name for name, _ in properties_v1(Resources(at=R), devices=True)] == [
        "DevicePolicy",
        "DeviceAllow",
    ]
