"""The network: a new namespace has a loopback interface, and it is down; devices of the host are moved in."""

from __future__ import annotations

from _struct import pack

from pyrunc import _os as os
from pyrunc.plan.kernel import AF_UNIX, IFF_UP_RUNNING, SIOCSIFFLAGS, SOCK_DGRAM_CLOEXEC
from pyrunc.spec.jsontext import key_at

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


def move_devices(c: Context) -> None:
    """Let the parent move devices of the host in: only it is in the namespace that they come from.

    The descriptor says which namespace is ours, new or joined; the parent need not be allowed to look at our
    /proc. The hooks of createRuntime find the devices there.
    """
    devices = c.spec.linux.net_devices
    if not devices:
        return
    at = "linux.netDevices"
    # a magic link by its nature, so no RESOLVE_ flag; and the /proc is the host's, whatever was mounted since
    namespace = c.b.open(c.proc(at), "self/ns/net", os.O_RDONLY | os.O_CLOEXEC, at, resolve=0)
    for name, device in devices.items():
        c.b.rpc("netdev", key_at(at, name), namespace)
        c.b.about(f"{name} -> {device.name or name}")
