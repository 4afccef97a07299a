"""docs/plan.md lists the operations that there are."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyrunc.errors import BugError
from pyrunc.plan.ops import NAMES
from pyrunc.plan.reference import main, renew

DOCUMENT = Path(__file__).parents[2] / "docs" / "plan.md"


def test_document_is_up_to_date(tmp_path: Path) -> None:
    """The table in docs/plan.md is what the generator writes."""
    copy = tmp_path / "plan.md"
    copy.write_text(DOCUMENT.read_text())
    main(str(copy))
    assert copy.read_text() == DOCUMENT.read_text()
    assert all(f"| `{name}` |" in copy.read_text() for name in NAMES)


def test_document_without_marks_is_refused() -> None:
    """A document that has no place for the table is left alone."""
    with pytest.raises(BugError, match="no marks"):
        renew("# nothing")
