"""Bundles: a root file system that costs a few links, and a config that a test changes by a few calls."""

from __future__ import annotations

import copy
import json
import os
import pathlib
import shutil
import subprocess

HERE = pathlib.Path(__file__).resolve().parent.parent
PATH = "PATH=/bin:/sbin:/usr/bin"
PROGRAMS = ("probe", "attacker")
APPLETS = ("sh", "cat", "echo", "ls", "true", "false", "sleep", "id", "env", "test", "stty")

CONFIG = {
    # The oldest version that every 1.x runtime takes: what the version itself does has tests of its own.
    "ociVersion": "1.0.2",
    "process": {
        "terminal": False,
        "user": {"uid": 0, "gid": 0},
        "args": ["/probe", "report"],
        "env": [PATH, "HOME=/root"],
        "cwd": "/",
        "capabilities": {
            kind: ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
            for kind in ("bounding", "effective", "permitted")
        },
        "noNewPrivileges": True,
    },
    "root": {"path": "rootfs", "readonly": False},
    "hostname": "spec-tests",
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {
            "destination": "/dev",
            "type": "tmpfs",
            "source": "tmpfs",
            "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
        },
        {
            "destination": "/dev/pts",
            "type": "devpts",
            "source": "devpts",
            "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        },
        {
            "destination": "/dev/shm",
            "type": "tmpfs",
            "source": "shm",
            "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
        },
    ],
    "linux": {
        "resources": {"devices": [{"allow": False, "access": "rwm"}]},
        "namespaces": [{"type": t} for t in ("pid", "network", "ipc", "uts", "mount")],
    },
}


class Unset:
    """Set a key to this to remove it."""


def build_program(name: str, target: pathlib.Path) -> None:
    """Compile a program of probe/; a host without a compiler or a static libc gets one clear line."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise SystemExit("spec-tests: no C compiler (install gcc or clang)")
    command = [compiler, "-static", "-O1", "-o", str(target), str(HERE / f"probe/{name}.c")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        first = next(
            (line for line in done.stderr.splitlines() if "error" in line or "cannot" in line), done.stderr
        )
        raise SystemExit(f"spec-tests: {name}.c does not build (a static libc is needed): {first}")


def build_rootfs(where: pathlib.Path) -> None:
    """The tree that every bundle's rootfs is linked from: our programs, busybox and a few files."""
    busybox = next((p for p in ("/bin/busybox", "/usr/bin/busybox") if os.path.exists(p)), None)
    if busybox is None:
        raise SystemExit("spec-tests: no busybox (install busybox-static)")
    for directory in ("bin", "etc", "proc", "sys", "dev", "tmp", "root"):
        (where / directory).mkdir(parents=True)
    for program in PROGRAMS:
        build_program(program, where / program)
    shutil.copy(busybox, where / "bin/busybox")
    for applet in APPLETS:
        (where / "bin" / applet).symlink_to("busybox")
    (where / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n")
    (where / "etc/group").write_text("root:x:0:\ntty:x:5:\nuser:x:1000:\n")


class Bundle:
    """A bundle directory with its own root file system; `config` is written when a command needs it."""

    def __init__(self, path: pathlib.Path, tree: pathlib.Path) -> None:
        self.path = path
        self.rootfs = path / "rootfs"
        self.config = copy.deepcopy(CONFIG)
        shutil.copytree(tree, self.rootfs, symlinks=True, copy_function=os.link)

    def write(self) -> None:
        (self.path / "config.json").write_text(json.dumps(self.config))

    def set(self, where: str, value: object) -> Bundle:
        """Set a value by its dotted path, making the objects on the way; `Unset` removes it."""
        node, *keys = self.config, *where.split(".")
        for key in keys[:-1]:
            node = node.setdefault(key, {})
        if value is Unset:
            node.pop(keys[-1], None)
        else:
            node[keys[-1]] = value
        return self

    def get(self, where: str) -> object:
        node = self.config
        for key in where.split("."):
            node = node[key]
        return node

    def add(self, where: str, *values: object) -> Bundle:
        """Append to the list at the dotted path, made if it is absent."""
        node, *keys = self.config, *where.split(".")
        for key in keys[:-1]:
            node = node.setdefault(key, {})
        node.setdefault(keys[-1], []).extend(values)
        return self

    def args(self, *args: object) -> Bundle:
        return self.set("process.args", [str(a) for a in args])

    def probe(self, *commands: object) -> Bundle:
        return self.args("/probe", *commands)

    def mount(
        self,
        destination: str,
        kind: str | None = "tmpfs",
        source: object = "tmpfs",
        options: list[str] | None = None,
        **more: object,
    ) -> Bundle:
        entry = {"destination": destination, "source": str(source), "options": options or [], **more}
        if kind is not None:
            entry["type"] = kind
        return self.add("mounts", entry)

    def caps(self, *names: str, kinds: tuple[str, ...] = ("bounding", "effective", "permitted")) -> Bundle:
        for kind in kinds:
            self.set(f"process.capabilities.{kind}", [f"CAP_{n.removeprefix('CAP_')}" for n in names])
        return self

    def drop_ns(self, *kinds: str) -> Bundle:
        self.config["linux"]["namespaces"] = [
            n for n in self.config["linux"]["namespaces"] if n["type"] not in kinds
        ]
        return self

    def ns(self, kind: str, path: object = None) -> Bundle:
        """A namespace of `kind`, new or joined at `path`, in place of one that the config has already."""
        self.drop_ns(kind)
        return self.add("linux.namespaces", {"type": kind} | ({} if path is None else {"path": str(path)}))

    def userns(self, host: int = 100000, size: int = 65536) -> Bundle:
        """A user namespace, and a root file system that its root owns."""
        mapping = {"containerID": 0, "hostID": host, "size": size}
        self.ns("user").set("linux.uidMappings", [mapping]).set("linux.gidMappings", [dict(mapping)])
        self.set("linux.resources", Unset)
        self.own(host)
        return self

    def own(self, host: int) -> None:
        """Chown the tree; files are links to the session's, which keep their owner: the mode suffices to read them."""
        for place, directories, _ in os.walk(self.rootfs):
            for name in [".", *directories]:
                os.chown(f"{place}/{name}", host, host, follow_symlinks=False)
        for above in (self.path, self.path.parent):
            os.chmod(above, 0o755)

    def hook(self, stage: str, *args: str, **more: object) -> Bundle:
        """A hook whose path is args[0]."""
        return self.add(f"hooks.{stage}", {"path": args[0], "args": list(args), **more})
