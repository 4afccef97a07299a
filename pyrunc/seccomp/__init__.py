"""From linux.seccomp to what seccomp(2) takes: a program for the kernel's BPF machine, and flags.

libseccomp compiles (`compile`, on top of `library`), and `enosys` puts in front what is said of system calls that the
profile is too old to know. A result is kept under the state root (`cache`), by a digest of all that it depends on: a
second container with the same profile costs a digest and a read.
"""

from __future__ import annotations

from pyrunc import _os as os
from pyrunc import log
from pyrunc.errors import HostError
from pyrunc.host import parse_release
from pyrunc.plan.request import Filter
from pyrunc.seccomp.cache import Cache
from pyrunc.seccomp.library import version_text
from pyrunc.spec.tables import SECCOMP_FLAGS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyrunc.spec.model import Seccomp

FORMAT = "1"
"""Of the programs: another number when the same profile is compiled to something else."""
SPEC_ALLOW, NEW_LISTENER = 4, 8
TSYNC, WAIT_KILLABLE_RECV = 1, 32
WAIT_KILLABLE_SINCE = (5, 19)
INSTRUCTION = 8
"""Bytes of a struct sock_filter."""


def make_filter(seccomp: Seccomp, root: str) -> Filter:
    """Return the program and the flags of a profile; `root` is where results are kept, "" for nowhere.

    Raises HostError where libseccomp is missing or too old for it, SpecError for what it does not accept.
    """
    flags = flags_of(seccomp)
    log.debug(f"seccomp filter flags: {flags}")
    cache = Cache(root, key_parts(seccomp)) if root else None
    program = cache.read() if cache else b""
    if program:
        log.debug(f"seccomp: a program of {len(program) // INSTRUCTION} instructions from the cache")
        return Filter(program, flags)
    from pyrunc.seccomp.compile import compile_profile

    program = compile_profile(seccomp)
    log.debug(f"seccomp: compiled to {len(program) // INSTRUCTION} instructions")
    if cache:
        cache.write(program)
    return Filter(program, flags)


def flags_of(seccomp: Seccomp) -> int:
    """Return the flags of seccomp(2). TSYNC is accepted and without effect: the executor has one thread (as runC)."""
    given = {"SECCOMP_FILTER_FLAG_SPEC_ALLOW"} if seccomp.flags is None else set(seccomp.flags)
    unsupported = given.difference(supported_flags())
    if unsupported:
        raise HostError(
            f"linux.seccomp.flags: {', '.join(sorted(unsupported))}: not supported by this kernel"
        )
    flags = sum(SECCOMP_FLAGS[name] for name in given) & ~TSYNC
    return flags | NEW_LISTENER if notifies(seccomp) else flags


def supported_flags() -> list[str]:
    """Return the flags that this kernel has. All but one are older than the oldest that pyrunc runs on."""
    newest = parse_release(os.uname().release) >= WAIT_KILLABLE_SINCE
    return [name for name, bit in SECCOMP_FLAGS.items() if bit != WAIT_KILLABLE_RECV or newest]


def notifies(seccomp: Seccomp) -> bool:
    """Tell whether some system call is put before an agent."""
    return any(rule.action == "SCMP_ACT_NOTIFY" for rule in seccomp.syscalls)


def key_parts(seccomp: Seccomp) -> Iterator[str]:
    """Yield all that the program depends on; no part can be mistaken for two."""
    machine = os.uname()
    yield from (FORMAT, version_text(), machine.machine, machine.release, machine.version)
    yield f"{seccomp.default_action} {seccomp.default_errno_ret} {len(seccomp.syscalls)}"
    yield " ".join(seccomp.architectures)
    for rule in seccomp.syscalls:
        yield f"{rule.action} {rule.errno_ret} {len(rule.names)} {len(rule.args)}"
        yield "\0".join(rule.names)
        for arg in rule.args:
            yield f"{arg.index} {arg.op} {arg.value} {arg.value_two}"
