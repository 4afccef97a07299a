"""The mappings of a user namespace whose config has none: what the caller may map, as crun chooses it.

The process's own id is the caller's. The ids beside it are the caller's first range in /etc/subuid and /etc/subgid; without
a range there are none.
"""

from __future__ import annotations

from pyrunc import _os as os
from pyrunc import log
from pyrunc.run.idmap import find_helper
from pyrunc.spec.model import IDMapping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.spec.model import Spec

WHOLE_MAP = [(0, 0, 2**32 - 1)]


def with_default_maps(spec: Spec, files: str = "/etc") -> Spec:
    """Return the spec with mappings for its new user namespace, if it has one without any. `files` is for tests."""
    user = next((ns for ns in spec.linux.namespaces if ns.type == "user"), None)
    if user is None or user.path or spec.linux.uid_mappings or spec.linux.gid_mappings:
        return spec
    names = _names(os.geteuid())
    wanted = spec.process.user if spec.process else None
    maps = {}
    for kind, own, inside in (
        ("uid", os.geteuid(), wanted.uid if wanted else 0),
        ("gid", os.getegid(), wanted.gid if wanted else 0),
    ):
        extent = _usable(kind, _first_range(f"{files}/sub{kind}", names))
        triples = default_map(own, inside, extent)
        maps[f"{kind}_mappings"] = _mappings(kind, triples)
        shown = ", ".join([f"{inner} {outer} {size}" for inner, outer, size in triples])
        log.debug(f"linux.{kind}Mappings: none given, taking the caller's: {shown}")
    linux = type(spec.linux)(**(spec.linux.__dict__ | maps))
    return type(spec)(**(spec.__dict__ | {"linux": linux}))


def default_map(own: int, inside: int, extent: tuple[int, int]) -> list[tuple[int, int, int]]:
    """Return (inside, outside, size) lines: `own` is `inside`, the extent (start, size) fills the ids around it.

    Without an extent the container has one id only, and that is its root.
    """
    start, size = extent
    if not size:
        return [(0, own, 1)]
    below = min(inside, size)
    lines = [(0, start, below), (inside, own, 1), (inside + 1, start + below, size - below)]
    return [line for line in lines if line[2]]


def _mappings(kind: str, triples: list[tuple[int, int, int]]) -> tuple[IDMapping, ...]:
    return tuple(
        [
            IDMapping(container_id=inner, host_id=outer, size=size, at=f"linux.{kind}Mappings[{index}]")
            for index, (inner, outer, size) in enumerate(triples)
        ]
    )


def _names(uid: int) -> set[str]:
    """Return what the files call the caller: the number, and the name where there is one."""
    import pwd

    try:
        return {str(uid), pwd.getpwuid(uid).pw_name}
    except KeyError:
        return {str(uid)}


def _first_range(path: str, names: set[str]) -> tuple[int, int]:
    """Return (first id, size) of the caller's first line in a file of subid(5); (0, 0) for none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = [line.strip().split(":") for line in file]
    except OSError:  # no such file: nobody was given a range
        return 0, 0
    for name, *numbers in lines:
        if name in names and len(numbers) == 2 and all(number.isdecimal() for number in numbers):
            return int(numbers[0]), int(numbers[1])
    return 0, 0


def _usable(kind: str, extent: tuple[int, int]) -> tuple[int, int]:
    """Return the extent, or none where nobody could write it into a map.

    In a user namespace the files speak of ids that may not be there. An ordinary user needs newuidmap(1).
    """
    start, size = extent
    if os.geteuid() != 0 and not find_helper(f"new{kind}map"):
        return 0, 0
    with open(f"/proc/self/{kind}_map", "rb") as file:
        here = [tuple(map(int, line.split())) for line in file]
    if here != WHOLE_MAP and not any(
        first <= start and start + size <= first + count for first, _, count in here
    ):
        return 0, 0
    return extent
