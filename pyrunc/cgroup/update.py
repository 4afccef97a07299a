"""Change the limits of a cgroup that is in use: which stored values survive, and the way back when one cannot be set."""

from __future__ import annotations

from pyrunc import log
from pyrunc.errors import HostError, OpError, PyruncError, SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, TypeAlias

    from pyrunc.cgroup.manager import Manager
    from pyrunc.spec.resources import Resources

    Json: TypeAlias = dict[str, Any]

NOT_BACK = (
    "Setting back cgroup configs failed due to error: {},"
    " your state.json and actual configs might be inconsistent."
)
FORGOTTEN = ("burst", "cpus", "mems", "idle")
"""What the next update does not repeat: it may have been changed by others since, as cpusets are by the kubelet."""

BY_DEVICE = (
    *("weightDevice", "throttleReadBpsDevice", "throttleWriteBpsDevice"),
    *("throttleReadIOPSDevice", "throttleWriteIOPSDevice"),
)
"""Lists of `blockIO` with an entry a device. Any other list is a property that nobody has declared."""


def merge(stored: Json, change: Json) -> Json:
    """Return `linux.resources` after a change, as JSON: what runc would keep of what is stored, without device rules.

    All of it is written again, since limits hang together: a quota by its period, memory by swap.
    """
    made = {key: value for key, value in stored.items() if key not in ("devices", "pids", "unified")}
    made |= {key: value for key, value in change.items() if key != "devices"}
    made["memory"] = _memory(stored.get("memory", {}), change.get("memory", {}))
    made["cpu"] = _cpu(stored.get("cpu", {}), change.get("cpu", {}))
    made["blockIO"] = _block_io(stored.get("blockIO", {}), change.get("blockIO", {}))
    if "hugepageLimits" in change:
        made["hugepageLimits"] = _upsert(
            stored.get("hugepageLimits", ()), change["hugepageLimits"], ("pageSize",)
        )
    if "rdma" in change:
        made["rdma"] = {**stored.get("rdma", {}), **change["rdma"]}
    return {key: value for key, value in made.items() if value not in ({}, [])}


def _memory(stored: Json, change: Json) -> Json:
    made = {**stored, **change}
    if change.get("limit") == -1 and not change.get("swap"):
        made.pop("swap", None)  # without a limit of memory none of memory and swap makes sense
    return made


def _cpu(stored: Json, change: Json) -> Json:
    made = {key: value for key, value in stored.items() if key not in FORGOTTEN} | change
    if bool(change.get("period")) == bool(change.get("quota")):  # both or none: none leaves the cgroup alone
        made |= {"period": change.get("period", 0), "quota": change.get("quota", 0)}
    else:
        made |= {key: stored[key] for key in ("period", "quota") if not change.get(key) and key in stored}
    if change.get("idle") is not None and not change.get("shares"):
        made["shares"] = 0  # the kernel refuses a weight for what is idle
    return {key: value for key, value in made.items() if value != 0 or key in ("idle", "burst")}


def _block_io(stored: Json, change: Json) -> Json:
    made = {**stored, **change}
    for key, value in change.items():
        if key in BY_DEVICE:
            made[key] = _upsert(stored.get(key, ()), value, ("major", "minor"))
    return made


def _upsert(stored: Iterable[Json], change: Iterable[Json], by: tuple[str, ...]) -> list[Json]:
    made = {tuple(entry[key] for key in by): entry for entry in stored}
    for entry in change:
        made[tuple(entry[key] for key in by)] = entry
    return list(made.values())


def apply_update(manager: Manager, old: Resources, new: Resources) -> None:
    """Write the new limits; where that fails write the old ones again, then raise. Devices are left as they are."""
    manager.skip_devices = True  # others may have allowed some since (GPUs)
    try:
        manager.apply(new)
    except (SpecError, HostError, OpError):
        try:
            manager.apply(old)
        except PyruncError as error:
            log.warning(NOT_BACK.format(error))
        raise
    for warning in manager.warnings:
        log.warning(warning)
