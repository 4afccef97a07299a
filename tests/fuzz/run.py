"""Fuzz what reads a stranger's input: `python tests/fuzz/run.py [--seconds N] [--seed N] [TARGET ...]`.

`--seconds` is the time for all targets together, which share the processors. An input that fails is kept as build/fuzz/TARGET,
and `--input FILE TARGET` judges it alone. README.md says what the targets are.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BUILD = ROOT / "build" / "fuzz"
sys.path[:0] = [
    str(HERE),
    *(str(HERE.parent / name) for name in ("spec", "plan", "executor", "seccomp", "cgroup")),
]

from fuzzing import Failure, Target, fuzz, judge, limit_memory  # noqa: E402  # after sys.path

MODULES = (
    "target_config",
    "target_plan",
    "target_state",
    "target_json",
    "target_words",
    "target_host",
    "target_filters",
)
WEIGHTS = {"executor": 4, "live": 3, "checker": 2, "config": 2, "plan": 2}
"""The others have 1: their share of the time."""


def python_targets() -> dict[str, type[Target]]:
    """Return name -> class of the targets in Python."""
    import importlib

    return {target.name: target for name in MODULES for target in importlib.import_module(name).TARGETS}


def names() -> list[str]:
    import native

    return [*native.TARGETS, *python_targets()]


def one(name: str, seconds: float, seed: int) -> int:
    """Fuzz one target in this process."""
    import native

    BUILD.mkdir(parents=True, exist_ok=True)
    if name in native.TARGETS:
        return native.TARGETS[name](seconds, seed)
    limit_memory()
    target = python_targets()[name]()
    try:
        print(f"{name}: {fuzz(target, seconds, seed)}")
    except Failure as failure:
        (BUILD / name).write_bytes(failure.data)
        traceback.print_exception(failure.__cause__)
        print(
            f"{name}: FAILED with seed {seed}: {failure}: the input is build/fuzz/{name}: {failure.data[:200]!r}"
        )
        return 1
    finally:
        target.clean()
    return 0


def again(name: str, file: Path) -> int:
    """Judge one input."""
    limit_memory()
    target = python_targets()[name]()
    try:
        print(judge(target, file.read_bytes())[0])
    finally:
        target.clean()
    return 0


def every(chosen: list[str], seconds: float, seed: int) -> int:
    """Fuzz the targets side by side, each in a process of its own."""
    import native

    jobs = os.cpu_count() or 1
    native.prepare(chosen)
    total = sum(WEIGHTS.get(name, 1) for name in chosen)

    def work(name: str) -> tuple[str, int]:
        share = seconds * jobs * WEIGHTS.get(name, 1) / total
        command = [
            sys.executable,
            str(Path(__file__)),
            "--one",
            "--seconds",
            f"{share:.1f}",
            "--seed",
            str(seed),
            name,
        ]
        done = subprocess.run(command, check=False, capture_output=True, text=True, errors="replace")
        return done.stdout + done.stderr, done.returncode

    heaviest_first = sorted(chosen, key=lambda name: -WEIGHTS.get(name, 1))
    failed = 0
    with ThreadPoolExecutor(jobs) as pool:
        for output, code in pool.map(work, heaviest_first):
            sys.stdout.write(output)
            sys.stdout.flush()
            failed += code != 0
    return failed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120, help="for all targets together")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    parser.add_argument("--one", action="store_true", help="in this process; --seconds is for it alone")
    parser.add_argument("--input", type=Path, help="judge this file, by one target")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="all, when none is given")
    args = parser.parse_args()
    if args.input:
        return again(args.targets[0], args.input)
    if args.one:
        return one(args.targets[0], args.seconds, args.seed)
    began = time.monotonic()
    failed = every(args.targets or names(), args.seconds, args.seed)
    print(
        f"seed {args.seed}, {time.monotonic() - began:.0f} s: {f'{failed} targets FAILED' if failed else 'no failure'}"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
