"""Time OCI runtimes beside each other: `make bench`, or `bench.py --runtimes pyrunc,runc,crun` as root.

The runtimes take turns within each round, so that a busy moment of the machine meets all of them. Everything
is made in a private mount namespace, below a temporary directory, and removed at the end.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import common
import report


class Timer:
    """Runs commands through the small C program that takes time and memory (see timed.c for why)."""

    def __init__(self, scratch: Path) -> None:
        self.path = str(scratch / "timed")
        source = Path(__file__).with_name("timed.c")
        compiler = os.environ.get("CC") or next(filter(shutil.which, ("cc", "gcc", "clang")), "cc")
        command = [*compiler.split(), "-static", "-O2", "-o", self.path, str(source)]
        try:
            built = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            common.die(f"{compiler}: not found (apt install gcc libc6-dev)")
        if built.returncode:
            common.die(f"{compiler} {source.name}: {built.stderr.strip().splitlines()[-1]}")
        self.log = scratch / "output"

    def __call__(self, *command: str, limit: float = 30) -> tuple[float, int, int]:
        """Run a command: (milliseconds, peak memory in KiB, exit status). Its output goes to a log."""
        read, write = os.pipe()
        with self.log.open("wb") as log:
            actions = [
                (os.POSIX_SPAWN_DUP2, log.fileno(), 1),
                (os.POSIX_SPAWN_DUP2, log.fileno(), 2),
                (os.POSIX_SPAWN_DUP2, write, 3),
            ]
            pid = os.posix_spawn(self.path, [self.path, *command], os.environ, file_actions=actions)
        os.close(write)
        try:
            pidfd = os.pidfd_open(pid)
            if not common.wait_readable(pidfd, limit):
                os.kill(pid, 15)
            os.close(pidfd)
            os.waitpid(pid, 0)
            ns, kib, status = map(int, os.read(read, 64).split() or (0, 0, 125))
        finally:
            os.close(read)
        return ns / 1e6, kib, status

    def must(self, *command: str) -> tuple[float, int]:
        """The same for a command that has to succeed."""
        ms, kib, status = self(*command)
        if status:
            last = self.log.read_text(errors="replace").strip().rpartition("\n")[2]
            raise RuntimeError(f"{' '.join(command)}: exit status {status}: {last}")
        return ms, kib


class Runtime:
    """One runtime and its samples: milliseconds per operation, peak KiB per operation."""

    def __init__(self, name: str, path: str, scratch: Path, timer: Timer) -> None:
        self.name, self.path, self.timer = name, path, timer
        self.root = str(scratch / f"root-{name}")
        self.base = [path, "--root", self.root]
        self.times: dict[str, list[float]] = {}
        self.memory: dict[str, int] = {}
        self.counter = 0

    def new_id(self) -> str:
        self.counter += 1
        return f"bench-{os.getpid()}-{self.name}-{self.counter}"

    def sample(self, operation: str, *args: str) -> None:
        ms, kib = self.timer.must(*self.base, *args)
        self.times.setdefault(operation, []).append(ms)
        self.memory[operation] = max(kib, self.memory.get(operation, 0))

    def delete_all(self) -> None:
        listed = subprocess.run(
            [*self.base, "list", "-q"], capture_output=True, text=True, check=False
        ).stdout
        for name in listed.split():
            self.timer(*self.base, "delete", "--force", name)


def one_run(runtime: Runtime, bundle: Path) -> None:
    runtime.sample("run", "run", "--bundle", str(bundle), runtime.new_id())


def one_life(runtime: Runtime, bundle: Path, pid_file: Path) -> None:
    """A command after the other on one container. The time in which the killed process ends is nobody's."""
    name = runtime.new_id()
    runtime.sample("create", "create", "--bundle", str(bundle), "--pid-file", str(pid_file), name)
    pidfd = os.pidfd_open(int(pid_file.read_text()))
    runtime.sample("start", "start", name)
    runtime.sample("state", "state", name)
    runtime.sample("exec", "exec", name, "true")
    runtime.sample("ps", "ps", "--format", "json", name)
    runtime.sample("ps, table", "ps", name)
    runtime.sample("pause", "pause", name)
    runtime.sample("resume", "resume", name)
    runtime.sample("update", "update", "--pids-limit", "100", name)
    runtime.sample("kill", "kill", name, "KILL")
    common.wait_readable(pidfd, 10)
    os.close(pidfd)
    runtime.sample("delete", "delete", name)


def time_lives(
    runtimes: list[Runtime], bundles: common.Bundles, rounds: int, python: str, scratch: Path
) -> list[float]:
    """All operations on one container, round by round. Returns the times of the bare interpreter."""
    true = bundles.make("true", ["true"])
    sleep = bundles.make("sleep", ["sleep", "1000"])
    baseline = []
    for number in range(-2, rounds):
        baseline.append(runtimes[0].timer.must(python, "-I", "-S", "-c", "pass")[0])
        for runtime in runtimes:
            one_run(runtime, true)
            one_life(runtime, sleep, scratch / "pid")
        if number == -1:  # two rounds to warm the page cache and .pyc files
            baseline.clear()
            for runtime in runtimes:
                runtime.times.clear()
                runtime.memory.clear()
    return baseline


def time_lists(runtimes: list[Runtime], bundles: common.Bundles, sizes: list[int], rounds: int) -> None:
    """`list` with few and with many containers, which are created (not started) for it."""
    bundle = bundles.make("listed", ["sleep", "1000"], fewer_namespaces=True)
    made = 0
    for size in sizes:
        for runtime in runtimes:
            for _ in range(size - made):
                runtime.timer.must(*runtime.base, "create", "--bundle", str(bundle), runtime.new_id())
        made = size
        for _ in range(rounds):
            for runtime in runtimes:
                runtime.sample(f"list, {size} container{'s' * (size > 1)}", "list")
    for runtime in runtimes:
        runtime.delete_all()


def smallest_limit(runtime: Runtime, bundles: common.Bundles) -> int | None:
    """The smallest memory limit in KiB, within 64, in which `run` of `true` works three times in a row."""

    def starts(kib: int) -> bool:
        bundle = bundles.make("limited", ["true"], memory=kib * 1024)
        for _ in range(3):
            name = runtime.new_id()
            if runtime.timer(*runtime.base, "run", "--bundle", str(bundle), name, limit=5)[2]:
                runtime.timer(*runtime.base, "delete", "--force", name, limit=5)
                return False
        return True

    bad, good = 0, 64 * 1024
    if not starts(good):
        return None
    while good - bad > max(64, good // 16):
        middle = max(64, (good + bad) // 2 // 64 * 64)
        good, bad = (middle, bad) if starts(middle) else (good, middle)
    return good


def count_calls(runtime: Runtime, bundle: Path, scratch: Path) -> tuple[int, int] | None:
    """Processes (not threads) and system calls of one `run`, the container's own included, by strace."""
    trace = scratch / "strace"
    run = [*runtime.base, "run", "--bundle", str(bundle), runtime.new_id()]
    command = ["strace", "-f", "-qq", "-o", str(trace), *run]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        done = None
    if done is None or done.returncode:
        print(f"{runtime.name}: strace: not counted", file=sys.stderr)
        return None
    # "123 call(...) = 0"; else a second line, "123 <... call resumed>...", follows
    calls = [line.split(None, 1)[1] for line in trace.read_text(errors="replace").splitlines()]
    calls = [call for call in calls if not call.startswith(("<...", "---", "+++"))]
    forks = [call for call in calls if call.startswith(("clone(", "clone3(", "fork(", "vfork("))]
    return 1 + sum("CLONE_THREAD" not in call and "= -1" not in call for call in forks), len(calls)


def measure(options: argparse.Namespace, scratch: Path) -> report.Results:
    """Every measurement. Whatever happens, no container of ours is left."""
    found = common.find_runtimes(options.runtimes)
    if "crun" in found:
        common.appease_crun(scratch)
    timer = Timer(scratch)
    bundles = common.Bundles(scratch / "bundles", next(iter(found.values())))
    runtimes = [Runtime(name, path, scratch, timer) for name, path in found.items()]
    python = options.python
    try:
        say("run, create, start, state, exec, ps, pause, resume, update, kill, delete")
        baseline = time_lives(runtimes, bundles, options.rounds, python, scratch)
        say(f"list with {' and '.join(map(str, options.list_sizes))}")
        time_lists(runtimes, bundles, options.list_sizes, max(3, options.rounds // 2))
        say("memory limits, processes, system calls")
        limits = {r.name: smallest_limit(r, bundles) for r in runtimes}
        true = bundles.make("true", ["true"])
        calls = {r.name: count_calls(r, true, scratch) for r in runtimes}
    finally:
        for runtime in runtimes:
            runtime.delete_all()
        common.remove_cgroups(f"bench-{os.getpid()}-")
    return report.Results(
        versions={name: common.version_of(path) for name, path in found.items()},
        python=subprocess.run([python, "-V"], capture_output=True, text=True, check=True).stdout.strip(),
        rounds=options.rounds,
        times={r.name: r.times for r in runtimes},
        memory={r.name: r.memory for r in runtimes},
        limits=limits,
        calls=calls,
        baseline=baseline,
    )


def say(text: str) -> None:
    print(f"measure {text}", file=sys.stderr)


def default_python() -> str:
    """The interpreter that pyrunc runs in, without the virtual environment around it."""
    installed = common.REPO / ".venv" / "bin" / "python"
    return str(installed.resolve()) if installed.exists() else "/usr/bin/python3"


def parse_options() -> argparse.Namespace:
    results = common.REPO / "bench" / "results"
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add(
        "--runtimes", default="pyrunc,runc,crun", help="names or paths; the first is compared with the others"
    )
    add("--rounds", type=int, default=100, help="samples of each operation (default: %(default)s)")
    add("--quick", action="store_true", help="few samples, short lists: to see that all of it works")
    add("--python", default=default_python(), help="the interpreter of the baseline")
    add("--table", type=Path, default=results / "table.md", help="where the Markdown table goes")
    add("--plot", type=Path, default=results / "bench.png", help="where the plot goes")
    add("--json", type=Path, default=results / "raw.json", help="where every sample goes")
    options = parser.parse_args()
    options.list_sizes = [1, 5] if options.quick else [1, 200]
    options.rounds = min(options.rounds, 3) if options.quick else options.rounds
    return options


def main() -> None:
    options = parse_options()
    common.enter_private_namespace()
    began = time.monotonic()
    # states of containers lie on a tmpfs everywhere (/run), and a disk's noise is not what is measured
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", "/run"], check=True)
    with tempfile.TemporaryDirectory(prefix="pyrunc-bench-", dir="/run") as scratch:
        try:
            results = measure(options, Path(scratch))
        except RuntimeError as error:
            common.die(str(error))
    say(f"took {time.monotonic() - began:.0f} s")
    report.write(results, options.table, options.plot, options.json)


if __name__ == "__main__":
    main()
