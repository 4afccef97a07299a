"""What the executor may ask its parent (RPC). These numbers stand nowhere else."""

from __future__ import annotations

TAGS = {
    "join": 1, "maps": 2, "prepared": 3, "hook": 4, "env": 5, "ready": 6, "start": 7, "source": 8, "netdev": 9,
    "resctrl": 10, "agent": 11, "landlock": 12,
}  # fmt: skip
TAG_NAMES = {number: name for name, number in TAGS.items()}
