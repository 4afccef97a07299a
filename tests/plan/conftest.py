"""Without a built shim the list of operations is read from the header, so that the pure tests need no
compiler."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import SimpleNamespace

HEADER = Path(__file__).parents[2] / "csrc" / "plan_ops.h"


def ops_text() -> str:
    """Return what the shim would: a line an operation."""
    text = re.sub(r"/\*.*?\*/", "", HEADER.read_text().replace("\\\n", "\n"), flags=re.DOTALL)
    entries = re.findall(r'\bOP\((\w+),\s*"([^"]*)",\s*((?:"(?:[^"\\]|\\.)*"\s*)+)\)', text)
    literal = re.compile(r'"((?:[^"\\]|\\.)*)"')
    return "".join(
        f"{name}\t{signature}\t{''.join(literal.findall(about))}\n" for name, signature, about in entries
    )


try:
    import pyrunc._shim
except ImportError:
    data = ops_text().encode()
    lib = SimpleNamespace(pyrunc_ops_text=lambda: data, pyrunc_ops_hash=lambda: 0)
    fake = SimpleNamespace(lib=lib, ffi=SimpleNamespace(string=lambda value: value))
    sys.modules["pyrunc._shim"] = fake  # type: ignore[assignment]
    import pyrunc

    pyrunc._shim = fake
