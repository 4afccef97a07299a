"""Files that a command is given to read."""

from __future__ import annotations

from errno import ENOENT

from pyrunc.errors import OpError


def read_input(path: str) -> bytes:
    """Return a file's content; "-" is standard input. Raises OpError."""
    try:
        with open(0 if path == "-" else path, "rb", closefd=path != "-") as file:
            return file.read()
    except OSError as error:
        raise OpError(f"open {path}", error.errno or ENOENT) from None
