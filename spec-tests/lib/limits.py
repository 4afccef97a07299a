"""What the kernel, and systemd, hold of a container's resources: every control file that can be written, every property."""

from __future__ import annotations

import os
import re
import subprocess
from typing import TYPE_CHECKING

from lib import host

if TYPE_CHECKING:
    import pathlib

NO_LIMIT = re.compile(
    r"cgroup\.(procs|threads|kill|pressure|clone_children|event_control)|tasks|notify_on_release|"
    r".*(usage|failcnt|force_empty|pressure|pressure_level|reset_stats|reclaim|peak|\.stat)(_in_bytes|_user|_sys|_all)?"
)
"""Files that count or do something; what they hold is no setting."""

PROPERTIES = (
    "Slice", "Delegate", "DefaultDependencies", "MemoryMax", "MemoryHigh", "MemoryLow", "MemoryMin", "MemorySwapMax",
    "TasksMax", "CPUWeight", "CPUQuotaPerSecUSec", "CPUQuotaPeriodUSec", "AllowedCPUs", "AllowedMemoryNodes", "IOWeight",
    "IODeviceWeight", "IOReadBandwidthMax", "IOWriteBandwidthMax", "IOReadIOPSMax", "IOWriteIOPSMax", "DevicePolicy",
    "MemoryAccounting", "CPUAccounting", "IOAccounting", "TasksAccounting", "CollectMode",
    "MemoryLimit", "CPUShares", "BlockIOWeight",
)  # fmt: skip


def in_files(pid: int, ident: str) -> dict[str, str]:
    """Control file -> what is in it, for the process's own cgroup. `process` tells if that lies below the one with the
    container's name. On v2 files are named as they are, on v1 none has the name of another controller's."""
    found = {}
    for controller in host.hierarchies():
        place = host.cgroup_of(pid, controller)
        named = [above for above in (place, *place.parents) if ident in above.name]
        if not named:
            found[f"cgroup of {controller or 'v2'}"] = "none of its own"
            continue
        if place != named[-1]:
            found["process"] = f"in {place.relative_to(named[-1])}"
        found |= settings(place)
    return found


def settings(place: pathlib.Path) -> dict[str, str]:
    """The files of one cgroup that hold a setting."""
    found = {}
    for file in place.iterdir():
        mode = file.stat().st_mode
        if file.name == "devices.list" or (mode & 0o600 == 0o600 and not NO_LIMIT.fullmatch(file.name)):
            if file.is_dir():
                continue
            try:
                text = file.read_text()
            except OSError as error:  # cpu.uclamp of a kernel that has it switched off, and the like
                text = os.strerror(error.errno or 0)
            found[file.name] = "; ".join(sorted(text.split("\n"))).strip("; ")
    return found


def of_unit(unit: str) -> dict[str, str]:
    """The properties that say how a scope is limited."""
    done = subprocess.run(
        ["systemctl", "show", unit, *(f"--property={name}" for name in PROPERTIES)],
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(line.split("=", 1) for line in done.stdout.splitlines())
