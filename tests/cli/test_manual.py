"""The man pages are those of today's options, and groff reads them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from pyrunc.cli.help import ARGUMENTS, DESCRIPTIONS
from pyrunc.cli.manual import main, pages
from pyrunc.cli.table import CHOICES, COMMANDS, GLOBALS, HELP

MAN = Path(__file__).parents[2] / "docs/man"


def test_pages_are_current(tmp_path: Path) -> None:
    (tmp_path / "pyrunc-gone.8").write_text("of a command that is no more")
    main(str(tmp_path))

    made = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()}
    kept = {path.name: path.read_text(encoding="utf-8") for path in MAN.iterdir()}
    assert kept == made, "run python -m pyrunc.cli.manual docs/man"


def test_every_command_has_its_texts() -> None:
    assert set(DESCRIPTIONS) == set(COMMANDS)
    assert set(ARGUMENTS) <= set(COMMANDS)
    assert {command for command, row in COMMANDS.items() if "<" in row[0]} <= set(ARGUMENTS)


def test_every_page_names_every_option() -> None:
    found = pages()
    for command, row in COMMANDS.items():
        for name, *_rest, text in (*row[4], HELP):
            flag = f"--{name}".replace("-", "\\-")
            assert (f".B {flag}" in found[f"pyrunc-{command}.8"]) == bool(text)
    assert found["pyrunc.8"].count("\n.B pyrunc\\-") == len(COMMANDS)


def test_words_to_choose_from_belong_to_something() -> None:
    options = {row[0] for row in GLOBALS} | {row[0] for command in COMMANDS.values() for row in command[4]}
    arguments = {word for command in COMMANDS.values() for word in command[0].split()}
    assert set(CHOICES) <= options | arguments


def test_groff_has_no_complaints() -> None:
    if not shutil.which("groff"):
        pytest.skip("needs groff")
    files = sorted(map(str, MAN.glob("*.8")))
    command = ["groff", "-man", "-ww", "-Tutf8", "-P-cbou", *files]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout.count("\nSYNOPSIS\n") == len(files)
