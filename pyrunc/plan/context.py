"""What the stages of compile.py share: the inputs, the builder, the few slots that live long, and what
follows from them."""

from __future__ import annotations

from pyrunc.plan.builder import CWD, Builder
from pyrunc.plan.kernel import CLONE_NEWCGROUP, CLONE_NEWTIME, O_PATH, O_PATH_DIR
from pyrunc.spec.tables import NAMESPACES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.host import Host
    from pyrunc.plan.builder import Slot
    from pyrunc.plan.request import Facts, Request
    from pyrunc.spec.model import Namespace, Process, Spec


class Context:
    """One compilation."""

    def __init__(
        self, spec: Spec, host: Host, request: Request, facts: Facts, *, inside: bool = False
    ) -> None:
        """`inside`: the container is there, with all the namespaces of the config; they are to be joined."""
        assert spec.root is not None
        assert spec.process is not None
        self.spec = spec
        self.host = host
        self.request = request
        self.facts = facts
        self.inside = inside
        self.process: Process = spec.process
        self.made: dict[str, Namespace] = {}
        """Namespaces to make, by type."""
        self.joined: dict[str, Namespace] = {}
        """Namespaces to join, by type."""
        for namespace in spec.linux.namespaces:
            (self.joined if namespace.path or inside else self.made)[namespace.type] = namespace
        path = spec.root.path
        self.rootfs = path if path.startswith("/") else f"{request.bundle}/{path}"
        self.userns = "user" in self.made or "user" in self.joined
        self.mountns = "mount" in self.made or "mount" in self.joined
        self.labelled = bool(
            self.process.apparmor_profile or self.process.selinux_label or spec.linux.mount_label
        )
        """The config has labels of a security module; few have."""
        self.b = Builder(self._clone_flags(), request.preserve_fds)
        self.root: Slot
        """The container's root, from rootfs.prepare on."""
        self.slash: Slot
        """The root of the host's tree as the container's mount namespace has it (with one only)."""
        self.mask: Slot
        """An empty read-only tmpfs, mounted; what covers directories."""
        self.env: Slot
        """The environment that EXEC reads, once the parent has sent it."""
        self.filtered = False
        """The seccomp filter is on."""
        self.agent: tuple[Slot, Slot] | None = None
        """The connection to the seccomp agent and what it is told, once asked for."""
        self.delayed: list[tuple[Slot, str]] = []
        """Mounts, with their origins, that become read-only once everything below them is made."""
        self._proc: Slot | None = None
        self._null: Slot | None = None

    def _clone_flags(self) -> int:
        """Return the namespaces that the executor may be spawned into.

        With a user namespace it must not be: execve with an unmapped uid 0 drops every capability
        (architecture.md, section 5). The time namespace holds for children only; the cgroup namespace must
        come after the join.
        """
        if self.userns or "pid" in self.joined or "time" in self.made:
            return 0
        flags = 0
        for kind in self.made:
            flags |= NAMESPACES[kind].flag
        return flags & ~(CLONE_NEWCGROUP | CLONE_NEWTIME)

    def has(self, kind: str) -> bool:
        """Tell whether the container has its own namespace of a type, new or joined."""
        return kind in self.made or kind in self.joined

    def proc(self, at: str) -> Slot:
        """Return the host's /proc: what the runtime writes below /proc must never go through the
        container's (CVE-2025-52881)."""
        if self._proc is None:
            self._proc = self.b.open(CWD, "/proc", O_PATH_DIR, at)
        return self._proc

    def null(self, at: str) -> Slot:
        """Return the host's /dev/null. The container's might be anything (CVE-2025-31133)."""
        if self._null is None:
            self._null = self.b.open(CWD, "/dev/null", O_PATH, at)
        return self._null


def relative(path: str) -> str:
    """Return a path of the container relative to its root, without ".", ".." and empty components; "" for
    the root."""
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del parts[-1:]
        elif part and part != ".":
            parts.append(part)
    return "/".join(parts)
