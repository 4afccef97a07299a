from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pyrunc.cli.table import COMMANDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Result

    Run = Callable[..., Result]

ROOT = Path(__file__).parents[2]


def message(result: Result) -> str:
    """Return the message of the one line that a failure is."""
    match = re.match(r'time="[^"]+" level=error msg=(.*)\n', result.err)
    assert match, result.err
    return match[1].strip('"').replace(r"\"", '"')


@pytest.mark.parametrize(
    "words", [[], ["help"], ["h"], ["-h"], ["--help"], ["--debug", "-help"], ["help", "help"], ["help", "-h"]]
)
def test_help_of_the_program(pyrunc: Run, words: list[str]) -> None:
    result = pyrunc(*words)

    lines = result.out.splitlines()
    assert lines[:2] == ["NAME:", "   pyrunc - Open Container Initiative runtime"]
    for heading in ("USAGE:", "VERSION:", "COMMANDS:", "GLOBAL OPTIONS:"):
        assert heading in lines
    assert (result.code, result.err) == (0, "")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command(pyrunc: Run, command: str) -> None:
    result = pyrunc(command, "--help")

    lines = result.out.splitlines()
    assert lines[0] == "NAME:"
    assert lines[1].startswith(f"   pyrunc {command} - ")
    for heading in ("USAGE:", "DESCRIPTION:", "OPTIONS:"):
        assert heading in lines
    assert (result.code, result.err) == (0, "")
    assert pyrunc("help", command).out == result.out


def test_help_under_the_name_of_runc(pyrunc: Run) -> None:
    assert (
        pyrunc("--help", argv0="/usr/bin/runc").out.splitlines()[1]
        == "   runc - Open Container Initiative runtime"
    )
    assert pyrunc("state", "-h", argv0="/usr/bin/runc").out.splitlines()[1].startswith("   runc state - ")


def test_options_without_a_text_are_accepted_but_not_shown(pyrunc: Run) -> None:
    assert "--all" not in pyrunc("kill", "--help").out
    assert "--criu" not in pyrunc("--help").out
    assert pyrunc("--criu", "/x", "list").code == 0


@pytest.mark.parametrize(
    ("name", "argv0"), [("pyrunc", "pyrunc"), ("runc", "/sbin/runc"), ("pyrunc", "other")]
)
@pytest.mark.parametrize("option", ["--version", "-v"])
def test_version(pyrunc: Run, name: str, argv0: str, option: str) -> None:
    result = pyrunc(option, argv0=argv0)

    first, second, third, *_rest = result.out.splitlines()
    assert re.fullmatch(rf"{name} version \d+\.\d+\.\d+", first)
    assert second.startswith("commit: ")
    assert third == "spec: 1.3.0"
    assert (result.code, result.err) == (0, "")


@pytest.mark.parametrize("words", [["foo"], ["foo", "-h"], ["help", "foo"]])
def test_an_unknown_command(pyrunc: Run, words: list[str]) -> None:
    result = pyrunc(*words)

    assert (result.code, result.out) == (3, "")
    assert message(result) == "No help topic for 'foo'"


def test_an_unknown_global_option(pyrunc: Run) -> None:
    result = pyrunc("--bogus", "list")

    assert result.out.startswith("Incorrect Usage. flag provided but not defined: -bogus\n\nNAME:\n")
    assert message(result) == "flag provided but not defined: -bogus"
    assert result.code == 1


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["creat"], 'did you mean "create"?'),
        (["DELETE", "id"], 'did you mean "delete"?'),
        (["--rot", "/x", "list"], "did you mean --root?"),
        (["list", "--formt", "json"], "did you mean --format?"),
        (["state", "--root", "/x", "id"], "--root is a global option: it stands before the command"),
        (["--force", "delete", "id"], "--force is an option of delete: it stands behind the command"),
        (["list", "--zzzzz"], None),
        (["zzzzz"], None),
    ],
)
def test_what_was_meant(pyrunc: Run, words: list[str], hint: str | None) -> None:
    result = pyrunc(*words)

    assert result.code in {1, 3}
    assert result.err.splitlines()[1:] == ([hint] if hint else [])


def test_an_unknown_option_of_a_command(pyrunc: Run) -> None:
    result = pyrunc("create", "--bundel", "x", "id")

    assert result.out.startswith(
        "Incorrect Usage: flag provided but not defined: -bundel\n\nNAME:\n   pyrunc create"
    )
    assert message(result) == "flag provided but not defined: -bundel"
    assert result.err.splitlines()[1:] == ["did you mean --bundle?"]
    assert result.code == 1


def test_a_wrong_number_of_arguments(pyrunc: Run) -> None:
    result = pyrunc("state")

    assert result.out.startswith("Incorrect Usage.\n\nNAME:\n   pyrunc state - ")
    assert message(result) == 'pyrunc: "state" requires exactly 1 argument(s)'
    assert result.code == 1


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--cgroup-manager=x", "list"], "invalid cgroup-manager: x: expected cgroupfs, systemd or disabled"),
        (["--rootless=x", "list"], "invalid rootless: x: expected true, false or auto"),
        (["--root", "/", "list"], "Option --root argument should not be set to /"),
        (["--root", "//.", "list"], "Option --root argument should not be set to /"),
        (["--log-format", "xml", "list"], "invalid log-format: xml"),
        (["--log", "/nonexistent/log", "list"], "open /nonexistent/log: no such file or directory"),
    ],
)
def test_what_is_refused(pyrunc: Run, words: list[str], expected: str) -> None:
    result = pyrunc(*words)

    assert message(result) == expected
    assert (result.code, result.out) == (1, "")


def test_what_other_runtimes_take_is_accepted(pyrunc: Run, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    for words in (
        ["--cgroup-manager=disabled"],
        ["--cgroup-manager", "cgroupfs"],
        ["--criu", "/usr/bin/criu"],
        ["--rootless=true"],
        ["--root", "/nonexistent"],
        ["-systemd-cgroup=false"],
    ):
        result = pyrunc(*words, "--root", tmp_path / "state", "list", "-q")
        assert (result.code, result.out, result.err) == (0, "", "")


def test_the_log_file_has_the_failure_whatever_the_order_of_the_options(pyrunc: Run, tmp_path: Path) -> None:
    path = tmp_path / "log"
    result = pyrunc("--bogus", "--log-format=json", "--log", path)

    entry = json.loads(path.read_text())
    assert entry["level"] == "error"
    assert entry["msg"] == "flag provided but not defined: -bogus"
    assert result.err == "flag provided but not defined: -bogus\n"


def test_a_failure_is_logged_once_and_said_once(pyrunc: Run, tmp_path: Path) -> None:
    path = tmp_path / "log"
    result = pyrunc("--log", path, "--log-format", "json", "--root", tmp_path, "state", "nope")

    assert json.loads(path.read_text())["msg"] == "container does not exist"
    assert result.err == "container does not exist\n"
    assert (result.code, result.out) == (1, "")


def test_no_reader_no_traceback(pyrunc: Run) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    result = pyrunc("--help", stdout=writer)
    assert (result.code, result.err) == (1, "")

    result = pyrunc("foo", stderr=writer)
    assert result.code == 3
    os.close(writer)


def test_a_full_disk_is_told(pyrunc: Run) -> None:
    with open("/dev/full", "wb") as full:
        result = pyrunc("--help", stdout=full)

    assert message(result) == "write to standard output: no space left on device"
    assert result.code == 1


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)])
def test_closed_standard_descriptors_are_not_taken_by_other_files(
    pyrunc: Run, tmp_path: Path, closed: tuple[int, ...]
) -> None:
    path = tmp_path / "log"

    def close() -> None:
        for fd in closed:
            os.close(fd)

    result = pyrunc("--log", path, "--bogus", preexec_fn=close)

    assert result.code == 1
    lines = path.read_text().splitlines()
    assert len(lines) == 1
    assert "level=error" in lines[0]


def test_python_m(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pyrunc", "--version"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )

    assert done.stdout.startswith("pyrunc version ")


def test_no_environment_at_all(pyrunc: Run) -> None:
    result = pyrunc("--version", env={})

    assert (result.code, result.err) == (0, "")


def test_an_interrupt_is_quiet() -> None:
    from pyrunc import cli

    def interrupted(_args: object) -> int:
        raise KeyboardInterrupt

    assert _main_with(cli, interrupted) == 130


def test_a_bug_is_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    from pyrunc import cli

    def broken(_args: object) -> int:
        raise ZeroDivisionError("division by zero")

    assert _main_with(cli, broken) == 1
    error = capfd.readouterr().err
    assert "pyrunc: bug: ZeroDivisionError: division by zero: please report" in error
    assert error.count("\n") == 1


def test_too_little_memory_is_no_bug(capfd: pytest.CaptureFixture[str]) -> None:
    from pyrunc import cli

    def broken(_args: object) -> int:
        raise MemoryError

    assert _main_with(cli, broken) == 1
    assert capfd.readouterr().err.endswith('level=error msg="cannot allocate memory"\n')


def test_with_debug_a_bug_shows_its_place(capfd: pytest.CaptureFixture[str]) -> None:
    from pyrunc import cli, log

    def broken(_args: object) -> int:
        raise ZeroDivisionError("division by zero")

    try:
        assert _main_with(cli, broken, "--debug") == 1
    finally:
        log.reset()
    assert "Traceback" in capfd.readouterr().err


def test_a_system_call_that_nobody_put_into_words(capfd: pytest.CaptureFixture[str]) -> None:
    from pyrunc import cli

    def broken(_args: object) -> int:
        os.stat("/nonexistent")
        return 0

    assert _main_with(cli, broken) == 1
    assert 'msg="/nonexistent: no such file or directory"' in capfd.readouterr().err


def _main_with(cli: object, run: Callable[[object], int], *words: str) -> int:
    from pyrunc.commands import version

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(version, "run", run)
        return int(cli.main("pyrunc", [*words, "--version"]))  # type: ignore[attr-defined]


def test_the_state_root_of_an_ordinary_user(monkeypatch: pytest.MonkeyPatch) -> None:
    from pyrunc import cli

    def root(given: str, euid: int, **environ: str) -> str:
        for name in ("XDG_RUNTIME_DIR", "USER"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(os, "geteuid", lambda: euid)
        return cli.root_of(given)

    assert root("", 0, XDG_RUNTIME_DIR="/run/user/0") == "/run/pyrunc"
    assert root("", 0) == "/run/pyrunc"
    assert root("", 1000, XDG_RUNTIME_DIR="/run/user/1000") == "/run/user/1000/pyrunc"
    assert root("", 1000, XDG_RUNTIME_DIR="") == "/run/pyrunc"
    assert root("/a/../b", 1000, XDG_RUNTIME_DIR="/run/user/1000") == "/b"
    assert root("x", 0) == f"{os.getcwd()}/x"
    monkeypatch.setattr(cli, "_in_user_namespace", lambda: True)
    assert root("", 0, XDG_RUNTIME_DIR="/run/user/1000") == "/run/user/1000/pyrunc"  # so podman calls
    assert root("", 0, XDG_RUNTIME_DIR="/run/user/1000", USER="me") == "/run/user/1000/pyrunc"
    assert root("", 0, XDG_RUNTIME_DIR="/run/user/1000", USER="root") == "/run/pyrunc"
