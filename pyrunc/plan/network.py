"""The network: a new namespace has a loopback interface, and it is down."""

from __future__ import annotations

from _struct import pack

from pyrunc.plan.kernel import AF_UNIX, IFF_UP_RUNNING, SIOCSIFFLAGS, SOCK_DGRAM_CLOEXEC

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.plan.context import Context

_LO_UP = pack("=16sH22x", b"lo", IFF_UP_RUNNING)
"""A struct ifreq: name and flags."""


def raise_loopback(c: Context) -> None:
    """Set lo up in a network namespace of our making. A unix socket does: the kernel hands the ioctl on to
    the devices."""
    if "network" in c.made:
        at = c.made["network"].at
        sock = c.b.socket(AF_UNIX, SOCK_DGRAM_CLOEXEC, at)
        c.b.ioctl(sock, SIOCSIFFLAGS, _LO_UP, at)
