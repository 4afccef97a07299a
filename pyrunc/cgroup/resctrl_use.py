"""A group of resctrl in use: its schemata changed by `update`, and what `events` tells of it, in runc's form.

Documentation/filesystems/resctrl.rst of the kernel has the files; `info` says what the processor can do.
"""

from __future__ import annotations

from errno import EINVAL, ENOENT

from pyrunc import _os as os
from pyrunc.cgroup.resctrl import check_mount
from pyrunc.cgroup.tree import fs_magic
from pyrunc.errors import OpError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pyrunc.cgroup.resctrl import MagicOf

    Section = dict[str, object]

LIMIT = 1 << 20
INFO = (
    ("l3_cache_info", "L3", ("cbm_mask",), ("min_cbm_bits", "num_closids")),
    ("mem_bw_info", "MB", (), ("bandwidth_gran", "delay_linear", "min_bandwidth", "num_closids")),
)
"""Key in events, directory below `info`, files with words and files with numbers."""
SCHEMAS = (("L3", "l3_cache_schema"), ("MB", "mem_bw_schema"))
MONITORED = (
    ("mbm_stats", ("mbm_total_bytes", "mbm_local_bytes")),
    ("cmt_stats", ("llc_occupancy",)),
)
"""Key in events, and the files in each domain below `mon_data`."""


def change(group: str, lines: Iterable[str], magic_of: MagicOf = fs_magic) -> list[str]:
    """Write lines to the schemata of a group; return those of the same resources as they were. Raises OpError."""
    lines = list(lines)
    check_mount(group, magic_of)
    resources = {line.partition(":")[0] for line in lines}
    before = [line for line in schemata(group) if line.partition(":")[0] in resources]
    try:
        fd = os.open(f"{group}/schemata", os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.write(fd, "".join([f"{line}\n" for line in lines]).encode())
        finally:
            os.close(fd)
    except OSError as error:
        raise OpError(f'write {group}/schemata "{"; ".join(lines)}"', error.errno or EINVAL) from None
    return before


def schemata(group: str) -> list[str]:
    """Return the lines of a group's schemata, without blanks. Raises OpError."""
    text = _read(f"{group}/schemata")
    if text is None:
        raise OpError(f"read {group}/schemata", ENOENT)
    return ["".join(line.split()) for line in text.splitlines() if line.strip()]


def stats(root: str, group: str, name: str) -> Section:
    """Return `intel_rdt` of events for a container in `group`; `root` is where resctrl is mounted. Raises OpError."""
    found: Section = {}
    own, top = schemata(group), schemata(root)
    for (key, directory, words, numbers), (resource, schema) in zip(INFO, SCHEMAS, strict=True):
        if os.path.exists(f"{root}/info/{directory}"):
            found[key] = _info(f"{root}/info/{directory}", words, numbers)
            found[f"{schema}_root"] = _line_of(top, resource)
            found[schema] = _line_of(own, resource)
    found["schemata"] = own
    monitor = f"{group}/mon_groups/{name}"
    found |= _monitored(monitor if os.path.exists(monitor) else group)
    return {key: value for key, value in found.items() if value}


def _line_of(lines: Iterable[str], resource: str) -> str:
    return next((line for line in lines if line.startswith(resource)), "")


def _info(directory: str, words: Iterable[str], numbers: Iterable[str]) -> Section:
    found: Section = {name: (_read(f"{directory}/{name}") or "").strip() for name in words}
    found |= {name: _number(f"{directory}/{name}") for name in numbers}
    return {key: value for key, value in found.items() if value}


def _monitored(group: str) -> Section:
    """Return the counters of each cache domain; a processor may have some of them, or none."""
    try:
        domains = sorted(name for name in os.listdir(f"{group}/mon_data") if name.startswith("mon_L3_"))
    except FileNotFoundError:
        return {}
    found: Section = {}
    for key, files in MONITORED:
        places = [f"{group}/mon_data/{domain}" for domain in domains]
        if any(os.path.exists(f"{place}/{file}") for place in places for file in files):
            found[key] = [dict(_counters(place, files)) for place in places]
    return found


def _counters(place: str, files: Iterable[str]) -> Iterator[tuple[str, int]]:
    for file in files:
        if value := _number(f"{place}/{file}"):
            yield file, value


def _number(path: str) -> int:
    """Return a file's number; 0, which is left out, for "Unavailable", which the kernel says while a counter is not ready."""
    text = (_read(path) or "").strip()
    return int(text) if text.isdecimal() else 0


def _read(path: str) -> str | None:
    try:
        with open(path, "rb", buffering=0) as file:
            return (file.read(LIMIT) or b"").decode(errors="replace")
    except FileNotFoundError:
        return None
