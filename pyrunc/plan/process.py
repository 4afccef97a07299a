"""The process: its turns in the conversation, its hooks, its user, its program."""

from __future__ import annotations

from _struct import pack
from errno import EACCES, EBADF, EPERM

from pyrunc.plan import security
from pyrunc.plan.filesystem import fail
from pyrunc.plan.kernel import O_PATH_DIR, PR_SET_KEEPCAPS
from pyrunc.plan.namespaces import may_set_groups
from pyrunc.plan.security import Sets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyrunc.plan.context import Context
    from pyrunc.spec.model import Hook

DEFAULT_PATH = "/bin:/usr/bin"
"""What execvp(3) searches when there is no PATH."""


def meet_parent(c: Context) -> None:
    """The namespaces and mounts exist: the parent sets limits and runs the prestart and createRuntime hooks
    (HK-8, HK-10)."""
    c.b.rpc("prepared", "hooks")


def run_container_hooks(c: Context) -> None:
    """Run the createContainer hooks: programs of the host, in the container's namespaces, before PIVOT
    (HK-11, HK-12)."""
    hooks = c.spec.hooks.create_container
    if hooks:
        c.b.umask(c.host.umask, "hooks.createContainer")  # ours is 0: a hook should have the caller's
        c.b.chdir(c.rootfs, "hooks.createContainer")
        for hook in hooks:
            _run_hook(c, hook, ())


def run_start_hooks(c: Context) -> None:
    """Run the startContainer hooks: programs of the container, as its user, just before the program (HK-13,
    HK-14)."""
    hooks = c.spec.hooks.start_container
    if hooks:
        c.b.rpc("start", "hooks.startContainer")
        for hook in hooks:
            _run_hook(c, hook, c.process.env)


def _run_hook(c: Context, hook: Hook, env: tuple[str, ...]) -> None:
    """The parent gives the state as stdin and a file for the output; then the hook runs, and must succeed."""
    stdio = c.b.rpc_fds("hook", 2, hook.at)
    argv = hook.args or (hook.path,)
    given = env if hook.env is None else hook.env
    c.b.spawn(hook.path, argv, given, (stdio[0], stdio[1]), hook.timeout or 0, hook.at)


def name_host(c: Context) -> None:
    """Set host name and domain name of the UTS namespace, and the umask that the program will have."""
    set_umask(c)
    if c.spec.hostname:
        c.b.hostname(0, c.spec.hostname.encode(), "hostname")
    if c.spec.domainname:
        c.b.hostname(1, c.spec.domainname.encode(), "domainname")


def set_umask(c: Context) -> None:
    """Set the umask that the program will have; without one in the config it is the caller's."""
    umask = c.process.user.umask
    c.b.umask(c.host.umask if umask is None else umask, "process.user.umask")


def become_user(c: Context) -> None:
    """Give up what the program shall not have, in the one order that works.

    The environment first: HOME depends on the container's /etc/passwd, which the parent reads through the
    root's fd. The bounding set needs CAP_SETPCAP; groups, then ids need what the next step drops; capset
    comes after setresuid, which would clear it (KEEPCAPS keeps the permitted set across it); ambient comes
    last, for setresuid clears that as well.
    """
    b, user = c.b, c.process.user
    c.env = b.rpc_fds("env", 1, "process.env", c.root)[0]
    sets = Sets(c)
    at = "process.capabilities"
    security.restrict(c)
    security.filter_privileged(c)
    b.bound(sets.bounding, at)
    retry = _change_directory(c)
    if user.uid:
        b.prctl(PR_SET_KEEPCAPS, 1, at)
    groups = None
    if may_set_groups(c):
        groups = pack(f"={len(user.additional_gids)}I", *user.additional_gids)
    elif user.additional_gids:
        raise fail("process.user.additionalGids", "setgroups is denied in this user namespace")
    # setgroups may be denied in a user namespace that somebody else made
    b.setres(user.uid, user.gid, "process.user", groups=groups, lenient=not groups and "user" in c.joined)
    b.capset(sets.effective, sets.permitted, sets.inheritable, sets.ambient, at)
    if user.uid:
        b.prctl(PR_SET_KEEPCAPS, 0, at)
    if retry:
        retry(c)


def _change_directory(c: Context) -> Callable[[Context], None] | None:
    """Go to the working directory while still root, for the user may have no way to it; return how to try
    again as the user.

    On a file system that refuses root (NFS, FUSE) only the user may enter. A slot says which it was: it is
    closed when root could enter, and the second attempt is skipped when it is empty.
    """
    at, b = "process.cwd", c.b
    if not c.process.user.uid:
        b.chdir(c.process.cwd, at)
        return None
    flag = b.open(c.root, ".", O_PATH_DIR, at)
    b.chdir(c.process.cwd, at)
    guard = b.skip_if(EACCES, EPERM)
    b.close(flag, at)
    b.land(guard)

    def retry(c: Context) -> None:
        c.b.open(flag, ".", O_PATH_DIR, at)
        guard = c.b.skip_if(EBADF)
        c.b.chdir(c.process.cwd, at)
        c.b.land(guard)

    return retry


def get_ready(c: Context) -> None:
    """Find the program, so that a wrong name is an error of create; tell the parent; wait for start."""
    c.b.find(candidates(c.process.args[0], c.process.env), "process.args")
    c.b.about(c.process.args[0])
    c.b.rpc("ready", "process")
    if c.request.wait:
        c.b.wait(c.b.input("listener"), "process")


def candidates(program: str, env: tuple[str, ...]) -> tuple[str, ...]:
    """Return the paths at which execvp(3) would look. Relative entries of PATH mean the image's word, not
    the caller's: none."""
    if "/" in program:
        return (program,)
    path = DEFAULT_PATH
    for entry in env:
        if entry.startswith("PATH="):
            path = entry[5:]  # the last one counts
    found = dict.fromkeys(
        [f"{directory.rstrip('/')}/{program}" for directory in path.split(":") if directory[:1] == "/"]
    )
    return tuple(found) or ("",)  # nothing is found at an empty path


def close_all(c: Context) -> None:
    """Close every descriptor that is not the program's (CVE-2024-21626); a limit on them may come only after that."""
    c.b.closefrom(3 + c.request.preserve_fds, "process")


def execute(c: Context) -> None:
    """Become the program."""
    c.b.exec(candidates(c.process.args[0], c.process.env), c.process.args, c.env, "process.args")
    c.b.about(c.process.args[0])
