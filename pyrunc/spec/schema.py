"""The declaration of config.json as a JSON Schema, for `pyrunc validate` and for editors.

It says what the parser says, for tools that do not know the parser. An optional property may be null, which
is the same as absent. Loaded by `validate` and by tests only.
"""

from __future__ import annotations

from pyrunc.spec.declare import Bool, Enum, Int, List, Map, Node, Str, fields_of
from pyrunc.spec.model import Spec
from pyrunc.spec.reference import first_line, texts_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

    from pyrunc.spec.declare import Kind

    Schema: TypeAlias = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> Schema:
    """Return the schema of a whole config.json, in JSON Schema 2020-12."""
    definitions: dict[str, Schema] = {}
    _define(Spec, definitions)
    whole = definitions.pop("Spec")
    return {"$schema": DIALECT, "title": "config.json", **whole, "$defs": definitions}


def _define(cls: type[Node], definitions: dict[str, Schema]) -> Schema:
    """Add a record and everything that it uses to the definitions; return a reference to it."""
    if cls.__name__ not in definitions:
        definitions[cls.__name__] = {}  # holds the place, should a record ever hold itself
        texts, properties = texts_of(cls), {}
        fields = fields_of(cls)
        for field in fields:
            schema = _schema_of(field.kind, definitions)
            if not field.required:
                schema = _or_null(schema)
            properties[field.key] = {"description": texts[field.name], **schema}
        definitions[cls.__name__] = {
            "description": first_line(cls),
            "type": "object",
            "properties": properties,
            "required": [field.key for field in fields if field.required],
        }
    return {"$ref": f"#/$defs/{cls.__name__}"}


def _schema_of(kind: Kind, definitions: dict[str, Schema]) -> Schema:
    if isinstance(kind, Bool):
        return {"type": "boolean"}
    if isinstance(kind, Int):
        return {"type": "integer", "minimum": kind.low, "maximum": kind.high}
    if isinstance(kind, Str):
        return {"type": "string", **({"pattern": kind.pattern} if kind.pattern else {})}
    if isinstance(kind, Enum):
        return {"type": "string", "enum": list(kind.values)}
    if isinstance(kind, List):
        at_least = {"minItems": kind.at_least} if kind.at_least else {}
        return {"type": "array", "items": _schema_of(kind.of, definitions), **at_least}
    if isinstance(kind, Map):
        return {"type": "object", "additionalProperties": _schema_of(kind.of, definitions)}
    return _define(kind, definitions)


def _or_null(schema: Schema) -> Schema:
    """Allow null as well, so that a fault is still told at its own place (as it would not be with anyOf)."""
    if "$ref" in schema:
        return {"if": {"type": "null"}, "else": schema}
    nullable = {**schema, "type": [schema["type"], "null"]}
    if "enum" in schema:
        nullable["enum"] = [*schema["enum"], None]
    return nullable
