"""Cgroups of our own on the real hierarchies, under names that nobody else has; a fake tree for cgroup v2."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pyrunc import host
from pyrunc.cgroup import devices_v2, open_manager
from pyrunc.host import CGROUP2_SUPER_MAGIC, CgroupLayout, Hierarchy
from pyrunc.spec.model import Linux, Spec
from pyrunc.spec.resources import Resources

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pyrunc.cgroup.manager import Manager

    MakeManager = Callable[..., Manager]

FAKE_FILES = {
    "cgroup.controllers": "cpu memory pids io", "cgroup.subtree_control": "", "cgroup.procs": "", "cgroup.type": "domain",
    "cgroup.freeze": "0", "cgroup.kill": "", "cgroup.events": "populated 0\nfrozen 1\n", "pids.max": "max",
    "memory.max": "max", "memory.swap.max": "max", "memory.low": "0", "cpu.max": "", "cpu.weight": "", "io.max": "",
    "io.weight": "", "memory.events": "oom 3\noom_kill 2\n", "memory.high": "max",
}  # fmt: skip


@pytest.fixture
def layout() -> CgroupLayout:
    """Return the hierarchies of this host; skip, loudly, without v1 and root."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to make cgroups")
    here = host.probe().cgroup
    if not here.v1:
        pytest.skip("needs a host with cgroup v1")
    return here


@pytest.fixture
def make(layout: CgroupLayout) -> Iterator[MakeManager]:
    """Return a maker of managers for cgroups that nobody else has; whatever is left of them is removed."""
    base = f"pyrunc-test-{os.getpid()}-{time.monotonic_ns()}"

    def maker(resources: Resources | None = None, path: str = "/BASE/c", **more: object) -> Manager:
        linux = Linux(
            cgroups_path=path.replace("BASE", base), resources=resources or Resources(at="linux.resources")
        )
        return open_manager(layout, Spec(oci_version="1.3.0", linux=linux), "id1", **more)  # type: ignore[arg-type]

    maker.base = base  # type: ignore[attr-defined]
    yield maker
    for hierarchy in (*layout.v1, layout.v2):
        if hierarchy is not None:
            remove(Path(hierarchy.mountpoint) / base)


def remove(path: Path) -> None:
    """Remove a cgroup of ours and those below it."""
    if path.is_dir():
        for child in path.iterdir():
            if child.is_dir():
                remove(child)
        path.rmdir()


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """Return a process that sleeps until it is killed."""
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.send_signal(signal.SIGKILL)


class Fake:
    """A directory that looks like a cgroup2 mount: each new directory gets the files that the kernel would make."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rules: list[int] = []
        """How many device rules each cgroup got: no program can be attached to a plain directory."""
        fill(path)

    @property
    def layout(self) -> CgroupLayout:
        """Return a v2 host with this mount, whose caller is in /user/me."""
        return CgroupLayout("v2", (), Hierarchy((), str(self.path), "/", "/user/me"))

    def open(self, resources: Resources | None = None, path: str | None = "/a/c", **more: object) -> Manager:
        """Return a manager on this mount."""
        linux = Linux(cgroups_path=path, resources=resources or Resources(at="linux.resources"))
        spec = Spec(oci_version="1.3.0", linux=linux)
        return open_manager(
            self.layout,
            spec,
            "id1",
            magic_of=lambda _fd: CGROUP2_SUPER_MAGIC,
            **more,  # type: ignore[arg-type]
        )

    def read(self, name: str) -> str:
        """Return what was written into a file."""
        return (self.path / name).read_text()


def fill(path: Path) -> None:
    """Make the files of a cgroup."""
    for name, text in FAKE_FILES.items():
        (path / name).write_text(text)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Return a fake cgroup2 mount."""
    mkdir = os.mkdir

    def make_and_fill(path: str, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        mkdir(path, mode, dir_fd=dir_fd)
        fill(Path(path) if dir_fd is None else Path(os.readlink(f"/proc/self/fd/{dir_fd}")) / path)

    mount = tmp_path / "cgroup"
    mount.mkdir()
    monkeypatch.setattr(os, "mkdir", make_and_fill)
    made = Fake(mount)
    monkeypatch.setattr(devices_v2, "enforce", lambda _cgroup, rules: made.rules.append(len(rules)))
    return made
