"""What of the executor is reached: `python tests/executor/executor_coverage.py` lists what is not.

The executor is built with gcov and run on the kernel of tests/fuzz (fake_kernel.c), in which any call can fail: the golden
plans, a small plan for each operation and the plans that the checker refuses; each as it is, with each of its calls failing
with each of some errnos, and with answers at random from a fixed seed. So every branch counts, and not every line only: TRY
hides one in each.

A branch that cannot be reached says why, in a comment `unreached: reason` on its line or on the line above it.
"""

from __future__ import annotations

import errno
import gzip
import json
import os
import struct
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), *(str(HERE.parent / name) for name in ("fuzz", "plan"))]

import native  # noqa: E402  # after sys.path
from harness import CODES, CWD, NONE, SIGNATURES, Plan  # noqa: E402  # after sys.path

REASON = "unreached:"
ROUNDS = 500
"""Runs of a small plan with answers at random; a plan of a hundred operations gets a hundredth."""
FILLING = {"OPEN", "OPEN_TREE", "FSOPEN", "FSMOUNT", "SOCKET", "PTY", "MKPATH"}


def small_plans() -> dict[str, bytes]:
    """Return plans of few operations, for what the golden ones do not ask for and for what a stranger's answers decide."""
    some = {"slot": 4, "path": "/a/b", "str": "s", "bytes": b"bytes", "strs": ["/a", "/b"], "fd": 4, "id": 7}
    made = {}
    for name, types in SIGNATURES.items():
        args = [some.get(kind, 1) for kind in types]
        if name == "SPAWN":
            args[3:] = [4 | 5 << 16, 3]
        out = 6 if name in FILLING or name == "RPC" else NONE
        made[name] = Plan(inputs=3).op(name, *args, out=out, tolerate=[2]).encode()
    two = Plan(inputs=3).op("SECCOMP", 8, bytes(8), 4, 5).op("EXEC", ["/a"], ["a"], 6)
    made |= {
        "files": Plan(inputs=1).op("MKPATH", 4, "a/b//", 1, 0o644, out=6).encode(),
        "directory": Plan(inputs=1).op("MKPATH", 4, "", 0, 0o755, out=6).encode(),
        "too-long": Plan(inputs=1).op("MKPATH", 4, "x" * 5000, 0, 0o755, out=6).encode(),
        "nodes": Plan(inputs=1).op("NODE", 4, "fifo", 0o10755, 0, 7 << 32).op("NODE", 4, "n", 0o20755, 0, 0).encode(),
        "uid-only": Plan(inputs=1).op("NODE", 4, "fifo", 0o10755, 0, 7).encode(),
        "absolute-link": Plan(inputs=1).op("MKPATH", 4, "a/b", 1, 0o644, out=6).encode(),
        "copy-of-a-fifo": Plan(inputs=3).op("COPYUP", 4, 4).encode(),
        "copy-of-a-file": Plan(inputs=3).op("COPYUP", 4, 4).encode(),
        "copy-of-a-directory": Plan(inputs=3).op("COPYUP", 4, 4).encode(),
        "pivot": Plan(inputs=1).op("PIVOT", 4, 0).encode(),
        "no-pivot": Plan(inputs=1).op("PIVOT", 4, 2).encode(),
        "agent": two.encode(),
        "filter": Plan(inputs=1).op("SECCOMP", 0, bytes(8), NONE, NONE).op("UMASK", 0).encode(),
        "hook-without-files": Plan().op("SPAWN", "/h", ["h"], ["A=1"], NONE | NONE << 16, 0).encode(),
        "hook-that-is-not-there": Plan().op("SPAWN", "/h", ["h"], ["A=1"], NONE | NONE << 16, 0).encode(),
        "exec-without-env": Plan().op("EXEC", ["/a", "/b", "/c"], ["a", "b"], NONE).encode(),
        "find-one": Plan().op("FIND", ["/a"]).encode(),
        "close-env": Plan(inputs=2).op("CLOSEFROM", 3).op("EXEC", ["/a"], ["a"], 4).encode(),
        "close-env-moved": Plan(inputs=9).op("CLOSEFROM", 9).op("EXEC", ["/a"], ["a"], 12).encode(),
        "close-all": Plan(inputs=1).op("CLOSEFROM", 5).op("EXEC", ["/a"], ["a"], NONE).encode(),
        "dup": Plan(inputs=1).op("DUP2", 4, 5).op("DUP2", 4, 9).op("CLOSE", NONE).op("CLOSE", 4).op("CLOSE", 4).encode(),
        "groups": Plan().op("SETRES", 1, 1, b"", 2).op("SETRES", 1, 1, b"", 0).encode(),
        "root-by-cut": Plan().op("SETRES", 0xFFFFFFFF, 1, b"", 0).encode(),
        "root-group-by-cut": Plan().op("SETRES", 1, 0xFFFFFFFF, b"", 0).encode(),
        "ambient": Plan().op("BOUND", 5).op("CAPSET", 5, 5, 5, 5).encode(),
        "replace": Plan(inputs=1).op("SYMLINK", 4, "l", "t", 0).op("SYMLINK", 4, "l", "t", 1).encode(),
        "domain": Plan().op("HOSTNAME", 0, b"h").op("HOSTNAME", 1, b"d").op("MEMPOLICY", 1, b"").encode(),
        "attr": Plan(inputs=1).op("SETATTR", 4, 1, 1, 1, NONE).op("IOCTL", 4, 1, b"").op("MOVE", 4, 4, 0).encode(),
        "proc": Plan(inputs=1).op("MOVE", 4, 4, 0x9FA0).op("OPEN_TREE", 4, "", 1, out=5).encode(),
        "no-fd": Plan().op("RPC", 1, NONE, 0).op("RPC", 1, NONE, 2, out=8).op("RPC", 1, NONE, 2, out=8).encode(),
        "empty-slot": Plan().op("CHOWN", 40, 1, 1, tolerate=[9, 1, 2], skip=0).encode(),
        "skip": Plan().op("CHOWN", 40, 1, 1, tolerate=[1, 2, 9], skip=1).op("UMASK", 0).op("OPEN", CWD, "/", 0, 0, 0, out=5)
        .encode(),
        "trace": Plan(flags=1).op("UMASK", 0).encode(),
        "no-blob": Plan().header(0),
        "agent-alone": Plan(inputs=1).op("SECCOMP", 8, bytes(8), 4, NONE).encode(),
        "close-env-below": Plan(inputs=1).op("CLOSEFROM", 9).op("EXEC", ["/a"], ["a"], 4).encode(),
        "closefrom-fills": Plan().op("CLOSEFROM", 9, out=5).encode(),
        "spawn-fills": Plan().op("SPAWN", "/h", ["h"], ["A=1"], NONE | NONE << 16, 0, out=5).encode(),
        "nothing": Plan().encode(),
        "no-plan": b"",
    }  # fmt: skip
    return made


def refused_plans() -> dict[str, bytes]:
    """Return plans that the checker refuses, each for another reason."""
    from test_check import FAULTS, HEADER_FAULTS, one, patched

    good = Plan().op("UMASK", 0).op("CHDIR", "/").encode()
    made = {f"bad-{name}": one(record) for name, record in FAULTS.items()}
    made |= {f"head-{name}": patched(good, *fault) for name, fault in HEADER_FAULTS.items()}
    made |= {"short": good[:63], "no-nul": good[:-1] + b"x", "cut": good[:-1]}
    return {name.replace(" ", "-").replace("/", "-"): data for name, data in made.items()}


BOOT = bytes(10)
"""What the kernel is asked before the first operation, all of it answered well."""
COPY = (
    BOOT + bytes([0, 0, 0, 0, 0, 0]) + bytes([0, 1, 0, 0, 2])
)  # two directories are opened, the first has one name
ANSWERS = {
    "PTY": BOOT + bytes([0, 3, 0, 3]),  # fstat: a device, the one; fstatfs: a devpts
    "files": BOOT + bytes([0, 0, 0, 255]),  # readlinkat, where it is asked: a link of the greatest length
    "absolute-link": BOOT + bytes([0, 0, 0, 0, 1]),
    "hook-that-is-not-there": BOOT
    + bytes([0, 0, 0, 0, *(2**64 - errno.ENOENT).to_bytes(8, "little"), 255]),  # pipe2, clone, read
    "uid-only": BOOT + bytes([0, 0, 0, 5, 0, 2]),
    "copy-of-a-fifo": COPY + bytes([0, 5]),
    "copy-of-a-file": COPY + bytes([0, 1, 0, 0, 0, 0, 1]),
    "copy-of-a-directory": COPY + bytes([0, 0, 0, 0, 0, 0, 0]),
    "COPYUP": BOOT
    + bytes([0, 0, 0, 0, 0, 0])
    + bytes([0, 3, 0, 0, 1, 1, 0, 1, 1, 0, 0, 2])
    + bytes([0, 2]),  # ., .., a link
}
"""What a stranger's file system says, where chance would take long to say it (fake_kernel.c says what a byte means)."""


def write_plans(scratch: Path) -> list[Path]:
    plans = (
        small_plans() | refused_plans() | {f"golden-{name}": plan for name, plan in native.plans().items()}
    )
    files = []
    for name, plan in plans.items():
        files.append(scratch / f"{name}.plan")
        files[-1].write_bytes(struct.pack("=I", len(plan)) + plan + ANSWERS.get(name, b""))
    return files


def _checked(*command: Path | str) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"{command[-1]}: {done.returncode} {done.stderr[-3000:]}"


def run(scratch: Path, program: Path, rounds: int = ROUNDS) -> None:
    """Put each plan through a program of tests/fuzz, with every fault. Raises AssertionError where one is too much."""

    def work(file: Path) -> None:
        _checked(program, str(rounds // (1 + file.stat().st_size // 5600) ** 2), file)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(work, write_plans(scratch)))


def run_once(scratch: Path, program: Sequence[Path | str]) -> None:
    """Put the plans through a program as they are, in one process. Raises AssertionError."""
    _checked(*program, "-1", *write_plans(scratch))


def unreached(scratch: Path) -> list[str]:
    """Return `file:line: text` for each line of csrc with a branch, or all of it, that nothing reaches and no reason."""
    program = scratch / "executor"
    native.build_executor(program, "--coverage", "-O0", compiler="gcc")
    run(scratch, program)
    found = []
    for name in native.EXECUTOR:
        subprocess.run(["gcov", "--json-format", "--branch-probabilities", f"executor-{name}.gcda"], cwd=scratch, check=True,
                       stdout=subprocess.DEVNULL)  # fmt: skip
        report = json.loads(
            gzip.decompress(next(scratch.glob(f"executor-{name}.*gcov.json.gz")).read_bytes())
        )
        found += [
            line
            for file in report["files"]
            if Path(file["file"]).name == f"{name}.c"
            for line in _missing(name, file)
        ]
    return found


def _missing(name: str, report: dict[str, object]) -> list[str]:
    source = (native.CSRC / f"{name}.c").read_text().splitlines()
    found: dict[int, str] = {}
    for line in report["lines"]:  # type: ignore[attr-defined]
        number, missed = line["line_number"], [one for one in line["branches"] if not one["count"]]
        near = source[max(0, number - 2) : number]
        if (not line["count"] or missed) and not any(REASON in text for text in near):
            what = (
                "not reached"
                if not line["count"]
                else f"{len(missed)} of {len(line['branches'])} branches not taken"
            )
            found[number] = f"csrc/{name}.c:{number}: {what}: {source[number - 1].strip()}"
    return list(found.values())


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="pyrunc-coverage-") as scratch:
        missing = unreached(Path(scratch))
    print(
        "\n".join(
            [*missing, f"{len(CODES)} operations, {len(missing)} lines with something that nothing reaches"]
        )
    )
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
