"""What this host can do for containers, what it cannot, and why: for `pyrunc check`, never for a plan.

Each look is a generator of findings. It reads what the kernel and the distribution say of themselves below `Place.top`, so a
test can put a tree of its own there; it changes nothing, and a file that is missing is an answer.
"""

from __future__ import annotations

from pyrunc import _os as os
from pyrunc import host
from pyrunc._record import record
from pyrunc.errors import HostError, PyruncError
from pyrunc.spec.tables import CAPABILITIES, NAMESPACES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@record
class Finding:
    """One thing that a container may need."""

    what: str
    able: bool
    why: str = ""
    """Where it is missing the reason, and where one can do something about it, what; else a detail worth knowing."""
    vital: bool = False
    """Without it there are no containers at all."""


@record
class Place:
    """The host under survey."""

    top: str = ""
    """What stands before every path; "" for this host."""
    uid: int = 0
    release: str = ""
    path: str = ""
    """Where programs are looked for, as $PATH."""

    def read(self, path: str) -> str | None:
        """Return a small file's text without blanks around it, None where it cannot be read."""
        try:
            with open(f"{self.top}{path}", "rb", buffering=0) as file:
                return (file.read(1 << 20) or b"").decode(errors="replace").strip()
        except OSError:  # whatever the reason: what nobody can ask, nobody can tell
            return None

    def has(self, path: str) -> bool:
        """Tell whether there is such a file."""
        return os.path.exists(f"{self.top}{path}")

    def program(self, name: str) -> str:
        """Return the path of a program, "" where it is not installed."""
        found = [f"{folder}/{name}" for folder in self.path.split(":") if folder]
        return next((path for path in found if os.access(f"{self.top}{path}", os.X_OK)), "")


def look_at_kernel(place: Place) -> Iterator[Finding]:
    """Tell about the version, and what an administrator can switch off."""
    try:
        host.parse_release(place.release)
        yield Finding(f"Linux {place.release}", able=True, vital=True)
    except HostError as error:
        yield Finding(f"Linux {place.release}", able=False, why=str(error), vital=True)
    mode = place.read("/proc/sys/vm/memfd_noexec") or "0"
    why = "sysctl vm.memfd_noexec is 2: another file, not in memory, is used" if mode == "2" else ""
    yield Finding("an executor in sealed memory", able=mode != "2", why=why)
    files = (place.read("/proc/filesystems") or "").split()
    for name, needed_by in (
        ("tmpfs", "/dev, /dev/shm"),
        ("devpts", "terminals"),
        ("proc", "/proc"),
        ("sysfs", "/sys"),
        ("mqueue", "/dev/mqueue"),
        ("overlay", "images of container engines"),
    ):
        why = (
            needed_by if name in files else f"not in this kernel, or a module that is not loaded: {needed_by}"
        )
        yield Finding(f"file system {name}", able=name in files, why=why)
    has = place.has("/proc/sys/kernel/keys")
    yield Finding("session keyrings", able=has, why="" if has else "use --no-new-keyring (CONFIG_KEYS)")


def look_at_namespaces(place: Place) -> Iterator[Finding]:
    """Tell which kinds there are, and what forbids to make one."""
    for name, kind in NAMESPACES.items():
        why = _namespace_fault(place, name, kind.file)
        yield Finding(f"{name} namespace", able=not why, why=why, vital=name == "mount")


def _namespace_fault(place: Place, name: str, file: str) -> str:
    if not place.has(f"/proc/self/ns/{file}"):
        return f"/proc/self/ns/{file} is missing: the kernel was built without it"
    if place.read(f"/proc/sys/user/max_{file}_namespaces") == "0":
        return f"sysctl user.max_{file}_namespaces is 0"
    if name == "user" and place.uid:
        if place.read("/proc/sys/kernel/unprivileged_userns_clone") == "0":
            return "sysctl kernel.unprivileged_userns_clone is 0: only root may make one"
        if place.read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1":
            return (
                "sysctl kernel.apparmor_restrict_unprivileged_userns is 1: an ordinary user's has no rights"
            )
    return ""


CONTROLLERS = (
    ("cpu", "cpu", "CPU time"),
    ("cpuset", "cpuset", "processors and memory nodes"),
    ("memory", "memory", "memory"),
    ("pids", "pids", "numbers of processes"),
    ("blkio", "io", "block I/O"),
    ("hugetlb", "hugetlb", "huge pages"),
    ("rdma", "rdma", "RDMA"),
)
"""A controller's name on v1, on v2, and what it limits."""
ONLY_V1 = (("devices", "access to devices"), ("freezer", "pause"))
"""What cgroup v2 does without a controller."""


def look_at_cgroups(place: Place) -> Iterator[Finding]:
    """Tell which hierarchy is mounted, which limits can be set in it, and by whom."""
    table, own = place.read("/proc/self/mountinfo") or "", place.read("/proc/self/cgroup") or ""
    layout = host.parse_layout(table.encode(), own.encode())
    mounted = layout.mode != "none"
    yield Finding(
        f"cgroups ({layout.mode})", able=mounted, why="" if mounted else "none is mounted: no limits at all"
    )
    if not mounted:
        return
    v2 = layout.v2
    unified = (
        (place.read(f"{v2.mountpoint}{v2.own.rstrip('/')}/cgroup.controllers") or "").split() if v2 else []
    )
    if v2 and layout.mode == "v2" and not unified:
        unified = (place.read(f"{v2.mountpoint}/cgroup.controllers") or "").split()
    legacy = [name for hierarchy in layout.v1 for name in hierarchy.controllers]
    for old, new, limited in CONTROLLERS:
        able = old in legacy or (layout.mode == "v2" and new in unified)
        beside = (
            "it is cgroup2's, beside v1 controllers: not used"
            if new in unified
            else "no such controller here"
        )
        yield Finding(f"limits of {limited}", able=able, why="" if able else beside)
    for name, limited in ONLY_V1:
        if layout.mode != "v2":
            why = "" if name in legacy else f"no v1 hierarchy of {name} is mounted"
            yield Finding(limited, able=not why, why=why)
    top = v2 if layout.mode == "v2" and v2 else layout.v1[0]
    directory = f"{top.mountpoint}{top.own if top.root == '/' else ''}".rstrip("/")
    able = os.access(f"{place.top}{directory}", os.W_OK)
    why = "" if able else f"{directory} is not yours: limits need a delegated cgroup (docs/rootless.md)"
    yield Finding("new cgroups", able=able, why=why)


def look_at_ids(place: Place) -> Iterator[Finding]:
    """Tell which ids a user namespace could have."""
    if place.uid == 0:
        whole = (place.read("/proc/self/uid_map") or "").split() == ["0", "0", "4294967295"]
        why = "" if whole else "in a user namespace: only those that are mapped into it"
        yield Finding("any user and group id", able=whole, why=why)
        return
    for kind in ("uid", "gid"):
        helper, lines = place.program(f"new{kind}map"), (place.read(f"/etc/sub{kind}") or "").splitlines()
        names = {str(place.uid), _user_name(place)}
        count = sum(int(line.split(":")[2]) for line in lines if line.split(":")[0] in names)
        why = "" if helper and count else f"new{kind}map is not installed (package uidmap)"
        why = (
            f"/etc/sub{kind} has no range for you (usermod --add-sub{kind}s)" if helper and not count else why
        )
        yield Finding(f"{kind}s beside your own", able=not why, why=why or f"{count} of /etc/sub{kind}")


def _user_name(place: Place) -> str:
    rows = [line.split(":") for line in (place.read("/etc/passwd") or "").splitlines()]
    return next((row[0] for row in rows if row[2:3] == [str(place.uid)]), "")


CONSEQUENCES = {
    "CAP_SYS_ADMIN": "no mounts and namespaces without a user namespace",
    "CAP_SYS_RESOURCE": "hard limits cannot be raised above your own",
    "CAP_MKNOD": "devices are bound from the host",
    "CAP_NET_ADMIN": "no network devices can be moved, no loopback brought up",
    "CAP_SETUID": "no other user ids",
    "CAP_SETGID": "no other group ids",
    "CAP_CHOWN": "no other owners",
    "CAP_SYS_NICE": "no real-time scheduling, and no classes of I/O priority",
}
"""What lacks besides the capability itself, which no container can be given."""


def look_at_capabilities(place: Place) -> Iterator[Finding]:
    """Tell which capabilities the caller lacks; for an ordinary user those that even set-user-ID programs lack."""
    status = place.read("/proc/self/status")
    if status is None:
        return
    _umask, _effective, bounding = host.parse_status(f"\n{status}\n".encode())
    last = int(place.read("/proc/sys/kernel/cap_last_cap") or len(CAPABILITIES) - 1)
    lacking = [name for name, number in CAPABILITIES.items() if number <= last and not bounding >> number & 1]
    if not lacking:
        yield Finding("every capability", able=True)
    for name in lacking:
        yield Finding(name, able=False, why=CONSEQUENCES.get(name, "no container can have it"))


def look_at_security(place: Place) -> Iterator[Finding]:
    """Tell about seccomp and the security modules."""
    actions = (place.read("/proc/sys/kernel/seccomp/actions_avail") or "").split()
    yield Finding(
        "seccomp filters", able=bool(actions), why="" if actions else "a kernel without CONFIG_SECCOMP_FILTER"
    )
    notify = "user_notif" in actions
    yield Finding(
        "seccomp agents (SCMP_ACT_NOTIFY)", able=notify, why="" if notify else "the kernel has no user_notif"
    )
    yield _libseccomp()
    modules = (place.read("/sys/kernel/security/lsm") or "").split(",")
    apparmor = place.read("/sys/module/apparmor/parameters/enabled") == "Y"
    yield Finding(
        "AppArmor profiles", able=apparmor, why="" if apparmor else "AppArmor is not on in this kernel"
    )
    selinux = " - selinuxfs " in (place.read("/proc/self/mountinfo") or "")
    yield Finding(
        "SELinux labels", able=selinux, why="" if selinux else "SELinux is not on: selinuxfs is not mounted"
    )
    yield _landlock(listed="landlock" in modules)


def _libseccomp() -> Finding:
    from pyrunc.seccomp.library import version_text

    try:
        return Finding("seccomp profiles", able=True, why=f"libseccomp {version_text()}")
    except HostError as error:
        return Finding("seccomp profiles", able=False, why=str(error).removeprefix("linux.seccomp: "))


def _landlock(*, listed: bool) -> Finding:
    from pyrunc import sys

    try:
        return Finding("Landlock", able=True, why=f"version {sys.landlock_version()} of its interface")
    except OSError:  # ENOSYS or EOPNOTSUPP: both mean that it is not there
        why = "switched off at boot (lsm=)" if not listed else "a kernel without CONFIG_SECURITY_LANDLOCK"
        return Finding("Landlock", able=False, why=why)


def look_at_extras(place: Place) -> Iterator[Finding]:
    """Tell about what only some containers want."""
    mounted = " - resctrl " in (place.read("/proc/self/mountinfo") or "")
    why = (
        ""
        if mounted
        else "no resctrl file system is mounted: a processor without it, or nobody has mounted it"
    )
    yield Finding("shares of cache and memory bandwidth (intelRdt)", able=mounted, why=why)
    criu = place.program("criu")
    fault = _judge_criu(f"{place.top}{criu}") if criu else "criu is not installed"
    yield Finding("criu, for checkpoint and restore", able=not fault, why=fault or criu)
    ps = place.program("ps")
    yield Finding("the table of `ps`", able=bool(ps), why=ps or "ps is not installed (package procps)")


def _judge_criu(path: str) -> str:
    """Return what criu itself says that it cannot do with this kernel, "" when it can; it asks for root."""
    import subprocess

    from pyrunc.run.criu import surroundings

    command = [path, "check"]
    try:
        done = subprocess.run(  # noqa: S603  # what the administrator's $PATH holds
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=20,
            check=False,
            env=surroundings(),
            process_group=0,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{path} check: {error}"
    words = [line.partition("): ")[2] for line in done.stderr.splitlines() if "Error (" in line]
    return "" if not done.returncode else f"{path} check: {words[-1] if words else 'failed'}"


SECTIONS: tuple[tuple[str, Callable[[Place], Iterator[Finding]]], ...] = (
    ("kernel", look_at_kernel),
    ("namespaces", look_at_namespaces),
    ("cgroups", look_at_cgroups),
    ("user ids", look_at_ids),
    ("capabilities", look_at_capabilities),
    ("security", look_at_security),
    ("extras", look_at_extras),
)


def survey(place: Place) -> dict[str, list[Finding]]:
    """Return the findings by section. What fails unforeseen is a finding, too: a report must not end half-way."""
    found: dict[str, list[Finding]] = {}
    for name, look in SECTIONS:
        found[name] = []
        try:
            found[name].extend(look(place))
        except (OSError, ValueError, PyruncError) as error:
            found[name].append(Finding(name, able=False, why=f"cannot be told: {error}"))
    return found
