"""The declaration of config.json as a page to read: `docs/config.md`. Loaded by tests and `validate` only.

The texts stand below the fields in the modules of the declaration. The compiler drops them, so they are read
from the source.
"""

from __future__ import annotations

import ast
import inspect
import sys
from itertools import pairwise

from pyrunc.spec.declare import Bool, Enum, Field, Int, List, Map, Node, Str, fields_of
from pyrunc.spec.jsontext import dumps
from pyrunc.spec.model import Spec
from pyrunc.spec.tables import MOUNT_OPTIONS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyrunc.spec.declare import Kind

HEAD = """\
# config.json

What pyrunc reads in a bundle's `config.json`: runtime-spec 1.3.0 on Linux. This page is generated from
`pyrunc/spec/`; `python tests/spec/write_reference.py` writes it anew.

A property that is not here is ignored. An optional property may be `null`, which is the same as absent. The
default is what holds when it is absent; where none is given, nothing is done.
"""

WITHOUT_EFFECT = {
    "process.execCPUAffinity": "it is about processes that `exec` adds, not about the container's own",
    "linux.resources.memory.checkBeforeUpdate": "it is about an update, not about the creation",
}
"""Properties that change nothing when a container is created, and why; tests/test_fields.py holds the table to it."""


def texts_of(cls: type[Node]) -> dict[str, str]:
    """Return the texts below the fields of a record, by the names of the fields."""
    module = ast.parse(inspect.getsource(sys.modules[cls.__module__]))
    body = next(
        node.body for node in module.body if isinstance(node, ast.ClassDef) and node.name == cls.__name__
    )
    texts: dict[str, str] = {}
    for field, text in pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            assert isinstance(text, ast.Expr), f"{cls.__name__}.{field.target.id} has no text"
            assert isinstance(text.value, ast.Constant)
            texts[field.target.id] = str(text.value.value)
    return texts


def first_line(cls: type[Node]) -> str:
    """Return what a record is, in one line."""
    return inspect.getdoc(cls) or ""


def page() -> str:
    """Return the whole page in Markdown."""
    places = _places()
    parts = [HEAD, _without_effect()]
    parts += [_section(cls, where) for cls, where in places.items()]
    parts.append(_mount_options())
    return "\n".join(filter(None, parts))


def _places() -> dict[type[Node], list[str]]:
    """Return the records in the order of the file, each with the paths at which it stands."""
    places: dict[type[Node], list[str]] = {}

    def visit(cls: type[Node], at: str) -> None:
        places.setdefault(cls, []).append(at)
        for field in fields_of(cls):
            inner, suffix = _record_in(field.kind)
            if inner:
                visit(inner, f"{at}.{field.key}{suffix}".lstrip("."))

    visit(Spec, "")
    return places


def _record_in(kind: Kind) -> tuple[type[Node] | None, str]:
    if isinstance(kind, List):
        return _record_in(kind.of)[0], "[]"
    if isinstance(kind, Map):
        return _record_in(kind.of)[0], ".*"
    return (kind, "") if isinstance(kind, type) else (None, "")


def _section(cls: type[Node], where: list[str]) -> str:
    texts = texts_of(cls)
    title = ", ".join([f"`{at}`" for at in where]) if where != [""] else "The whole"
    rows = [_row(field, texts[field.name]) for field in fields_of(cls)]
    table = ["| property | type | default | |", "|---|---|---|---|", *rows]
    return f"## {title}\n\n{first_line(cls)}\n\n" + "\n".join(table) + "\n"


def _row(field: Field, text: str) -> str:
    if field.required:
        default = "required"
    elif field.default in (None, (), {}) or isinstance(field.default, Node):
        default = ""
    else:
        default = f"`{dumps(field.default)}`"
    return f"| `{field.key}` | {_type_text(field.kind)} | {default} | {text} |"


def _type_text(kind: Kind) -> str:
    if isinstance(kind, Bool):
        return "true or false"
    if isinstance(kind, Int):
        return f"{_number(kind.low)} to {_number(kind.high)}"
    if isinstance(kind, Str):
        return kind.expected or "string"
    if isinstance(kind, Enum):
        return ", ".join([f"`{value}`" for value in kind.values])
    if isinstance(kind, List):
        return f"array of {_type_text(kind.of)}"
    if isinstance(kind, Map):
        return f"map to {_type_text(kind.of)}"
    return "object"


def _number(value: int) -> str:
    """Return a bound as people know it: 2^32-2 and not 4294967294."""
    for bits in (12, 16, 20, 31, 32, 63, 64):
        for less in (1, 2):
            if value == 2**bits - less:
                return f"2^{bits}-{less}"
        if value == -(2**bits):
            return f"-2^{bits}"
    return str(value)


def _without_effect() -> str:
    lines = "\n".join([f"- `{path}`: {why}" for path, why in WITHOUT_EFFECT.items()])
    return f"## Without effect on a new container\n\n{lines}\n"


def _mount_options() -> str:
    """Return the section on mount options, from the table that `features` prints."""
    return "## Mount options\n\n" + "\n".join(_option_lines()) + "\n"


def _option_lines() -> Iterator[str]:
    yield "Every other option goes to the file system as data. With a leading `r` the whole tree is meant.\n"
    yield ", ".join([f"`{name}`" for name in sorted(MOUNT_OPTIONS)]) + "."
