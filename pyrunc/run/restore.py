"""Restore a container from criu's image: the state, the cgroup and the terminal are made as for a new one.

The root must be a mount for criu. It becomes one in a mount namespace that only criu is started in, so nothing is left of
it, however this ends.
"""

from __future__ import annotations

import _socket
import ctypes
import json

from pyrunc import _os as os
from pyrunc import log
from pyrunc.cgroup import tree
from pyrunc.errors import OpError, StateError, UsageError
from pyrunc.plan.cgroups import own_directory
from pyrunc.run.checkpoint import DESCRIPTORS, EXTERNAL_NAMESPACES, check_outside, common_options, is_bind
from pyrunc.run.console import connect_console
from pyrunc.run.criu import CGROUP_MODES, Criu, check_version, open_directory, with_log
from pyrunc.run.hooks import run_hooks, state_json
from pyrunc.run.mountpoints import ensure_mountpoints
from pyrunc.run.pids import write_pid_file
from pyrunc.sys import pidfd_open

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.commands import Args
    from pyrunc.run.create import Creation
    from pyrunc.run.criu import Value
    from pyrunc.spec.model import Mount

CLONE_NEWNS = 0x20000
MS_BIND, MS_REC, MS_SLAVE = 0x1000, 0x4000, 0x80000
LSM_SINCE = 31600


class Restore:
    """One restoring of a container, into what `creation` has of it."""

    def __init__(self, args: Args, creation: Creation) -> None:
        self.args = args
        self.creation = creation
        self.spec = creation.spec
        self.image = os.path.abspath(str(args.options["image-path"] or "checkpoint"))
        self.work = os.path.abspath(str(args.options["work-path"] or self.image))
        self.master = -1
        self.pid = 0
        self.namespaces: list[int] = []

    def run(self) -> None:
        """Restore. Raises UsageError, HostError, OpError, StateError; then the creation is to be undone."""
        creation = self.creation
        check_outside(self.spec)
        options = self._options()
        check_version()
        for flag in ("lsm-profile", "lsm-mount-context"):
            if self.args.options[flag]:
                check_version(LSM_SINCE, f"--{flag}")
        options["inherit_fd"] = self._pipes() + self._open_namespaces()
        prepared = creation.prepared
        creation.entry.begin(
            self.spec,
            prepared.config,
            prepared.request.bundle,
            prepared.manager,
            rootless=prepared.request.rootless,
        )
        prepared.manager.create()
        ensure_mountpoints(self._root(), self.spec.mounts, prepared.request.bundle)
        criu, image, work = self._start_criu()
        options |= {"images_dir_fd": image, "work_dir_fd": work}
        try:
            self._place(criu.process.pid, options)
            criu.ask("RESTORE", self._notified, opts=options)
        except StateError as error:
            raise with_log(error, f"{self.work}/restore.log") from None
        finally:
            criu.close()
            for fd in (image, work, *self.namespaces):
                os.close(fd)
        self._finish()

    def _options(self) -> dict[str, Value]:
        given = self.args.options
        options = common_options(self.args, self.spec)
        options |= {
            "log_file": "restore.log", "root": self._root(), "rst_sibling": True, "evasive_devices": True,
            "ext_mnt": self._mounts(),
        }  # fmt: skip
        if given["tcp-close"]:
            options["tcp_close"] = True
        for flag in ("lsm-profile", "lsm-mount-context"):
            if given[flag]:
                options[flag.replace("-", "_")] = str(given[flag])
        return options

    def _open_namespaces(self) -> list[Value]:
        """Open the namespaces by path that the dump left out, which criu's process inherits. Raises OpError."""
        found: list[Value] = []
        for ns in self.spec.linux.namespaces:
            if ns.path and ns.type in EXTERNAL_NAMESPACES:
                try:
                    fd = os.open(ns.path, os.O_RDONLY | os.O_CLOEXEC)
                except OSError as error:
                    raise OpError(f"{ns.at}.path: open {ns.path}", error.errno or 0) from None
                self.namespaces.append(fd)
                found.append({"key": EXTERNAL_NAMESPACES[ns.type][1], "fd": fd})
        return found

    def _root(self) -> str:
        assert self.spec.root is not None
        return os.path.realpath(os.path.join(self.creation.prepared.request.bundle, self.spec.root.path))

    def _mounts(self) -> list[Value]:
        bundle = self.creation.prepared.request.bundle
        found: list[Value] = [
            {"key": mount.destination, "val": os.path.join(bundle, mount.source or "")}
            for mount in self.spec.mounts
            if is_bind(mount)
        ]
        for mount in self.spec.mounts:
            if mount.type == "cgroup" and not is_bind(mount):
                found += self._hierarchies(mount)
        if self.spec.linux.masked_paths:  # the dump gave all of them this one name
            found.append({"key": "/dev/null", "val": "/dev/null"})
        return found

    def _hierarchies(self, mount: Mount) -> list[Value]:
        """Return what the hierarchies of cgroup v1 below a mount of type cgroup show: the container's new directories."""
        layout = self.creation.prepared.host.cgroup
        if not layout.v1:
            return []
        dirs = self.creation.prepared.manager.mount_dirs()
        return [
            {
                "key": os.path.join(mount.destination, one.mountpoint.rpartition("/")[2]),
                "val": own_directory(dirs, one, one.mountpoint),
            }
            for one in ((*layout.v1, layout.v2) if layout.v2 else layout.v1)
        ]

    def _pipes(self) -> list[Value]:
        """Return which of the dumped descriptors 0-2 were pipes: ours take their places. Raises StateError."""
        try:
            fd = os.open(f"{self.image}/{DESCRIPTORS}", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError as error:
            raise OpError(f"open {self.image}/{DESCRIPTORS}", error.errno or 0) from None
        with open(fd, encoding="utf-8", errors="surrogateescape") as file:
            try:
                names = json.load(file)
            except ValueError:
                names = None
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or len(names) > 3:
            raise StateError(f"{self.image}/{DESCRIPTORS}: damaged")
        return [{"key": name, "fd": number} for number, name in enumerate(names) if "pipe:" in name]

    def _start_criu(self) -> tuple[Criu, int, int]:
        """Start criu in a mount namespace in which the root is a mount; open the directories of images and of work.

        They are opened there as well: criu changes into them by our descriptors, and from a directory of another
        mount namespace it could not mount (EINVAL).
        """
        libc = ctypes.CDLL(None, use_errno=True)
        home = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        here = os.open(".", os.O_PATH | os.O_CLOEXEC)
        root = os.fsencode(self._root())
        try:
            _call(libc.unshare(CLONE_NEWNS), "unshare")
            try:
                _call(libc.mount(b"none", b"/", None, ctypes.c_ulong(MS_REC | MS_SLAVE), None), "mount /")
                _call(
                    libc.mount(root, root, None, ctypes.c_ulong(MS_BIND | MS_REC), None),
                    f"bind {self._root()}",
                )
                os.chdir("/")
                image, work = open_directory(self.image, make=False), open_directory(self.work, make=True)
                return Criu(tuple(self.namespaces)), image, work
            finally:
                _call(libc.setns(home, CLONE_NEWNS), "setns")
                os.fchdir(here)  # which setns(2) has changed
        finally:
            os.close(home)
            os.close(here)

    def _place(self, pid: int, options: dict[str, Value]) -> None:
        """Put criu, and so what it restores, into the container's cgroup, within its limits."""
        manager = self.creation.prepared.manager
        manager.join(pid)
        for place in manager.places:  # those, too, that an executor would have joined by itself
            try:
                tree.write_at(manager.fd_of(place), "cgroup.procs", str(pid))
            except OSError as error:
                raise OpError(f"adding criu to {place.path}", error.errno or 0) from None
        manager.apply(self.spec.linux.resources)
        if options["manage_cgroups_mode"] == CGROUP_MODES["ignore"]:
            return
        with open(f"/proc/{pid}/cgroup", encoding="utf-8", errors="surrogateescape") as file:
            rows = [line.rstrip("\n").split(":", 2) for line in file]
        # one that was renamed, or dumped under another path; cgroup2 has no name, but what no other root is for is its
        options["cg_root"] = [
            {"ctrl": name, "path": path} if name else {"path": path} for _number, name, path in rows
        ]

    def _notified(self, script: str, pid: int, fd: int) -> None:
        log.debug(f"criu: {script}")
        if script == "setup-namespaces":
            hooks, state = self.spec.hooks, state_json(self.creation.entry.container, "creating", pid)
            self.creation.hooks_ran = bool(hooks.prestart or hooks.create_runtime)
            run_hooks(hooks.prestart, "prestart", state, self.spec.annotations)
            run_hooks(hooks.create_runtime, "createRuntime", state, self.spec.annotations)
        elif script == "post-restore":
            self.pid = self.creation.pid = pid
            # what is there must be known, should we be killed now
            self.creation.entry.prepare(pid, "running", self.creation.prepared.manager)
        elif script == "orphan-pts-master" and fd >= 0:
            self.master = fd
            return
        if fd >= 0:
            os.close(fd)

    def _finish(self) -> None:
        if not self.pid:
            raise StateError("criu failed: it has restored no process")
        creation = self.creation
        creation.pidfd = pidfd_open(self.pid)
        creation.hooks_ran = True
        socket = creation.options.console_socket
        if socket and self.master >= 0:
            sock = connect_console(socket)
            rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, self.master.to_bytes(4, "little"))
            sock.sendmsg([b"orphan-pts-master"], [rights])
            sock.close()
        creation.entry.ready()
        if creation.options.pid_file:
            write_pid_file(creation.options.pid_file, self.pid)
            creation.pid_file_written = True


def _call(result: int, what: str) -> None:
    if result < 0:
        raise OpError(what, ctypes.get_errno())


def fill(args: Args) -> None:
    """Give the options of create that restore does not have the values of their absence. Raises UsageError."""
    args.options |= {"config": "", "pidfd-socket": "", "preserve-fds": 0, "no-new-keyring": False}
    profile = str(args.options["lsm-profile"] or "")
    if profile and ":" not in profile:
        raise UsageError("--lsm-profile: expected TYPE:NAME")
    for name in ("image-path", "work-path"):
        if args.options[name]:  # before the bundle becomes the working directory
            args.options[name] = os.path.abspath(str(args.options[name]))
        elif name == "image-path":
            args.options[name] = os.path.abspath("checkpoint")
