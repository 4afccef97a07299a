"""JSON text, strictly: RFC 8259 and nothing beside it, in and out.

`json` costs 6 ms to import, so the C scanner and the C string encoder that stand behind it are used by
themselves; where an interpreter has none, the public module takes their place (a test holds that both agree).
Where `json` is lenient this is strict: UTF-8 only and no byte order mark, no key twice in an object, no NaN
or Infinity, nothing after the value, no NUL and no lone surrogate in a string, no nesting beyond `MAX_DEPTH`,
no file beyond `MAX_SIZE`.
"""

from __future__ import annotations

from pyrunc.errors import Fault, SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Scan = Callable[[str, int], tuple[object, int]]


def _public_scanner(context: _Context) -> Scan:
    """Return the scanner of the public `json`, for an interpreter without CPython's accelerator."""
    from json import JSONDecoder

    decoder = JSONDecoder(
        object_pairs_hook=context.object_pairs_hook,
        parse_int=context.parse_int,
        parse_constant=context.parse_constant,
    )
    scan_once: Scan = decoder.scan_once  # type: ignore[attr-defined]  # public by use, not in the stubs
    return scan_once


_make_scanner: Callable[[_Context], Scan]
try:
    from _json import encode_basestring as _encode_string
    from _json import encode_basestring_ascii as _encode_ascii
    from _json import make_scanner as _make_scanner  # type: ignore[assignment]  # the stubs say JSONDecoder
except ImportError:
    from json.encoder import py_encode_basestring as _encode_string
    from json.encoder import py_encode_basestring_ascii as _encode_ascii

    _make_scanner = _public_scanner

MAX_SIZE = 64 * 1024 * 1024
MAX_DEPTH = 200
_SPACE = " \t\n\r"
_LONG = 60  # characters of a stranger's string that a message quotes


class _Doubled(dict[str, object]):
    """An object in which a key stood twice; `keys_doubled` says which."""

    keys_doubled: list[str]


class _Constant(str):
    """NaN, Infinity or -Infinity, which `json` takes and RFC 8259 does not."""

    __slots__ = ()


class _Context:
    """What the scanner calls back; `odd` is set by anything that a walk over the value must then find."""

    strict = True
    object_hook = None
    parse_float = float

    def __init__(self, parse_int: Callable[[str], object]) -> None:
        self.parse_int = parse_int
        self.odd = False

    def object_pairs_hook(self, pairs: list[tuple[str, object]]) -> dict[str, object]:
        made = dict(pairs)
        if len(made) == len(pairs):
            return made
        counts = dict.fromkeys(made, 0)
        for key, _ in pairs:
            counts[key] += 1
        doubled = _Doubled(made)
        doubled.keys_doubled = [key for key, count in counts.items() if count > 1]
        self.odd = True
        return doubled

    def parse_constant(self, name: str) -> _Constant:
        self.odd = True
        return _Constant(name)


def loads(data: bytes, what: str) -> object:
    """Return the value that `data` is the JSON text of; `what` names the document in messages.

    Raises `SpecError` with every fault found.
    """
    value, faults = scan(data, what)
    if faults:
        raise SpecError(faults)
    return value


def scan(data: bytes, what: str) -> tuple[object, list[Fault]]:
    """Read `data` as `loads` does, but hand back the faults that leave a value to go on with.

    Raises `SpecError` where there is no value at all.
    """
    text = _decode(data, what)
    start = len(text) - len(text.lstrip(_SPACE))
    value, end, odd = _scan_value(text, start, what)
    rest = text[end:].lstrip(_SPACE)
    if rest:
        raise _text_fault(text, len(text) - len(rest), what, "more text after the end of the value")
    if text.count("{") + text.count("[") > MAX_DEPTH and _is_too_deep(value):
        raise SpecError([Fault(what, f"nested deeper than {MAX_DEPTH} levels")])
    if odd or "\\u0000" in text or "\\ud" in text or "\\uD" in text:
        return value, list(_oddities(value, ""))
    return value, []


def _decode(data: bytes, what: str) -> str:
    if len(data) > MAX_SIZE:
        raise SpecError([Fault(what, f"larger than {MAX_SIZE >> 20} MiB")])
    if data.startswith(b"\xef\xbb\xbf"):
        raise SpecError([Fault(what, "line 1 column 1: a byte order mark, which JSON must not have")])
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        raise SpecError([Fault(what, f"line {line} column {column}: not UTF-8")]) from None


def _scan_value(
    text: str, start: int, what: str, parse_int: Callable[[str], object] = int
) -> tuple[object, int, bool]:
    context = _Context(parse_int)
    try:
        value, end = _make_scanner(context)(text, start)
    except StopIteration as stop:
        raise _text_fault(text, stop.value, what, "expecting a value") from None
    except SystemError:
        # CPython 3.11 and 3.12 raise their JSONDecodeError only when somebody has imported it
        import json.decoder  # noqa: F401  # for its presence in sys.modules

        return _scan_value(text, start, what, parse_int)
    except RecursionError:
        raise SpecError([Fault(what, f"nested deeper than {MAX_DEPTH} levels")]) from None
    except ValueError as error:
        # JSONDecodeError has a place; an integer beyond the interpreter's limit of digits has none
        at = getattr(error, "pos", None)
        if at is None:
            return _scan_value(text, start, what, _huge_int)
        raise _text_fault(text, at, what, getattr(error, "msg", "")) from None
    return value, end, context.odd


def _huge_int(digits: str) -> object:
    """Return the number, or a float, which nobody expects, where it has thousands of digits."""
    return int(digits) if len(digits) < 100 else float(digits)


def _text_fault(text: str, at: int, what: str, message: str) -> SpecError:
    if at >= len(text):
        return SpecError([Fault(what, "unexpected end of JSON input")])
    line = text.count("\n", 0, at) + 1
    column = at - text.rfind("\n", 0, at)
    message = message[:1].lower() + message[1:].removesuffix(" at").removesuffix(" starting")
    return SpecError([Fault(what, f"line {line} column {column}: {message}")])


def _is_too_deep(value: object) -> bool:
    level: list[object] = [value]
    for _ in range(MAX_DEPTH):
        level = [child for parent in level for child in _children(parent) if isinstance(child, dict | list)]
        if not level:
            return False
    return True


def _children(value: object) -> Iterator[object]:
    if isinstance(value, dict):
        return iter(value.values())
    return iter(value if isinstance(value, list) else ())


def _oddities(value: object, at: str) -> Iterator[Fault]:
    """Find what the scanner only noticed, this time with its path."""
    if isinstance(value, _Constant):
        yield Fault(at, f"{value} is not JSON")
    elif isinstance(value, str):
        yield from _string_faults(value, at, "")
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield from _oddities(child, f"{at}[{index}]")
    elif isinstance(value, dict):
        for key in getattr(value, "keys_doubled", ()):
            yield Fault(at, f"duplicate key {quoted(key)}")
        for key, child in value.items():
            yield from _string_faults(key, at, "key ")
            yield from _oddities(child, key_at(at, key))


def _string_faults(text: str, at: str, role: str) -> Iterator[Fault]:
    is_variable = at.rpartition("[")[0].endswith("env")  # which may hold a password: errors go to logs
    what = "" if is_variable else f"{role}{quoted(text)} "
    if "\0" in text:
        yield Fault(at, f"{what}contains a null byte")
    if not text.isascii() and any(map(_is_surrogate, text)):
        yield Fault(at, f"{what}contains a lone surrogate")


def _is_surrogate(char: str) -> bool:
    return "\ud800" <= char <= "\udfff"


def key_at(at: str, key: str) -> str:
    """Return the path of a property: `process.user`, or `annotations["a.b"]` where the key is no word."""
    if not key.replace("_", "a").isalnum() or not key.isascii():
        return f"{at}[{quoted(key)}]"
    return f"{at}.{key}" if at else key


def quoted(text: str) -> str:
    """Return a string as JSON, cut when long, with everything escaped that could act on a terminal."""
    if len(text) > _LONG:
        text = text[:_LONG] + "..."
    return _encode_string(text) if text.isprintable() else _encode_ascii(text)


def shown(value: object) -> str:
    """Return a JSON value as a message names it."""
    if isinstance(value, _Constant):
        return str(value)
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "an array"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    digits = repr(value)
    return digits if len(digits) <= _LONG else "a huge number"


def dumps(value: object, indent: str | None = None, *, go_html_escape: bool = False) -> str:
    """Return a value as JSON text the way Go's encoding/json prints it: keys in their order, UTF-8 kept.

    `indent` is one step of indentation (`MarshalIndent`), None one compact line; there is no newline at the
    end. `go_html_escape` escapes `<`, `>` and `&` as `json.Marshal` does by default. A lone surrogate (an
    undecodable byte of a path) becomes U+FFFD, as in Go.
    """
    text = _dump(value, indent, "\n")
    if not text.isascii():
        text = "".join(["\ufffd" if _is_surrogate(char) else char for char in text])
        text = text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    if go_html_escape:
        text = text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return text


def _dump(value: object, indent: str | None, newline: str) -> str:
    if isinstance(value, str):
        return _encode_string(value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, dict):
        colon = ":" if indent is None else ": "
        inner = newline if indent is None else newline + indent
        items = [_encode_string(key) + colon + _dump(child, indent, inner) for key, child in value.items()]
        return _bracket("{", items, "}", indent, newline)
    if isinstance(value, list | tuple):
        inner = newline if indent is None else newline + indent
        return _bracket("[", [_dump(child, indent, inner) for child in value], "]", indent, newline)
    if isinstance(value, float) and value - value == 0:  # finite
        return repr(value).removesuffix(".0")
    raise TypeError(f"no JSON for {type(value).__name__}")


def _bracket(left: str, items: list[str], right: str, indent: str | None, newline: str) -> str:
    if indent is None or not items:
        return left + ",".join(items) + right
    inner = newline + indent
    return left + inner + ("," + inner).join(items) + newline + right
