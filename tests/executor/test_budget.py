"""The budgets that keep the executor readable in an hour, and free of policy: counted, not promised."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from conftest import CSRC, SOURCES
from harness import CODES, SIGNATURES

from pyrunc.sys import executor_bytes

if TYPE_CHECKING:
    from pathlib import Path

OWN = [*SOURCES, CSRC / "executor.h", CSRC / "plan_text.h"]
PLATFORM = [CSRC / "kernel.h", CSRC / "guard.h", CSRC / "freestanding.c"]  # the launcher's as well
COMPOSITES = {"MKPATH", "PIVOT", "COVER", "COPYUP", "NODE"}
EXECUTOR_LINES, PLATFORM_LINES, ARM_LINES, FUNCTION_LINES = 1000, 175, 25, 40
EXECUTOR_BYTES = 20 * 1024

pytestmark = pytest.mark.lint


def code_of(path: Path) -> str:
    """Return the file without comments."""
    return re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.DOTALL)


def lines(paths: list[Path]) -> int:
    return sum(1 for path in paths for line in code_of(path).splitlines() if line.strip())


def functions(path: Path) -> dict[str, int]:
    """Name -> lines of each function, by the house's layout: the body ends at the first brace in column 0."""
    found = {}
    for match in re.finditer(
        r"^[A-Za-z_][^;={}]*?(\w+)\([^;{}]*\) \{\n.*?^\}$", code_of(path), re.DOTALL | re.MULTILINE
    ):
        found[match[1]] = match[0].count("\n") + 1
    return found


def test_operations() -> None:
    assert len(CODES) <= 48
    assert set(CODES) >= COMPOSITES
    assert len(COMPOSITES) <= 6
    assert max(len(types) for types in SIGNATURES.values()) <= 5


def test_lines() -> None:
    assert lines(OWN) <= EXECUTOR_LINES
    assert lines(PLATFORM) <= PLATFORM_LINES


def test_an_operation_is_short() -> None:
    text = code_of(CSRC / "ops.c")
    arms = re.findall(r"^OPERATION\((\w+)\) \{(.*?)\}$", text, re.DOTALL | re.MULTILINE)

    assert {name for name, _ in arms} == set(CODES)
    assert {name for name, body in arms if body.count("\n") + 1 > ARM_LINES} == set()


@pytest.mark.parametrize("path", [*SOURCES, CSRC / "shim.c", CSRC / "launcher.c"], ids=lambda path: path.name)
def test_a_function_is_short(path: Path) -> None:
    found = functions(path)

    assert found
    assert {name: n for name, n in found.items() if n > FUNCTION_LINES} == {}


def test_no_library_and_no_policy() -> None:
    """Neither allocation nor formatted output, and not a word of config.json."""
    words = r"\b(malloc|calloc|realloc|free|printf|snprintf|fopen|setlocale|getenv|json|runtime-spec|capabilities)\b"
    for path in SOURCES:
        assert re.findall(words, code_of(path)) == [], path.name
        assert not re.search(r"#include <(?!asm/|linux/)", path.read_text()), path.name


def test_the_binary() -> None:
    assert len(executor_bytes()) <= EXECUTOR_BYTES


WARNINGS = ["-std=gnu11", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-Os", "-fsyntax-only"]
LAUNCHER = ['-DPYTHON_NAME="python3"', '-DPYTHON_PATH="/usr/bin/python3"', '-DPLATLIB="lib"']


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("hosted", [[], ["-DPYRUNC_HOSTED"]])
def test_no_warnings(compiler: str, hosted: list[str]) -> None:
    if not shutil.which(compiler):
        pytest.skip(f"{compiler} is not installed: apt-get install {compiler}")
    shim = [f'-DPYRUNC_EXECUTOR="{CSRC}/init.c"', str(CSRC / "shim.c")]
    own = [*SOURCES, CSRC / "freestanding.c"] if not hosted else SOURCES

    subprocess.run([compiler, *WARNINGS, "-ffreestanding", *hosted, *map(str, own)], check=True)
    if not hosted:
        subprocess.run([compiler, *WARNINGS, "-ffreestanding", *LAUNCHER, CSRC / "launcher.c"], check=True)
        subprocess.run([compiler, *WARNINGS, *shim], check=True)
