"""setup.py: what it installs, and its one line for each thing that may be missing."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("setuptools", reason="setuptools builds pyrunc: pip install setuptools")

TREE = Path(__file__).parents[2]
SITE = f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
WANTED = (
    "csrc",
    "pyrunc",
    "setup.py",
    "pyproject.toml",
    "MANIFEST.in",
    "README.md",
    "LICENSE",
    "CHANGELOG.md",
)


def copy_tree(to: Path) -> Path:
    """A checkout as git would give it: without anything that was built."""
    to.mkdir()
    for name in WANTED:
        source = TREE / name
        if source.is_dir():
            shutil.copytree(source, to / name, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
        else:
            shutil.copy(source, to)
    return to


def compiler(path: Path, refuse: str) -> str:
    """A compiler that fails on every source with `refuse` in it."""
    path.write_text(
        f'#!/bin/sh\nfor f; do case $f in *.c) grep -q "{refuse}" "$f" && exit 1;; esac; done\nexec cc "$@"\n'
    )
    path.chmod(0o755)
    return str(path)


def build(tree: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-W",
        "ignore",
        "setup.py",
        "-q",
        "build_ext",
        "--build-temp",
        "temp",
        "--build-lib",
        "lib",
    ]
    return subprocess.run(command, cwd=tree, env=env, capture_output=True, text=True, check=False)


COMPILER = "pyrunc needs a C compiler: apt-get install gcc libc6-dev (dnf install gcc glibc-devel)"
KERNEL = (
    "pyrunc needs kernel headers of Linux 5.14: apt-get install linux-libc-dev (dnf install kernel-headers)"
)


@pytest.mark.parametrize(
    ("missing", "line"),
    [
        ("compiler", COMPILER),
        ("probe;$", COMPILER),
        (
            "unistd.h",
            "pyrunc needs the C library's headers: apt-get install libc6-dev (dnf install glibc-devel)",
        ),
        ("MOUNT_ATTR_NOSYMFOLLOW", KERNEL),
        (
            "Python.h",
            "pyrunc needs Python's headers: apt-get install python3-dev (dnf install python3-devel)",
        ),
    ],
)
def test_one_line_for_what_is_missing(tmp_path: Path, missing: str, line: str) -> None:
    tree = copy_tree(tmp_path / "tree")
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    env["CC"] = "/no/such/compiler" if missing == "compiler" else compiler(tmp_path / "cc", missing)

    done = build(tree, env)

    assert done.returncode != 0
    assert done.stderr.splitlines()[-1] == line
    assert "Traceback" not in done.stderr


def test_no_compiler_at_all(tmp_path: Path) -> None:
    tree = copy_tree(tmp_path / "tree")

    done = build(tree, {"PATH": str(tmp_path), "HOME": str(tmp_path)})

    assert done.stderr.splitlines()[-1].startswith("pyrunc needs a C compiler: ")


@pytest.mark.slow
def test_install_from_a_checkout(tmp_path: Path) -> None:
    """As `pip install .` does, with a distribution's hardening flags; then away from the checkout, with nothing around."""
    pytest.importorskip("wheel", reason="pip install wheel")
    tree = copy_tree(tmp_path / "tree")
    prefix = tmp_path / "prefix"
    flags = "-O2 -g -fstack-protector-strong -D_FORTIFY_SOURCE=2 -fcf-protection -flto=auto -fPIE"
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--ignore-installed",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
    ]
    env = {**os.environ, "CFLAGS": flags, "PIP_ROOT_USER_ACTION": "ignore"}
    pip += [
        "--disable-pip-version-check",
        "--ignore-installed",
    ]  # or it uninstalls the one that is being tested
    subprocess.run([*pip, "--prefix", prefix, tree], env=env, check=True)
    shutil.rmtree(tree)
    import _cffi_backend

    shutil.copy(_cffi_backend.__file__, prefix / SITE)

    command = prefix / "bin" / "pyrunc"
    done = subprocess.run(
        [command, "--version"], env={}, cwd="/", capture_output=True, text=True, check=False
    )

    assert stat.S_IMODE(command.stat().st_mode) & 0o111 == 0o111
    assert done.stderr == ""
    assert done.stdout.startswith("pyrunc version ")
    assert len(list((prefix / SITE / "pyrunc").glob("_shim*.so"))) == 1
    assert "bin/pyrunc" in next((prefix / SITE).glob("pyrunc-*.dist-info/RECORD")).read_text(), (
        "or pip uninstall leaves it"
    )
