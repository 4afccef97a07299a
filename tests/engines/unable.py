"""What runC cannot do on some hosts or engines, and why. What is not listed here must work with runC, too."""

from __future__ import annotations

import re

CAPS = (
    "runC 1.1.5 fails when the host's bounding set lacks a capability that the engine asks for; pyrunc leaves it out, as "
    "newer runC do"
)
CGROUPS = "runC that is killed, or whose caller is, leaves cgroups of v1 that nobody knows any more"
RANDOM = (
    "the runtime is killed at random moments: nothing is left",
    "the engine is killed at random moments: it agrees with the kernel, nothing is left",
)
"""pyrunc must do these, whatever runC does: it is not excused by runC's failure."""
UNABLE = {
    (RANDOM[0], r"containerd|docker"): CGROUPS,
    (RANDOM[1], r"containerd|docker"): CGROUPS,
    ("--privileged", r"docker 20"): CAPS,
    ("exec --privileged", r"docker 20"): CAPS,
    ("checkpoint, restore", r"docker 28"): (
        "Docker 28 mounts the network namespace of process 0 before the restored container has one that it knows"
    ),
    ("the memory limit is hit: OOMKilled", r"podman 4"): (
        "with cgroup v1, conmon 2.1.6 makes the file `oom` in the directory that podman was called from; podman 4.3 "
        "looks for it in the bundle (podman 5.4 with conmon 2.1.12 learns of it)"
    ),
}


def why(action: str, label: str) -> str:
    """Return why an action is allowed to fail with runC on an engine, "" when it is not."""
    found = [
        reason for (name, engine), reason in UNABLE.items() if name == action and re.match(engine, label)
    ]
    return found[0] if found else ""
