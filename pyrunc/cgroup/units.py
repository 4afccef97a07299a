"""What systemd is told of a container: the name and place of its scope, and its limits as properties. Pure."""

from __future__ import annotations

from pyrunc.cgroup.devices import ACCESS, ALL, access_of, number_of, types_of
from pyrunc.cgroup.limits import MAX, refuse
from pyrunc.cgroup.limits_v1 import limits_v1
from pyrunc.cgroup.limits_v2 import limits_v2
from pyrunc.errors import Fault, SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TypeAlias

    from pyrunc.cgroup.limits import Write
    from pyrunc.spec.resources import DeviceRule, Resources

    Property: TypeAlias = tuple[str, tuple[str, object]]
    """A name, a D-Bus signature, a value."""

AT = "linux.cgroupsPath"
FORM = 'expected cgroupsPath to be of format "slice:prefix:name" for systemd cgroups, got "{}" instead'
PREFIX = "pyrunc"
IN_NAMES = frozenset("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz:-_.\\")
"""What the name of a unit may hold (systemd.unit(5))."""
UNLIMITED = 2**64 - 1
PERCENT = 10000
"""systemd keeps a CPU quota in steps of 10 ms a second, a percent of a CPU."""
DEFAULT_PERIOD = 100000
NUMBERS = {
    "memory.max": "MemoryMax", "memory.high": "MemoryHigh", "memory.low": "MemoryLow", "memory.min": "MemoryMin",
    "memory.swap.max": "MemorySwapMax", "pids.max": "TasksMax", "cpu.weight": "CPUWeight", "io.weight": "IOWeight",
}  # fmt: skip
"""Files that hold one number, or "max"."""
NUMBERS_V1 = {
    "memory.limit_in_bytes": "MemoryLimit", "cpu.shares": "CPUShares", "blkio.weight": "BlockIOWeight", "pids.max": "TasksMax",
}  # fmt: skip
"""The same with v1, where -1 is no limit."""
QUOTA, PERIOD = "cpu.cfs_quota_us", "cpu.cfs_period_us"
SETS = {"cpuset.cpus": "AllowedCPUs", "cpuset.mems": "AllowedMemoryNodes"}


def parse_place(cgroups_path: str | None, container: str, *, user: bool) -> tuple[str, str]:
    """Return slice and unit for `linux.cgroupsPath`, "slice:prefix:name" or nothing. Raises SpecError (CG-7)."""
    default = "user.slice" if user else "system.slice"
    if not cgroups_path:
        return default, _scope(PREFIX, container)
    parts = cgroups_path.split(":")
    if len(parts) != 3 or not parts[2]:
        raise SpecError([Fault(AT, FORM.format(cgroups_path))])
    parent, prefix, name = parts
    if name.endswith(".slice") or "/" in cgroups_path:
        raise SpecError([Fault(AT, f'"{cgroups_path}": a container is a scope, whose name has no slash')])
    parent = "-.slice" if parent == "-" else parent or default
    expand_slice(parent)
    return parent, _scope(prefix, name)


def _scope(prefix: str, name: str) -> str:
    """Return the name of the unit; what it cannot hold (an id may have a +) is escaped as by systemd-escape(1)."""
    plain = f"{prefix}-{name}" if prefix else name
    if not IN_NAMES.issuperset(plain):
        raw = plain.encode("utf-8", "surrogateescape")
        plain = "".join([chr(byte) if chr(byte) in IN_NAMES else f"\\x{byte:02x}" for byte in raw])
    return f"{plain}.scope"


def expand_slice(name: str) -> str:
    """Return the path of a slice below the manager's cgroup: "a-b.slice" lies in "a.slice". Raises SpecError."""
    stem = name.removesuffix(".slice")
    if stem == name or not stem or "/" in name:
        raise SpecError([Fault(AT, f'invalid slice name "{name}"')])
    if stem == "-":
        return ""
    parts = stem.split("-")
    if "" in parts:
        raise SpecError([Fault(AT, f'invalid slice name "{name}"')])
    return "".join([f"/{'-'.join(parts[: depth + 1])}.slice" for depth in range(len(parts))])


def properties_of(resources: Resources, *, devices: bool) -> list[Property]:
    """Return the limits as properties: what systemd does not know it would take back when it next writes. Raises SpecError."""
    found: dict[str, tuple[str, object]] = {}
    for write in limits_v2(resources):
        for name, signature, value in _property(write):
            found[name] = (signature, value)
    if resources.cpu is not None and resources.cpu.idle == 1:
        found["CPUWeight"] = ("t", 0)  # systemd's word for cpu.idle, since 252
    return [*found.items(), *(_devices(resources) if devices else ())]


def properties_v1(resources: Resources, *, devices: bool) -> list[Property]:
    """Return the limits as the properties of a scope in cgroup v1, as for v2. Raises SpecError."""
    values = {write.file: write.value for write in limits_v1(resources)}
    found: list[Property] = [
        (name, ("t", _number(file, values[file]))) for file, name in NUMBERS_V1.items() if file in values
    ]
    quota, period = values.get(QUOTA, "-1"), values.get(PERIOD, str(DEFAULT_PERIOD))
    if QUOTA in values or PERIOD in values:
        value = f"{MAX if quota.startswith('-') else quota} {period}"
        found += [(name, (signature, told)) for name, signature, told in _quota(value)]
    return [*found, *(_devices(resources) if devices else ())]


def _devices(resources: Resources) -> list[Property]:
    policy, allowed = device_allow(resources.devices)
    return [("DevicePolicy", ("s", policy)), ("DeviceAllow", ("a(ss)", allowed))]


def _number(file: str, value: str) -> int:
    """Return a limit as systemd has it: no process more is 1, for it takes no 0. Raises ValueError."""
    if value in {MAX, "-1"}:
        return UNLIMITED
    return int(value) or int(file == "pids.max")


def _property(write: Write) -> list[tuple[str, str, object]]:
    for file, value in ((write.file, write.value), *write.instead):
        try:
            if file in NUMBERS and " " not in value:
                return [(NUMBERS[file], "t", _number(file, value))]
            if file in SETS:
                return [(SETS[file], "ay", set_bytes(value))]
            if file == "cpu.max":
                return _quota(value)
        except ValueError:
            if not write.named:
                raise refuse(write.at, f'"{value}" is not a value for {file}') from None
            return []  # `unified` may hold what only the kernel understands (memory.max "1G"): it judges that
    return []


def _quota(value: str) -> list[tuple[str, str, object]]:
    quota, _, given = value.partition(" ")
    period = int(given or DEFAULT_PERIOD)
    per_second = UNLIMITED
    if quota != MAX:
        per_second = -(-(int(quota) * 1000000 // period) // PERCENT) * PERCENT
    return [("CPUQuotaPeriodUSec", "t", period), ("CPUQuotaPerSecUSec", "t", per_second)]


def set_bytes(text: str) -> bytes:
    """Return a list such as "0-3,7" as systemd has it: a bit a number, from the lowest byte up. Raises ValueError."""
    bits = 0
    for part in text.strip().split(","):
        first, dash, last = part.partition("-")
        low, high = int(first), int(last if dash else first)
        if not 0 <= low <= high < 1 << 16:
            raise ValueError(part)
        bits |= (1 << high + 1) - (1 << low)
    return bits.to_bytes((bits.bit_length() + 7) // 8, "little")


def device_allow(rules: Iterable[DeviceRule]) -> tuple[str, list[tuple[str, str]]]:
    """Return DevicePolicy and DeviceAllow: at least what the rules allow, for our program, which denies the rest, gives way
    to systemd's whenever that is loaded anew (daemon-reload), and stands beside it from then on. Raises SpecError."""
    allowed: list[tuple[str, str]] = []
    every = False
    for rule in rules:
        access, types = access_of(rule), types_of(rule)
        major, minor = number_of(rule.major), number_of(rule.minor)
        if types == "bc" and major == minor == ALL and access == ACCESS:
            every, allowed = rule.allow, []
        elif rule.allow:
            allowed += [(_device(kind, major, minor), access) for kind in types]
    if every:
        return "auto", []
    return "strict", [
        *allowed,
        *[(_device(kind, major, minor), access) for kind, major, minor, access in _defaults()],
    ]


def _defaults() -> tuple[tuple[str, str, str, str], ...]:
    from pyrunc.cgroup.devices import DEFAULTS

    return DEFAULTS


def _device(kind: str, major: str, minor: str) -> str:
    name = "block" if kind == "b" else "char"
    if major == ALL:
        return f"{name}-*"  # there is no word for one minor number of every major
    return f"{name}-{major}" if minor == ALL else f"/dev/{name}/{major}:{minor}"
