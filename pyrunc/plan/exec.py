"""The plan of one more process in a container that lives already: the table of contents of `exec`.

The stages are those of `create` wherever they can be. What the config asks to make is there, so every namespace in it is
one to join, all of them by a single setns(2) on the pidfd of the container's first process: no path is opened, so none can
have been swapped, and the kernel joins them in the one order that works.
"""

from __future__ import annotations

from pyrunc.plan import console, namespaces, process, resources, security
from pyrunc.plan.builder import CWD, ROOT_CHROOT
from pyrunc.plan.context import Context
from pyrunc.plan.kernel import O_PATH_DIR, PR_SET_DUMPABLE
from pyrunc.spec.tables import NAMESPACES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.host import Host
    from pyrunc.plan.ops import Plan
    from pyrunc.plan.request import Facts, Request
    from pyrunc.spec.model import Spec


def compile_exec(spec: Spec, host: Host, request: Request, facts: Facts) -> Plan:
    """Lower `spec`, whose process is the one to run, to the operations that bring it into the container of `request`."""
    c = Context(spec, host, request, facts, inside=True)
    security.check_labels(c)
    namespaces.join_cgroup(c)
    resources.open_proc(c)
    resources.adjust_oom_score(c)
    resources.raise_rlimits(c)
    _enter(c)
    security.join_keyring(c)
    _find_root(c)
    console.start_session(c)
    process.set_umask(c)
    security.label_program(c)
    security.forbid_new_privileges(c)
    resources.schedule(c)
    process.become_user(c)
    process.get_ready(c)
    process.close_all(c)
    security.ask_agent_late(c)
    resources.limit(c)
    security.filter_program(c)
    process.execute(c)
    return c.b.finish()


def has_own_root(spec: Spec) -> bool:
    """Tell whether the container's root is that of a mount namespace of its own. Else its first process has changed root,
    and so must this one."""
    return any(namespace.type == "mount" and not namespace.path for namespace in spec.linux.namespaces)


def _enter(c: Context) -> None:
    """Join all namespaces of the container.

    Its first process may be hostile, and sees us from the moment of the join: exe, fds and memory are out of its reach
    before that (CVE-2016-9962). The fork puts a child into the pid namespace; the one that joined leaves.
    """
    at = namespaces.ALL
    init, root = c.b.input("init"), None if has_own_root(c.spec) else c.b.input("root")
    c.b.prctl(PR_SET_DUMPABLE, 0, at)
    flags = 0
    for kind in c.joined:
        flags |= NAMESPACES[kind].flag
    if flags:
        c.b.setns(init, flags, at)
        c.b.about(" ".join(c.joined))
    if "user" in c.joined:
        namespaces.become_root(c, at)
    if "pid" in c.joined:
        c.b.fork(at)
    if root is not None:
        c.root = root


def _find_root(c: Context) -> None:
    """Take hold of the container's root: setns(2) has brought us to that of its mount namespace."""
    if has_own_root(c.spec):
        c.root = c.b.open(CWD, "/", O_PATH_DIR, "root.path")
    else:
        c.b.pivot(c.root, ROOT_CHROOT, "root.path")
