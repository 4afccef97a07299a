"""`pyrunc top`: all containers below the root and what they use, live on a terminal, once elsewhere."""

from __future__ import annotations

import select
import time

from pyrunc import _os as os
from pyrunc import log
from pyrunc._record import record
from pyrunc.cgroup.stats import pressures_of, stats_of
from pyrunc.commands import write
from pyrunc.commands.look import OF_STATUS, is_coloured, paint
from pyrunc.commands.meter import cpu_of, fullness, io_of, limit_text, memory_of, throttled_of
from pyrunc.errors import OpError, PyruncError, UsageError
from pyrunc.spec.units import SECOND, parse_duration, show_size
from pyrunc.state import open_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Self

    from pyrunc.commands import Args
    from pyrunc.state import Entry, StateRoot

TITLES = (
    "ID", "STATUS", "CPU", "THROTTLED", "MEMORY", "LIMIT", "PIDS", "READ/S", "WRITE/S", "CPU-P", "MEM-P", "IO-P",
)  # fmt: skip
LEFT = 2
"""How many columns are words; numbers are at the right of theirs."""
FIRST = 0.3
"""Seconds between the two looks that the first rates need."""
ENTER, LEAVE = "\033[?1049h\033[?25l\033[?7l", "\033[?7h\033[?25h\033[?1049l"
"""The terminal's second screen, without a cursor and without wrapping of lines; and back."""
HOME, CLEAR_LINE, CLEAR_REST = "\033[H", "\033[K\n", "\033[J"


@record
class Sample:
    """One container at one moment; times in nanoseconds, sizes in bytes, pressures in percent."""

    id: str
    status: str
    clock: int
    cpu: int = 0
    throttled: int = 0
    used: int = 0
    limit: int = 1 << 63
    pids: int = 0
    read: int = 0
    written: int = 0
    pressure: Mapping[str, float] = {}


def run(args: Args) -> int:
    """Show the table; on a terminal again and again, until q or Ctrl-C. Raises UsageError or OpError."""
    interval = parse_duration(args.options["interval"])
    if interval <= 0:
        raise UsageError("duration interval must be greater than 0")
    root = open_root(args)
    before = look(root, optional=args.default_root)
    time.sleep(min(FIRST, interval / SECOND))
    after = look(root, optional=args.default_root)
    if args.options["once"] or not (os.isatty(0) and os.isatty(1)):
        write("".join([f"{line}\n" for line in lines_of(before, after, coloured=is_coloured())]))
        return 0
    with Screen() as screen:
        while True:
            screen.draw(lines_of(before, after, coloured=is_coloured()))
            if screen.wait(interval / SECOND):
                return 0
            before, after = after, look(root, optional=args.default_root)


def look(root: StateRoot, *, optional: bool) -> list[Sample]:
    """Return what each container uses now; one that goes away meanwhile, or is broken, is left out. Raises OpError."""
    try:
        names = root.names()
    except OSError as error:
        if optional and isinstance(error, FileNotFoundError):
            return []  # nobody has made a container here yet
        raise OpError(f"open {root.path}", error.errno or 0) from None
    samples = []
    for name in names:
        try:
            with root.open(name) as entry:
                samples.append(sample(entry))
        except PyruncError as error:
            log.debug(f"container {name}: {error}")  # another runtime's, broken, or just gone: `list` tells
    return samples


def sample(entry: Entry) -> Sample:
    """Return what a container uses. Raises PyruncError."""
    status = entry.status()
    manager = entry.manager()
    if status == "stopped" or not manager.places:
        return Sample(entry.name, status, time.monotonic_ns())
    data = stats_of(manager)
    used, limit = memory_of(data)
    made = Sample(
        id=entry.name,
        status=status,
        clock=time.monotonic_ns(),
        cpu=cpu_of(data),
        throttled=throttled_of(data),
        used=used,
        limit=limit,
        pids=data["pids"].get("current", 0),
        read=io_of(data, "Read"),
        written=io_of(data, "Write"),
        pressure=pressures_of(manager),
    )
    manager.close()
    return made


def lines_of(before: Sequence[Sample], after: Sequence[Sample], *, coloured: bool) -> list[str]:
    """Return the table, the busiest first."""
    old = {one.id: one for one in before}
    pairs = sorted([(old.get(one.id, one), one) for one in after], key=_idleness)
    rows = [TITLES, *[row_of(first, second) for first, second in pairs]]
    widths = [max(len(row[column]) for row in rows) for column in range(len(TITLES))]
    lines = []
    for index, row in enumerate(rows):
        colours = colours_of(pairs[index - 1][1]) if coloured and index else {}
        cells = [
            paint(cell.ljust(width) if column < LEFT else cell.rjust(width), colours.get(column, ""))
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        line = "  ".join(cells)
        lines.append(line if index else paint(line, "bold" if coloured else ""))
    return lines


def _idleness(pair: tuple[Sample, Sample]) -> tuple[int, str]:
    return pair[0].cpu - pair[1].cpu, pair[1].id


def row_of(old: Sample, new: Sample) -> tuple[str, ...]:
    """Return the cells for a container: rates since the last look, percent of one CPU; "-" for what is not known."""
    elapsed = new.clock - old.clock
    if elapsed <= 0 or new.status == "stopped":
        cpu = throttled = read = written = "-"
    else:
        cpu = f"{max(new.cpu - old.cpu, 0) * 100 / elapsed:.1f}%"
        throttled = f"{max(new.throttled - old.throttled, 0) * 100 / elapsed:.1f}%"
        read = show_size(max(new.read - old.read, 0) * SECOND / elapsed)
        written = show_size(max(new.written - old.written, 0) * SECOND / elapsed)
    used = show_size(new.used)
    psi = [f"{new.pressure[kind]:.1f}%" if kind in new.pressure else "-" for kind in ("cpu", "memory", "io")]
    limits = (used, limit_text(new.limit), str(new.pids))
    return (log.escape(new.id), new.status, cpu, throttled, *limits, read, written, *psi)


def colours_of(one: Sample) -> dict[int, str]:
    """Return the colours of a row by column."""
    colours = {1: OF_STATUS.get(one.status, ""), 4: fullness(one.used, one.limit)}
    for column, kind in enumerate(("cpu", "memory", "io"), TITLES.index("CPU-P")):
        value = one.pressure.get(kind, 0.0)
        colours[column] = "red" if value >= 25 else "yellow" if value >= 5 else ""
    return colours


class Screen:
    """The terminal while `top` has it: keys come at once and are not shown."""

    def __enter__(self) -> Self:
        import termios

        self._saved = termios.tcgetattr(0)
        changed = termios.tcgetattr(0)
        changed[3] &= ~(termios.ICANON | termios.ECHO)
        termios.tcsetattr(0, termios.TCSADRAIN, changed)
        write(ENTER)
        return self

    def __exit__(self, *_error: object) -> None:
        import termios

        termios.tcsetattr(0, termios.TCSADRAIN, self._saved)
        write(LEAVE)

    def draw(self, lines: Sequence[str]) -> None:
        """Show the lines that have room."""
        rows = os.get_terminal_size(1).lines or 24  # a terminal that nobody has given a size says 0
        write(HOME + "".join([line + CLEAR_LINE for line in lines[: max(rows - 1, 1)]]) + CLEAR_REST)

    def wait(self, seconds: float) -> bool:
        """Wait; tell whether the user has asked for the end."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            ready, _, _ = select.select([0], [], [], left)
            if ready and os.read(0, 64)[:1] in (b"q", b"Q", b"\x04", b""):
                return True
        return False
