"""How things look to a person at a terminal. What is no terminal gets the bare text that programs read."""

from __future__ import annotations

from pyrunc import _os as os

CODES = {"bold": 1, "dim": 2, "red": 31, "green": 32, "yellow": 33, "blue": 34, "cyan": 36}
OF_STATUS = {"running": "green", "created": "blue", "creating": "blue", "paused": "yellow", "stopped": "dim"}


def is_coloured(fd: int = 1) -> bool:
    """Tell whether a descriptor is a terminal that may be given colours (https://no-color.org)."""
    return os.isatty(fd) and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"


def paint(text: str, colour: str) -> str:
    """Return the text in a colour, or as it is where `colour` is ""."""
    return f"\033[{CODES[colour]}m{text}\033[0m" if colour and text else text
