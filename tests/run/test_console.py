"""Terminals: raw mode, the relay, and the socket that waits for the master."""

from __future__ import annotations

import os
import socket
import termios
from typing import TYPE_CHECKING

import pytest

from pyrunc.errors import OpError, StateError
from pyrunc.run.console import connect_console, raw_mode, receive_master

if TYPE_CHECKING:
    from pathlib import Path


def test_raw_mode_is_that_of_cfmakeraw() -> None:
    master, slave = os.openpty()
    before = termios.tcgetattr(slave)
    termios.tcsetattr(slave, termios.TCSANOW, raw_mode(before))
    iflag, oflag, cflag, lflag, _, _, _ = termios.tcgetattr(slave)
    os.close(master)
    os.close(slave)

    assert not oflag & termios.OPOST
    assert not lflag & (termios.ECHO | termios.ICANON | termios.ISIG)
    assert not iflag & (termios.ICRNL | termios.IXON)
    assert cflag & termios.CSIZE == termios.CS8
    assert before[3] & termios.ECHO, "the saved attributes are left alone"


def test_no_listener_is_told_by_the_option_s_name(tmp_path: Path) -> None:
    with pytest.raises(OpError, match=r"--console-socket: connect .*: no such file or directory"):
        connect_console(str(tmp_path / "nothing"))


def test_the_master_comes_as_one_fd() -> None:
    ours, theirs = socket.socketpair()
    master, slave = os.openpty()
    with ours, theirs:
        socket.send_fds(theirs, [b"/dev/ptmx"], [master])
        received = receive_master(ours)
    os.write(received, b"x\n")

    assert os.read(slave, 2) == b"x\n"
    for fd in (received, master, slave):
        os.close(fd)


def test_a_container_without_a_terminal_is_an_error() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.close()
        with pytest.raises(StateError, match="terminal"):
            receive_master(ours)
