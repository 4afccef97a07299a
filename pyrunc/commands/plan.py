"""`pyrunc plan`: show what would be asked of the kernel for a bundle, without asking any of it."""

from __future__ import annotations

from pyrunc import _os as os
from pyrunc import host
from pyrunc.commands import write
from pyrunc.errors import UsageError, strerror
from pyrunc.plan.request import Request
from pyrunc.run.options import path_of
from pyrunc.run.prepare import CONFIG, prepare

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.commands import Args
    from pyrunc.host import Host

NAME = "CONTAINER"
"""The container's id in a plan that belongs to none."""


def run(args: Args) -> int:
    """Print the plan of a bundle, as text or as JSON; for this host or for a recorded one."""
    import json

    from pyrunc.plan.render import render, to_json

    here = _host(str(args.options["host"] or ""))
    prepared = prepare(_request(args), here)
    save = str(args.options["save-host"] or "")
    if save:
        _write(save, json.dumps(host.to_dict(prepared.host), indent=2) + "\n")
    if args.options["json"]:
        write(json.dumps(to_json(prepared.plan), indent=2) + "\n")
    else:
        write(render(prepared.plan))
    return 0


def _request(args: Args) -> Request:
    """Return the request that `create` would have; a given bundle becomes the current directory, as there."""
    config = path_of(args, "config") or CONFIG
    if args.positionals:
        try:
            os.chdir(args.positionals[0])
        except OSError as error:
            raise UsageError(f"chdir {args.positionals[0]}: {strerror(error.errno or 0)}") from None
    preserve = args.options["preserve-fds"]
    assert isinstance(preserve, int)
    return Request(
        id=NAME,
        bundle=os.getcwd(),
        config=config,
        wait=True,
        no_pivot=bool(args.options["no-pivot"]),
        no_new_keyring=bool(args.options["no-new-keyring"]),
        preserve_fds=preserve,
        lenient_cgroups=os.geteuid() != 0,
        rootless=os.geteuid() != 0,
    )


def _host(path: str) -> Host | None:
    """Read a recorded host; None for this one."""
    if not path:
        return None
    import json

    try:
        with open(path, "rb") as file:
            return host.from_dict(json.load(file))
    except OSError as error:
        raise UsageError(f"--host: open {path}: {strerror(error.errno or 0)}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"--host: {path}: not a recorded host: {error}") from None


def _write(path: str, text: str) -> None:
    try:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise UsageError(f"--save-host: write {path}: {strerror(error.errno or 0)}") from None
