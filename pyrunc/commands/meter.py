"""What `events` shows a person at a terminal: a line for each interval, with rates instead of sums."""

from __future__ import annotations

import time

from pyrunc.cgroup.stats import UNLIMITED
from pyrunc.commands import write
from pyrunc.commands.look import is_coloured, paint
from pyrunc.spec.units import show_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

HEADER = (
    f"{'TIME':10}{'CPU':>8}{'THROTTLED':>11}{'MEMORY':>12}{'LIMIT':>12}{'PIDS':>7}{'READ':>12}{'WRITTEN':>12}"
)
NO_LIMIT = 1 << 62
"""What v1 shows for no limit is a little less than 2^63."""


class Meter:
    """Prints events of one container as a table that grows."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.colours = is_coloured()
        self.last: tuple[float, int, int] | None = None
        self.begun = False

    def show(self, kind: str, data: dict[str, Any] | None) -> None:
        """Print one event."""
        if not self.begun:
            self.begun = True
            write(self._paint(HEADER, "bold") + "\n")
        clock = time.strftime("%H:%M:%S")
        if data is None:
            write(self._paint(f"{clock:10}{kind}: the container has run out of memory", "red") + "\n")
            return
        used, limit = memory_of(data)
        cpu, throttled = self._rates(data)
        text = (
            f"{clock:10}{cpu:>8}{throttled:>11}{show_size(used):>12}{limit_text(limit):>12}"
            f"{data['pids'].get('current', 0):>7}{show_size(io_of(data, 'Read')):>12}{show_size(io_of(data, 'Write')):>12}"
        )
        write(self._paint(text, fullness(used, limit)) + "\n")

    def _rates(self, data: dict[str, Any]) -> tuple[str, str]:
        """Return CPU time and throttled time since the last event, in percent of one CPU."""
        now, last = time.monotonic(), self.last
        total, throttled = cpu_of(data), throttled_of(data)
        self.last = (now, total, throttled)
        if last is None or now <= last[0]:
            return "-", "-"
        nanoseconds = (now - last[0]) * 10**9
        return (
            f"{(total - last[1]) * 100 / nanoseconds:.1f}%",
            f"{(throttled - last[2]) * 100 / nanoseconds:.1f}%",
        )

    def _paint(self, text: str, colour: str) -> str:
        return paint(text, colour if self.colours else "")


def cpu_of(data: dict[str, Any]) -> int:
    """Return the CPU time used so far, in nanoseconds."""
    return int(data["cpu"].get("usage", {}).get("total", 0))


def throttled_of(data: dict[str, Any]) -> int:
    """Return how long the container has had to wait for its quota, in nanoseconds."""
    return int(data["cpu"].get("throttling", {}).get("throttledTime", 0))


def memory_of(data: dict[str, Any]) -> tuple[int, int]:
    """Return the memory in use and its limit."""
    usage = data["memory"].get("usage", {})
    return usage.get("usage", 0), usage.get("limit", UNLIMITED)


def io_of(data: dict[str, Any], operation: str) -> int:
    """Return the bytes that were read or written so far."""
    rows = data["blkio"].get("ioServiceBytesRecursive", ())
    return sum(row.get("value", 0) for row in rows if row.get("op") == operation)


def limit_text(limit: int) -> str:
    """Return a limit for people."""
    return "-" if limit >= NO_LIMIT else show_size(limit)


def fullness(used: int, limit: int) -> str:
    """Return the colour for how near a limit is."""
    if limit >= NO_LIMIT or used < limit * 0.8:
        return ""
    return "yellow" if used < limit * 0.95 else "red"
