"""Run a plan for real: a small parent that spawns the executor, answers everything it asks, and notes what
it says."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import time
from dataclasses import dataclass, field
from errno import errorcode

from pyrunc import _shim
from pyrunc.plan.encode import encode
from pyrunc.plan.render import operation
from pyrunc.plan.tags import TAG_NAMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyrunc.plan.ops import Plan

MESSAGE = struct.Struct("=IIiiQ")
TALK_ERROR, TALK_SKIPPED, TALK_PID, TALK_TRACE, TALK_RPC = 1, 2, 3, 4, 5
SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
ENV = b"PATH=/bin\0HOME=/\0"


@dataclass
class Outcome:
    """How a run ended."""

    status: int
    output: str
    error: str = ""
    """The operation that failed and why, "" for none."""
    skipped: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    received: dict[str, int] = field(default_factory=dict)


def memfd(data: bytes) -> int:
    """Return a sealed memfd."""
    fd = os.memfd_create("test", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, data)
    os.lseek(fd, 0, os.SEEK_SET)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, SEALS)
    return fd


def run_plan(
    plan: Plan,
    *,
    inputs: dict[str, int] | None = None,
    on: dict[str, Callable[[int], object]] | None = None,
    wait: float = 20,
) -> Outcome:
    """Run a plan; `on` is called with the executor's pid when it asks for a tag. Never leaves a process."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(wait)
    output = os.memfd_create("output", os.MFD_CLOEXEC)
    null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    plan_fd = memfd(encode(plan))
    fds = [theirs.fileno(), plan_fd, *((inputs or {})[name] for name in plan.inputs)]
    pid = _spawn(plan, fds, (null, output, output))
    theirs.close()
    for fd in (plan_fd, null):
        os.close(fd)
    outcome = Outcome(0, "")
    pids = [pid]
    try:
        _converse(ours, plan, pids, outcome, on or {})
    finally:
        ours.close()
        outcome.status = _reap(pids, wait)
        outcome.output = os.pread(output, 1 << 20, 0).decode(errors="replace")
        os.close(output)
    return outcome


def _spawn(plan: Plan, fds: list[int], stdio: tuple[int, int, int]) -> int:
    exe = _shim.lib.pyrunc_executor_fd()
    assert exe >= 0, os.strerror(-exe)
    pidfd = _shim.ffi.new("int *")
    pid = _shim.lib.pyrunc_spawn(plan.clone_flags, -1, exe, stdio, plan.preserve, fds, len(fds), pidfd)
    os.close(exe)
    assert pid > 0, os.strerror(-pid)
    os.close(pidfd[0])
    return int(pid)


def _converse(
    talk: socket.socket, plan: Plan, pids: list[int], outcome: Outcome, on: dict[str, Callable[[int], object]]
) -> None:
    while True:
        data, _ancillary, _, _ = talk.recvmsg(MESSAGE.size, socket.CMSG_SPACE(4), socket.MSG_CMSG_CLOEXEC)
        if not data:
            return
        kind, index, value, status, _ = MESSAGE.unpack(data)
        if kind == TALK_PID:
            pids.append(value)
            continue
        op = plan.ops[index]
        if kind == TALK_ERROR:
            outcome.error = f"{op.at}: {operation(op)}: {errorcode.get(value, value)}" + (
                f" status {status}" if status else ""
            )
        elif kind == TALK_SKIPPED:
            outcome.skipped.append(f"{op.at}: {op.name}: {errorcode.get(value, value)}")
        elif kind == TALK_RPC:
            name = TAG_NAMES[value]
            outcome.asked.append(name)
            if name in on:
                on[name](pids[-1])
            fds = [memfd(ENV)] if name == "env" else [memfd(b"{}"), os.dup(1)] if name == "hook" else []
            rights = (
                [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack(f"={len(fds)}i", *fds))] if fds else []
            )
            talk.sendmsg([struct.pack("=iI", 0, len(fds))], rights)
            for fd in [*fds, *(struct.unpack("=i", part[2])[0] for part in _ancillary)]:
                os.close(fd)


def _reap(pids: list[int], wait: float) -> int:
    """Wait for each process, kill what is left after a while; return the status of the last."""
    end = time.monotonic() + wait
    status = -1
    for pid in pids:
        while True:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                break
            if time.monotonic() > end:
                os.kill(pid, 9)
            time.sleep(0.005)
    return os.waitstatus_to_exitcode(status)


def map_ids(pid: int) -> None:
    """Give the user namespace of a process ids 0-65535, which are our own 0 and 100000 and up."""
    for kind in ("uid", "gid"):
        with open(f"/proc/{pid}/{kind}_map", "w") as file:
            file.write("0 0 1\n1 100001 65535\n")
