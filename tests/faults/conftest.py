"""The configs of tests/plan are those whose faults are tried here. How many kills there were is told at the end."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter

KILLS: Counter[str] = Counter()


@pytest.fixture
def kills() -> Counter[str]:
    """What was killed, and how often."""
    return KILLS


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    if KILLS:
        parts = ", ".join(f"{what} {number} times" for what, number in sorted(KILLS.items()))
        terminalreporter.write_line(f"killed: {parts}; {KILLS.total()} kills in all, and nothing was left")


sys.path.insert(0, str(Path(__file__).parents[1] / "plan"))
