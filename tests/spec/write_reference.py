"""Write docs/config.md from the declaration."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "config.md"


def current_page() -> str:
    from pyrunc.spec.reference import page

    return page()


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    PAGE.write_text(current_page(), encoding="utf-8")
