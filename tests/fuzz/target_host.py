"""What the kernel writes under /proc, with names that strangers chose in it; and /etc/passwd, which a stranger wrote."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from fuzzing import Target, told

from pyrunc import host
from pyrunc.cgroup.paths import locate
from pyrunc.errors import HostError, SpecError
from pyrunc.run.environ import environment, home_of
from pyrunc.run.facts import mount_point

if TYPE_CHECKING:
    import random

NAMES = (
    b"a",
    b"b c",
    b"-",
    b"\\",
    b"\t",
    b"\n",
    b" - ",
    b"\xff",
    b"x" * 40,
    b"memory",
    b"..x",
    b"\\040",
    b":",
    b",",
    b"#",
)
KINDS = (
    b"ext4",
    b"cgroup",
    b"cgroup2",
    b"proc",
    b"sysfs",
    b"tmpfs",
    b"overlay",
    b"resctrl",
    b"fuse.x",
    b"nsfs",
    b"cgroupx",
)
CONTROLLERS = (b"cpu,cpuacct", b"cpuset", b"memory", b"pids", b"name=systemd", b"name=a-b", b"devices")
OPTIONS = (b"rw", b"rw,xattr", b"ro,release_agent=/x\\040-\\040y", b"rw,nsdelegate", b"rw,lowerdir=/a:/b")


def escaped(name: bytes) -> bytes:
    r"""Write a path as the kernel does in mountinfo: blank, tab, newline, backslash and # in octal."""
    return b"".join(b"\\%03o" % byte if byte in b" \t\n\\#" else bytes([byte]) for byte in name)


def a_path(rnd: random.Random) -> bytes:
    start = rnd.choice((b"", b"", b"/sys/fs/cgroup", b"/proc", b"/sys"))
    return (start + b"".join(b"/" + rnd.choice(NAMES) for _ in range(rnd.randint(0, 3)))) or b"/"


def mountinfo(rnd: random.Random) -> bytes:
    """Return a table in the kernel's form (show_mountinfo): ids, optional fields, and names of anybody's choice."""
    lines = []
    for number in range(20, 20 + rnd.randint(0, 12)):
        kind = rnd.choice(KINDS)
        options = rnd.choice(CONTROLLERS) if kind == b"cgroup" and rnd.random() < 0.8 else rnd.choice(OPTIONS)
        root = (
            b"net:[4026531840]"
            if kind == b"nsfs"
            else escaped(rnd.choice((b"/", b"/", a_path(rnd), b"/../..")))
        )
        peers = rnd.choice((b"", b"", b" shared:5", b" master:3 propagate_from:2", b" unbindable"))
        parent = rnd.choice((1, number, rnd.randint(19, 33)))
        source = escaped(rnd.choice((b"", b"none", b"cgroup", rnd.choice(NAMES))))
        lines.append(
            b"%d %d 0:%d %s %s rw,nosuid%s - %s %s rw,%s"
            % (number, parent, number, root, escaped(a_path(rnd)), peers, kind, source, options)
        )
    return b"".join(line + b"\n" for line in lines)


def own_cgroups(rnd: random.Random) -> bytes:
    names = b"/".join(
        rnd.choice((b"", b"user.slice", b"a b", b"\xff", b"x:y", b"..", b"\\n")) for _ in range(3)
    )
    lines = [
        b"%d:%s:/%s" % (number, names_, names) for number, names_ in enumerate(rnd.sample(CONTROLLERS, 4), 2)
    ]
    lines += [b"0::/%s" % names] if rnd.random() < 0.8 else []
    return b"".join(line + b"\n" for line in lines)


class Proc(Target):
    """mountinfo and cgroup of /proc/self, the second behind a line of dashes. The kernel wrote them, so no bytes are damaged:
    what strangers have a say in is names, and how mounts lie.
    """

    name = "proc"

    def make(self, rnd: random.Random) -> bytes:
        return mountinfo(rnd) + b"----\n" + own_cgroups(rnd)

    def vary(self, data: bytes, rnd: random.Random) -> bytes:
        table, _, own = data.partition(b"----\n")
        lines = table.splitlines(keepends=True)
        rnd.shuffle(lines)
        return (
            b"".join(lines[: rnd.randint(0, len(lines))])
            + b"----\n"
            + (own if rnd.random() < 0.5 else own_cgroups(rnd))
        )

    def judge(self, data: bytes) -> str:
        table, _, own = data.partition(b"----\n")
        layout = host.parse_layout(table, own)
        found = [*layout.v1, *([layout.v2] if layout.v2 is not None else [])]
        assert all(one.mountpoint.startswith("/") for one in found)
        said = told(lambda: locate(layout, None, "c1"), SpecError)[1]
        points = host.parse_proc_mounts(table)
        assert all(point.startswith("/") for point in points)
        return f"{layout.mode} {len(found)} {len(points)} {said or 'located'}"


class Passwd(Target):
    """The container's /etc/passwd; HOME is one of its fields, or /."""

    name = "passwd"
    tokens = (
        *Target.tokens,
        b"\r\n",
        b":0:",
        b"::",
        b"root:x:0:0:root:/root:/bin/sh\n",
        b"\0",
        b":" * 20000,
        b"A" * 70000,
    )

    def __init__(self) -> None:
        self.scratch = tempfile.TemporaryDirectory(prefix="pyrunc-fuzz-")
        self.root = Path(self.scratch.name)
        (self.root / "etc").mkdir()
        self.fd = os.open(self.root, os.O_PATH)

    def clean(self) -> None:
        os.close(self.fd)
        self.scratch.cleanup()

    def judge(self, data: bytes) -> str:
        (self.root / "etc/passwd").write_bytes(data)
        homes = {home_of(uid, self.fd) for uid in (0, 1000, 2**32 - 2)}
        assert all(home and "\0" not in home for home in homes)
        assert homes <= {"/", *map(os.fsdecode, data.replace(b"\n", b":").split(b":"))}
        strings = environment(("A=1", "HOME=", "A=2"), 0, self.fd)
        assert strings.endswith(b"\0")
        assert strings.count(b"\0") == 2
        return f"{len(homes)} homes"


class Release(Target):
    """uname's release, and the numbers of status and limits: as kernels of any distribution write them."""

    name = "release"
    tokens = (
        b".",
        b"-",
        b"6",
        b"14",
        b"999999999999",
        b"rc1",
        b"+",
        b"\xc2\xb2",
        b"\xd9\xa3",
        b"\n",
        b"1" * 50,
    )

    def judge(self, data: bytes) -> str:
        text = data.decode("utf-8", "replace")
        return told(lambda: host.parse_release(text), HostError)[1] or "read"


class MountPoint(Target):
    """Paths of root directories: the mount that each lies on is found in this host's own table."""

    name = "mount-point"
    tokens = (b"/", b"/proc", b"/sys/fs/cgroup", b"/dev/shm", b"..", b"\xff", b" ")

    def judge(self, data: bytes) -> str:
        path = os.fsdecode(data.replace(b"\0", b""))
        return "/" if mount_point(path) == "/" else "another"


TARGETS = (Proc, Passwd, Release, MountPoint)
