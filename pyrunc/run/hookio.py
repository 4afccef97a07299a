"""The files of a hook that the executor runs: its stdin, and a bounded place for its output."""

from __future__ import annotations

import fcntl

from pyrunc import _os as os

_SHOWN = 4096


class HookOutput:
    """What the hook that ran last has written to stdout and stderr.

    A memfd rather than a pipe: a daemon that a hook leaves behind cannot make us wait for the end of file.
    """

    def __init__(self) -> None:
        self.fd = -1

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
            fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK)
            os.close(self.fd)
            self.fd = -1


def hook_files(state: bytes, output: HookOutput) -> tuple[int, int]:
    """Return the fds that answer RPC hook: stdin with the state, and a dup of the output's file."""
    from pyrunc.sys import memfd_sealed

    stdin = memfd_sealed(state, "hook-state")
    return stdin, fcntl.fcntl(output.renew(), fcntl.F_DUPFD_CLOEXEC, 3)
