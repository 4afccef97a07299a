"""The options of the host's cgroup2 are as before when criu has been there."""

from __future__ import annotations

import pytest

from pyrunc.run import hierarchy
from pyrunc.run.hierarchy import Mount, find_unified, give_back

TABLE = b"""\
24 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
29 24 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot
31 24 0:26 /a /mnt/with\\040blank ro,noatime - cgroup2 none rw
"""


@pytest.mark.parametrize(
    ("table", "point", "flags", "options"),
    [
        (
            b"".join(TABLE.splitlines(keepends=True)[:2]),
            "/sys/fs/cgroup",
            0x20000E,
            b"nsdelegate,memory_recursiveprot",
        ),
        (TABLE, "/mnt/with blank", 0x401, b""),
    ],
)
def test_the_mount_on_top(table: bytes, point: str, flags: int, options: bytes) -> None:
    found = find_unified(table)

    assert found is not None
    assert (found.point, found.flags, found.options) == (point, flags, options)


def test_a_host_without() -> None:
    assert find_unified(TABLE.splitlines()[0]) is None


@pytest.mark.parametrize(
    ("now", "told"),
    [
        (b"nsdelegate", []),
        (b"", [("/sys/fs/cgroup", b"nsdelegate")]),
        (b"favordynmods", [("/sys/fs/cgroup", b"nsdelegate")]),
    ],
)
def test_options_are_given_back_when_they_have_changed(
    monkeypatch: pytest.MonkeyPatch, now: bytes, told: list[tuple[str, bytes]]
) -> None:
    """The remount itself is what spec-tests/test_checkpoint.py sees in the virtual machine."""
    calls: list[tuple[str, bytes]] = []
    monkeypatch.setattr(hierarchy, "unified", lambda: Mount("/sys/fs/cgroup", 0, now))

    def remount(mount: Mount) -> int:
        calls.append((mount.point, mount.options))
        return 0

    monkeypatch.setattr(hierarchy, "_remount", remount)
    give_back(Mount("/sys/fs/cgroup", 0, b"nsdelegate"))

    assert calls == told


def test_what_cannot_be_given_back_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(hierarchy, "unified", lambda: Mount("/sys/fs/cgroup", 0, b""))
    monkeypatch.setattr(hierarchy, "_remount", lambda _mount: 1)
    give_back(Mount("/sys/fs/cgroup", 0, b"nsdelegate"))

    assert "cannot give back nsdelegate: operation not permitted" in capfd.readouterr().err
