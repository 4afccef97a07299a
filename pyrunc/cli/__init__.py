"""The command line: words to a command, the command run, its failure told once, an exit code."""

from __future__ import annotations

import sys
from errno import ENOMEM

from pyrunc import _os as os
from pyrunc import log
from pyrunc.cli.parse import FALSE, TRUE, MisuseError, NoCommandError, find_log, parse_command, parse_options
from pyrunc.cli.table import CHOICES, GLOBALS
from pyrunc.commands import Args, write
from pyrunc.errors import PyruncError, UsageError, strerror

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Mapping, Sequence
    from typing import NoReturn
else:
    import _signal  # the public module imports enum, which takes longer than all of this command line

INTERRUPTED = 130
HELP_WORDS = ("help", "h", "--help", "-h")
"""What asks for help; the first two are commands as well."""


def entry(argv0: str, words: Sequence[str], options: Mapping[str, str | bool] = {}) -> NoReturn:
    """Run as a whole process: never returns, and skips the interpreter's own way out, which costs time.

    `options` are those of -X: the launcher says there where a snapshot is missing for the next command (_snapshot.py).
    """
    _prepare_process()
    code = main(argv0, words)
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:  # it is None when the descriptor was closed at start
                stream.flush()
        except OSError:
            code = code or 1  # no reader: nobody to tell
    if "snapshot" in options and code == 0:
        from pyrunc._snapshot import WORTH, make

        if not WORTH.isdisjoint(words):
            make(str(options["snapshot"]), str(options["launcher"]), sys.argv[0])
    os._exit(code)  # noqa: SLF001  # the public name of os itself


def _prepare_process() -> None:
    """Make sure of descriptors 0-2, and of what children inherit.

    A missing standard descriptor would be given to the next file that is opened, and the log would go into
    it. Python ignores SIGPIPE and SIGXFSZ, and execve(2) would hand that on; a handler is reset instead.
    """
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open("/dev/null", os.O_RDWR)  # lands on `fd`, the lowest that is free
    for number in (_signal.SIGPIPE, _signal.SIGXFSZ):
        _signal.signal(number, _ignore)


def _ignore(_number: int, _frame: object) -> None:
    return


def main(argv0: str, words: Sequence[str]) -> int:
    """Run one command line and return the exit code; whatever goes wrong is told here and nowhere else."""
    try:
        code = _main(argv0, words)
        log.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except MisuseError as error:
        return _tell_misuse(argv0, error)
    except PyruncError as error:
        log.fatal(str(error), error, plain=error.plain)
        if isinstance(error, NoCommandError) and error.hint:
            log.stderr(error.hint)
        return error.exit_code
    except BrokenPipeError:
        return 1  # the reader of our output has left; it needs no message
    except OSError as error:
        log.fatal(_os_error(error), error)
        return 1
    except MemoryError as error:
        log.fatal(strerror(ENOMEM), error)
        return 1
    except Exception as error:  # noqa: BLE001 - the last resort: one line instead of a traceback
        return _tell_bug(error)
    return code


def _main(argv0: str, words: Sequence[str]) -> int:
    args = Args(argv0)
    try:
        args.globals, rest = parse_options(GLOBALS, words, mixed=False)
    except MisuseError as error:
        error.headline = error.headline.replace("Usage:", "Usage.", 1)
        path, form, debug = find_log(words)
        log.configure(path, form, debug=debug)
        raise
    given = args.globals
    level = str(given["log-level"])
    log.configure(str(given["log"]), str(given["log-format"]), debug=bool(given["debug"]) or level == "debug")
    log.choose_level(level)
    if given["help"] or (not rest and not given["version"]):
        return _show_help(argv0, "")
    if given["version"]:
        return _dispatch("version", args)
    return _run_command(args, rest[0], rest[1:])


def _run_command(args: Args, name: str, words: Sequence[str]) -> int:
    if name in HELP_WORDS[:2]:
        name, words = (words[0], ("--help",)) if words and words[0] not in HELP_WORDS else ("", ())
    if not name:
        return _show_help(args.argv0, "")
    args.command = name
    args.options, args.positionals = parse_command(name, words, args.argv0)
    if args.options.pop("help"):
        return _show_help(args.argv0, name)
    if name == "completion":  # about this command line itself, so it stands here and not among the commands
        from pyrunc.cli.completion import completion

        write(completion(args.argv0, args.positionals))
        return 0
    _check_globals(args)
    args.default_root = not args.globals["root"]
    args.root = root_of(args.globals["root"])
    if args.globals["trace"]:
        return _traced(name, args, args.globals["trace"])
    return _dispatch(name, args)


def _traced(name: str, args: Args, path: str) -> int:
    from pyrunc.run.trace import TRACE

    try:  # before the command, which may change into the bundle
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise UsageError(f"--trace: open {path}: {strerror(error.errno or 0)}") from None
    TRACE.begin()
    try:
        return _dispatch(name, args)
    finally:
        TRACE.write(fd)  # of a failure as well: where it stood still is what one wants to see


def _dispatch(name: str, args: Args) -> int:
    """Import the one file of this command, and nothing of the others."""
    code: int = __import__(f"pyrunc.commands.{name}", fromlist=("run",)).run(args)
    return code


def _check_globals(args: Args) -> None:
    given = args.globals
    manager = given["cgroup-manager"]
    if manager not in CHOICES["cgroup-manager"]:
        raise UsageError(f"invalid cgroup-manager: {manager}: expected cgroupfs, systemd or disabled")
    if given["rootless"] not in ("auto", *TRUE, *FALSE):
        raise UsageError(f"invalid rootless: {given['rootless']}: expected true, false or auto")


def root_of(root: str) -> str:
    """Return the directory of the states: as given, in $XDG_RUNTIME_DIR for an ordinary user, else in /run."""
    if root:
        root = os.path.abspath(root)
        if root.strip("/") == "":
            raise UsageError("Option --root argument should not be set to /")
        return root
    runtime_dir = os.environ.get("XDG_RUNTIME_DIR", "")
    if runtime_dir and _is_ordinary_user():
        return os.path.join(os.path.abspath(runtime_dir), "pyrunc")
    return "/run/pyrunc"


def _is_ordinary_user() -> bool:
    """Tell whether the caller is not root, or root of a user namespace that belongs to somebody else.

    Without $USER as well: rootless podman calls with $XDG_RUNTIME_DIR and nothing more.
    """
    return os.geteuid() != 0 or (os.environ.get("USER") != "root" and _in_user_namespace())


def _in_user_namespace() -> bool:
    with open("/proc/self/uid_map", encoding="ascii") as file:
        return file.read().split() != ["0", "0", "4294967295"]


def _show_help(argv0: str, command: str) -> int:
    from pyrunc.cli import help as texts  # long, and seldom wanted

    if command:
        write(texts.command_help(argv0, command))
    else:
        from pyrunc.commands.version import version_text

        write(texts.app_help(argv0, version_text()))
    return 0


def _tell_misuse(argv0: str, error: MisuseError) -> int:
    try:
        write(f"{error.headline}\n\n")
        _show_help(argv0, error.command)
    except OSError:
        pass  # without a standard output, the message below is all
    log.fatal(str(error), error)
    if error.hint:
        log.stderr(error.hint)
    return error.exit_code


def _os_error(error: OSError) -> str:
    """Phrase a failed system call that no command put into words of its own."""
    what = strerror(error.errno) if error.errno else str(error)
    if log.is_debug():
        _log_traceback()
    return f"{os.fsdecode(error.filename)}: {what}" if isinstance(error.filename, (str, bytes)) else what


def _tell_bug(error: Exception) -> int:
    if log.is_debug():
        _log_traceback()
    log.fatal(f"pyrunc: bug: {type(error).__name__}: {error}: please report (--debug shows the place)", error)
    return 1


def _log_traceback() -> None:
    import traceback  # 10 ms, and only after a failure

    for line in traceback.format_exc().splitlines():
        log.debug(line)
