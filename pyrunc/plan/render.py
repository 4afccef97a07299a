"""A plan as text, one operation a line, and as JSON: for `pyrunc plan`, and for the golden tests.

The text is stable output: `slot = NAME arguments ?ERRNO+skip    # origin`. Numbers of the kernel appear by
name, unknown bits in hex.
"""

from __future__ import annotations

from sys import byteorder

from pyrunc.plan.kernel import AT_RECURSIVE
from pyrunc.plan.names import TABLES, VALUES
from pyrunc.plan.ops import SLOT_CWD, SLOT_NONE, signatures
from pyrunc.spec.tables import CAPABILITIES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyrunc.plan.ops import Op, Plan

SIGNATURES = signatures()
_COLUMN = 88
_SHOWN = 32
_INFINITY = 2**64 - 1


def render(plan: Plan) -> str:
    """Return the whole plan as text."""
    head = []
    if plan.clone_flags:
        head.append(_aligned(f"CLONE {_flags('clone', plan.clone_flags)}", "linux.namespaces"))
    head += _inputs(plan.inputs)
    if plan.preserve:
        head.append(_aligned(f"KEEP 3..{plan.preserve + 2}", "--preserve-fds"))
    lines = [*head, *(_aligned(operation(op), op.at) for op in plan.ops)]
    return "".join(
        f"{line}\n" for line in [*lines, *(f"# warning: {_printable(text)}" for text in plan.warnings)]
    )


def _inputs(names: tuple[str, ...]) -> list[str]:
    """Return the descriptors that arrive with the plan; those of the cgroups as one line, for they are many and alike."""
    slots = list(enumerate(names, 4))
    cgroups = [slot for slot, name in slots if name.startswith("cgroup:")]
    lines = [
        _aligned(f"s{slot} = INPUT {_quoted(name)}", name.removeprefix("ns:").removeprefix("idmap:"))
        for slot, name in slots
        if slot not in cgroups
    ]
    if cgroups:
        lines.insert(0, _aligned(f"s{cgroups[0]}..s{cgroups[-1]} = INPUT cgroup tasks", "linux.cgroupsPath"))
    return lines


def operation(op: Op) -> str:
    """Return one operation as text, without its origin."""
    signature = SIGNATURES[op.code]
    words = [signature.name]
    for arg, (name, kind) in zip(op.args, signature.args, strict=True):
        special = _SPECIAL.get((signature.name, name))
        word = special(arg) if special else argument(kind, arg)
        if word:
            words.append(f"{name}={word}" if name in _NAMED else word)
    if signature.name == "RPC" and op.about:
        words.append(_quoted(op.about))  # what the parent does: no argument of the executor's says it
    if op.tolerate:
        errnos = ",".join(VALUES["errno"].get(number, str(number)) for number in op.tolerate)
        words.append(f"?{errnos}+{op.skip}")
    text = " ".join(words)
    return text if op.out is None else f"{_outs(op)} = {text}"


_NAMED = {
    "clear",
    "resolve",
    "ambient",
    "inheritable",
    "permitted",
    "env",
    "forbid",
    "stdio",
    "timeout",
    "userns",
    "owner",
}
"""Arguments that need their name, because they are often absent or look alike."""


def argument(kind: str, value: object) -> str:
    """Return one argument as text, "" for what is not worth a word."""
    if kind in TABLES:
        return _flags(kind, int(value)) if value else ""  # type: ignore[call-overload]  # by the signature
    if kind in VALUES:
        return VALUES[kind].get(int(value), str(value))  # type: ignore[call-overload]  # by the signature
    formatter = _FORMATS.get(kind)
    return formatter(value) if formatter else str(value)


def to_json(plan: Plan) -> dict[str, object]:
    """Return the plan as a value for json.dumps."""
    return {
        "clone": _flags("clone", plan.clone_flags).split("|") if plan.clone_flags else [],
        "inputs": list(plan.inputs),
        "preserve": plan.preserve,
        "operations": [_json_op(op) for op in plan.ops],
        "warnings": list(plan.warnings),
    }


def _json_op(op: Op) -> dict[str, object]:
    signature = SIGNATURES[op.code]
    args = {name: _json_arg(kind, arg) for arg, (name, kind) in zip(op.args, signature.args, strict=True)}
    line: dict[str, object] = {"op": op.name, "at": op.at, "args": args, "text": operation(op)}
    if op.out is not None:
        line["out"] = op.out
    if op.tolerate:
        line["tolerate"] = [VALUES["errno"].get(number, str(number)) for number in op.tolerate]
        line["skip"] = op.skip
    return line


def _json_arg(kind: str, value: object) -> object:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, tuple):
        return list(value)
    if kind == "slot":
        return _slot(value)
    return value


def _aligned(text: str, origin: str) -> str:
    return f"{text:<{_COLUMN}}  # {origin}" if origin else text


def _flags(kind: str, value: int) -> str:
    names = []
    for bits, name in TABLES[kind]:
        if bits and value & bits == bits:
            names.append(name)
            value &= ~bits
    if value:
        names.append(f"{value:#x}")
    return "|".join(names) or "0"


def _caps(value: object) -> str:
    mask = int(value)  # type: ignore[call-overload]  # by the signature
    names = [name.removeprefix("CAP_").lower() for name, number in CAPABILITIES.items() if mask >> number & 1]
    if not mask:
        return "none"
    return "all" if len(names) == len(CAPABILITIES) else ",".join(names)


def _outs(op: Op) -> str:
    count = op.args[2] if op.name == "RPC" else 1
    return ",".join(f"s{int(op.out) + i}" for i in range(int(count)))  # type: ignore[arg-type]  # numbers since finish()


def _slot(value: object) -> str:
    number = int(value)  # type: ignore[call-overload]  # by the signature
    if number < 3:
        return ("stdin", "stdout", "stderr")[number]
    return {SLOT_NONE: "", SLOT_CWD: "cwd"}.get(number, f"s{number}")


def _printable(text: str) -> str:
    """Return a text that cannot act on a terminal."""
    return "".join([c if c.isprintable() else repr(c)[1:-1] for c in text])


def _quoted(value: object) -> str:
    text = str(value).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    escaped = _printable(text.replace("\\", "\\\\").replace('"', '\\"'))
    return f'"{escaped}"'


def _bytes(value: object) -> str:
    data = bytes(value)  # type: ignore[call-overload]  # by the signature
    if not data:
        return "0"
    if all(32 <= byte < 127 or byte == 10 for byte in data):
        return _quoted(data.decode())
    shown = data.rstrip(b"\0")[:_SHOWN].hex()
    return f"hex:{shown}" + (f"...({len(data)} bytes)" if len(shown) < 2 * len(data) else "")


def _strings(value: object) -> str:
    return "[" + " ".join(_quoted(text) for text in value) + "]"  # type: ignore[attr-defined]  # by the signature


def _int(value: object) -> str:
    return "infinity" if value == _INFINITY else str(value)


def _oct(value: object) -> str:
    return f"{int(value):04o}" if value else ""  # type: ignore[call-overload]  # by the signature


def _device(value: object) -> str:
    from pyrunc import _os as os

    number = int(value)  # type: ignore[call-overload]  # by the signature
    return f"{os.major(number)}:{os.minor(number)}" if number else ""


def _id(value: object) -> str:
    return "keep" if value == 0xFFFFFFFF else str(value)


def _ids(value: object) -> str:
    data = bytes(value)  # type: ignore[call-overload]  # by the signature
    ids = [int.from_bytes(data[at : at + 4], byteorder) for at in range(0, len(data), 4)]
    return "[" + " ".join(map(str, ids)) + "]"


def _stdio(value: object) -> str:
    number = int(value)  # type: ignore[call-overload]  # by the signature
    return f"{_slot(number & 0xFFFF)},{_slot(number >> 16)}"


def _owner(value: object) -> str:
    number = int(value)  # type: ignore[call-overload]  # by the signature
    return f"{number >> 32}:{number & 0xFFFFFFFF}"


def _how(value: object) -> str:
    """Return the two halves of SETATTR's `how`: the tree, and the propagation."""
    number = int(value)  # type: ignore[call-overload]  # by the signature
    spread = number & ~AT_RECURSIVE
    words = ["RECURSIVE"] if number & AT_RECURSIVE else []
    return " ".join([*words, f"propagation={_flags('how', spread)}"] if spread else words)


def _choice(*names: str) -> Callable[[object], str]:
    return lambda value: names[int(value)]  # type: ignore[call-overload]  # by the signature


_SPECIAL: dict[tuple[str, str], Callable[[object], str]] = {
    ("MKPATH", "kind"): _choice("dir", "file"),
    ("PIVOT", "how"): _choice("pivot_root", "chroot"),
    ("HOSTNAME", "which"): _choice("", "domain"),
    ("SYMLINK", "replace"): _choice("", "replace"),
    ("RPC", "count"): lambda value: f"fds={value}" if value else "",
    ("SPAWN", "timeout"): lambda value: str(value) if value else "",
    ("SPAWN", "stdio"): _stdio,
    ("NODE", "owner"): _owner,
    ("SETATTR", "how"): _how,
    ("SETRES", "groups"): _ids,
    ("SETRES", "how"): lambda value: ("keep", "", "?EPERM")[int(value)],  # type: ignore[call-overload]  # the same
    ("SCHED", "attr"): lambda value: f"hex:{bytes(value).hex()}",  # type: ignore[call-overload]  # by the signature
    **{("PRCTL", name): lambda value: str(value) if value else "" for name in "bcd"},
}
"""Arguments that read better than their type alone would have it."""

_FORMATS: dict[str, Callable[[object], str]] = {
    "slot": _slot,
    "path": _quoted,
    "str": lambda value: _quoted(value) if value else "",
    "bytes": _bytes,
    "strs": _strings,
    "int": _int,
    "oct": _oct,
    "hex": lambda value: f"{value:#x}",
    "dev": _device,
    "id": _id,
    "caps": _caps,
}
