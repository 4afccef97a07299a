"""Mount, network and process namespaces of the test run's own, in which the engines live; and their cgroups.

The first process of the namespaces ends at the end of file of its input, and the kernel ends the rest with
it: whatever an engine leaves, or a killed test run, is gone then. Only cgroups outlive it; they are made by
the engines, below a parent of ours, and `remove_cgroups` takes them away.
"""

from __future__ import annotations

import contextlib
import os
import pty
import select
import subprocess
import sys
import time
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

HOME = "/run/engines"  # in a tmpfs that only the box sees
CGROUPS = Path("/sys/fs/cgroup")
PATH = "/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"

# The first process: a private /run, a loopback that is up, and no zombie is kept.
FIRST = f"""
import os, signal, subprocess, sys
if sys.argv[1]:
    over = "lowerdir=" + sys.argv[1] + "/usr:/usr"
    subprocess.run(["mount", "-t", "overlay", "-o", over, "engines", "/usr"], check=True)
signal.signal(signal.SIGCHLD, signal.SIG_DFL)
subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "engines", "/run"], check=True)
os.makedirs("{HOME}/lock")
os.symlink("{HOME}/lock", "/run/lock")
hidden = ["/var/lib/containers", "/var/lib/docker", "/var/lib/containerd", "/var/lib/cni", "/etc/cni/net.d", "/etc/docker"]
for path in hidden:
    if os.path.isdir(path):
        subprocess.run(["mount", "-t", "tmpfs", "engines", path], check=True)
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
with open("/proc/sys/net/ipv4/ip_forward", "w") as file:
    file.write("1")
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
print("ready", flush=True)
sys.stdin.read()
"""


class Result(NamedTuple):
    """What a command said, and its exit code."""

    out: str
    err: str
    code: int


class Box:
    """The namespaces, while somebody is in them; with `newer`, the programs in that directory hide the host's."""

    def __init__(self, parent: str, newer: str = "") -> None:
        self.parent = parent
        unshare = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
        self.first = subprocess.Popen(
            [*unshare, "--propagation", "private", "--", sys.executable, "-ISc", FIRST, newer],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.first.stdout
        assert self.first.stdout.readline() == "ready\n"
        with open(f"/proc/{self.first.pid}/task/{self.first.pid}/children") as file:
            self.pid = int(file.read())

    @cached_property
    def can_nat(self) -> bool:
        """Whether iptables of the box can do what a bridge of Docker's needs."""
        rule = ("POSTROUTING", "-m", "addrtype", "--src-type", "LOCAL", "-j", "MASQUERADE")
        added = self("iptables", "-t", "nat", "-A", *rule).code == 0
        return added and self("iptables", "-t", "nat", "-D", *rule).code == 0

    def enter(self, *command: str) -> list[str]:
        return ["nsenter", "-t", str(self.pid), "-m", "-n", "-p", "--", *command]

    def __call__(self, *command: str, limit: float = 60, data: str | None = None, **more: str) -> Result:
        env = {"PATH": PATH, "HOME": HOME, "TMPDIR": HOME, "LC_ALL": "C.UTF-8", **more}
        source = {"stdin": subprocess.DEVNULL} if data is None else {"input": data}
        done = subprocess.run(
            self.enter(*command),
            capture_output=True,
            text=True,
            timeout=limit,
            check=False,
            env=env,
            **source,
        )
        return Result(done.stdout, done.stderr, done.returncode)

    def spawn(self, log: Path, *command: str, **more: str) -> subprocess.Popen[bytes]:
        env = {"PATH": PATH, "HOME": HOME, "TMPDIR": HOME, "LC_ALL": "C.UTF-8", **more}
        with log.open("wb") as file:
            return subprocess.Popen(
                self.enter(*command), stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=env
            )

    def on_terminal(self, *command: str, typed: str = "", limit: float = 30, **more: str) -> Result:
        """Run with a terminal of 100 columns and 40 rows; what is typed is typed once something was printed."""
        env = {"PATH": PATH, "HOME": HOME, "TERM": "xterm", **more}
        pid, master = pty.fork()
        if pid == 0:
            # the parent sets the size before the engine's client starts to look at it
            os.execvpe(
                "sh", ["sh", "-c", 'stty cols 100 rows 40; exec "$@"', "sh", *self.enter(*command)], env
            )
        out, end = b"", time.monotonic() + limit
        while time.monotonic() < end:
            if not select.select([master], [], [], 0.5)[0]:
                continue
            try:
                got = os.read(master, 65536)
            except OSError:  # EIO: the last process has left the terminal
                break
            out += got
            if typed:
                os.write(master, typed.encode())
                typed = ""
        else:
            os.kill(pid, 9)
        os.close(master)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        return Result(out.decode(errors="replace"), "", code)

    def write(self, path: str, text: str) -> str:
        """Make a file in the box; returns its path."""
        done = self("sh", "-c", f'mkdir -p "$(dirname {path})" && cat >{path}', data=text)
        assert done.code == 0, done.err
        return path

    def close(self) -> None:
        """End every process of the box, then remove the cgroups."""
        assert self.first.stdin
        with contextlib.suppress(BrokenPipeError):
            self.first.stdin.close()
        if self.first.stdout:
            self.first.stdout.close()
        self.first.wait(10)
        remove_cgroups(self.parent)


def top_cgroups() -> set[str]:
    """Name the cgroups right below each hierarchy's root."""
    return {str(path.parent) for path in CGROUPS.glob("*/*/cgroup.procs")}


def container_cgroups(parent: str) -> list[str]:
    """List the cgroups of containers below our parent; conmon's own stay as long as Podman likes."""
    found = [*CGROUPS.glob(f"*{parent}/*/"), *CGROUPS.glob(f"{parent[1:]}/*/")]
    return [str(path) for path in found if "conmon" not in path.name]


def remove_cgroups(parent: str) -> None:
    """Remove our own cgroups: `parent` is a name that this test run has made up."""
    assert parent.startswith("/pyrunc-engines-")
    for top in (*CGROUPS.glob(f"*{parent}"), CGROUPS / parent[1:]):
        for folder, _names, _files in os.walk(top, topdown=False):
            with contextlib.suppress(FileNotFoundError):
                rmdir(folder)


def remove_stale_cgroups() -> None:
    """Remove those of earlier runs that were killed: their number is of no process any more."""
    for name in {path.name for path in CGROUPS.glob("*/pyrunc-engines-*")}:
        if not Path("/proc", name.rpartition("-")[2]).exists():
            remove_cgroups(f"/{name}")


def rmdir(path: str, limit: float = 5) -> None:
    end = time.monotonic() + limit
    while True:
        try:
            return os.rmdir(path)
        except OSError:  # EBUSY: the last process is on its way out
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
