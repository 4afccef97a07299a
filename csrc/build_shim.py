"""Declare the shim to cffi (API mode): functions by hand, constants from the text of plan_ops.h itself.

The executor must have been built before: setup.py gives its path to shim.c as the macro PYRUNC_EXECUTOR.
"""

from __future__ import annotations

import re
from pathlib import Path

from cffi import FFI

# setuptools wants paths relative to setup.py, which is where it runs
CSRC = Path("csrc") if Path("csrc/plan_ops.h").exists() else Path(__file__).parent

OP = re.compile(r"^\s*OP\((\w+),", re.MULTILINE)
DEFINE = re.compile(r"^#define ((?:PLAN|SLOT)_\w+) +[\w]+ *(?:/\*|$)", re.MULTILINE)
TALK = re.compile(r"\bTALK_\w+")
DECLARATION = re.compile(r"^(?:const char|unsigned|int|long)[^;{]+;", re.MULTILINE)


def declarations() -> str:
    """Return what cffi is told: every OP_*, the numbers of the format, and the functions of shim.h."""
    ops = (CSRC / "plan_ops.h").read_text()
    names = [f"OP_{name}" for name in OP.findall(ops)] + ["OP_COUNT"]
    names += DEFINE.findall(ops)
    names += TALK.findall(ops.partition("enum talk_kind {")[2].partition("}")[0])
    constants = "".join(f"static const int {name};\n" for name in names if name != "PLAN_MAGIC")
    functions = "\n".join(DECLARATION.findall((CSRC / "shim.h").read_text()))
    return f"{constants}static const unsigned int PLAN_MAGIC;\n{functions}\n"


ffibuilder = FFI()
ffibuilder.cdef(declarations())
ffibuilder.set_source(
    "pyrunc._shim",
    '#include "plan_ops.h"\n#include "shim.h"\n',
    sources=[str(CSRC / "shim.c"), str(CSRC / "save.c")],
    include_dirs=[str(CSRC)],
    depends=[str(CSRC / name) for name in ("plan_ops.h", "plan_text.h", "shim.h", "snapshot.h")],
)
