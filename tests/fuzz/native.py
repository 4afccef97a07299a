"""The fuzzers in C: libFuzzer on the plan checker and on the executor, both begun with the plans of all golden cases.

`checker` is csrc/check.c alone; `executor` is all of it, on a kernel that the input answers for; `live` is the executor
itself, on the real one (live.py).
"""

from __future__ import annotations

import functools
import re
import shutil
import struct
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from pyrunc.plan.ops import Plan

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BUILD = ROOT / "build" / "fuzz"
CSRC = ROOT / "csrc"
EXECUTOR = ("init", "check", "ops", "path", "copy", "talk", "program", "seccomp")
FLAGS = ("-std=gnu11", "-DPYRUNC_HOSTED", "-g", "-O1", "-fno-sanitize-recover=all", f"-I{CSRC}", f"-I{HERE}")
SANITIZE = "-fsanitize=fuzzer,address,undefined"
LONGEST = 1 << 16
NEEDED = "clang with its sanitizers: apt-get install clang libclang-rt-dev"
STATS = re.compile(r"^stat::(\w+):\s+(\d+)$", re.MULTILINE)
COVERED = re.compile(r"cov: (\d+)")


def run(*command: object) -> None:
    done = subprocess.run([str(word) for word in command], check=False, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}\n{done.stderr}")


def build_checker(program: Path) -> None:
    run(
        "clang",
        *FLAGS,
        "-DLIBFUZZER",
        SANITIZE,
        CSRC / "check.c",
        HERE / "fuzz_plan.c",
        HERE / "mutate.c",
        "-o",
        program,
    )


def build_executor(program: Path, *flags: str, compiler: str = "clang") -> None:
    """Build the executor on the fake kernel; init.c calls the operations by way of the check of descriptors.

    Without `flags` it becomes a target of libFuzzer's, else the program of STANDALONE.
    """
    rest = [HERE / "fake_kernel.c", HERE / "fuzz_executor.c"]
    if flags:
        flags = (*flags, "-DSTANDALONE")
    else:
        flags = (SANITIZE, "-DWITH_ANSWERS")
        rest.append(HERE / "mutate.c")
    objects = []
    for name in EXECUTOR:
        objects.append(program.with_name(f"{program.name}-{name}.o"))
        own = ("-Dmain=executor_main", "-DCHECK_OPERATIONS") if name == "init" else ()
        source = ("-include", HERE / "fake_kernel.h", *own, "-c", CSRC / f"{name}.c", "-o", objects[-1])
        run(compiler, *FLAGS, *flags, *source)
    run(compiler, *FLAGS, *flags, *objects, *rest, "-o", program)


def golden() -> dict[str, Plan]:
    """Return the plans of the golden cases."""
    from cases import HOST, compile_config
    from goldens import CASES

    from pyrunc.host import Host

    made = {}
    for name, case in CASES.items():
        host = Host(**{**HOST.__dict__, **case.host})
        made[name] = compile_config(case.config, host, **case.request)
    return made


def plans() -> dict[str, bytes]:
    """Return the golden plans as the executor gets them."""
    from pyrunc.plan.encode import encode

    return {name: encode(plan) for name, plan in golden().items()}


def seeds_with_flags() -> list[tuple[bytes, int]]:
    """Return the golden plans with the namespaces that the executor is spawned into."""
    from pyrunc.plan.encode import encode

    return [(encode(plan), plan.clone_flags) for plan in golden().values()]


def write_seeds(directory: Path, *, answers: bool) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    for name, plan in plans().items():
        head = struct.pack("=I", len(plan)) if answers else b""
        (directory / name).write_bytes(head + plan)
        for kind in (0x00, 0x7F, 0x80, 0xFF) if answers else ():
            (directory / f"{name}-{kind:02x}").write_bytes(head + plan + bytes([kind]) * 200)
    for found in sorted((HERE / "corpus/executor").iterdir()) if answers else ():
        shutil.copy(found, directory)


def libfuzzer(name: str, seconds: float, seed: int) -> int:
    """Run one target; what it found is a file build/fuzz/NAME-crash-..., and its report is printed."""
    program, corpus = BUILD / name, BUILD / f"corpus-{name}"
    if not program.exists():
        prepare([name])
    corpus.mkdir(exist_ok=True)
    options = {
        "max_total_time": max(1, int(seconds)), "seed": seed or 1, "max_len": LONGEST, "timeout": 10, "rss_limit_mb": 1024,
        "print_final_stats": 1, "artifact_prefix": f"{BUILD}/{name}-", "detect_leaks": 1, "len_control": 0,
    }  # fmt: skip
    words = [f"-{key}={value}" for key, value in options.items()]
    done = subprocess.run(
        [program, *words, corpus, BUILD / f"seeds-{name}"],
        check=False, capture_output=True, text=True, errors="replace", env={"UBSAN_OPTIONS": "print_stacktrace=1"},
    )  # fmt: skip
    if done.returncode:
        print(
            f"{done.stdout[-2000:]}\n{done.stderr[-6000:]}\n{name}: FAILED, the input is build/fuzz/{name}-..."
        )
        return 1
    stats = dict(STATS.findall(done.stderr))
    edges = COVERED.findall(done.stderr)[-1]
    print(
        f"{name}: {stats['number_of_executed_units']} inputs, {edges} edges covered; peak memory {stats['peak_rss_mb']} MiB"
    )
    return 0


def live(seconds: float, seed: int) -> int:
    """Run the executor on the real kernel."""
    from live import fuzz_live

    return fuzz_live(seconds, seed)


def build_live(program: Path) -> None:
    """Build it."""
    from live import build

    build(program)


TARGETS: dict[str, Callable[[float, int], int]] = {
    "executor": functools.partial(libfuzzer, "executor"),
    "checker": functools.partial(libfuzzer, "checker"),
    "live": live,
}


BUILDERS: dict[str, Callable[[Path], None]] = {
    "checker": build_checker,
    "executor": build_executor,
    "live": build_live,
}


def prepare(chosen: list[str]) -> None:
    """Build what the targets need."""
    BUILD.mkdir(parents=True, exist_ok=True)
    wanted = [name for name in BUILDERS if name in chosen]
    if wanted and not shutil.which("clang"):
        raise SystemExit(f"tests/fuzz needs {NEEDED}")
    for name in wanted:
        BUILDERS[name](BUILD / name)
        if name != "live":
            write_seeds(BUILD / f"seeds-{name}", answers=name == "executor")
