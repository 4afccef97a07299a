"""An import points down only. The layers are those of docs/architecture.md."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "pyrunc"
LAYERS = {
    "__main__": 6, "cli": 6, "_snapshot": 6,
    "commands": 5,
    "run": 4, "cgroup": 4, "state": 4,
    "plan": 3, "seccomp": 3,
    "host": 2, "check": 2,
    "spec": 1, "sys": 1, "log": 1, "_image": 1,
    "errors": 0, "consts": 0, "_record": 0, "_os": 0, "_shim": 0, "_build": 0, "__init__": 0,
}  # fmt: skip
PURE = {"plan", "spec", "check"}
IMPURE = {"_snapshot", "run", "sys", "state", "cgroup", "log", "commands", "cli"}
EXEMPT = {
    "commands/__init__.py": "the command line's own types, which cli fills in",
}


def room_of(module: str) -> str:
    return ([*module.split("."), "__init__"])[1]


def imports_of(path: Path) -> set[str]:
    found = set()
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
        if isinstance(node, ast.If) and ast.unparse(node.test) == "__name__ == '__main__'":
            node.body = []  # a script may use what is above the module
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names if name.name.split(".")[0] == "pyrunc"}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "pyrunc":
            if node.module == "pyrunc":
                found |= {f"pyrunc.{name.name}" for name in node.names}
            else:
                found.add(str(node.module))
    return found


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.lint
@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(PACKAGE)) for path in FILES])
def test_imports_point_down(path: Path) -> None:
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert room in LAYERS, f"{room} has no layer"

    for module in imports_of(path):
        other = room_of(module)
        if other == "__version__":
            continue
        assert LAYERS[other] <= LAYERS[room], f"{module} is above {room}"
        assert not (room in PURE and other in IMPURE), f"{room} is pure: it may not import {module}"


@pytest.mark.lint
def test_nothing_at_run_time_imports_what_only_the_type_checker_needs() -> None:
    dear = {"typing", "dataclasses", "enum", "collections", "pathlib", "argparse", "logging", "subprocess"}
    cold = {"spec/schema.py", "spec/reference.py", "plan/reference.py"}
    for path in FILES:
        if str(path.relative_to(PACKAGE)) in cold:
            continue
        for node in ast.parse(path.read_text()).body:
            names = []
            if isinstance(node, ast.Import):
                names = [name.name for name in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for name in names:
                assert name.split(".")[0] not in dear, (
                    f"{path}: {name} at the top of a module costs every start"
                )
