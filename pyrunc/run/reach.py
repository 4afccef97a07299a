"""Which sources of bind mounts the ids of a user namespace may not be able to reach."""

from __future__ import annotations

from stat import S_IXOTH

from pyrunc import _os as os
from pyrunc.plan.request import Source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.spec.model import Spec


def mark_unreachable(sources: dict[str, Source], spec: Spec, bundle: str) -> None:
    """Replace each source in `sources` that lies below a directory which is not open to everybody.

    Such a directory may still be open to the ids that the container has; then the parent clones a source that the executor
    could have cloned, which costs a process and is no less right.
    """
    for mount in spec.mounts:
        at = f"{mount.at}.source"
        fact = sources.get(at)
        if fact and fact.kind != "missing" and not _is_open_to_all(os.path.join(bundle, mount.source or "")):
            sources[at] = Source(fact.kind, reachable=False)


def _is_open_to_all(path: str) -> bool:
    """Tell whether anybody may search every directory on the way to a path, symbolic links resolved."""
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            real = os.readlink(f"/proc/self/fd/{fd}")
        finally:
            os.close(fd)
        way = real.rpartition("/")[0]
        while way:
            if not os.stat(way).st_mode & S_IXOTH:
                return False
            way = way.rpartition("/")[0]
    except OSError:  # it has just gone: whoever mounts it will say so
        return True
    return True
