"""AppArmor and SELinux: the label of the program, of its session keyring, and of the file systems that are mounted for it.

What is written goes to /proc/thread-self/attr below the host's /proc, which was opened before the container had anything to
say (CVE-2019-19921, CVE-2025-52881); and it is written by the very process that will become the program.
"""

from __future__ import annotations

from pyrunc import _os as os
from pyrunc.errors import Fault, HostError, SpecError
from pyrunc.plan.kernel import RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.plan.builder import Slot
    from pyrunc.plan.context import Context

UNCONFINED = "unconfined"
APPARMOR, SELINUX, MOUNT = "process.apparmorProfile", "process.selinuxLabel", "linux.mountLabel"
NO_APPARMOR = "apparmor: config provided but apparmor not supported"
NO_SELINUX = "selinux label is specified in config, but selinux is disabled or not supported"
APPLY = "apparmor failed to apply profile: write /proc/thread-self/attr/apparmor/exec"
CONTEXT_TYPE = "run.oci.mount_context_type"
CONTEXT_TYPES = ("context", "fscontext", "defcontext", "rootcontext")
UNLABELLED = frozenset({"proc", "sysfs", "cgroup", "cgroup2"})
"""File systems whose inodes SELinux labels by its own policy: a context option is an error there."""


def check(c: Context) -> None:
    """Raise HostError, with runC's texts, when the host cannot give a label that the config asks for."""
    if profile_of(c) and "apparmor" not in c.host.lsm:
        raise HostError(f"{APPARMOR}: {NO_APPARMOR}")
    for at, label in ((SELINUX, c.process.selinux_label), (MOUNT, c.spec.linux.mount_label)):
        if label and "selinux" not in c.host.lsm:
            raise HostError(f"{at}: {NO_SELINUX}")


def profile_of(c: Context) -> str:
    """Return the AppArmor profile to change to, "" for none; without AppArmor everything is unconfined already."""
    profile = c.process.apparmor_profile or ""
    return "" if profile == UNCONFINED and "apparmor" not in c.host.lsm else profile


def label_keys(c: Context) -> None:
    """Let the keyring that is made next have the label of the program, which could not use it else."""
    if c.process.selinux_label:
        _write(c, "keycreate", c.process.selinux_label, SELINUX)


def unlabel_keys(c: Context) -> None:
    """Let further keyrings have the default label."""
    if c.process.selinux_label:
        _write(c, "keycreate", "", SELINUX)


def label_program(c: Context) -> None:
    """Say which profile and label EXEC shall change to. The kernel asks the policy at that moment."""
    profile = profile_of(c)
    if profile:
        _write(c, "apparmor/exec", f"exec {profile}", APPARMOR)
        c.b.about(APPLY)
    if c.process.selinux_label:
        _write(c, "exec", c.process.selinux_label, SELINUX)


def _write(c: Context, name: str, text: str, at: str) -> None:
    resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS
    file = c.b.open(c.proc(at), f"thread-self/attr/{name}", os.O_WRONLY | os.O_CLOEXEC, at, resolve=resolve)
    if at == APPARMOR:
        c.b.about(APPLY)
    c.b.write(file, text.encode("utf-8", "surrogateescape"), at)


def label_mount(c: Context, fs: Slot, fstype: str) -> None:
    """Give a new file system the label of linux.mountLabel, where one may be given."""
    if fstype in UNLABELLED or (fstype == "mqueue" and "ipc" not in c.made):
        return  # the mqueue of an IPC namespace that others have is theirs to label
    label = c.spec.linux.mount_label
    if label:
        c.b.set_string(fs, context_type(c), label, MOUNT)


def context_type(c: Context) -> str:
    """Return the mount option that carries the label; crun's annotation may choose another."""
    kind = c.spec.annotations.get(CONTEXT_TYPE, CONTEXT_TYPES[0])
    if kind not in CONTEXT_TYPES:
        raise SpecError(
            [Fault(f"annotations.{CONTEXT_TYPE}", f'"{kind}": one of {", ".join(CONTEXT_TYPES)}')]
        )
    return kind
