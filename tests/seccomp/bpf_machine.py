"""A machine for classic BPF as seccomp(2) runs it, and what the operators of conditions mean."""

from __future__ import annotations

import struct

X86_64 = 0xC000003E
OPERATORS = {
    "NE": lambda v, d, _: v != d, "LT": lambda v, d, _: v < d, "LE": lambda v, d, _: v <= d,
    "EQ": lambda v, d, _: v == d, "GE": lambda v, d, _: v >= d, "GT": lambda v, d, _: v > d,
    "MASKED_EQ": lambda v, d, two: v & d == two,
}  # fmt: skip


def decide(program: bytes, arch: int, number: int, *args: int) -> int:
    """Run a program as the kernel would (classic BPF on a struct seccomp_data); return what it returns."""
    data = struct.pack("=iIQ6Q", number - (number >> 31 << 32), arch, 0, *args, *[0] * (6 - len(args)))
    code = list(struct.iter_unpack("=HBBI", program))
    a = at = 0
    while True:
        op, yes, no, k = code[at]
        at += 1
        if op == 0x20:
            a = struct.unpack_from("=I", data, k)[0]
        elif op == 0x54:
            a &= k
        elif op == 0x05:
            at += k
        elif op in {0x15, 0x25, 0x35, 0x45}:
            taken = {0x15: a == k, 0x25: a > k, 0x35: a >= k, 0x45: bool(a & k)}[op]
            at += yes if taken else no
        elif op == 0x06:
            return k
        else:
            raise AssertionError(f"an instruction {op:#x} that seccomp has no use for")
