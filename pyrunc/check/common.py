"""What several rules ask of a config."""

from __future__ import annotations

from pyrunc._record import record
from pyrunc.errors import Fault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyrunc.spec.model import IDMapping, Namespace, Spec

EXTENTS_MAX = 340  # UID_GID_MAP_MAX_EXTENTS of linux/user_namespace.h


@record
class CheckFacts:
    """What the rules need to know beside the config: the bundle's directory, and whether we are not root."""

    bundle: str
    rootless: bool = False


def find_namespace(spec: Spec, kind: str) -> Namespace | None:
    """Return the entry for a type of namespace, or None where the container has the runtime's own."""
    for namespace in spec.linux.namespaces:
        if namespace.type == kind:
            return namespace
    return None


def is_absolute(path: str) -> bool:
    """Tell whether a path begins at the root."""
    return path[:1] == "/"


def clean(path: str) -> str:
    """Return a path from `/` without empty, `.` and `..` parts, by its letters: no symlink is looked at."""
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in ("", "."):
            parts.append(part)
    return "/" + "/".join(parts)


def is_number_list(text: str) -> bool:
    """Tell whether `text` is a list of CPUs or memory nodes (cpuset(7), List format): `0-3,7`."""
    for part in text.split(","):
        low, dash, high = part.strip(" ").partition("-")
        if not _is_number(low) or (dash and not _is_number(high)):
            return False
        if dash and int(low) > int(high):
            return False
    return True


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 8


def mapping_faults(at: str, uids: tuple[IDMapping, ...], gids: tuple[IDMapping, ...]) -> Iterator[Fault]:
    """ID-1, ID-3, ID-4: what user_namespaces(7) wants of the mappings of `at`."""
    for key, mappings in (("uidMappings", uids), ("gidMappings", gids)):
        if len(mappings) > EXTENTS_MAX:
            yield Fault(f"{at}.{key}", f"more than {EXTENTS_MAX} entries, the kernel's limit")
        else:
            yield from _range_faults(f"{at}.{key}", mappings)


def _range_faults(at: str, mappings: tuple[IDMapping, ...]) -> Iterator[Fault]:
    for mapping in mappings:
        if max(mapping.container_id, mapping.host_id) + mapping.size >= 2**32:
            yield Fault(mapping.at, "reaches beyond the last id, 4294967294")
    for name in ("container_id", "host_id"):
        side = {"container_id": "containerID", "host_id": "hostID"}[name]
        ranges = sorted([(getattr(mapping, name), mapping.size, mapping.at) for mapping in mappings])
        for index, (start, _, mapping_at) in enumerate(ranges[1:]):
            before, size, other = ranges[index]
            if before + size > start:
                yield Fault(at, f"{other} and {mapping_at} overlap in {side}")
