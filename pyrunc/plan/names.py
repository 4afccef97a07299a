"""The names of the kernel's numbers, by the types of plan_ops.h: render.py prints them, nothing on the way
of `create` does."""

from __future__ import annotations

import errno

from pyrunc import _os as os
from pyrunc.plan import kernel
from pyrunc.plan.tags import TAG_NAMES
from pyrunc.spec.tables import RLIMITS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

Flags = tuple[tuple[int, str], ...]


def _flags(prefix: str, names: str) -> Flags:
    return tuple((getattr(kernel, prefix + name), name) for name in names.split())


def _open_flags() -> Flags:
    names = "PATH DIRECTORY NOFOLLOW RDWR WRONLY NONBLOCK NOCTTY CREAT EXCL TRUNC APPEND CLOEXEC"
    return tuple((getattr(os, f"O_{name}"), name) for name in names.split())


TABLES: dict[str, Flags] = {
    "open": _open_flags(),
    "resolve": _flags("RESOLVE_", "IN_ROOT BENEATH NO_XDEV NO_MAGICLINKS NO_SYMLINKS"),
    "tree": (
        (kernel.OPEN_TREE_CLONE, "CLONE"), (kernel.AT_RECURSIVE, "RECURSIVE"),
        (kernel.OPEN_TREE_CLOEXEC, "CLOEXEC"),
    ),
    "magic": ((0x9FA0, "PROC"),),
    "how": ((kernel.AT_RECURSIVE, "RECURSIVE"), *_flags("MS_", "UNBINDABLE PRIVATE SLAVE SHARED")),
    "mattr": (
        *_flags("MOUNT_ATTR_", "RDONLY NOSUID NODEV NOEXEC"), (kernel.MOUNT_ATTR__ATIME, "_ATIME"),
        *_flags("MOUNT_ATTR_", "NOATIME STRICTATIME NODIRATIME IDMAP NOSYMFOLLOW"),
    ),
    "clone": tuple(
        (getattr(kernel, f"CLONE_{flag}"), name)
        for flag, name in (
            ("NEWUSER", "user"), ("NEWNS", "mount"), ("NEWPID", "pid"), ("NEWNET", "network"),
            ("NEWIPC", "ipc"), ("NEWUTS", "uts"), ("NEWCGROUP", "cgroup"), ("NEWTIME", "time"),
        )
    ),
    "filter": ((1, "TSYNC"), (2, "LOG"), (4, "SPEC_ALLOW"), (8, "NEW_LISTENER"), (32, "WAIT_KILLABLE_RECV")),
    "umount": ((kernel.MNT_DETACH, "DETACH"), (kernel.UMOUNT_NOFOLLOW, "NOFOLLOW")),
}  # fmt: skip

VALUES: dict[str, Mapping[int, str]] = {
    "fscmd": {0: "SET_FLAG", 1: "SET_STRING", 6: "CREATE"},
    "prctl": {
        getattr(kernel, f"PR_SET_{name}"): name for name in ("DUMPABLE", "KEEPCAPS", "NO_NEW_PRIVS")
    },
    "ioctl": {getattr(kernel, name): name for name in ("SIOCSIFFLAGS", "TIOCSCTTY", "TIOCSWINSZ")},
    "rlimit": {number: name.removeprefix("RLIMIT_") for name, number in RLIMITS.items()},
    "tag": TAG_NAMES,
    "errno": errno.errorcode,
}  # fmt: skip
