"""NOTIFY_SOCKET (sd_notify(3)): the program says READY=1 to a socket of ours, and we say it to the service manager.

The manager takes messages from processes that it knows, and the container's are none of them. So the container gets a
socket of its own, in a directory of the state that is mounted at /run/notify; the first message there that says READY is
handed on, with the pid that the manager shall watch. A mounted directory, not a mounted socket: the socket may be made
by `start`, long after the mount.
"""

from __future__ import annotations

import _socket
import _struct
import select
import time
from errno import EAGAIN

from pyrunc import _os as os
from pyrunc import log
from pyrunc.errors import OpError
from pyrunc.plan.request import Source
from pyrunc.spec.model import Mount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.plan.request import Facts
    from pyrunc.spec.model import Spec
    from pyrunc.state import Entry

VARIABLE = "NOTIFY_SOCKET"
DIRECTORY = "notify"
SOCKET = "notify.sock"
INSIDE = "/run/notify"
OPTIONS = ("bind", "nosuid", "noexec", "nodev", "ro")
BARRIER_SECONDS = 30
_LIMIT = 1 << 16


def with_notify(spec: Spec, directory: str) -> Spec:
    """Return the config with the mount and the variable that let the program speak; `directory` is the state's own."""
    assert spec.process is not None
    mount = Mount(at=VARIABLE, destination=INSIDE, type="bind", source=directory, options=OPTIONS)
    env = (*spec.process.env, f"{VARIABLE}={INSIDE}/{SOCKET}")
    process = type(spec.process)(**{**spec.process.__dict__, "env": env})
    return type(spec)(**{**spec.__dict__, "mounts": (*spec.mounts, mount), "process": process})


def add_source(facts: Facts, spec: Spec) -> None:
    """Tell of the mount's source, which is not there yet, and which only root can reach."""
    user = any(namespace.type == "user" for namespace in spec.linux.namespaces)
    facts.sources[f"{VARIABLE}.source"] = Source("dir", reachable=not user or os.geteuid() != 0)


class Notify:
    """The socket of one container. `manager` is the caller's $NOTIFY_SOCKET."""

    def __init__(self, entry: Entry, manager: str) -> None:
        self.manager = manager
        self.sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
        path = f"/proc/self/fd/{entry.dir_fd}/{DIRECTORY}/{SOCKET}"  # the name itself may be too long for an address
        try:
            self.sock.bind(path)
            os.chmod(path, 0o777)
        except OSError as error:
            self.sock.close()
            raise OpError(f"{VARIABLE}: bind {DIRECTORY}/{SOCKET}", error.errno or EAGAIN) from None

    def wait(self, pidfd: int, pid: int) -> None:
        """Hand on the first READY, with `pid` for the main process; give up when the process behind `pidfd` ends."""
        poll = select.poll()
        poll.register(self.sock.fileno(), select.POLLIN)
        poll.register(pidfd, select.POLLIN)
        done = False
        while not done:
            ready = [fd for fd, _event in poll.poll()]
            done = self.take(pid) if self.sock.fileno() in ready else pidfd in ready
        self.sock.close()

    def take(self, pid: int) -> bool:
        """Read one message; tell whether it said READY, and was handed on."""
        try:
            data = self.sock.recv(_LIMIT, _socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        for line in data.split(b"\n"):
            if line.startswith(b"READY="):
                self._hand_on(line, pid)
                return True
        return False

    def _hand_on(self, line: bytes, pid: int) -> None:
        address = f"\0{self.manager[1:]}" if self.manager[:1] == "@" else self.manager
        try:
            to = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
            to.connect(address)
            to.send(line + b"\n")
            to.send(b"MAINPID=%d\n" % pid)
            _send_barrier(to)
            to.close()
        except OSError as error:  # whoever asked to be told is gone; the container is none the worse
            log.warning(f"{VARIABLE}: {self.manager}: {os.strerror(error.errno or EAGAIN).lower()}")


def _send_barrier(to: _socket.socket) -> None:
    """Wait until the manager has worked off what it was told: it closes what came with the message (sd_notify_barrier(3))."""
    read, write = os.pipe2(os.O_CLOEXEC)
    try:
        rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, _struct.pack("=i", write))
        to.sendmsg([b"BARRIER=1"], [rights])
        os.close(write)
        write = -1
        poll = select.poll()
        poll.register(read, select.POLLIN)
        end = time.monotonic() + BARRIER_SECONDS
        if not poll.poll(max(0, (end - time.monotonic()) * 1000)):
            log.warning(f"Timeout after waiting {BARRIER_SECONDS}s for barrier. Ignored.")
    finally:
        for fd in (read, write):
            if fd >= 0:
                os.close(fd)
