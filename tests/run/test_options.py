"""Which descriptors may be handed on: those that the caller has passed, and no other."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import os, sys
from pyrunc.errors import UsageError
from pyrunc.run.options import check_preserved
null = os.dup2(os.open("/dev/null", os.O_RDONLY), 50)
os.dup2(null, 3)
os.dup2(null, 4)
os.dup2(null, 5, inheritable=False)
os.closerange(6, 100)
try:
    check_preserved(int(sys.argv[1]), int(sys.argv[2]))
except UsageError as error:
    print(error, end="")
"""
"""A process that was passed 3 and 4, and has opened 5 itself."""


@pytest.mark.parametrize(
    ("listening", "count", "what"),
    [
        (0, 0, ""),
        (0, 2, ""),
        (1, 1, ""),
        (0, 3, "preserved-fd 5 (of 3)"),
        (2, 1, "preserved-fd 5 (of 1)"),
        (3, 0, "LISTEN_FDS=3: 5"),
        (0, 1000000, "preserved-fd 5 (of 1000000)"),
    ],
)
def test_descriptors_that_were_passed(listening: int, count: int, what: str) -> None:
    words = [sys.executable, "-c", SCRIPT, str(listening), str(count)]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout

    assert said == (f"unable to stat {what}: bad file descriptor" if what else "")
