"""What this kernel and this host can do: probed once, handed on as a value.

`plan` sees only the record, so a plan can be compiled for another host than this (`pyrunc plan --host FILE`).
"""

from __future__ import annotations

from errno import ENOENT

from pyrunc import _os as os
from pyrunc._record import record
from pyrunc.errors import Fault, HostError, SpecError, strerror

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    _T = TypeVar("_T")


@record
class Hierarchy:
    """One mounted cgroup hierarchy, as the caller sees it."""

    controllers: tuple[str, ...]
    """Controllers of a v1 hierarchy (`("cpu", "cpuacct")`, `("name=systemd",)`); empty for cgroup2."""
    mountpoint: str
    """Absolute path where it is mounted."""
    root: str
    """Root of that mount inside the hierarchy (field 4 of mountinfo), "/" where all of it is visible."""
    own: str
    """The caller's own cgroup in it, from /proc/self/cgroup, relative to the hierarchy's root."""


@record
class CgroupLayout:
    """Where cgroups are mounted. `mode` is "v1", "hybrid", "v2" or "none"."""

    mode: str
    v1: tuple[Hierarchy, ...] = ()
    """In the order of the mount table; every mounted v1 hierarchy, named ones included."""
    v2: Hierarchy | None = None
    """The cgroup2 mount: the only one in mode v2, the unified one beside v1 in mode hybrid."""


@record
class Host:
    """Facts about kernel, host and caller that decide how a config is lowered into a plan."""

    kernel: tuple[int, int]
    euid: int
    egid: int
    in_userns: bool
    """The caller is not in the initial user namespace (its uid_map is not the identity over all ids)."""
    umask: int
    effective: int
    """Effective capabilities of the caller, as a mask."""
    bounding: int
    """Bounding set of the caller, as a mask."""
    last_cap: int
    rlimits: dict[int, tuple[int, int]]
    """The caller's resource limits: number -> (soft, hard); RLIM_INFINITY is 2**64 - 1."""
    cgroup: CgroupLayout
    proc_mounts: tuple[str, ...] = ()
    """Mount points, deepest first, of every proc and sysfs of which all is visible; for --no-pivot only."""
    lsm: tuple[str, ...] = ()
    """Which of apparmor and selinux are on; probed only for a config that names a profile or a label."""
    setgroups: bool = True
    """setgroups(2) is allowed; in a user namespace it may have been given up, for all namespaces below as well."""


MINIMUM = (5, 14)
"""Has all that pyrunc has no second way for: openat2, mount_setattr, CLONE_INTO_CGROUP, cgroup.kill."""
RLIM_INFINITY = 2**64 - 1
CGROUP_SUPER_MAGIC = 0x27E0EB
CGROUP2_SUPER_MAGIC = 0x63677270
_WHOLE_UID_MAP = [b"0", b"0", b"4294967295"]
_CHUNK = 1 << 16


def probe(*, mounts: bool = False, lsm: bool = False, proc: str = "/proc", release: str = "") -> Host:
    """Ask kernel and process for every fact; `mounts` adds proc_mounts, `lsm` the security modules. Raises HostError.

    `proc` and `release` (of uname) are for tests.
    """
    kernel = parse_release(release or os.uname().release)
    status = parse_status(_read(f"{proc}/self/status"))
    table = _read(f"{proc}/self/mountinfo")
    in_userns = _read(f"{proc}/self/uid_map").split() != _WHOLE_UID_MAP
    return Host(
        kernel=kernel,
        euid=os.geteuid(),
        egid=os.getegid(),
        in_userns=in_userns,
        umask=status[0],
        effective=status[1],
        bounding=status[2],
        last_cap=_last_cap(proc, status[2]),
        rlimits=parse_limits(_read(f"{proc}/self/limits")),
        cgroup=parse_layout(table, _read_cgroup(proc)),
        proc_mounts=parse_proc_mounts(table) if mounts else (),
        lsm=_probe_lsm(table) if lsm else (),
        setgroups=not in_userns or _read(f"{proc}/self/setgroups").strip() != b"deny",
    )


def _probe_lsm(table: bytes) -> tuple[str, ...]:
    """Ask AppArmor's own parameter, and whether selinuxfs is mounted, as runC does."""
    try:
        apparmor = _read("/sys/module/apparmor/parameters/enabled").strip() == b"Y"
    except HostError:
        apparmor = False  # no such module
    found = [("apparmor", apparmor), ("selinux", b" - selinuxfs " in table)]
    return tuple([name for name, on in found if on])


def _read(path: str) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            chunks = [os.read(fd, _CHUNK)]
            while chunks[-1]:  # a seq_file hands out whole lines, so also less than was asked for
                chunks.append(os.read(fd, _CHUNK))
        finally:
            os.close(fd)
    except OSError as error:
        raise HostError(f"read {path}: {strerror(error.errno or ENOENT)}") from None
    return b"".join(chunks)


def _read_cgroup(proc: str) -> bytes:
    try:
        return _read(f"{proc}/self/cgroup")
    except HostError:
        return b""  # a kernel without CONFIG_CGROUPS: layout "none"


def _last_cap(proc: str, bounding: int) -> int:
    try:
        return int(_read(f"{proc}/sys/kernel/cap_last_cap"))
    except (HostError, ValueError):
        # /proc/sys may be hidden from a nested caller; its bounding set then is the best knowledge there is
        return max(bounding.bit_length() - 1, 0)


def parse_release(release: str) -> tuple[int, int]:
    """Return (major, minor) of uname's release. Raises HostError below Linux 5.14."""
    major, _, rest = release.partition(".")
    digits = 0
    while rest[digits : digits + 1].isdecimal():
        digits += 1
    kernel = (int(major), int(rest[:digits])) if major.isdecimal() and digits else (0, 0)
    if kernel < MINIMUM:
        raise HostError(f"pyrunc needs Linux {MINIMUM[0]}.{MINIMUM[1]} or later: this is {release}")
    return kernel


def parse_status(status: bytes) -> tuple[int, int, int]:
    """Return (umask, CapEff, CapBnd) of /proc/PID/status."""
    return (
        int(_status_field(status, b"\nUmask:\t"), 8),
        int(_status_field(status, b"\nCapEff:\t"), 16),
        int(_status_field(status, b"\nCapBnd:\t"), 16),
    )


def _status_field(status: bytes, key: bytes) -> bytes:
    start = status.index(key) + len(key)
    return status[start : status.index(b"\n", start)]


def parse_limits(limits: bytes) -> dict[int, tuple[int, int]]:
    """Return number -> (soft, hard) of /proc/PID/limits, whose lines stand in the order of the numbers.

    The columns have fixed widths: 25 characters of name, 20 of soft, 20 of hard limit, blanks between.
    """
    lines = limits.splitlines()[1:]
    return {
        number: (_limit(line[26:46].strip()), _limit(line[47:67].strip()))
        for number, line in enumerate(lines)
    }


def _limit(text: bytes) -> int:
    return RLIM_INFINITY if text == b"unlimited" else int(text)


def parse_layout(mountinfo: bytes, own: bytes) -> CgroupLayout:
    """Return which cgroup hierarchies are mounted where, from /proc/self/mountinfo and /proc/self/cgroup.

    Of two mounts of one hierarchy the first counts. Mounts that a later mount hides are left out.
    """
    groups = _parse_own(own)
    v1: list[Hierarchy] = []
    v2: Hierarchy | None = None
    seen: set[str] = set()
    for fields in _visible(mountinfo):
        hierarchy = _hierarchy(fields, groups)
        if hierarchy is None or not seen.isdisjoint(hierarchy.controllers):
            continue
        if hierarchy.controllers:
            seen.update(hierarchy.controllers)
            v1.append(hierarchy)
        elif v2 is None:
            v2 = hierarchy
    if any(not name.startswith("name=") for name in seen) or (v1 and v2 is None):
        return CgroupLayout("hybrid" if v2 is not None else "v1", tuple(v1), v2)
    # a named hierarchy beside cgroup2 (systemd's, for old guests) limits nothing: this is a v2 host
    return CgroupLayout("v2" if v2 is not None else "none", (), v2)


def _parse_own(own: bytes) -> dict[tuple[str, ...], str]:
    """Return controllers -> path of /proc/self/cgroup; the key of cgroup2 is empty."""
    groups: dict[tuple[str, ...], str] = {}
    for line in own.splitlines():
        number, controllers, path = os.fsdecode(line).split(":", 2)
        groups[() if number == "0" and not controllers else tuple(controllers.split(","))] = path
    return groups


def groups_of(pid: int) -> dict[tuple[str, ...], str]:
    """Return controllers -> path of a process's cgroups; the key of cgroup2 is empty. Raises HostError."""
    return _parse_own(_read(f"/proc/{pid}/cgroup"))


def _hierarchy(fields: list[bytes], groups: dict[tuple[str, ...], str]) -> Hierarchy | None:
    """Return what a line of mountinfo mounts, or None where it is a hierarchy that the caller is not in."""
    rest = fields[6:]
    kind, _, options = rest[rest.index(b"-") + 1 :]
    controllers: tuple[str, ...] = ()
    if kind == b"cgroup":
        given = set(os.fsdecode(options).split(","))  # mixed with options such as xattr and release_agent=
        match = [names for names in groups if names and given.issuperset(names)]
        if not match:
            return None
        controllers = match[0]
    return Hierarchy(
        controllers=controllers,
        mountpoint=unescape(fields[4]),
        root=unescape(fields[3]),
        own=groups.get(controllers, "/"),
    )


def _visible(mountinfo: bytes) -> list[list[bytes]]:
    """Return the fields of the cgroup mounts that a path can reach, in the order of the table.

    A mount is hidden when another one, mounted on one of its ancestors at a path that leads to it, is none of
    its ancestors itself. The order alone does not tell: switch_root moves old mounts below a newer root.
    """
    if b" - cgroup" not in mountinfo:
        return []
    lines = mountinfo.splitlines()
    found = [line.split(b" ") for line in lines if b" - cgroup" in line]
    found = [fields for fields in found if fields[fields.index(b"-") + 1] in {b"cgroup", b"cgroup2"}]
    prefixes: set[bytes] = set()
    for fields in found:
        prefixes.update(_prefixes(fields[4]))
    parents: dict[bytes, bytes] = {}
    covers: dict[bytes, list[bytes]] = {}
    for line in lines:
        number, parent, _, _, point, _ = line.split(b" ", 5)
        parents[number] = parent
        if point in prefixes:
            covers.setdefault(point, []).append(number)
    return [fields for fields in found if not _is_hidden(fields, parents, covers)]


def _prefixes(point: bytes) -> list[bytes]:
    """Return a path and all above it."""
    found = [b"/"]
    while len(point) > 1:
        found.append(point)
        point = point.rpartition(b"/")[0]
    return found


def _is_hidden(fields: list[bytes], parents: dict[bytes, bytes], covers: dict[bytes, list[bytes]]) -> bool:
    chain: set[bytes] = set()
    number: bytes | None = fields[0]
    while number is not None and number not in chain:
        chain.add(number)
        number = parents.get(number)
    for point in _prefixes(fields[4]):
        for other in covers.get(point, ()):
            if other not in chain and parents[other] in chain:
                return True
    return False


def unescape(field: bytes) -> str:
    r"""Decode a path of mountinfo: blank, tab, newline and backslash stand as \040, \011, \012 and \134."""
    if b"\\" not in field:
        return os.fsdecode(field)
    first, *rest = field.split(b"\\")
    return os.fsdecode(first + b"".join([bytes([int(part[:3], 8)]) + part[3:] for part in rest]))


def parse_proc_mounts(mountinfo: bytes) -> tuple[str, ...]:
    """Return the mount points of every proc and sysfs of which all is visible, deepest first."""
    points = []
    for line in mountinfo.splitlines():
        if b" - proc " in line or b" - sysfs " in line:
            fields = line.split(b" ")
            if fields[3] == b"/":
                points.append(unescape(fields[4]))
    points.sort(key=lambda point: point.count("/"), reverse=True)
    return tuple(points)


def find_resctrl(proc: str = "/proc") -> str:
    """Return where the whole of resctrl is mounted, "" when it is not. Raises HostError."""
    for line in _read(f"{proc}/self/mountinfo").splitlines():
        fields = line.split(b" ")
        if b" - resctrl " in line and fields[3] == b"/":
            return unescape(fields[4])
    return ""


# A recorded host, for `pyrunc plan --save-host FILE` and `--host FILE`.


def to_dict(host: Host) -> dict[str, object]:
    """Return the facts as what JSON can hold."""
    facts: dict[str, object] = dict(host.__dict__)
    facts["kernel"] = list(host.kernel)
    facts["rlimits"] = {str(number): list(pair) for number, pair in host.rlimits.items()}
    facts["proc_mounts"] = list(host.proc_mounts)
    facts["lsm"] = list(host.lsm)
    if not host.lsm:
        del facts["lsm"]
    if host.setgroups:
        facts.pop("setgroups", None)  # only its absence is worth a line
    layout = host.cgroup
    facts["cgroup"] = {
        "mode": layout.mode,
        "v1": [_hierarchy_to_dict(hierarchy) for hierarchy in layout.v1],
        "v2": None if layout.v2 is None else _hierarchy_to_dict(layout.v2),
    }
    return facts


def _hierarchy_to_dict(hierarchy: Hierarchy) -> dict[str, object]:
    return {**hierarchy.__dict__, "controllers": list(hierarchy.controllers)}


def from_dict(facts: object) -> Host:
    """Return the Host of what `to_dict` made; anybody may have edited it since. Raises SpecError."""
    table = _expect(facts, dict, "", "an object")
    kernel = _numbers(table, "kernel", 2)
    rlimits = _expect(table.get("rlimits"), dict, "rlimits", "an object")
    modules = _expect(table.get("lsm", []), list, "lsm", "an array")
    points = _expect(table.get("proc_mounts", []), list, "proc_mounts", "an array")
    return Host(
        kernel=(kernel[0], kernel[1]),
        in_userns=_expect(table.get("in_userns"), bool, "in_userns", "true or false"),
        rlimits={_rlimit_number(key): _rlimit_pair(rlimits, key) for key in rlimits},
        cgroup=_layout_from(_expect(table.get("cgroup"), dict, "cgroup", "an object")),
        proc_mounts=tuple([_path(point, f"proc_mounts[{index}]") for index, point in enumerate(points)]),
        lsm=tuple([_expect(name, str, "lsm", "a name") for name in modules]),
        setgroups=_expect(table.get("setgroups", True), bool, "setgroups", "true or false"),
        **{name: _number(table.get(name), name) for name in _NUMBERS},
    )


_NUMBERS = ("euid", "egid", "umask", "effective", "bounding", "last_cap")


def _fault(at: str, message: str) -> SpecError:
    return SpecError([Fault(at or "host", message)])


def _expect(value: object, kind: type[_T], at: str, expected: str) -> _T:
    if type(value) is not kind:  # not isinstance: true is no number
        raise _fault(at, f"expected {expected}")
    return value


def _number(value: object, at: str) -> int:
    number = _expect(value, int, at, "a whole number")
    if not 0 <= number <= RLIM_INFINITY:
        raise _fault(at, "expected a whole number of 0 to 2^64 - 1")
    return number


def _numbers(table: dict[str, object], at: str, count: int, name: str = "") -> list[int]:
    values = _expect(table.get(name or at), list, at, "an array")
    if len(values) != count:
        raise _fault(at, f"expected {count} numbers")
    return [_number(value, at) for value in values]


def _rlimit_number(key: str) -> int:
    if not (key.isascii() and key.isdecimal() and len(key) < 4):
        raise _fault(f'rlimits["{key}"]', "expected a number as key")
    return int(key)


def _rlimit_pair(rlimits: dict[str, object], key: str) -> tuple[int, int]:
    soft, hard = _numbers(rlimits, f'rlimits["{key}"]', 2, key)
    return soft, hard


def _path(value: object, at: str) -> str:
    path = _expect(value, str, at, "a string")
    if not path.startswith("/"):
        raise _fault(at, "expected an absolute path")
    return path


def _layout_from(table: dict[str, object]) -> CgroupLayout:
    mode = table.get("mode")
    v1 = _expect(table.get("v1"), list, "cgroup.v1", "an array")
    v2 = table.get("v2")
    layout = CgroupLayout(
        mode=_expect(mode, str, "cgroup.mode", "a string"),
        v1=tuple([_hierarchy_from(entry, f"cgroup.v1[{index}]") for index, entry in enumerate(v1)]),
        v2=None if v2 is None else _hierarchy_from(v2, "cgroup.v2"),
    )
    if (layout.mode, bool(layout.v1), v2 is not None) not in _MODES:
        raise _fault("cgroup.mode", 'expected "v1", "hybrid", "v2" or "none", as v1 and v2 beside it are')
    return layout


_MODES = {("v1", True, False), ("hybrid", True, True), ("v2", False, True), ("none", False, False)}


def _hierarchy_from(value: object, at: str) -> Hierarchy:
    table = _expect(value, dict, at, "an object")
    names = _expect(table.get("controllers"), list, f"{at}.controllers", "an array")
    return Hierarchy(
        controllers=tuple([_expect(name, str, f"{at}.controllers", "an array of strings") for name in names]),
        mountpoint=_path(table.get("mountpoint"), f"{at}.mountpoint"),
        root=_path(table.get("root"), f"{at}.root"),
        own=_path(table.get("own"), f"{at}.own"),
    )
