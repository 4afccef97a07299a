"""The files of a hook that the executor runs: its stdin, and a bounded place for its output."""

from __future__ import annotations

import fcntl

from pyrunc import _os as os
from pyrunc import log
from pyrunc.errors import strerror

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

STDOUT, STDERR = "run.oci.hooks.stdout", "run.oci.hooks.stderr"
"""crun's annotations: files to which the hooks' output is appended."""
_SHOWN = 4096


def append_output(path: str, fd: int) -> None:
    """Append what a hook has written into the file `fd` to a file of the annotations; "" is none. A hook has done what it did,
    so a file that cannot be written is a warning."""
    if not path:
        return
    try:
        to = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY, 0o600)
        try:
            offset = 0
            while data := os.pread(fd, 1 << 16, offset):
                offset += os.write(to, data)
        finally:
            os.close(to)
    except OSError as error:
        log.warning(f"hooks: append to {path}: {strerror(error.errno or 0)}")


def output_of(annotations: Mapping[str, str]) -> HookOutput:
    """Return the place for the output of a container's hooks."""
    return HookOutput(annotations.get(STDOUT) or annotations.get(STDERR, ""))


class HookOutput:
    """What the hook that ran last has written to stdout and stderr.

    A memfd rather than a pipe: a daemon that a hook leaves behind cannot make us wait for the end of file.
    """

    def __init__(self, path: str = "") -> None:
        self.fd = -1
        self.path = path
        """A file for it; the executor gives a hook one descriptor for both streams."""

    def renew(self) -> int:
        """Return a new file for the next hook; the one before is sealed, whatever still holds it."""
        self.close()
        self.fd = os.memfd_create("hook-output", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        return self.fd

    def text(self) -> str:
        """Return the first part of the output."""
        if self.fd < 0:
            return ""
        return os.pread(self.fd, _SHOWN, 0).decode(errors="replace").strip()

    def close(self) -> None:
        """Seal and close."""
        if self.fd >= 0:
            append_output(self.path, self.fd)
            fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK)
            os.close(self.fd)
            self.fd = -1


def hook_files(state: bytes, output: HookOutput) -> tuple[int, int]:
    """Return the fds that answer RPC hook: stdin with the state, and a dup of the output's file."""
    from pyrunc.sys import memfd_sealed

    stdin = memfd_sealed(state, "hook-state")
    return stdin, fcntl.fcntl(output.renew(), fcntl.F_DUPFD_CLOEXEC, 3)
