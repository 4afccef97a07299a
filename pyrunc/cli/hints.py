"""What was meant by an option or a command that does not exist; imported after the mistake was made."""

from __future__ import annotations

from difflib import get_close_matches

from pyrunc.cli.table import COMMANDS, GLOBALS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pyrunc.cli.table import Option


def option_hint(table: Sequence[Option], name: str) -> str:
    """Return where the option belongs, else which one of this table is nearest, "" when none is near."""
    if _has(GLOBALS, name):
        return f"--{name} is a global option: it stands before the command"
    owners = [command for command, row in COMMANDS.items() if _has(row[4], name)]
    if table is GLOBALS and owners:
        return f"--{name} is an option of {', '.join(owners)}: it stands behind the command"
    return _meant(name, [row[0] for row in table if row[5]], "--{}")


def command_hint(name: str) -> str:
    """Return which command is nearest, "" when none is near."""
    return _meant(name, COMMANDS, '"{}"')


def _has(table: Iterable[Option], name: str) -> bool:
    return any(row[0] == name and row[5] for row in table)


def _meant(name: str, known: Iterable[str], form: str) -> str:
    near = get_close_matches(name.lower(), known, n=1)
    return f"did you mean {form.format(near[0])}?" if near else ""
