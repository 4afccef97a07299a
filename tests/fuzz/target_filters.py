"""Seccomp filters and device programs: interpreted here, and held against the rules that they were made from."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from bpf_machine import OPERATORS, X86_64, decide
from config_maker import make, spoil
from device_model import decide as decide_device
from device_model import reference
from fuzzing import Target, told

from pyrunc.cgroup import devices_v1, devices_v2
from pyrunc.errors import HostError, SpecError
from pyrunc.seccomp import flags_of
from pyrunc.seccomp.compile import ACTIONS, action_of, compile_profile
from pyrunc.spec.jsontext import loads
from pyrunc.spec.model import Seccomp
from pyrunc.spec.parse import parse_config, reader_of
from pyrunc.spec.resources import Resources

if TYPE_CHECKING:
    import random
    from typing import Any

    from pyrunc.errors import Fault
    from pyrunc.spec.model import SeccompSyscall

NUMBERS = {
    "read": 0,
    "mkdir": 83,
    "socket": 41,
    "clone": 56,
    "personality": 135,
    "statx": 332,
    "openat2": 437,
}
"""Of x86-64."""
ENOSYS = 0x50000 | 38
LARGEST = 4096
"""BPF_MAXINSNS."""


def profile(rnd: random.Random) -> dict[str, Any]:
    """Return a good profile of a few system calls whose numbers are known here."""
    rules = []
    for _ in range(rnd.choice((0, 1, 2, 4, 40))):
        args = [
            {"index": rnd.randint(0, 5), "value": rnd.choice((0, 1, 5, 2**32 + 5, 2**64 - 1)),
             "valueTwo": rnd.choice((0, 1, 4)), "op": f"SCMP_CMP_{rnd.choice(list(OPERATORS))}"}
            for _ in range(rnd.choice((0, 0, 1, 2)))
        ]  # fmt: skip
        names = rnd.choices([*NUMBERS, "nosuchcall", "stime"], k=rnd.randint(1, 3))
        rules.append({"names": names, "action": rnd.choice(list(ACTIONS)), "args": args})
    value = {"defaultAction": rnd.choice(list(ACTIONS)), "syscalls": rules}
    if rnd.random() < 0.5:
        value["architectures"] = rnd.sample(
            ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_ARM"], 2
        )
    if rnd.random() < 0.2:
        value |= make(Seccomp, rnd, 0.3)
    return value


def applies(rule: SeccompSyscall, name: str, args: tuple[int, ...]) -> bool:
    """Tell whether a rule can speak of a call: all conditions hold, or some where they count each by itself."""
    held = [
        OPERATORS[arg.op.removeprefix("SCMP_CMP_")](args[arg.index], arg.value, arg.value_two or 0)
        for arg in rule.args
    ]
    single = len({arg.index for arg in rule.args}) < len(rule.args)
    return name in rule.names and (any(held) if single else all(held))


class SeccompProfile(Target):
    """linux.seccomp: parsed and checked, compiled by libseccomp, and run."""

    name = "seccomp"

    def make(self, rnd: random.Random) -> bytes:
        value = profile(rnd)
        for _ in range(rnd.choice((0, 0, 1, 2))):
            value = spoil(value, rnd)
        return json.dumps(value).encode()

    def judge(self, data: bytes) -> str:
        from pyrunc.check import CheckFacts, check

        text = b'{"ociVersion": "1.3.0", "linux": {"seccomp": %s}}' % data
        spec, said = told(lambda: parse_config(text), SpecError)
        if spec is None:
            return said
        _, said = told(lambda: check(spec, CheckFacts("/bundle")), SpecError)  # type: ignore[arg-type]
        seccomp = spec.linux.seccomp  # type: ignore[attr-defined]
        if said or seccomp is None:
            return said or "none"
        program, said = told(lambda: (flags_of(seccomp), compile_profile(seccomp))[1], SpecError, HostError)
        if not isinstance(program, bytes):
            return said
        assert len(program) % 8 == 0
        return "run " + self.run(seccomp, program) if os.uname().machine == "x86_64" else "compiled"

    def run(self, seccomp: Seccomp, program: bytes) -> str:
        """Hold what the program decides against what a rule, or none, can have meant."""
        default = action_of(seccomp.default_action, seccomp.default_errno_ret)
        results = set()
        for name, number in NUMBERS.items():
            for args in ((0,) * 6, (5, 1, 2**32 + 5, 4, 2**64 - 1, 1)):
                result = decide(program, X86_64, number, *args)
                rules = [rule for rule in seccomp.syscalls if applies(rule, name, args)]
                possible = {default, ENOSYS, *(action_of(rule.action, rule.errno_ret) for rule in rules)}
                assert result in possible, f"{name}{args} is answered by {result:#x}"
                results.add(result)
        return f"{len(results)} {len(program) // 8 > LARGEST}"


class DeviceRules(Target):
    """linux.resources.devices: the eBPF program of v2 against the meaning of the rules, and the lists of v1 without a fault."""

    name = "devices"

    def make(self, rnd: random.Random) -> bytes:
        rules = []
        for _ in range(rnd.choice((0, 1, 2, 3, 8, 30))):
            rule: dict[str, Any] = {"allow": rnd.random() < 0.5}
            rule["access"] = "".join(rnd.sample("rwm", rnd.randint(1, 3)))
            for key in ("major", "minor"):
                if rnd.random() < 0.7:
                    rule[key] = rnd.choice((-1, 0, 1, 3, 5, 8, 136, 229, 4095))
            if rnd.random() < 0.8:
                rule["type"] = rnd.choice("abc")
            rules.append(rule)
        value = {"devices": rules}
        for _ in range(rnd.choice((0, 0, 0, 1))):
            value = spoil(value, rnd)
        return json.dumps(value).encode()

    def judge(self, data: bytes) -> str:
        value, said = told(lambda: loads(data, "resources"), SpecError)
        if said:
            return said
        faults: list[Fault] = []
        made = reader_of(Resources)(value, "", "resources", faults)
        if faults:
            return "refused by the parser"
        _, said = told(lambda: devices_v2.matches(made.devices), SpecError)
        if said:
            return said
        verdict, said = told(lambda: devices_v1.judge(made.devices), SpecError)
        for kind in "bc":
            for access in ("r", "w", "m", "rw", "rwm"):
                for major in (0, 1, 5, 8, 10, 136):
                    for minor in (0, 2, 3, 229):
                        got = decide_device(made.devices, kind, access, major, minor)
                        assert got == reference(made.devices, kind, access, major, minor), (
                            kind,
                            access,
                            major,
                            minor,
                        )
                        if len(access) == 1 and isinstance(verdict, devices_v1.Verdict):
                            assert lists_say(verdict, kind, access, major, minor) == got, (
                                "v1 decides otherwise than v2"
                            )
        return f"agreed on {len(made.devices)} {said}"


def lists_say(verdict: devices_v1.Verdict, kind: str, letter: str, major: int, minor: int) -> bool:
    """Return what the lists of cgroup v1 come to for one kind of access: the default, unless an exception speaks of it."""
    asked = (kind, str(major), str(minor))
    excepted = any(
        letter in access and all(told in {"*", one} for told, one in zip(key, asked, strict=True))
        for key, access in verdict.exceptions.items()
    )
    return verdict.allow != excepted


TARGETS = (SeccompProfile, DeviceRules)
