"""The executor killed before each operation of a plan, and each operation made to fail: what is left of it on the host.

Only a plan makes this possible: what is done to make a container is a list, and a fault can be put between any two entries of
it. The fault is an operation of its own: a question whose answer is SIGKILL, or a chdir(2) that cannot succeed, which leaves
the executor where the operation after it would have left it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cases import base
from goldens import userns

from pyrunc.errors import OpError, PyruncError
from pyrunc.plan.ops import CODES, SLOT_NONE, Op, Plan
from pyrunc.plan.request import Request
from pyrunc.plan.tags import TAGS
from pyrunc.run.conduct import Ended
from pyrunc.run.create import Creation
from pyrunc.run.destroy import destroy
from pyrunc.run.options import Options
from pyrunc.run.prepare import prepare
from pyrunc.state import StateRoot

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator, Sequence

    from pyrunc.run.prepare import Prepared

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
NOWHERE = "/there/is/no/such/directory"
KILL = Op(CODES["RPC"], (TAGS["landlock"], SLOT_NONE, 0), "the fault")
"""Asks a question that none of these plans asks."""
FAIL = Op(CODES["CHDIR"], (NOWHERE,), "the fault")


def plain() -> dict[str, Any]:
    return base()


def user_namespace() -> dict[str, Any]:
    return userns(base())


def hooks() -> dict[str, Any]:
    config = base()
    stages = ("prestart", "createRuntime", "createContainer", "startContainer", "poststop")
    config["hooks"] = {stage: [{"path": "/bin/true"}] for stage in stages}
    return config


def seccomp() -> dict[str, Any]:
    config = base()
    rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}
    config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
    return config


def limits() -> dict[str, Any]:
    config = base()
    config["linux"]["resources"] = {
        "memory": {"limit": 64 << 20},
        "pids": {"limit": 50},
        "cpu": {"shares": 512},
    }
    return config


def no_pid_namespace() -> dict[str, Any]:
    config = base()
    config["linux"]["namespaces"] = [{"type": "mount"}, {"type": "uts"}, {"type": "ipc"}]
    return config


def tty() -> dict[str, Any]:
    config = base()
    config["process"] |= {"terminal": True, "consoleSize": {"height": 10, "width": 20}}
    return config


def all_at_once() -> dict[str, Any]:
    """A user namespace, a terminal, hooks and a filter, as an engine asks for them together."""
    config = user_namespace()
    config["process"] |= tty()["process"]
    config["hooks"] = hooks()["hooks"]
    config["linux"] |= {"seccomp": seccomp()["linux"]["seccomp"], "resources": limits()["linux"]["resources"]}
    return config


CASES = [plain, user_namespace, hooks, seccomp, limits, no_pid_namespace, tty, all_at_once]
"""On a host with cgroup v1 all of them are about v1, in the virtual machine of `make test-vm` about v2."""


class Place:
    """A bundle and a state root, and what the process had before."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.root = directory / "state"
        self.rootfs = directory / "bundle/rootfs"
        (self.rootfs / "bin").mkdir(parents=True)
        self.root.mkdir()
        directory.chmod(0o755)
        shutil.copy(shutil.which("busybox") or "/bin/busybox", self.rootfs / "bin/true")
        self.name = f"every-{os.getpid()}"

    def prepare(self, config: dict[str, Any]) -> Prepared:
        """Compile a config whose program is `true`, for `run`."""
        config["process"]["args"] = ["/bin/true"]
        config["root"] = {"path": "rootfs"}
        (self.directory / "bundle/config.json").write_text(json.dumps(config))
        return prepare(Request(id=self.name, bundle=str(self.directory / "bundle"), wait=False))

    def left(self, prepared: Prepared) -> list[str]:
        """Return what is there that was not there before."""
        found = [f"state: {name}" for name in os.listdir(self.root)]
        found += [f"cgroup: {one.path}" for one in prepared.manager.places if os.path.exists(one.path)]
        with contextlib.suppress(ChildProcessError):
            found.append(f"process: {os.waitpid(-1, os.WNOHANG)}")
        return found


@pytest.fixture
def place() -> Iterator[Place]:
    directory = Path(tempfile.mkdtemp(prefix="pyrunc-every-"))
    mask, cwd = os.umask(0), Path.cwd()
    try:
        yield Place(directory)
    finally:
        os.umask(mask)
        os.chdir(cwd)
        shutil.rmtree(directory)


def with_fault(plan: Plan, index: int, fault: Op) -> Plan:
    """Put a fault before an operation; skips that lead over it become longer by one."""
    ops = []
    for at, op in enumerate(plan.ops):
        copy = Op(op.code, op.args, op.at, op.out)  # type: ignore[arg-type]  # a number by now
        copy.skip, copy.tolerate, copy.about = op.skip, op.tolerate, op.about
        if at < index <= at + op.skip:
            copy.skip += 1
        ops.append(copy)
    ops.insert(index, fault)
    return Plan(tuple(ops), plan.clone_flags, plan.inputs, plan.preserve, plan.warnings)


def attempt(place: Place, prepared: Prepared) -> PyruncError | None:
    """Make the container and let its program run, as `run` does; return the error of what cannot be made."""
    creation = Creation(prepared, StateRoot(str(place.root)), Options(foreground_console=True))
    try:
        try:
            creation.build().run()
        except Ended:
            creation.output.close()
            os.waitpid(creation.pid, 0)
        assert creation.child is not None
        creation.child.talk.close()
        destroy(creation.entry, creation.spec.hooks, manager=prepared.manager)
    except PyruncError as error:
        creation.undo()
        return error
    finally:
        creation.entry.close()
        if creation.master is not None:
            creation.master.close()
        if creation.pidfd >= 0:
            os.close(creation.pidfd)
    return None


def mounts() -> list[str]:
    """Return the mounts, but those that systemd makes for services of its own, whenever they run."""
    rows = Path("/proc/self/mountinfo").read_text().splitlines()
    return [row for row in rows if " /run/credentials/" not in row]


def descriptors() -> list[str]:
    return sorted(os.listdir("/proc/self/fd"))


def at_every_operation(place: Place, config: dict[str, Any], fault: Op) -> list[PyruncError | None]:
    """Try the plan with the fault before each of its operations; return the errors, None where all went well."""
    assert attempt(place, place.prepare(config)) is None, "the plan works"
    before = mounts(), descriptors()
    errors = []
    for index in range(len(place.prepare(config).plan.ops)):
        prepared = place.prepare(config)
        prepared.__dict__["plan"] = with_fault(prepared.plan, index, fault)
        errors.append(attempt(place, prepared))
        where = f"{fault.name} before operation {index}: {prepared.plan.ops[index + 1].name}"
        assert place.left(prepared) == [], where
        assert (mounts(), descriptors()) == before, where
    return errors


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("case", CASES)
def test_executor_killed_before_every_operation(
    place: Place, case: Any, monkeypatch: pytest.MonkeyPatch, kills: Counter[str]
) -> None:
    def kill(self: Creation, _step: object, _fd: int) -> Sequence[int]:
        os.kill(self.pid, signal.SIGKILL)
        return ()

    monkeypatch.setattr(Creation, "_landlock", kill)
    errors = at_every_operation(place, case(), KILL)
    said = {str(error) for error in errors if error is not None}
    assert said == {"container init died before it was ready"}
    kills["the executor"] += len(errors)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("case", CASES)
def test_every_operation_fails(place: Place, case: Any) -> None:
    errors = at_every_operation(place, case(), FAIL)
    said = [error for error in errors if error is not None]
    assert all(isinstance(error, OpError) and NOWHERE in str(error) for error in said), said
    assert len(said) > 0.9 * len(errors)  # the others stand where a skip leads over them
