"""Who owns a container's cgroup on v2."""

from __future__ import annotations

import os
from contextlib import nullcontext
from typing import TYPE_CHECKING

import pytest

from pyrunc.cgroup import open_manager, owner
from pyrunc.cgroup.v2 import ManagerV2
from pyrunc.errors import OpError
from pyrunc.host import CGROUP2_SUPER_MAGIC
from pyrunc.spec.model import IDMapping, Linux, Mount, Namespace, Spec

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Fake

CGROUPS = Mount(
    destination="/sys/fs//cgroup/", source="cgroup", type="cgroup", options=("nosuid",), at="mounts[0]"
)
MAPPINGS = (
    IDMapping(container_id=0, host_id=1000, size=1),
    IDMapping(container_id=1, host_id=100000, size=9),
)
SPACE = {kind: Namespace(type=kind, at="linux.namespaces[0]") for kind in ("user", "cgroup")}


def spec(*kinds: str, mount: Mount = CGROUPS, uid: int = 0, path: str | None = None) -> Spec:
    from pyrunc.spec.model import Process, User

    spaces = tuple(Namespace(type=kind, path=path if kind == "user" else None, at="n") for kind in kinds)
    linux = Linux(namespaces=spaces, uid_mappings=MAPPINGS)
    process = Process(args=("x",), cwd="/", user=User(uid=uid, gid=0, at="u"), at="process")
    return Spec(oci_version="1.3.0", linux=linux, mounts=(mount,), process=process)


@pytest.mark.parametrize(
    ("given", "uid"),
    [
        (spec("user", "cgroup"), 1000),
        (spec("user", "cgroup", uid=3), 100002),
        (spec("user", "cgroup", uid=10), None),
        (spec("cgroup", uid=7), 7),
        (spec("user"), None),
        (spec("user", "cgroup", path="/proc/1/ns/user"), None),
        (spec("user", "cgroup", mount=Mount(**(CGROUPS.__dict__ | {"options": ("ro",)}))), None),
        (spec("user", "cgroup", mount=Mount(**(CGROUPS.__dict__ | {"source": "cgroup2"}))), None),
    ],
)
def test_who(given: Spec, uid: int | None) -> None:
    assert owner.owner_of(given) == uid


def test_only_what_is_listed_and_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[tuple[object, int]] = []
    (tmp_path / "cgroup.procs").touch()
    monkeypatch.setattr(owner, "_delegated", lambda: ("cgroup.procs", "memory.reclaim"))

    def chown(path: object, uid: int, gid: int, dir_fd: int | None = None, **_how: object) -> None:
        assert gid == -1
        os.stat(path, dir_fd=dir_fd)  # type: ignore[arg-type]
        given.append((path, uid))

    monkeypatch.setattr(owner.os, "chown", chown)
    fd = os.open(tmp_path, os.O_RDONLY)

    owner.give(fd, 1000)

    os.close(fd)
    assert given == [(fd, 1000), ("cgroup.procs", 1000)]


def test_the_kernels_list(tmp_path: Path) -> None:
    (tmp_path / "delegate").write_text("cgroup.procs\nmemory.reclaim\n")

    assert owner._delegated(str(tmp_path / "delegate")) == ("cgroup.procs", "memory.reclaim")
    assert owner._delegated(str(tmp_path / "none")) == owner.WITHOUT_LIST


@pytest.mark.parametrize(
    ("euid", "in_userns", "uid"),
    [(0, False, 1000), (0, True, 1000), (1000, False, None)],
    ids=["root", "root of a user namespace", "an ordinary user"],
)
def test_who_can_give(
    fake: Fake, monkeypatch: pytest.MonkeyPatch, euid: int, in_userns: bool, uid: int | None
) -> None:
    monkeypatch.setattr("pyrunc.cgroup.os.geteuid", lambda: euid)

    manager = open_manager(fake.layout, spec("user", "cgroup"), "c1", rootless=euid != 0, in_userns=in_userns)

    assert isinstance(manager, ManagerV2)
    assert manager.owner == uid


@pytest.mark.parametrize("in_userns", [False, True])
def test_a_cgroup_that_is_not_to_give(fake: Fake, monkeypatch: pytest.MonkeyPatch, in_userns: bool) -> None:
    """Above a user namespace it may belong to an id that is not mapped: the container goes without; real root is told."""

    def refuse(_cgroup: int, _uid: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(owner, "give", refuse)
    monkeypatch.setattr("pyrunc.cgroup.os.geteuid", lambda: 0)
    manager = open_manager(
        fake.layout,
        spec("user", "cgroup"),
        "c1",
        in_userns=in_userns,
        magic_of=lambda _fd: CGROUP2_SUPER_MAGIC,
    )
    with nullcontext() if in_userns else pytest.raises(OpError, match=r"chown .*: operation not permitted"):
        manager.create()
