"""What the programs decide, by a machine for BPF written here, for system calls of several architectures."""

from __future__ import annotations

import json
import os
import struct

import pytest
from bpf_machine import OPERATORS, X86_64, decide

from pyrunc.errors import HostError, SpecError
from pyrunc.seccomp import enosys, flags_of, library, make_filter
from pyrunc.seccomp.compile import check_names, compile_profile
from pyrunc.spec.parse import parse_config

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrunc.spec.model import Seccomp

I386, ARM64 = 0x40000003, 0xC00000B7
ALLOW, KILL, KILL_PROCESS, TRAP, LOG, NOTIFY = 0x7FFF0000, 0, 0x80000000, 0x30000, 0x7FFC0000, 0x7FC00000
NATIVE = os.uname().machine

pytestmark = pytest.mark.skipif(NATIVE != "x86_64", reason="the numbers below are those of x86-64")


def errno(number: int) -> int:
    return 0x50000 | number


def profile(default: str, *rules: dict[str, Any], **more: Any) -> Seccomp:
    """Return a profile as the parser makes it; rules are in the words of config.json."""
    value = {"defaultAction": f"SCMP_ACT_{default}", "syscalls": list(rules), **more}
    seccomp = parse_config(
        json.dumps({"ociVersion": "1.3.0", "linux": {"seccomp": value}}).encode()
    ).linux.seccomp
    assert seccomp is not None
    return seccomp


def rule(action: str, *names: str, **more: Any) -> dict[str, Any]:
    return {"names": list(names), "action": f"SCMP_ACT_{action}", **more}


def arg(index: int, op: str, value: int, two: int | None = None) -> dict[str, Any]:
    return {"index": index, "op": f"SCMP_CMP_{op}", "value": value} | (
        {} if two is None else {"valueTwo": two}
    )


@pytest.mark.parametrize(
    ("action", "result"),
    [("KILL", KILL), ("KILL_THREAD", KILL), ("KILL_PROCESS", KILL_PROCESS), ("TRAP", TRAP), ("ERRNO", errno(1)),
     ("TRACE", 0x7FF00001), ("LOG", LOG), ("NOTIFY", NOTIFY)],
)  # fmt: skip
def test_actions(action: str, result: int) -> None:
    program = compile_profile(profile("ALLOW", rule(action, "mkdir")))

    assert decide(program, X86_64, 83) == result
    assert decide(program, X86_64, 84) == ALLOW


def test_errnos() -> None:
    program = compile_profile(
        profile("ERRNO", rule("ERRNO", "mkdir", errnoRet=13), rule("ALLOW", "read"), rule("TRACE", "rmdir", errnoRet=77),
                rule("ERRNO", "chdir", errnoRet=0), rule("ALLOW", "statx"), defaultErrnoRet=2)
    )  # fmt: skip

    assert [decide(program, X86_64, nr) for nr in (83, 0, 84, 80, 1)] == [
        errno(13), ALLOW, 0x7FF0004D, errno(0), errno(2),
    ]  # fmt: skip


VALUES = (0, 1, 4, 5, 6, 0xFFFFFFFF, 1 << 32, (1 << 32) + 5, 2**64 - 1)


@pytest.mark.parametrize("op", OPERATORS)
@pytest.mark.parametrize("datum", [5, (1 << 32) + 5, 2**64 - 1])
def test_operators(op: str, datum: int) -> None:
    two = datum & 0xFF if op == "MASKED_EQ" else None
    program = compile_profile(profile("ALLOW", rule("TRAP", "mkdir", args=[arg(1, op, datum, two)])))

    for value in VALUES:
        expected = TRAP if OPERATORS[op](value, datum, two) else ALLOW
        assert decide(program, X86_64, 83, 0, value) == expected, hex(value)


def test_conditions_on_different_arguments_must_all_hold() -> None:
    program = compile_profile(
        profile("ALLOW", rule("TRAP", "socket", args=[arg(0, "EQ", 16), arg(2, "NE", 0)]))
    )

    assert decide(program, X86_64, 41, 16, 3, 9) == TRAP
    assert decide(program, X86_64, 41, 16, 3, 0) == ALLOW
    assert decide(program, X86_64, 41, 2, 3, 9) == ALLOW


def test_conditions_on_one_argument_count_each_by_itself() -> None:
    conditions = [arg(0, "EQ", 1), arg(0, "EQ", 2), arg(1, "EQ", 7)]
    program = compile_profile(profile("ALLOW", rule("TRAP", "socket", args=conditions)))

    assert [decide(program, X86_64, 41, *args) for args in ((1, 0), (2, 0), (3, 7), (3, 0))] == [
        TRAP,
        TRAP,
        TRAP,
        ALLOW,
    ]


def test_names_that_nobody_knows_and_rules_that_change_nothing() -> None:
    program = compile_profile(profile("ALLOW", rule("TRAP", "no_such_call", "mkdir"), rule("ALLOW", "read")))

    assert decide(program, X86_64, 83) == TRAP
    assert decide(program, X86_64, 0) == ALLOW


def test_names_that_nobody_knows_are_told_where_that_is_asked_for() -> None:
    check_names(profile("ALLOW", rule("ERRNO", "mkdir", "umask")))
    with pytest.raises(SpecError) as caught:
        check_names(profile("ALLOW", rule("ERRNO", "mkdir", "mkdri"), rule("ALLOW", "x\ny")))

    assert [str(fault) for fault in caught.value.faults] == [
        'linux.seccomp.syscalls[0].names[1]: unknown system call "mkdri"',
        'linux.seccomp.syscalls[1].names[0]: unknown system call "x\\ny"',
    ]


def test_architectures() -> None:
    only = compile_profile(profile("ALLOW", rule("TRAP", "mkdir")))
    both = compile_profile(
        profile("ALLOW", rule("TRAP", "mkdir"), architectures=["SCMP_ARCH_X86", "SCMP_ARCH_S390X"])
    )

    assert decide(only, I386, 39) == KILL, "an architecture that the profile does not name"
    assert (decide(both, I386, 39), decide(both, I386, 40), decide(both, X86_64, 83)) == (TRAP, ALLOW, TRAP)
    assert decide(both, ARM64, 1) == KILL


def test_newer_system_calls_do_not_exist() -> None:
    archs = ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]
    program = compile_profile(profile("ERRNO", rule("ALLOW", "read", "faccessat2"), architectures=archs))

    assert decide(program, X86_64, 0) == ALLOW
    assert decide(program, X86_64, 439) == ALLOW, "faccessat2, the newest that is named"
    assert decide(program, X86_64, 438) == errno(1)
    assert decide(program, X86_64, 440) == errno(38)
    assert decide(program, I386, 3) == ALLOW
    assert decide(program, I386, 440) == errno(38)
    assert decide(program, X86_64, 1 << 30 | 439) == ALLOW
    assert decide(program, X86_64, 1 << 30 | 400) == errno(1)
    assert decide(program, X86_64, 1 << 30 | 600) == errno(38)
    assert decide(program, ARM64, 1) == KILL


@pytest.mark.parametrize(
    "largest", [{"SCMP_ARCH_X86_64": 9}, {"SCMP_ARCH_AARCH64": 9}, {"SCMP_ARCH_X86": 9, "SCMP_ARCH_ARM": 9}]
)
def test_the_stub_goes_on_to_the_program(largest: dict[str, int]) -> None:
    program = enosys.stub(largest) + struct.pack("=HBBI", 0x06, 0, 0, TRAP)

    for name in largest:
        assert decide(program, enosys.AUDIT[name], 9) == TRAP
        assert decide(program, enosys.AUDIT[name], 10) == errno(38)
    assert decide(program, 0x1234, 10) == TRAP


def test_no_stub_where_it_says_nothing() -> None:
    archs = {"SCMP_ARCH_X86_64": X86_64}
    for seccomp in (
        profile("ALLOW"),
        profile("LOG"),
        profile("TRACE"),
        profile("ERRNO", defaultErrnoRet=38),
        profile("ERRNO"),
    ):
        assert enosys.enosys_stub(seccomp, archs) == b""


def test_flags() -> None:
    prefix = "SECCOMP_FILTER_FLAG_"
    told = [None, [], ["TSYNC"], ["LOG"], ["LOG", "SPEC_ALLOW", "LOG"]]
    given = [{} if flags is None else {"flags": [prefix + flag for flag in flags]} for flags in told]

    assert [flags_of(profile("ALLOW", **more)) for more in given] == [4, 0, 0, 2, 6]
    assert flags_of(profile("ALLOW", rule("NOTIFY", "mkdir"), flags=[])) == 8


def test_an_old_kernel_lacks_a_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    names = os.uname()
    monkeypatch.setattr(
        os, "uname", lambda: os.uname_result((names[0], names[1], "5.15.0", names[3], names[4]))
    )
    seccomp = profile("ALLOW", rule("NOTIFY", "mkdir"), flags=["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"])

    with pytest.raises(HostError, match="WAIT_KILLABLE_RECV: not supported by this kernel"):
        make_filter(seccomp, "")


def test_a_missing_library_is_told_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "NAME", b"libno-such-thing.so.2")

    with pytest.raises(HostError, match="install the package libseccomp2"):
        make_filter(profile("ALLOW"), "")
