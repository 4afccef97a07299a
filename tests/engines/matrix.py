"""The matrix engine x action, written into a page from what test runs really did: matrix.py PAGE RESULTS..."""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path

BEGIN, END = "<!-- matrix: written by make test-engines -->\n", "<!-- end of matrix -->\n"


class Rows:
    """Results by action, engine and runtime, in the order of the tests."""

    def __init__(self) -> None:
        self.results: dict[str, dict[tuple[str, str], str]] = {}
        self.versions: dict[str, tuple[str, str]] = {}  # of the engine, and of the runc beside it
        self.reasons: dict[tuple[str, str], str] = {}  # of each "no" of runc's
        self.pyrunc = ""

    def note(self, action: str, engine: str, runtime: str, text: str) -> None:
        """Keep the worse of two results: an action may have more than one test."""
        row = self.results.setdefault(action, {})
        if row.get((engine, runtime), "yes") == "yes":
            row[engine, runtime] = text

    def cell(self, row: dict[tuple[str, str], str], engine: str) -> str:
        seen = [row.get((engine, runtime), "") for runtime in ("runc", "pyrunc")]
        return " / ".join(seen) if any(seen) else ""

    def render(self) -> str:
        engines = sorted(self.versions)
        release = platform.release().partition("-")[0]
        lines = [
            f"Run on Linux {release} ({platform.machine()}) with {self.pyrunc}; runc / pyrunc.",
            "",
        ]
        lines += ["| engine | version | runc beside pyrunc |", "|---|---|---|"]
        lines += [
            f"| {engine} | {self.versions[engine][0]} | {self.versions[engine][1]} |" for engine in engines
        ]
        lines += ["", "An empty field: the engine has no such action, or the suite no test of it.", ""]
        lines += ["| action | " + " | ".join(engines) + " |", "|---" * (1 + len(engines)) + "|"]
        for action, row in self.results.items():
            lines.append(f"| {action} | " + " | ".join(self.cell(row, engine) for engine in engines) + " |")
        if self.reasons:
            lines += ["", "Where it says `no`:", ""]
        lines += [f"- {action}, {engine}: {reason}." for (action, engine), reason in self.reasons.items()]
        return "\n".join(lines) + "\n"

    def save(self, file: Path) -> None:
        """Keep everything for `main`."""
        results = [
            [action, engine, runtime, text]
            for action, row in self.results.items()
            for (engine, runtime), text in row.items()
        ]
        reasons = [[action, engine, reason] for (action, engine), reason in self.reasons.items()]
        kept = {"results": results, "reasons": reasons, "versions": self.versions, "pyrunc": self.pyrunc}
        file.write_text(json.dumps(kept))

    def add(self, file: Path) -> None:
        """Add what `save` has kept."""
        kept = json.loads(file.read_text())
        for action, engine, runtime, text in kept["results"]:
            self.note(action, engine, runtime, text)
        self.reasons |= {(action, engine): reason for action, engine, reason in kept["reasons"]}
        self.versions |= kept["versions"]
        self.pyrunc = kept["pyrunc"]

    def write(self, page: Path) -> None:
        before, _, rest = page.read_text().partition(BEGIN)
        _, mark, after = rest.partition(END)
        assert mark, f"{page} has no marks of the matrix"
        page.write_text(f"{before}{BEGIN}\n{self.render()}\n{END}{after}")


def main() -> None:
    rows = Rows()
    for name in sys.argv[2:]:
        rows.add(Path(name))
    rows.write(Path(sys.argv[1]))


if __name__ == "__main__":
    main()
