"""A machine for the eBPF of device programs, and what the rules mean, in words of its own."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from device_rules import rule

from pyrunc.cgroup import devices_v2 as v2
from pyrunc.cgroup.devices import DEFAULTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyrunc.spec.resources import DeviceRule

LETTERS = {"m": 1, "r": 2, "w": 4}


DEFAULT_RULES = [
    rule(True, kind, *(None if number == "*" else int(number) for number in (major, minor)), access=access)
    for kind, major, minor, access in DEFAULTS
]


def interpret(code: bytes, type_: int, access: int, major: int, minor: int) -> int:
    """Run a program as the kernel would, as far as these few instructions go."""
    context = struct.pack("=III", access << 16 | type_, major, minor)
    registers = [0] * 11
    pc = 0
    for _ in range(10000):
        op, regs, offset, immediate = struct.unpack_from("=BBhi", code, pc * 8)
        to, source, value = regs & 15, regs >> 4, immediate & 0xFFFFFFFF
        pc += 1
        if op == v2.EXIT:
            return registers[0]
        if op == v2.LDX_W:
            assert source == v2.CONTEXT
            registers[to] = struct.unpack_from("=I", context, offset)[0]
        elif op == v2.MOV_K:
            registers[to] = value
        elif op == v2.MOV_X:
            registers[to] = registers[source]
        elif op == v2.AND_K:
            registers[to] &= value
        elif op == v2.RSH_K:
            registers[to] >>= value
        else:
            taken = {v2.JA: True, v2.JNE_K: registers[to] != value, v2.JSET_K: bool(registers[to] & value)}[
                op
            ]
            pc += offset if taken else 0
    raise AssertionError("it does not end")


def reference(rules: Sequence[DeviceRule], kind: str, access: str, major: int, minor: int) -> bool:
    """Each letter is allowed by the last rule that speaks of it; without one it is denied."""
    for letter in access:
        allowed = False
        for one in [*rules, *DEFAULT_RULES]:
            numbers = ((one.major, major), (one.minor, minor))
            same = all(told is None or told < 0 or told == asked for told, asked in numbers)
            if one.type in {None, "a", kind} and same and letter in (one.access or ""):
                allowed = one.allow
        if not allowed:
            return False
    return True


def decide(rules: Sequence[DeviceRule], kind: str, access: str, major: int, minor: int) -> bool:
    code = v2.program(v2.matches(rules))
    wanted = sum(LETTERS[letter] for letter in access)
    return bool(interpret(code, {"b": 1, "c": 2}[kind], wanted, major, minor))
