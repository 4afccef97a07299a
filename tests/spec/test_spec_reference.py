"""The reference page is current."""

from __future__ import annotations

from write_reference import PAGE, current_page


def test_the_page_is_what_the_declaration_says():
    assert PAGE.read_text(encoding="utf-8") == current_page(), "run python tests/spec/write_reference.py"


def test_the_page_says_what_a_reader_needs():
    page = current_page()

    assert "## `process.user`" in page
    assert "| `uid` | 0 to 2^32-2 | `0` | The user id. |" in page
    assert "`rnosymfollow`" in page
    assert "## `linux.uidMappings[]`" in page or "`linux.uidMappings[]`" in page
