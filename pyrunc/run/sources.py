"""What the parent makes for the mounts of a container beyond the executor's reach: user namespaces to map ids by,
and clones of sources for a container in a user namespace.

Both take a process in another namespace, for a moment: an executor with a plan of a few operations.
"""

from __future__ import annotations

from pyrunc import _os as os
from pyrunc.plan.builder import Builder
from pyrunc.plan.idmap import clone_mapped, idmap_input
from pyrunc.plan.kernel import CLONE_NEWNS, CLONE_NEWUSER
from pyrunc.plan.options import Options
from pyrunc.run.errand import run_errand
from pyrunc.run.idmap import write_maps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.host import Host
    from pyrunc.spec.model import Mount, Spec


class Sources:
    """The user namespaces of one creation (owned fds, by the names of the plan's inputs), and who asks for clones."""

    def __init__(self, spec: Spec, host: Host, bundle: str) -> None:
        self.spec = spec
        self.host = host
        self.bundle = bundle
        self.namespaces: dict[str, int] = {}

    def close(self) -> None:
        """Close the namespaces: mounts hold them by now."""
        for fd in self.namespaces.values():
            os.close(fd)
        self.namespaces = {}

    def user_namespace(self, name: str) -> int:
        """Return the user namespace of the input `name` ("idmap:mounts[3]"); it stays ours. Raises PyruncError."""
        if name not in self.namespaces:
            mount = self._mount(name.removeprefix("idmap:"))
            self.namespaces[name] = self._make_user_namespace(mount)
        return self.namespaces[name]

    def _mount(self, at: str) -> Mount:
        return next(mount for mount in self.spec.mounts if mount.at == at)

    def _make_user_namespace(self, mount: Mount) -> int:
        """Make a user namespace with the mappings of a mount; nobody stays in it."""
        b = Builder()
        b.unshare(CLONE_NEWUSER, f"{mount.at}.uidMappings")
        b.rpc("maps", f"{mount.at}.uidMappings")
        made: list[int] = []

        def maps(pid: int, _fd: int) -> None:
            write_maps(pid, mount.at, mount.uid_mappings, mount.gid_mappings, self.host)
            made.append(os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC))

        run_errand(self.spec, b.finish(), {}, "maps", maps)
        return made[0]

    def clone(self, at: str, pid: int) -> int:
        """Return a detached clone of the source of a mount (`at` is "mounts[3].source"), made in the mount namespace of
        `pid`: what the kernel locked there when the user namespace got it stays locked. Raises PyruncError.
        """
        mount = self._mount(at.rpartition(".")[0])
        options = Options(mount)
        source = mount.source or ""
        path = source if source.startswith("/") else f"{self.bundle}/{source}"
        own = not mount.uid_mappings
        name = "userns" if own else idmap_input(self.spec.mounts, mount)
        b = Builder()
        b.setns(b.input("mountns"), CLONE_NEWNS, at)
        b.rpc("source", at, clone_mapped(b, mount, options, path, name))
        inputs = {"mountns": os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)}
        made: list[int] = []
        try:
            if options.idmap and own:
                inputs[name] = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
            shared = {name: self.user_namespace(name)} if options.idmap and not own else {}
            run_errand(
                self.spec, b.finish(), inputs | shared, "source", lambda _pid, fd: made.append(os.dup(fd))
            )
        finally:
            for fd in inputs.values():
                os.close(fd)
        return made[0]
