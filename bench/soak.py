"""Does a runtime leave anything behind? `soak.py --runtime pyrunc`, as root.

Three parts: many `run`s one after the other, many at once, and `create` killed with SIGKILL at moments that
sweep over its whole duration, each time followed by `delete --force`. After each part processes, mounts,
cgroups, files, units of systemd and BPF programs are counted; a running container's open fds are looked at
as well. Exit status 1 when anything was left or failed.

Why nothing can hide: this program is a subreaper, so an orphan becomes its child. It has a mount namespace of
its own, in which /run, /var/tmp and /dev/shm are empty tmpfs. Cgroups are known by the id in their name.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import common

PREFIX = f"soak-{os.getpid()}-"
PRIVATE_DIRECTORIES = ("/run", "/var/tmp", "/dev/shm")
SOCKETS = ("/run/dbus", "/run/systemd")
# A process that was told to end is a child for a moment more, and its cgroup cannot go before it.
GRACE_SECONDS = 2.0


@dataclass
class Left:
    """What was there that should not be; each list names the things."""

    processes: list[str] = field(default_factory=list)
    mounts: list[str] = field(default_factory=list)
    cgroups: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    units: list[str] = field(default_factory=list)
    programs: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return any(vars(self).values())

    def counts(self) -> str:
        return ", ".join(f"{len(things)} {kind}" for kind, things in vars(self).items())

    def names(self) -> list[str]:
        return [f"{kind}: {thing}" for kind, things in vars(self).items() for thing in things]


class Soak:
    """One runtime under test: its command line, its places, and what the world looked like at the start."""

    def __init__(self, name: str, path: str, scratch: Path, options: tuple[str, ...] = ()) -> None:
        self.name, self.path, self.scratch = name, path, scratch
        self.options = options
        self.root = scratch / "root"
        self.log = scratch / "log"
        self.bundles = common.Bundles(scratch / "bundles", path)
        self.true = self.bundles.make("true", ["true"])
        self.sleep = self.bundles.make("sleep", ["sleep", "1000"])
        self.fds = self.bundles.make("fds", ["sleep", "1000"])
        self.failures: list[str] = []
        self.leaks = 0
        self.counter = 0
        self.command("run", "--bundle", str(self.true), self.new_id())  # makes .pyc files, cgroup parents
        self.mounts = common.mount_points()
        self.programs = common.bpf_programs()
        self.files = self.files_now()

    def new_id(self) -> str:
        self.counter += 1
        return f"{PREFIX}{self.counter}"

    def spawn(self, *args: str) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            command = [self.path, "--root", str(self.root), *self.options, *args]
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def command(self, *args: str) -> bool:
        """Run a command. A failure is counted, with its last words."""
        begin = self.log.stat().st_size if self.log.exists() else 0
        status = self.spawn(*args).wait()
        if status:
            text = self.log.read_bytes()[begin:].decode(errors="replace").strip()
            self.failures.append(f"{args[0]}: exit status {status}: {text.rpartition(chr(10))[2]}")
        return status == 0

    def files_now(self) -> set[str]:
        """Every path below the state root, the bundles and the private directories, but not systemd's own."""
        tops = (str(self.root), str(self.bundles.directory), *PRIVATE_DIRECTORIES)
        return {
            os.path.join(path, name)
            for top in tops
            for path, directories, files in os.walk(top)
            if not path.startswith(SOCKETS)
            for name in directories + files
        }

    def look(self) -> Left:
        """What is there now and was not at the start."""
        processes = [f"{pid} {Path(f'/proc/{pid}/comm').read_text().strip()}" for pid in common.children()]
        mounts = sorted(set(common.mount_points()) - set(self.mounts))
        files = sorted(self.files_now() - self.files)
        units = common.units_named(PREFIX)
        programs = [str(number) for number in sorted(common.bpf_programs() - self.programs)]
        return Left(processes, mounts, common.cgroups_named(PREFIX), files, units, programs)

    def left(self) -> Left:
        """The same, after a moment for what is just going."""
        deadline = time.monotonic() + GRACE_SECONDS
        while (left := self.look()) and time.monotonic() < deadline:
            time.sleep(0.02)
        return left

    def sweep(self) -> None:
        """Remove what was left, so that the next part starts clean."""
        common.end(common.children())
        common.remove_cgroups(PREFIX)
        for mount in sorted(set(common.mount_points()) - set(self.mounts), key=len, reverse=True):
            subprocess.run(["umount", "--lazy", mount], check=False, capture_output=True)
        for path in sorted(self.files_now() - self.files, key=len, reverse=True):
            with contextlib.suppress(OSError):  # a directory that still has something in it
                (os.rmdir if os.path.isdir(path) else os.unlink)(path)

    def report(self, part: str, seconds: float) -> None:
        """One line for a part, and what was left by name (the first ten)."""
        left = self.left()
        words = f"{len(self.failures)} faults, left behind: {left.counts()}"
        print(f"{self.name}: {part}: {seconds:.1f} s, {words}", flush=True)
        for line in [*self.failures[:5], *left.names()[:10]]:
            print(f"    {line}")
        self.leaks += bool(left) + len(self.failures)
        self.failures.clear()
        if left:
            self.sweep()


def in_a_row(soak: Soak, runs: int) -> None:
    began = time.monotonic()
    for _ in range(runs):
        soak.command("run", "--bundle", str(soak.true), soak.new_id())
    soak.report(f"{runs} runs in a row", time.monotonic() - began)


def at_once(soak: Soak, parallel: int, waves: int) -> None:
    began = time.monotonic()
    for _ in range(waves):
        started = [soak.spawn("run", "--bundle", str(soak.true), soak.new_id()) for _ in range(parallel)]
        statuses = [process.wait() for process in started]
        soak.failures += [f"run: exit status {status}" for status in statuses if status]
    soak.report(f"{waves} times {parallel} runs at once", time.monotonic() - began)


def open_fds(soak: Soak) -> None:
    """A started container has nothing open but 0, 1 and 2."""
    began = time.monotonic()
    name, pid_file = soak.new_id(), soak.scratch / "pid"
    soak.command("create", "--bundle", str(soak.fds), "--pid-file", str(pid_file), name)
    soak.command("start", name)
    pid = pid_file.read_text()
    deadline = time.monotonic() + 5
    while (
        Path(f"/proc/{pid}/comm").read_text() not in {"sleep\n", "busybox\n"} and time.monotonic() < deadline
    ):
        time.sleep(0.01)
    fds = {int(fd): os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
    soak.failures += [f"fd {fd} is open in the container: {to}" for fd, to in fds.items() if fd > 2]
    soak.command("delete", "--force", name)
    soak.report("fds open in a container", time.monotonic() - began)


def killed(soak: Soak, kills: int) -> None:
    """SIGKILL to `create` after a share of its usual time, from none to 1.2 of it, then `delete --force`."""
    began = time.monotonic()
    usual = statistics.median(time_of_create(soak) for _ in range(5))
    late, leaky, leaks = 0, 0, []
    for number in range(kills):
        name, delay = soak.new_id(), usual * 1.2 * number / max(1, kills - 1)
        process = soak.spawn("create", "--bundle", str(soak.sleep), name)
        time.sleep(delay)
        late += process.poll() is not None
        process.kill()
        process.wait()
        soak.command("delete", "--force", name)
        if left := soak.left():
            leaky += 1
            leaks += [f"killed after {1e3 * delay:.1f} ms: {what}" for what in left.names()]
            soak.sweep()
    part = f"create killed {kills} times within {usual * 1.2e3:.0f} ms"
    print(f"{soak.name}: {part}: {late} came too late, {leaky} left something behind for good")
    soak.failures = leaks + soak.failures
    soak.report("after it", time.monotonic() - began)


def time_of_create(soak: Soak) -> float:
    name, began = soak.new_id(), time.monotonic()
    soak.command("create", "--bundle", str(soak.sleep), name)
    took = time.monotonic() - began
    soak.command("delete", "--force", name)
    return took


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runtime", default="pyrunc", help="name or path (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=1000, help="runs in a row (default: %(default)s)")
    parser.add_argument("--parallel", type=int, default=64, help="runs at once (default: %(default)s)")
    parser.add_argument(
        "--waves", type=int, default=4, help="how often that many at once (default: %(default)s)"
    )
    parser.add_argument("--kills", type=int, default=100, help="creates to kill (default: %(default)s)")
    parser.add_argument(
        "--systemd", action="store_true", help="containers are scopes of systemd's (--systemd-cgroup)"
    )
    return parser.parse_args()


def hide_directories(*, systemd: bool) -> None:
    """Empty directories in place of those that runtimes write to; systemd's sockets stay where a runtime finds them."""
    with contextlib.ExitStack() as held:
        fds = {path: os.open(path, os.O_PATH) for path in (SOCKETS if systemd else ())}
        for fd in fds.values():
            held.callback(os.close, fd)
        for directory in PRIVATE_DIRECTORIES:
            subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=1777", "tmpfs", directory], check=True)
        for path, fd in fds.items():
            os.mkdir(path)
            subprocess.run(["mount", "-c", "--bind", f"/proc/{os.getpid()}/fd/{fd}", path], check=True)


def main() -> None:
    options = parse_options()
    common.enter_private_namespace()
    common.become_subreaper()
    name, path = next(iter(common.find_runtimes(options.runtime).items()))
    hide_directories(systemd=options.systemd)
    with tempfile.TemporaryDirectory(prefix="pyrunc-soak-") as scratch:
        if name == "crun":
            common.appease_crun(Path(scratch))
        soak = Soak(name, path, Path(scratch), ("--systemd-cgroup",) if options.systemd else ())
        try:
            in_a_row(soak, options.runs)
            at_once(soak, options.parallel, options.waves)
            open_fds(soak)
            killed(soak, options.kills)
        finally:
            soak.sweep()
    sys.exit(1 if soak.leaks else 0)


if __name__ == "__main__":
    main()
