"""What the process may do: session keyring, no_new_privs, capabilities."""

from __future__ import annotations

from errno import ENOSYS

from pyrunc.plan.builder import NONE
from pyrunc.plan.kernel import PR_SET_NO_NEW_PRIVS
from pyrunc.spec.tables import CAPABILITIES

LANDLOCK = "org.pyrunc.landlock"
LANDLOCK_AT = f"annotations.{LANDLOCK}"
"""pyrunc.spec.landlock has the format."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pyrunc.plan.context import Context

KEYRING_PERM = 0x3F1B0000
"""Possessor: everything. User: all but setattr and write; as runc's, so that a process of the container can
search it."""


def join_keyring(c: Context) -> None:
    """Leave the caller's session keyring behind: its keys are not the container's (before anything else
    could use it)."""
    if not c.request.no_new_keyring:
        if c.labelled:
            from pyrunc.plan.labels import label_keys

            label_keys(c)
        c.b.keyctl(f"_ses.{c.request.id}", KEYRING_PERM, "--no-new-keyring")
        c.b.tolerate(ENOSYS)  # a kernel without keys has none to hide
        if c.labelled:
            from pyrunc.plan.labels import unlabel_keys

            unlabel_keys(c)


def check_labels(c: Context) -> None:
    """Refuse labels that this host cannot give."""
    if c.labelled:
        from pyrunc.plan.labels import check

        check(c)


def label_program(c: Context) -> None:
    """Say which AppArmor profile and SELinux label the program gets: before no_new_privs, under which a policy may
    refuse the change."""
    if c.labelled:
        from pyrunc.plan import labels

        labels.label_program(c)


def forbid_new_privileges(c: Context) -> None:
    """Set no_new_privs, which cannot be taken back."""
    if c.process.no_new_privileges:
        c.b.prctl(PR_SET_NO_NEW_PRIVS, 1, "process.noNewPrivileges")


def restrict(c: Context) -> None:
    """Give up by Landlock what the annotation does not allow. After the last mount, which would be refused from then on; with
    no_new_privs set already or with CAP_SYS_ADMIN still there, for one of them is needed; before the seccomp filter, which
    may forbid it."""
    if LANDLOCK in c.spec.annotations:
        c.b.restrict(c.b.rpc_fds("landlock", 1, LANDLOCK_AT, c.root)[0], LANDLOCK_AT)


NEW_LISTENER = 8


def filter_privileged(c: Context) -> None:
    """Load the seccomp filter before any privilege is given up: without no_new_privs that takes CAP_SYS_ADMIN.

    What follows is under the filter: chdir, prctl, setgroups, setresgid, setresuid, capset, newfstatat, faccessat2,
    sendmsg, recvmsg, accept4, ppoll, dup3, fcntl, close, close_range, prlimit64, fstat, mmap, rt_sigaction, rt_sigprocmask
    and execve; a profile that forbids one of them needs noNewPrivileges.
    """
    if not c.process.no_new_privileges:
        _load_filter(c)


def filter_hooks(c: Context) -> None:
    """With no_new_privs the filter comes after the word to start, but before the startContainer hooks: they are the
    container's programs (runC, crun)."""
    if c.process.no_new_privileges and c.spec.hooks.start_container:
        _load_filter(c)


def filter_program(c: Context) -> None:
    """With no_new_privs, and no hooks, the filter is the last thing before EXEC: the one call under it is execve."""
    if not c.filtered:
        _load_filter(c)


def ask_agent_late(c: Context) -> None:
    """Ask for the agent of filter_program before the limits, one of which may be on descriptors."""
    if not c.filtered:
        _ask_agent(c)


def _ask_agent(c: Context) -> None:
    """Ask for a connection to the agent, and for what it is told with the listener."""
    if c.facts.filter and c.facts.filter.flags & NEW_LISTENER and c.agent is None:
        agent, state = c.b.rpc_fds("agent", 2, "linux.seccomp.listenerPath")
        c.agent = (agent, state)


def _load_filter(c: Context) -> None:
    found = c.facts.filter
    if found:
        _ask_agent(c)
        c.filtered = True
        agent, state = c.agent or (NONE, NONE)
        c.b.seccomp(found.flags, found.program, agent, state, "linux.seccomp")


class Sets:
    """The five capability sets as masks, within what can be granted here."""

    __slots__ = ("ambient", "bounding", "effective", "inheritable", "permitted")

    def __init__(self, c: Context) -> None:
        wanted = c.process.capabilities
        self.bounding = self.permitted = self.effective = self.inheritable = self.ambient = 0
        if wanted is None:
            return  # none at all, root or not (runc keeps all of the host's there, crun none)
        granter = _Granter(c)
        self.bounding = granter.mask(wanted.bounding)
        self.permitted = granter.mask(wanted.permitted)
        self.effective = granter.mask(wanted.effective) & self.permitted
        self.inheritable = granter.mask(wanted.inheritable)
        ambient = granter.mask(wanted.ambient)
        # capabilities(7): only what is both permitted and inheritable can be ambient
        self.ambient = ambient & self.permitted & self.inheritable
        granter.tell()
        left = [name for name, number in CAPABILITIES.items() if (ambient & ~self.ambient) >> number & 1]
        if left:  # check warns of the same in the same words, and one of the two is told
            c.b.warn(f"can't raise ambient capability {', '.join(left)}: operation not permitted")


class _Granter:
    """Turns names into masks, and remembers what cannot be granted: a warning, never an error (LP-3,
    LP-4)."""

    def __init__(self, c: Context) -> None:
        self.c = c
        # a user namespace gives its root every capability over it; else the bounding set is the border
        self.available = (2 << c.host.last_cap) - 1
        if not c.userns:
            self.available &= c.host.bounding
        self.refused: dict[str, None] = {}

    def mask(self, names: Iterable[str]) -> int:
        result = 0
        for name in names:
            number = CAPABILITIES.get(name, -1)
            if number < 0 or not self.available >> number & 1:
                self.refused[name] = None
            else:
                result |= 1 << number
        return result

    def tell(self) -> None:
        if self.refused:
            self.c.b.warn(f"ignoring unknown or unavailable capabilities: [{' '.join(self.refused)}]")
