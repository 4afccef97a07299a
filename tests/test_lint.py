"""The linters are tests: what they say is part of the suite."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PYTHON_DIRS = ["pyrunc", "tests", "spec-tests", "bench", "csrc", "setup.py"]


def check(*command: str) -> None:
    result = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.lint
@pytest.mark.slow
def test_ruff_check() -> None:
    check("ruff", "check", *PYTHON_DIRS)


@pytest.mark.lint
@pytest.mark.slow
def test_ruff_format() -> None:
    check("ruff", "format", "--check", *PYTHON_DIRS)


@pytest.mark.lint
@pytest.mark.slow
def test_mypy_strict() -> None:
    check("mypy", "--strict", "pyrunc")


@pytest.mark.lint
def test_no_unfinished_work_and_no_machine_in_the_repo() -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    words = ["TO" + "DO", "FIX" + "ME", "X" + "XX:", "NotImplemented" + "Error"]
    for name in filter(None, tracked.split("\0")):
        path = ROOT / name
        if path.suffix not in {".py", ".c", ".h", ".md", ".toml", ".sh", ""} or not path.is_file():
            continue
        text = path.read_text(errors="replace")
        for word in words:
            assert word not in text, f"{name}: {word}"


def test_every_test_file_has_a_name_of_its_own() -> None:
    """pytest imports them as top-level modules: two of one name, and it collects neither."""
    names = [path.name for path in ROOT.glob("tests/**/test_*.py")]
    assert [name for name in sorted(set(names)) if names.count(name) > 1] == []
