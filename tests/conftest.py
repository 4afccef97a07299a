"""Options of the test run."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the flag that rewrites the golden plans, and the one that samples nothing."""
    parser.addoption(
        "--every-kill", action="store_true", help="kill pyrunc at every system call, not at a sample of them"
    )
    parser.addoption("--regold", action="store_true", help="write the golden plans anew; review the diff")
