"""One file a command: `run(args) -> int`. Here is what every command is given, and how it writes."""

from __future__ import annotations

from pyrunc import _os as os
from pyrunc import log
from pyrunc.errors import OpError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Args:
    """A parsed command line. Options and globals stand by their long names, defaults filled in.

    `root` is the absolute directory of the containers' states; `default_root` tells that it was not given.
    """

    __slots__ = ("argv0", "command", "default_root", "globals", "options", "positionals", "root")

    def __init__(self, argv0: str, command: str = "") -> None:
        self.argv0 = argv0
        self.command = command
        self.positionals: list[str] = []
        self.options: dict[str, Any] = {}
        self.globals: dict[str, Any] = {}
        self.root = ""
        self.default_root = True


def write(text: str) -> None:
    """Write to standard output, at once. Raise BrokenPipeError if nobody reads it, OpError for the rest."""
    try:
        log.write_all(1, text.encode("utf-8", "surrogateescape"))
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OpError("write to standard output", error.errno or 0) from None


def app_name(argv0: str) -> str:
    """Return the name that the program calls itself: "runc" where it stands in for it, else "pyrunc"."""
    return "runc" if os.path.basename(argv0) == "runc" else "pyrunc"
