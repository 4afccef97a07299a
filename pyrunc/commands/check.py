"""`pyrunc check`: what this host can and cannot do for containers, and why."""

from __future__ import annotations

from pyrunc import _os as os
from pyrunc.commands import write
from pyrunc.errors import UsageError
from pyrunc.run.survey import Place, survey
from pyrunc.spec.jsontext import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pyrunc.commands import Args
    from pyrunc.run.survey import Finding

PLACES = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def run(args: Args) -> int:
    """Print the report; return 1 when there can be no containers at all."""
    form = args.options["format"]
    if form not in ("table", "json"):
        raise UsageError("invalid format option")
    path = ":".join(filter(None, (os.environ.get("PATH"), PLACES)))
    found = survey(Place(uid=os.geteuid(), release=os.uname().release, path=path))
    write(dumps(to_json(found), "  ") + "\n" if form == "json" else table(found, coloured=_is_coloured()))
    return 1 if any(one.vital and not one.able for ones in found.values() for one in ones) else 0


def _is_coloured() -> bool:
    from pyrunc.commands.look import is_coloured

    return is_coloured()


def to_json(found: Mapping[str, Sequence[Finding]]) -> dict[str, object]:
    """Return the report for programs: section -> list of {what, able, why}."""
    return {
        name: [{"what": one.what, "able": one.able, "why": one.why} for one in ones]
        for name, ones in found.items()
    }


def table(found: Mapping[str, Sequence[Finding]], *, coloured: bool = False) -> str:
    """Return the report for a person: a paragraph a section, and at the end how much is missing."""
    from pyrunc.commands.look import paint

    width = max(len(one.what) for ones in found.values() for one in ones)
    lines = []
    for name, ones in found.items():
        lines.append(paint(name, "bold" if coloured else ""))
        for one in ones:
            word = "can   " if one.able else "cannot"
            word = paint(
                word, ("green" if one.able else "red" if one.vital else "yellow") if coloured else ""
            )
            lines.append(f"  {word}  {one.what:{width}}  {one.why}".rstrip())
        lines.append("")
    missing = sum(not one.able for ones in found.values() for one in ones)
    vital = any(one.vital and not one.able for ones in found.values() for one in ones)
    lines.append(
        f"{missing} missing; " + ("no container can run here" if vital else "containers can run here")
    )
    return "".join([f"{line}\n" for line in lines])
