"""The engines: how each is started in the box, asked, and stopped."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import images
from box import HOME

if TYPE_CHECKING:
    import subprocess

    from box import Box, Result

COUNT = itertools.count(1)


class Engine:
    """One engine with one runtime below it; subclasses know the words of its command line."""

    name = ""
    programs: tuple[str, ...] = ()
    remove: tuple[str, ...] = ("rm", "--force")
    has_daemon = False
    bridge = False  # whether containers get a network of the engine's

    def __init__(self, box: Box, logs: Path) -> None:
        self.box, self.logs = box, logs
        self.runtimes: dict[str, str] = {}
        self.daemons: list[subprocess.Popen[bytes]] = []
        self.environment: dict[str, str] = {}  # of the daemons

    def command(self, runtime: str, *words: str) -> list[str]:
        raise AssertionError(f"{self.name} has no words for {runtime} {words}")

    def serve(self) -> None:
        """Start the daemons, and wait until they answer."""

    def boot(self, archive: str) -> None:
        """Start the daemons and load the image."""
        self.serve()
        done = self.box(*self.command("", "load", "--input", archive))
        assert done.code == 0, done.err

    def label(self) -> str:
        """Name the engine and its version, as the head of a column."""
        seen = re.search(r"\d+\.\d+", self.version())
        return f"{self.name} {seen.group() if seen else ''}".strip()

    def version(self) -> str:
        """Say the engine's version, a line."""
        return self.box(self.programs[0], "--version").out.strip()

    def spawn(self, *command: str) -> None:
        log = self.logs / f"{self.name}-{Path(command[0]).name}.log"
        self.daemons.append(self.box.spawn(log, *command, **self.environment))

    def wait(self, *command: str, limit: float = 20) -> None:
        end = time.monotonic() + limit
        while (seen := self.box(*command)).code:
            assert time.monotonic() < end, f"{command}: {seen.err}; see {self.logs}"
            time.sleep(0.1)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Signal what `serve` started, last first, by pid: nsenter dies as its child, the daemon, does."""
        while self.daemons:
            daemon = self.daemons.pop()
            for pid in children_of(daemon.pid) or [daemon.pid]:
                os.kill(pid, number)
            daemon.wait(30)

    def ensure(self) -> None:
        """Start again what a test that failed has left stopped."""
        if self.has_daemon and not self.daemons:
            self.serve()

    def restart(self, number: int = signal.SIGTERM) -> None:
        self.stop(number)
        self.serve()

    def shut_down(self) -> None:
        """End all that the engine runs."""
        self.stop()


def children_of(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(word) for word in file.read().split()]


class Containerd(Engine):
    """containerd and ctr, through containerd-shim-runc-v2 with its option BinaryName."""

    name = "containerd"
    programs = ("containerd", "ctr", "containerd-shim-runc-v2")
    has_daemon = True
    socket = f"{HOME}/containerd.sock"

    def serve(self) -> None:
        # cri would start a network service; opt would make directories in /opt
        off = [f"io.containerd.{name}" for name in ("grpc.v1.cri", "internal.v1.opt")]
        off += [f"io.containerd.snapshotter.v1.{name}" for name in ("aufs", "btrfs", "devmapper", "zfs")]
        config = f"""
            version = 2
            root = "{HOME}/containerd-root"
            state = "{HOME}/containerd-state"
            disabled_plugins = {off}
            [grpc]
              address = "{self.socket}"
            """
        file = self.box.write(f"{HOME}/containerd.toml", config)
        self.spawn("containerd", "--config", file)
        self.wait("ctr", "--address", self.socket, "version")

    def boot(self, archive: str) -> None:
        self.serve()
        # by ctr itself where it can leave that to the daemon, which unpacks for the snapshotters of its configuration alone
        local = ["--local"] * ("--local" in self.box("ctr", "images", "import", "--help").out)
        done = self.box(
            "ctr", "-a", self.socket, "images", "import", *local, "--snapshotter", "native", archive
        )
        assert done.code == 0, done.err

    def command(self, runtime: str, *words: str) -> list[str]:
        words = tuple(words)
        if words[0] == "run":
            more = ["--snapshotter", "native", "--runc-binary", self.runtimes[runtime]]
            words = ("run", *more, "--cgroup", f"{self.box.parent}/ctr-{next(COUNT)}", *words[1:])
        return ["ctr", "--address", self.socket, *words]


class Docker(Engine):
    """dockerd with a containerd of its own; each runtime by --runtime."""

    name = "docker"
    programs = ("/usr/bin/docker", "dockerd", "containerd", "docker-init", "docker-proxy")
    has_daemon = True
    socket = f"unix://{HOME}/docker.sock"
    config = f"{HOME}/daemon.json"
    more: list[str] = []  # of dockerd's options

    def serve(self) -> None:
        places = [f"--data-root={HOME}/docker-root", f"--exec-root={HOME}/docker-exec"]
        places += [f"--pidfile={HOME}/docker.pid", f"--host={self.socket}", f"--config-file={self.config}"]
        if self.box("test", "-e", self.config).code:
            self.configure({})
        self.spawn(
            "dockerd", *places, "--storage-driver=vfs", f"--cgroup-parent={self.box.parent}",
            "--experimental", "--ip6tables=false", *self.network(), *self.more,
        )  # fmt: skip
        self.wait(*self.command("", "version"))

    def configure(self, options: dict[str, object]) -> None:
        """Write daemon.json, also under the running daemon, as a user's reload does."""
        known = {name: {"path": path} for name, path in self.runtimes.items() if name != "runc"}
        self.box.write(self.config, json.dumps({"runtimes": known, **options}))
        for daemon in self.daemons:
            for pid in children_of(daemon.pid):
                os.kill(pid, signal.SIGHUP)

    def network(self) -> list[str]:
        if not self.bridge:
            return ["--bridge=none", "--iptables=false", "--ip-forward=false", "--ip-masq=false"]
        # without NAT a published port is docker-proxy's alone, and the world cannot be reached
        return [] if self.box.can_nat else ["--iptables=false", "--ip-masq=false"]

    def version(self) -> str:
        return self.box("dockerd", "--version").out.strip()

    def command(self, runtime: str, *words: str) -> list[str]:
        if words[0] in ("run", "create"):
            words = (words[0], "--runtime", runtime, *words[1:])
        return ["/usr/bin/docker", "--host", self.socket, *words]


class Podman(Engine):
    """podman with conmon; no daemon."""

    name = "podman"
    programs = ("podman", "conmon")
    remove = ("rm", "--force", "--time", "0")

    def serve(self) -> None:
        # newer builders ask for limits above the caller's, which take CAP_SYS_RESOURCE, if they are not told any
        known = "\n".join(f'{name} = ["{path}"]' for name, path in self.runtimes.items())
        config = f"""
            [containers]
            netns = "{"bridge" if self.bridge else "none"}"
            init_path = "/usr/bin/docker-init"
            default_ulimits = ["nofile=1000:1000", "nproc=1000:1000"]
            [network]
            network_backend = "netavark"
            [engine]
            cgroup_manager = "cgroupfs"
            events_logger = "file"
            runtime_supports_json = {list(self.runtimes)}
            [engine.runtimes]
            {known}
            """
        self.box.write(f"{HOME}/containers.conf", config)

    def env(self) -> list[str]:
        # conmon leaves files in the directory that podman is called from; podman 5 warns of cgroup v1 on every call
        return [
            "env",
            "-C",
            HOME,
            f"CONTAINERS_CONF={HOME}/containers.conf",
            "PODMAN_IGNORE_CGROUPSV1_WARNING=1",
        ]

    def places(self) -> list[str]:
        return ["--root", f"{HOME}/podman", "--runroot", f"{HOME}/podman-run", "--storage-driver", "vfs"]

    def command(self, runtime: str, *words: str) -> list[str]:
        places = [
            *self.places(),
            "--tmpdir",
            f"{HOME}/podman-tmp",
            "--network-config-dir",
            f"{HOME}/podman-net",
        ]
        if words[0] in ("run", "create"):
            words = (words[0], "--cgroup-parent", self.box.parent, *words[1:])
        chosen = ["--runtime", runtime] if runtime else []
        return [*self.env(), "podman", *places, *chosen, *words]


class Buildah(Podman):
    """buildah, which runs the runtime itself: no conmon."""

    name = "buildah"
    programs = ("buildah",)
    remove = ("rm",)

    def boot(self, archive: str) -> None:
        self.serve()
        done = self.box(*self.command("", "pull", f"docker-archive:{archive}"))
        assert done.code == 0, done.err

    def places(self) -> list[str]:
        return ["--root", f"{HOME}/buildah", "--runroot", f"{HOME}/buildah-run", "--storage-driver", "vfs"]

    def command(self, runtime: str, *words: str) -> list[str]:
        if words[0] in ("run", "build"):
            words = (words[0], "--runtime", self.runtimes[runtime], *words[1:])
        return [*self.env(), "buildah", *self.places(), *words]


class User:
    """Somebody at the command line of an engine who has chosen a runtime."""

    def __init__(self, engine: Engine, runtime: str) -> None:
        self.engine, self.runtime, self.box = engine, runtime, engine.box
        self.made: list[str] = []

    def __call__(self, *words: str, code: int | None = 0, **more: object) -> Result:
        done = self.box(*self.engine.command(self.runtime, *words), **more)  # type: ignore[arg-type]
        assert code is None or done.code == code, f"{words}: exit code {done.code}\n{done.out}{done.err}"
        return done

    def on_terminal(self, *words: str, **more: object) -> Result:
        return self.box.on_terminal(*self.engine.command(self.runtime, *words), **more)  # type: ignore[arg-type]

    def run(self, *words: str, script: str = "", code: int | None = 0, **more: object) -> Result:
        """Run a script, or the words after the image, to the end; the container goes with it."""
        rest = (images.NAME, "sh", "-c", script) if script else ()
        return self("run", "--rm", *words, *rest, code=code, **more)

    def new_name(self) -> str:
        self.made.append(f"{self.runtime}-{next(COUNT)}")
        return self.made[-1]

    def start(self, *words: str, script: str = "exec sleep 1000") -> str:
        """Start a container in the background: its name."""
        name = self.new_name()
        self("run", "--detach", "--name", name, *words, images.NAME, "sh", "-c", script)
        return name

    def inspect(self, name: str, form: str) -> str:
        return self("inspect", "--format", form, name).out.strip()

    def leave(self) -> None:
        """Remove what the test has left."""
        while self.made:
            self(*self.engine.remove, self.made.pop(), code=None)
