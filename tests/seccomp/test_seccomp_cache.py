"""Compiled programs are kept, found again, and only taken when nobody else may have written them."""

from __future__ import annotations

import os
import re
import time

import pytest
from test_seccomp_program import profile, rule

from pyrunc.seccomp import cache, make_filter
from pyrunc.seccomp import compile as compiler

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

    from pyrunc.spec.model import Seccomp


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[Seccomp]:
    """Every profile that is compiled, and not taken from the cache."""
    seen: list[Seccomp] = []
    original = compiler.compile_profile
    monkeypatch.setattr(
        compiler, "compile_profile", lambda seccomp: (seen.append(seccomp), original(seccomp))[1]
    )
    return seen


PROFILE = profile("ALLOW", rule("ERRNO", "mkdir"))


def condition(index: int, value: int) -> dict[str, object]:
    return {"index": index, "value": value, "op": "SCMP_CMP_EQ"}


def entries(root: Path) -> list[Path]:
    return sorted(root.glob(".*"))


def test_the_second_time_it_is_read(tmp_path: Path, compiled: list[Seccomp]) -> None:
    root = tmp_path / "root"  # which the first container finds missing
    first, second = make_filter(PROFILE, str(root)), make_filter(PROFILE, str(root))

    assert first.program == second.program
    assert len(compiled) == 1
    assert [oct(path.stat().st_mode) for path in entries(root)] == ["0o100600"]


def test_whatever_changes_makes_another_entry(tmp_path: Path, compiled: list[Seccomp]) -> None:
    many = [
        PROFILE, profile("ALLOW", rule("ERRNO", "mkdir", errnoRet=2)), profile("ALLOW", rule("ERRNO", "mkdirat")),
        profile("ALLOW", rule("ERRNO", "mkdir", "mkdirat")), profile("ALLOW", rule("ERRNO", "mkdir"), rule("ERRNO", "mkdirat")),
        profile("LOG", rule("ERRNO", "mkdir")), profile("ALLOW", rule("ERRNO", "mkdir"), architectures=["SCMP_ARCH_X86"]),
        *[profile("ALLOW", rule("ERRNO", "mkdir", args=[condition(i, v)])) for i in (0, 1) for v in (1, 2)],
    ]  # fmt: skip
    for seccomp in many * 2:
        make_filter(seccomp, str(tmp_path))

    assert len(compiled) == len(many) == len(entries(tmp_path))


def spoil(path: Path, how: str) -> None:
    data = path.read_bytes()
    if how == "cut":
        path.write_bytes(data[:-8])
    elif how == "changed":
        path.write_bytes(data[:-1] + b"\x7f")
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "writable":
        path.chmod(0o620)
    elif how == "foreign":
        os.chown(path, 1, 1)
    elif how == "another's":
        other = profile("LOG")
        make_filter(other, str(path.parent))
        (more,) = [entry for entry in entries(path.parent) if entry != path]
        more.rename(path)
    else:
        path.unlink()
        path.symlink_to("elsewhere") if how == "link" else os.mkfifo(path)


@pytest.mark.parametrize(
    "how",
    [
        "cut",
        "changed",
        "empty",
        "writable",
        "another's",
        "link",
        "fifo",
        pytest.param("foreign", marks=pytest.mark.root),
    ],
)
def test_a_spoilt_entry_is_made_anew(tmp_path: Path, compiled: list[Seccomp], how: str) -> None:
    good = make_filter(PROFILE, str(tmp_path)).program
    (path,) = entries(tmp_path)
    (tmp_path / "elsewhere").write_bytes(path.read_bytes())
    spoil(path, how)
    compiled.clear()

    assert make_filter(PROFILE, str(tmp_path)).program == good
    assert len(compiled) == 1
    assert make_filter(PROFILE, str(tmp_path)).program == good
    assert len(compiled) == 1, "the new entry is a good one"
    assert path.is_file()


def test_there_is_an_end_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "LIMIT", 3)
    for number in range(5):
        make_filter(profile("ALLOW", rule("ERRNO", "mkdir", errnoRet=number)), str(tmp_path))
        newest = max(entries(tmp_path), key=lambda path: path.stat().st_mtime_ns)
        os.utime(newest, ns=(number, number + 10**18))

    ages = [path.stat().st_mtime_ns - 10**18 for path in entries(tmp_path)]
    assert sorted(ages) == [2, 3, 4]


def test_a_root_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    assert make_filter(PROFILE, str(tmp_path / "file")).program
    assert make_filter(PROFILE, "/proc/no-such").program


def large() -> Seccomp:
    """A profile of the size of Docker's default one: some 350 calls allowed, some under conditions, three architectures."""
    with open("/usr/include/x86_64-linux-gnu/asm/unistd_64.h", encoding="ascii") as file:
        names = re.findall(r"__NR_(\w+)", file.read())
    conditions = [
        [{"index": 0, "value": value, "op": "SCMP_CMP_EQ"}] for value in (0, 8, 131072, 131080, 2**32 - 1)
    ]
    personalities = [rule("ALLOW", "personality", args=args) for args in conditions]
    some = [rule("ALLOW", *names[at : at + 12]) for at in range(0, len(names), 12)]
    return profile("ERRNO", *some, *personalities, architectures=["SCMP_ARCH_X86", "SCMP_ARCH_X32"])


def test_a_large_profile_costs_nothing_once_it_is_known(tmp_path: Path) -> None:
    seccomp = large()
    make_filter(seccomp, str(tmp_path))
    times = []
    for _ in range(20):
        began = time.perf_counter()
        made = make_filter(seccomp, str(tmp_path))
        times.append(time.perf_counter() - began)

    assert len(made.program) // 8 > 300
    assert min(times) < 0.001
