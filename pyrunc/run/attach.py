"""Add mounts to a container that lives, or remove them, by an executor that joins its mount namespace."""

from __future__ import annotations

from pyrunc import _os as os
from pyrunc import check, host
from pyrunc.errors import Fault, SpecError
from pyrunc.plan.attach import USERNS, compile_add, compile_remove
from pyrunc.plan.request import Facts, Request
from pyrunc.run.errand import run_errand
from pyrunc.run.facts import gather
from pyrunc.run.process import changed
from pyrunc.run.sources import Sources
from pyrunc.spec.declare import List
from pyrunc.spec.jsontext import loads, shown
from pyrunc.spec.model import Mount
from pyrunc.spec.parse import reader_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.host import Host
    from pyrunc.plan.ops import Plan
    from pyrunc.spec.model import Spec
    from pyrunc.state import Entry


def parse_mounts(data: bytes, where: str) -> tuple[Mount, ...]:
    """Return the mounts of JSON text `{"mounts": [...]}`. Raises SpecError with every fault."""
    value = loads(data, where)
    if not isinstance(value, dict) or "mounts" not in value:
        raise SpecError([Fault(where, f'expected an object with "mounts", got {shown(value)}')])
    faults: list[Fault] = []
    made: tuple[Mount, ...] = reader_of(List(Mount))(value["mounts"], "", "mounts", faults)
    if faults:
        raise SpecError(faults)
    return made


def add(entry: Entry, mounts: tuple[Mount, ...]) -> None:
    """Put mounts into the container, in their order; those before one that fails stay. Raises PyruncError."""
    spec, here = _spec_with(entry, mounts), host.probe()
    check.check(spec, check.CheckFacts(bundle=entry.container.bundle, rootless=here.euid != 0))
    facts = gather(spec, entry.container.bundle, here, None)
    _run(entry, spec, here, compile_add(spec, here, _request(entry), facts))


def remove(entry: Entry, mounts: tuple[Mount, ...]) -> None:
    """Unmount what lies at the destinations of `mounts`; the container is frozen meanwhile. Raises PyruncError."""
    spec, here = _spec_with(entry, mounts), host.probe()
    plan = compile_remove(spec, here, _request(entry), Facts({}))
    manager = entry.manager()
    if entry.status() == "paused":
        _run(entry, spec, here, plan)
        return
    manager.pause()
    try:
        _run(entry, spec, here, plan)
    finally:
        manager.thaw()


def _spec_with(entry: Entry, mounts: tuple[Mount, ...]) -> Spec:
    spec = entry.read_spec()
    return changed(
        spec, mounts=mounts, linux=changed(spec.linux, seccomp=None)
    )  # no program is run: no filter


def _request(entry: Entry) -> Request:
    return Request(id=entry.name, bundle=entry.container.bundle, wait=False)


def _run(entry: Entry, spec: Spec, here: Host, plan: Plan) -> None:
    sources = Sources(spec, here, entry.container.bundle)
    inputs: dict[str, int] = {}
    try:
        inputs["init"] = entry.open_pidfd()
        for name in plan.inputs:
            if name == USERNS:
                path = f"/proc/{entry.container.init_process_pid}/ns/user"
                inputs[name] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            elif name != "init":
                inputs[name] = os.dup(sources.user_namespace(name))
        run_errand(spec, plan, inputs, "ready", lambda _pid, _fd: None)
    finally:
        sources.close()
        for fd in inputs.values():
            os.close(fd)
