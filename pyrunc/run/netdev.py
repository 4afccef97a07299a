"""Network devices: from the runtime's network namespace into the container's, by rtnetlink.

The kernel moves a device and renames it in one request, sets it down and drops its addresses on the way. So the
addresses are read before and added after. Whatever fails, `restore` brings back what was moved, and how it was.
pyroute2 is imported here and nowhere else: it takes 0.15 s, and few containers have a device.
"""

from __future__ import annotations

import ctypes
import os
import socket
from errno import EEXIST, EINVAL, ENODEV

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from pyrunc import log
from pyrunc._record import record
from pyrunc.errors import OpError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CLONE_NEWNET = 0x40000000
IFF_UP, IFF_LOOPBACK = 0x1, 0x8
IFA_F_PERMANENT = 0x80
KEPT_FLAGS = 0x2 | 0x100 | 0x200
"""IFA_F_NODAD, IFA_F_MANAGETEMPADDR, IFA_F_NOPREFIXROUTE: what is asked for; the others are the kernel's findings."""
RT_SCOPE_UNIVERSE = 0
KEPT_ATTRIBUTES = ("address", "local", "broadcast", "rt_priority")


@record
class Moved:
    """A device that was moved, as it was before."""

    at: str
    name: str
    index: int
    """There."""
    up: bool
    addresses: tuple[dict[str, object], ...]


class NetDevices:
    """The devices of one creation. `namespace` is the container's; it stays open until `close`."""

    def __init__(self, namespace: int) -> None:
        self.namespace = os.dup(namespace)
        self.own = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        self.here = IPRoute()
        self.there = IPRoute(fileno=self._open_socket())
        self.moved: list[Moved] = []

    def _open_socket(self) -> int:
        """Return a netlink socket of the container's namespace: a socket stays where it was made."""
        self._enter(self.namespace)
        try:
            flags = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC
            return socket.socket(socket.AF_NETLINK, flags, socket.NETLINK_ROUTE).detach()
        finally:
            self._enter(self.own)

    @staticmethod
    def _enter(namespace: int) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.setns(namespace, CLONE_NEWNET) < 0:
            raise OpError("linux.netDevices: enter the network namespace", ctypes.get_errno())

    def move(self, at: str, name: str, new_name: str) -> None:
        """Move a device, under a new name, with its global addresses, and set it up (ND-1 to ND-6). Raises OpError."""
        device = self._find(at, name)
        taken = {link.get_attr("IFLA_IFNAME"): link["index"] for link in self.there.get_links()}
        if new_name in taken and not new_name.endswith("%d"):
            raise OpError(f"{at}: {new_name} is there already in the container's network namespace", EEXIST)
        index = device["index"]
        if index in taken.values():
            index = max(taken.values()) + 1
        addresses = self._addresses(device["index"])
        moved = Moved(at, name, index, bool(device["flags"] & IFF_UP), addresses)
        what = f"{at}: move {name} to the container as {new_name}"
        try:
            self.here.link(
                "set", index=device["index"], ifname=new_name, net_ns_fd=self.namespace, new_ifindex=index
            )
        except NetlinkError as error:
            self._bring_back(moved)  # a rename that fails leaves it moved
            raise OpError(what, error.code) from None
        self.moved.append(moved)
        self._settle(self.there, moved, up=True)

    def _find(self, at: str, name: str) -> Any:
        found = [link for link in self.here.get_links() if link.get_attr("IFLA_IFNAME") == name]
        if not found:
            raise OpError(f"{at}: link not found for interface {name} on runtime namespace", ENODEV)
        if found[0]["flags"] & IFF_LOOPBACK:
            raise OpError(f"{at}: the loopback device cannot be moved", EINVAL)
        return found[0]

    def _addresses(self, index: int) -> tuple[dict[str, object], ...]:
        """Return the addresses to keep: permanent, of global scope (ND-5). Others belong to the namespace they are in."""
        found = []
        for address in self.here.get_addr(index=index):
            flags = address.get_attr("IFA_FLAGS") or address["flags"]
            if flags & IFA_F_PERMANENT and address["scope"] == RT_SCOPE_UNIVERSE:
                kept = {"family": address["family"], "prefixlen": address["prefixlen"]}
                kept |= {name: address.get_attr(f"IFA_{name.upper()}") for name in KEPT_ATTRIBUTES}
                kept["flags"] = flags & KEPT_FLAGS
                found.append({key: value for key, value in kept.items() if value is not None})
        return tuple(found)

    @staticmethod
    def _settle(link: IPRoute, moved: Moved, *, up: bool) -> None:
        """Give a device its addresses back, and set it up."""
        what = ""
        try:
            for address in moved.addresses:
                what = f"add the address {address['address']}/{address['prefixlen']}"
                link.addr("add", index=moved.index, **address)
            if up:
                what = "set it up"
                link.link("set", index=moved.index, state="up")
        except NetlinkError as error:
            raise OpError(f"{moved.at}: {moved.name} in its network namespace: {what}", error.code) from None

    def restore(self) -> None:
        """Bring back what was moved, the last one first. What cannot be is a warning: there is an error on its way already."""
        while self.moved:
            self._bring_back(self.moved.pop())

    def _bring_back(self, moved: Moved) -> None:
        """Move a device back under its old name, if it is there; routes through it are gone."""
        taken = {link["index"]: link.get_attr("IFLA_IFNAME") for link in self.here.get_links()}
        if moved.name in taken.values() or moved.index not in {
            link["index"] for link in self.there.get_links()
        }:
            return
        index = max(taken) + 1 if moved.index in taken else moved.index
        try:
            self.there.link(
                "set", index=moved.index, ifname=moved.name, net_ns_fd=self.own, new_ifindex=index
            )
            back = Moved(moved.at, moved.name, index, moved.up, moved.addresses)
            self._settle(self.here, back, up=moved.up)
        except NetlinkError as error:
            log.warning(f"{moved.at}: {moved.name} could not be moved back: {os.strerror(error.code)}")
        except OpError as error:
            log.warning(f"while moving back: {error}")

    def close(self) -> None:
        """Let go of the container's namespace: it lives no longer than the container."""
        self.here.close()
        self.there.close()
        os.close(self.namespace)
        os.close(self.own)
