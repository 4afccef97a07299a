"""The log: one line a message, as logrus writes it, to standard error or to the file of `--log`.

Engines read this file. containerd takes the last error in it; podman decodes the whole file as one JSON
object after a failure. So a command that fails writes one error line, and one that succeeds its warnings:
they wait in a buffer until then. `--debug` asks for everything and gets it at once; standard error too.
"""

from __future__ import annotations

import sys
import time
from errno import EAGAIN

from pyrunc import _os as os
from pyrunc.errors import OpError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType

COLOURS = {"debug": 37, "info": 36, "warning": 33, "error": 31}
ESCAPES = {"\a": r"\a", "\b": r"\b", "\f": r"\f", "\n": r"\n", "\r": r"\r", "\t": r"\t", "\v": r"\v"}
PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._/@^+")
JSON_ESCAPES = {"<": r"\u003c", ">": r"\u003e", "&": r"\u0026", "\u2028": r"\u2028", "\u2029": r"\u2029"}


class _Log:
    """Where the log goes. There is one, because a process has one standard error."""

    __slots__ = ("debug", "fd", "json", "pending", "quiet", "started")

    def __init__(self) -> None:
        self.fd = 2
        self.json = False
        self.debug = False
        self.quiet = False
        self.pending: list[str] = []
        self.started = 0.0


_log = _Log()


def configure(path: str, form: str, *, debug: bool) -> None:
    """Open the log file (made if missing, even when nothing will be logged) and choose the format."""
    _log.debug = debug
    _log.started = time.time()
    scheme, colon, rest = path.partition(":")
    if colon and scheme in ("journald", "syslog"):
        raise UsageError(f"--log {path}: not supported: the log goes to standard error or to a file")
    path = rest if colon and scheme == "file" else path  # crun writes file:PATH
    if path:
        flags = os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
        try:
            _log.fd = os.open(path, flags, 0o644)
        except OSError as error:
            raise OpError(f"open {path}", error.errno or 0) from error
    if form not in ("", "text", "json"):
        raise UsageError(f"invalid log-format: {form}")
    _log.json = form == "json"


def choose_level(level: str) -> None:
    """Leave out warnings with "error" (crun's --log-level). Raises UsageError for a word that is none."""
    if level not in ("", "error", "warning", "debug"):
        raise UsageError(f"invalid log-level: {level}: expected error, warning or debug")
    _log.quiet = level == "error"


def reset() -> None:
    """Go back to text on standard error."""
    if _log.fd != 2:
        os.close(_log.fd)
    _log.fd = 2
    _log.json = _log.debug = _log.quiet = False
    _log.pending.clear()


def debug(message: str) -> None:
    """Log what is only of interest with `--debug`."""
    if _log.debug:
        _emit("debug", message)


def is_debug() -> bool:
    """Tell whether debug messages are logged, where making one costs something."""
    return _log.debug


def warning(message: str) -> None:
    """Log what does not keep the command from succeeding."""
    if _log.quiet:
        return
    if _log.fd == 2 or _log.debug:
        _emit("warning", message)
    else:
        _log.pending.append(message)


def flush() -> None:
    """Write the warnings that waited for success: the command has done what it was asked for."""
    while _log.pending:
        _emit("warning", _log.pending.pop(0))


def fatal(message: str, error: BaseException, *, plain: bool = False) -> None:
    """Log the failure of the command; with debug, the place is the one where `error` was raised.

    Standard error gets the bare message too if the log is a file, and instead of the log's line with `plain`.
    """
    _log.pending.clear()
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    if _log.fd != 2 or not plain:
        _emit("error", message, place and place.tb_frame)
    if _log.fd != 2 or plain:
        stderr(message)


def stderr(line: str) -> None:
    """Write one line to standard error, control characters escaped."""
    _write(2, f"{escape(line)}\n")


def _emit(level: str, message: str, frame: FrameType | None = None) -> None:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    fields = {"time": stamp, "level": level, "msg": message}
    if _log.debug:
        frame = frame or sys._getframe(2)  # noqa: SLF001 - `inspect` costs 20 ms
        fields["func"] = f"{frame.f_globals.get('__name__', '')}.{frame.f_code.co_name}()"
        fields["file"] = f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}"
    if _log.json:
        line = "{" + ",".join(f'"{key}":{json_quote(fields[key])}' for key in sorted(fields)) + "}"
    elif _log.fd == 2 and os.isatty(2):
        line = _for_terminal(level, message)
    else:
        line = " ".join(f"{key}={quote(value)}" for key, value in fields.items())
    _write(_log.fd, line + "\n")


def _for_terminal(level: str, message: str) -> str:
    seconds = int(time.time() - _log.started)
    return f"\x1b[{COLOURS[level]}m{level.upper()[:4]}\x1b[0m[{seconds:04d}] {escape(message):44} "


def quote(text: str) -> str:
    """Return a value of a text line: bare if it is plain, else quoted."""
    if text and PLAIN.issuperset(text):
        return text
    return go_quote(text)


def go_quote(text: str) -> str:
    """Return a string as Go's %q prints it."""
    return '"' + escape(text.replace("\\", r"\\").replace('"', r"\"")) + '"'


def escape(text: str) -> str:
    """Replace what is not printable, so that no message moves a cursor or makes a second line."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escape_char(char) for char in text)


def _escape_char(char: str) -> str:
    code = ord(char)
    if char in ESCAPES:
        return ESCAPES[char]
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8, as os.fsdecode() keeps it
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def json_quote(text: str) -> str:
    """Return a JSON string as Go writes it: HTML characters escaped, bytes that are no UTF-8 replaced."""
    from _json import encode_basestring  # here, because only a message needs it

    quoted: str = encode_basestring(text.encode("utf-8", "replace").decode() if not text.isascii() else text)
    for char, escaped in JSON_ESCAPES.items():
        quoted = quoted.replace(char, escaped)
    return quoted


def _write(fd: int, line: str) -> None:
    try:
        write_all(fd, line.encode("utf-8", "replace"))
    except OSError:
        return  # closed, full or without a reader: there is nowhere left to tell it


def write_all(fd: int, data: bytes) -> None:
    """Write all of it, also to a descriptor that somebody made non-blocking."""
    while data:
        try:
            data = data[os.write(fd, data) :]
        except OSError as error:
            if error.errno != EAGAIN:
                raise
            import select  # engines hand us non-blocking pipes now and then

            poll = select.poll()
            poll.register(fd, select.POLLOUT)
            poll.poll()
