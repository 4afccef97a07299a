"""What `events` shows a person at a terminal."""

from __future__ import annotations

import pytest

from pyrunc.commands import meter
from pyrunc.commands.meter import Meter, fullness, limit_text


def data(cpu: int, used: int) -> dict[str, object]:
    return {
        "cpu": {"usage": {"total": cpu, "kernel": 0, "user": 0}, "throttling": {"throttledTime": cpu // 2}},
        "memory": {"usage": {"limit": 64 << 20, "usage": used, "failcnt": 0}},
        "pids": {"current": 3},
        "blkio": {"ioServiceBytesRecursive": [{"op": "Read", "value": 2048}, {"op": "Write"}]},
    }


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    written: list[str] = []
    monkeypatch.setattr(meter, "write", written.append)
    clock = iter((10.0, 12.0))
    monkeypatch.setattr(meter.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(meter.time, "strftime", lambda _form: "12:00:00")
    return written


def test_rates_between_two_events(lines: list[str]) -> None:
    shown = Meter("c")
    shown.show("stats", data(10**9, 1 << 20))
    shown.show("stats", data(2 * 10**9, 2 << 20))
    shown.show("oom", None)

    header, first, second, oom = lines
    assert header.split() == ["TIME", "CPU", "THROTTLED", "MEMORY", "LIMIT", "PIDS", "READ", "WRITTEN"]
    assert first.split() == ["12:00:00", "-", "-", "1.0", "MiB", "64.0", "MiB", "3", "2.0", "KiB", "0", "B"]
    assert second.split() == [
        "12:00:00",
        "50.0%",
        "25.0%",
        "2.0",
        "MiB",
        "64.0",
        "MiB",
        "3",
        "2.0",
        "KiB",
        "0",
        "B",
    ]
    assert oom.split()[1:] == ["oom:", "the", "container", "has", "run", "out", "of", "memory"]


def test_colours_tell_how_full_it_is() -> None:
    assert [fullness(used, 100) for used in (79, 80, 95)] == ["", "yellow", "red"]
    assert fullness(1 << 61, 2**63 - 4096) == ""
    assert [limit_text(limit) for limit in (2**64 - 1, 2**63 - 4096, 1 << 30)] == ["-", "-", "1.0 GiB"]
