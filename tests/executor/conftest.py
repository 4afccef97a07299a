"""What the tests of the executor share.

Whatever runs a plan runs twice (fixture `build`): with the executor as it is shipped, and with one built from the same
sources under the address and undefined-behaviour sanitizers.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import harness
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

CSRC = Path(__file__).parents[2] / "csrc"
SOURCES = [
    CSRC / f"{name}.c" for name in ("init", "check", "ops", "path", "copy", "talk", "program", "seccomp")
]
SANITIZE = ["-DPYRUNC_HOSTED", "-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]


def compile_sanitized(output: Path, *sources: Path) -> str:
    subprocess.run(["cc", "-std=gnu11", f"-I{CSRC}", *SANITIZE, "-o", output, *sources], check=True)
    return str(output)


@pytest.fixture(scope="session")
def sanitized(tmp_path_factory: pytest.TempPathFactory) -> str:
    return compile_sanitized(tmp_path_factory.mktemp("sanitized") / "executor", *SOURCES)


@pytest.fixture(params=["shipped", "sanitized"])
def build(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `harness.run` start one, then the other."""
    path = request.getfixturevalue("sanitized") if request.param == "sanitized" else None
    monkeypatch.setattr(harness, "sanitized", path)


@pytest.fixture
def room() -> Iterator[Path]:
    """A directory that the ordinary user of the tests can reach too: pytest's own are its user's alone."""
    path = Path(tempfile.mkdtemp(prefix="pyrunc-test-"))
    path.chmod(0o777)
    yield path
    shutil.rmtree(path)
