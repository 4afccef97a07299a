"""What create, run and exec are asked for beside the plan, and what of that cannot be had."""

from __future__ import annotations

import _socket
from errno import EBADF

from pyrunc import _os as os
from pyrunc._record import record
from pyrunc.errors import StateError, UsageError, strerror

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.commands import Args
    from pyrunc.spec.model import Process

NEEDS_SOCKET = "cannot allocate tty if runc will detach without setting console socket"
NEEDS_NO_SOCKET = "cannot use console socket if runc will not detach or allocate tty"


@record
class Options:
    """What the command line says beside the plan's request."""

    pid_file: str = ""
    """Absolute."""
    console_socket: str = ""
    foreground_console: bool = False
    listen_fds: int = 0
    pidfd_socket: str = ""
    """Absolute."""
    notify: str = ""
    """The caller's $NOTIFY_SOCKET."""


def path_of(args: Args, name: str) -> str:
    """Return an option that is a path, made absolute; "" when it is not given."""
    given = str(args.options[name] or "")
    return os.path.abspath(given) if given else ""


def bundle_of(args: Args) -> str:
    """Return the bundle of a command that takes it as an option or as its argument, absolute. Raises UsageError for both."""
    if args.positionals and args.options["bundle"]:
        raise UsageError(f"the bundle is given twice: {args.options['bundle']} and {args.positionals[0]}")
    return os.path.abspath(args.positionals[0] if args.positionals else str(args.options["bundle"] or "."))


def open_console(options: Options) -> tuple[int, _socket.socket | None]:
    """Return a socket for the executor to send the pty's master to: the caller's, or the other end of one of ours, which is
    returned as well."""
    if not options.foreground_console:
        from pyrunc.run.console import connect_console

        return connect_console(options.console_socket).detach(), None
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    return theirs.detach(), ours


def check_preserved(listening: int, count: int) -> None:
    """Refuse descriptors that the caller has not passed: from 3 on the listening ones first, then those of --preserve-fds.

    One that is there may be ours, of a directory of the host even (CVE-2024-21626): those alone are close-on-exec.
    """
    for fd in range(3, 3 + listening + count):
        try:
            passed = os.get_inheritable(fd)
        except OSError:
            passed = False
        if not passed:
            what = (
                f"LISTEN_FDS={listening}: {fd}" if fd < 3 + listening else f"preserved-fd {fd} (of {count})"
            )
            raise UsageError(f"unable to stat {what}: {strerror(EBADF)}")


def check_terminal(process: Process | None, options: Options) -> None:
    """Refuse a terminal that nobody would serve, and a console socket that nobody would use (runc's texts)."""
    terminal = process is not None and bool(process.terminal)
    detached = not options.foreground_console
    if terminal and detached and not options.console_socket:
        raise StateError(NEEDS_SOCKET)
    if options.console_socket and not (terminal and detached):
        raise StateError(NEEDS_NO_SOCKET)
