"""How things look to a person at a terminal. What is no terminal gets the bare text that programs read."""

from __future__ import annotations

from pyrunc import _os as os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

CODES = {"bold": 1, "dim": 2, "red": 31, "green": 32, "yellow": 33, "blue": 34, "cyan": 36}
OF_STATUS = {"running": "green", "created": "blue", "creating": "blue", "paused": "yellow", "stopped": "dim"}


def is_coloured(fd: int = 1) -> bool:
    """Tell whether a descriptor is a terminal that may be given colours (https://no-color.org)."""
    return os.isatty(fd) and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"


def paint(text: str, colour: str) -> str:
    """Return the text in a colour, or as it is where `colour` is ""."""
    return f"\033[{CODES[colour]}m{text}\033[0m" if colour and text else text


def list_for_terminal(text: str, statuses: Sequence[str]) -> str:
    """Return the table of `list` with a bold header and each status in its colour."""
    if not is_coloured():
        return text
    header, *rows = text.splitlines()
    column = header.index("STATUS")
    lines = [paint(header, "bold")]
    for row, status in zip(rows, statuses, strict=True):
        end = column + len(status)
        lines.append(row[:column] + paint(row[column:end], OF_STATUS.get(status, "")) + row[end:])
    return "".join([f"{line}\n" for line in lines])


def state_for_terminal(text: str, status: str) -> str:
    """Return the JSON of `state` with its keys and its status in colours, and a newline that programs do not get."""
    if not is_coloured():
        return f"{text}\n"
    lines = []
    for line in text.splitlines():
        key, colon, value = line.partition('": ')
        if not colon:
            lines.append(line)
            continue
        if key == '  "status':
            value = value.replace(status, paint(status, OF_STATUS.get(status, "")), 1)
        lines.append(paint(f'{key}"', "cyan") + f": {value}")
    return "".join([f"{line}\n" for line in lines])
