"""The snapshot of a started interpreter: made once, used only while it fits, and no difference but the time."""

from __future__ import annotations

import json
import os
import platform
import shutil
import struct
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import _cffi_backend
import pytest
from test_life import config, new_id

import pyrunc as package

TYPE_CHECKING = False
if TYPE_CHECKING:
    from conftest import Containers

STATE_HELP = ("state", "--help")
BOOT_AT = 40
"""Offset of the boot_id in the file (csrc/snapshot.h)."""

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(platform.machine() != "x86_64", reason="needs x86-64"),
]


class Installation:
    """A copy of the installed pyrunc, and a directory in the place of /run/pyrunc that nobody else sees."""

    def __init__(self, top: Path, containers: Containers) -> None:
        self.containers = containers
        self.prefix = top / "prefix"
        self.launcher = self.prefix / "bin" / "pyrunc"
        site = self.prefix / "lib" / f"python{sysconfig.get_python_version()}" / "site-packages"
        self.package = site / "pyrunc"
        self.launcher.parent.mkdir(parents=True)
        site.mkdir(parents=True)
        shutil.copy(Path(sys.prefix, "bin", "pyrunc"), self.launcher)
        shutil.copytree(Path(sysconfig.get_path("platlib"), "pyrunc"), self.package)
        shutil.copy(_cffi_backend.__file__, site)
        self.run_dir = top / "run"
        self.run_dir.mkdir(mode=0o700)
        self.log = top / "log"

    def __call__(
        self, *words: str | Path, before: str = "", **how: object
    ) -> subprocess.CompletedProcess[str]:
        """Run the installed command; `before` is shell script before its exec."""
        script = f'mkdir -p /run/pyrunc && mount --bind "$0" /run/pyrunc && {before or ":"} && exec "$@"'
        command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, self.run_dir]
        with self.log.open("w+") as log:
            how = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log, "env": dict(os.environ)} | how
            done = subprocess.run([*command, *words], timeout=60, check=False, **how)  # type: ignore[call-overload]
            log.seek(0)
            return subprocess.CompletedProcess(done.args, done.returncode, log.read())

    def pyrunc(self, *words: str | Path, **how: object) -> subprocess.CompletedProcess[str]:
        return self(self.launcher, *words, **how)

    def starts(self, *words: str | Path, before: str = "") -> int:
        """How many programs a command is, one after the other: 1 goes on from a snapshot, 2 starts an interpreter."""
        calls = self.log.with_name("calls")
        done = self("strace", "-qq", "-e", "trace=execve", "-o", calls, self.launcher, *words, before=before)
        assert done.returncode == 0, done.stdout
        return calls.read_text().count("execve(")

    def run_true(self) -> None:
        """Run a container, which makes a snapshot where there is none."""
        made = config()
        made["process"]["args"] = ["/bin/busybox", "true"]  # type: ignore[index]
        (self.containers.bundle / "config.json").write_text(json.dumps(made))
        words = ("--root", self.containers.root, "run", "--bundle", self.containers.bundle, new_id())
        done = self.pyrunc(*words)
        assert (done.returncode, done.stdout) == (0, "")

    def snapshots(self) -> list[Path]:
        return sorted(self.run_dir.glob(".snapshot-*"))

    def snapshot(self) -> Path:
        (found,) = self.snapshots()
        assert found.stat().st_size > 1 << 20, "it is only the word that there is none"
        return found


@pytest.fixture
def fresh(tmp_path: Path, containers: Containers) -> Installation:
    """Without a snapshot yet."""
    return Installation(tmp_path, containers)


@pytest.fixture
def installed(fresh: Installation) -> Installation:
    fresh.run_true()
    assert fresh.starts(*STATE_HELP) == 1
    return fresh


def patched(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def test_it_is_made_by_the_first_container(fresh: Installation) -> None:
    assert fresh.starts(*STATE_HELP) == 2
    assert fresh.snapshots() == []

    fresh.run_true()

    assert fresh.snapshot().stat().st_mode & 0o7777 == 0o600
    assert fresh.starts(*STATE_HELP) == 1


def test_it_is_made_once(installed: Installation) -> None:
    before = installed.snapshot().stat()

    installed.run_true()

    assert installed.snapshot().stat().st_ino == before.st_ino
    assert installed.snapshot().stat().st_mtime_ns == before.st_mtime_ns


def test_it_says_and_does_the_same(installed: Installation) -> None:
    words = ("--root", installed.containers.root, "state", "b\udcffd")
    with_it = installed.pyrunc(*words)
    installed.snapshot().unlink()
    without = installed.pyrunc(*words)

    assert with_it.returncode == without.returncode == 1
    assert with_it.stdout.partition("level=")[2] == without.stdout.partition("level=")[2] != ""


def test_environment_directory_and_arguments_are_the_callers(installed: Installation, tmp_path: Path) -> None:
    """A hook inherits the environment; the bundle is relative to the working directory."""
    seen = tmp_path / "seen"
    made = config()
    made["process"]["args"] = ["/bin/busybox", "true"]  # type: ignore[index]
    made["hooks"] = {"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", f"env >{seen}"]}]}
    (installed.containers.bundle / "config.json").write_text(json.dumps(made))
    words = ("--root", installed.containers.root, "run", "--bundle", "bundle", new_id())
    how = {
        "env": {"PATH": os.environ["PATH"], "ODD": "a=b", "PYTHONPATH": "/x"},
        "cwd": installed.containers.bundle.parent,
    }
    done = installed.pyrunc(*words, **how)

    assert done.returncode == 0, done.stdout
    assert {"ODD=a=b", "PYTHONPATH=/x"} <= set(seen.read_text().splitlines())


@pytest.mark.parametrize("before", [":", "exec 0<&- 1>&- 2>&-", "trap '' HUP INT QUIT"])
def test_descriptors_and_signals_are_as_after_an_ordinary_start(installed: Installation, before: str) -> None:
    """What a hook, which is a child, finds; and what /proc says of the runtime while it runs."""
    found = []
    look = "(ls -l /proc/$PPID/fd | sed 's/.* \\([0-9]* -> \\)/\\1/' | grep '^[012] '; grep ^Sig[IC] /proc/$PPID/status)"
    for _ in range(2):
        seen = installed.log.with_name("seen")
        made = config()
        made["process"]["args"] = ["/bin/busybox", "true"]  # type: ignore[index]
        made["hooks"] = {"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", f"{look} >{seen}"]}]}
        (installed.containers.bundle / "config.json").write_text(json.dumps(made))
        words = (
            "--root",
            installed.containers.root,
            "run",
            "--bundle",
            installed.containers.bundle,
            new_id(),
        )
        done = installed.pyrunc(*words, before=before)
        assert done.returncode == 0, done.stdout
        found.append(seen.read_text())
        installed.snapshot().unlink(missing_ok=True)  # the second time without

    assert "SigIgn" in found[0]
    assert found[0] == found[1]


def test_debug_wants_modules_that_know_their_lines(installed: Installation) -> None:
    assert installed.starts("--debug", *STATE_HELP) == 2


@pytest.mark.parametrize("words", [("--version",), ("features",), ("help",), ("plan", "bundle")])
def test_other_commands_go_on_from_it_as_well(installed: Installation, words: tuple[str, ...]) -> None:
    """They load what they need beyond it, libraries included."""
    made = installed.containers.bundle / "config.json"
    words = tuple(str(made.parent) if word == "bundle" else word for word in words)
    with_it = installed.pyrunc(*words)
    assert installed.starts(*words) == 1
    installed.snapshot().unlink()

    assert installed.pyrunc(*words).stdout == with_it.stdout != ""


def test_a_user_without_a_directory_starts_in_the_ordinary_way(installed: Installation) -> None:
    os.chmod(installed.prefix.parent, 0o755)
    user = [
        "setpriv",
        "--reuid=65534",
        "--clear-groups",
        installed.launcher,
        "--root",
        "/nowhere",
        *STATE_HELP,
    ]
    calls = installed.log.with_name("calls")
    for above in list(installed.prefix.parents)[:3]:
        os.chmod(above, os.stat(above).st_mode | 0o11)

    done = installed(
        "strace", "-qq", "-e", "trace=execve", "-o", calls, *user, env={"PATH": os.environ["PATH"]}
    )

    assert done.returncode == 0, done.stdout
    assert calls.read_text().count("execve(") == 3  # setpriv, the launcher, the interpreter


@pytest.mark.parametrize("name", ["image.bin", "start.pyc", "_shim.abi3.so"])
def test_a_changed_file_makes_it_stale(installed: Installation, name: str) -> None:
    file = installed.package / name
    was = installed.snapshot().stat().st_ino
    shutil.copy(file, file.with_name("copy"))
    file.with_name("copy").rename(file)

    assert installed.starts(*STATE_HELP) == 2
    installed.run_true()

    assert installed.starts(*STATE_HELP) == 1
    assert installed.snapshot().stat().st_ino != was


@pytest.mark.parametrize(
    "damage", ["boot", "magic", "short", "empty", "table too long", "address in use", "a file that is gone"]
)
def test_what_does_not_fit_is_left_aside(installed: Installation, damage: str) -> None:
    path = installed.snapshot()
    data = path.read_bytes()
    files, parts, paths = struct.unpack_from("=III", data, 12)
    if damage in {"short", "empty"}:
        os.truncate(path, 1000 if damage == "short" else 0)
    elif damage == "address in use":
        patched(path, paths - parts * 32, struct.pack("=Q", 0x70000000))  # the launcher's own
    elif damage == "a file that is gone":
        patched(path, paths, b"/nowhere")
    else:
        at, bad = {"boot": (BOOT_AT, b"0"), "magic": (0, b"x"), "table too long": (8, b"\xff\xff")}[damage]
        patched(path, at, bytes([data[at] ^ 1]) if damage == "boot" else bad)

    assert files > 8
    assert installed.starts(*STATE_HELP) == 2


@pytest.mark.parametrize("who", ["file of another", "file for others to write", "directory of another",
                                 "directory for others to write", "link"])  # fmt: skip
def test_only_roots_own_is_trusted(installed: Installation, who: str) -> None:
    path = installed.snapshot()
    target = installed.run_dir if "directory" in who else path
    if who == "link":
        path.rename(path.with_name("elsewhere"))
        path.symlink_to("elsewhere")
    elif "another" in who:
        os.chown(target, 65534, 65534)
    else:
        os.chmod(target, target.stat().st_mode | 0o020)

    assert installed.starts(*STATE_HELP) == 2


def test_what_cannot_be_kept_is_tried_once(fresh: Installation) -> None:
    """Where the file of a library is not what is mapped, say, or the C library is another one."""
    (fresh.package / "image.bin").unlink()  # what is kept must fit to it
    fresh.run_true()
    (marker,) = fresh.snapshots()
    before = marker.stat()

    fresh.run_true()

    assert before.st_size < 1000
    assert (marker.stat().st_ino, marker.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert fresh.starts(*STATE_HELP) == 2


MAKE = """
import sys
sys.path[:0] = [sys.argv[1]]
from pyrunc._snapshot import make
make(*sys.argv[2:])
"""


def test_what_the_launcher_cannot_go_on_from_is_tried_once(fresh: Installation) -> None:
    """The snapshot was written, but starting from it fails."""
    path = fresh.run_dir / ".snapshot-1-2"
    site, script = fresh.package.parent, fresh.package / "start.pyc"
    python = [sys.executable, "-I", "-S", "-B", "-c", MAKE, site, path, "/bin/false", script]
    found = []
    for _ in range(2):
        subprocess.run(python, check=True, timeout=60)
        found.append((path.stat().st_ino, path.stat().st_size))

    assert found[0] == found[1]
    assert found[0][1] < 1000
    assert sorted(fresh.run_dir.iterdir()) == [path]


@pytest.mark.parametrize("how", ["of another", "for others to write"])
def test_none_is_made_where_none_would_be_trusted(fresh: Installation, how: str) -> None:
    if how == "of another":
        os.chown(fresh.run_dir, 65534, 65534)
    else:
        fresh.run_dir.chmod(0o777)

    fresh.run_true()

    assert list(fresh.run_dir.iterdir()) == []


def test_one_command_makes_it(fresh: Installation) -> None:
    """While another is about it, and for good measure a while longer, nobody else is."""
    fresh.run_true()
    made = fresh.snapshot()
    unfinished = made.rename(made.with_name(f"{made.name}.new"))

    fresh.run_true()
    assert fresh.snapshots() == [unfinished]

    os.utime(unfinished, (time.time() - 60,) * 2)
    fresh.run_true()
    assert fresh.snapshots() == [], "what a killed command has left"
    fresh.run_true()
    assert fresh.snapshots() == [made]


def test_snapshots_of_what_is_gone_go_too(fresh: Installation) -> None:
    for name in (".snapshot-0-1", ".snapshot-0-2.new"):
        (fresh.run_dir / name).write_bytes(b"x" * 100)
    other = fresh.run_dir / "of-somebody-else"
    other.write_text("")

    fresh.run_true()

    fresh.snapshot()
    assert other.exists()


@pytest.mark.parametrize(
    "command", ["create", "start", "state", "list", "exec", "pause", "update", "ps", "kill", "delete"]
)
def test_the_hot_path_is_all_in_it(installed: Installation, command: str) -> None:
    """None of these commands loads a module after it has gone on from the snapshot."""
    name = new_id()
    root = ("--root", installed.containers.root)
    (installed.containers.bundle / "config.json").write_text(json.dumps(config()))
    words: tuple[str | Path, ...] = (command, name) if command != "list" else (command,)
    if command == "create":
        words = (command, "--bundle", installed.containers.bundle, name)
    else:
        assert (
            installed.pyrunc(*root, "create", "--bundle", installed.containers.bundle, name).returncode == 0
        )
    if command in {"exec", "kill", "pause"}:
        assert installed.pyrunc(*root, "start", name).returncode == 0
    if command == "delete":
        words = (command, "--force", name)
    words += {"exec": ("/bin/busybox", "true"), "update": ("--memory", "64M")}.get(command, ())
    calls = installed.log.with_name("calls")
    done = installed("strace", "-qq", "-e", "trace=openat,pread64", "-P", installed.package / "image.bin", "-o", calls,
                     installed.launcher, *root, *words)  # fmt: skip

    assert done.returncode == 0, done.stdout
    assert "openat" in calls.read_text()
    assert "pread64" not in calls.read_text()
    if command == "pause":
        assert installed.pyrunc(*root, "resume", name).returncode == 0


def test_it_holds_nothing_of_the_command_that_made_it(installed: Installation) -> None:
    data = installed.snapshot().read_bytes()

    assert b"pyrunc" in data
    assert str(installed.containers.bundle).encode() not in data
    assert package.__name__.encode() in data
    for name, value in os.environ.items():
        if len(value) > 20 and name != "PATH":
            assert f"{name}={value}".encode() not in data


def test_memory_grows_as_in_any_process(installed: Installation) -> None:
    """The heap of the kept interpreter lies where the launcher's break is not."""
    made = config()
    made["process"]["args"] = ["/bin/busybox", "true"]  # type: ignore[index]
    made["annotations"] = {f"name-{number}": "x" * number for number in range(9000)}
    (installed.containers.bundle / "config.json").write_text(json.dumps(made))
    words = ("--root", installed.containers.root, "run", "--bundle", installed.containers.bundle, new_id())

    done = installed.pyrunc(*words)

    assert (done.returncode, done.stdout) == (0, "")


def test_many_at_once(installed: Installation) -> None:
    command = "for i in $(seq 200); do "
    command += '"$1" --root /nowhere state x 2>/dev/null & [ $((i % 8)) = 0 ] && wait; done; wait; echo done'

    command = command.replace("2>/dev/null", '2>&1 | grep -v "container does not exist"')

    done = installed("sh", "-c", command, "sh", installed.launcher)

    assert done.stdout == "done\n", "nothing else was said, of a crash for example"
