"""The words in which config.json is declared: the kinds of values, and the base of every record.

`model.py` is written in these words. The parser, the JSON Schema and the reference page read the declaration
back through `fields_of`; nothing else knows what config.json looks like.
"""

from __future__ import annotations

from pyrunc._record import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, ClassVar, TypeAlias, dataclass_transform

    Kind: TypeAlias = "Bool | Int | Str | Enum | List | Map | type[Node]"


class Bool:
    """JSON true or false."""


class Int:
    """A whole number in a range, both ends included. 1.0, 1e3 and true are none."""

    __slots__ = ("high", "low")

    def __init__(self, low: int, high: int) -> None:
        self.low = low
        self.high = high


class Str:
    """A string, of any content or of a form: `fits` tells, `pattern` is the same as a regular expression."""

    __slots__ = ("expected", "fits", "pattern")

    def __init__(
        self, pattern: str = "", fits: Callable[[str], bool] | None = None, expected: str = ""
    ) -> None:
        self.pattern = pattern
        self.fits = fits
        self.expected = expected


class Enum:
    """One of some strings. `refuse` is runC's wording of a refusal, with %s for what was given."""

    __slots__ = ("refuse", "values")

    def __init__(self, *values: str, refuse: str = "") -> None:
        self.values = values
        self.refuse = refuse


class List:
    """A JSON array, read as a tuple."""

    __slots__ = ("at_least", "of")

    def __init__(self, of: Kind, at_least: int = 0) -> None:
        self.of = of
        self.at_least = at_least


class Map:
    """A JSON object with free keys, read as a dict."""

    __slots__ = ("of",)

    def __init__(self, of: Kind) -> None:
        self.of = of


def need(kind: Kind, *, key: str = "") -> Any:
    """Declare a property that must be there."""
    return (kind, key, True, None)


def opt(kind: Kind, default: Any = None, *, key: str = "") -> Any:
    """Declare a property that may be absent or null; the record then has the default."""
    return (kind, key, False, default)


if TYPE_CHECKING:

    @dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(need,))
    class _Transformed:
        pass

    class Node(_Transformed):
        """The base of every record; `at` is its path in config.json, "" for the whole."""

        at: str = ""
        declared: ClassVar[dict[str, tuple[Kind, str, bool, object]]]

else:

    class _Declaring(type):
        def __new__(mcls, name: str, bases: tuple[type, ...], body: dict[str, object]) -> type:
            """Set the declaration aside and leave the defaults in its place, before there is a type whose caches that
            would upset."""
            if bases:
                annotations = body["__annotations__"]
                declared = body["declared"] = {field: body[field] for field in annotations}
                for field, (_kind, _key, required, default) in declared.items():
                    if required:
                        del body[field]
                    else:
                        body[field] = default
                annotations["at"] = "str"
            return type.__new__(mcls, name, bases, body)

    @record
    class Node(metaclass=_Declaring):
        """The base of every record; `at` is its path in config.json, "" for the whole."""

        at: str = ""


@record
class Field:
    """One property of a record: its key in JSON, its name here, its kind."""

    key: str
    name: str
    kind: Kind
    required: bool
    default: object


def camel(name: str) -> str:
    """Return the JSON key for a name: `uid_mappings` is `uidMappings`."""
    first, *rest = name.split("_")
    return first + "".join([word.capitalize() for word in rest])


def fields_of(cls: type[Node]) -> tuple[Field, ...]:
    """Return the properties of a record in the order of their declaration."""
    return tuple(
        [
            Field(key or camel(name), name, kind, required, default)
            for name, (kind, key, required, default) in cls.declared.items()
        ]
    )
