from __future__ import annotations

import json
import os
import pty
import re

import pytest

from pyrunc import log
from pyrunc.errors import OpError, StateError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"


@pytest.fixture(autouse=True)
def _fresh_log() -> Iterator[None]:
    log.reset()
    yield
    log.reset()


def fail(message: str, *, plain: bool = False) -> None:
    def broken() -> None:
        raise StateError(message)

    try:
        broken()
    except StateError as error:
        log.fatal(str(error), error, plain=plain)


def test_a_line_of_text_is_that_of_logrus(capfd: pytest.CaptureFixture[str]) -> None:
    fail("container does not exist")

    assert re.fullmatch(f'time="{TIME}" level=error msg="container does not exist"\n', capfd.readouterr().err)


def test_a_line_of_json_has_sorted_keys(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    log.configure(str(tmp_path / "log"), "json", debug=False)
    fail("a <b> & c")

    line = (tmp_path / "log").read_text()
    assert re.fullmatch(
        r'\{"level":"error","msg":"a \\u003cb\\u003e \\u0026 c","time":"' + TIME + r'"\}\n', line
    )
    assert json.loads(line)["msg"] == "a <b> & c"
    assert capfd.readouterr().err == "a <b> & c\n"


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("plain-1.0_a/b@c^d+e", "plain-1.0_a/b@c^d+e"),
        ("", '""'),
        ("two words", '"two words"'),
        ('a "b" \\c', r'"a \"b\" \\c"'),
        ("a\nb\tc\x1b[2J\x7f", r'"a\nb\tc\x1b[2J\x7f"'),
        ("grün", '"grün"'),
        ("a\u200bb\U000e0001", r'"a\u200bb\U000e0001"'),
        (os.fsdecode(b"a\xffb"), r'"a\xffb"'),
    ],
)
def test_values_are_quoted_as_go_does(text: str, quoted: str) -> None:
    assert log.quote(text) == quoted


def test_bytes_that_are_no_text_become_json_all_the_same() -> None:
    assert json.loads(log.json_quote(os.fsdecode(b"a\xffb"))) == "a?b"


def test_the_file_is_made_even_if_nothing_is_logged(tmp_path: Path) -> None:
    previous = os.umask(0o022)
    log.configure(str(tmp_path / "log"), "json", debug=False)
    os.umask(previous)

    assert (tmp_path / "log").read_bytes() == b""
    assert (tmp_path / "log").stat().st_mode & 0o7777 == 0o644


def test_the_file_is_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("before\n")
    log.configure(str(path), "text", debug=False)
    fail("after")

    assert path.read_text().startswith("before\ntime=")


def test_a_log_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(OpError, match=f"^open {tmp_path}/none/log: no such file or directory$"):
        log.configure(f"{tmp_path}/none/log", "text", debug=False)


def test_an_unknown_format() -> None:
    with pytest.raises(UsageError, match=r"^invalid log-format: xml$"):
        log.configure("", "xml", debug=False)


def test_warnings_wait_for_success(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "log"
    log.configure(str(path), "json", debug=False)
    log.warning("first")
    log.warning("second")
    assert path.read_text() == ""

    log.flush()

    levels = [(line["level"], line["msg"]) for line in map(json.loads, path.read_text().splitlines())]
    assert levels == [("warning", "first"), ("warning", "second")]
    assert capfd.readouterr().err == ""


def test_a_failure_is_the_only_object_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log.configure(str(path), "json", debug=False)
    log.warning("lost")
    fail("it broke")
    log.flush()

    assert json.loads(path.read_text())["msg"] == "it broke"


def test_warnings_go_to_standard_error_at_once(capfd: pytest.CaptureFixture[str]) -> None:
    log.warning("beware")

    assert re.fullmatch(f'time="{TIME}" level=warning msg=beware\n', capfd.readouterr().err)


def test_debug_messages_need_debug_and_tell_their_place(capfd: pytest.CaptureFixture[str]) -> None:
    log.debug("unseen")
    log.configure("", "text", debug=True)
    log.debug("seen")

    error = capfd.readouterr().err
    assert "unseen" not in error
    assert re.search(
        r'level=debug msg=seen func="[\w.]+test_debug_messages\w+\(\)" file="test_cli_log.py:\d+"\n$', error
    )


def test_with_debug_the_place_of_a_failure_is_where_it_was_raised(capfd: pytest.CaptureFixture[str]) -> None:
    log.configure("", "text", debug=True)
    fail("it broke")

    assert 'broken()" file="test_cli_log.py:' in capfd.readouterr().err


def test_a_plain_failure_is_a_bare_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    fail("exec /run.sh: no such file or directory", plain=True)
    assert capfd.readouterr().err == "exec /run.sh: no such file or directory\n"

    log.configure(str(tmp_path / "log"), "text", debug=False)
    fail("exec /run.sh: no such file or directory", plain=True)
    assert capfd.readouterr().err == "exec /run.sh: no such file or directory\n"
    assert "level=error" in (tmp_path / "log").read_text()


def test_control_characters_never_reach_a_terminal(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    log.configure(str(tmp_path / "log"), "text", debug=False)
    fail("one\ntwo\x1b[31m\x9b")

    assert capfd.readouterr().err == "one\\ntwo\\x1b[31m\\u009b\n"
    assert (tmp_path / "log").read_bytes().count(b"\n") == 1


def test_a_terminal_gets_the_short_form() -> None:
    ours, theirs = pty.openpty()
    saved = os.dup(2)
    os.dup2(theirs, 2)
    try:
        fail("it broke")
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(theirs)
    line = os.read(ours, 4096).decode()
    os.close(ours)

    assert line == f"\x1b[31mERRO\x1b[0m[0000] {'it broke':44} \r\n".replace("[0000]", line[13:19])


def test_a_full_pipe_is_waited_for() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    if (child := os.fork()) == 0:
        os.close(writer)
        size = 0
        while data := os.read(reader, 65536):
            size += len(data)
        os._exit(size >> 20)
    os.close(reader)
    log.write_all(writer, b"x" * (1 << 20))
    os.close(writer)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
