"""Every operation of the executor and every branch, those for errors included, is reached on a kernel that can fail."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "fuzz"))

import native  # after sys.path
from executor_coverage import run, run_once, unreached  # after sys.path

VALGRIND = ("valgrind", "--quiet", "--error-exitcode=99", "--leak-check=no")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_nothing_is_unreached_without_a_reason(tmp_path: Path) -> None:
    assert unreached(tmp_path) == []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_memcheck_finds_nothing(tmp_path: Path) -> None:
    """What the sanitizers do not see: a branch that hangs on what nobody has written."""
    if not shutil.which("valgrind"):
        pytest.skip("valgrind is not installed: apt-get install valgrind")
    program = tmp_path / "executor"
    native.build_executor(program, "-O1", compiler="cc")
    run_once(tmp_path, [*VALGRIND, program])


def test_the_fake_kernel_sees_a_descriptor_that_is_left_open(tmp_path: Path) -> None:
    """The checks themselves can fail: an operation is built that forgets one."""
    program = tmp_path / "executor"
    native.build_executor(program, "-O0", "-DFORGETFUL", compiler="cc")
    with pytest.raises(AssertionError, match=r"leaves \d+ descriptors more"):
        run(tmp_path, program, rounds=0)
