"""How ps(1) is called, and what is taken from its answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pyrunc.commands import look
from pyrunc.commands.ps import of_pids, run_ps
from pyrunc.errors import HostError, OpError

if TYPE_CHECKING:
    from pathlib import Path

HEADER = "USER         PID COMMAND"


def install_ps(directory: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a ps of our own in front of the host's."""
    (directory / "ps").write_text(f"#!/bin/sh\n{script}\n")
    (directory / "ps").chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:/usr/bin:/bin")


def test_lines_are_chosen_by_the_column_of_the_header() -> None:
    lines = ["root 17 a 18", "18 17 b", "", "x 18   c", "x 180 d"]

    assert list(of_pids(HEADER, lines, {18})) == ["x 18   c"]
    assert list(of_pids("PID X", ["18 17", "17 18"], {18})) == ["18 17"]


def test_what_is_no_table() -> None:
    with pytest.raises(OpError, match=r"^couldn't find PID field in ps output$"):
        list(of_pids("USER PIDS", [], {1}))
    with pytest.raises(OpError, match=r'^unable to parse pid: parsing "x": invalid syntax$'):
        list(of_pids(HEADER, ["root x a"], {1}))
    with pytest.raises(OpError, match=r'^unable to parse pid: parsing "": invalid syntax$'):
        list(of_pids(HEADER, ["root"], {1}))


def test_ps_gets_its_options_and_little_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LD_PRELOAD_OF_MINE", "x")
    monkeypatch.setenv("LC_TIME", "C")
    install_ps(tmp_path, 'echo "$# $1 $2"; env', monkeypatch)

    first, *environment = run_ps(["-o", "pid,args"]).splitlines()

    assert first == "2 -o pid,args"
    assert "LC_TIME=C" in environment
    assert "LD_PRELOAD_OF_MINE" not in "".join(environment)


def test_a_ps_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_ps(tmp_path, "echo no >&2; exit 3", monkeypatch)
    with pytest.raises(OpError, match=r"^exit status 3: no$"):
        run_ps([])
    install_ps(tmp_path, "kill -9 $$", monkeypatch)
    with pytest.raises(OpError, match=r"^signal 9: $"):
        run_ps([])


def test_no_ps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(HostError, match=r'^exec: "ps": executable file not found in \$PATH$'):
        run_ps([])


def test_colours_are_for_terminals_that_want_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.isatty", lambda _fd: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert look.is_coloured()
    monkeypatch.setenv("NO_COLOR", "1")
    assert not look.is_coloured()
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert not look.is_coloured()
    assert look.paint("x", "red") == "\033[31mx\033[0m"
    assert look.paint("x", "") == "x"
