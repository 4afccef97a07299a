"""`pyrunc plan`: show what would be asked of the kernel for a bundle, without asking any of it."""

from __future__ import annotations

from pyrunc import _os as os
from pyrunc import host
from pyrunc.commands import write
from pyrunc.errors import UsageError, strerror
from pyrunc.plan.request import Request
from pyrunc.run.options import bundle_of, path_of
from pyrunc.run.prepare import CONFIG, prepare
from pyrunc.run.story import is_lenient, wants_systemd

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
    if here is not None and wants_systemd(args):
        raise UsageError(
            "--host: the systemd cgroup driver asks systemd, and that of a recorded host is not here"
        )
    bundle = bundle_of(args)
    other = str(args.options["plan-diff"] or "")
    if other:
        return _diff(args, os.path.abspath(other), bundle, here)
    prepared = prepare(_request(args, bundle), here)
    save = str(args.options["save-host"] or "")
    if save:
        _write(save, json.dumps(host.to_dict(prepared.host), indent=2) + "\n")
    if args.options["json"]:
        write(json.dumps(to_json(prepared.plan), indent=2) + "\n")
    else:
        write(render(prepared.plan))
    return 0


def _diff(args: Args, one: str, other: str, here: Host | None) -> int:
    """Print what the plan of bundle `other` does otherwise than that of `one`; return 1 when it does, as diff(1)."""
    from pyrunc.commands.look import is_coloured, paint
    from pyrunc.plan.diff import diff

    plans = [prepare(_request(args, bundle), here).plan for bundle in (one, other)]
    colours = {"-": "red", "+": "green"} if is_coloured() else {}
    lines = diff(plans[0], plans[1], (one, other))
    write("".join([paint(line, colours.get(line[0], "")) + "\n" for line in lines]))
    return 1 if lines else 0


def _request(args: Args, bundle: str) -> Request:
    """Return the request that `create` would have; the bundle becomes the current directory, as there."""
    config = path_of(args, "config") or CONFIG
    try:
        os.chdir(bundle)
    except OSError as error:
        raise UsageError(f"chdir {bundle}: {strerror(error.errno or 0)}") from None
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
        cgroups=args.globals["cgroup-manager"] != "disabled",
        systemd=wants_systemd(args),
        lenient_cgroups=is_lenient(args.globals["rootless"]),
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
