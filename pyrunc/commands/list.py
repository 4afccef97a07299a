"""`pyrunc list`: the containers below the root. What belongs to others is passed over, what is broken is told."""

from __future__ import annotations

from errno import ENOENT

from pyrunc import _os as os
from pyrunc import log
from pyrunc.commands import write
from pyrunc.commands.state import state_of
from pyrunc.errors import OpError, PyruncError, UsageError
from pyrunc.spec.jsontext import dumps
from pyrunc.state import NO_SUCH, open_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyrunc.commands import Args
    from pyrunc.state import StateRoot

HEADER = ("ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER")
COLUMNS = ("id", "pid", "status", "bundle", "created", "owner")
WIDTH, GAP = 12, 3
"""Least width of a column, and the space behind its longest entry (runC's tabwriter)."""


def run(args: Args) -> int:
    """Print a table, JSON in one line, or the ids alone."""
    form = args.options["format"]
    if form not in ("table", "json"):
        raise UsageError("invalid format option")
    root = open_root(args)
    states = list_states(root, _names(root, optional=args.default_root))
    if args.options["quiet"]:
        write("".join(f"{state['id']}\n" for state in states))
    elif form == "json":
        write(dumps(states or None, go_html_escape=True) + "\n")
    else:
        text = table([HEADER, *([log.escape(str(state[name])) for name in COLUMNS] for state in states)])
        if os.isatty(1):
            from pyrunc.commands.look import list_for_terminal

            text = list_for_terminal(text, [str(state["status"]) for state in states])
        write(text)
    return 0


def _names(root: StateRoot, *, optional: bool) -> list[str]:
    try:
        return root.names()
    except OSError as error:
        if optional and error.errno == ENOENT:
            return []  # nobody has made a container here yet
        raise OpError(f"open {root.path}", error.errno or ENOENT) from None


def list_states(root: StateRoot, names: Sequence[str]) -> list[dict[str, object]]:
    """Return the states of those that are containers of ours."""
    states = []
    owners: dict[int, str] = {}
    for name in names:
        try:
            with root.open(name) as entry:
                uid = os.fstat(entry.dir_fd).st_uid
                if uid not in owners:
                    owners[uid] = owner_name(uid)
                states.append(state_of(entry, owners[uid]))
        except PyruncError as error:
            if str(error) != NO_SUCH:  # else another runtime's, or gone since the names were read
                log.stderr(f"load container {name}: {error}")
    return states


def owner_name(uid: int) -> str:
    """Return the name of a user, or "#" and the number where it has none."""
    import pwd  # loads a library: only here

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows in columns, padded with spaces but for the last."""
    widths = [max(WIDTH, *(len(row[column]) + GAP for row in rows)) for column in range(len(HEADER) - 1)]
    lines = []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        lines.append("".join(cells) + row[-1] + "\n")
    return "".join(lines)
