"""What bench.py and soak.py share: a private mount namespace, runtimes, bundles, what may be left behind."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

REPO = Path(__file__).resolve().parent.parent
ROOTFS = REPO / "bundles" / "rootfs"
_PRIVATE = "PYRUNC_BENCH_PRIVATE"
_PR_SET_CHILD_SUBREAPER = 36


def die(text: str) -> NoReturn:
    """End with one line on standard error."""
    print(f"{Path(sys.argv[0]).name}: {text}", file=sys.stderr)
    sys.exit(2)


def enter_private_namespace() -> None:
    """Start this program again as root in a mount namespace of its own, so that no mount outlives it."""
    if os.environ.pop(_PRIVATE, None) == "1":
        return
    if os.geteuid() != 0:
        die("root is needed (real containers with cgroups are made)")
    if not (ROOTFS / "bin" / "busybox").exists():
        die("bundles/rootfs: not found (make rootfs)")
    os.environ[_PRIVATE] = "1"
    command = ["unshare", "--mount", "--propagation", "private", sys.executable, *sys.argv]
    os.execvp(command[0], command)


def become_subreaper() -> None:
    """Make each process that a runtime leaves behind a child of this one: here it is counted and ended."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        die(f"prctl PR_SET_CHILD_SUBREAPER: {os.strerror(ctypes.get_errno()).lower()}")


def appease_crun(scratch: Path) -> None:
    """Hide the controllers of a hybrid host's cgroup2 mount: Debian 12's crun refuses to start with any."""
    controllers = Path("/sys/fs/cgroup/unified/cgroup.controllers")
    if controllers.exists() and controllers.read_text().strip():
        empty = scratch / "no-controllers"
        empty.touch()
        subprocess.run(["mount", "--bind", empty, controllers], check=True)


def find_runtimes(names: str) -> dict[str, str]:
    """The paths, by name, of a comma-separated list of runtimes (names or paths). A missing one is said."""
    found = {}
    for name in filter(None, names.split(",")):
        installed = REPO / ".venv" / "bin" / name
        path = str(installed) if name == "pyrunc" and installed.exists() else shutil.which(name)
        if path is None:
            print(f"{name}: not found, left out", file=sys.stderr)
        else:
            found[Path(path).name] = path
    if not found:
        die("no runtime to measure")
    return found


def version_of(path: str) -> str:
    """The first line of `RUNTIME --version`."""
    return subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout.partition(
        "\n"
    )[0]


class Bundles:
    """Bundles for all runtimes alike: `RUNTIME spec` of one of them, its program and its root changed."""

    def __init__(self, directory: Path, runtime: str) -> None:
        self.directory = directory
        directory.mkdir()
        subprocess.run([runtime, "spec", "--bundle", directory], check=True, capture_output=True)
        self.base = json.loads((directory / "config.json").read_text())
        # Debian 12's crun knows nothing later. What follows uses nothing later either.
        self.base["ociVersion"] = "1.0.2"
        self.base["root"]["path"] = str(ROOTFS)
        self.base["process"]["terminal"] = False

    def make(self, name: str, args: list[str], *, memory: int = 0, fewer_namespaces: bool = False) -> Path:
        """Write a bundle that runs `args`, perhaps with a memory limit in bytes."""
        config = json.loads(json.dumps(self.base))
        config["process"]["args"] = args
        if memory:
            config["linux"].setdefault("resources", {})["memory"] = {"limit": memory}
        if fewer_namespaces:
            config["linux"]["namespaces"] = [{"type": "mount"}, {"type": "pid"}, {"type": "uts"}]
            config["mounts"] = [m for m in config["mounts"] if m["destination"] in ("/proc", "/dev")]
        bundle = self.directory / name
        bundle.mkdir(exist_ok=True)
        (bundle / "config.json").write_text(json.dumps(config))
        return bundle


# --- what a container may leave behind


def cgroup_mounts() -> list[str]:
    """Where cgroup hierarchies are mounted."""
    rows = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return sorted({row[4] for row in rows if row[row.index("-") + 1] in {"cgroup", "cgroup2"}})


def cgroups_named(prefix: str) -> list[str]:
    """Every cgroup directory whose name holds `prefix`, deepest first."""
    found = []
    for top in cgroup_mounts():
        for path, directories, _ in os.walk(top):
            found += [os.path.join(path, name) for name in directories if prefix in name]
    return sorted(found, key=len, reverse=True)


def units_named(prefix: str) -> list[str]:
    """Every unit of systemd, failed ones as well, whose name holds `prefix`; none without systemd."""
    if not os.path.isdir("/run/systemd/system"):
        return []
    words = ["systemctl", "list-units", "--all", "--plain", "--no-legend", f"*{prefix}*"]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    return [line.split()[0] for line in done.stdout.splitlines()]


_SYS_BPF = {"x86_64": 321, "aarch64": 280}
_BPF_PROG_GET_NEXT_ID = 11


def bpf_programs() -> set[int]:
    """The ids of the BPF programs that the kernel holds, whoever loaded them."""
    libc = ctypes.CDLL(None, use_errno=True)
    found: set[int] = set()
    attr = (ctypes.c_uint32 * 4)(0, 0, 0, 0)  # start_id, next_id, open_flags
    while libc.syscall(_SYS_BPF[os.uname().machine], _BPF_PROG_GET_NEXT_ID, attr, ctypes.sizeof(attr)) == 0:
        found.add(attr[1])
        attr[0] = attr[1]
    if ctypes.get_errno() != errno.ENOENT:  # at the end of the list
        die(f"bpf BPF_PROG_GET_NEXT_ID: {os.strerror(ctypes.get_errno()).lower()}")
    return found


def children() -> list[int]:
    """The pids of this process's children that have not ended. Zombies are reaped on the way."""
    alive = []
    for pid in map(int, Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()):
        try:
            if os.waitpid(pid, os.WNOHANG)[0] == 0:
                alive.append(pid)
        except ChildProcessError:
            continue  # reaped by whoever started it
    return alive


def mount_points() -> list[str]:
    """The mount points of this mount namespace, in order."""
    return [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]


def wait_readable(fd: int, seconds: float) -> bool:
    """Wait until `fd` (a pidfd: its process has ended) can be read, or the time is over."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def end(pids: list[int]) -> None:
    """Kill and reap children of this process."""
    for pid in pids:
        try:
            os.kill(pid, 9)
        except ProcessLookupError:
            continue  # gone by itself meanwhile
    deadline = time.monotonic() + 5
    while set(children()) & set(pids) and time.monotonic() < deadline:
        time.sleep(0.01)


def remove_cgroups(prefix: str) -> None:
    """End what runs in the cgroups that hold `prefix` in their name (they are ours), and remove them."""
    deadline = time.monotonic() + 5
    while (left := cgroups_named(prefix)) and time.monotonic() < deadline:
        for path in left:
            try:
                for pid in Path(path, "cgroup.procs").read_text().split():
                    os.kill(int(pid), 9)
                os.rmdir(path)
            except OSError:
                time.sleep(0.01)  # EBUSY until the last process is reaped, ENOENT or ESRCH when it has gone
