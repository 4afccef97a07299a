"""The programs that pyrunc starts, apart from containers: what each gets of our environment, group and signals."""

from __future__ import annotations

import contextlib
import os
import signal
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from pyrunc.commands.ps import run_ps
from pyrunc.errors import PyruncError
from pyrunc.run import idmap, survey
from pyrunc.run.criu import Criu
from pyrunc.run.hooks import run_hook

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PASSED = {
    "hook": set(),
    "ps": {"LC_ALL", "PATH", "TERM"},
    "newuidmap": set(),
    "criu": {"PATH"},
    "criu check": {"PATH"},
}
"""Names of the caller's variables that a program may see; a hook's own environment is empty here."""
GLIBCS = 3 << 31  # the signals of its threads: glibc's posix_spawn(3) leaves them ignored


SCRIPT = """#!/bin/sh
while read -r line; do echo "$line"; done </proc/$$/status >{0}/status
/bin/cat /proc/$$/environ >{0}/environ
/bin/cat /proc/$$/stat >{0}/stat
"""
"""The first without another process: a shell blocks its own signals while it makes one."""


def call_hook(program: Path) -> None:
    run_hook(SimpleNamespace(path=str(program), args=(), env=(), timeout=None), "createRuntime", 0, b"{}")  # type: ignore[arg-type]


def call_ps(_program: Path) -> None:
    run_ps([])


def call_newuidmap(_program: Path) -> None:
    idmap._call_helper(os.getpid(), "uid", (), "linux.uidMappings")


def call_criu(_program: Path) -> None:
    Criu().close()


def call_criu_check(program: Path) -> None:
    survey._judge_criu(str(program))


CALLS = {
    "hook": call_hook,
    "ps": call_ps,
    "newuidmap": call_newuidmap,
    "criu": call_criu,
    "criu check": call_criu_check,
}


@pytest.mark.parametrize("name", CALLS)
def test_surroundings_of_a_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    call: Callable[[Path], None] = CALLS[name]
    program = tmp_path / name.partition(" ")[0]
    program.write_text(SCRIPT.format(tmp_path))
    program.chmod(0o755)
    monkeypatch.setattr(idmap, "HELPER_DIRS", (str(tmp_path),))
    for key in list(os.environ):
        monkeypatch.delenv(key)
    given = ("PATH", "LC_ALL", "TERM", "HOME", "LD_PRELOAD_OF_MINE", "MY_PASSWORD", "PYTHONPATH", "IFS")
    for key in given:
        monkeypatch.setenv(key, str(tmp_path) if key == "PATH" else "C")
    previous = signal.signal(signal.SIGINT, signal.SIG_DFL)
    assert signal.getsignal(signal.SIGPIPE) == signal.SIG_IGN, "Python's own, which no program should get"

    try:
        with contextlib.suppress(PyruncError):
            call(program)
    finally:
        signal.signal(signal.SIGINT, previous)

    environment = (tmp_path / "environ").read_text().split("\0")
    assert {entry.partition("=")[0] for entry in environment if entry} == PASSED[name]
    pid, _, rest = (tmp_path / "stat").read_text().partition(" ")
    assert rest.rpartition(")")[2].split()[2] == pid, "not in a process group of its own"
    status = dict(line.split(":", 1) for line in (tmp_path / "status").read_text().splitlines())
    ignored = int(status["SigIgn"], 16) & ~GLIBCS
    python = {signal.SIGPIPE, signal.SIGXFSZ}
    assert not any(ignored >> (number - 1) & 1 for number in python), f"{ignored:x}"
    assert int(status["SigBlk"], 16) == 0
