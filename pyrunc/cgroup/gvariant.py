"""The annotations `org.systemd.property.NAME`: a property for the container's scope, its value in GVariant's text format."""

from __future__ import annotations

import re

from pyrunc.cgroup.limits import refuse
from pyrunc.spec.jsontext import key_at

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyrunc.cgroup.units import Property

PREFIX = "org.systemd.property."
NAME = re.compile(r"[A-Za-z]{3,}")
BEYOND = re.compile(r".*Action|Upholds|Conflicts|Propagates\w+|StopPropagatedFrom|On(Success|Failure)")
"""Properties that act on the host (SuccessAction: switch it off) or start and stop other units. Some engines let the author of
a pod or an image choose annotations (CVE-2024-3154), and none of these says anything of the container's own scope."""
TYPES = {
    "boolean": "b", "byte": "y", "int16": "n", "uint16": "q", "int32": "i", "uint32": "u", "int64": "x", "uint64": "t",
    "double": "d", "string": "s", "objectpath": "o", "signature": "g",
}  # fmt: skip
RANGES = {
    "y": (0, 2**8), "n": (-(2**15), 2**15), "q": (0, 2**16), "i": (-(2**31), 2**31), "u": (0, 2**32),
    "x": (-(2**63), 2**63), "t": (0, 2**64),
}  # fmt: skip
TOKEN = re.compile(
    r"""\s*(?: (?P<string>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*") | (?P<number>[-+]?(?:0x[0-9a-fA-F]+|[\d.]+(?:[eE][-+]?\d+)?))
    | (?P<type>@[a-z]+) | (?P<word>[a-z]\w*) | (?P<mark>[\[\],]) )""",
    re.VERBOSE | re.ASCII,
)
ESCAPES = {"n": "\n", "t": "\t", "\\": "\\", "'": "'", '"': '"'}


def annotated(annotations: Mapping[str, str]) -> list[Property]:
    """Return the properties that annotations ask for. Raises SpecError."""
    found: list[Property] = []
    for key, text in annotations.items():
        if not key.startswith(PREFIX):
            continue
        at, name = key_at("annotations", key), key.removeprefix(PREFIX)
        if not NAME.fullmatch(name):
            raise refuse(at, f'annotation {key} name incorrect: "{name}" is not three letters or more')
        if BEYOND.fullmatch(name):
            raise refuse(
                at, f"annotation {key} would act on the host or on other units, not on the container's scope"
            )
        try:
            signature, value = parse_value(text)
            if name.endswith("Sec") and not name.endswith("USec") and signature in "dynqiuxt":
                name, signature, value = f"{name[:-3]}USec", "t", _microseconds(value)
        except ValueError as error:
            raise refuse(at, f"annotation {key}={text} value parse error: {error}") from None
        found.append((name, (signature, value)))
    return found


def _microseconds(seconds: object) -> int:
    """Return a time as systemd takes it. Raises ValueError for what is none: negative, infinite, or too long."""
    number = float(seconds) * 1000000  # type: ignore[arg-type]  # its signature is a number's
    if not 0 <= number < RANGES["t"][1]:
        raise ValueError(f"{seconds} does not fit")
    return int(number)


def parse_value(text: str) -> tuple[str, object]:
    """Return D-Bus signature and value of a string, a number, a boolean, or an array of them. Raises ValueError."""
    tokens = _tokens(text)
    try:
        signature, value = _value(tokens, "")
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if tokens:
        raise ValueError(f'"{tokens[0][1]}" is too much')
    return signature, value


def _tokens(text: str) -> list[tuple[str, str]]:
    found = []
    end, text = 0, text.rstrip()
    while end < len(text):
        match = TOKEN.match(text, end)
        if match is None:
            raise ValueError(f"at character {end + 1}")
        assert match.lastgroup is not None
        found.append((match.lastgroup, match[match.lastgroup]))
        end = match.end()
    return found


def _value(tokens: list[tuple[str, str]], wanted: str) -> tuple[str, object]:
    if not tokens:
        raise ValueError("unexpected end of input")
    kind, text = tokens.pop(0)
    if kind == "type":
        return _value(tokens, text[1:])
    if kind == "word" and text in TYPES:
        return _value(tokens, TYPES[text])
    if kind == "mark" and text == "[":
        return _array(tokens, wanted)
    signature, value = _scalar(kind, text, wanted)
    if wanted not in ("", signature):
        raise ValueError(f"{text} is not of type {wanted}")
    return signature, value


def _scalar(kind: str, text: str, wanted: str) -> tuple[str, object]:
    if kind == "string":
        return wanted if wanted in ("s", "o", "g") else "s", re.sub(
            r"\\(.)", lambda match: ESCAPES.get(match[1], match[1]), text[1:-1], flags=re.DOTALL
        )
    if kind == "word" and text in ("true", "false"):
        return "b", text == "true"
    if kind != "number":
        raise ValueError(f'unexpected "{text}"')
    if wanted == "d" or (not wanted and not text.lstrip("+-").startswith("0x") and set(text) & set(".eE")):
        return "d", float(text)
    signature = wanted if wanted in RANGES else "i"
    number = int(text, 0) if "x" in text else int(text)
    low, high = RANGES[signature]
    if not low <= number < high:
        raise ValueError(f"{text} does not fit")
    return signature, number


def _array(tokens: list[tuple[str, str]], wanted: str) -> tuple[str, object]:
    if wanted and wanted[0] != "a":
        raise ValueError(f"an array is not of type {wanted}")
    inner, values = wanted[1:], []
    while tokens and tokens[0] != ("mark", "]"):
        inner, value = _value(tokens, inner)
        values.append(value)
        if tokens and tokens[0] == ("mark", ","):
            tokens.pop(0)
        elif tokens and tokens[0] != ("mark", "]"):
            raise ValueError(f'expected "," before "{tokens[0][1]}"')
    if not tokens:
        raise ValueError("unexpected end of input")
    tokens.pop(0)
    if not inner:
        raise ValueError("an empty array needs its type, as in @as []")
    return f"a{inner}", bytes(values) if inner == "y" else values  # type: ignore[arg-type]
