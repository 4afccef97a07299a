"""What of a program's hardening the executor has: read from its own headers, and tried."""

from __future__ import annotations

import os
import shutil
import signal
import struct
import subprocess
from pathlib import Path

import pytest
from conftest import CSRC, SOURCES
from harness import NONE, Plan, run

from pyrunc.sys import executor_bytes

ET_DYN, PT_LOAD, PT_DYNAMIC, PT_INTERP, PT_GNU_STACK = 3, 1, 2, 3, 0x6474E551
READ, WRITE, EXECUTE = 4, 2, 1
PAGE = 4096
CANARY = b"\x25\x28\x00\x00\x00"  # the operand %fs:40
ANALYZE = [
    "-std=gnu11",
    "-Wall",
    "-Wextra",
    "-Os",
    "-ffreestanding",
    "-fanalyzer",
    "-Werror",
    "-c",
    "-o",
    "/dev/null",
]
on_x86 = pytest.mark.skipif(os.uname().machine != "x86_64", reason="needs an x86-64 processor")


def segments(data: bytes) -> list[tuple[int, ...]]:
    """Return (type, flags, offset, address, file size, memory size) of each program header of a 64-bit ELF file."""
    assert data[:6] == b"\x7fELF\x02\x01", "64 bits, little-endian"
    offset, count = struct.unpack_from("<Q", data, 32)[0], struct.unpack_from("<H", data, 56)[0]
    found = []
    for at in range(offset, offset + 56 * count, 56):
        kind, flags, place, address, _, in_file, in_memory, _ = struct.unpack_from("<IIQQQQQQ", data, at)
        found.append((kind, flags, place, address, in_file, in_memory))
    return found


def test_position_independent_and_ready_as_it_is() -> None:
    """static-pie without a relocation: no loader has a part in its start, and it needs none of its own."""
    data = executor_bytes()

    assert struct.unpack_from("<H", data, 16)[0] == ET_DYN
    assert {kind for kind, *_ in segments(data)} == {PT_LOAD, PT_GNU_STACK}
    assert b".rela" not in data


def test_nothing_can_be_written_to_and_only_code_is_executed() -> None:
    """Without data there is nothing for RELRO to protect; code and constants share no page, in the file or in memory."""
    loads = [one for one in segments(executor_bytes()) if one[0] == PT_LOAD]
    stack = next(one for one in segments(executor_bytes()) if one[0] == PT_GNU_STACK)

    assert [flags for _, flags, *_ in loads] == [READ, READ | EXECUTE]
    assert all(in_file == in_memory for *_, in_file, in_memory in loads), "no .bss"
    constants, code = loads
    assert code[2] % PAGE == code[3] % PAGE == 0
    assert constants[2] + constants[4] <= code[2]
    assert stack[1] == READ | WRITE, "no executable stack"


def where_it_runs() -> list[str]:
    """Return the executor's own lines of /proc/PID/maps, while it waits for an answer."""
    found: list[str] = []

    def look(pid: int, _fds: list[int]) -> tuple[int, tuple[int, ...]]:
        found.extend(Path(f"/proc/{pid}/maps").read_text().splitlines())
        return 0, ()

    assert run(Plan().op("RPC", 5, NONE, 0), answers={5: look}).error is None
    return [line for line in found if "memfd:pyrunc" in line]


def test_it_runs_somewhere_else_each_time() -> None:
    runs = [where_it_runs() for _ in range(4)]

    assert [line.split()[1] for line in runs[0]] == ["r--p", "r-xp"]
    assert len({lines[0] for lines in runs}) > 1, "the same address four times"


@on_x86
def test_functions_look_at_a_canary() -> None:
    assert executor_bytes().count(CANARY) > 40, "twice in each function with an array"


SMASH = """
#include "guard.h"
static void __attribute__((noinline)) fill(volatile char *to, long n) { for (long i = 0; i < n; i++) to[i] = 1; }
static void __attribute__((noinline)) smash(long n) { char room[16]; fill(room, n); }
UNGUARDED __attribute__((used)) _Noreturn void enter(const long *stack) {
  GUARD(stack);
  smash(stack[0] > 1 ? 64 : 16);
  leave(7);
}
ENTRY(enter);
"""


@on_x86
def test_a_smashed_stack_is_noticed(tmp_path: Path) -> None:
    """What stands in for the C library's part, in a program that writes beyond an array when it is told to."""
    (tmp_path / "smash.c").write_text(SMASH)
    program = tmp_path / "smash"
    flags = [
        "-std=gnu11",
        "-O1",
        "-ffreestanding",
        "-fPIE",
        "-static-pie",
        "-nostdlib",
        "-fstack-protector-strong",
    ]
    sources = [tmp_path / "smash.c", CSRC / "freestanding.c"]
    subprocess.run(
        ["cc", *flags, f"-I{CSRC}", f"-Wl,-T,{CSRC}/executor.ld", "-o", program, *sources], check=True
    )

    assert subprocess.run([program], check=False).returncode == 7
    assert subprocess.run([program, "now"], check=False).returncode in {-signal.SIGILL, -signal.SIGTRAP}


@pytest.mark.lint
@pytest.mark.slow
@pytest.mark.parametrize("source", [*SOURCES, CSRC / "freestanding.c"], ids=lambda path: path.name)
def test_the_analyzer_finds_nothing(source: Path) -> None:
    if not shutil.which("gcc"):
        pytest.skip("gcc is not installed: apt-get install gcc")
    done = subprocess.run(["gcc", *ANALYZE, source], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.lint
def test_the_analyzer_finds_something(tmp_path: Path) -> None:
    if not shutil.which("gcc"):
        pytest.skip("gcc is not installed: apt-get install gcc")
    (tmp_path / "bad.c").write_text("int f(int *p);\nint f(int *p) { return p ? 0 : *p; }\n")
    assert (
        subprocess.run(["gcc", *ANALYZE, tmp_path / "bad.c"], check=False, capture_output=True).returncode
        != 0
    )
