"""Filters on system calls: what they forbid, which profiles are refused, and the agent that decides."""

from __future__ import annotations

import array
import contextlib
import fcntl
import json
import os
import pathlib
import platform
import re
import socket
import struct
import threading

import pytest
from lib.bundle import Unset
from lib.runtime import new_id

req = pytest.mark.req

pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="needs x86-64: names and numbers are its own"
)

NOTIF_RECV, NOTIF_SEND = 0xC0502100, 0xC0182101
CONTINUE = 1
MKDIR = ["mkdir", "mkdirat"]


def profile(default="ALLOW", *rules, **more):
    return {"defaultAction": f"SCMP_ACT_{default}", "syscalls": list(rules), **more}


def rule(action, names=("mkdir", "mkdirat"), **more):
    return {"names": list(names), "action": f"SCMP_ACT_{action}", **more}


def arg(index, op, value, **more):
    return {"index": index, "op": f"SCMP_CMP_{op}", "value": value, **more}


def sh(bundle, script, seccomp, *, nnp=True):
    bundle.set("linux.seccomp", seccomp).set("process.noNewPrivileges", nnp)
    return bundle.args("/bin/sh", "-c", script)


@pytest.fixture(params=[True, False], ids=["no_new_privs", "privileged"])
def nnp(request):
    """Without no_new_privs a runtime loads the filter at another moment."""
    return request.param


# ---- what a filter does ----


@req("SE-3", "SE-14")
@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({}, "Operation not permitted"),
        ({"errnoRet": 38}, "not implemented"),
        ({"errnoRet": 28}, "No space left"),
    ],
)
def test_errno(runtime, bundle, nnp, more, text):
    seen = runtime.try_run(
        sh(bundle, "/bin/busybox mkdir /x; echo on", profile("ALLOW", rule("ERRNO", **more)), nnp=nnp)
    )
    assert text in seen.err
    assert seen.out == "on\n"
    assert not (bundle.rootfs / "x").exists()


@req("SE-1", "SE-3", "LP-5")
def test_the_filter_is_on(runtime, bundle, nnp):
    bundle.set("linux.seccomp", profile("ALLOW", rule("ERRNO"))).set("process.noNewPrivileges", nnp)
    status = runtime.report(bundle).status
    assert (status["Seccomp"], status["NoNewPrivs"]) == ("2", str(int(nnp)))


@req("LP-5")
def test_no_filter_without_a_profile(runtime, bundle):
    assert runtime.report(bundle.set("linux.seccomp", Unset)).status["Seccomp"] == "0"


@req("SE-14")
@pytest.mark.parametrize("action", ["KILL", "KILL_THREAD", "KILL_PROCESS", "TRAP"])
def test_kill(runtime, bundle, action, nnp):
    seen = runtime.try_run(sh(bundle, "exec /bin/busybox mkdir /x", profile("ALLOW", rule(action)), nnp=nnp))
    assert seen.code == 128 + 31  # SIGSYS
    assert not (bundle.rootfs / "x").exists()


@req("SE-14")
@pytest.mark.parametrize("action", ["LOG", "ALLOW"])
def test_let_through(runtime, bundle, action):
    runtime.run(sh(bundle, "/bin/busybox mkdir /x", profile("ALLOW", rule(action))))
    assert (bundle.rootfs / "x").is_dir()


@req("SE-14")
def test_trace_without_a_tracer(runtime, bundle):
    seen = runtime.try_run(sh(bundle, "/bin/busybox mkdir /x", profile("ALLOW", rule("TRACE"))))
    assert "not implemented" in seen.err


@req("SE-15")
@pytest.mark.parametrize(
    ("condition", "forbidden"),
    [
        (arg(1, "EQ", 0o700), {0o700}), (arg(1, "NE", 0o700), {0o500, 0o750}), (arg(1, "LT", 0o700), {0o500}),
        (arg(1, "LE", 0o700), {0o500, 0o700}), (arg(1, "GT", 0o700), {0o750}), (arg(1, "GE", 0o700), {0o700, 0o750}),
        (arg(1, "MASKED_EQ", 0o070, valueTwo=0o050), {0o750}),
        (arg(1, "MASKED_EQ", 0o070), {0o500, 0o700}),  # engines leave out a valueTwo of 0
    ],
)  # fmt: skip
def test_operators(runtime, bundle, condition, forbidden):
    script = (
        "for m in 500 700 750; do /bin/busybox chmod $m /tmp 2>&1 | grep -q permitted && echo $m; done; true"
    )
    seccomp = profile("ALLOW", rule("ERRNO", ["chmod"], args=[condition]))
    assert {int(word, 8) for word in runtime.run(sh(bundle, script, seccomp)).out.split()} == forbidden


@req("SE-15", "SE-16")
def test_conditions_on_one_argument_are_alternatives(runtime, bundle):
    script = (
        "for m in 500 700 750; do /bin/busybox chmod $m /tmp 2>&1 | grep -q permitted && echo $m; done; true"
    )
    seccomp = profile("ALLOW", rule("ERRNO", ["chmod"], args=[arg(1, "EQ", 0o500), arg(1, "EQ", 0o700)]))
    assert runtime.run(sh(bundle, script, seccomp)).out.split() == ["500", "700"]


@req("SE-16")
def test_what_is_not_known_is_skipped(runtime, bundle):
    rules = [rule("ERRNO", ["no_such_call", *MKDIR]), rule("ALLOW", ["read"])]
    assert "permitted" in runtime.try_run(sh(bundle, "/bin/busybox mkdir /x", profile("ALLOW", *rules))).err


@req("SE-4")
def test_architectures_beside_the_native_one(runtime, bundle):
    archs = ["SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]
    seccomp = profile("ALLOW", rule("ERRNO"), architectures=archs)
    assert "permitted" in runtime.try_run(sh(bundle, "/bin/busybox mkdir /x", seccomp)).err


@req("SE-5")
@pytest.mark.only_if("tool:strace")
@pytest.mark.parametrize(
    ("flags", "expected"),
    [(None, 4), ([], 0), (["LOG"], 2), (["SPEC_ALLOW"], 4), (["LOG", "SPEC_ALLOW"], 6)],
)
def test_flags(runtime, bundle, flags, expected, tmp_path):
    given = {} if flags is None else {"flags": [f"SECCOMP_FILTER_FLAG_{flag}" for flag in flags]}
    sh(bundle, "true", profile("ALLOW", rule("ERRNO"), **given))
    trace = tmp_path / "trace"
    seen = runtime.try_run(
        bundle, prefix=("strace", "-f", "-qq", "-X", "raw", "-e", "trace=seccomp", "-o", str(trace))
    )
    assert seen.code == 0, str(seen)
    loads = [line for line in trace.read_text().splitlines() if "seccomp(0x1, " in line and "= 0" in line]
    assert int(loads[-1].split("seccomp(0x1, ")[1].split(",")[0], 0) & ~1 == expected


# ---- what is refused ----


@req("SE-1")
@pytest.mark.parametrize(
    "seccomp", [{}, {"defaultAction": "X"}, {"defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": "/x"}]
)
def test_default_action_is_needed(runtime, bundle, seccomp):
    runtime.refuses(bundle.set("linux.seccomp", seccomp))


@req("SE-2")
@pytest.mark.parametrize(
    "seccomp",
    [
        profile("ALLOW", rule("ALLOW", errnoRet=1)),
        profile("KILL", defaultErrnoRet=1),
        profile("ALLOW", rule("LOG", errnoRet=1)),
    ],
)
def test_an_errno_where_none_is_taken(runtime, bundle, seccomp):
    runtime.refuses(bundle.set("linux.seccomp", seccomp))


@req("SE-4", "SE-5", "SE-13", "SE-14", "SE-15")
@pytest.mark.parametrize(
    "seccomp",
    [
        profile("ALLOW", architectures=["SCMP_ARCH_FOO"]),
        profile("ALLOW", flags=["SECCOMP_FILTER_FLAG_FOO"]),
        profile("ALLOW", rule("ERRNO", [])),
        profile("ALLOW", rule("JUNK")),
        profile("ALLOW", {"names": ["mkdir"]}),
        profile("ALLOW", rule("ERRNO", args=[arg(9, "EQ", 1)])),
        profile("ALLOW", rule("ERRNO", args=[{"index": 0, "value": 1}])),
        profile("ALLOW", rule("ERRNO", args=[arg(0, "JUNK", 1)])),
    ],
    ids=["arch", "flag", "no names", "action", "no action", "index", "no op", "op"],
)
def test_bad_profiles(runtime, bundle, seccomp):
    runtime.refuses(bundle.set("linux.seccomp", seccomp))


@req("SE-12")
def test_metadata_without_a_listener(runtime, bundle):
    runtime.refuses(bundle.set("linux.seccomp", profile("ALLOW", listenerMetadata="x")))


# ---- the agent ----


class Agent:
    """Listens, takes the container process states, and answers every notification with ENOMEDIUM."""

    def __init__(self, path):
        self.path, self.states, self.rest, self.faults = str(path), [], [], []
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(self.path)
        self.listener.listen()
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                self._take(self.listener.accept()[0])

    def _take(self, connection):
        data, ancillary, _, _ = connection.recvmsg(65536, socket.CMSG_SPACE(16))
        fds = array.array("i", b"".join(part for _, kind, part in ancillary if kind == socket.SCM_RIGHTS))
        self.states.append((json.loads(data), len(fds)))
        if fds:
            threading.Thread(target=self._answer, args=(fds[0],), daemon=True).start()
        self.rest.append(connection.recv(1))  # the end: one state a connection
        connection.close()

    def _answer(self, fd):
        with contextlib.suppress(OSError):  # ENOENT when nothing is left to be asked about
            while True:
                buffer = bytearray(80)
                fcntl.ioctl(fd, NOTIF_RECV, buffer)
                fcntl.ioctl(
                    fd,
                    NOTIF_SEND,
                    bytearray(struct.pack("=QqiI", struct.unpack_from("=Q", buffer)[0], 0, -123, 0)),
                )

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


@pytest.fixture
def agent(tmp_path):
    made = Agent(tmp_path / "agent")
    yield made
    made.close()


@req("SE-6", "SE-7", "SE-8", "SE-11", "CPS-1", "CPS-2", "CPS-3")
def test_notify(runtime, bundle, agent, nnp):
    seccomp = profile("ALLOW", rule("NOTIFY"), listenerPath=agent.path, listenerMetadata="some words")
    ident = new_id()
    bundle.set("annotations", {"a": "b"})
    seen = runtime.try_run(sh(bundle, "/bin/busybox mkdir /x", seccomp, nnp=nnp), ident=ident)
    assert "No medium found" in seen.err, str(seen)
    ((state, fds),) = agent.states
    assert fds == len(state["fds"]) == 1
    assert state["fds"] == ["seccompFd"]
    assert state["metadata"] == "some words"
    assert state["ociVersion"]
    assert state["pid"] > 1
    inner = state["state"]
    assert (inner["id"], inner["bundle"], inner["annotations"]) == (ident, str(bundle.path), {"a": "b"})
    assert inner["status"] in {"creating", "created"}
    assert inner["pid"] == state["pid"]
    assert agent.rest == [b""]


@req("SE-6", "CPS-3")
def test_notify_in_two_steps(runtime, bundle, agent, nnp):
    container = runtime.running(
        sh(
            bundle,
            "/bin/busybox mkdir /x",
            profile("ALLOW", rule("NOTIFY"), listenerPath=agent.path),
            nnp=nnp,
        )
    )
    pid = container.pid if container.status != "stopped" else None
    container.wait(container.pid) if pid else None
    assert "No medium found" in container.err
    assert len(agent.states) == 1


@req("SE-6")
def test_the_listener_leaves_though_nothing_else_may(runtime, bundle, agent):
    """The filter forbids whatever a runtime could send with."""
    names = ["sendmsg", "sendto", "sendmmsg", "futex", "nanosleep", "clock_nanosleep", "close", "pidfd_getfd"]
    seccomp = profile("ALLOW", rule("ERRNO", names), rule("NOTIFY"), listenerPath=agent.path)
    bundle.probe("mkdir", "/x")
    seen = runtime.try_run(bundle.set("linux.seccomp", seccomp), timeout=10)
    assert len(agent.states) == 1, str(seen)
    assert seen.code == 0


@req("SE-6")
def test_receiver_by_annotation(runtime, bundle, agent):
    """crun's older way to name the agent."""
    if "runc" in os.path.basename(runtime.path) and "pyrunc" not in runtime.path:
        pytest.skip("needs the annotation run.oci.seccomp.receiver, which runc does not have")
    bundle.set("annotations", {"run.oci.seccomp.receiver": agent.path})
    seen = runtime.try_run(sh(bundle, "/bin/busybox mkdir /x", profile("ALLOW", rule("NOTIFY"))))
    assert "No medium found" in seen.err, str(seen)
    assert [state["fds"] for state, _ in agent.states] == [["seccompFd"]]


@req("SE-9")
def test_nobody_listens(runtime, bundle, tmp_path):
    seccomp = profile("ALLOW", rule("NOTIFY"), listenerPath=str(tmp_path / "nobody"))
    seen = runtime.try_run(sh(bundle, "echo ran", seccomp))
    assert seen.code != 0
    assert seen.out == ""
    assert seen.err.strip()


@req("SE-9")
def test_the_agent_hangs_up(runtime, bundle, tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as other:
        other.bind(str(tmp_path / "seqpacket"))
        other.listen()
        seccomp = profile("ALLOW", rule("NOTIFY"), listenerPath=str(tmp_path / "seqpacket"))
        assert runtime.try_run(sh(bundle, "echo ran", seccomp)).code != 0


@req("SE-10")
def test_a_listener_that_is_not_needed(runtime, bundle, tmp_path):
    runtime.run(sh(bundle, "true", profile("ALLOW", rule("ERRNO"), listenerPath=str(tmp_path / "nobody"))))


@req("SE-14")
def test_notify_without_a_listener(runtime, bundle):
    runtime.refuses(bundle.set("linux.seccomp", profile("ALLOW", rule("NOTIFY"))))


@req("SE-16")
@pytest.mark.only_if("file:/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
def test_system_calls_newer_than_the_profile(runtime, bundle):
    """Beyond the newest that the profile names the answer is ENOSYS, so that a C library falls back to an older one."""
    header = pathlib.Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h").read_text()
    names = re.findall(r"#define __NR_(\w+)", header)
    allowed = [name for name in names[: names.index("faccessat2") + 1] if name not in MKDIR]
    bundle.probe("syscall", 83, "syscall", 460)
    bundle.set("linux.seccomp", profile("ERRNO", rule("ALLOW", allowed), architectures=["SCMP_ARCH_X86_64"]))
    seen = runtime.run(bundle).seen
    assert [step.err for step in seen.steps] == ["EPERM", "ENOSYS"]


@req("SE-14", "HK-13")
def test_start_hooks_are_under_the_filter(runtime, bundle, nnp):
    sh(bundle, "true", profile("ALLOW", rule("KILL_PROCESS")), nnp=nnp)
    bundle.set("hooks.startContainer", [{"path": "/bin/busybox", "args": ["busybox", "mkdir", "/x"]}])
    seen = runtime.try_run(bundle)
    assert seen.code != 0
    assert "bad system call" in seen.err.lower() or "159" in seen.err  # 128 + SIGSYS
    assert not (bundle.rootfs / "x").exists()


@req("SE-6", "HK-13")
def test_the_agent_is_asked_about_hooks(runtime, bundle, agent):
    sh(bundle, "true", profile("ALLOW", rule("NOTIFY"), listenerPath=agent.path))
    bundle.set("hooks.startContainer", [{"path": "/bin/busybox", "args": ["busybox", "mkdir", "/x"]}])
    assert runtime.try_run(bundle).code != 0
    assert len(agent.states) == 1


@req("SE-16")
def test_what_is_kept_is_no_container(runtime, bundle):
    """A runtime may keep compiled filters below its root: they are none of its containers, and may vanish."""
    seccomp = profile("ALLOW", rule("ERRNO"))
    for _ in range(2):
        assert "permitted" in runtime.try_run(sh(bundle, "/bin/busybox mkdir /x", seccomp)).err
    assert json.loads(runtime.ok("list", "--format", "json").out or "[]") in ([], None)
    assert runtime.ok("list", "--quiet").out == ""
    for kept in runtime.root.glob(".seccomp-*"):
        kept.write_bytes(b"\0" * 72)
    assert "permitted" in runtime.try_run(sh(bundle, "/bin/busybox mkdir /x", seccomp)).err


@req("FL-3")
def test_values_of_features_work(runtime, bundle):
    document = runtime.cmd("features")
    if document.code != 0:
        pytest.skip("needs the command features")
    told = json.loads(document.out)["linux"]["seccomp"]
    if "supportedFlags" not in told:
        pytest.skip("needs a runtime that knows supportedFlags (runc 1.2)")
    assert told["enabled"] is True
    for action in set(told["actions"]) - {"SCMP_ACT_NOTIFY"}:
        runtime.run(sh(bundle, "true", profile("ALLOW", {"names": MKDIR, "action": action})))
    for op in told["operators"]:
        runtime.run(sh(bundle, "true", profile("ALLOW", rule("ERRNO", args=[arg(1, op[9:], 1, valueTwo=1)]))))
    assert {"SCMP_ARCH_X86_64", "SCMP_ARCH_X86"} <= set(told["archs"])
    assert set(told["supportedFlags"]) <= set(told["knownFlags"])
    for flag in set(told["supportedFlags"]) - {"SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"}:
        runtime.run(sh(bundle, "true", profile("ALLOW", rule("ERRNO"), flags=[flag])))


# ---- exec ----


@req("SE-1", "CLI-IN-1")
def test_exec_has_the_filter(runtime, bundle, nnp):
    c = runtime.running(sh(bundle, "sleep 60", profile("ALLOW", rule("ERRNO")), nnp=nnp))
    result = runtime.cmd("exec", c.id, "/bin/busybox", "mkdir", "/x")
    assert result.code == 1
    assert "Operation not permitted" in result.err


@req("SE-6", "CPS-1", "CPS-2", "CPS-3", "CLI-IN-1")
def test_exec_has_an_agent(runtime, bundle, agent, nnp):
    seccomp = profile("ALLOW", rule("NOTIFY"), listenerPath=agent.path)
    c = runtime.running(sh(bundle, "sleep 60", seccomp, nnp=nnp))
    result = runtime.cmd("exec", c.id, "/bin/busybox", "mkdir", "/x")
    assert "No medium found" in result.err, str(result)
    assert len(agent.states) == 2
    state, fds = agent.states[1]
    assert fds == 1
    assert state["pid"] != c.pid
    assert (state["state"]["pid"], state["state"]["status"]) == (c.pid, "running")


@req("CLI-CRUN-8")
def test_system_calls_that_are_none(runtime, bundle):
    """Passed over, since profiles are older or newer than libraries; where that is not wanted it is an error."""
    bundle.set("linux.seccomp", profile("ALLOW", rule("ERRNO", ["mkdir", "no_such_call"])))
    runtime.run(bundle.args("/bin/true"))
    bundle.set("annotations", {"run.oci.seccomp_fail_unknown_syscall": ""})
    if runtime.try_run(bundle).code == 0:
        pytest.skip("needs the annotation run.oci.seccomp_fail_unknown_syscall, which runc has not")
    runtime.refuses(bundle, "no_such_call")
    runtime.run(bundle.set("linux.seccomp", profile("ALLOW", rule("ERRNO"))))
