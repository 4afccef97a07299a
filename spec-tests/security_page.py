"""Write the tables of docs/security.md: each attack and each fault, and how three runtimes stand against it.

    python spec-tests/security_page.py RESULTS.json ...        from files that `pytest --results FILE` wrote
    python spec-tests/security_page.py --run pyrunc runc crun  run the suite for each first

What is between the two marks of the page is replaced, the rest is written by hand. The order of the columns is that of the
arguments. threats.csv has the words of each row, the tests themselves the weaknesses that an attack belongs to.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict

import requirements as req

PAGE = req.HERE.parent / "docs/security.md"
MARKS = ("<!-- the tables of spec-tests/security_page.py -->", "<!-- end of the tables -->")


def classes(documents: list[dict]) -> dict[str, str]:
    """Id -> the weaknesses that its tests name."""
    found = defaultdict(set)
    for document in documents:
        for test in document["tests"].values():
            for ident in test["req"]:
                found[ident] |= set(test.get("cve", ()))
    return {ident: ", ".join(sorted(names)) for ident, names in found.items()}


def attempts(document: dict) -> dict[str, int]:
    """Id -> how often an attacker tried, where its tests count that."""
    found = defaultdict(int)
    for test in document["tests"].values():
        for ident in test["req"]:
            found[ident] += test.get("attempts", 0)
    return found


def cells(ident: str, documents: list[dict]) -> list[str]:
    """A result for each runtime, with the number of attempts."""
    found = []
    for document in documents:
        tries = attempts(document)[ident]
        result = req.verdict(req.by_requirement(document).get(ident, []))
        found.append(f"{result} ({tries:,} tries)" if tries else result)
    return found


def rows(letter: str, documents: list[dict]) -> list[str]:
    """The lines of the table of attacks (T) or of faults (F)."""
    known, named = req.threats(), classes(documents)
    middle = ["class"] if letter == "T" else []
    head = ["id", *middle, "what it is", *(document["runtime"] for document in documents)]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for ident in sorted(i for i in known if i[0] == letter):
        fields = [ident, *([named.get(ident, "")] if middle else []), known[ident], *cells(ident, documents)]
        lines.append(f"| {' | '.join(fields)} |")
    return lines


def counted(document: dict, letter: str) -> str:
    """How many tests of attacks or faults passed, failed, were skipped."""
    outcomes = [
        t["outcome"] for t in document["tests"].values() if any(i[0] == letter for i in of_threats(t["req"]))
    ]
    return ", ".join(f"{outcomes.count(o)} {o}" for o in ("passed", "failed", "skipped") if o in outcomes)


def of_threats(idents: list[str]) -> list[str]:
    """Those of the ids that stand for an attack or a fault."""
    return [i for i in idents if re.fullmatch(r"[TF]\d\d[a-z]?", i)]


def tables(documents: list[dict]) -> str:
    """Everything between the marks."""
    lines = []
    for letter, title in (("T", "Attacks"), ("F", "Faults")):
        counts = [f"- {document['runtime']}: {counted(document, letter)}" for document in documents]
        lines += [f"## {title}", "", "Tests:", "", *counts, "", *rows(letter, documents), ""]
    return "\n".join(lines)


def main() -> None:
    """Read or make the results and write the page."""
    documents = req.merge(req.read(sys.argv[1:]))
    used = {
        i for document in documents for test in document["tests"].values() for i in of_threats(test["req"])
    }
    if used != set(req.threats()):
        raise SystemExit(f"threats.csv and the tests differ: {sorted(used ^ set(req.threats()))}")
    before, _, rest = PAGE.read_text().partition(MARKS[0])
    after = rest.partition(MARKS[1])[2]
    PAGE.write_text(f"{before}{MARKS[0]}\n\n{tables(documents)}\n{MARKS[1]}{after}")


if __name__ == "__main__":
    main()
