"""The shim and pyrunc.sys: what the executor's tests do not touch on their way."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from pyrunc._shim import ffi, lib

from pyrunc import sys as system

HEADER = Path(__file__).parents[2] / "csrc" / "plan_ops.h"


def test_the_constants_are_the_headers() -> None:
    names = [name for name in dir(lib) if name.startswith("OP_") and name != "OP_COUNT"]
    lines = ffi.string(lib.pyrunc_ops_text()).decode().splitlines()

    assert len(names) == lib.OP_COUNT == len(lines) == HEADER.read_text().count("\n  OP(")
    assert [line.split("\t")[0] for line in lines] == [
        name.removeprefix("OP_") for name in sorted(names, key=lambda name: int(getattr(lib, name)))
    ]
    assert (lib.TALK_ERROR, lib.TALK_RPC, lib.SLOT_NONE, lib.SLOT_TALK) == (1, 5, 0xFFFF, 3)


def test_the_hash_is_of_names_and_signatures() -> None:
    value = 2166136261
    for line in ffi.string(lib.pyrunc_ops_text()).decode().splitlines():
        name, signature, _ = line.split("\t")
        for byte in f"{name}\t{signature}\n".encode():
            value = (value ^ byte) * 16777619 & 0xFFFFFFFF

    assert lib.pyrunc_ops_hash() == value


def test_executor_and_plan_are_sealed() -> None:
    for fd in (system.executor_fd(), system.memfd_sealed(b"data", "name")):
        with pytest.raises(PermissionError):
            os.pwrite(fd, b"x", 0)
        with pytest.raises(PermissionError):
            os.ftruncate(fd, 0)
        with pytest.raises(PermissionError):
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW)
        assert not os.get_inheritable(fd)
        os.close(fd)


def test_memfd_sealed_holds_the_data() -> None:
    fd = system.memfd_sealed(b"a\0b" * 100_000, "name")

    assert os.pread(fd, 1 << 20, 0) == b"a\0b" * 100_000
    assert os.lseek(fd, 0, os.SEEK_CUR) in {0, 300_000}
    os.close(fd)


def test_the_other_rung_is_the_same_program() -> None:
    try:
        fd = system.executor_tmpfile()
    except OSError as error:
        pytest.skip(f"no directory with O_TMPFILE that allows execution: {error}")

    assert os.pread(fd, 1 << 20, 0) == system.executor_bytes()
    assert os.fstat(fd).st_nlink == 0
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.write(fd, b"x")
    pid, pidfd = system.spawn(0, -1, fd, (0, 1, 2), 0, [])
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1, "it ran, and left for want of a plan"
    system.close_all((fd, pidfd))


def test_executor_tmpfile_says_why_not(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        system.executor_tmpfile([str(tmp_path / "no")])


@pytest.mark.parametrize("what", ["not a program", "not a descriptor"])
def test_a_failed_spawn_leaves_no_process_and_no_descriptor(what: str) -> None:
    exe = system.memfd_sealed(b"nonsense", "x") if what == "not a program" else 999
    before = os.listdir("/proc/self/fd")

    with pytest.raises(OSError, match=r"Permission denied|Exec format error|Bad file descriptor"):
        system.spawn(0, -1, exe, (0, 1, 2), 0, [])

    assert os.listdir("/proc/self/fd") == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
    if exe != 999:
        os.close(exe)


def test_spawn_with_impossible_flags() -> None:
    exe = system.executor_fd()
    with pytest.raises(OSError, match="Invalid argument"):
        system.spawn(0x00010000, -1, exe, (0, 1, 2), 0, [])  # CLONE_THREAD needs CLONE_SIGHAND
    with pytest.raises(OSError, match="Invalid argument"):
        system.spawn(0, -1, exe, (0, 1, 2), 0, [0] * 125)
    with pytest.raises(OSError, match="Bad file descriptor"):
        system.spawn(0, 998, exe, (0, 1, 2), 0, [])
    os.close(exe)


def test_spawn_leaves_our_signals_alone() -> None:
    hits: list[int] = []
    old = signal.signal(signal.SIGUSR1, lambda number, _frame: hits.append(number))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    exe = system.executor_fd()
    pid, pidfd = system.spawn(0, -1, exe, (0, 1, 2), 0, [])
    os.waitpid(pid, 0)
    os.kill(os.getpid(), signal.SIGUSR1)

    assert hits == [signal.SIGUSR1]
    assert signal.pthread_sigmask(signal.SIG_SETMASK, mask) == {signal.SIGUSR2} | mask
    signal.signal(signal.SIGUSR1, old)
    system.close_all((exe, pidfd))


def test_openat2_stays_in_the_root(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("inner")
    (tmp_path / "link").symlink_to("/f")
    root = os.open(tmp_path, os.O_PATH)

    fd = system.openat2(root, "link", os.O_RDONLY, 0, system.RESOLVE_IN_ROOT)
    assert os.read(fd, 10) == b"inner"
    assert not os.get_inheritable(fd)
    with pytest.raises(OSError, match="symbolic links") as caught:
        system.openat2(root, "link", os.O_RDONLY, 0, system.RESOLVE_NO_SYMLINKS)
    assert (caught.value.errno, caught.value.filename) == (errno.ELOOP, "link")
    system.close_all((fd, root))


def test_fs_magic_and_ns_type() -> None:
    proc, uts = os.open("/proc", os.O_PATH), os.open("/proc/self/ns/uts", os.O_RDONLY)

    assert system.fs_magic(proc) == 0x9FA0
    assert system.fs_magic(uts) == 0x6E736673
    assert system.ns_type(uts) == 0x04000000
    with pytest.raises(OSError, match=r"Bad file descriptor|Inappropriate ioctl"):
        system.ns_type(proc)
    with pytest.raises(OSError, match="Bad file descriptor"):
        system.fs_magic(999)
    system.close_all((proc, uts))


def test_close_range() -> None:
    ours, theirs = socket.socketpair()
    os.set_inheritable(ours.fileno(), True)

    system.close_range(ours.fileno(), ours.fileno(), 4)  # CLOSE_RANGE_CLOEXEC
    assert not os.get_inheritable(ours.fileno())
    fd = os.dup(theirs.detach())
    system.close_range(fd, fd)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
    ours.close()


def test_subreaper_and_pidfd() -> None:
    """In a process of its own, since a subreaper stays one."""
    code = (
        "import os, sys; sys.path.insert(0, sys.argv[1])\n"
        "from pyrunc import sys as s\n"
        "s.become_subreaper()\n"
        "r, w = os.pipe()\n"
        "if not os.fork():\n"
        "    if not os.fork():\n"
        "        os.read(r, 1); os._exit(7)\n"
        "    os._exit(0)\n"
        "os.wait()\n"
        "os.write(w, b'x')\n"
        "pid, status = os.wait()\n"
        "assert os.waitstatus_to_exitcode(status) == 7\n"
        "pid = os.fork() or os.read(r, 1)\n"
        "fd = s.pidfd_open(pid); s.pidfd_send_signal(fd, 9)\n"
        "assert os.waitstatus_to_exitcode(os.wait()[1]) == -9\n"
    )
    tree = str(Path(system.__file__).parents[2])

    subprocess.run([sys.executable, "-c", code, tree], check=True, timeout=20)


def test_import_is_light() -> None:
    """On the path of every command: only the cffi backend, which is C, comes along."""
    code = (
        "import sys; sys.path[:0] = sys.argv[1:]; import os, pyrunc; before = set(sys.modules)\n"
        "import pyrunc.sys; print(*sorted(set(sys.modules) - before))"
    )
    import _cffi_backend

    paths = [str(Path(system.__file__).parents[2]), str(Path(_cffi_backend.__file__).parent)]
    command = [sys.executable, "-I", "-S", "-c", code, *paths]

    loaded = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()

    assert set(loaded) <= {
        "__future__",
        "_cffi_backend",
        "_signal",
        "errno",
        "pyrunc._os",
        "pyrunc._shim",
        "pyrunc._shim.lib",
        "pyrunc.sys",
    }
