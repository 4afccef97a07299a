"""The runtime under test, driven by its command line alone; and the guard that sees what it leaves behind."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import pathlib
import shutil
import signal
import subprocess
import time
from typing import TYPE_CHECKING, NamedTuple

from lib import host
from lib.bundle import Bundle
from lib.probe import Seen, seen_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATIENCE = float(os.environ.get("SPEC_TESTS_PATIENCE", "1"))
"""How many times as long as usual a test waits for what must happen: more than 1 on an emulated machine."""
TIMEOUT = 20.0
ENV = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}
if host.in_userns():  # where the user's systemd is
    ENV |= {
        name: os.environ[name]
        for name in ("XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS")
        if name in os.environ
    }
PREFIX = f"st-{os.getpid()}-"
_counter = itertools.count(1)
_running: set[int] = set()  # pids that a Popen will wait for; all other children are orphans of the runtime


def poll(what: Callable[[], object], seconds: float = 5.0) -> object:
    """Call until the answer is true or the time is up; return the last answer."""
    deadline = time.monotonic() + seconds * PATIENCE
    pause = 0.002
    while not (answer := what()) and time.monotonic() < deadline:
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)
    return answer


def new_id() -> str:
    return f"{PREFIX}{next(_counter)}"


def orphans() -> dict[int, str]:
    """Children that no Popen of ours started, zombies reaped first: what runtimes left alive."""
    me = pathlib.Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
    alive = {}
    for pid in {int(p) for p in me.read_text().split()} - _running:
        with contextlib.suppress(ChildProcessError):
            if os.waitpid(pid, os.WNOHANG)[0] == 0:
                alive[pid] = (
                    pathlib.Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " ")
                )
    return alive


def process_state(pid: int) -> str | None:
    """The letter of /proc/PID/stat ("Z" for a zombie), None when there is no such process."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return None


def start_time(pid: int) -> int:
    return int(pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


def mount_table() -> list[str]:
    """Places and propagation, without ids that a remount may change."""
    lines = pathlib.Path("/proc/self/mountinfo").read_text().splitlines()
    return sorted(" ".join([*line.split(" ")[3:5], *line.split(" ")[5:]]) for line in lines)


class Result(NamedTuple):
    argv: list[str]
    code: int
    out: str
    err: str
    seconds: float

    def json(self) -> dict:
        return json.loads(self.out)

    @property
    def seen(self) -> Seen:
        return seen_in(self.out)

    @property
    def said(self) -> str:
        return self.out + self.err

    def __str__(self) -> str:
        return f"{' '.join(self.argv)} -> {self.code}\nstdout: {self.out[-1500:]}\nstderr: {self.err[-1500:]}"


class Container:
    """One container by its id; what its process wrote is in `out` (create and detached runs write to files)."""

    def __init__(self, runtime: Runtime, ident: str, bundle: Bundle) -> None:
        self.runtime, self.id, self.bundle = runtime, ident, bundle
        self.out_path = runtime.work / f"{ident}.out"
        self.err_path = runtime.work / f"{ident}.err"

    def state(self) -> dict:
        return self.runtime.ok("state", self.id).json()

    @property
    def pid(self) -> int:
        return self.state()["pid"]

    @property
    def status(self) -> str:
        return self.state()["status"]

    @property
    def out(self) -> str:
        return self.out_path.read_text(errors="replace")

    @property
    def err(self) -> str:
        return self.err_path.read_text(errors="replace")

    def exists(self) -> bool:
        return self.runtime.cmd("state", self.id).code == 0

    def start(self) -> Result:
        return self.runtime.ok("start", self.id)

    def kill(self, *args: object) -> Result:
        return self.runtime.ok("kill", self.id, *args)

    def delete(self, *args: str) -> Result:
        return self.runtime.ok("delete", *args, self.id)

    def wait(self, pid: int, seconds: float = 5.0) -> None:
        """Until `pid` is dead; as its reaper we leave the zombie, which counts as exited."""
        assert poll(lambda: process_state(pid) in {None, "Z", "X"}, seconds), (
            f"{pid} is still alive; {self.err}"
        )

    def reap(self, pid: int, seconds: float = 5.0) -> int:
        """The exit status of the container's process: it is our child once the runtime is gone."""
        self.wait(pid, seconds)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def stop(self) -> None:
        """KILL it and wait, so that it is stopped."""
        pid = self.pid
        self.kill("KILL")
        self.wait(pid)

    def seen(self, seconds: float = 5.0) -> Seen:
        """The report that the container's process wrote to its standard output."""
        assert poll(lambda: '"did":' in self.out and self.out.endswith("\n"), seconds), (
            f"no report: {self.out}{self.err}"
        )
        return seen_in(self.out)


class Snapshot(NamedTuple):
    mounts: list[str]
    cgroups: set[str]
    orphans: set[int]  # not their command lines, which a runtime's process changes as it becomes another
    state: list[str]


class Runtime:
    """$RUNTIME with a state root and a working directory of the test's own."""

    def __init__(self, path: str, work: pathlib.Path, tree: pathlib.Path) -> None:
        self.path, self.work, self.tree = path, work, tree
        self.root = work / "root"
        self.calls = itertools.count(1)
        self.globals: tuple[str, ...] = ()  # options before every command
        self.spawned: list[subprocess.Popen] = []

    @property
    def options(self) -> tuple[object, ...]:
        """What stands before every command."""
        return ("--root", self.root, *self.globals)

    def bundle(self) -> Bundle:
        """One more bundle."""
        where = self.work / f"b{next(self.calls)}"
        where.mkdir()
        return Bundle(where, self.tree)

    # ---- running commands ----

    def spawn(
        self, *args: object, out: object = None, err: object = None, **popen: object
    ) -> subprocess.Popen:
        """Start the runtime; the caller waits for it."""
        argv = [*map(str, popen.pop("prefix", ())), self.path, *map(str, args)]
        popen = {"stdin": subprocess.DEVNULL, "env": ENV, "cwd": self.work} | popen
        process = subprocess.Popen(argv, stdout=out, stderr=err, **popen)
        _running.add(process.pid)
        self.spawned.append(process)
        return process

    def wait(self, process: subprocess.Popen, timeout: float = TIMEOUT) -> int:
        try:
            return process.wait(timeout * PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"{process.args} still ran after {timeout} s") from None
        finally:
            _running.discard(process.pid)

    def raw(
        self,
        *args: object,
        timeout: float = TIMEOUT,
        stdin: bytes | None = None,
        out: pathlib.Path | None = None,
        err: pathlib.Path | None = None,
        **popen: object,
    ) -> Result:
        """Run to the end with files as standard output and error, which a descendant may keep without harm."""
        call = next(self.calls)
        out = out or self.work / f"{call}.stdout"
        err = err or self.work / f"{call}.stderr"
        if stdin is not None:
            (self.work / f"{call}.stdin").write_bytes(stdin)
            popen["stdin"] = os.open(self.work / f"{call}.stdin", os.O_RDONLY)
        began = time.monotonic()
        with out.open("wb") as to_out, err.open("wb") as to_err:
            process = self.spawn(*args, out=to_out, err=to_err, **popen)
        if stdin is not None:
            os.close(popen["stdin"])
        try:
            code = self.wait(process, timeout)
        except AssertionError as late:
            raise AssertionError(f"{late}: {err.read_text(errors='replace')[-500:]}") from None
        text = [p.read_text(errors="replace") for p in (out, err)]
        return Result(list(process.args), code, *text, time.monotonic() - began)

    def cmd(self, *args: object, **how: object) -> Result:
        return self.raw(*self.options, *args, **how)

    def ok(self, *args: object, **how: object) -> Result:
        result = self.cmd(*args, **how)
        assert result.code == 0, str(result)
        return result

    def spawn_program(self, *argv: object, **popen: object) -> subprocess.Popen:
        """A process of the test's own; the caller ends it and waits, or the end of the test does."""
        process = subprocess.Popen(list(map(str, argv)), stdin=subprocess.DEVNULL, **popen)
        _running.add(process.pid)
        self.spawned.append(process)
        return process

    def spawn_sleep(self, *prefix: str) -> subprocess.Popen:
        """A process of the test's own, which no runtime may touch; the caller kills it and waits."""
        return self.spawn_program(*prefix, "sleep", "60")

    # ---- containers ----

    def try_create(self, bundle: Bundle, ident: str | None = None, *options: object, **how: object) -> Result:
        bundle.write()
        ident = new_id() if ident is None else ident
        return self.cmd("create", "--bundle", bundle.path, *options, ident, **how)

    def create(self, bundle: Bundle, *options: object, ident: str | None = None, **how: object) -> Container:
        container = Container(self, ident or new_id(), bundle)
        files = {"out": container.out_path, "err": container.err_path}
        result = self.try_create(bundle, container.id, *options, **files, **how)
        assert result.code == 0, str(result)
        return container

    def detached(
        self, bundle: Bundle, *options: object, ident: str | None = None, **how: object
    ) -> Container:
        """`run --detach`."""
        container = Container(self, ident or new_id(), bundle)
        bundle.write()
        files = {"out": container.out_path, "err": container.err_path}
        self.ok("run", "--detach", "--bundle", bundle.path, *options, container.id, **files, **how)
        return container

    def running(self, bundle: Bundle, *options: object, **how: object) -> Container:
        container = self.create(bundle, *options, **how)
        container.start()
        return container

    def try_run(self, bundle: Bundle, *options: object, ident: str | None = None, **how: object) -> Result:
        """Foreground `run`; the container is gone afterwards."""
        bundle.write()
        return self.cmd("run", "--bundle", bundle.path, *options, ident or new_id(), **how)

    def run(self, bundle: Bundle, *options: object, **how: object) -> Result:
        result = self.try_run(bundle, *options, **how)
        assert result.code == 0, str(result)
        return result

    def report(self, bundle: Bundle, *commands: object, **how: object) -> Seen:
        """Run the probe with these commands in the bundle and return what it saw."""
        return self.run(bundle.probe("report", *commands), **how).seen

    def report_with(self, bundle: Bundle, options: list[str], **how: object) -> Seen:
        return self.run(bundle.probe("report"), *options, **how).seen

    def refuses(self, bundle: Bundle, *words: str, **how: object) -> Result:
        """`create` must fail, say something (each of `words`), and leave everything as it was."""
        ident = new_id()
        with self.assert_untouched():
            result = self.try_create(bundle, ident, **how)
            assert result.code != 0, f"accepted: {result}"
            assert result.err.strip(), f"refused without a word: {result}"
            for word in words:
                assert word.lower() in result.said.lower(), f"{word!r} is not said: {result}"
            assert "Traceback (most" not in result.said, str(result)
            assert "goroutine " not in result.said, str(result)
            assert self.cmd("state", ident).code != 0, f"{ident} exists after a failed create"
        return result

    def fails(self, *args: object, **how: object) -> Result:
        """A command that must fail, with a word, and without any effect."""
        with self.assert_untouched():
            result = self.cmd(*args, **how)
            assert result.code != 0, f"accepted: {result}"
            assert result.said.strip(), f"refused without a word: {result}"
        return result

    # ---- what is left behind ----

    def states(self) -> list[str]:
        # hidden names are caches: crun and pyrunc keep compiled filters there
        names = [p.name for p in self.root.iterdir()] if self.root.is_dir() else []
        return sorted(name for name in names if not name.startswith("."))

    def snapshot(self) -> Snapshot:
        return Snapshot(mount_table(), host.cgroup_dirs(PREFIX), set(orphans()), self.states())

    @contextlib.contextmanager
    def assert_untouched(self) -> Iterator[None]:
        """ER-1: afterwards mounts, cgroups, processes and the state root are as they were before."""
        before = self.snapshot()
        yield
        poll(lambda: self.snapshot() == before, 1.0)
        after = self.snapshot()
        for name, was, now in zip(Snapshot._fields, before, after, strict=True):
            assert now == was, f"{name} changed: {set(was) ^ set(now)}"

    @contextlib.contextmanager
    def premade_cgroup(self, path: str) -> Iterator[str]:
        """A cgroup of the test's own, in every hierarchy; its parts are removed afterwards. Yields its cgroupsPath."""
        tops = set(host.hierarchies().values())
        for top in tops:
            os.makedirs(f"{top}/{PREFIX}{path}")
        try:
            yield f"/{PREFIX}{path}"
        finally:
            self.clean_containers()
            for top in tops:
                remove_cgroup(f"{top}/{PREFIX}{path.partition('/')[0]}")

    def clean_containers(self) -> dict[str, str]:
        """Return what was said. The youngest goes first; in the pid namespace of an older one it keeps that from ending."""
        said = {}
        for ident in sorted(self.states(), key=lambda i: (len(i), i), reverse=True):
            try:
                said[ident] = self.cmd("delete", "--force", ident, timeout=10).said.strip()
            except AssertionError as late:
                said[ident] = str(late)
            orphans()
        return said

    def remove_cgroups(self, name: str) -> None:
        self.clean_containers()
        for place in host.cgroup_dirs(name):
            remove_cgroup(place)

    def clean(self) -> list[str]:
        """Remove every container of the test; then say what could not be removed the regular way, having removed it."""
        for process in self.spawned:  # a failed test may not have waited for it
            if process.poll() is None:
                process.kill()
                self.wait(process)
        said = self.clean_containers()
        poll(lambda: not orphans() and not host.cgroup_dirs(PREFIX), 0.3)
        complaints = [f"process {pid} ({cmd.strip()})" for pid, cmd in orphans().items()]
        for pid in orphans():
            os.kill(pid, signal.SIGKILL)
        poll(lambda: not orphans(), 2.0)
        for place in sorted(host.cgroup_dirs(PREFIX), key=len, reverse=True):
            complaints.append(f"cgroup {place}")
            remove_cgroup(place)
        complaints += [f"state {name} ({said.get(name, '')})" for name in self.states()]
        return complaints


def members(place: pathlib.Path) -> list[int]:
    """The processes in one cgroup; of a threaded one, whose list of processes cannot be read, the threads."""
    try:
        text = (place / "cgroup.procs").read_text()
    except OSError:
        text = (place / "cgroup.threads").read_text()
    return [int(word) for word in text.split()]


def remove_cgroup(top: str) -> None:
    """Kill what is in a cgroup of our own name and below, then remove the tree."""

    def gone() -> bool:
        for place, _, files in os.walk(top, topdown=False):
            if "cgroup.procs" in files:
                with contextlib.suppress(OSError):
                    for pid in members(pathlib.Path(place)):
                        os.kill(pid, signal.SIGKILL)
                with contextlib.suppress(OSError):
                    os.rmdir(place)
        return not os.path.exists(top)

    poll(gone, 1.0)


def find(name: str) -> str:
    """$RUNTIME as an absolute path."""
    found = shutil.which(name)
    if found is None:
        raise SystemExit(f"spec-tests: RUNTIME={name}: no such program")
    return os.path.abspath(found)
