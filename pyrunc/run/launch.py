"""Start the executor with a plan: two sealed memfds, one socket, one spawn.

The executor is a static program of a few kilobytes. It is run from a sealed memfd, never from a file, so that nothing of
the host that can be written to is reachable through /proc/PID/exe (CVE-2019-5736). Some hosts refuse that (sysctl
vm.memfd_noexec=2, a SELinux policy on tmpfs); then the next rung of the ladder is taken, and said in the debug log.
"""

from __future__ import annotations

import _socket
from errno import EACCES, ENOEXEC, EPERM

from pyrunc import _os as os
from pyrunc import log
from pyrunc._record import record
from pyrunc.errors import BugError, HostError, OpError, strerror
from pyrunc.plan.encode import encode
from pyrunc.sys import close_all, executor_fd, executor_tmpfile, memfd_sealed, spawn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.plan.ops import Plan


REFUSED = (EACCES, EPERM, ENOEXEC)


@record
class Child:
    """A spawned executor: its pid and pidfd (owned), and our end of the conversation (owned)."""

    pid: int
    pidfd: int
    talk: _socket.socket


def launch(plan: Plan, inputs: dict[str, int], *, cgroup_fd: int = -1, trace: bool = False) -> Child:
    """Spawn the executor on `plan`; `inputs` gives an fd for each name in `plan.inputs` (they stay the caller's).

    Raises HostError when no rung of the ladder may be executed, OpError when the kernel refuses the clone.
    """
    missing = [name for name in plan.inputs if name not in inputs]
    if missing:
        raise BugError(f"plan inputs without a descriptor: {', '.join(missing)}")
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
    plan_fd = memfd_sealed(encode(plan, trace=trace), "pyrunc-plan")
    fds = [theirs.fileno(), plan_fd, *(inputs[name] for name in plan.inputs)]
    try:
        pid, pidfd = _climb(plan, fds, cgroup_fd)
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
        os.close(plan_fd)
    return Child(pid, pidfd, ours)


def _climb(plan: Plan, fds: list[int], cgroup_fd: int) -> tuple[int, int]:
    """Try one rung of the ladder after the other; only a refusal to *execute* leads to the next."""
    refusal = 0
    for rung, open_rung in (("memfd", executor_fd), ("O_TMPFILE", executor_tmpfile)):
        try:
            exe = open_rung()
        except OSError as error:
            refusal = error.errno or EPERM
            continue
        try:
            answer = spawn(plan.clone_flags, cgroup_fd, exe, (0, 1, 2), plan.preserve, fds)
        except OSError as error:
            if error.errno not in REFUSED:
                raise _clone_error(plan, error) from None
            refusal = error.errno
            log.debug(f"exec of the executor from a {rung} is refused: {strerror(refusal)}")
            continue
        finally:
            close_all((exe,))
        log.debug(f"the executor runs from a sealed {rung}")
        return answer
    raise HostError(
        f"no way to execute the sealed executor (vm.memfd_noexec, a noexec /run, or a security policy): {strerror(refusal)}"
    )


def _clone_error(plan: Plan, error: OSError) -> OpError:
    where = "linux.namespaces: clone3" if plan.clone_flags else "clone3"
    return OpError(where, error.errno or EPERM)
