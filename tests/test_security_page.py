"""docs/security.md has a row for each attack and each fault that the suite tests, in the words of threats.csv."""

from __future__ import annotations

import ast
import csv
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
SUITE = ROOT / "spec-tests"


def marks(name: str) -> set[str]:
    """Every string that stands in a mark of that name somewhere in the suite."""
    found = set()
    for path in SUITE.rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in {name, f"pytest.mark.{name}"}:
                found |= {str(arg.value) for arg in node.args if isinstance(arg, ast.Constant)}
    return found


def ids_of_the_suite() -> set[str]:
    return {name for name in marks("req") | marks("fault") if re.fullmatch(r"[TF]\d\d[a-z]?", name)}


def threats() -> dict[str, str]:
    with (SUITE / "threats.csv").open(newline="") as file:
        return {row["id"]: row["what"] for row in csv.DictReader(file)}


def rows() -> dict[str, list[str]]:
    """Id -> the cells of its row on the page."""
    lines = (ROOT / "docs/security.md").read_text().splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("|")]
    return {row[0]: row for row in cells if re.fullmatch(r"[TF]\d\d[a-z]?", row[0])}


def test_every_attack_and_fault_of_the_suite_has_its_words() -> None:
    assert set(threats()) == ids_of_the_suite()


def test_every_attack_and_fault_has_its_row() -> None:
    assert set(rows()) == ids_of_the_suite(), "run spec-tests/security_page.py"
    for name, what in threats().items():
        assert what in rows()[name], f"{name}: run spec-tests/security_page.py"


def test_the_weaknesses_on_the_page_are_those_of_the_tests() -> None:
    named = {name for row in rows().values() for name in re.findall(r"CVE-\d+-\d+", row[1])}
    assert named == {name for name in in_files(SUITE) if name.startswith("CVE-")}


def in_files(top: Path) -> set[str]:
    """CVE numbers that stand in strings of the suite, in marks or in lists for them."""
    found = set()
    for path in top.rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and re.fullmatch(r"CVE-\d+-\d+", str(node.value)):
                found.add(str(node.value))
    return found


def test_pyrunc_passes_all_of_them() -> None:
    """The page is of a run in which nothing of ours failed."""
    head = next(
        line
        for line in (ROOT / "docs/security.md").read_text().splitlines()
        if line.startswith("| id | class")
    )
    column = [cell.strip().split(" ")[0] for cell in head.split("|")[1:-1]].index("pyrunc")
    faults = column - 1  # the table of faults has no classes
    failed = [name for name, row in rows().items() if "failed" in row[column if name[0] == "T" else faults]]
    assert failed == []
