"""What several rules ask of a config."""

from __future__ import annotations

from pyrunc._record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.spec.model import Namespace, Spec


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
