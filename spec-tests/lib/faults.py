"""What the tests of faults share: what is left of a container, and a runtime whose system calls fail."""

from __future__ import annotations

import pathlib
import shutil
from typing import TYPE_CHECKING

from lib import host
from lib.runtime import mount_table, orphans, poll

if TYPE_CHECKING:
    from lib.runtime import Runtime


def gone(runtime: Runtime, ident: str) -> list[str]:
    """What is still there of a container."""
    poll(lambda: not orphans() and not host.cgroup_dirs(ident), 0.6)
    return [*host.cgroup_dirs(ident), *orphans().values(), *(s for s in runtime.states() if s == ident)]


def failing(call: str, errno: str, when: int) -> tuple[str, ...]:
    """A prefix of a command line, with which the `when`-th call of each of its processes fails (strace)."""
    inject = f"inject={call}:error={errno}:when={when}"
    return (
        shutil.which("strace") or "strace",
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        f"trace={call}",
        "-e",
        inject,
    )


def census() -> dict[str, int]:
    """Counts of what a runtime could leave on the host bit by bit."""
    directories = (
        place for top in set(host.hierarchies().values()) for place in pathlib.Path(top).glob("**/")
    )
    return {
        "mounts": len(mount_table()),
        "cgroups of ours": len(host.cgroup_dirs("st-")),
        "cgroups": sum(1 for _ in directories),
        "children": len(orphans()),
        "keyrings": sum("st-" in line for line in pathlib.Path("/proc/keys").read_text().splitlines())
        if pathlib.Path("/proc/keys").exists()
        else 0,
    }
