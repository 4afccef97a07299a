"""`pyrunc ps ID [ps options]`: the container's processes, in the words of the host's ps(1) or as numbers."""

from __future__ import annotations

import sys
from errno import ENOENT

from pyrunc import _os as os
from pyrunc import log
from pyrunc.commands import write
from pyrunc.consts import IGNORED
from pyrunc.errors import HostError, OpError, PyruncError, UsageError
from pyrunc.spec.jsontext import dumps
from pyrunc.state import open_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from pyrunc.commands import Args
    from pyrunc.state import Entry

NO_PIDS = "unable to get all container pids"
KEEP = ("COLUMNS", "LANG", "LANGUAGE", "LINES", "PATH", "TERM", "TZ")
KEEP_PREFIXES = ("LC_", "PS_", "PROCPS_")
"""Of the caller's environment, what is about the looks of ps: it runs as the caller, who may be root."""


def run(args: Args) -> int:
    """Print ps's header and its lines about the container, or a JSON array of process ids."""
    name, *options = args.positionals
    form = args.options["format"]
    if form not in ("table", "json"):
        raise UsageError("invalid format option")
    with open_root(args).open(name) as entry:
        pids = container_pids(entry)
    if form == "json":
        write(dumps(pids or None) + "\n")
        return 0
    header, *lines = run_ps(options or ["-ef"]).split("\n")
    chosen = list(of_pids(header, lines, frozenset(pids)))
    if os.isatty(1):
        from pyrunc.commands.look import is_coloured, paint

        header = paint(header, "bold" if is_coloured() else "")
    write("".join([f"{line}\n" for line in (header, *chosen)]))
    return 0


def container_pids(entry: Entry) -> list[int]:
    """Return the processes of the container, those of cgroups below included. Raises HostError or OpError."""
    manager = entry.manager()
    if not manager.places:
        raise HostError(f"{NO_PIDS}: cgroups not configured for container")
    try:
        return manager.pids()
    except PyruncError as error:
        error.prefix = f"{NO_PIDS}: "
        raise
    except OSError as error:
        raise OpError(NO_PIDS, error.errno or ENOENT) from None


def of_pids(header: str, lines: Sequence[str], pids: Collection[int]) -> Iterator[str]:
    """Yield the lines whose column under PID holds one of the numbers. Raises OpError for what is no table."""
    titles = header.split()
    if "PID" not in titles:
        raise OpError("couldn't find PID field in ps output")
    column = titles.index("PID")
    for line in lines:
        fields = line.split()
        if not fields:
            continue
        try:
            pid = int(fields[column])
        except (ValueError, IndexError):
            given = log.go_quote(fields[column] if column < len(fields) else "")
            raise OpError(f"unable to parse pid: parsing {given}: invalid syntax") from None
        if pid in pids:
            yield line


def run_ps(options: Sequence[str]) -> str:
    """Return what `ps OPTIONS` of the host prints. Raises HostError without one, OpError when it fails."""
    kept = {key: value for key, value in os.environ.items() if key in KEEP or key.startswith(KEEP_PREFIXES)}
    reader, writer = os.pipe()
    actions = [(os.POSIX_SPAWN_DUP2, writer, 1), (os.POSIX_SPAWN_DUP2, writer, 2)]
    try:
        pid = os.posix_spawnp(
            "ps", ["ps", *options], kept, file_actions=actions, setpgroup=0, setsigmask=(), setsigdef=IGNORED
        )
    except FileNotFoundError:
        os.close(reader)
        raise HostError('exec: "ps": executable file not found in $PATH') from None
    finally:
        os.close(writer)
    with open(reader, "rb", closefd=True) as file:
        output = file.read().decode(sys.getfilesystemencoding(), "surrogateescape")
    _, status = os.waitpid(pid, 0)
    if status:
        code = os.waitstatus_to_exitcode(status)
        how = f"signal {-code}" if code < 0 else f"exit status {code}"
        raise OpError(f"{how}: {output.rstrip()}")
    return output
