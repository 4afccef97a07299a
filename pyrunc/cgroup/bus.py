"""A connection to systemd over D-Bus: the system's manager or the caller's own.

jeepney (pure Python, no I/O of its own that we would need) writes and reads the messages. By the bus where there is one, else
by the socket of the manager itself, `systemd/private`, which speaks the same without a bus's greetings.
"""

from __future__ import annotations

import _socket
import time

from pyrunc import _os as os
from pyrunc.errors import BusError, HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

try:
    from jeepney import DBusAddress, HeaderFields, MessageType, Parser, new_method_call
except ImportError as error:
    raise HostError(f"the systemd cgroup driver needs the Python package jeepney: {error}") from None

NAME = "org.freedesktop.systemd1"
PATH = "/org/freedesktop/systemd1"
MANAGER = "org.freedesktop.systemd1.Manager"
PROPERTIES = "org.freedesktop.DBus.Properties"
SYSTEM_BUS = "/run/dbus/system_bus_socket"
PRIVATE = "systemd/private"
SECONDS = 30.0
"""As long as runc waits for a job."""
JOBS = f"type='signal',sender='{NAME}',interface='{MANAGER}',member='JobRemoved'"


def outer_uid(uid: int, uid_map: str) -> int:
    """Return a user id of this user namespace as it is known outside, where systemd lives (podman's rootless root)."""
    for line in uid_map.splitlines():
        inside, outside, count = (int(word) for word in line.split())
        if 0 <= uid - inside < count:
            return outside + uid - inside
    return uid


def _own_uid() -> int:
    with open("/proc/self/uid_map", encoding="utf-8") as file:  # any other codec would have to be loaded
        return outer_uid(os.geteuid(), file.read())


def addresses(*, user: bool, uid: int) -> list[tuple[str, bool]]:
    """Return the sockets to try, in order, and which of them are a bus. A name that begins with a NUL is abstract."""
    if not user:
        return [(SYSTEM_BUS, True), (f"/run/{PRIVATE}", False)]
    runtime = os.environ.get("XDG_RUNTIME_DIR", "") or f"/run/user/{uid}"
    found = [(f"{runtime}/bus", True), (f"{runtime}/{PRIVATE}", False)]
    for address in os.environ.get("DBUS_SESSION_BUS_ADDRESS", "").split(";"):
        kind, _, rest = address.partition(":")
        for pair in rest.split(",") if kind == "unix" else ():
            key, _, value = pair.partition("=")
            if key in ("path", "abstract"):
                found.insert(0, (value if key == "path" else f"\0{value}", True))
    return found


class Bus:
    """One connection. Methods raise BusError for what systemd answers, HostError where it does not answer.

    What does not depend on an answer is sent without waiting for that: a message and its answer take as long as three system
    calls of a container's creation, over the bus twice as long.
    """

    def __init__(self, *, user: bool) -> None:
        """Connect to the system's manager, or with `user` to the caller's own. Raises HostError."""
        uid = _own_uid()
        tried = []
        for address, self._bus in addresses(user=user, uid=uid):
            try:
                self._socket = _connected(address, uid)
            except OSError as error:
                shown = address.replace("\0", "@")
                why = (
                    os.strerror(error.errno).lower() if error.errno else str(error)
                )  # "timed out" has no number
                tried.append(f"{shown}: {why}")
                continue
            break
        else:
            who = "of this user" if user else "of the system"
            raise HostError(f"cannot reach the systemd {who}: {', '.join(tried)}")
        self._parser = Parser()
        self._serial = 0
        self._subscribed = False
        self._kept: list[Any] = []
        self._awaited: list[tuple[int, str]] = []
        if self._bus:
            self._announce("/org/freedesktop/DBus", "org.freedesktop.DBus", "Hello", "", ())

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def call(self, member: str, signature: str = "", *body: object) -> tuple[Any, ...]:
        """Call a method of the manager; return what it returns."""
        return self._ask(PATH, MANAGER, member, signature, body)

    def property(self, name: str) -> Any:
        """Return a property of the manager."""
        return self._ask(PATH, PROPERTIES, "Get", "ss", (MANAGER, name))[0][1]

    def job(self, member: str, signature: str, *body: object) -> str:
        """Call a method that begins a job; return the job's result, "done" or what went wrong, once it has ended."""
        if self._bus and not self._subscribed:
            self._announce("/org/freedesktop/DBus", "org.freedesktop.DBus", "AddMatch", "s", (JOBS,))
            self._announce(PATH, MANAGER, "Subscribe", "", ())  # a second time would be an error
            self._subscribed = True
        path = self.call(member, signature, *body)[0]
        ended = self._until(lambda message: _is_end_of(message, path), f"{member} {body[0]}")
        result: str = ended.body[3]
        return result

    def _announce(
        self, path: str, interface: str, member: str, signature: str, body: tuple[object, ...]
    ) -> None:
        """Send what the next question depends on, but not on its answer: that is looked at with the question's."""
        self._awaited.append((self._send(path, interface, member, signature, body), member))

    def _ask(
        self, path: str, interface: str, member: str, signature: str, body: tuple[object, ...]
    ) -> tuple[Any, ...]:
        asked = [*self._awaited, (self._send(path, interface, member, signature, body), member)]
        self._awaited = []
        return [self._answer(serial, about) for serial, about in asked][-1]

    def _send(self, path: str, interface: str, member: str, signature: str, body: tuple[object, ...]) -> int:
        name = NAME if path == PATH else interface  # the manager's own socket takes its name as well
        address = DBusAddress(path, bus_name=name, interface=interface)
        self._serial += 1
        message = new_method_call(address, member, signature or None, body)
        try:
            self._socket.sendall(message.serialise(serial=self._serial))
        except OSError as error:
            raise HostError(f"systemd: {member}: {os.strerror(error.errno or 0).lower()}") from None
        return self._serial

    def _answer(self, serial: int, member: str) -> tuple[Any, ...]:
        reply = self._until(lambda got: got.header.fields.get(HeaderFields.reply_serial) == serial, member)
        if reply.header.message_type is MessageType.error:
            text = str(reply.body[0]) if reply.body else "no reason given"
            raise BusError(f"systemd: {member}: {text}", str(reply.header.fields[HeaderFields.error_name]))
        answer: tuple[Any, ...] = reply.body
        return answer

    def _until(self, wanted: Callable[[Any], bool], what: str) -> Any:
        """Return the first message that is wanted, of those that came meanwhile or of those to come."""
        until = time.monotonic() + SECONDS
        while True:
            for message in self._kept:
                if wanted(message):
                    self._kept.remove(message)
                    return message
            self._kept += self._parser.feed(self._received(until, what))

    def _received(self, until: float, what: str) -> bytes:
        try:
            self._socket.settimeout(max(until - time.monotonic(), 0.001))
            data = self._socket.recv(65536)
        except TimeoutError:
            raise HostError(f"timeout waiting for systemd: {what}") from None
        if not data:
            raise HostError(f"systemd: {what}: the connection was closed")
        return data


def _is_end_of(message: Any, job: str) -> bool:
    fields = message.header.fields
    return fields.get(HeaderFields.member) == "JobRemoved" and bool(message.body[1] == job)


def _connected(address: str, uid: int) -> _socket.socket:
    """Connect, and say who we are by D-Bus's EXTERNAL: the kernel has told the other side the same. Raises OSError.

    BEGIN goes along, as sd-bus sends it: what systemd's own socket reads together with a later BEGIN is forgotten until more
    comes. So the first message waits for the answer.
    """
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        sock.settimeout(SECONDS)
        sock.connect(address)
        sock.sendall(b"\0AUTH EXTERNAL " + str(uid).encode().hex().encode() + b"\r\nBEGIN\r\n")
        answer = b""
        while not answer.endswith(b"\r\n"):
            more = sock.recv(1024)
            if not more:
                raise ConnectionResetError(104, "")
            answer += more
        if not answer.startswith(b"OK "):
            raise PermissionError(13, "")
    except OSError:
        sock.close()
        raise
    return sock
