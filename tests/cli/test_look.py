"""Colours on a terminal, and the same text as ever elsewhere: on a pseudo terminal of our own."""

from __future__ import annotations

import json
import os
import pty
import re

import pytest
from conftest import start
from test_life import create, running

from pyrunc.commands.look import list_for_terminal, state_for_terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from conftest import Containers

COLOURS = re.compile(r"\033\[[0-9]+m")


def on_terminal(containers: Containers, *words: str, **environment: str) -> str:
    """Return what a command writes to a terminal."""
    master, slave = pty.openpty()
    try:
        env = {"PATH": os.environ["PATH"], "TERM": "xterm"} | environment
        result = start("--root", containers.root, *words, stdout=slave, stdin=slave, env=env)
        assert result.code == 0, result.err
    finally:
        os.close(slave)
    text = b""
    try:
        while part := os.read(master, 65536):
            text += part
    except OSError:
        pass  # EIO: the end, on a terminal
    os.close(master)
    return text.decode().replace("\r\n", "\n")


@pytest.mark.root
def test_list_and_state_on_a_terminal(containers: Containers) -> None:
    name, other = running(containers), create(containers)
    plain = containers.ok("list")
    shown = on_terminal(containers, "list")

    assert COLOURS.sub("", shown) == plain
    assert "\033[32mrunning\033[0m" in shown
    assert "\033[34mcreated\033[0m" in shown
    assert "\033" not in on_terminal(containers, "list", NO_COLOR="1")
    assert "\033" not in on_terminal(containers, "list", TERM="dumb")
    state = on_terminal(containers, "state", other)
    assert json.loads(COLOURS.sub("", state)) == json.loads(containers.ok("state", other))
    assert state.endswith("}\n")
    assert "\033" not in containers.ok("state", name)


@pytest.mark.root
def test_events_on_a_terminal(containers: Containers) -> None:
    name = running(containers)
    header, row = COLOURS.sub("", on_terminal(containers, "events", "--stats", name)).splitlines()

    assert header.split()[:3] == ["TIME", "CPU", "THROTTLED"]
    assert re.match(r"\d\d:\d\d:\d\d +- +- ", row)


def test_colours_leave_the_text_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.isatty", lambda _fd: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    table = "ID   STATUS   BUNDLE\na    paused   /b\nb    odd      /c\n"
    state = '{\n  "status": "stopped",\n  "annotations": {\n    "a\\": b": "c"\n  }\n}'

    shown = list_for_terminal(table, ["paused", "odd"])
    assert COLOURS.sub("", shown) == table
    assert "a    \033[33mpaused\033[0m   /b" in shown
    coloured = state_for_terminal(state, "stopped")
    assert COLOURS.sub("", coloured) == state + "\n"
    assert '"\033[2mstopped\033[0m"' in coloured
