"""Small texts of the command line and of config.json, one a line: the first word names the parser for the rest of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fuzzing import Target, told

from pyrunc.cgroup.gvariant import annotated
from pyrunc.cgroup.paths import clean, join, locate
from pyrunc.cgroup.resctrl import parse_schema
from pyrunc.cgroup.sub import parse_sub_cgroups, sub_manager
from pyrunc.cgroup.units import expand_slice, parse_place
from pyrunc.check.common import is_number_list
from pyrunc.cli.parse import parse_command
from pyrunc.commands.kill import parse_signal
from pyrunc.commands.update import OPTIONS, from_options
from pyrunc.errors import SpecError, StateError, UsageError
from pyrunc.host import CgroupLayout, Hierarchy
from pyrunc.plan.options import split_data
from pyrunc.run.affinity import parse_cpus
from pyrunc.run.process import _user_of
from pyrunc.spec.model import User
from pyrunc.spec.units import parse_duration, parse_size
from pyrunc.state import check_id

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

V2 = Hierarchy((), "/sys/fs/cgroup", "/", "/user.slice/a.scope")
PART = Hierarchy(("memory",), "/sys/fs/cgroup/memory", "/docker/x", "/docker/x/y")
LAYOUTS = (CgroupLayout("v2", (), V2), CgroupLayout("v1", (PART,)), CgroupLayout("hybrid", (PART,), V2))
BELOW = ("/sys/fs/cgroup/", "/sys/fs/cgroup/memory/")


def number(call: Callable[[str], object]) -> Callable[[str], object]:
    """Return a reader whose callers take ValueError for "this is none", as the standard library's do."""

    def read(text: str) -> object:
        try:
            return call(text)
        except ValueError as error:
            raise UsageError(f"no number: {type(error).__name__}") from None

    return read


def cgroup_path(text: str) -> None:
    """Wherever a path points to, the cgroup lies below the mount point and is not that itself."""
    for layout in LAYOUTS:
        for hierarchy, path in locate(layout, text or None, "c1"):
            place = join(hierarchy.mountpoint, path)
            assert place.startswith(BELOW)
            assert clean(place) == place.strip("/"), "a path with . or .. or nothing in it"
            assert place.rstrip("/") != hierarchy.mountpoint


def sub_cgroup(text: str) -> None:
    paths = {"memory": "/sys/fs/cgroup/memory/c1", "": "/sys/fs/cgroup/unified/c1"}
    for place in sub_manager(paths, parse_sub_cgroups(text.split(" "))).paths.values():
        assert any(f"{place}/".startswith(f"{path}/") for path in paths.values())
        assert ".." not in place.split("/")


def systemd_place(text: str) -> None:
    parent, unit = parse_place(text, "c1", user=False)
    assert unit.endswith(".scope")
    assert "/" not in unit
    assert ".." not in expand_slice(parent).split("/")


def cpus(text: str) -> object:
    if not is_number_list(text):
        raise UsageError("refused by the rule")
    return parse_cpus(text)


def update_options(text: str) -> object:
    option, _, value = text.partition(" ")
    options: dict[str, object] = dict.fromkeys(UPDATE, "") | {"blkio-weight": 0, "pids-limit": None}
    options[option if option in UPDATE else "memory"] = value
    return from_options(options)


def command_line(text: str) -> object:
    verb, *words = text.split(" ")
    return parse_command(verb if verb in VERBS else "run", words, "pyrunc")


UPDATE = [row[0] for row in OPTIONS]
VERBS = (
    "create",
    "start",
    "run",
    "exec",
    "kill",
    "delete",
    "list",
    "state",
    "update",
    "ps",
    "events",
    "spec",
    "plan",
    "checkpoint",
)
READERS: dict[str, Callable[[str], object]] = {
    "id": check_id,
    "signal": parse_signal,
    "user": lambda text: _user_of(User(uid=0, gid=0, at="user"), text, [text]),
    "size": number(parse_size),
    "duration": number(parse_duration),
    "cpus": cpus,
    "cgroup": cgroup_path,
    "sub": sub_cgroup,
    "systemd": systemd_place,
    "schema": parse_schema,
    "property": lambda text: annotated(
        {"org.systemd.property.TimeoutStopUSec": text, "org.systemd.property.TimeoutStopSec": text}
    ),
    "options": split_data,
    "update": update_options,
    "command": command_line,
}


class Words(Target):
    """READER TEXT, a line each."""

    name = "words"
    tokens = (*Target.tokens, b"0", b",", b";", b"@a", b"'x'", b".slice", b"1.5", b"s", b"9999999", b"KiB", b"SIG", b"[" * 5000,
              b"-inf", b"nan", b"RTMIN+1", b"\xc2\xb2", b"\xd9\xa3")  # fmt: skip

    def vary(self, data: bytes, rnd: random.Random) -> bytes:
        reader, blank, text = data.partition(b" ")
        return reader + blank + super().vary(text, rnd)

    def make(self, rnd: random.Random) -> bytes:
        return rnd.choice([line for text in self.corpus() for line in text.splitlines()])

    def judge(self, data: bytes) -> str:
        verdicts = []
        for line in data.decode("utf-8", "surrogateescape").splitlines():
            reader, _, text = line.partition(" ")
            if (
                reader in READERS and "\0" not in text
            ):  # no argument and no accepted string of config.json has one
                said = told(
                    lambda reader=reader, text=text: READERS[reader](text), UsageError, SpecError, StateError
                )[1]  # type: ignore[misc]
                verdicts.append(f"{reader} {said or 'read'}")
        return "; ".join(verdicts[:3])


TARGETS = (Words,)
