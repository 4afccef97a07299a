"""Where the time went: `pyrunc --trace FILE run ...` in the trace-event format that browsers' trace viewers open.

Two rows: the phases of the Python side, and the operations of the executor. Both clocks are CLOCK_MONOTONIC; in a container
with an offset time namespace the second row is shifted by that offset once the executor has entered it.
"""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyrunc.run.phrase import Step

_MICRO = 1000


class Trace:
    """Collects phases and operations; does nothing, at no cost worth a name, until `enabled`."""

    def __init__(self) -> None:
        self.enabled = False
        self.events: list[dict[str, object]] = []
        self._last = 0
        self._last_op = 0

    def begin(self) -> None:
        """Collect from now on."""
        self.enabled = True
        self._last = time.monotonic_ns()

    def phase(self, name: str) -> None:
        """End a phase of the Python side that began when the one before it ended."""
        if self.enabled:
            now = time.monotonic_ns()
            self._event(name, "python", self._last, now, {})
            self._last = now

    def operation(self, step: Callable[[int], Step], index: int, end: int) -> None:
        """Record that the executor ended operation `index` at `end` nanoseconds of CLOCK_MONOTONIC."""
        about = step(index)
        begin = self._last_op or self._last
        self._last_op = end
        args = {"operation": index, "config": about.at, "subject": about.subject}
        self._event(about.name, "executor", begin, end, args)

    def _event(self, name: str, row: str, begin: int, end: int, args: dict[str, object]) -> None:
        duration = max(end - begin, 0) / _MICRO
        event = {
            "name": name,
            "ph": "X",
            "ts": begin / _MICRO,
            "dur": duration,
            "pid": "pyrunc",
            "tid": row,
            "args": args,
        }
        self.events.append(event)

    def write(self, fd: int) -> None:
        """Write the events to an open file, and close it; raises OSError."""
        from pyrunc.spec.jsontext import dumps

        with open(fd, "w", encoding="utf-8") as file:
            file.write(dumps({"traceEvents": self.events, "displayTimeUnit": "ms"}, indent=" "))


TRACE = Trace()
