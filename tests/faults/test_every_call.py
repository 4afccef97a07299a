"""pyrunc itself killed before each of its system calls that change something or speak to somebody: what is left of it.

strace kills it (inject=...:signal=KILL) before a call of the kinds below: each state file, each cgroup, each question of
the executor and each answer lies between two of them. A sample of them is tried, with --every-kill all. After each kill
`state` says what is true and `delete --force` removes all that there is.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from test_every_operation import all_at_once, hooks, limits, mounts, plain, seccomp, user_namespace

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(not shutil.which("strace"), reason="needs strace: apt-get install strace"),
]
PYRUNC = Path(sys.prefix) / "bin/pyrunc"
CALLS = (
    "mkdir,mkdirat,rename,renameat,renameat2,rmdir,unlink,unlinkat,fchmodat,write,pwrite64,clone3,clone,vfork,sendmsg,sendto,recvmsg,"
    "bind,listen,connect,socketpair,memfd_create,pidfd_open,pidfd_send_signal,wait4,flock"
)
SAMPLE = 12
"""Kills of a command, unless all are asked for."""
NAME = f"call-{os.getpid()}"
SHOWN = {"creating", "created", "running", "paused", "stopped"}
PR_SET_CHILD_SUBREAPER = 36
LIBC = ctypes.CDLL(None)


@contextmanager
def subreaper() -> Iterator[None]:
    """Make what a killed runtime leaves behind children of ours, as they are of an engine's monitor."""
    LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        LIBC.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def children(but: int = 0) -> list[int]:
    """Bury the dead, except one that subprocess will ask for; return the living."""
    living = []
    for pid in map(int, Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()):
        with suppress(ChildProcessError):
            if pid != but and not os.waitpid(pid, os.WNOHANG)[0]:
                living.append(pid)
    return living


def cgroups(name: str) -> list[str]:
    """Return every cgroup of that name, in any hierarchy."""
    return [
        str(path) for top in Path("/sys/fs/cgroup").iterdir() if top.is_dir() for path in _below(top, name)
    ]


def _below(top: Path, name: str) -> list[Path]:
    return [Path(place) / name for place, directories, _ in os.walk(top) if name in directories] + [top] * (
        top.name == name
    )


class Place:
    """A bundle, a state root, and one container after the other in it."""

    def __init__(self, directory: Path, config: dict[str, Any]) -> None:
        self.root, self.bundle = directory / "state", directory / "bundle"
        (self.bundle / "rootfs/bin").mkdir(parents=True)
        for path, mode in (
            (directory, 0o755),
            (self.bundle / "rootfs", 0o777),
        ):  # for the root of a user namespace
            path.chmod(mode)
        for name in ("true", "sleep"):
            shutil.copy(shutil.which("busybox") or "/bin/busybox", self.bundle / "rootfs/bin" / name)
        config["process"] |= {"args": ["/bin/sleep", "60"], "terminal": False}
        config["root"] = {"path": "rootfs"}
        (self.bundle / "config.json").write_text(json.dumps(config))
        self.name = NAME
        self.said = directory / "said"

    def run(self, *args: str | Path, prefix: tuple[str, ...] = ()) -> int:
        """Run pyrunc; what it says is in `said`: a pipe would be kept open by the container."""
        with self.said.open("wb") as out:
            command = [*prefix, PYRUNC, "--root", self.root, *args]
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        end = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < end:
            children(
                but=process.pid
            )  # a pid namespace does not end before its dead are buried, which is ours to do
            time.sleep(0.005)
        assert process.returncode is not None, f"{command} has not ended"
        return process.returncode

    def ok(self, *args: str | Path) -> None:
        assert self.run(*args) == 0, self.said.read_text()

    def left(self) -> list[str]:
        """Return what is still there of the container."""
        found = [f"cgroup {path}" for path in cgroups(self.name)]
        found += [f"state {name}" for name in (os.listdir(self.root) if self.root.exists() else ())
                  if not name.startswith(".seccomp-")]  # fmt: skip
        return found + [f"process {pid}" for pid in children()]


@pytest.fixture
def directory() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="pyrunc-call-"))
    with subreaper():
        yield path
        subprocess.run([PYRUNC, "--root", path / "state", "delete", "--force", NAME], check=False)
        children()
    shutil.rmtree(path)


def nothing(_place: Place) -> None:
    """There is no container yet."""


def created(place: Place) -> None:
    place.ok("create", "--bundle", place.bundle, place.name)


def running(place: Place) -> None:
    created(place)
    place.ok("start", place.name)


COMMANDS: dict[str, tuple[Callable[[], dict[str, Any]], Callable[[Place], None], tuple[str, ...]]] = {
    "create": (plain, nothing, ("create", "--bundle", "BUNDLE", "NAME")),
    "create-userns": (user_namespace, nothing, ("create", "--bundle", "BUNDLE", "NAME")),
    "create-hooks": (hooks, nothing, ("create", "--bundle", "BUNDLE", "NAME")),
    "create-seccomp": (seccomp, nothing, ("create", "--bundle", "BUNDLE", "NAME")),
    "run-all": (all_at_once, nothing, ("run", "--detach", "--bundle", "BUNDLE", "NAME")),
    "start-hooks": (hooks, created, ("start", "NAME")),
    "exec": (plain, running, ("exec", "--detach", "NAME", "/bin/sleep", "60")),
    "update": (limits, running, ("update", "--memory", "33554432", "--pids-limit", "40", "NAME")),
    "pause": (plain, running, ("pause", "NAME")),
    "kill": (plain, running, ("kill", "NAME", "KILL")),
    "delete": (plain, running, ("delete", "--force", "NAME")),
    "delete-hooks": (hooks, created, ("delete", "--force", "NAME")),
}


def strace(*words: str) -> tuple[str, ...]:
    return ("strace", "-qq", "-e", "signal=none", "-e", f"trace={CALLS}", *words)


def calls_of(place: Place, before: Callable[[Place], None], words: list[str]) -> list[tuple[str, int]]:
    """Run the command unharmed; return its calls as (name, how many of that name so far): so strace counts them."""
    log = place.said.with_name("strace")
    for _ in range(2):  # what the first leaves in a cache, the second has no need to make
        before(place)
        assert place.run(*words, prefix=strace("-o", str(log))) == 0, place.said.read_text()
        place.ok("delete", "--force", place.name)
        assert wait_for_nothing(place) == []
    names = re.findall(r"^(\w+)\(", log.read_text(), re.MULTILINE)
    return [(name, names[: index + 1].count(name)) for index, name in enumerate(names)]


def wait_for_nothing(place: Place) -> list[str]:
    """Return what is left once the dead are buried: a pid namespace ends with its last process."""
    end = time.monotonic() + 5
    while (left := place.left()) and time.monotonic() < end:
        time.sleep(0.01)
    return left


def sample(number: int, *, every: bool) -> list[int]:
    """Return before which calls to kill: all, or some at equal distances, the first and the last among them."""
    if every or number <= SAMPLE:
        return list(range(number))
    return sorted({round(i * (number - 1) / (SAMPLE - 1)) for i in range(SAMPLE)})


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("command", COMMANDS)
def test_killed_before_a_call(
    directory: Path, command: str, kills: Counter[str], request: pytest.FixtureRequest
) -> None:
    config, before, template = COMMANDS[command]
    place = Place(directory, config())
    words = [{"BUNDLE": str(place.bundle), "NAME": place.name}.get(word, word) for word in template]
    there = mounts()
    calls = calls_of(place, before, words)
    chosen, killed = sample(len(calls), every=request.config.getoption("--every-kill")), 0
    assert chosen
    for index in chosen:
        name, when = calls[index]
        where = f"{command} killed before call {index} of {len(calls)}, {name} number {when}"
        before(place)
        code = place.run(
            *words, prefix=strace("-o", "/dev/null", "-e", f"inject={name}:signal=KILL:when={when}")
        )
        killed += code in {-9, 137}
        check_state(place, where)
        place.ok("delete", "--force", place.name)
        assert wait_for_nothing(place) == [], where
        assert mounts() == there, where
    kills[f"pyrunc {words[0]}"] += killed
    assert killed >= 0.8 * len(chosen), "one run makes a few calls less than another"


def check_state(place: Place, where: str) -> None:
    """`state` shows one of the states, or says that there is no such container; `list` works with it in the root."""
    code = place.run("state", place.name)
    said = place.said.read_text()
    if code == 0:
        assert json.loads(said)["status"] in SHOWN, where
    else:
        assert "container does not exist" in said, f"{where}: {said}"
    assert place.run("list") == 0, f"{where}: {place.said.read_text()}"
