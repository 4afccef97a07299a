"""The executor's plan checker as a function: csrc/check.c, built for this with the C library and called by ctypes."""

from __future__ import annotations

import ctypes
import functools
import subprocess
import tempfile
from pathlib import Path

CSRC = Path(__file__).parents[2] / "csrc"
ROOM = 4096
"""More than a struct plan has."""


@functools.cache
def _checker() -> ctypes.CDLL:
    with tempfile.TemporaryDirectory() as scratch:
        library = f"{scratch}/check.so"
        flags = ["-std=gnu11", "-DPYRUNC_HOSTED", "-O1", "-shared", "-fPIC", f"-I{CSRC}"]
        subprocess.run(["cc", *flags, "-o", library, CSRC / "check.c"], check=True)
        loaded = ctypes.CDLL(library)
    loaded.plan_check.restype = ctypes.c_long
    loaded.plan_check.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]
    return loaded


def check(data: bytes) -> int:
    """Return 0 for a plan that the executor would run, else the number of the operation that it refuses, or -1."""
    room = ctypes.create_string_buffer(ROOM)
    return int(_checker().plan_check(room, data, len(data)))
