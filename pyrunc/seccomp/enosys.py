"""What a profile says of system calls that are newer than itself.

Its author could not allow them, but a C library that meets EPERM where it expects ENOSYS does not fall back to the
older call. So, as runC does, a stub in front of the program answers ENOSYS to every number beyond the largest that the
profile names, for each architecture. Not where the default action lets them through anyway, or is that very errno.
"""

from __future__ import annotations

from _struct import Struct
from errno import ENOSYS

from pyrunc import log
from pyrunc.seccomp.library import function

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.spec.model import Seccomp

PERMISSIVE = ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE")
"""A tracer is expected to know what to do with a call that it has not met."""
AUDIT = {
    "SCMP_ARCH_X86_64": 0xC000003E, "SCMP_ARCH_X32": 0xC000003E, "SCMP_ARCH_X86": 0x40000003,
    "SCMP_ARCH_AARCH64": 0xC00000B7, "SCMP_ARCH_ARM": 0x40000028,
}  # fmt: skip
"""AUDIT_ARCH_* of linux/audit.h: what the kernel puts into seccomp_data.arch."""
X32_BIT = 0x40000000
"""x32 is x86-64 with this bit in the number."""
_LD, _JEQ, _JGT, _JGE, _JA, _RET = 0x20, 0x15, 0x25, 0x35, 0x05, 0x06
_NR, _ARCH = 0, 4
_OP = Struct("=HBBI")


def enosys_stub(seccomp: Seccomp, archs: dict[str, int]) -> bytes:
    """Return the instructions to put in front of the program, b"" for none."""
    action, errno = seccomp.default_action, seccomp.default_errno_ret
    if action in PERMISSIVE or (action == "SCMP_ACT_ERRNO" and errno == ENOSYS):
        return b""
    largest = {name: _largest(seccomp, token) for name, token in archs.items()}
    for name, number in largest.items():
        log.debug(f"seccomp: largest syscall number for arch {name} is {number}")
    return stub({name: number for name, number in largest.items() if number > 0})


def _largest(seccomp: Seccomp, token: int) -> int:
    resolve = function("syscall_resolve_name_arch")
    numbers = [
        resolve(token, name.encode("utf-8", "surrogateescape"))
        for rule in seccomp.syscalls
        for name in rule.names
    ]
    return max(numbers, default=-1)


def stub(largest: dict[str, int]) -> bytes:
    """Return the instructions for the largest known number of each architecture.

    Per kernel architecture: compare; on a match load the number, and go to the `ret` or to the program behind it.
    """
    limits: dict[int, dict[str, int]] = {}
    for name, number in largest.items():
        limits.setdefault(AUDIT[name], {})[name] = number
    if not limits:
        return b""
    sections = [(audit, _section(numbers)) for audit, numbers in limits.items()]
    total = 1 + sum(1 + len(section) for _audit, section in sections) + 1  # the index of the `ret`
    code = [_OP.pack(_LD, 0, 0, _ARCH)]
    for audit, section in sections:
        code.append(_OP.pack(_JEQ, 0, len(section), audit))
        for op, to, value in section:
            at = len(code)
            program = total - at  # a jump counts from the instruction behind it
            yes, no = {"ret": (program - 1, program), "x32": (0, 1), "": (0, 0)}[to]
            code.append(_OP.pack(op, yes, no, value))
    code.append(_OP.pack(_JA, 0, 0, 1))  # an architecture without a section: on to the program
    code.append(_OP.pack(_RET, 0, 0, 0x00050000 | ENOSYS))
    return b"".join(code)


def _section(numbers: dict[str, int]) -> list[tuple[int, str, int]]:
    """Return (opcode, target, operand): beyond the largest number to `ret`, else on to the program."""
    if "SCMP_ARCH_X32" not in numbers or "SCMP_ARCH_X86_64" not in numbers:
        return [(_LD, "", _NR), (_JGT, "ret", max(numbers.values()))]
    # libseccomp gives x32's numbers with the bit
    x32, native = numbers["SCMP_ARCH_X32"] | X32_BIT, numbers["SCMP_ARCH_X86_64"]
    return [(_LD, "", _NR), (_JGE, "x32", X32_BIT), (_JGT, "ret", x32), (_JGT, "ret", native)]
