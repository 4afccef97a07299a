"""Compiled programs under the state root, as plain files ROOT/.seccomp-DIGEST beside the containers' directories.

Files, not a directory: `list` of every runtime passes over what is no directory. The name is a digest of all that the
program depends on, and the file begins with a digest of that name and the program, so that an entry that was cut
short, or renamed, is not taken for good. Nobody but the caller may have written it: owner and mode are looked at, on
the open file. A cache that cannot be read or written is no error, only slower.
"""

from __future__ import annotations

from _stat import S_ISREG

from pyrunc import _os as os
from pyrunc import log
from pyrunc.errors import strerror

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

PREFIX = ".seccomp-"
LIMIT = 64
"""Entries; the oldest leave first."""
DIGEST = 32
MAX_PROGRAM = 4096 * 8
"""BPF_MAXINSNS of linux/bpf_common.h."""


def digest(data: bytes) -> bytes:
    """Return 32 bytes of BLAKE2b, by CPython's C module where it has one: hashlib takes 3 ms to import."""
    try:
        from _blake2 import blake2b
    except ImportError:
        from hashlib import blake2b
    return bytes(blake2b(data, digest_size=DIGEST).digest())


class Cache:
    """The entry of one profile in the state root."""

    def __init__(self, root: str, parts: Iterable[str]) -> None:
        self.root = root
        self.key = digest("\n".join(parts).encode("utf-8", "surrogateescape"))
        self.path = f"{root}/{PREFIX}{self.key.hex()}"

    def read(self) -> bytes:
        """Return the program, b"" when there is none that can be trusted."""
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:  # missing, a link, or not ours to read: it is compiled anew
            return b""
        try:
            status = os.fstat(fd)
            if not S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
                log.debug(f"seccomp: {self.path} may have been written by others: not used")
                return b""
            data = os.read(fd, DIGEST + MAX_PROGRAM + 1)
        finally:
            os.close(fd)
        program = data[DIGEST:]
        if not program or len(program) % 8 or data[:DIGEST] != digest(self.key + program):
            log.debug(f"seccomp: {self.path} is damaged: not used")
            return b""
        return program

    def write(self, program: bytes) -> None:
        """Keep a program, by temporary file and rename; make room for it first."""
        temporary = f"{self.path}.{os.getpid()}"
        try:
            self._open_root()
            self._evict()
            fd = os.open(
                temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
            )
        except OSError as error:  # a read-only or foreign root
            log.debug(f"seccomp: not cached: {self.root}: {strerror(error.errno or 0)}")
            return
        try:
            data = digest(self.key + program) + program
            if os.write(fd, data) == len(data):
                os.rename(temporary, self.path)
                return
            os.unlink(temporary)
        except OSError as error:
            log.debug(f"seccomp: not cached: {self.path}: {strerror(error.errno or 0)}")
            os.unlink(temporary)
        finally:
            os.close(fd)

    def _open_root(self) -> None:
        """The first container of all comes before its root."""
        try:
            os.stat(self.root)
        except FileNotFoundError:
            os.makedirs(self.root, 0o700)

    def _evict(self) -> None:
        names = [name for name in os.listdir(self.root) if name.startswith(PREFIX)]
        if len(names) < LIMIT:
            return
        aged = sorted([(os.lstat(f"{self.root}/{name}").st_mtime_ns, name) for name in names])
        for _age, name in aged[: len(names) - LIMIT + 1]:
            os.unlink(f"{self.root}/{name}")
