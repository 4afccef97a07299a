"""What is said: answers and descriptors, skips, errors, time stamps; hooks, the search, the program at the end."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import socket
import struct
import threading
import time
from typing import TYPE_CHECKING

import pytest
from harness import (
    CWD,
    ERROR,
    NONE,
    RPC,
    SKIPPED,
    TRACE,
    Plan,
    answer_bytes,
    run,
    run_user,
    send_answer,
    user_namespace,
)
from pyrunc._shim import lib

from pyrunc.sys import executor_bytes, executor_fd, memfd_sealed, spawn

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Self

pytestmark = pytest.mark.usefixtures("build")

O_PATH = os.O_PATH


# --- RPC


def test_rpc_sends_a_descriptor_and_takes_others() -> None:
    plan = Plan().op("OPEN", CWD, "/dev/zero", os.O_RDONLY, 0, 0, out=5).op("RPC", 77, 5, 2, out=6)
    plan.op("DUP2", 6, 40).op("DUP2", 7, 41).sh(
        "readlink /proc/self/fd/40 /proc/self/fd/41; ls /proc/self/fd"
    )
    got: list[str] = []

    def answer(_pid: int, fds: list[int]) -> tuple[int, tuple[int, ...]]:
        got.append(os.readlink(f"/proc/self/fd/{fds[0]}"))
        return 0, (os.open("/etc", O_PATH), os.open("/usr", O_PATH))

    result = run(plan, answers={77: answer})

    assert got == ["/dev/zero"]
    assert result.out.split() == ["/etc", "/usr", "0", "1", "2", "3", "40", "41"]
    question = next(m for m in result.messages if m.kind == RPC)
    assert (question.op, question.value) == (1, 77)


@pytest.mark.parametrize("sent", [0, 1, 3])
def test_rpc_with_another_number_of_descriptors(sent: int) -> None:
    plan = Plan().op("RPC", 1, NONE, 2, out=5)

    result = run(plan, answers={1: lambda _pid, _fds: (0, [os.open("/", O_PATH) for _ in range(sent)])})

    assert result.error == ("RPC", errno.EPROTO)


def test_rpc_with_an_answer_too_short() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    plan = memfd_sealed(Plan().op("RPC", 1, NONE, 0).encode(), "plan")
    exe = executor_fd()
    pid, pidfd = spawn(0, -1, exe, (0, 1, 2), 0, [theirs.fileno(), plan])
    theirs.close()
    ours.recv(64)
    ours.send(b"abc")

    assert struct.unpack("=IIi", ours.recv(64)[:12]) == (ERROR, 0, errno.EPROTO)
    os.waitpid(pid, 0)
    ours.close()
    for fd in (exe, plan, pidfd):
        os.close(fd)


def test_rpc_refused_ends_silently() -> None:
    result = run(
        Plan().op("RPC", 1, NONE, 0).sh("echo no"), answers={1: lambda _pid, _fds: (errno.EPERM, ())}
    )

    assert (result.code, result.out, [m.kind for m in result.messages]) == (1, "", [RPC])


def test_a_parent_that_dies_ends_it() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    plan = memfd_sealed(Plan().op("RPC", 1, NONE, 0).sh("echo no").encode(), "plan")
    exe = executor_fd()
    pid, pidfd = spawn(0, -1, exe, (0, 1, 2), 0, [theirs.fileno(), plan])
    theirs.close()
    ours.recv(64)
    ours.close()

    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1
    for fd in (exe, plan, pidfd):
        os.close(fd)


# --- skips, errors, traces


def test_a_tolerated_errno_skips_and_is_told() -> None:
    plan = Plan().op("OPEN", CWD, "/no", O_PATH, 0, 0, out=5, skip=2, tolerate=[errno.EPERM, 0, errno.ENOENT])
    plan.op("CHOWN", 5, 0, 0).op("UMASK", 0o77).op("CLOSE", 5).sh("umask")

    result = run(plan)

    assert result.skipped == [("OPEN", errno.ENOENT)]
    assert result.messages[0].kind == SKIPPED
    assert result.out != "0077\n"


def test_a_skip_that_is_not_taken_runs_what_it_guards() -> None:
    plan = Plan().op("OPEN", CWD, "/", O_PATH, 0, 0, out=5, skip=1, tolerate=[errno.ENOENT])
    plan.op("UMASK", 0o123).sh("umask")

    result = run(plan)

    assert (result.skipped, result.out) == ([], "0123\n")


def test_another_errno_is_not_tolerated() -> None:
    plan = Plan().op("OPEN", CWD, "/etc/passwd/x", O_PATH, 0, 0, out=5, tolerate=[errno.ENOENT]).sh("echo no")

    result = run(plan)

    assert (result.error, result.out) == (("OPEN", errno.ENOTDIR), "")


def test_skip_of_none_goes_on_with_the_next() -> None:
    plan = Plan().op("OPEN", CWD, "/no", O_PATH, 0, 0, out=5, tolerate=[errno.ENOENT]).sh("echo next")

    assert run(plan).out == "next\n"


def test_trace_stamps_each_operation() -> None:
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    result = run(Plan(flags=lib.PLAN_TRACE).op("UMASK", 0).op("UMASK", 0).sh("true"))
    after = time.clock_gettime_ns(time.CLOCK_MONOTONIC)

    stamps = [(m.op, m.ns) for m in result.messages if m.kind == TRACE]
    assert [op for op, _ in stamps] == [0, 1]
    assert before < stamps[0][1] <= stamps[1][1] < after


# --- WAIT


@pytest.fixture
def listener(room: Path) -> Iterator[tuple[socket.socket, str]]:
    path = f"{room}/start"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        sock.bind(path)
        sock.listen()
        yield sock, path


def connect(path: str) -> socket.socket:
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    peer.settimeout(10)
    peer.connect(path)
    return peer


def test_wait_until_somebody_says_go(listener: tuple[socket.socket, str]) -> None:
    """Others look and leave, or say no; then the peer that said go hears of the failure."""
    heard: list[bytes] = []

    def others() -> None:
        connect(listener[1]).close()
        with connect(listener[1]) as peer:
            peer.send(answer_bytes(errno.EPERM, 0))
        with connect(listener[1]) as peer:
            send_answer(peer, 0, ())
            heard.extend(iter(lambda: peer.recv(64), b""))

    thread = threading.Thread(target=others)
    thread.start()
    result = run(
        Plan(1).op("WAIT", 4).op("CLOSE", 4).op("EXEC", ["/no/such"], ["x"], NONE), [listener[0].fileno()]
    )
    thread.join()

    assert result.messages == []
    assert [struct.unpack("=IIi", message[:12]) for message in heard] == [(ERROR, 2, errno.ENOENT)]


def test_success_after_wait_is_end_of_file(listener: tuple[socket.socket, str]) -> None:
    heard: list[bytes] = []

    def start() -> None:
        with connect(listener[1]) as peer:
            send_answer(peer, 0, ())
            heard.append(peer.recv(64))

    thread = threading.Thread(target=start)
    thread.start()
    plan = Plan(1).op("WAIT", 4).op("CLOSE", 4).op("CLOSEFROM", 3).sh("ls /proc/self/fd")
    result = run(plan, [listener[0].fileno()])
    thread.join()

    assert heard == [b""]
    assert result.out.split() == ["0", "1", "2", "3"]


def test_wait_on_something_else() -> None:
    assert run(Plan().op("WAIT", 0)).error == ("WAIT", errno.ENOTSOCK)


# --- SPAWN


def spawned(
    *argv: str, env: tuple[str, ...] = (), stdin: int = NONE, out: int = NONE, timeout: int = 0
) -> Plan:
    return Plan(1).op("SPAWN", argv[0], list(argv), list(env), stdin | out << 16, timeout)


def test_spawn_gives_arguments_environment_and_stdin(room: Path) -> None:
    state = os.memfd_create("state")
    os.write(state, b"the state")
    script = f'echo "$0 $1 $A $(cat) $(ls /proc/self/fd | tr "\\n" " ")" > {room}/out'

    plan = spawned("/bin/sh", "-c", script, "zero", "one", env=("A=b", "C=d"), stdin=4)

    assert run(plan, [state]).code == 0
    assert (room / "out").read_text() == "zero one b the state 0 1 2 3 \n"


def test_spawn_sends_both_outputs_to_the_slot() -> None:
    output = os.memfd_create("output")

    result = run(spawned("/bin/sh", "-c", "echo to out; echo to err >&2", out=4), [output])

    assert (result.code, result.out) == (0, "")
    assert os.pread(output, 100, 0) == b"to out\nto err\n"


@pytest.mark.parametrize(("script", "status"), [("exit 3", 3 << 8), ("kill -9 $$", 9)])
def test_spawn_of_a_hook_that_fails(script: str, status: int) -> None:
    result = run(spawned("/bin/sh", "-c", script), [0])

    assert result.error == ("SPAWN", errno.ECANCELED)
    assert result.messages[-1].status == status


@pytest.mark.parametrize(("path", "error"), [("/no/hook", errno.ENOENT), ("/etc/passwd", errno.EACCES)])
def test_spawn_of_a_hook_that_cannot_be_executed(path: str, error: int) -> None:
    result = run(spawned(path), [0])

    assert result.error == ("SPAWN", error)
    assert result.messages[-1].status == 0


def test_spawn_kills_the_whole_group_after_the_timeout(room: Path) -> None:
    began = time.monotonic()

    result = run(spawned("/bin/sh", "-c", f"(sleep 3; touch {room}/late) & sleep 30", timeout=1), [0])

    assert result.error == ("SPAWN", errno.ETIMEDOUT)
    assert result.messages[-1].status == -1
    assert 1 <= time.monotonic() - began < 5
    time.sleep(2.5)
    assert not (room / "late").exists()


def test_spawn_in_time_is_no_failure() -> None:
    assert run(spawned("/bin/sh", "-c", "exit 0", timeout=10).sh("echo on"), [0]).out == "on\n"


# --- FIND and EXEC


@pytest.fixture
def programs(room: Path) -> Path:
    (room / "good").write_text("#!/bin/sh\necho good $0\n")
    (room / "good").chmod(0o755)
    (room / "plain").write_text("#!/bin/sh\n")
    (room / "plain").chmod(0o644)
    (room / "binary").write_bytes(b"\x7fELF nonsense")
    (room / "binary").chmod(0o755)
    (room / "dir").mkdir()
    (room / "link").symlink_to("good")
    return room


@pytest.mark.parametrize(
    ("names", "error"),
    [
        (["good"], 0),
        (["link"], 0),
        (["no", "dir", "plain", "good"], 0),
        (["no"], errno.ENOENT),
        (["no", "no2"], errno.ENOENT),
        (["plain"], errno.EACCES),
        (["plain", "no"], errno.EACCES),
        (["no", "plain"], errno.EACCES),
        (["dir"], errno.EISDIR),
        (["dir", "no"], errno.EACCES),
        (["good/x"], errno.ENOTDIR),
        (["good/x", "no"], errno.ENOENT),
        ([], errno.ENOENT),
    ],
)
def test_find(programs: Path, names: list[str], error: int) -> None:
    result = run(Plan().op("FIND", [f"{programs}/{name}" for name in names]))

    assert result.error == (("FIND", error) if error else None)


@pytest.mark.parametrize(
    ("names", "out", "error"),
    [
        (["good"], "good {}/good", 0),
        (["no", "plain", "good"], "good {}/good", 0),
        (["no", "no2"], "", errno.ENOENT),
        (["plain", "no"], "", errno.EACCES),
        (["binary", "good"], "", errno.ENOEXEC),
        (["good/x"], "", errno.ENOTDIR),
    ],
)
def test_exec_takes_the_first_that_can_be(programs: Path, names: list[str], out: str, error: int) -> None:
    result = run(Plan().op("EXEC", [f"{programs}/{name}" for name in names], ["prog"], NONE))

    assert result.out.strip() == out.format(programs)
    assert result.error == (("EXEC", error) if error else None)


def test_exec_takes_the_environment_from_a_slot() -> None:
    env = os.memfd_create("env")
    os.write(env, b"".join(b"V%d=%d\0" % (i, i) for i in range(5000)))
    plan = Plan(1).op("EXEC", ["/usr/bin/env"], ["env"], 4)

    assert run(plan, [env]).out.split() == [f"V{i}={i}" for i in range(5000)]


def test_exec_without_environment() -> None:
    assert run(Plan().op("EXEC", ["/usr/bin/env"], ["env"], NONE)).out == ""


def test_exec_with_an_empty_environment() -> None:
    assert run(Plan(1).op("EXEC", ["/usr/bin/env"], ["env"], 4), [os.memfd_create("env")]).out == ""


def test_exec_with_an_environment_cut_short() -> None:
    env = os.memfd_create("env")
    os.write(env, b"A=1\0B")

    assert run(Plan(1).op("EXEC", ["/usr/bin/env"], ["env"], 4), [env]).error == ("EXEC", errno.EINVAL)


def test_exec_with_very_many_arguments() -> None:
    args = ["x"] * 200_000
    plan = Plan().op("EXEC", ["/bin/sh"], ["sh", "-c", "echo $#", *args], NONE)

    assert run(plan).out == "199999\n"


def test_exec_with_too_many_arguments() -> None:
    plan = Plan().op("EXEC", ["/bin/true"], ["x" * 100_000] * 100, NONE)

    assert run(plan).error == ("EXEC", errno.E2BIG)


def test_the_program_gets_default_signals_and_three_descriptors() -> None:
    """Also when the runtime was started with signals ignored and blocked, and with descriptors of its own."""
    old = {n: signal.signal(n, signal.SIG_IGN) for n in (signal.SIGUSR1, signal.SIGXFSZ, signal.SIGRTMAX)}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR2})
    leak = os.open("/", O_PATH)
    os.set_inheritable(leak, True)
    try:
        status = run(Plan().op("EXEC", ["/bin/cat"], ["cat", "/proc/self/status"], NONE)).out
        descriptors = run(Plan().op("EXEC", ["/bin/ls"], ["ls", "/proc/self/fd"], NONE)).out
    finally:
        os.close(leak)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in old.items():
            signal.signal(number, handler)

    lines = dict(line.split(":\t", 1) for line in status.splitlines())
    assert [int(lines[name], 16) for name in ("SigBlk", "SigIgn", "SigPnd")] == [0, 0, 0]
    assert descriptors.split() == ["0", "1", "2", "3"]


def test_preserved_descriptors_go_along() -> None:
    """Descriptors 3 and 4 of the caller; in a child, since this process has its own there."""
    child = os.fork()
    if not child:
        code = 99
        try:
            os.dup2(os.open("/etc", O_PATH), 63)
            os.dup2(os.open("/usr", O_PATH), 64)
            os.dup2(63, 3)
            os.dup2(64, 4)
            result = run(
                Plan().op("CLOSEFROM", 5).sh("readlink /proc/self/fd/3 /proc/self/fd/4; ls /proc/self/fd"),
                preserve=2,
            )
            code = 0 if result.out.split() == ["/etc", "/usr", "0", "1", "2", "3", "4", "5"] else 1
        finally:
            os._exit(code)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_preserved_descriptor_that_is_not_there() -> None:
    with pytest.raises(OSError, match="Bad file descriptor"):
        run(Plan().sh("true"), preserve=900)


# --- the process itself


class Stopped:
    """An executor that waits for an answer, to be looked at from outside."""

    def __init__(self) -> None:
        self.talk, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        plan = memfd_sealed(Plan().op("RPC", 1, NONE, 0).encode(), "plan")
        exe = executor_fd()
        self.pid, pidfd = spawn(0, -1, exe, (0, 1, 2), 0, [theirs.fileno(), plan])
        theirs.close()
        self.talk.recv(64)
        for fd in (exe, plan, pidfd):
            os.close(fd)

    def status(self) -> dict[str, str]:
        with open(f"/proc/{self.pid}/status") as file:
            return dict(line.rstrip("\n").split(":\t", 1) for line in file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.talk.close()
        os.waitpid(self.pid, 0)


def test_the_executable_is_a_sealed_memfd_and_nothing_else_is_mapped() -> None:
    with Stopped() as executor:
        exe = os.open(f"/proc/{executor.pid}/exe", os.O_RDONLY)
        seals = fcntl.fcntl(exe, fcntl.F_GET_SEALS)
        with open(f"/proc/{executor.pid}/maps") as file:
            files = {line.split()[5] for line in file if len(line.split()) > 5}
        with open(f"/proc/{executor.pid}/environ") as file:
            environ = file.read()
        with pytest.raises(OSError, match=r"Text file busy|Permission denied"):
            os.open(f"/proc/self/fd/{exe}", os.O_WRONLY)
        os.close(exe)

    assert seals & 0xF == 0xF
    assert {f for f in files if not f.startswith("[")} <= {"/memfd:pyrunc", "/memfd:plan"}
    assert environ == ""


def test_it_takes_next_to_no_memory() -> None:
    """A container must start within a memory limit of 1 MiB; what the kernel charges for a process is most of that."""
    with Stopped() as executor:
        status = executor.status()

    assert int(status["RssAnon"].split()[0]) <= 16
    assert int(status["VmRSS"].split()[0]) <= 48
    assert int(status["VmPTE"].split()[0]) <= 60
    assert status["Threads"] == "1"


@pytest.fixture
def copy(room: Path) -> Path:
    path = room / "copy"
    path.write_bytes(executor_bytes())
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    "argv",
    [
        "pyrunc init",
        "pyrunc init 3",
        "pyrunc init x",
        "sh",
        "sh init 3",
        "pyrunc init " + "9" * 30,
        "pyrunc init 2",
    ],
)
def test_a_copy_found_by_a_container_leaves_at_once(copy: Path, argv: str) -> None:
    pid = os.posix_spawn(copy, argv.split(), {})

    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1


@pytest.mark.parametrize("seal", [True, False])
def test_missing_stdio_becomes_dev_null_and_the_plan_must_be_sealed(
    copy: Path, room: Path, seal: bool
) -> None:
    """The executor looks for itself, though the shim always gives it all three."""
    data = Plan().sh(f"exec readlink /proc/$$/fd/0 /proc/$$/fd/2 > {room}/out").encode()
    plan = memfd_sealed(data, "plan") if seal else os.memfd_create("plan")
    if not seal:
        os.write(plan, data)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    actions = [(os.POSIX_SPAWN_DUP2, theirs.fileno(), 103), (os.POSIX_SPAWN_DUP2, plan, 104)]
    actions += [(os.POSIX_SPAWN_CLOSE, n) for n in (0, 1, 2)]
    pid = os.posix_spawn(copy, ["pyrunc", "init", "103"], {}, file_actions=actions)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    ours.close()
    theirs.close()
    os.close(plan)

    assert code == (0 if seal else 1)
    assert (room / "out").exists() == seal
    if seal:
        assert (room / "out").read_text().split() == ["/dev/null", "/dev/null"]


def test_spawn_into_namespaces_at_once() -> None:
    """The path without a user namespace: clone flags go straight into clone3."""
    if os.geteuid() != 0:
        pytest.skip("needs root: clone3 with CLONE_NEWPID")
    result = run(Plan().sh("echo $$"), clone_flags=0x20000000 | 0x20000 | 0x8000000)

    assert result.out == "1\n"


def test_an_ordinary_user_needs_no_root() -> None:
    result = run_user(user_namespace(Plan()).sh("id -u"))

    assert (result.out, result.error) == ("0\n", None)
