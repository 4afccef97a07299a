"""What containers leave: processes, cgroups, mounts and states of the runtime; and killing processes of the box."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from typing import TYPE_CHECKING

from box import HOME, container_cgroups

if TYPE_CHECKING:
    from typing import Self

    from box import Box
    from drivers import User

NETWORKS = f"{HOME}/docker-exec/netns/"
"""Where dockerd itself mounts the networks of containers; seen to stay when the runtime was killed while it started one."""
STATES = {"containerd": "/run/containerd/runc/default", "docker": f"{HOME}/docker-exec/runtime-runc/moby"}
ENGINES_OWN = {"dockerd", "containerd", "ps", "containerd-shim-runc-v2"}
"""A killed containerd forgets a shim that was just starting: `shims` counts those."""


def states(user: User) -> set[str]:
    """List the ids that the runtime knows below the engine's root."""
    root = STATES[user.engine.name]
    found = set(user.box("ls", root).out.split())  # the engine makes it with its first container
    if found:
        listed(user, "--quiet")
    return found


def running(user: User) -> set[str]:
    """List the processes of the containers that the runtime calls running, by their numbers in the box."""
    rows = json.loads(listed(user, "--format", "json")) if states(user) else []
    return {str(row["pid"]) for row in rows or () if row["status"] == "running"}


def listed(user: User, *words: str) -> str:
    runtime, root = user.engine.runtimes[user.runtime], STATES[user.engine.name]
    done = user.box(runtime, "--root", root, "list", *words)
    assert done.code == 0, f"what is there can be listed: {done.err}"
    return done.out


def look(user: User) -> dict[str, set[str]]:
    """Return all that a container could have left, by kind."""
    lines = [line.split(None, 1) for line in user.box("ps", "-eo", "pid=,args=").out.splitlines()]
    processes = {" ".join(row) for row in lines if os.path.basename(row[1].split()[0]) not in ENGINES_OWN}
    mounts = {line.split()[4] for line in user.box("cat", "/proc/1/mountinfo").out.splitlines()}
    cgroups = set(container_cgroups(user.box.parent))
    return {"processes": processes, "mounts": mounts, "cgroups": cgroups, "states": states(user)}


def shims(user: User) -> int:
    return user.box("ps", "-eo", "args=").out.count("containerd-shim-runc-v2 ")


def left(user: User, before: dict[str, set[str]], limit: float = 15) -> dict[str, set[str]]:
    """Return what is there now and was not before, after a wait for what is on its way out."""
    end = time.monotonic() + limit
    while True:
        now = look(user)
        more = {kind: now[kind] - before[kind] for kind in now if now[kind] - before[kind]}
        if not more or time.monotonic() > end:
            return more
        time.sleep(0.2)


def delete_forgotten(user: User, before: dict[str, set[str]]) -> int:
    """Delete what the engine has forgotten, as its administrator would; how many there were.

    dockerd forgets a container whose task could not be deleted, because the runtime's `delete` was killed, say: its shim and
    the runtime's state stay until somebody asks again.
    """
    forgotten = set()
    if user.engine.name == "docker":
        ctr = ("ctr", "--address", f"{HOME}/docker-exec/containerd/containerd.sock", "--namespace", "moby")
        forgotten = set(user.box(*ctr, "container", "ls", "--quiet").out.split())
        for name in forgotten:
            user.box(*ctr, "task", "rm", "--force", name)
            user.box(*ctr, "container", "rm", name)
    unknown = states(user) - before["states"]
    for name in unknown:
        runtime = user.engine.runtimes[user.runtime]
        done = user.box(runtime, "--root", STATES[user.engine.name], "delete", "--force", name)
        assert done.code == 0, done.err
    return len(forgotten | unknown)


class Killer:
    """Kills the processes of a program in a box's process namespace, each with some chance and after a random time."""

    def __init__(self, box: Box, program: str, chance: float, seed: int) -> None:
        self.space = os.readlink(f"/proc/{box.pid}/ns/pid")
        self.program, self.chance, self.random = os.fsencode(program), chance, random.Random(seed)
        self.killed = 0
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.thread.join()

    def _run(self) -> None:
        seen: set[str] = set()
        while not self.over.wait(0.002):
            for entry in set(filter(str.isdigit, os.listdir("/proc"))) - seen:
                if not self._is_one(entry):
                    continue
                seen.add(entry)
                if self.random.random() < self.chance:
                    self.over.wait(self.random.uniform(0, 0.02))
                    self._kill(int(entry))

    def _is_one(self, entry: str) -> bool:
        """Whether this is the program, and of the box: a process of the box has the box's namespace, and no other has."""
        try:
            with open(f"/proc/{entry}/cmdline", "rb") as file:
                words = file.read().split(b"\0")
            # an engine's own command line has the name, too, but no --root
            ours = b"--root" in words and any(os.path.basename(word) == self.program for word in words)
            return ours and os.readlink(f"/proc/{entry}/ns/pid") == self.space
        except OSError:
            return False

    def _kill(self, pid: int) -> None:
        try:
            handle = os.pidfd_open(pid)
        except OSError:
            return
        try:
            if self._is_one(str(pid)):  # it is still the same
                signal.pidfd_send_signal(handle, signal.SIGKILL)
                self.killed += 1
        except OSError:
            pass
        finally:
            os.close(handle)
