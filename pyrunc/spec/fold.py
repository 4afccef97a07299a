"""Keys in any case, as Go's JSON decoder takes them: `{"CPU": {"Cpus": "0"}}`. Only for what callers of runc send so."""

from __future__ import annotations

from pyrunc.spec.declare import List, Map, fields_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.spec.declare import Kind


def fold_keys(value: object, kind: Kind) -> object:
    """Return a JSON value with its properties named as they are declared; nulls, which mean absent, are left out.

    Keys of maps are data and stay. Where two keys come to one, the exact one wins, else the last.
    """
    if isinstance(kind, List) and isinstance(value, list):
        return [fold_keys(child, kind.of) for child in value]
    if isinstance(kind, Map) and isinstance(value, dict):
        return {key: fold_keys(child, kind.of) for key, child in value.items()}
    if isinstance(kind, type) and isinstance(value, dict):
        return _fold_object(value, kind)
    return value


def _fold_object(value: dict[str, object], kind: Kind) -> dict[str, object]:
    assert isinstance(kind, type)
    fields = {field.key: field for field in fields_of(kind)}
    by_folded = {key.casefold(): key for key in fields}
    made: dict[str, object] = {}
    for given, child in value.items():
        key = given if given in fields else by_folded.get(given.casefold(), given)
        if child is None or (key != given and key in value):
            continue
        made[key] = fold_keys(child, fields[key].kind) if key in fields else child
    return made
