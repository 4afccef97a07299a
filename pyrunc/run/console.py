"""Terminals: sending the pty's master to whoever listens, or serving it ourselves in the foreground.

The pty is made inside the container (PTY in the plan). For `--console-socket` the executor sends the master straight to
the caller's socket; for a foreground `run` to a socket pair of ours.
"""

from __future__ import annotations

import _socket
import _struct
import fcntl
import termios
from errno import EIO, ENOTTY

from pyrunc import _os as os
from pyrunc.errors import OpError, StateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.run.foreground import Loop

_INT = _struct.Struct("=i")
_CHUNK = 1 << 16


def connect_console(path: str) -> _socket.socket:
    """Connect to the AF_UNIX stream socket that waits for the master. Raises OpError naming --console-socket."""
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        sock.connect(path)
    except OSError as error:
        sock.close()
        raise OpError(f"--console-socket: connect {path}", error.errno or EIO) from None
    return sock


def receive_master(sock: _socket.socket) -> int:
    """Take the master's fd from our end of the socket pair."""
    _data, ancillary, _flags, _address = sock.recvmsg(
        4096, _socket.CMSG_SPACE(_INT.size), _socket.MSG_CMSG_CLOEXEC
    )
    if not ancillary:
        raise StateError("the container did not set up its terminal")
    return int(_INT.unpack(ancillary[0][2])[0])


def open_host_terminal() -> int:
    """Return a dup of the first terminal among stderr, stdout, stdin, else of /dev/tty (the order is runc's)."""
    for fd in (2, 1, 0):
        if os.isatty(fd):
            return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
    try:
        return os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        raise OpError("open /dev/tty", error.errno or ENOTTY) from None


class Relay:
    """Copies between the host's terminal, in raw mode, and the master of the container's; restores the mode at the end."""

    def __init__(self, master: int, host: int) -> None:
        self.master = master
        self.host = host
        self.saved = termios.tcgetattr(host)
        self._clear_onlcr()
        self.resize()
        termios.tcsetattr(host, termios.TCSANOW, raw_mode(self.saved))

    def _clear_onlcr(self) -> None:
        """The host's terminal adds the carriage return; twice would be one too many."""
        attributes = termios.tcgetattr(self.master)
        attributes[1] &= ~termios.ONLCR
        termios.tcsetattr(self.master, termios.TCSANOW, attributes)

    def resize(self) -> None:
        """Give the container's terminal the size of the host's (SIGWINCH)."""
        size = fcntl.ioctl(self.host, termios.TIOCGWINSZ, bytes(8))
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, size)

    def attach(self, loop: Loop) -> None:
        """Let the loop call us when there is something to copy."""
        loop.watch(0, self._from_user)
        loop.watch(self.master, self._from_container)

    def _from_user(self, loop: Loop) -> None:
        data = os.read(0, _CHUNK)
        if data:
            write_all(self.master, data)
        else:
            loop.forget(0)

    def _from_container(self, loop: Loop) -> None:
        try:
            data = os.read(self.master, _CHUNK)
        except OSError as error:
            if error.errno != EIO:
                raise
            data = b""  # EIO is the end of a pty: its last slave was closed
        if data:
            write_all(1, data)
        else:
            loop.forget(self.master)

    def drain(self) -> None:
        """Copy what the container wrote before it ended."""
        os.set_blocking(self.master, False)
        try:
            while data := os.read(self.master, _CHUNK):
                write_all(1, data)
        except OSError as error:
            if error.errno != EIO and not isinstance(error, BlockingIOError):
                raise

    def close(self) -> None:
        """Give the host's terminal its mode back."""
        termios.tcsetattr(self.host, termios.TCSADRAIN, self.saved)
        os.close(self.host)
        os.close(self.master)


def write_all(fd: int, data: bytes) -> None:
    """write(2) until everything is written."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def raw_mode(saved: list[int | list[bytes | int]]) -> list[int | list[bytes | int]]:
    """Return terminal attributes like those of cfmakeraw(3), on a copy of `saved`."""
    iflag, oflag, cflag, lflag, ispeed, ospeed, characters = saved
    t = termios
    assert isinstance(iflag, int)
    assert isinstance(oflag, int)
    assert isinstance(cflag, int)
    assert isinstance(lflag, int)
    iflag &= ~(t.IGNBRK | t.BRKINT | t.PARMRK | t.ISTRIP | t.INLCR | t.IGNCR | t.ICRNL | t.IXON)
    oflag &= ~t.OPOST
    lflag &= ~(t.ECHO | t.ECHONL | t.ICANON | t.ISIG | t.IEXTEN)
    cflag = cflag & ~(t.CSIZE | t.PARENB) | t.CS8
    assert isinstance(characters, list)
    changed = list(characters)
    changed[t.VMIN], changed[t.VTIME] = 1, 0
    return [iflag, oflag, cflag, lflag, ispeed, ospeed, changed]
