"""Nothing of a failure stays: pid files, and what the interpreter adds to the environment."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from pyrunc.errors import OpError, SpecError, StateError
from pyrunc.run import hooks, prepare
from pyrunc.run.pids import write_pid_file
from pyrunc.run.start import send_go

if TYPE_CHECKING:
    from pathlib import Path


def test_pid_file_is_decimal_without_a_newline(tmp_path: Path) -> None:
    write_pid_file(str(tmp_path / "pid"), 4711)

    assert (tmp_path / "pid").read_bytes() == b"4711"
    assert os.listdir(tmp_path) == ["pid"]


def test_a_pid_file_that_cannot_be_put_in_place_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "pid").mkdir()

    with pytest.raises(OpError, match=r"--pid-file: write .*: is a directory"):
        write_pid_file(str(tmp_path / "pid"), 4711)

    assert os.listdir(tmp_path) == ["pid"]


def test_a_hook_inherits_the_caller_s_environment_and_nothing_of_the_interpreter_s(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hooks, "ORIGINAL", "/dev/null")
    monkeypatch.setenv("LC_CTYPE", "C.UTF-8")
    monkeypatch.setenv("OF_THE_CALLER", "1")

    found = hooks.inherited()

    assert found["OF_THE_CALLER"] == "1"
    assert "LC_CTYPE" not in found


def test_an_lc_ctype_that_the_caller_has_set_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "environ").write_bytes(b"A=1\0LC_CTYPE=C.UTF-8\0")
    monkeypatch.setattr(hooks, "ORIGINAL", str(tmp_path / "environ"))
    monkeypatch.setenv("LC_CTYPE", "C.UTF-8")

    assert hooks.inherited()["LC_CTYPE"] == "C.UTF-8"


def test_a_config_without_a_process_is_the_user_s_fault(tmp_path: Path) -> None:
    (tmp_path / "rootfs").mkdir()
    (tmp_path / "config.json").write_text('{"ociVersion": "1.3.0", "root": {"path": "rootfs"}}')

    with pytest.raises(SpecError, match=r"^process: required"):
        prepare.load_spec(str(tmp_path), rootless=False)


def test_an_executor_that_is_gone_before_the_word_is_an_error_of_start() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    theirs.close()

    with ours, pytest.raises(StateError, match="container process is already dead"):
        send_go(ours)
