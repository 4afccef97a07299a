"""JSON text in and out: strict, and the same with CPython's scanner and with the public module."""

from __future__ import annotations

import json
import subprocess
import sys
from json import scanner as json_scanner

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrunc.errors import SpecError
from pyrunc.spec import jsontext

GOOD = (
    b"null", b" \t\r\n{} ", b'{"a": [1, -0, 1.5, 1e3, true, null, "\\ud83d\\ude00"]}', b'"\\u00e9"', b"[1e400]",
    "{\"é\": \"\u2028\"}".encode(), b"[" * 200 + b"]" * 200, b'{"a": "\\\\u0000"}',
)  # fmt: skip

BAD = (
    (b"", "doc: unexpected end of JSON input"),
    (b"  ", "doc: unexpected end of JSON input"),
    (b'{"a"', "doc: unexpected end of JSON input"),
    (b'{"a": 1} x', "doc: line 1 column 10: more text after the end of the value"),
    (b'{}\n{}', "doc: line 2 column 1: more text after the end of the value"),
    (b"[1,\n 2,]", "doc: line 2 column 4: expecting a value"),
    (b'"a\nb"', "doc: line 1 column 3: invalid control character"),
    (b"[1 /* no */]", "doc: line 1 column 4: expecting ',' delimiter"),
    (b"\xef\xbb\xbf{}", "doc: line 1 column 1: a byte order mark, which JSON must not have"),
    ("{}".encode("utf-16"), "doc: line 1 column 1: not UTF-8"),
    (b'{\n"a": "\xff"}', "doc: line 2 column 7: not UTF-8"),
    (b"[" * 201 + b"]" * 201, "doc: nested deeper than 200 levels"),
    (b"[" * 100_000, "doc: nested deeper than 200 levels"),
    (b'{"a":' * 300 + b"1" + b"}" * 300, "doc: nested deeper than 200 levels"),
    (b'{"a": NaN, "b": [-Infinity]}', "a: NaN is not JSON; b[0]: -Infinity is not JSON"),
    (b'{"a": 1, "a": 1}', 'duplicate key "a"'),
    (b'{"p": [{"x": 1, "y": {"b": 1, "b": 2, "c": 3, "c": 3}}]}', 'p[0].y: duplicate key "b"; p[0].y: duplicate key "c"'),
    (b'{"a": {"b.c": "x\\u0000"}}', 'a["b.c"]: "x\\u0000" contains a null byte'),
    (b'{"process": {"env": ["A", "B=x\\u0000"]}}', "process.env[1]: contains a null byte"),
    (b'{"env": ["B=x\\ud800"]}', "env[0]: contains a lone surrogate"),
    (b'{"\\u0000": 1}', 'key "\\u0000" contains a null byte'),
    (b'{"a": "\\ud800"}', 'a: "\\ud800" contains a lone surrogate'),
    (b'{"\\udfff": 1}', 'key "\\udfff" contains a lone surrogate'),
    (b'"\\x"', 'doc: line 1 column 2: invalid \\escape'),
)  # fmt: skip


@pytest.fixture(params=["_json", "json", "pure"])
def any_scanner(request, monkeypatch):
    """Run with CPython's accelerator, with the public module, and with its pure Python."""
    if request.param != "_json":
        monkeypatch.setattr(jsontext, "_make_scanner", jsontext._public_scanner)
    if request.param == "pure":
        pure = json_scanner.py_make_scanner
        monkeypatch.setattr(json_scanner, "make_scanner", pure)
    return request.param


@pytest.mark.parametrize("data", GOOD)
def test_good_text_is_what_json_makes_of_it(any_scanner, data):
    assert jsontext.loads(data, "doc") == json.loads(data)


@pytest.mark.parametrize(("data", "message"), BAD)
def test_bad_text_is_refused_with_its_place(any_scanner, data, message):
    with pytest.raises(SpecError) as error:
        jsontext.loads(data, "doc")

    if any_scanner != "pure":  # which words some places otherwise
        assert str(error.value) == message


def test_too_large_a_file_is_refused(monkeypatch):
    monkeypatch.setattr(jsontext, "MAX_SIZE", 3)
    with pytest.raises(SpecError, match="doc: larger than 0 MiB"):
        jsontext.loads(b"[1 ]", "doc")


def test_an_integer_of_thousands_of_digits_is_no_integer(any_scanner):
    number, exact = jsontext.loads(b"[" + b"1" * 5000 + b", 18446744073709551616]", "doc")

    assert number == float("inf")
    assert exact == 2**64


def test_an_error_after_such_an_integer_keeps_its_place():
    with pytest.raises(SpecError, match="line 1 column 5003: expecting a value"):
        jsontext.loads(b"[" + b"1" * 5000 + b",}", "doc")


def test_nothing_but_the_accelerator_is_imported():
    code = "import sys; sys.path[:0] = sys.argv[1:]; from pyrunc.spec import jsontext; jsontext.loads(b'[]', 'x');"
    code += (
        "print([name for name in sys.modules if name.startswith(('json', 're', 'typing', 'collections'))])"
    )
    run = [sys.executable, "-I", "-S", "-c", code, *sys.path]

    assert subprocess.run(run, capture_output=True, text=True, check=True).stdout == "[]\n"


def test_an_interpreter_without_the_accelerator_will_do():
    code = "import sys; sys.path[:0] = sys.argv[1:]; sys.modules['_json'] = None; from pyrunc.spec import jsontext;"
    code += "print(jsontext.loads(b'[1, \"a\"]', 'x'), jsontext.dumps(['\"\\n']))"
    run = [sys.executable, "-I", "-S", "-c", code, *sys.path]

    assert subprocess.run(run, capture_output=True, text=True, check=True).stdout == '[1, \'a\'] ["\\"\\n"]\n'


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text('ab"\\é.', max_size=4), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(JSON, st.sampled_from([None, "\t", "  "]), st.booleans())
def test_what_was_written_is_read_back(value, indent, go):
    text = jsontext.dumps(value, indent, go_html_escape=go)

    assert jsontext.loads(text.encode(), "doc") == value
    assert json.loads(text) == value


@given(JSON)
def test_compact_text_is_that_of_json(value):
    ours = jsontext.dumps(value).replace("\\u2028", "\u2028").replace("\\u2029", "\u2029")

    assert ours == json.dumps(value, ensure_ascii=False, separators=(",", ":"))


@given(st.binary(max_size=64))
def test_arbitrary_bytes_give_a_value_or_a_fault(data):
    try:
        value = jsontext.loads(data, "doc")
    except SpecError:
        return

    assert json.loads(data) == value


@pytest.mark.parametrize(
    ("value", "indent", "text"),
    [
        (
            {"a": [1, {}], "b": [], "c": (True, None)},
            "  ",
            '{\n  "a": [\n    1,\n    {}\n  ],\n  "b": [],\n  "c": [\n    true,\n    null\n  ]\n}',
        ),
        ({"a": 0.25, "b": 2.0}, None, '{"a":0.25,"b":2}'),
        ("<&>\u2028", None, '"<&>\\u2028"'),
        ("a\udc80", None, '"a\ufffd"'),
        ("\x1b\x7f\b\f", None, '"\\u001b\x7f\\b\\f"'),
    ],
)
def test_text_is_as_go_prints_it(value, indent, text):
    assert jsontext.dumps(value, indent) == text


def test_html_is_escaped_as_json_marshal_does():
    assert jsontext.dumps({"<": "&>"}, go_html_escape=True) == '{"\\u003c":"\\u0026\\u003e"}'


@pytest.mark.parametrize("value", [b"x", {1}, float("inf"), object()])
def test_what_is_not_json_is_not_written(value):
    with pytest.raises(TypeError, match="no JSON for"):
        jsontext.dumps(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("\x1b]0;x\x07", '"\\u001b]0;x\\u0007"'),
        ("é", '"é"'),
        ("\x9b1m", '"\\u009b1m"'),
        ("x" * 70, '"' + "x" * 60 + '..."'),
        (10**70, "a huge number"),
        ({}, "an object"),
        ([], "an array"),
        (None, "null"),
        (True, "true"),
        (1.5, "1.5"),
    ],
)
def test_a_strangers_value_is_shown_harmlessly(value, text):
    assert jsontext.shown(value) == text


def test_bad_text_is_told_where_nobody_has_imported_json():
    """CPython 3.11's scanner cannot raise its error by itself then."""
    code = "import sys; sys.path[:0] = sys.argv[1:]; from pyrunc.spec import jsontext\n"
    code += "try: jsontext.loads(b'\"\\n\"', 'doc')\nexcept jsontext.SpecError as error: print(error)"
    run = [sys.executable, "-I", "-S", "-c", code, *sys.path]

    assert subprocess.run(run, capture_output=True, text=True, check=True).stdout == (
        "doc: line 1 column 2: invalid control character\n"
    )
