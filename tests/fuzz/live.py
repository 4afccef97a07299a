"""The executor itself, built with the sanitizers, on the real kernel: golden plans, damaged, but not so that they are refused.

It happens in namespaces of its own: a user namespace whose ids are nobody's on the host, and in it new mounts (a tmpfs is the
root), processes, network and the rest. Whatever a plan does there ends with them. Found is what the sanitizers say, and a
process that cannot be killed.
"""

from __future__ import annotations

import ctypes
import os
import random
import resource
import shutil
import signal
import socket
import struct
import tempfile
import time
from array import array
from collections import Counter
from contextlib import suppress
from errno import EBADF, EEXIST, EINVAL, ENOENT, EPERM
from pathlib import Path

import hosted
import native

from pyrunc.plan.encode import HEADER, RECORD
from pyrunc.plan.ops import NAMES
from pyrunc.sys import memfd_sealed, spawn

LIBC = ctypes.CDLL(None, use_errno=True)
NEWUSER, NEWNS, OTHERS = 0x10000000, 0x20000, 0x02000000 | 0x04000000 | 0x08000000 | 0x20000000 | 0x40000000
MS_BIND, MS_REC, MS_PRIVATE, PIVOT_ROOT, MNT_DETACH = 0x1000, 0x4000, 1 << 18, 155, 2
FIRST_ID, IDS = 400000, 65536
FOUND = 77
"""Exit code of the sanitizers."""
OPTIONS = """
const char *__asan_default_options(void);
const char *__asan_default_options(void) { return "exitcode=77:detect_leaks=0"; }
"""
VALUES = (
    0,
    1,
    2,
    3,
    4,
    5,
    8,
    63,
    64,
    0xFFFE,
    0xFFFF,
    0x7FFFFFFF,
    0xFFFFFFFE,
    1 << 32,
    5 << 32,
    (1 << 64) - 1,
)
USUAL = (EPERM, ENOENT, EINVAL, EEXIST, EBADF)
MESSAGE = struct.Struct("=IIiiQ")
PID, RPC, PATIENCE = 3, 5, 2.0


def check(result: int, what: str) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno(), what)


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    words = [word.encode() or None for word in (source, target, kind)]
    check(LIBC.mount(*words, ctypes.c_ulong(flags), data.encode() or None), f"mount {target}")


def enter(ready: int, go: int, scratch: str) -> None:
    """Go into the namespaces and make a tmpfs the root; our parent maps the ids meanwhile."""
    check(LIBC.unshare(NEWUSER), "unshare")
    os.write(ready, b"x")
    os.read(go, 1)
    os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    check(LIBC.unshare(NEWNS | OTHERS), "unshare")
    if os.fork():
        os._exit(os.waitstatus_to_exitcode(os.wait()[1]))
    mount("none", "/", flags=MS_REC | MS_PRIVATE)
    mount("tmpfs", scratch, "tmpfs", data="size=64m,mode=755")
    for name in ("usr", "lib", "lib64", "bin"):
        os.mkdir(f"{scratch}/{name}")
        mount(f"/{name}", f"{scratch}/{name}", flags=MS_BIND | MS_REC)
    for name in ("proc", "sys", "dev", "tmp", "old", "bundle/rootfs/bin", "bundle/vol", "srv"):
        os.makedirs(f"{scratch}/{name}")
    shutil.copy(shutil.which("busybox") or "/bin/busybox", f"{scratch}/bundle/rootfs/bin/sh")
    Path(f"{scratch}/dev/null").touch()
    mount("/dev/null", f"{scratch}/dev/null", flags=MS_BIND)
    mount("proc", f"{scratch}/proc", "proc")
    os.chdir(scratch)
    check(LIBC.syscall(PIVOT_ROOT, b".", b"old"), "pivot_root")
    os.chdir("/")
    check(LIBC.umount2(b"/old", MNT_DETACH), "umount2")


def mutate(data: bytes, rnd: random.Random) -> bytes:
    """Change fields of records, drop and double some; the blob stays."""
    head = list(HEADER.unpack_from(data))
    end = HEADER.size + head[2] * RECORD.size
    records = [list(RECORD.unpack_from(data, at)) for at in range(HEADER.size, end, RECORD.size)]
    for _ in range(rnd.choice((0, 1, 1, 2, 4))):
        index = rnd.randrange(len(records))
        action = rnd.randrange(6)
        if action == 0 and len(records) > 1:
            del records[index]
        elif action == 1:
            records.insert(index, list(rnd.choice(records)))
        elif action == 2:
            records[index][2:6] = [rnd.randrange(3), rnd.randrange(40), rnd.randrange(140), 0]
        else:
            records[index][7 + rnd.randrange(5)] = rnd.choice(
                (*VALUES, rnd.randrange(16), rnd.randrange(head[3]))
            )
    if rnd.random() < 0.7:  # much is forbidden here: go on none the less, or nothing would come far
        for record in records:
            record[3:6] = record[3:6] if any(record[3:6]) else rnd.sample(USUAL, 3)
    head[2] = len(records)
    return HEADER.pack(*head) + b"".join(RECORD.pack(*record) for record in records) + data[end:]


def some_fd(rnd: random.Random) -> int:
    """Return a descriptor of the kinds that plans are given."""
    kind = rnd.randrange(4)
    if kind == 0:
        return os.open("/bundle/rootfs", os.O_PATH)
    if kind == 1:
        fd = os.memfd_create("env")
        os.write(fd, b"A=1\0PATH=/bin\0")
        return fd
    if kind == 2:
        return socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET).detach()
    return os.open("/dev/null", os.O_RDWR)


def answer(talk: socket.socket, data: bytes, op: int, rnd: random.Random) -> None:
    count = RECORD.unpack_from(data, HEADER.size + op * RECORD.size)[9]
    fds = [some_fd(rnd) for _ in range(count if rnd.random() < 0.95 else rnd.randrange(5))]
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", fds))] if fds else []
    with suppress(BrokenPipeError, ConnectionResetError):
        talk.sendmsg([struct.pack("=iI", rnd.random() < 0.02, len(fds))], rights)
    for fd in fds:
        os.close(fd)


def end_all() -> list[int]:
    """Kill whatever is left in this pid namespace, whose first process we are; return the exit codes of all that ended."""
    assert os.getpid() == 1
    for name in os.listdir("/proc"):
        if name.isdecimal() and name != "1":
            with suppress(ProcessLookupError):
                os.kill(int(name), signal.SIGKILL)
    codes, end = [], time.monotonic() + 20
    with suppress(ChildProcessError):
        while time.monotonic() < end:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid:
                codes.append(os.waitstatus_to_exitcode(status))
            else:
                time.sleep(0.001)
        raise TimeoutError("a process cannot be killed")
    return codes


def attempt(data: bytes, flags: int, exe: int, rnd: random.Random) -> str:
    """Run one plan; return how it ended. Raises AssertionError for what the sanitizers found."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(PATIENCE)
    output, plan_fd, null = (
        os.memfd_create("output"),
        memfd_sealed(data, "plan"),
        os.open("/dev/null", os.O_RDONLY),
    )
    inputs = [some_fd(rnd) for _ in range(HEADER.unpack_from(data)[4])]
    how, codes = "became a program", []
    try:
        _pid, pidfd = spawn(flags, -1, exe, (null, output, output), 0, [theirs.fileno(), plan_fd, *inputs])
        os.close(pidfd)
        theirs.close()
        while True:
            message, fds, _, _ = socket.recv_fds(ours, MESSAGE.size, 4)
            for fd in fds:
                os.close(fd)
            if not message:
                break
            kind, op, value, _, _ = MESSAGE.unpack(message)
            if kind == RPC:
                answer(ours, data, op, rnd)
            elif kind == 1:
                how = f"{NAMES[RECORD.unpack_from(data, HEADER.size + op * RECORD.size)[0]]} {value}"
    except TimeoutError:
        how = "waits"
    except ConnectionResetError:
        how = "left"
    finally:
        ours.close()
        theirs.close()
        for fd in (plan_fd, null, *inputs):
            os.close(fd)
        if how == "became a program":
            time.sleep(0.001)
        codes = end_all()
        said = os.pread(output, 1 << 16, 0).decode(errors="replace")
        os.close(output)
    bad = FOUND in codes or "Sanitizer:" in said or "runtime error:" in said
    assert not bad or "allocate" in said or "out-of-memory" in said, said[-3000:]
    return how


def loop(seeds: list[tuple[bytes, int]], exe: int, seconds: float, seed: int, report: int) -> None:
    rnd, end = random.Random(seed), time.monotonic() + seconds
    kinds: Counter[str] = Counter()
    while time.monotonic() < end:
        data, flags = rnd.choice(seeds)
        for _ in range(20):
            changed = mutate(data, rnd)
            if hosted.check(changed) == 0:
                break
        else:
            continue
        try:
            kinds[attempt(changed, flags, exe, rnd)] += 1
        except BaseException as error:  # noqa: BLE001  # whatever it is, the plan must be shown
            os.write(report, f"FAILED: {type(error).__name__}: {error}\nplan: {changed.hex()}".encode())
            os._exit(1)
    usual = ", ".join(f"{how} ({number})" for how, number in kinds.most_common(12))
    os.write(report, f"{kinds.total()} plans, {len(kinds)} ways to end: {usual}".encode())
    os._exit(0)


def build(program: Path) -> None:
    options = program.with_suffix(".c")
    options.write_text(OPTIONS)
    sources = [native.CSRC / f"{name}.c" for name in native.EXECUTOR]
    native.run("clang", *native.FLAGS, "-fsanitize=address,undefined", *sources, options, "-o", program)


def fuzz_live(seconds: float, seed: int) -> int:
    """Run plans until the time is over; print a line about it."""
    if os.geteuid() != 0:
        print("live: needs root, to map ids that are nobody's: not run")
        return 0
    program = native.BUILD / "live"
    if not program.exists():
        build(program)
    seeds = native.seeds_with_flags()
    hosted.check(seeds[0][0])  # loads the library
    exe = os.open(program, os.O_RDONLY | os.O_CLOEXEC)
    scratch = tempfile.mkdtemp(prefix="pyrunc-live-")
    os.chmod(scratch, 0o755)
    (ready, ready_in), (go, go_in), (report, report_in) = os.pipe(), os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (16 << 20, 16 << 20))
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            enter(ready_in, go, scratch)
            loop(seeds, exe, seconds, seed, report_in)
        except BaseException as error:  # noqa: BLE001  # a forked child goes no further than this
            os.write(report_in, f"cannot begin: {error!r}".encode())
        os._exit(1)
    for fd in (ready_in, go, report_in):
        os.close(fd)
    os.read(ready, 1)
    for name in ("uid_map", "gid_map"):
        Path(f"/proc/{child}/{name}").write_text(f"0 {FIRST_ID} {IDS}")
    os.write(go_in, b"x")
    text = b""
    while part := os.read(report, 1 << 16):
        text += part
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.rmdir(scratch)
    print(f"live: {text.decode(errors='replace')}")
    return 1 if status else 0
