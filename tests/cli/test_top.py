"""`top`: rates between two looks, on recorded samples and on real containers."""

from __future__ import annotations

import os
import pty
import re
import threading

import pytest
from conftest import start
from test_life import create, running

from pyrunc.commands.top import TITLES, Sample, colours_of, lines_of, row_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from conftest import Containers

S = 10**9
OLD = Sample(
    "a", "running", clock=0, cpu=S, throttled=0, used=1 << 20, limit=2 << 20, pids=2, read=0, written=1024
)
NEW = Sample(
    "a", "running", clock=2 * S, cpu=2 * S, throttled=S // 2, used=1 << 20, limit=2 << 20, pids=3, read=4096, written=1024,
    pressure={"cpu": 6.0, "io": 25.0},
)  # fmt: skip


def test_rates() -> None:
    assert dict(zip(TITLES, row_of(OLD, NEW), strict=True)) == {
        "ID": "a", "STATUS": "running", "CPU": "50.0%", "THROTTLED": "25.0%", "MEMORY": "1.0 MiB", "LIMIT": "2.0 MiB",
        "PIDS": "3", "READ/S": "2.0 KiB", "WRITE/S": "0 B", "CPU-P": "6.0%", "MEM-P": "-", "IO-P": "25.0%",
    }  # fmt: skip
    first = row_of(NEW, NEW)
    assert [first[TITLES.index(title)] for title in ("CPU", "THROTTLED", "READ/S", "WRITE/S")] == ["-"] * 4


def test_the_busiest_comes_first() -> None:
    idle = Sample("b", "stopped", clock=2 * S)
    lines = lines_of([OLD], [idle, NEW], coloured=False)

    assert [line.split()[0] for line in lines] == ["ID", "a", "b"]
    assert len({len(line) for line in lines}) == 1
    assert "\033" not in "".join(lines)
    assert "\033[32mrunning" in lines_of([OLD], [idle, NEW], coloured=True)[1]
    assert colours_of(NEW) == {1: "green", 4: "", 9: "yellow", 10: "", 11: "red"}


def test_an_empty_root(containers: Containers) -> None:
    containers.root.mkdir()
    assert containers.ok("top").split() == list(TITLES)
    assert "duration interval must be greater than 0" in containers("top", "--interval", "0s").err
    containers.root.rmdir()
    assert f"open {containers.root}: no such file or directory" in containers("top").err


@pytest.mark.root
def test_once_where_there_is_no_terminal(containers: Containers) -> None:
    name, other = running(containers), create(containers)
    (containers.root / "foreign").mkdir()
    rows = {line.split()[0]: line.split() for line in containers.ok("top").splitlines()[1:]}

    assert set(rows) == {name, other}
    assert (rows[name][1], rows[other][1]) == ("running", "created")
    assert re.fullmatch(r"[0-9.]+%", rows[name][2])


@pytest.mark.root
def test_live_on_a_terminal_until_q(containers: Containers) -> None:
    name = running(containers)
    master, slave = pty.openpty()
    seen: list[bytes] = []

    def watch() -> None:
        """Say q once there were two screens: sooner it would be echoed by a terminal that is still as it was."""
        while b"".join(seen).count(b"STATUS") < 2:
            seen.append(os.read(master, 1 << 16))
        os.write(master, b"q")

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        env = {"PATH": os.environ["PATH"], "TERM": "xterm"}
        result = start(
            "--root", containers.root, "top", "--interval", "200ms", stdout=slave, stdin=slave, env=env
        )
        watcher.join(10)
        shown = (b"".join(seen) + os.read(master, 1 << 16)).decode()
    finally:
        os.close(slave)
        os.close(master)
    assert (result.code, result.err) == (0, "")
    assert shown.startswith("\033[?1049h")
    assert name in shown
    assert shown.rstrip("\r\n").endswith("\033[?1049l")
