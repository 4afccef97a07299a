"""Run the command line as a process, the way the installed launcher does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import _cffi_backend
import pytest

import pyrunc as package

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PACKAGE = Path(package.__file__).parent
FLAGS = ["-I", "-S", "-B", "-X", "utf8"]
PATHS = [str(PACKAGE.parent), str(Path(_cffi_backend.__file__).parent)]
START = f"""
import sys
sys.path[:0] = {PATHS}
from pyrunc.cli import entry
entry(sys.argv[1], sys.argv[2:])
"""
"""What `__main__` does; but in a checkout cffi lies elsewhere than pyrunc."""


class Result:
    """How a command ended."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err


def start(*args: str | Path, argv0: str = "pyrunc", **how: object) -> Result:
    """Run pyrunc; the rest of the keywords are for subprocess.

    Its output goes to files: a pipe would stay open for as long as the container that it makes lives.
    """
    words = [sys.executable, *FLAGS, "-c", START, argv0, *map(str, args)]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        how = {"stdout": out, "stderr": err} | how
        code = subprocess.run(words, timeout=30, check=False, **how).returncode  # type: ignore[call-overload]
        out.seek(0)
        err.seek(0)
        return Result(code, out.read().decode(), err.read().decode())


@pytest.fixture
def pyrunc(tmp_path: Path) -> Callable[..., Result]:
    """Run pyrunc with its state in a temporary directory."""

    def run(*args: str | Path, **how: object) -> Result:
        how.setdefault(
            "env", {"XDG_RUNTIME_DIR": str(tmp_path), "PATH": os.environ["PATH"], "USER": "nobody"}
        )
        return start(*args, **how)  # type: ignore[arg-type]

    return run


BUSYBOX = shutil.which("busybox") or "/bin/busybox"


class Containers:
    """Real containers with a state root of their own; all are gone at the end of the test."""

    def __init__(self, directory: Path) -> None:
        self.root = directory / "state"
        self.bundle = directory / "bundle"
        (self.bundle / "rootfs/bin").mkdir(parents=True)
        shutil.copy(BUSYBOX, self.bundle / "rootfs/bin/busybox")

    def __call__(self, *args: str | Path, **how: object) -> Result:
        how.setdefault("stdin", subprocess.DEVNULL)
        return start("--root", self.root, *args, **how)  # type: ignore[arg-type]

    def ok(self, *args: str | Path) -> str:
        """Run a command that must succeed, without a word on standard error."""
        result = self(*args)
        assert (result.code, result.err) == (0, ""), result.err
        return result.out


@pytest.fixture
def containers(tmp_path: Path) -> Iterator[Containers]:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    made = Containers(tmp_path)
    yield made
    if made.root.exists():
        for name in os.listdir(made.root):
            made("delete", "--force", name)
