"""SECCOMP: filters that forbid what the executor itself would need, and the listener's way out."""

from __future__ import annotations

import os
import signal
import socket
import struct
from errno import EINVAL, EPIPE

import pytest
from harness import NONE, Plan, run

from pyrunc.sys import memfd_sealed


def filter_of(*instructions: tuple[int, int, int, int]) -> bytes:
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)


ALLOWED, FORBIDDEN = 0x7FFF0000, 0x50001
ALL_ALLOWED = filter_of((6, 0, 0, ALLOWED))
NO_NEW_PRIVS = 38


def only(*numbers: int) -> bytes:
    """A filter that forbids (EPERM) all but these system calls."""
    checks = [(0x15, len(numbers) - i, 0, number) for i, number in enumerate(numbers)]
    return filter_of((0x20, 0, 0, 0), *checks, (6, 0, 0, FORBIDDEN), (6, 0, 0, ALLOWED))


@pytest.mark.usefixtures("build")
def test_seccomp() -> None:
    plan = Plan().op("PRCTL", NO_NEW_PRIVS, 1, 0, 0, 0).op("SECCOMP", 0, ALL_ALLOWED, NONE, NONE)
    result = run(plan.sh("grep Seccomp: /proc/self/status"))

    assert result.out.split() == ["Seccomp:", "2"]


def test_seccomp_that_allows_nothing_but_execve() -> None:
    """What EXEC does before the call is done before the filter: a filter for execve alone is enough to get there."""
    if os.uname().machine != "x86_64":
        pytest.skip("needs x86-64: the number of execve")
    env = memfd_sealed(b"A=b\0", "env")
    plan = Plan(1).op("PRCTL", NO_NEW_PRIVS, 1, 0, 0, 0).op("SECCOMP", 0, only(59), NONE, NONE)
    result = run(plan.op("EXEC", ["/no/such", "/bin/sh"], ["sh", "-c", "echo on"], 4), [env])
    os.close(env)

    assert result.code < 0, "the program could not even map a page, but it ran"
    assert result.messages == []


def test_a_filter_that_forbids_the_end() -> None:
    """Neither the report nor exit_group may be made: the executor still ends."""
    plan = Plan().op("PRCTL", NO_NEW_PRIVS, 1, 0, 0, 0).op("SECCOMP", 0, only(), NONE, NONE).op("SETSID")
    result = run(plan.sh("true"))

    assert result.code == -signal.SIGILL
    assert result.messages == []


def test_seccomp_of_a_bad_program() -> None:
    for program in (b"", filter_of((0x20, 0, 0, 1)), filter_of((6, 0, 0, ALLOWED)) * 4097):
        plan = Plan().op("PRCTL", NO_NEW_PRIVS, 1, 0, 0, 0).op("SECCOMP", 0, program, NONE, NONE)
        assert run(plan.sh("true")).error == ("SECCOMP", EINVAL)


NEW_LISTENER = 8


@pytest.mark.usefixtures("build")
def test_the_listener_goes_to_the_agent() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    state = memfd_sealed(b"the state", "state")
    plan = Plan(2).op("PRCTL", NO_NEW_PRIVS, 1, 0, 0, 0).op("SECCOMP", NEW_LISTENER, ALL_ALLOWED, 4, 5)
    result = run(plan.sh("ls /proc/self/fd | wc -l; grep Threads /proc/$$/status"), [theirs.fileno(), state])
    theirs.close()
    os.close(state)

    text, fds, _, _ = socket.recv_fds(ours, 100, 2)
    assert text == b"the state"
    assert [os.readlink(f"/proc/self/fd/{fd}") for fd in fds] == ["anon_inode:seccomp notify"]
    assert ours.recv(1) == b"", "nothing keeps the connection"
    assert result.out.split() == ["4", "Threads:", "1"]
    for fd in fds:
        os.close(fd)
    ours.close()


def test_an_agent_that_is_gone() -> None:
    """The courier tells, and nothing of the program runs, though the filter forbids to tell and to exit."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    ours.close()
    state = memfd_sealed(b"the state", "state")
    plan = Plan(2).op("PRCTL", NO_NEW_PRIVS, 1, 0, 0, 0).op("SECCOMP", NEW_LISTENER, only(59), 4, 5)
    result = run(plan.sh("echo ran"), [theirs.fileno(), state])
    theirs.close()
    os.close(state)

    assert result.error == ("SECCOMP", EPIPE)
    assert (result.code, result.out) == (1, "")


def test_an_agent_and_a_filter_that_cannot_be_loaded() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    state = memfd_sealed(b"the state", "state")
    plan = Plan(2).op("PRCTL", NO_NEW_PRIVS, 1, 0, 0, 0).op("SECCOMP", NEW_LISTENER, b"", 4, 5)
    result = run(plan.sh("echo ran"), [theirs.fileno(), state])
    theirs.close()
    os.close(state)

    assert result.error == ("SECCOMP", EINVAL)
    assert ours.recv(1) == b""
    ours.close()
