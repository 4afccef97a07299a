"""Checkpoint a container: criu's DUMP or PRE_DUMP, with what lies outside the container named as external."""

from __future__ import annotations

import json
import socket

from pyrunc import _os as os
from pyrunc import log
from pyrunc.errors import StateError, UsageError, strerror
from pyrunc.host import unescape
from pyrunc.run.criu import (
    CGROUP_MODES,
    CLONE_NEWNET,
    LOG_LEVEL,
    NETWORK_LOCKS,
    Criu,
    check_feature,
    check_version,
    open_directory,
    with_log,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.commands import Args
    from pyrunc.run.criu import Value
    from pyrunc.spec.model import Mount, Spec
    from pyrunc.state import Entry

DESCRIPTORS = "descriptors.json"
CHECKPOINTED = ("running", "paused")
CONFIG_FILE = "/etc/criu/runc.conf"
ANNOTATION = "org.criu.config"
FLAGS = ("tcp-established", "ext-unix-sk", "shell-job", "file-locks", "auto-dedup", "lazy-pages")
"""Of both commands; criu's options have the same names."""
EXTERNAL_NAMESPACES = {"network": ("net", "extRootNetNS"), "pid": ("pid", "extRootPidNS")}
"""criu's names of the types, and runc's of the namespaces: an image of the one can be restored by the other."""


def common_options(args: Args, spec: Spec) -> dict[str, Value]:
    """Return what both commands tell criu alike. Raises UsageError."""
    mode = str(args.options["manage-cgroups-mode"] or "soft")
    if mode not in CGROUP_MODES:
        raise UsageError(f"invalid manage-cgroups-mode value: {mode}")
    options: dict[str, Value] = {
        "log_level": LOG_LEVEL, "notify_scripts": True, "orphan_pts_master": True,
        "manage_cgroups": True, "manage_cgroups_mode": CGROUP_MODES[mode],
    }  # fmt: skip
    options |= {name.replace("-", "_"): True for name in FLAGS if args.options[name]}
    if method := str(args.options["network-lock"] or ""):
        if method not in NETWORK_LOCKS:
            raise UsageError(f"invalid network-lock value: {method}")
        options["network_lock"] = NETWORK_LOCKS[method]
    for name in args.options["empty-ns"] or ():
        if name != "network":
            raise UsageError(f"--empty-ns: namespace {json.dumps(name)} is not supported")
        options["empty_ns"] = CLONE_NEWNET
    if spec.hooks.prestart or spec.hooks.create_runtime:
        # whoever gives the container a network by hooks, as Docker does, gives it anew when it is restored
        options["empty_ns"] = CLONE_NEWNET
    config = (spec.annotations or {}).get(ANNOTATION)
    if config is None and os.path.lexists(CONFIG_FILE):
        config = CONFIG_FILE
    if config:
        options["config_file"] = config
    return options


def is_bind(mount: Mount) -> bool:
    """Tell whether a mount shows a part of the host, which criu must be told."""
    return mount.type == "bind" or bool({"bind", "rbind"} & set(mount.options))


def check_outside(spec: Spec) -> None:
    """Refuse what is outside of the container in ways that are not built. Raises StateError."""
    if spec.linux.intel_rdt is not None:
        raise StateError("linux.intelRdt: checkpoint and restore with a group of resctrl are not supported")
    if any(ns.type == "user" for ns in spec.linux.namespaces):
        raise StateError("linux.namespaces: checkpoint and restore with a user namespace are not supported")


class Checkpoint:
    """One dump of a container."""

    def __init__(self, args: Args, entry: Entry) -> None:
        self.args = args
        self.entry = entry
        self.spec = entry.read_spec()
        self.image = os.path.abspath(str(args.options["image-path"] or "checkpoint"))
        self.work = os.path.abspath(str(args.options["work-path"] or self.image))
        self.pre_dump = bool(args.options["pre-dump"])

    def run(self) -> None:
        """Dump. Raises UsageError, HostError, StateError."""
        check_outside(self.spec)
        options = self._options()
        check_version()
        if self.pre_dump:
            check_feature("mem_track", 1)
        if self.args.options["lazy-pages"]:
            check_feature("lazy_pages", 2)
        image = open_directory(self.image, make=True)
        work = open_directory(self.work, make=True)
        options |= {"images_dir_fd": image, "work_dir_fd": work}
        if not self.pre_dump:
            self._write_descriptors(image)
        criu = Criu()
        try:
            criu.ask("PRE_DUMP" if self.pre_dump else "DUMP", self._notified, opts=options)
        except StateError as error:
            raise with_log(error, f"{self.work}/dump.log") from None
        finally:
            criu.close()
            os.close(image)
            os.close(work)

    def _options(self) -> dict[str, Value]:
        given = self.args.options
        options = common_options(self.args, self.spec)
        options |= {
            "pid": self.entry.container.init_process_pid,
            "log_file": "dump.log",
            "root": self.entry.container.rootfs,
            "leave_running": bool(given["leave-running"]) or self.pre_dump,
            "tcp_skip_in_flight": bool(given["tcp-skip-in-flight"]),
            "link_remap": bool(given["link-remap"]),
        }
        freezer = self.entry.container.cgroup_paths.get("freezer", self.entry.container.cgroup_paths.get(""))
        if freezer:
            options["freeze_cgroup"] = freezer
        if given["page-server"]:
            options["ps"] = _page_server(str(given["page-server"]))
        if given["parent-path"]:
            options["parent_img"] = self._parent(str(given["parent-path"]))
        if given["parent-path"] or self.pre_dump:
            options["track_mem"] = True
        if given["status-fd"] not in (None, -1):
            options["status_fd"] = _writable(int(str(given["status-fd"])))
        options["external"] = self._namespaces()
        if not self.pre_dump:
            options["ext_mnt"] = self._mounts()
        return options

    def _parent(self, path: str) -> str:
        if path.startswith("/"):
            raise UsageError("--parent-path must be relative")
        beside = os.path.normpath(
            f"{os.path.realpath(self.image)}/{path}"
        )  # the directory itself is yet to be made
        try:
            os.stat(f"{beside}/.")
        except OSError as error:
            raise UsageError(f"invalid --parent-path: {path}: {strerror(error.errno or 0)}") from None
        return path

    def _namespaces(self) -> list[Value]:
        """Return the namespaces that were there before the container: criu is to leave them alone."""
        found: list[Value] = []
        for ns in self.spec.linux.namespaces:
            if ns.path and ns.type in EXTERNAL_NAMESPACES:
                kind, name = EXTERNAL_NAMESPACES[ns.type]
                inode = os.stat(f"/proc/{self.entry.container.init_process_pid}/ns/{kind}").st_ino
                found.append(f"{kind}[{inode}]:{name}")
        return found

    def _mounts(self) -> list[Value]:
        """Return the bind mounts by destination, the hierarchies of cgroup v1 below a mount of type cgroup, and the masked
        files, which are /dev/null of the host: a directory is masked by a tmpfs, which criu dumps like any other."""
        keys = [mount.destination for mount in self.spec.mounts if is_bind(mount)]
        roots = mount_roots(self.entry.container.init_process_pid)
        for mount in self.spec.mounts:
            if mount.type == "cgroup" and not is_bind(mount):
                keys += [place for place in roots if place.startswith(f"{mount.destination.rstrip('/')}/")]
        masked = [path for path in self.spec.linux.masked_paths or () if roots.get(path) == "/null"]
        found: list[Value] = [{"key": key, "val": key} for key in keys]
        return found + [{"key": path, "val": "/dev/null"} for path in masked]

    def _write_descriptors(self, image: int) -> None:
        """Keep what descriptors 0-2 are: at restore, pipes are replaced by those of whoever restores."""
        pid = self.entry.container.init_process_pid
        names = [
            os.readlink(f"/proc/{pid}/fd/{fd}") if os.path.lexists(f"/proc/{pid}/fd/{fd}") else ""
            for fd in (0, 1, 2)
        ]
        fd = os.open(
            DESCRIPTORS,
            os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW,
            0o600,
            dir_fd=image,
        )
        with open(fd, "w", encoding="utf-8", errors="surrogateescape") as file:
            json.dump(names, file)

    def _notified(self, script: str, _pid: int, fd: int) -> None:
        log.debug(f"criu: {script}")
        if fd >= 0:
            os.close(fd)


def mount_roots(pid: int) -> dict[str, str]:
    """Return the mounts of a process: mount point -> the mounted part of the file system. Raises StateError."""
    try:
        with open(f"/proc/{pid}/mountinfo", "rb") as file:
            rows = [line.split(b" ", 5) for line in file]
    except OSError as error:
        raise StateError(f"/proc/{pid}/mountinfo: {strerror(error.errno or 0)}") from None
    return {unescape(row[4]): unescape(row[3]) for row in rows}


def _page_server(address: str) -> Value:
    host, colon, port = address.rpartition(":")
    if not colon or not host:
        raise UsageError("Use --page-server ADDRESS:PORT to specify page server")
    if not (port.isascii() and port.isdigit() and int(port) <= 0xFFFF):
        raise UsageError("Invalid port number")
    try:
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise UsageError(f"--page-server: {host}: {error.strerror}") from None
    return {"address": str(found[0][4][0]), "port": int(port)}


def _writable(fd: int) -> int:
    import fcntl

    try:
        mode = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE
    except OSError as error:
        raise UsageError(f"invalid --status-fd argument {fd}: {strerror(error.errno or 0)}") from None
    if mode == os.O_RDONLY:
        raise UsageError(f"invalid --status-fd argument {fd}: not writable")
    return fd
