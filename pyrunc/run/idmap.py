"""Write a new user namespace's id maps, as the one who may: ourselves, or newuidmap(1) and newgidmap(1).

See user_namespaces(7). root writes the files. Anyone else may write a single line that maps their own id, and only after
setgroups was denied; more lines need the set-user-ID helpers and ranges in /etc/subuid and /etc/subgid.
"""

from __future__ import annotations

from errno import EPERM

from pyrunc import _os as os
from pyrunc.consts import IGNORED
from pyrunc.errors import HostError, OpError, strerror
from pyrunc.plan.namespaces import setgroups_denied

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pyrunc.host import Host
    from pyrunc.spec.model import IDMapping

HELPER_DIRS = ("/usr/bin", "/usr/local/bin", "/bin", "/usr/sbin", "/sbin")


def _own_only(mappings: Sequence[IDMapping], own: int) -> bool:
    return len(mappings) == 1 and mappings[0].size == 1 and mappings[0].host_id == own


def write_maps(
    pid: int, where: str, uids: Sequence[IDMapping], gids: Sequence[IDMapping], host: Host
) -> None:
    """Give the user namespace of `pid` the uid and gid maps of `where`. Raises OpError or HostError naming the mapping."""
    if setgroups_denied(gids, host):
        _write(pid, "setgroups", "deny", f"{where}.gidMappings")
    _write_map(pid, "uid", f"{where}.uidMappings", uids, host)
    _write_map(pid, "gid", f"{where}.gidMappings", gids, host)


def _write_map(pid: int, kind: str, at: str, mappings: Sequence[IDMapping], host: Host) -> None:
    own = host.euid if kind == "uid" else host.egid
    if host.euid == 0 or _own_only(mappings, own):
        lines = "".join(f"{m.container_id} {m.host_id} {m.size}\n" for m in mappings)
        try:
            return _write(pid, f"{kind}_map", lines, at)
        except OpError as error:
            if error.errno != EPERM or not host.in_userns:
                raise
            # root in a user namespace of somebody else's: the ids are not ours to give, the helper may know better
    return _call_helper(pid, kind, mappings, at)


def _write(pid: int, name: str, text: str, at: str) -> None:
    path = f"/proc/{pid}/{name}"
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)
    except OSError as error:
        raise OpError(f"{at}: write {name} {text.strip()!r}", error.errno or EPERM) from None


def find_helper(name: str) -> str:
    """Return the path of newuidmap or newgidmap, "" where it is not installed."""
    return next((path for d in HELPER_DIRS if os.access(path := f"{d}/{name}", os.X_OK)), "")


def _call_helper(pid: int, kind: str, mappings: Sequence[IDMapping], at: str) -> None:
    name = f"new{kind}map"
    path = find_helper(name)
    if not path:
        raise HostError(f"{at}: more than your own id needs {name}: install uidmap (shadow-utils)")
    numbers = [str(n) for m in mappings for n in (m.container_id, m.host_id, m.size)]
    out = os.memfd_create("pyrunc-idmap", os.MFD_CLOEXEC)
    try:
        actions = [(os.POSIX_SPAWN_DUP2, out, 1), (os.POSIX_SPAWN_DUP2, out, 2)]
        # the helper is set-user-ID root: it gets nothing of our environment
        child = os.posix_spawn(
            path,
            [name, str(pid), *numbers],
            {},
            file_actions=actions,
            setpgroup=0,
            setsigmask=(),
            setsigdef=IGNORED,
        )
        status = os.waitpid(child, 0)[1]
        if status:
            said = os.pread(out, 4096, 0).decode(errors="replace").strip().replace("\n", "; ")
            raise HostError(
                f"{at}: {name}: {said or strerror(EPERM)} (see /etc/sub{kind} for the ranges you may use)"
            )
    finally:
        os.close(out)
