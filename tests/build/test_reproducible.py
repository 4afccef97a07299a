"""Two builds give the same bytes, and what builds and tests pyrunc is pinned and told of."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING

import pytest
from test_setup import TREE, copy_tree

if TYPE_CHECKING:
    from pathlib import Path

EXACT = re.compile(r"^([a-z0-9-]+)==(\S+)(?: ; [^\\]+)? ?\\$")
NAME = re.compile(r"^[A-Za-z0-9_-]+")
PROJECT = tomllib.loads((TREE / "pyproject.toml").read_text())
LISTS = {
    "run": PROJECT["project"]["dependencies"],
    "build": PROJECT["build-system"]["requires"],
    **PROJECT["project"]["optional-dependencies"],
    "sbom": (TREE / ".ci/requirements/sbom.in").read_text().split(),
}


def wheel(tree: Path, hash_seed: int) -> Path:
    env = os.environ | {"SOURCE_DATE_EPOCH": "1700000000", "PYTHONHASHSEED": str(hash_seed)}
    command = [sys.executable, "-W", "ignore", "setup.py", "-q", "bdist_wheel", "--dist-dir", "out"]
    subprocess.run(command, cwd=tree, env=env, capture_output=True, check=True)
    (built,) = (tree / "out").glob("*.whl")
    return built


@pytest.mark.slow
def test_two_builds_give_the_same_bytes(tmp_path: Path) -> None:
    """At other times, in directories of other names, with other seeds of Python's hashes."""
    pytest.importorskip(
        "setuptools", minversion="70.1", reason="setuptools makes wheels by itself since 70.1"
    )
    first = wheel(copy_tree(tmp_path / "one"), 1)
    tree = copy_tree(tmp_path / "another-one")
    for path in tree.rglob("*"):
        os.utime(path, (1, 1_600_000_000))
    second = wheel(tree, 2)
    assert first.name == second.name
    assert hashlib.sha256(first.read_bytes()).digest() == hashlib.sha256(second.read_bytes()).digest()


def normal(name: str) -> str:
    return name.lower().replace("_", "-")


def pinned(name: str) -> dict[str, int]:
    """What a file of pins holds: each name, and how many hashes it has."""
    found: dict[str, int] = {}
    last = ""
    for line in (TREE / f".ci/requirements/{name}.txt").read_text().splitlines():
        if match := EXACT.match(line):
            last = match[1]
            found.setdefault(last, 0)
        else:
            assert re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}( \\)?", line), line
            found[last] += 1
    return found


@pytest.mark.parametrize("name", LISTS)
def test_every_requirement_is_pinned_with_hashes(name: str) -> None:
    have = pinned(name)
    wanted = {normal(NAME.match(word)[0]) for word in LISTS[name]}  # type: ignore[index]
    assert wanted <= have.keys(), "run `make lock`"
    assert all(have.values())


def test_every_dependency_has_its_reason() -> None:
    told = (TREE / "docs/dependencies.md").read_text()
    debs = re.findall(r"^DEBS\w* +:= (.*)$", (TREE / "Makefile").read_text(), re.MULTILINE)
    packages = {
        word
        for line in debs
        for word in re.sub(r"\$\((DEBS\w*\)|if \$\(.*?\),,?|filter.*?\),)|\)", "", line).split()
    }
    direct = {normal(NAME.match(word)[0]) for words in LISTS.values() for word in words}  # type: ignore[index]
    behind = {name for list_ in ("run", "build") for name in pinned(list_)}
    lacking = [name for name in sorted(packages | direct | behind) if f"`{name}`" not in told]
    assert lacking == []
