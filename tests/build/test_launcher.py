"""The installed command: found from anywhere, isolated from everything, one line when something is missing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence

CSRC = Path(__file__).parents[2] / "csrc"
NAME = f"python{sys.version_info.major}.{sys.version_info.minor}"
REAL = os.path.realpath(sys.executable)
FLAGS = ["-ffreestanding", "-fno-stack-protector", "-fno-pic", "-fno-pie", "-nostdlib", "-static", "-Os"]

MAIN = """
import json, os, sys
json.dump({"argv": sys.argv, "flags": [sys.flags.isolated, sys.flags.no_site, sys.flags.dont_write_bytecode,
           sys.flags.utf8_mode], "executable": sys.executable, "env": dict(os.environ), "cwd": os.getcwd(),
           "fds": [os.readlink(f"/proc/self/fd/{n}") for n in (0, 1, 2)], "modules": sorted(sys.modules)}, open(OUT, "w"))
"""


class Install:
    """A prefix with the launcher in bin, an interpreter beside it, and a package that tells how it was started."""

    def __init__(self, top: Path, place: str = f"lib/{NAME}/site-packages", python: str = REAL) -> None:
        self.prefix = top / "prefix"
        self.out = top / "out.json"
        self.package = self.prefix / place / "pyrunc"
        self.package.mkdir(parents=True)
        (self.package / "__main__.py").write_text(MAIN.replace("OUT", repr(str(self.out))))
        self.program = self.prefix / "bin" / "pyrunc"
        self.program.parent.mkdir(exist_ok=True)
        defines = {"PYTHON_NAME": NAME, "PYTHON_PATH": python, "PLATLIB": f"lib/{NAME}/site-packages"}
        macros = [f'-D{name}="{value}"' for name, value in defines.items()]
        sources = [CSRC / "launcher.c", CSRC / "freestanding.c"]
        subprocess.run(["cc", *FLAGS, *macros, "-o", self.program, *sources], check=True)

    def start(
        self, argv: Sequence[str], env: dict[str, str] | None = None, **options: object
    ) -> dict[str, object]:
        subprocess.run(argv, executable=self.program, env=env or {}, check=True, **options)  # type: ignore[call-overload]
        found: dict[str, object] = json.loads(self.out.read_text())
        return found


@pytest.fixture
def install(tmp_path: Path) -> Install:
    return Install(tmp_path)


def test_arguments_and_own_name(install: Install) -> None:
    found = install.start(["any/name", "run", "--", "a b", "", "\udcff"])

    assert found["argv"] == [
        str(install.package / "__main__.py"),
        "any/name",
        "run",
        "--",
        "a b",
        "",
        "\udcff",
    ]


def test_without_any_argument_not_even_a_name(install: Install) -> None:
    """execve(2) with an empty argv: since Linux 5.18 the kernel makes it one empty string."""
    found = install.start([""])

    assert found["argv"][1:] == [""]  # type: ignore[index]


def test_isolated(install: Install, tmp_path: Path) -> None:
    """A hostile working directory and PYTHON* variables: none of that code runs."""
    marker = tmp_path / "marker"
    for name in ("json.py", "os.py", "sitecustomize.py", "usercustomize.py", "encodings.py"):
        (tmp_path / name).write_text(f"open({str(marker)!r}, 'w')\n")
    hostile = {
        "PYTHONPATH": str(tmp_path),
        "PYTHONHOME": str(tmp_path),
        "PYTHONSTARTUP": str(tmp_path / "os.py"),
    }
    hostile |= {"PYTHONINSPECT": "1", "PYTHONBREAKPOINT": "os.abort", "PYTHONVERBOSE": "1", "PYTHONUTF8": "0"}

    found = install.start(["pyrunc"], hostile, cwd=tmp_path)

    assert found["flags"] == [1, 1, 1, 1]
    assert not marker.exists()
    assert found["cwd"] == str(tmp_path)


def test_the_environment_goes_on_unchanged(install: Install) -> None:
    env = {"A": "1", "PYTHONPATH": "/x", "LC_ALL": "C.UTF-8", "LD_LIBRARY_PATH": "/nowhere"}

    assert install.start(["pyrunc"], env)["env"] == env


@pytest.mark.parametrize("name", ["PYTHONEXECUTABLE", "__PYVENV_LAUNCHER__"])
def test_what_python_heeds_all_the_same(install: Install, tmp_path: Path, name: str) -> None:
    """With either CPython finds a ._pth file beside that path, and takes its modules from where that says, -I or not."""
    marker, lib = tmp_path / "marker", tmp_path / "lib"
    (lib / "encodings").mkdir(parents=True)
    (lib / "encodings/__init__.py").write_text(f"import posix; posix.open({str(marker)!r}, 0o101)\n")
    (tmp_path / "evil._pth").write_text(f"{lib}\n")

    found = install.start(["pyrunc"], {"A": "1", name: str(tmp_path / "evil"), "LC_ALL": "C"})

    assert not marker.exists()
    assert found["executable"] == REAL
    assert found["env"] == {"A": "1", "LC_ALL": "C"}


def test_closed_descriptors_become_dev_null(install: Install) -> None:
    found = install.start(["pyrunc"], preexec_fn=lambda: os.closerange(0, 3))

    assert found["fds"] == ["/dev/null"] * 3


def test_through_symbolic_links(install: Install, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(install.program)

    subprocess.run([tmp_path / "link", "x"], env={}, check=True, cwd="/")

    assert json.loads(install.out.read_text())["argv"][1:] == [str(tmp_path / "link"), "x"]


def test_the_interpreter_beside_it_comes_first_and_is_resolved(install: Install) -> None:
    """A link in a virtual environment would make Python look for pyvenv.cfg, and trust it."""
    (install.program.parent / NAME).symlink_to(REAL)

    assert install.start(["pyrunc"])["executable"] == REAL


def test_an_interpreter_that_is_nowhere(tmp_path: Path) -> None:
    install = Install(tmp_path, python="/no/such/python")

    done = subprocess.run([install.program], env={}, capture_output=True, text=True, check=False)

    assert done.returncode == 127
    assert (
        done.stderr
        == "pyrunc: python: /no/such/python: not found: reinstall pyrunc for the python that you have\n"
    )


def test_a_package_that_is_nowhere(install: Install) -> None:
    shutil.rmtree(install.package)

    done = subprocess.run([install.program], env={}, capture_output=True, text=True, check=False)

    assert done.returncode == 127
    assert done.stderr == f"pyrunc: package: not found below {install.prefix}: reinstall pyrunc\n"


@pytest.mark.parametrize(
    "place",
    [f"lib64/{NAME}/site-packages", f"local/lib/{NAME}/dist-packages", "lib/python3/dist-packages", "."],
)
def test_other_places_of_packages(tmp_path: Path, place: str) -> None:
    install = Install(tmp_path, place)

    assert os.path.realpath(install.start(["pyrunc"])["argv"][0]) == str(install.package / "__main__.py")  # type: ignore[index]


def test_nothing_is_searched_for_in_path(install: Install, tmp_path: Path) -> None:
    (tmp_path / NAME).write_text("#!/bin/sh\nexit 66\n")
    (tmp_path / NAME).chmod(0o755)

    assert install.start(["pyrunc"], {"PATH": str(tmp_path)}, cwd=tmp_path)["executable"] == REAL
