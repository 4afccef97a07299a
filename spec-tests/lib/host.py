"""Facts of the host that tests depend on, each with the words that a skip shows when it is missing."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import pathlib
import re
import shutil
import subprocess

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNS, MS_BIND, MS_REC, MS_PRIVATE, MS_SHARED, MNT_DETACH = 0x20000, 0x1000, 0x4000, 1 << 18, 1 << 20, 2
CAPS = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
]

CHOSEN = {"driver": "cgroupfs"}  # by --driver, for the whole run


def _call(result: int, what: str) -> None:
    if result:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")


def mount(source: str, target: object, fstype: str = "", flags: int = 0, data: str = "") -> None:
    arguments = [str(x).encode() or None for x in (source, target, fstype)]
    _call(LIBC.mount(*arguments, ctypes.c_ulong(flags), data.encode() or None), f"mount {source} on {target}")


def umount(target: object, flags: int = MNT_DETACH) -> None:
    _call(LIBC.umount2(str(target).encode(), flags), f"umount {target}")


def own_mount_namespace() -> None:
    """Give this process a mount namespace whose changes reach nobody else."""
    _call(LIBC.unshare(CLONE_NEWNS), "unshare the mount namespace")
    mount("none", "/", flags=MS_REC | MS_PRIVATE)


def become_subreaper() -> None:
    """Orphans of runtimes become children of this process, as they do under conmon or a shim."""
    _call(LIBC.prctl(36, 1, 0, 0, 0), "prctl PR_SET_CHILD_SUBREAPER")


def capability_masks(status: str) -> dict[str, int]:
    """The Cap lines of a /proc/PID/status: {"Inh": mask, "Prm": ..., "Eff": ..., "Bnd": ..., "Amb": ...}."""
    return {name: int(value, 16) for name, value in re.findall(r"^Cap(\w+):\s*(\w+)$", status, re.MULTILINE)}


def mask_of(*names: str) -> int:
    return sum(1 << CAPS.index(name.removeprefix("CAP_")) for name in names)


def bounding() -> int:
    return capability_masks(pathlib.Path("/proc/self/status").read_text())["Bnd"]


@functools.cache
def hierarchies() -> dict[str, str]:
    """Controller (or `name=x`, or "" for cgroup2) -> mount point of its hierarchy."""
    found: dict[str, str] = {}
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, rest = line.partition(" - ")
        kind, _, options = rest.split(" ", 2)
        place = fields.split()[4]
        if kind == "cgroup2":
            found.setdefault("", place)
        elif kind == "cgroup":
            for option in options.split(" ")[0].split(",") + options.split(" ")[-1].split(","):
                if option.startswith("name=") or not (
                    option in {"rw", "ro", "xattr", "clone_children"} or "=" in option
                ):
                    found.setdefault(option, place)
    return found


def unified_only() -> bool:
    return set(hierarchies()) == {""}


@functools.cache
def in_userns() -> bool:
    """Whether this is the root of a user namespace below the host's, as with the engines of ordinary users."""
    return pathlib.Path("/proc/self/uid_map").read_text().split() != ["0", "0", str(2**32 - 1)]


def driver_options() -> tuple[str, ...]:
    """What the runtime is told, before every command, of who makes cgroups."""
    return ("--systemd-cgroup",) if CHOSEN["driver"] == "systemd" else ()


def describe() -> str:
    """A few words on this host, for the head of REQUIREMENTS.md."""
    release = ".".join(os.uname().release.split(".")[:2])
    return f"Linux {release} with cgroup {'v2' if unified_only() else 'v1'}"


def cgroup_dirs(name: str) -> set[str]:
    """Every directory in any cgroup hierarchy that has `name` as a part of its own name."""
    found = set()
    for top in set(hierarchies().values()):
        for place, directories, _ in os.walk(top):
            found.update(f"{place}/{d}" for d in directories if name in d)
    return found


def cgroup_of(pid: int, controller: str) -> pathlib.Path:
    """The directory of `pid` in the hierarchy of `controller` ("" is cgroup2)."""
    for line in pathlib.Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        if controller in names.split(","):
            return pathlib.Path(hierarchies()[controller] + path)
    raise LookupError(f"{controller!r} is not in /proc/{pid}/cgroup")


@functools.cache
def kernel() -> tuple[int, int]:
    major, minor = re.match(r"(\d+)\.(\d+)", os.uname().release).groups()
    return int(major), int(minor)


def _has_control_file(controller: str, name: str) -> bool:
    top = hierarchies().get(controller)
    if top is None:
        return False
    if os.path.exists(f"{top}/{name}"):
        return True
    scratch = f"{top}/st-{os.getpid()}-look"
    os.mkdir(scratch)
    try:
        return os.path.exists(f"{scratch}/{name}")
    finally:
        os.rmdir(scratch)


def session_users() -> list[int]:
    """Ordinary users with a systemd of their own, the one with most controllers first."""
    uids = [p.name for p in pathlib.Path("/run/user").glob("*") if (p / "systemd/private").is_socket()]

    def delegated(uid: int) -> list[str]:
        file = pathlib.Path(
            f"/sys/fs/cgroup/user.slice/user-{uid}.slice/user@{uid}.service/cgroup.controllers"
        )
        return file.read_text().split() if file.exists() else []

    return sorted({int(uid) for uid in uids} - {0}, key=lambda uid: (-len(delegated(uid)), uid))


def _apparmor() -> bool:
    file = pathlib.Path("/sys/module/apparmor/parameters/enabled")
    return file.exists() and file.read_text().strip() == "Y"


def _criu_works() -> bool:
    """Ask the criu on our PATH itself."""
    criu = shutil.which("criu")
    return (
        criu is not None
        and not subprocess.run(
            [criu, "check"], check=False, timeout=30, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ).returncode
    )


def _has_link_type(kind: str) -> bool:
    """Try it in a network namespace that goes with the command."""
    command = ["unshare", "-n", "ip", "link", "add", "try0", "type", kind]
    return subprocess.run(command, check=False, timeout=10, stderr=subprocess.DEVNULL).returncode == 0


@functools.cache
def missing(fact: str) -> str | None:
    """None if the host has `fact`, else what a skip says. Facts with an argument: `kind:argument`."""
    kind, _, argument = fact.partition(":")
    present = {
        "root": lambda: os.geteuid() == 0,
        "cgroup-v1": lambda: "memory" in hierarchies() or "pids" in hierarchies(),
        "cgroup-v2": unified_only,
        "cap": lambda: bool(bounding() >> CAPS.index(argument) & 1),
        "no-cap": lambda: not bounding() >> CAPS.index(argument) & 1,
        "kernel": lambda: kernel() >= tuple(int(x) for x in argument.split(".")),
        "file": lambda: os.path.exists(argument),
        "no-file": lambda: not os.path.exists(argument),
        "tool": lambda: shutil.which(argument) is not None,
        "ns": lambda: os.path.exists(f"/proc/self/ns/{argument}"),
        "fs": lambda: re.search(
            rf"\t{argument}$", pathlib.Path("/proc/filesystems").read_text(), re.MULTILINE
        ),
        "resctrl": lambda: os.path.isfile("/sys/fs/resctrl/schemata"),
        "net": lambda: _has_link_type(argument),
        "v1": lambda: (
            _has_control_file(*argument.split("/")) if "/" in argument else argument in hierarchies()
        ),
        "not-v1": lambda: argument not in hierarchies(),
        "systemd": lambda: os.path.isdir("/run/systemd/system"),
        "sessions": lambda: len(session_users()) >= int(argument),
        "cgroupfs": lambda: CHOSEN["driver"] == "cgroupfs",
        "idmap": lambda: kernel() >= (6, 3),
        "devices": lambda: "devices" in hierarchies() or unified_only(),
        "apparmor": lambda: _apparmor() and shutil.which("apparmor_parser") is not None,
        "no-apparmor": lambda: not _apparmor(),
        "criu": _criu_works,
        "cpus": lambda: len(os.sched_getaffinity(0)) >= int(argument),
    }
    words = {
        "root": "real root",
        "cgroup-v1": "a cgroup v1 hierarchy",
        "cgroup-v2": "cgroup v2 alone",
        "cap": f"CAP_{argument} in the bounding set",
        "no-cap": f"a bounding set without CAP_{argument}",
        "kernel": f"Linux {argument}",
        "no-file": f"that {argument} is absent",
        "tool": f"the program {argument}",
        "ns": f"{argument} namespaces in the kernel",
        "fs": f"the file system {argument} in the kernel",
        "resctrl": "a processor with resctrl, mounted on /sys/fs/resctrl",
        "net": f"network devices of type {argument} in the kernel",
        "v1": f"cgroup v1 {argument}",
        "systemd": "systemd as the first process",
        "sessions": f"{argument} ordinary users with a systemd of their own",
        "cgroupfs": "a cgroupsPath that is a path (--driver cgroupfs)",
        "idmap": "id-mapped mounts of tmpfs in the kernel",
        "devices": "cgroup v1 devices or cgroup v2 alone",
        "not-v1": f"that cgroup v1 has no {argument}",
        "apparmor": "AppArmor with its parser",
        "no-apparmor": "a kernel without AppArmor",
        "criu": "a criu that works with this kernel",
        "cpus": f"{argument} processors",
    }
    return None if present[kind]() else words.get(kind, argument)


def device_nodes() -> dict[str, tuple[int, int, int]]:
    """Owner, group and mode of the nodes that standard streams and device binds share with the host."""
    found = {}
    for name in ("null", "zero", "full", "random", "urandom", "tty"):
        with contextlib.suppress(FileNotFoundError):
            node = os.stat(f"/dev/{name}")
            found[f"/dev/{name}"] = (node.st_uid, node.st_gid, node.st_mode)
    return found


def settings() -> dict[str, str]:
    """Settings that belong to the whole host; no container changes one (T12p)."""
    names = (
        "kernel/core_pattern",
        "kernel/hostname",
        "kernel/domainname",
        "kernel/modprobe",
        "kernel/shmmni",
    )
    names += ("kernel/sysrq", "fs/suid_dumpable", "net/ipv4/ip_forward")
    found = {}
    for name in names:
        with contextlib.suppress(OSError):
            found[name] = pathlib.Path("/proc/sys", name).read_text()
    return found


def give_back(nodes: dict[str, tuple[int, int, int]]) -> list[str]:
    """Put owners and modes back to what they were, and say which were changed: the whole host would feel it."""
    changed = {path: now for path, now in device_nodes().items() if now != nodes.get(path, now)}
    for path in changed:
        uid, gid, mode = nodes[path]
        os.chown(path, uid, gid)
        os.chmod(path, mode & 0o7777)
    return [f"owner, group and mode of {path}: {now}" for path, now in changed.items()]
