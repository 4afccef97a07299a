"""What can go wrong, as one root and a child per *reaction* of whoever reads it.

Grammar of a message: `where: what: why`, lower case, no full stop, the errno text last. `where` is the user's object
(`mounts[3] (/etc/resolv.conf)`), never ours. Only `__main__` prints.
"""

from __future__ import annotations

from pyrunc import _os as os
from pyrunc._record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def strerror(errno: int) -> str:
    """Return the text of an errno as Go prints it: lower case, which is what engines look for."""
    text = os.strerror(errno)
    return text[:1].lower() + text[1:]


class PyruncError(Exception):
    """Any failure that is told to the user in one line.

    A command may set `prefix` to put in front what it was doing (`pyrunc create failed: `). `plain` asks for the bare
    line, without the logger's fields around it: callers compare the text of a failed execve to the letter.
    """

    exit_code = 1
    prefix = ""
    plain = False

    def __str__(self) -> str:
        return self.prefix + super().__str__()


class UsageError(PyruncError):
    """The command line is wrong; the caller mends it."""


@record
class Fault:
    """One thing wrong in a config.json: the path in it, what is wrong, and a hint where it is likely a slip."""

    at: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        text = f"{self.at}: {self.message}" if self.at else self.message
        return f"{text} ({self.hint})" if self.hint else text


class SpecError(PyruncError):
    """The configuration is wrong; the user mends it. Holds every fault that was found, not the first."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("; ".join(str(fault) for fault in faults))
        self.faults = tuple(faults)


class HostError(PyruncError):
    """This host lacks something; the message says what, and what to install, load or upgrade."""


class BusError(HostError):
    """An error that systemd, or the bus, has answered with; `name` is D-Bus's, "org.freedesktop.systemd1.NoSuchUnit"."""

    def __init__(self, text: str, name: str) -> None:
        super().__init__(text)
        self.name = name


class StateError(PyruncError):
    """The container is not in the state that the command needs, or there is no such container."""


class OpError(PyruncError):
    """The kernel refused something that was asked of it for a good config.

    `errno` is kept because some callers react to it (rootless cgroups tolerate EACCES, for example).
    """

    def __init__(self, message: str, errno: int = 0) -> None:
        super().__init__(f"{message}: {strerror(errno)}" if errno else message)
        self.errno = errno


class BugError(PyruncError):
    """Should never be seen: report it."""
