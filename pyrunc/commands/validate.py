"""`pyrunc validate`: hold a bundle's config.json against the schema and every rule, and report all faults."""

from __future__ import annotations

from pyrunc import _os as os
from pyrunc import check
from pyrunc.commands import write
from pyrunc.errors import Fault, SpecError
from pyrunc.spec.hints import slips
from pyrunc.spec.jsontext import key_at, loads
from pyrunc.spec.model import Spec
from pyrunc.spec.parse import parse_config

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from jsonschema.exceptions import ValidationError

    from pyrunc.commands import Args

CONFIG = "config.json"


def run(args: Args) -> int:
    """Write one line for each fault and warning, then a summary; return 1 when there is a fault."""
    from pyrunc.run.options import bundle_of
    from pyrunc.run.prepare import read_config

    bundle = bundle_of(args)
    faults, warnings = examine(read_config(bundle), bundle)
    lines = [_line(fault) for fault in faults]
    lines += [f"{CONFIG}: warning: {warning}" for warning in warnings]
    summary = f"{_count(len(faults), 'fault')}" if faults else "ok"
    lines.append(f"{CONFIG}: {summary}" + (f", {_count(len(warnings), 'warning')}" if warnings else ""))
    write("".join([line + "\n" for line in lines]))
    return 1 if faults else 0


def examine(data: bytes, bundle: str) -> tuple[list[Fault], list[str]]:
    """Return the faults of a config.json in a bundle, and the warnings.

    The rules want a config that could be read at all, so they have their say only where the parser has none.
    """
    try:
        spec = parse_config(data)
    except SpecError as error:
        return _with_schema(list(error.faults), data), []
    faults = _with_schema([], data)
    warnings: list[str] = []
    try:
        warnings = check.check(spec, check.CheckFacts(bundle=bundle))
    except SpecError as error:
        faults += error.faults
    try:
        check.check_bundle_paths(spec, bundle)
    except SpecError as error:
        faults += error.faults
    warnings += [str(slip) for slip in slips(loads(data, CONFIG), Spec)]
    warnings += [str(missing) for missing in _missing_sources(spec, bundle)]
    return faults, warnings


def _with_schema(faults: list[Fault], data: bytes) -> list[Fault]:
    """Add what the schema finds where the parser has found nothing."""
    from jsonschema import Draft202012Validator

    from pyrunc.spec.schema import json_schema

    try:
        value = loads(data, CONFIG)
    except SpecError:
        return faults  # the schema is about values, and here is only text
    told = {fault.at for fault in faults}
    errors = Draft202012Validator(json_schema()).iter_errors(value)
    found = [Fault(_place(error), error.message) for error in errors]
    return faults + [fault for fault in found if fault.at not in told]


def _place(error: ValidationError) -> str:
    at = ""
    for step in error.absolute_path:
        at = f"{at}[{step}]" if isinstance(step, int) else key_at(at, step)
    if (
        error.validator == "required"
    ):  # the message is "'cwd' is a required property", its place is the object
        at = key_at(at, error.message.split("'")[1])
    return at


def _missing_sources(spec: Spec, bundle: str) -> Iterator[Fault]:
    """The kernel looks for the source of a bind mount when it is mounted; here is only a warning."""
    for mount in spec.mounts:
        if mount.source and check.mounts.is_bind(mount):
            path = os.path.join(bundle, mount.source)
            if not os.path.lexists(path):
                yield Fault(f"{mount.at}.source", f"{path} does not exist here")


def _line(fault: Fault) -> str:
    text = str(fault)
    return text if fault.at == CONFIG else f"{CONFIG}: {text}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
