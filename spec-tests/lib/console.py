"""The other end of --console-socket and --pidfd-socket."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pathlib


class Receiver:
    """Listen on a socket path; `receive` takes the one message with one fd that the protocol has."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(str(path))
        self.listener.listen(1)
        self.listener.settimeout(5)
        self.fds: list[int] = []
        self.name = b""

    def receive(self) -> int:
        with self.listener.accept()[0] as peer:
            peer.settimeout(5)
            self.name, self.fds, *_ = socket.recv_fds(peer, 4096, 8)
        assert len(self.fds) == 1, f"{len(self.fds)} fds came with {self.name!r}"
        return self.fds[0]

    def close(self) -> None:
        self.listener.close()
        for fd in self.fds:
            with contextlib.suppress(OSError):
                os.close(fd)


def read_line(master: int, marker: str, seconds: float = 5.0) -> str:
    """Read a pty until a whole line with the marker has come; EIO is a terminal's end of file."""
    text, deadline = "", time.monotonic() + seconds
    while not any(marker in line and line.endswith("\n") for line in text.splitlines(keepends=True)):
        assert time.monotonic() < deadline, f"the terminal said only {text!r}"
        if select.select([master], [], [], 0.2)[0]:
            try:
                piece = os.read(master, 65536)
            except OSError:
                break
            text += piece.decode(errors="replace")
    return text
