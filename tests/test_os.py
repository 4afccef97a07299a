"""The stand-in for `os` agrees with `os`, as far as it goes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NAMES = ["", "/", "//", "///", ".", "..", "a", "/a", "//a", "///a", "a/", "a//b", "./a", "a/.", "a/..", "a/../..",
         "/..", "/../a", "../a", "../../a/./b/..", "a/b/../../..", "/a/b/", "\udcff/x"]  # fmt: skip


def stand_in(expression: str, *words: str) -> str:
    """Evaluate in an interpreter that has not loaded `os`, with `os` for the stand-in."""
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); assert 'os' not in sys.modules; from pyrunc import _os as os; "
        f"print(ascii({expression})); print('os' in sys.modules, file=sys.stderr)"
    )
    command = [sys.executable, "-I", "-S", "-X", "utf8", "-c", program, str(ROOT), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd="/usr")
    return done.stdout.rstrip("\n") + ("!" if done.stderr == "True\n" else "")


@pytest.mark.parametrize("function", ["normpath", "basename", "lexists", "exists", "isdir", "abspath"])
def test_functions_of_one_name(function: str) -> None:
    names = [name for name in NAMES if "\udcff" not in name]
    found = stand_in(f"[os.path.{function}(name) for name in {names!r}]")
    before = Path.cwd()
    os.chdir("/usr")
    try:
        assert found == ascii([getattr(os.path, function)(name) for name in names])
    finally:
        os.chdir(before)


def test_join() -> None:
    found = stand_in(f"[os.path.join(a, b, 'c') for a in {NAMES!r} for b in {NAMES!r}]")
    assert found == ascii([os.path.join(a, b, "c") for a in NAMES for b in NAMES])


def test_encoding() -> None:
    assert stand_in("os.fsdecode(b'a\\xff')") == ascii("a\udcff")
    assert stand_in("os.fsencode(os.fsdecode(b'a\\xff'))") == ascii(b"a\xff")


def test_makedirs(tmp_path: Path) -> None:
    stand_in("os.makedirs(sys.argv[2], 0o700)", f"{tmp_path}/a/b/c")
    assert (tmp_path / "a/b/c").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "a/b").stat().st_mode & 0o700 == 0o700
    stand_in("os.makedirs(sys.argv[2], exist_ok=True)", f"{tmp_path}/a/b/c")
    with pytest.raises(subprocess.CalledProcessError):
        stand_in("os.makedirs(sys.argv[2])", f"{tmp_path}/a/b/c")


def test_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYRUNC_TEST", "w\u00f6rd")
    assert stand_in("os.environ['PYRUNC_TEST']") == ascii("w\u00f6rd")


def test_what_it_lacks_is_the_real_one() -> None:
    assert stand_in("os.path.dirname('/a/b')") == "'/a'!"
    assert stand_in("os.get_exec_path({'PATH': '/x'})") == "['/x']!"


def test_it_is_os_where_os_is_loaded() -> None:
    from pyrunc import _os

    assert _os is os
