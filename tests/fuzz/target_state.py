"""The files of the state directory: whatever stands in them, every command tells it in one line or goes by it.

An input is several files: a line `== NAME` begins each. Nothing is done to what the files name: no process is signalled and no
cgroup removed, only what such a command would go by is worked out.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from config_maker import spoil
from fuzzing import Target, damage, told

from pyrunc.commands.update import stored_resources
from pyrunc.errors import HostError, OpError, SpecError, StateError
from pyrunc.run.phrase import Step
from pyrunc.state import Entry, StateRoot
from pyrunc.state.record import MAX_PID

if TYPE_CHECKING:
    import random

NAME = "c1"
FILES = ("state.json", "cgroup.json", "start.json", "resctrl.json", "resources.json", "config.json")
MARK = re.compile(rb"^== (.*)\n", re.MULTILINE)


def split(data: bytes) -> dict[str, bytes]:
    """Return name -> content."""
    parts = MARK.split(data)
    return {
        name.decode(): text
        for name, text in zip(parts[1::2], parts[2::2], strict=True)
        if name.decode("ascii", "replace") in FILES
    }


def joined(files: dict[str, bytes]) -> bytes:
    return b"".join(b"== %s\n%s\n" % (name.encode(), text.rstrip(b"\n")) for name, text in files.items())


class State(Target):
    """A state directory that somebody has damaged."""

    name = "state"

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="pyrunc-fuzz-"))
        (self.root / NAME).mkdir()

    def clean(self) -> None:
        shutil.rmtree(self.root)

    def vary(self, data: bytes, rnd: random.Random) -> bytes:
        files = split(data)
        if not files or rnd.random() < 0.1:
            return damage(data, rnd, self.tokens)
        name = rnd.choice(list(files))
        try:
            head, newline, rest = files[name].partition(b"\n")
            value = json.loads(head)
            assert isinstance(value, dict)
        except (ValueError, AssertionError, RecursionError):
            return joined(files | {name: damage(files[name], rnd, self.tokens)})
        if rnd.random() < 0.3:
            return joined(files | {name: damage(files[name], rnd, self.tokens)})
        return joined(files | {name: json.dumps(spoil(value, rnd)).encode() + newline + rest})

    def judge(self, data: bytes) -> str:
        files = split(data)
        for name in FILES:
            path = self.root / NAME / name
            path.unlink(missing_ok=True)
            if name in files:
                path.write_bytes(files[name])
        verdicts = []
        with StateRoot(str(self.root)).open_directory(NAME) as entry:
            for look in (load, leftovers, steps, groups, resources, spec):
                _, said = told(
                    lambda look=look: look(entry) or True, StateError, SpecError, OpError, HostError
                )  # type: ignore[misc]
                verdicts.append(said or look.__name__)
        return "; ".join(verdicts)


def load(entry: Entry) -> None:
    """What `state`, `list`, `kill` and `exec` begin with."""
    entry.load()
    container = entry.container
    assert container.id == NAME
    if container.phase != "starting":  # else it would speak to whoever listens
        entry.status()
    entry.is_alive()
    entry.manager()


def leftovers(entry: Entry) -> None:
    """What `delete --force` goes by when state.json is damaged."""
    pid, start = entry.process()
    assert pid >= 0
    assert start >= 0
    assert not entry.is_alive() or 0 < pid <= MAX_PID
    try:
        entry.recorded_manager()
    except FileNotFoundError:
        return


def steps(entry: Entry) -> None:
    """What `start` puts errors into words by."""
    if (Path(entry.root) / entry.name / "start.json").exists():
        first, found = entry.read_steps()
        assert isinstance(first, int)
        assert all(isinstance(word, str) for words in found for word in Step(*words).__dict__.values())


def groups(entry: Entry) -> None:
    """What `delete` removes of resctrl."""
    path, made = entry.read_groups()
    assert isinstance(path, str)
    assert all(isinstance(one, str) for one in made)


def resources(entry: Entry) -> None:
    """What `update` takes for the limits that are in force."""
    from pyrunc.cgroup.update import merge
    from pyrunc.commands.update import parse_resources

    if not (Path(entry.root) / entry.name / "config.json").exists():
        return
    stored = stored_resources(entry)
    old: Any = {key: value for key, value in stored.items() if key != "devices"}
    parse_resources(old)
    parse_resources(merge(stored, {"memory": {"limit": 1 << 20}, "cpu": {"shares": 9}}))


def spec(entry: Entry) -> None:
    """What `exec` goes by."""
    if (Path(entry.root) / entry.name / "config.json").exists():
        entry.read_spec()


TARGETS = (State,)
