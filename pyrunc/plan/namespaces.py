"""Namespaces: joined by SETNS, made by the spawn itself or by UNSHARE.

Where the spawn makes them (Context._clone_flags), this stage only joins. Everything else is a matter of who
owns what: a process may join or make a namespace only with CAP_SYS_ADMIN in the user namespace that owns
it.
"""

from __future__ import annotations

from errno import EBADF, EPERM

from pyrunc import _os as os
from pyrunc.plan.kernel import (
    CLONE_NEWUSER,
    PR_SET_DUMPABLE,
    RESOLVE_BENEATH,
    RESOLVE_NO_MAGICLINKS,
)
from pyrunc.spec.tables import NAMESPACES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyrunc.host import Host
    from pyrunc.plan.context import Context
    from pyrunc.spec.model import IDMapping, Namespace

ALL = "linux.namespaces"


def join_cgroup(c: Context) -> None:
    """Join the cgroups: first of all, so that no child is left outside and a cgroup namespace has its root
    there.

    On v1 we move ourselves, by a 0 in each `tasks` file. A single thread that moves itself need not take
    the lock of all thread groups; when anyone else writes our pid the kernel waits for an RCU grace period,
    10 ms and more (cgroup_procs_write_start in kernel/cgroup/cgroup.c). On v2 the spawn has put us there.
    The parent does what is left.
    """
    for path in c.facts.cgroup_tasks:
        c.b.write(c.b.input(f"cgroup:{path}"), b"0", "linux.cgroupsPath")
        c.b.about(path)
    c.b.rpc("join", "linux.cgroupsPath")
    if c.spec.linux.intel_rdt is not None:
        from pyrunc.plan.resctrl import join_class

        join_class(c, c.spec.linux.intel_rdt)
    c.b.umask(0, "process.user.umask")  # modes are what the plan says until the program's own umask is set


def enter(c: Context) -> None:
    """Join what is to be joined, make what is to be made."""
    if c.b.clone_flags or c.joined:
        # before any foreign process sees us: exe, fd and root in /proc are out of its reach (CVE-2016-9962)
        c.b.prctl(PR_SET_DUMPABLE, 0, ALL)
    later = _join_before_user(c)
    if "user" in c.joined:
        _join(c, c.joined["user"])
        become_root(c, c.joined["user"].at)
    if "user" in c.made:
        _make_user(c)
    for namespace in later:
        _join_again(c, namespace)
    _unshare(c)
    if not c.b.clone_flags and not c.joined:
        c.b.prctl(PR_SET_DUMPABLE, 0, ALL)
    if _must_fork(c):
        c.b.fork(ALL)


def setgroups_denied(gids: Sequence[IDMapping], host: Host) -> bool:
    """Tell whether setgroups(2) must be given up: an ordinary user who maps no group but their own
    (user_namespaces(7))."""
    return host.euid != 0 and len(gids) == 1 and gids[0].size == 1 and gids[0].host_id == host.egid


KEEP_GROUPS = "run.oci.keep_original_groups"
"""crun's annotation: the process has the caller's groups (podman's --group-add keep-groups), mapped or not."""


def may_set_groups(c: Context) -> bool:
    """Tell whether setgroups(2) is possible in the container's user namespace, and wanted."""
    if KEEP_GROUPS in c.spec.annotations:
        return False
    if "user" not in c.joined and not c.host.setgroups:
        return False
    return not ("user" in c.made and setgroups_denied(c.spec.linux.gid_mappings, c.host))


def _join(c: Context, namespace: Namespace) -> None:
    c.b.setns(c.b.input(f"ns:{namespace.at}"), NAMESPACES[namespace.type].flag, namespace.at)
    c.b.about(namespace.path or "")


def _join_before_user(c: Context) -> list[Namespace]:
    """Join all but the user namespace; return what must be tried again after it.

    The mount namespace comes last, since the others are opened already and it changes the root. Where a
    user namespace is joined as well, the others may belong to it: then we are not privileged over them yet,
    and EPERM leaves them for later.
    """
    others = [namespace for kind, namespace in c.joined.items() if kind not in {"user", "mount"}]
    if "mount" in c.joined:
        others.append(c.joined["mount"])
    for namespace in others:
        _join(c, namespace)
        if "user" in c.joined:
            guard = c.b.skip_if(EPERM)
            c.b.close(c.b.input(f"ns:{namespace.at}"), namespace.at)
            c.b.land(guard)
    return others if "user" in c.joined else []


def _join_again(c: Context, namespace: Namespace) -> None:
    """Join what was refused before; a slot that is empty by now (EBADF) says that it was not."""
    _join(c, namespace)
    c.b.tolerate(EBADF)


def _make_user(c: Context) -> None:
    """Make the user namespace, let the parent map its ids, become its root."""
    at = c.made["user"].at
    if c.joined:
        c.b.prctl(PR_SET_DUMPABLE, 1, at)  # newuidmap asks who owns /proc/PID
    c.b.unshare(CLONE_NEWUSER, at)
    c.b.rpc("maps", "linux.uidMappings")
    if c.joined:
        c.b.prctl(PR_SET_DUMPABLE, 0, at)
    become_root(c, at)


def become_root(c: Context, at: str) -> None:
    """Take the ids of the user namespace's root, and give up the caller's groups."""
    # whoever made a joined one may have denied setgroups, and then no groups can be meant
    c.b.setres(0, 0, at, groups=b"" if may_set_groups(c) else None, lenient="user" in c.joined)


def _unshare(c: Context) -> None:
    """Make the rest: all at once, owned by the user namespace that we are in by now."""
    flags = 0
    for kind in c.made:
        flags |= NAMESPACES[kind].flag
    flags &= ~(c.b.clone_flags | CLONE_NEWUSER)
    if flags:
        c.b.unshare(flags, ALL)
    if "time" in c.made and c.spec.linux.time_offsets:
        _set_time_offsets(c)


def _set_time_offsets(c: Context) -> None:
    """Write the offsets while the namespace is still empty: we are not in it, our child will be."""
    at = "linux.timeOffsets"
    if c.userns:
        c.b.prctl(
            PR_SET_DUMPABLE, 1, at
        )  # else the file belongs to the host's root, which we are not any more
    resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS
    file = c.b.open(c.proc(at), "self/timens_offsets", os.O_WRONLY | os.O_CLOEXEC, at, resolve=resolve)
    offsets = c.spec.linux.time_offsets
    lines = "".join([f"{clock} {offset.secs} {offset.nanosecs}\n" for clock, offset in offsets.items()])
    c.b.write(file, lines.encode(), at)
    if c.userns and c.joined:
        c.b.prctl(PR_SET_DUMPABLE, 0, at)


def _must_fork(c: Context) -> bool:
    """A pid namespace that was joined or unshared holds for children only, a new time namespace as well."""
    unshared = "pid" in c.made and not c.b.clone_flags
    return "pid" in c.joined or unshared or "time" in c.made
