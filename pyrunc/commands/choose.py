"""`--regex` of delete and kill: all containers whose ids a regular expression is found in, as with crun."""

from __future__ import annotations

import re
from errno import ENOENT

from pyrunc import log
from pyrunc.errors import OpError, PyruncError, UsageError
from pyrunc.state import NO_SUCH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyrunc.state import StateRoot


def for_each(root: StateRoot, pattern: str, act: Callable[[str], None]) -> int:
    """Do something with each container, also after one that fails; return the exit code. Raises UsageError."""
    try:
        wanted = re.compile(pattern)
    except re.error as error:
        raise UsageError(f"invalid regular expression {log.go_quote(pattern)}: {error}") from None
    try:
        names = [name for name in root.names() if wanted.search(name)]
    except OSError as error:
        raise OpError(f"open {root.path}", error.errno or ENOENT) from None
    failures = 0
    for name in names:
        try:
            act(name)
        except PyruncError as error:
            if str(error) != NO_SUCH:  # else another runtime's, or gone meanwhile
                log.stderr(f"container {name}: {error}")
                failures += 1
    return int(failures > 0)
