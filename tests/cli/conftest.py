"""Run the command line as a process, the way the installed launcher does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]
MAIN = ROOT / "pyrunc" / "__main__.py"


class Result:
    """How a command ended."""

    def __init__(self, done: subprocess.CompletedProcess[bytes]) -> None:
        self.code = done.returncode
        self.out = (done.stdout or b"").decode()
        self.err = (done.stderr or b"").decode()


@pytest.fixture
def pyrunc(tmp_path: Path) -> Callable[..., Result]:
    """Run pyrunc with its state in a temporary directory; `argv0` and subprocess's arguments by keyword."""

    def run(*args: str | Path, argv0: str = "pyrunc", **how: object) -> Result:
        words = [sys.executable, "-I", "-S", str(MAIN), argv0, *map(str, args)]
        how.setdefault("env", {"XDG_RUNTIME_DIR": str(tmp_path), "PATH": os.environ["PATH"]})
        how.setdefault("stdout", subprocess.PIPE)
        how.setdefault("stderr", subprocess.PIPE)
        return Result(subprocess.run(words, timeout=30, check=False, **how))  # type: ignore[call-overload]

    return run
