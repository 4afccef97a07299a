"""`pyrunc --version`: the lines that engines look for."""

from __future__ import annotations

import sys

from pyrunc import __version__
from pyrunc.commands import app_name, write
from pyrunc.consts import SPEC_VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.commands import Args


def run(args: Args) -> int:
    """Print the version; as "runc version" where the program stands in for runC under its name."""
    write(f"{app_name(args.argv0)} version {version_text()}\n")
    return 0


def version_text() -> str:
    """Return our version, commit, the version of the specification and what we run on, one a line."""
    python = ".".join(str(part) for part in sys.version_info[:3])
    return f"{__version__}\ncommit: {_commit()}\nspec: {SPEC_VERSION}\npython: {python}"


def _commit() -> str:
    try:
        from pyrunc._build import COMMIT
    except ImportError:
        return "unknown"
    return str(COMMIT)
