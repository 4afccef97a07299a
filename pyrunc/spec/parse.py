"""From the bytes of a config.json to a `Spec`, or to every fault in them at once.

What the parser holds against the file is what one value can be wrong in by itself: its type, its range, its
form, a missing property. What several values must agree on is the business of `pyrunc.check`. A reader for
each kind of value is made from the declaration when it is first needed, so a small config pays for what it
uses.
"""

from __future__ import annotations

from pyrunc.errors import Fault, SpecError
from pyrunc.spec import jsontext
from pyrunc.spec.declare import Bool, Enum, Int, List, Map, Str, camel
from pyrunc.spec.jsontext import key_at, quoted, shown
from pyrunc.spec.model import Spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container
    from typing import Any, TypeAlias

    from pyrunc.spec.declare import Kind, Node

    # (value, path of what holds it, its key or index there, where faults go); the result is void after a
    # fault
    Reader: TypeAlias = Callable[[object, str, "str | int", list[Fault]], Any]

_readers: dict[Kind, Reader] = {}
_new = object.__new__
_HINTED = 100  # a file with more faults than this has no slip in it
_VOID: object = None  # stands for a value that was refused, in a record that nobody will see


def parse_config(data: bytes) -> Spec:
    """Read config.json. Unknown properties are ignored, as the specification demands.

    Raises `SpecError` with all faults, each with its path in the file.
    """
    value, faults = jsontext.scan(data, "config.json")
    if not isinstance(value, dict):
        message = "config cannot be null" if value is None else f"expected an object, got {shown(value)}"
        raise SpecError([*faults, Fault("config.json", message)])
    known = {fault.at for fault in faults}
    found: list[Fault] = []
    spec: Spec = reader_of(Spec)(value, "", "", found)
    faults.extend([fault for fault in found if fault.at not in known])
    if faults:
        raise SpecError(faults)
    return spec


def reader_of(kind: Kind) -> Reader:
    """Return the reader for a kind of value."""
    reader = _readers.get(kind)
    if reader is None:
        maker = _MAKERS.get(type(kind), _object_reader)
        reader = _readers[kind] = maker(kind)
    return reader


def _object_reader(cls: type[Node]) -> Reader:
    properties: dict[str, tuple[str, Reader]] = {}
    required: list[tuple[str, str]] = []

    def compile_properties() -> None:
        for name, (kind, own_key, is_required, _) in cls.declared.items():
            key = own_key or (camel(name) if "_" in name else name)
            properties[key] = (name, reader_of(kind))
            if is_required:
                required.append((name, key))

    def read(value: object, at: str, key: str | int, faults: list[Fault]) -> object:
        here = _place(at, key)
        if not isinstance(value, dict):
            return _fault(faults, at, key, "an object", value)
        if not properties:
            compile_properties()
        made = _new(cls)
        values = made.__dict__
        values["at"] = here
        for name, child in value.items():
            prop = properties.get(name)
            if prop is not None and child is not None:
                values[prop[0]] = prop[1](child, here, name, faults)
        for name, wanted in required:
            if name not in values:
                _missing(faults, here, wanted, value, properties)
        return made

    return read


def _bool_reader(_kind: Bool) -> Reader:
    def read(value: object, at: str, key: str | int, faults: list[Fault]) -> object:
        if value is True or value is False:
            return value
        return _fault(faults, at, key, "true or false", value)

    return read


def _int_reader(kind: Int) -> Reader:
    low, high = kind.low, kind.high

    def read(value: object, at: str, key: str | int, faults: list[Fault]) -> object:
        if type(value) is not int:  # a bool is an int to Python, and 1.0 equals 1
            return _fault(faults, at, key, "an integer", value)
        if low <= value <= high:
            return value
        return _fault(faults, at, key, f"an integer from {low} to {high}", value)

    return read


def _str_reader(kind: Str) -> Reader:
    fits = kind.fits

    def read(value: object, at: str, key: str | int, faults: list[Fault]) -> object:
        if not isinstance(value, str):
            return _fault(faults, at, key, "a string", value)
        if fits is None or fits(value):
            return value
        return _fault(faults, at, key, kind.expected, value)

    return read


def _enum_reader(kind: Enum) -> Reader:
    def read(value: object, at: str, key: str | int, faults: list[Fault]) -> object:
        if value in kind.values:
            return value
        if not isinstance(value, str):
            return _fault(faults, at, key, "a string", value)
        message = kind.refuse % quoted(value) if kind.refuse else f"{quoted(value)} is not a value of this"
        hint = ""
        if len(faults) < _HINTED:
            from pyrunc.spec.hints import enum_hint

            hint = enum_hint(value, kind.values)
        faults.append(Fault(_place(at, key), message, hint))
        return _VOID

    return read


def _list_reader(kind: List) -> Reader:
    reader = reader_of(kind.of)
    plain = isinstance(kind.of, Str) and kind.of.fits is None

    def read(value: object, at: str, key: str | int, faults: list[Fault]) -> object:
        if not isinstance(value, list):
            return _fault(faults, at, key, "an array", value)
        if len(value) < kind.at_least:
            faults.append(Fault(_place(at, key), f"needs at least {kind.at_least} entry"))
        if plain and set(map(type, value)) == {str}:
            return tuple(value)
        here = _place(at, key)
        return tuple([reader(child, here, index, faults) for index, child in enumerate(value)])

    return read


def _map_reader(kind: Map) -> Reader:
    reader = reader_of(kind.of)

    def read(value: object, at: str, key: str | int, faults: list[Fault]) -> object:
        if not isinstance(value, dict):
            return _fault(faults, at, key, "an object", value)
        here = _place(at, key)
        return {name: reader(child, here, name, faults) for name, child in value.items()}

    return read


_MAKERS: dict[type, Callable[[Any], Reader]] = {
    Bool: _bool_reader,
    Int: _int_reader,
    Str: _str_reader,
    Enum: _enum_reader,
    List: _list_reader,
    Map: _map_reader,
}


def _place(at: str, key: str | int) -> str:
    if isinstance(key, int):
        return f"{at}[{key}]"
    return key_at(at, key) if at or key else ""


def _fault(faults: list[Fault], at: str, key: str | int, expected: str, value: object) -> object:
    hint = ""
    if len(faults) < _HINTED:
        from pyrunc.spec.hints import type_hint

        hint = type_hint(expected, value)
    faults.append(Fault(_place(at, key), f"expected {expected}, got {shown(value)}", hint))
    return _VOID


def _missing(
    faults: list[Fault], here: str, wanted: str, value: dict[str, object], known: Container[str]
) -> None:
    hint = ""
    if len(faults) < _HINTED:
        from pyrunc.spec.hints import key_hint

        hint = key_hint(wanted, value, known)
    faults.append(Fault(key_at(here, wanted), "required, but missing", hint))
