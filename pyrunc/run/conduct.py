"""The conversation with the executor: what it asks (a tag), who answers (a handler), and what its messages mean.

The drawing of the protocol stands in csrc/plan_ops.h. The order of the questions is the order of the RPC operations in
the printed plan; nothing here knows it.
"""

from __future__ import annotations

import _socket
import _struct
from errno import ECANCELED

from pyrunc import _os as os
from pyrunc import log
from pyrunc.errors import PyruncError, strerror
from pyrunc.plan.tags import TAG_NAMES
from pyrunc.run.phrase import phrase

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pyrunc.run.phrase import Step

    Handler = Callable[["Step", int], "Sequence[int]"]
    """Takes the RPC operation and the fd that came with it (-1 for none; closed after the call), returns the fds to answer
    with (closed after they are sent). Raises PyruncError to stop the executor."""

TALK_ERROR, TALK_SKIPPED, TALK_PID, TALK_TRACE, TALK_RPC = 1, 2, 3, 4, 5
_MESSAGE = _struct.Struct("=IIiiQ")
_ANSWER = _struct.Struct("=iI")
_INT = _struct.Struct("=i")
_ROOM = _socket.CMSG_SPACE(_INT.size)


class Ended(Exception):  # noqa: N818  # a turn of the conversation, not an error
    """The executor closed its end: it has become the program, or it died."""


class Conversation:
    """One end of the talk with an executor; `step` tells of an operation by its index in the plan."""

    def __init__(
        self, talk: _socket.socket, step: Callable[[int], Step], handlers: dict[str, Handler]
    ) -> None:
        self.talk = talk
        self.step = step
        self.handlers = handlers
        self.idle: Callable[[], None] | None = None
        """What to do once, after the next answer, while the executor goes on."""
        self.on_pid: Callable[[int], None] | None = None
        self.on_trace: Callable[[int, int], None] | None = None
        self.hook_output: Callable[[], str] = str

    def run(self, until: str = "") -> None:
        """Answer until the executor has been told to go on after the question `until`, or closes its end.

        Raises Ended at end of file, OpError (phrased for the user) when an operation failed, and whatever a handler raised,
        after the executor was told to give up.
        """
        while self._turn() != until or not until:
            pass

    def _turn(self) -> str:
        """Handle one message; return the tag that was answered, "" for anything else."""
        try:
            data, ancillary, _flags, _address = self.talk.recvmsg(
                _MESSAGE.size, _ROOM, _socket.MSG_CMSG_CLOEXEC
            )
        except ConnectionResetError:  # it was killed with our answer unread
            raise Ended from None
        if not data:
            raise Ended
        kind, index, value, status, nanoseconds = _MESSAGE.unpack(data)
        if kind == TALK_RPC:
            return self._answer(self.step(index), value, ancillary)
        if kind == TALK_ERROR:
            raise phrase(self.step(index), value, status, self.hook_output)
        if kind == TALK_SKIPPED:
            self._skipped(index, value)
        elif kind == TALK_PID and self.on_pid is not None:
            self.on_pid(value)
        elif kind == TALK_TRACE and self.on_trace is not None:
            self.on_trace(index, nanoseconds)
        return ""

    def _skipped(self, index: int, errno: int) -> None:
        if log.is_debug():
            step = self.step(index)
            log.debug(f"skipped: {step.where}: {step.name.lower()} {step.subject}: {strerror(errno)}")

    def _answer(self, step: Step, tag: int, ancillary: list[tuple[int, int, bytes]]) -> str:
        name = TAG_NAMES[tag]
        fd = _INT.unpack(ancillary[0][2])[0] if ancillary else -1
        try:
            fds = self.handlers[name](step, fd)
        except PyruncError:
            self.talk.send(_ANSWER.pack(ECANCELED, 0))
            raise
        finally:
            if fd >= 0:
                os.close(fd)
        self._send(fds)
        if self.idle is not None:
            idle, self.idle = self.idle, None
            idle()
        return name

    def _send(self, fds: Sequence[int]) -> None:
        rights = (
            [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, _struct.pack(f"={len(fds)}i", *fds))] if fds else []
        )
        try:
            self.talk.sendmsg([_ANSWER.pack(0, len(fds))], rights)
        except (BrokenPipeError, ConnectionResetError):
            raise Ended from None
        finally:
            for fd in fds:
                os.close(fd)
