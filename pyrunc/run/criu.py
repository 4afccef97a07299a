"""CRIU's remote procedure calls: `criu swrk FD`, one message a packet, protocol buffers (criu's images/rpc.proto).

Only the fields that we use are listed, and only the two kinds of encoding that they have: numbers (varint), and
strings or messages (length-delimited). docs/decisions/0009 tells why this is not a library's work.
"""

from __future__ import annotations

import _socket

from pyrunc import _os as os
from pyrunc.errors import HostError, OpError, StateError, strerror
from pyrunc.run.hierarchy import give_back, unified

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeAlias

    Value: TypeAlias = int | bool | str | Mapping[str, "Value"] | list["Value"]
    Fields: TypeAlias = Mapping[str, tuple[int, "Fields | None"]]
    Notified: TypeAlias = Callable[[str, int, int], None]

PAGE_SERVER: Fields = {"address": (1, None), "port": (2, None)}
MOUNT: Fields = {"key": (1, None), "val": (2, None)}
INHERIT: Fields = {"key": (1, None), "fd": (2, None)}
CGROUP: Fields = {"ctrl": (1, None), "path": (2, None)}
OPTIONS: Fields = {
    "images_dir_fd": (1, None), "pid": (2, None), "leave_running": (3, None), "ext_unix_sk": (4, None),
    "tcp_established": (5, None), "evasive_devices": (6, None), "shell_job": (7, None), "file_locks": (8, None),
    "log_level": (9, None), "log_file": (10, None), "ps": (11, PAGE_SERVER), "notify_scripts": (12, None),
    "root": (13, None), "parent_img": (14, None), "track_mem": (15, None), "auto_dedup": (16, None),
    "work_dir_fd": (17, None), "link_remap": (18, None), "ext_mnt": (23, MOUNT), "manage_cgroups": (24, None),
    "cg_root": (25, CGROUP), "rst_sibling": (26, None), "inherit_fd": (27, INHERIT),
    "manage_cgroups_mode": (34, None), "external": (37, None), "empty_ns": (38, None),
    "freeze_cgroup": (44, None), "tcp_skip_in_flight": (46, None), "lazy_pages": (48, None),
    "status_fd": (49, None), "orphan_pts_master": (50, None), "config_file": (51, None),
    "tcp_close": (52, None), "lsm_profile": (53, None), "lsm_mount_context": (63, None),
    "network_lock": (64, None),
}  # fmt: skip
REQUEST: Fields = {
    "type": (1, None), "opts": (2, OPTIONS), "notify_success": (3, None),
    "features": (5, {"mem_track": (1, None), "lazy_pages": (2, None)}),
}  # fmt: skip
TYPES = {"DUMP": 1, "RESTORE": 2, "PRE_DUMP": 4, "NOTIFY": 6, "FEATURE_CHECK": 9, "VERSION": 10}
CGROUP_MODES = {"ignore": 0, "soft": 3, "full": 4, "strict": 5}
NETWORK_LOCKS = {"iptables": 1, "nftables": 2, "skip": 3}
CLONE_NEWNET = 0x40000000
OLDEST = 30000
LOG_LEVEL = 4
TAIL = 3
"""How many of criu's errors are told: the last one is often only the end of a chain."""
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MESSAGE_MAX = 1 << 20


def encode(fields: Fields, message: Mapping[str, Value]) -> bytes:
    """Return a message as bytes; a list is a repeated field."""
    out = bytearray()
    for name, value in message.items():
        number, inner = fields[name]
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, int):
                out += _varint(number << 3 | _VARINT) + _varint(one)
                continue
            data = os.fsencode(one) if isinstance(one, str) else encode(inner or {}, one)  # type: ignore[arg-type]
            out += _varint(number << 3 | _BYTES) + _varint(len(data)) + data
    return bytes(out)


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1  # a negative number is ten bytes, as if it were 64 bits wide
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def decode(data: bytes) -> dict[int, int | bytes]:
    """Return a message's fields by number, the last of each. Raises StateError when it is not a message."""
    found: dict[int, int | bytes] = {}
    at = 0
    try:
        while at < len(data):
            key, at = _read_varint(data, at)
            kind = key & 7
            if kind == _VARINT:
                found[key >> 3], at = _read_varint(data, at)
                continue
            if kind == _BYTES:
                size, at = _read_varint(data, at)
            else:
                size = {_FIXED64: 8, _FIXED32: 4}[kind]
            if at + size > len(data):
                raise IndexError  # noqa: TRY301  # as _read_varint does
            found[key >> 3] = data[at : at + size]
            at += size
    except (IndexError, KeyError):
        raise StateError("criu: an answer that is not a message of its protocol") from None
    return found


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        shift += 7
        if byte < 0x80:
            return value, at


def number_of(message: Mapping[int, int | bytes], field: int) -> int:
    """Return a number, 0 when it is absent."""
    value = message.get(field, 0)
    return value if isinstance(value, int) else 0


def message_of(message: Mapping[int, int | bytes], field: int) -> dict[int, int | bytes]:
    """Return a message within, empty when it is absent."""
    value = message.get(field, b"")
    return decode(value) if isinstance(value, bytes) else {}


def surroundings() -> dict[str, str]:
    """Return the environment of criu: where its own programs are. By HOME it would find a file of options."""
    return {"PATH": os.environ.get("PATH", os.defpath)}


class Criu:
    """One `criu swrk`, for one request. To be closed."""

    def __init__(self, inherited: tuple[int, ...] = ()) -> None:
        """Start it, with our descriptors 0-2 and those `inherited`. Raises HostError when there is no criu."""
        import shutil
        import subprocess

        path = shutil.which("criu")
        if path is None:
            raise HostError("checkpoint and restore need criu(8): it is not in $PATH")
        self.hierarchy = unified()
        self.waits = False
        self.sock, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
        try:
            self.process = subprocess.Popen(  # noqa: S603  # what the administrator's $PATH holds
                [path, "swrk", str(theirs.fileno())],
                pass_fds=[theirs.fileno(), *inherited],
                env=surroundings(),
                process_group=0,
            )
        except OSError as error:
            self.sock.close()
            raise OpError(f"fork/exec {path}", error.errno or 0) from None
        finally:
            theirs.close()

    def ask(self, kind: str, notified: Notified | None = None, **parts: Value) -> dict[int, int | bytes]:
        """Send a request, serve what criu tells meanwhile as `notified(script, pid, fd)`, return the answer.

        The fd (-1 without) is the callee's to close. Raises StateError with runc's text when criu fails.
        """
        self._send({"type": TYPES[kind], **parts})
        while True:
            answer, fd = self._receive(kind)
            if not number_of(answer, 2):
                raise StateError(f"criu failed: type {kind} errno {number_of(answer, 7)}")
            if number_of(answer, 1) != TYPES["NOTIFY"]:
                self.waits = kind == "PRE_DUMP"
                return answer
            told = message_of(answer, 5)
            script = told.get(1, b"")
            assert isinstance(script, bytes)
            if notified is not None:
                notified(script.decode(errors="replace"), number_of(told, 2), fd)
            self._send({"type": TYPES["NOTIFY"], "notify_success": True})

    def _send(self, request: Mapping[str, Value]) -> None:
        try:
            self.sock.send(encode(REQUEST, request))
        except OSError as error:  # EPIPE: it has ended; its log may tell why
            raise StateError(f"criu failed: send: {strerror(error.errno or 0)}") from None

    def _receive(self, kind: str) -> tuple[dict[int, int | bytes], int]:
        try:
            data, ancillary, _flags, _address = self.sock.recvmsg(
                _MESSAGE_MAX, _socket.CMSG_SPACE(4), _socket.MSG_CMSG_CLOEXEC
            )
        except OSError as error:  # ECONNRESET: it ended with a message of ours unread
            raise StateError(f"criu failed: type {kind}: {strerror(error.errno or 0)}") from None
        if not data:
            raise StateError(f"criu failed: type {kind}: it ended without an answer")
        return decode(data), int.from_bytes(ancillary[0][2][:4], "little") if ancillary else -1

    def close(self) -> None:
        """Let it end, wait for that, and put right what it has changed for all of the host."""
        if self.waits:
            # the dump is done, and it waits for another: of our leaving it would tell the user as of an error
            self.process.kill()
        # the end of what we ask; of a close criu would tell the user as of an error
        self.sock.shutdown(_socket.SHUT_WR)
        self.process.wait()
        self.sock.close()
        give_back(self.hierarchy)


def ask_once(kind: str, **parts: Value) -> dict[int, int | bytes]:
    """Ask a criu of its own. Raises like Criu.ask."""
    criu = Criu()
    try:
        return criu.ask(kind, None, **parts)
    finally:
        criu.close()


def check_version(oldest: int = OLDEST, flag: str = "") -> None:
    """Refuse a criu that is too old. Raises HostError."""
    told = message_of(ask_once("VERSION"), 10)
    version = number_of(told, 1) * 10000 + number_of(told, 2) * 100 + number_of(told, 4)
    if version < oldest:
        needed = f"CRIU {oldest // 10000}.{oldest // 100 % 100}"
        raise HostError(
            f"{flag} requires at least {needed}" if flag else f"criu is too old: {needed} is needed"
        )


def check_feature(name: str, number: int) -> None:
    """Refuse what criu cannot do on this kernel. Raises HostError."""
    told = message_of(ask_once("FEATURE_CHECK", features={name: True}), 8)
    if not number_of(told, number):
        raise HostError(f"criu: {name} is not supported by this criu and kernel")


def open_directory(path: str, *, make: bool) -> int:
    """Return a descriptor of a directory for criu, which reaches it through /proc. Raises OpError."""
    try:
        if make:
            os.makedirs(path, 0o700, exist_ok=True)
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise OpError(f"open {path}", error.errno or 0) from None


def with_log(error: StateError, path: str) -> StateError:
    """Add criu's own last words, and where the log is, to a failure of criu: one line."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = [line.partition("Error ")[2].strip() for line in file if "Error (" in line]
    except OSError:
        return error  # criu ended before it had a log
    words = [line.partition("): ")[2] for line in lines[-TAIL:]]
    return StateError(": ".join((str(error), *words)) + f" (log file: {path})")
