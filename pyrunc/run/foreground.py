"""A foreground `run`: forward signals, serve the terminal, reap, and leave with the container's own exit code."""

from __future__ import annotations

import _signal
import select
from errno import ECHILD, ESRCH

from pyrunc import _os as os
from pyrunc.sys import pidfd_send_signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyrunc.run.console import Relay
    from pyrunc.run.notify import Notify

_KEPT = frozenset({_signal.SIGKILL, _signal.SIGSTOP, _signal.SIGURG, _signal.SIGPIPE})
"""Not forwarded: the first two cannot be caught, SIGURG is Go's own business in callers, SIGPIPE is about our output."""


class Loop:
    """poll(2) over the signal pipe and whatever is watched, until the container's process has ended."""

    def __init__(self, pid: int, pidfd: int, relay: Relay | None) -> None:
        self.pid = pid
        self.pidfd = pidfd
        self.relay = relay
        self.poll = select.poll()
        self.callbacks: dict[int, Callable[[Loop], None]] = {}
        self.status: int | None = None

    def watch(self, fd: int, callback: Callable[[Loop], None]) -> None:
        """Call back when `fd` can be read or has ended."""
        self.callbacks[fd] = callback
        self.poll.register(fd, select.POLLIN)

    def forget(self, fd: int) -> None:
        """Stop watching."""
        if self.callbacks.pop(fd, None) is not None:
            self.poll.unregister(fd)

    def run(self) -> int:
        """Return the wait status of the container's process."""
        if self.relay is not None:
            self.relay.attach(self)
        while self.status is None:
            for fd, _event in self.poll.poll():
                callback = self.callbacks.get(fd)
                if callback is not None:
                    callback(self)
        if self.relay is not None:
            self.relay.drain()
        return self.status

    def on_signals(self, wakeup: int) -> Callable[[Loop], None]:
        """Return the callback for the signal pipe: each byte read from it is a signal number."""

        def handle(_loop: Loop) -> None:
            for number in os.read(wakeup, 4096):
                if number == _signal.SIGCHLD:
                    self._reap()
                elif number == _signal.SIGWINCH and self.relay is not None:
                    self.relay.resize()
                else:
                    self._forward(number)

        return handle

    def _forward(self, number: int) -> None:
        try:
            pidfd_send_signal(self.pidfd, number)
        except OSError as error:
            if error.errno != ESRCH:  # it ended; SIGCHLD tells us next
                raise

    def _reap(self) -> None:
        """Reap all that ended: as a subreaper we inherit what the container's process leaves behind."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except OSError as error:
                if error.errno != ECHILD:
                    raise
                return
            if pid == 0:
                return
            if pid == self.pid:
                self.status = status


def catch_signals() -> int:
    """Turn every signal into a byte in a pipe; return the pipe's read end. To be called before the container exists."""
    read, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    _signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    for number in range(1, _signal.NSIG):
        if number not in _KEPT and number not in {32, 33}:  # 32 and 33 belong to the C library
            _signal.signal(number, _noted)
    return read


def _noted(_number: int, _frame: object) -> None:
    """Do nothing: the wake-up byte has told the loop."""


def _on_notify(notify: Notify) -> Callable[[Loop], None]:
    """Hand on the program's READY; the service is this process, which lives as long as the container does."""

    def handle(loop: Loop) -> None:
        if notify.take(os.getpid()):
            loop.forget(notify.sock.fileno())

    return handle


def wait_foreground(
    pid: int, pidfd: int, wakeup: int, relay: Relay | None, notify: Notify | None = None
) -> int:
    """Serve the container until its process ends; return the exit code to leave with (128 + n when a signal killed it)."""
    loop = Loop(pid, pidfd, relay)
    loop.watch(wakeup, loop.on_signals(wakeup))
    if notify is not None:
        loop.watch(notify.sock.fileno(), _on_notify(notify))
    loop._reap()  # noqa: SLF001  # it may have ended before the first SIGCHLD could be noted
    try:
        status = loop.run()
    finally:
        if relay is not None:
            relay.close()
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)
