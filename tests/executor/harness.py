"""Plans by hand, and a parent for the executor: deliberately without pyrunc.plan and pyrunc.run.

`Plan` encodes operations from the shim's own list; `run` starts the executor on them, answers it, and returns
everything that it said together with the exit code and what its program wrote.
"""

from __future__ import annotations

import os
import socket
import struct
from array import array
from typing import TYPE_CHECKING, NamedTuple

from pyrunc._shim import ffi, lib

from pyrunc.sys import executor_fd, memfd_sealed, spawn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Answer = Callable[[int, list[int]], tuple[int, Sequence[int]]]
    Arg = int | str | bytes | list[str]

NONE, CWD, TALK = lib.SLOT_NONE, lib.SLOT_CWD, lib.SLOT_TALK
ERROR, SKIPPED, PID, TRACE, RPC = 1, 2, 3, 4, 5
NOBODY = 65534

SIGNATURES: dict[str, list[str]] = {}
for _line in ffi.string(lib.pyrunc_ops_text()).decode().splitlines():
    _name, _signature, _ = _line.split("\t")
    SIGNATURES[_name] = [word.partition(":")[2] for word in _signature.split() if word != ">"]
CODES = {name: code for code, name in enumerate(SIGNATURES)}

HEADER = struct.Struct("=6I40x")
RECORD = struct.Struct("=6HI5Q")
MESSAGE = struct.Struct("=IIiiQ")


SANITIZERS = ("Sanitizer", "runtime error")
sanitized: str | None = None
"""Path of the executor that `run` shall start instead of the one in the shim; conftest.py sets it."""


class Message(NamedTuple):
    kind: int
    op: int
    value: int
    status: int
    ns: int


class Plan:
    def __init__(self, inputs: int = 0, flags: int = 0) -> None:
        self.records: list[bytes] = []
        self.names: list[str] = []
        self.blob = b"\0"
        self.inputs = inputs
        self.flags = flags

    def op(
        self, op_name: str, *args: Arg, out: int = NONE, skip: int = 0, tolerate: Sequence[int] = ()
    ) -> Plan:
        values = [self._place(arg, kind) for arg, kind in zip(args, SIGNATURES[op_name], strict=True)]
        values += [0] * (5 - len(values))
        errnos = [*tolerate, 0, 0, 0][:3]
        self.records.append(
            RECORD.pack(CODES[op_name], out, skip, *errnos, 0, *[v & (1 << 64) - 1 for v in values])
        )
        self.names.append(op_name)
        return self

    def _place(self, arg: Arg, kind: str) -> int:
        if isinstance(arg, int):
            return arg
        offset = len(self.blob)
        if isinstance(arg, str):
            self.blob += arg.encode() + b"\0"
            return offset
        if isinstance(arg, bytes):
            self.blob += arg
            return offset | len(arg) << 32
        self.blob += b"".join(text.encode() + b"\0" for text in arg)
        return offset | len(arg) << 32

    def header(self, blob: int) -> bytes:
        ops = len(self.records)
        return HEADER.pack(lib.PLAN_MAGIC, lib.pyrunc_ops_hash(), ops, blob, self.inputs, self.flags)

    def encode(self) -> bytes:
        blob = self.blob + b"\0"
        return self.header(len(blob)) + b"".join(self.records) + blob

    def sh(self, script: str, env: int = NONE) -> Plan:
        return self.op("EXEC", ["/bin/sh"], ["sh", "-c", script], env)


class Result(NamedTuple):
    code: int
    """Exit code, or minus the signal."""
    out: str
    messages: list[Message]
    names: list[str]

    @property
    def error(self) -> tuple[str, int] | None:
        """(operation, errno) of the failure."""
        return next(((self.names[m.op], m.value) for m in self.messages if m.kind == ERROR), None)

    @property
    def skipped(self) -> list[tuple[str, int]]:
        return [(self.names[m.op], m.value) for m in self.messages if m.kind == SKIPPED]


def answer_bytes(error: int, fds: int) -> bytes:
    return struct.pack("=iI", error, fds)


def send_answer(talk: socket.socket, error: int, fds: Sequence[int]) -> None:
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", fds))] if fds else []
    talk.sendmsg([answer_bytes(error, len(fds))], rights)


def converse(talk: socket.socket, answers: dict[int, Answer], pid: int) -> list[Message]:
    """Answer until the executor closes its end."""
    messages = []
    while True:
        data, fds, _, _ = socket.recv_fds(talk, MESSAGE.size, 4)
        if not data:
            return messages
        message = Message(*MESSAGE.unpack(data))
        messages.append(message)
        if message.kind == RPC:
            error, back = answers[message.value](pid, fds)
            send_answer(talk, error, back)
        for fd in fds:
            os.close(fd)


def run(
    plan: Plan | bytes,
    inputs: Sequence[int] = (),
    answers: dict[int, Answer] | None = None,
    *,
    preserve: int = 0,
    clone_flags: int = 0,
) -> Result:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(20)
    output = os.memfd_create("output")
    data = plan if isinstance(plan, bytes) else plan.encode()
    plan_fd = memfd_sealed(data, "plan")
    exe = os.open(sanitized, os.O_RDONLY | os.O_CLOEXEC) if sanitized else executor_fd()
    null = os.open("/dev/null", os.O_RDONLY)
    try:
        fds = [theirs.fileno(), plan_fd, *inputs]
        pid, pidfd = spawn(clone_flags, -1, exe, (null, output, output), preserve, fds)
        theirs.close()
        os.close(pidfd)
        messages = converse(ours, answers or {}, pid)
        children = [pid] + [m.value for m in messages if m.kind == PID]
        code = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children][-1]
        out = os.pread(output, 1 << 16, 0).decode()
    finally:
        ours.close()
        theirs.close()
        for fd in (plan_fd, output, null, exe):
            os.close(fd)
    assert not any(word in out for word in SANITIZERS), out
    return Result(code, out, messages, plan.names if isinstance(plan, Plan) else [])


NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET, NEWTIME = (
    *(0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000, 0x80),
)
MAPS = 90


def write_maps(pid: int, _fds: list[int]) -> tuple[int, Sequence[int]]:
    """Map the ordinary user that the executor runs as to root of its user namespace."""
    uid, gid = (NOBODY, NOBODY) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        with open(f"/proc/{pid}/{name}", "w") as file:
            file.write(text)
    return 0, ()


def user_namespace(plan: Plan, flags: int = NEWNS) -> Plan:
    """Go into a user namespace as an ordinary user (root becomes one first), then into others."""
    if os.geteuid() == 0:
        plan.op("SETRES", NOBODY, NOBODY, b"", 1)
    plan.op("UNSHARE", NEWUSER).op("RPC", MAPS, NONE, 0).op("SETRES", 0, 0, b"", 0)
    return plan.op("UNSHARE", flags) if flags else plan


def run_user(plan: Plan, *args: object, **kwargs: object) -> Result:
    kwargs["answers"] = {MAPS: write_maps, **kwargs.get("answers", {})}  # type: ignore[dict-item]
    return run(plan, *args, **kwargs)  # type: ignore[arg-type]


def tmpfs(plan: Plan, slot: int, *options: tuple[str, str]) -> Plan:
    """A detached tmpfs in the slot."""
    plan.op("FSOPEN", "tmpfs", out=slot)
    for key, value in options:
        plan.op("FSCONFIG", slot, 1, key, value)
    plan.op("FSCONFIG", slot, 6, "", "")
    return plan.op("FSMOUNT", slot, 0, out=slot)


def look(plan: Plan, slot: int, script: str) -> Plan:
    """End with a shell in the directory of the slot."""
    return plan.op("DUP2", slot, 50).sh(f"cd /proc/self/fd/50/. && {script}")
