"""A profile to a BPF program by libseccomp, with runC's reading of it.

- A rule with the default action is left out, and so is a name that libseccomp does not know.
- The conditions of a rule must all hold; but when two of them are about the same argument, each condition counts by
  itself (profiles written for runC rely on it).
- The native architecture always belongs to the filter. Those that no process of this machine can have are left out.
"""

from __future__ import annotations

import errno
from _struct import Struct

from pyrunc import _os as os
from pyrunc import log
from pyrunc.errors import Fault, HostError, SpecError
from pyrunc.seccomp.enosys import enosys_stub
from pyrunc.seccomp.library import function, version

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from pyrunc.spec.model import Seccomp, SeccompArg, SeccompSyscall

ACTIONS = {
    "SCMP_ACT_KILL": 0x00000000, "SCMP_ACT_KILL_THREAD": 0x00000000, "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_TRAP": 0x00030000, "SCMP_ACT_ERRNO": 0x00050000, "SCMP_ACT_TRACE": 0x7FF00000,
    "SCMP_ACT_LOG": 0x7FFC0000, "SCMP_ACT_ALLOW": 0x7FFF0000, "SCMP_ACT_NOTIFY": 0x7FC00000,
}  # fmt: skip
"""SECCOMP_RET_* of linux/seccomp.h."""
WITH_DATA = ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE")
OPERATORS = {
    "SCMP_CMP_NE": 1, "SCMP_CMP_LT": 2, "SCMP_CMP_LE": 3, "SCMP_CMP_EQ": 4, "SCMP_CMP_GE": 5, "SCMP_CMP_GT": 6,
    "SCMP_CMP_MASKED_EQ": 7,
}  # fmt: skip
"""enum scmp_compare of seccomp.h."""
MACHINES = {
    "x86_64": ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"),
    "aarch64": ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"),
}
"""Machine to the architectures that its processes can have, the native one first."""
UNKNOWN = -1
"""__NR_SCMP_ERROR of seccomp.h."""
CTL_OPTIMIZE = 8
BINARY_TREE = 2
MANY = 32
"""From so many rules on a binary tree is worth it (as runC)."""
NOTIFY_SINCE = (2, 5, 0)
_ARG = Struct("=IIQQ")


def compile_profile(seccomp: Seccomp) -> bytes:
    """Return the program for seccomp(2). Raises HostError or SpecError."""
    found = version()
    if found < NOTIFY_SINCE and any(rule.action == "SCMP_ACT_NOTIFY" for rule in seccomp.syscalls):
        raise HostError(
            f"seccomp notify unsupported: libseccomp 2.5.0 is needed, this is {'.'.join(map(str, found))}"
        )
    context = function("init")(action_of(seccomp.default_action, seccomp.default_errno_ret))
    try:
        archs = architectures(seccomp)
        for name, token in archs.items():
            _check(function("arch_add")(context, token), f"{seccomp.at}.architectures", name, (errno.EEXIST,))
        if len(seccomp.syscalls) > MANY and found >= NOTIFY_SINCE:
            _check(function("attr_set")(context, CTL_OPTIMIZE, BINARY_TREE), seccomp.at, "optimize")
        add = function("rule_add_array")
        for rule in seccomp.syscalls:
            _add_rule(context, add, rule, seccomp)
        program = _export(context, seccomp.at)
    finally:
        function("release")(context)
    return enosys_stub(seccomp, archs) + program


def check_names(seccomp: Seccomp) -> None:
    """Raise SpecError for every name of a system call that libseccomp does not know; HostError without libseccomp."""
    resolve = function("syscall_resolve_name")
    faults = [
        Fault(f"{rule.at}.names[{index}]", f"unknown system call {log.go_quote(name)}")
        for rule in seccomp.syscalls
        for index, name in enumerate(rule.names)
        if resolve(name.encode("utf-8", "surrogateescape")) == UNKNOWN
    ]
    if faults:
        raise SpecError(faults)


def action_of(name: str, data: int | None) -> int:
    """Return SECCOMP_RET_* with its data; the errno of both that take one is EPERM when absent (SE-3)."""
    if name in WITH_DATA:
        return ACTIONS[name] | (errno.EPERM if data is None else data)
    return ACTIONS[name]


def architectures(seccomp: Seccomp) -> dict[str, int]:
    """Return the profile's architectures that processes of this machine can have, the native one first, with
    libseccomp's numbers for them."""
    possible = MACHINES[os.uname().machine]
    for name in seccomp.architectures:
        if name not in possible:
            log.debug(f"seccomp: {name} left out: no process of this machine has it")
    names = [name for name in possible if name == possible[0] or name in seccomp.architectures]
    resolve = function("arch_resolve_name")
    return {name: resolve(name.removeprefix("SCMP_ARCH_").lower().encode()) for name in names}


def _add_rule(context: Any, add: Any, rule: SeccompSyscall, seccomp: Seccomp) -> None:
    action = action_of(rule.action, rule.errno_ret)
    if action == action_of(seccomp.default_action, seccomp.default_errno_ret):
        return
    resolve = function("syscall_resolve_name")
    conditions = list(conditions_of(rule.args))
    for name in rule.names:
        number = resolve(name.encode("utf-8", "surrogateescape"))
        if number == UNKNOWN:
            log.debug(f'unknown seccomp syscall "{name}" ignored')
            continue
        for packed in conditions:
            result = add(context, action, number, len(packed) // _ARG.size, packed)
            _check(result, rule.at, name, (errno.EEXIST,))


def conditions_of(args: tuple[SeccompArg, ...]) -> Iterator[bytes]:
    """Yield arrays of struct scmp_arg_cmp, one for each rule that the arguments make."""
    packed = [_ARG.pack(arg.index, OPERATORS[arg.op], arg.value, arg.value_two or 0) for arg in args]
    if len({arg.index for arg in args}) == len(args):
        yield b"".join(packed)
    else:
        yield from packed


def _export(context: Any, at: str) -> bytes:
    fd = os.memfd_create("seccomp", os.MFD_CLOEXEC)
    try:
        _check(function("export_bpf")(context, fd), at, "export")
        return os.pread(fd, os.fstat(fd).st_size, 0)
    finally:
        os.close(fd)


def _check(result: int, at: str, what: str, fine: tuple[int, ...] = ()) -> None:
    """Raise SpecError for a negative errno of libseccomp that is not `fine`."""
    if result < 0 and -result not in fine:
        raise SpecError([Fault(at, f"{what}: libseccomp: {os.strerror(-result).lower()}")])
