"""The matrix engine x action, written into a page from what a test run really did."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

BEGIN, END = "<!-- matrix: written by make test-engines -->\n", "<!-- end of matrix -->\n"


class Rows:
    """Results by action, engine and runtime, in the order of the tests."""

    def __init__(self) -> None:
        self.results: dict[str, dict[tuple[str, str], str]] = {}
        self.versions: dict[str, str] = {}
        self.runtimes: dict[str, str] = {}

    def note(self, action: str, engine: str, runtime: str, text: str) -> None:
        """Keep the worse of two results: an action may have more than one test."""
        row = self.results.setdefault(action, {})
        if row.get((engine, runtime), "yes") == "yes":
            row[engine, runtime] = text

    def render(self) -> str:
        engines = list(self.versions)
        columns = [(engine, runtime) for engine in engines for runtime in ("runc", "pyrunc")]
        versions = "; ".join([*self.versions.values(), *self.runtimes.values()])
        lines = [
            f"Run on Linux {platform.release()} ({platform.machine()}) with {versions}.",
            "An empty field: the engine has no such action, or the suite no test of it.",
            "",
            "| action | " + " | ".join(" ".join(column) for column in columns) + " |",
            "|---" * (1 + len(columns)) + "|",
        ]
        for action, row in self.results.items():
            lines.append(f"| {action} | " + " | ".join(row.get(column, "") for column in columns) + " |")
        return "\n".join(lines) + "\n"

    def write(self, page: Path) -> None:
        before, _, rest = page.read_text().partition(BEGIN)
        _, mark, after = rest.partition(END)
        assert mark, f"{page} has no marks of the matrix"
        page.write_text(f"{before}{BEGIN}\n{self.render()}\n{END}{after}")
