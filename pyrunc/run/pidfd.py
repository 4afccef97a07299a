"""The pidfd of a process for whoever asked for it: a message with one descriptor to a listening AF_UNIX stream socket."""

from __future__ import annotations

import _socket
import _struct
from errno import EIO

from pyrunc.errors import OpError

ANNOTATION = "run.oci.pidfd_receiver"
"""crun's way to name the socket."""
INIT, EXEC = b"standard", b"setns"
"""What the message says of the process; runC's words."""


def send_pidfd(path: str, pidfd: int, what: bytes) -> None:
    """Send a pidfd. Raises OpError naming --pidfd-socket."""
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        sock.connect(path)
        sock.sendmsg([what], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, _struct.pack("=i", pidfd))])
    except OSError as error:
        raise OpError(f"--pidfd-socket: connect {path}", error.errno or EIO) from None
    finally:
        sock.close()
