"""What TAB offers: the words that the table of options has, in the three shells themselves."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest
from conftest import FLAGS, START

from pyrunc.cli.completion import DIRECTORIES, FILES, candidates, joined
from pyrunc.cli.table import COMMANDS, GLOBALS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Result

    Run = Callable[..., Result]


def words(*line: str) -> list[str]:
    found = candidates(line)
    assert isinstance(found, list)
    return [word for word, _text in found]


def test_commands() -> None:
    assert words("") == [*COMMANDS, "help"]
    assert words("--debug", "--root", "/x", "st") == ["start", "state"]
    assert words("help", "valid") == ["validate"]
    assert words("nonsense", "x") == []


def test_options() -> None:
    assert words("--") == [f"--{row[0]}" for row in GLOBALS if row[5]]
    assert words("create", "--pid") == ["--pidfd-socket", "--pid-file"]
    assert words("kill", "id", "--reg") == ["--regex"]
    assert words("exec", "--pid-", "id") == []  # it is an argument that stands last
    assert words("exec", "id", "ls", "--pid-") == []  # the program's own options
    assert words("create", "--bogus", "--pid-") == []


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (("--log-format", ""), ["text", "json"]),
        (("--log-format=j",), ["--log-format=json"]),
        (("list", "-f", ""), ["table", "json"]),
        (("ps", "--format=t"), ["--format=table"]),
        (("update", "--cpu-idle", ""), ["0", "1"]),
        (("completion", ""), ["bash", "zsh", "fish"]),
        (("kill", "id", "sigus"), ["SIGUSR1", "SIGUSR2"]),
        (("kill", "id", "us"), ["USR1", "USR2"]),
        (("kill", "id", "KILL", ""), []),
        (("exec", "--user", ""), []),
        (("list", ""), []),
    ],
)
def test_values(line: tuple[str, ...], expected: list[str]) -> None:
    assert words(*line) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (("--root", ""), DIRECTORIES),
        (("--root=/x",), DIRECTORIES),
        (("create", "-b", "x"), DIRECTORIES),
        (("plan", ""), DIRECTORIES),
        (("create", "--pid-file", ""), FILES),
        (("--log", ""), FILES),
    ],
)
def test_paths_are_left_to_the_shell(line: tuple[str, ...], expected: str) -> None:
    assert candidates(line) == expected


def test_ids(tmp_path: Path) -> None:
    for name in ("web", "web2", "db"):
        (tmp_path / name).mkdir()
    root = ("--root", str(tmp_path))

    assert words(*root, "state", "") == ["db", "web", "web2"]
    assert words(*root, "delete", "--force", "we") == ["web", "web2"]
    assert words(*root, "exec", "--tty", "d") == ["db"]
    assert words(*root, "state", "web", "") == []
    assert words(*root, "run", "") == []
    assert words("--root", f"{tmp_path}/missing", "state", "") == []
    assert words("--root", "/", "state", "") == []


def test_words_that_bash_took_apart() -> None:
    assert joined(["--root", "=", "/x", "list"]) == ["--root=/x", "list"]
    assert joined(["exec", "-e", "A", "=", "b", "id"]) == ["exec", "-e", "A=b", "id"]
    assert joined(["exec", "-u", "1", ":", "2", ""]) == ["exec", "-u", "1:2", ""]
    assert joined(["--log-format", "="]) == ["--log-format="]
    assert joined([""]) == [""]


def test_answers_of_the_command(pyrunc: Run) -> None:
    assert pyrunc("completion", "bash", "--", "--log-format", "=", "j").out == "words\njson\n"
    assert pyrunc("completion", "zsh", "--", "pau").out == f"words\npause:{COMMANDS['pause'][3]}\n"
    assert pyrunc("completion", "fish", "--", "pau").out == f"words\npause\t{COMMANDS['pause'][3]}\n"
    assert pyrunc("completion", "fish", "--", "plan", "").out == "directories\n"


def test_a_shell_that_is_none(pyrunc: Run) -> None:
    result = pyrunc("completion", "tcsh")

    assert (result.code, result.out) == (1, "")
    assert "completion: tcsh: expected bash, zsh, fish" in result.err


def test_the_script_is_for_the_name_of_the_program(pyrunc: Run) -> None:
    assert pyrunc("completion", "bash", argv0="/usr/bin/runc").out.endswith("complete -F _pyrunc runc\n")
    assert pyrunc("completion", "fish", argv0="a b").out.endswith(
        "complete -c 'a b' -f -a '(__pyrunc_complete)'\n"
    )


@pytest.fixture
def installed(tmp_path: Path) -> dict[str, str]:
    """An environment whose PATH begins with a program named pyrunc; its root has the containers web and web2."""
    code = START.replace("sys.argv[1], sys.argv[2:]", "'pyrunc', sys.argv[1:]")
    (tmp_path / "code.py").write_text(code)
    program = tmp_path / "bin/pyrunc"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {" ".join(FLAGS)} {tmp_path}/code.py "$@"\n')
    program.chmod(0o755)
    for name in ("web", "web2"):
        (tmp_path / "root" / name).mkdir(parents=True)
    for name in ("a dir", "afile"):
        (tmp_path / "here" / name).mkdir(parents=True) if name == "a dir" else (
            tmp_path / "here" / name
        ).touch()
    return {"PATH": f"{program.parent}:{os.environ['PATH']}", "HOME": str(tmp_path), "TERM": "dumb"}


def in_shell(shell: str, script: str, tmp_path: Path, env: dict[str, str]) -> list[str]:
    if not shutil.which(shell):
        pytest.skip(f"needs the shell {shell}")
    flags = {"bash": ["--norc", "--noprofile"], "zsh": ["-f"], "fish": ["--no-config"]}[shell]
    command = [shell, *flags, "-c", script]
    done = subprocess.run(
        command, env=env, cwd=tmp_path / "here", capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


BASH = """
source <(pyrunc completion bash)
compopt() { echo "compopt $*"; }
complete -p pyrunc
try() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _pyrunc "$1"; echo "${COMPREPLY[*]}"; }
try pyrunc --root = ROOT state we
try pyrunc --log-format = ''
try '~/bin/pyrunc' pau
try pyrunc plan ''
try pyrunc --log ''
"""


def test_bash(tmp_path: Path, installed: dict[str, str]) -> None:
    said = in_shell("bash", BASH.replace("ROOT", f"{tmp_path}/root"), tmp_path, installed)

    assert said == [
        "complete -F _pyrunc pyrunc",
        "web web2",
        "text json",
        "pause",
        "compopt -o dirnames",
        "",
        "compopt -o default",
        "",
    ]


ZSH = """
compdef() { print "compdef $*" }
source <(pyrunc completion zsh)
_describe() { print -rl -- "${(@P)2}" }
_files() { print "_files $* [$PREFIX]" }
compset() { PREFIX=${PREFIX#-*=} }
try() { words=("$@"); CURRENT=$#; PREFIX=${@[-1]}; _pyrunc }
try pyrunc --root=ROOT state we
try pyrunc --log-format=j
try '~/bin/pyrunc' pau
try pyrunc plan 'x'
try pyrunc --log=/y
"""


def test_zsh(tmp_path: Path, installed: dict[str, str]) -> None:
    """Its completion needs a terminal: here stand plain functions in the place of those that would show it."""
    said = in_shell("zsh", ZSH.replace("ROOT", f"{tmp_path}/root"), tmp_path, installed)

    assert said == [
        "compdef _pyrunc pyrunc",
        "web",
        "web2",
        "--log-format=json",
        f"pause:{COMMANDS['pause'][3]}",
        "_files -/ [x]",
        "_files  [/y]",
    ]


FISH = """
pyrunc completion fish | source
complete -C 'pyrunc --root ROOT state we'
complete -C 'pyrunc --log-format=j'
complete -C 'pyrunc pau'
complete -C 'pyrunc plan '
complete -C 'pyrunc --root=a'
complete -C 'pyrunc --log af'
"""


def test_fish(tmp_path: Path, installed: dict[str, str]) -> None:
    said = in_shell("fish", FISH.replace("ROOT", f"{tmp_path}/root"), tmp_path, installed)

    assert [line.partition("\t")[0] for line in said] == [
        "web",
        "web2",
        "--log-format=json",
        "pause",
        "a dir/",
        "--root=a dir/",
        "afile",
    ]
    assert f"pause\t{COMMANDS['pause'][3]}" in said
