"""Words that the tests of a user's day share."""

from __future__ import annotations

import time

import pytest

BOTH = ("docker", "podman")
CAPS = r"sed -n 's/^CapEff:\t//p' /proc/self/status"


def action(name, on=BOTH, runtimes=("runc", "pyrunc"), releases=("host", "newer")):
    """Mark a row of the matrix, and the engines that have it: a test for each of them, with each runtime, runc first."""
    return pytest.mark.action(name, on=on, runtimes=runtimes, releases=releases)


def until(what, limit=10.0):
    """Wait until `what()` is true; its last value is the answer."""
    end = time.monotonic() + limit
    while not (seen := what()) and time.monotonic() < end:
        time.sleep(0.1)
    return seen
