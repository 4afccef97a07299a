"""The conversation, with the test as the executor."""

from __future__ import annotations

import array
import errno
import os
import socket
import struct
from typing import TYPE_CHECKING

import pytest

from pyrunc.errors import OpError, StateError
from pyrunc.plan.tags import TAGS
from pyrunc.run.conduct import TALK_ERROR, TALK_PID, TALK_RPC, TALK_SKIPPED, TALK_TRACE, Conversation, Ended
from pyrunc.run.phrase import Step

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def step(index: int) -> Step:
    return Step("MOVE", f"mounts[{index}]", "/x", f"mounts[{index}] (/x)")


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        yield ours, theirs


def message(kind: int, op: int, value: int, status: int = 0, ns: int = 0) -> bytes:
    return struct.pack("=IIiiQ", kind, op, value, status, ns)


def answers(theirs: socket.socket) -> tuple[int, int, list[int]]:
    data, ancillary, _, _ = theirs.recvmsg(8, socket.CMSG_SPACE(64))
    fds = array.array("i")
    for _level, _kind, rights in ancillary:
        fds.frombytes(rights)
    return (*struct.unpack("=iI", data), list(fds))


def test_a_question_is_answered_with_the_handler_s_fds(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    read, write = os.pipe()
    asked = []

    def handler(asking: Step, fd: int) -> Sequence[int]:
        asked.append((asking.at, fd))
        return (read,)

    theirs.send(message(TALK_RPC, 3, TAGS["env"]))
    Conversation(ours, step, {"env": handler}).run(until="env")
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(read)  # sent, hence closed here
    error, count, fds = answers(theirs)
    os.write(write, b"x")

    assert asked == [("mounts[3]", -1)]
    assert (error, count) == (0, 1)
    assert os.read(fds[0], 1) == b"x"
    for fd in (*fds, write):
        os.close(fd)


def test_a_handler_s_failure_stops_the_executor(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends

    def handler(_step: Step, _fd: int) -> Sequence[int]:
        raise StateError("no")

    theirs.send(message(TALK_RPC, 0, TAGS["join"]))
    with pytest.raises(StateError):
        Conversation(ours, step, {"join": handler}).run()

    assert answers(theirs) == (errno.ECANCELED, 0, [])


def test_the_fd_that_comes_with_a_question_is_closed_after_it(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = ends
    seen = []
    with open(os.devnull, "rb") as file:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("=i", file.fileno()))]
        theirs.sendmsg([message(TALK_RPC, 0, TAGS["env"])], rights)

    def handler(_step: Step, fd: int) -> Sequence[int]:
        seen.append(os.fstat(fd).st_rdev)
        seen.append(fd)
        return ()

    Conversation(ours, step, {"env": handler}).run(until="env")

    assert seen[0] == os.stat(os.devnull).st_rdev
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(seen[1])


def test_an_error_is_told_about_the_user_s_object(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    theirs.send(message(TALK_ERROR, 7, errno.EPERM))

    with pytest.raises(OpError, match=r"mounts\[7\] \(/x\): move /x: operation not permitted"):
        Conversation(ours, step, {}).run()


def test_end_of_file_ends_it(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    theirs.close()

    with pytest.raises(Ended):
        Conversation(ours, step, {}).run()


def test_pids_traces_and_skips_go_to_who_wants_them(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = ends
    talk = Conversation(ours, step, {})
    pids, traces = [], []
    talk.on_pid = pids.append
    talk.on_trace = lambda index, end: traces.append((index, end))
    theirs.send(message(TALK_PID, 0, 4711))
    theirs.send(message(TALK_SKIPPED, 1, errno.ENOENT))
    theirs.send(message(TALK_TRACE, 2, 0, ns=99))
    theirs.close()

    with pytest.raises(Ended):
        talk.run()
    assert pids == [4711]
    assert traces == [(2, 99)]


def test_what_nobody_reads_of_a_skip_is_not_worked_out(ends: tuple[socket.socket, socket.socket]) -> None:
    """Every start skips a few operations, while the executor waits for a processor."""
    ours, theirs = ends
    asked: list[int] = []

    def ask(index: int) -> Step:
        asked.append(index)
        return step(index)

    theirs.send(message(TALK_SKIPPED, 1, errno.ENOENT))
    theirs.close()
    with pytest.raises(Ended):
        Conversation(ours, ask, {}).run()
    assert asked == []
