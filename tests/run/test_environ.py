"""process.env, and HOME from a passwd file that a stranger wrote."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from pyrunc.run.environ import environment, home_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def root(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    (tmp_path / "etc").mkdir()
    fd = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    yield tmp_path, fd
    os.close(fd)


def passwd(root: Path, text: str) -> None:
    (root / "etc/passwd").write_text(text)


def test_home_is_that_of_the_uid(root: tuple[Path, int]) -> None:
    passwd(root[0], "root:x:0:0:root:/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n")

    assert home_of(0, root[1]) == "/root"
    assert home_of(1000, root[1]) == "/home/ann"
    assert home_of(1, root[1]) == "/"


def test_the_last_of_equal_names_wins_in_its_place(root: tuple[Path, int]) -> None:
    passwd(root[0], "")

    env = environment(["A=1", "B=2", "A=3\nx", "HOME=/h"], 0, root[1])

    assert env == b"B=2\0A=3\nx\0HOME=/h\0"


def test_an_empty_home_is_replaced(root: tuple[Path, int]) -> None:
    passwd(root[0], "root:x:0:0::/root:\n")

    assert environment(["HOME="], 0, root[1]) == b"HOME=/root\0"


def make_fifo(root: Path) -> None:
    os.mkfifo(root / "etc/passwd")


def make_directory(root: Path) -> None:
    (root / "etc/passwd").mkdir()


def make_zero(root: Path) -> None:
    (root / "etc/passwd").symlink_to("/dev/zero")


def make_loop(root: Path) -> None:
    (root / "etc/passwd").symlink_to("passwd")


def make_hole(root: Path) -> None:
    with open(root / "etc/passwd", "wb") as file:
        file.truncate(200 << 20)


def make_junk(root: Path) -> None:
    (root / "etc/passwd").write_bytes(bytes(range(256)) * 64)


def make_nul(root: Path) -> None:
    (root / "etc/passwd").write_bytes(b"root:x:0:0::/ro\0ot:\n")


def make_nothing(root: Path) -> None:
    (root / "etc").rmdir()


@pytest.mark.parametrize(
    "make", [make_fifo, make_directory, make_zero, make_loop, make_hole, make_junk, make_nul, make_nothing]
)
def test_a_passwd_that_plays_tricks_gives_the_root_directory(make: object, root: tuple[Path, int]) -> None:
    assert callable(make)
    make(root[0])
    signal.alarm(2)
    try:
        assert home_of(0, root[1]) == "/"
    finally:
        signal.alarm(0)


def test_a_symlink_out_of_the_root_stays_in_it(
    root: tuple[Path, int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside") / "passwd"
    outside.write_text("root:x:0:0::/outside:\n")
    (root[0] / "etc/passwd").symlink_to(outside)

    assert home_of(0, root[1]) == "/"
