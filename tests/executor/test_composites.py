"""The five composite operations: paths, nodes, roots, covers and copies in a tree that a stranger filled."""

from __future__ import annotations

import errno
import os
import stat
import struct
from pathlib import Path

import pytest
from harness import CWD, MAPS, NEWNS, NONE, Plan, look, run, run_user, tmpfs, user_namespace, write_maps

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: makes devices")

pytestmark = pytest.mark.usefixtures("build")

O_PATH, DIRECTORY = os.O_PATH, os.O_DIRECTORY
CLONE_TREE, AT_EMPTY_PATH, AT_RECURSIVE = 1, 0x1000, 0x8000
DIR, FILE = 0, 1


def mkpath(room: Path, path: str, kind: int = DIR, mode: int = 0o755) -> Plan:
    plan = Plan().op("UMASK", 0o077).op("OPEN", CWD, str(room), O_PATH | DIRECTORY, 0, 0, out=5)
    return plan.op("MKPATH", 5, path, kind, mode, out=6)


# --- MKPATH


@pytest.mark.parametrize("path", ["a/b/c", "/a/b/c", "a//b/./c/", "/x/../a/b/c"])
def test_mkpath_makes_directories_with_their_mode_whatever_the_umask(room: Path, path: str) -> None:
    assert run(mkpath(room, path, DIR, 0o751).sh("umask")).out == "0077\n"
    assert [stat.S_IMODE((room / p).stat().st_mode) for p in ("a", "a/b", "a/b/c")] == [0o751] * 3


def test_mkpath_makes_a_file_and_its_directories(room: Path) -> None:
    assert run(mkpath(room, "a/f", FILE, 0o644)).code == 0
    assert stat.S_IMODE((room / "a/f").stat().st_mode) == 0o644
    assert stat.S_ISREG((room / "a/f").stat().st_mode)
    assert stat.S_IMODE((room / "a").stat().st_mode) == 0o755


def test_mkpath_gives_the_slot_of_what_is_there(room: Path) -> None:
    (room / "d").mkdir()
    (room / "d/inside").touch()

    assert run(look(mkpath(room, "d"), 6, "ls")).out == "inside\n"


@pytest.mark.parametrize(
    ("path", "kind", "error"),
    [("file", DIR, errno.ENOTDIR), ("dir", FILE, errno.EISDIR), ("file/x", DIR, errno.ENOTDIR)],
)
def test_mkpath_refuses_another_kind(room: Path, path: str, kind: int, error: int) -> None:
    (room / "file").touch()
    (room / "dir").mkdir()

    assert run(mkpath(room, path, kind)).error == ("MKPATH", error)


@pytest.mark.parametrize("kind", [DIR, FILE])
@pytest.mark.parametrize("target", ["{room}-outside", "../../../../../../{room}-outside", "/made", "deep/er"])
def test_mkpath_makes_the_target_of_a_dangling_link_inside(room: Path, target: str, kind: int) -> None:
    """CVE-2019-18837, CVE-2024-45310: whatever the link says, nothing appears outside."""
    outside = room.parent / f"{room.name}-outside"
    (room / "link").symlink_to(target.format(room=room))

    assert run(mkpath(room, "link" if kind else "link/more", kind)).code == 0

    assert not outside.exists()
    resolved = room / target.format(room=room).replace("../", "").lstrip("/")
    assert resolved.is_file() if kind else (resolved / "more").is_dir()
    assert (room / "link").is_symlink()


def test_mkpath_of_links_in_a_circle(room: Path) -> None:
    (room / "a").symlink_to("b")
    (room / "b").symlink_to("a")

    assert run(mkpath(room, "a/x")).error == ("MKPATH", errno.ELOOP)


def test_mkpath_of_a_link_that_grows(room: Path) -> None:
    (room / "a").symlink_to("missing/../a/" + "x/" * 1500)

    assert run(mkpath(room, "a")).error in {("MKPATH", errno.ELOOP), ("MKPATH", errno.ENAMETOOLONG)}


def test_mkpath_of_a_path_too_long(room: Path) -> None:
    assert run(mkpath(room, "x/" * 2100)).error == ("MKPATH", errno.ENAMETOOLONG)


def test_mkpath_of_the_root_itself(room: Path) -> None:
    assert run(look(mkpath(room, "/"), 6, "pwd -P")).out == f"{room}\n"


def test_mkpath_where_nothing_may_be_written() -> None:
    plan = (
        tmpfs(user_namespace(Plan()), 5)
        .op("SETATTR", 5, 0, 1, 0, NONE)
        .op("MKPATH", 5, "a", DIR, 0o755, out=6)
    )

    assert run_user(plan).error == ("MKPATH", errno.EROFS)


# --- NODE


def node(room: Path, name: str, mode: int, device: int, owner: tuple[int, int] = (0, 0)) -> Plan:
    plan = Plan().op("UMASK", 0o077).op("OPEN", CWD, str(room), O_PATH | DIRECTORY, 0, 0, out=5)
    return plan.op("NODE", 5, name, mode, device, owner[0] << 32 | owner[1])


@pytest.mark.root
@needs_root
def test_node_makes_a_device_with_owner_and_mode(room: Path) -> None:
    assert run(node(room, "full", stat.S_IFCHR | 0o662, os.makedev(1, 7), (5, 6))).code == 0

    made = (room / "full").stat()
    assert stat.S_ISCHR(made.st_mode)
    assert (stat.S_IMODE(made.st_mode), made.st_rdev, made.st_uid, made.st_gid) == (
        0o662,
        os.makedev(1, 7),
        5,
        6,
    )


@pytest.mark.root
@needs_root
def test_node_takes_the_same_device_and_gives_it_owner_and_mode(room: Path) -> None:
    os.mknod(room / "null", stat.S_IFCHR | 0o600, os.makedev(1, 3))

    assert run(node(room, "null", stat.S_IFCHR | 0o666, os.makedev(1, 3), (7, 8))).code == 0
    made = (room / "null").stat()
    assert (stat.S_IMODE(made.st_mode), made.st_uid, made.st_gid) == (0o666, 7, 8)


@pytest.mark.root
@needs_root
@pytest.mark.parametrize("kind", ["other device", "file", "link"])
def test_node_refuses_anything_else_of_that_name(room: Path, kind: str) -> None:
    """A link would lead chown and chmod to a file of the host."""
    victim = room / "victim"
    os.mknod(victim, stat.S_IFCHR | 0o600, os.makedev(1, 3))
    path = room / "null"
    if kind == "other device":
        os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5))
    elif kind == "file":
        path.touch(0o600)
    else:
        path.symlink_to(victim)

    assert run(node(room, "null", stat.S_IFCHR | 0o666, os.makedev(1, 3), (7, 8))).error == (
        "NODE",
        errno.EEXIST,
    )
    assert (stat.S_IMODE(victim.stat().st_mode), victim.stat().st_uid) == (0o600, 0)


def test_node_makes_a_fifo_without_rights(room: Path) -> None:
    owner = (os.getuid(), os.getgid())

    assert run(node(room, "f", stat.S_IFIFO | 0o640, 0, owner)).code == 0
    assert run(node(room, "f", stat.S_IFIFO | 0o640, 0, owner)).code == 0
    assert (room / "f").is_fifo()


def test_node_in_a_user_namespace() -> None:
    plan = tmpfs(user_namespace(Plan()), 5).op("NODE", 5, "null", stat.S_IFCHR | 0o666, os.makedev(1, 3), 0)

    assert run_user(plan).error == ("NODE", errno.EPERM)


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="needs an x86-64 processor")
def test_node_whose_mode_cannot_be_set_is_no_loop(room: Path) -> None:
    """Before Linux 6.6 (no fchmodat2) it is made anew, but a default ACL of the image's gives it another mode each time."""
    entries = b"".join(
        struct.pack("=HHI", tag, mode, 0xFFFFFFFF) for tag, mode in ((1, 4), (4, 4), (0x20, 0))
    )
    os.setxattr(room, "system.posix_acl_default", struct.pack("=I", 2) + entries)
    code = [(0x20, 0, 0, 0), (0x15, 0, 1, 452), (6, 0, 0, 0x50000 | errno.ENOSYS), (6, 0, 0, 0x7FFF0000)]
    program = b"".join(struct.pack("=HBBI", *one) for one in code)
    plan = Plan().op("OPEN", CWD, str(room), O_PATH | DIRECTORY, 0, 0, out=5).op("PRCTL", 38, 1, 0, 0, 0)
    plan.op("SECCOMP", 0, program, NONE, NONE).op(
        "NODE", 5, "fifo", stat.S_IFIFO | 0o666, 0, os.getuid() << 32 | os.getgid()
    )

    assert run(plan).error == ("NODE", errno.ENOSYS)


# --- PIVOT


def root_with_proc(plan: Plan) -> Plan:
    """A root in slot 5 with the host's /bin, /lib*, /usr and /proc in it, lying on the host's /mnt."""
    tmpfs(plan, 5).op("OPEN", CWD, "/mnt", O_PATH, 0, 0, out=6).op("MOVE", 5, 6, 0)
    for name in ("/usr", "/proc"):
        plan.op("OPEN_TREE", CWD, name, CLONE_TREE | AT_RECURSIVE, out=8)
        plan.op("MKPATH", 5, name, DIR, 0o755, out=7).op("MOVE", 8, 7, 0).op("CLOSE", 8).op("CLOSE", 7)
    for name in ("bin", "lib", "lib64"):
        plan.op("SYMLINK", 5, name, f"usr/{name}", 0)
    return plan


def test_pivot_that_fails_leaves_no_descriptor_of_the_old_root(room: Path) -> None:
    """No plan tolerates that, but one that did would go on with the host's root at hand."""
    plan = user_namespace(Plan()).op("OPEN", CWD, str(room), O_PATH | DIRECTORY, 0, 0, out=5)
    plan.op("PIVOT", 5, 0, tolerate=[errno.EINVAL])
    plan.op("OPEN", CWD, "/proc/self/fd/5", O_PATH, 0, 0, out=6)  # 3 is the conversation, 4 the directory

    result = run_user(plan)

    assert (result.skipped, result.error) == ([("PIVOT", errno.EINVAL)], ("OPEN", errno.ENOENT))


@pytest.mark.parametrize("how", [0, 1])
def test_pivot(how: int) -> None:
    plan = root_with_proc(user_namespace(Plan())).op("PIVOT", 5, how).sh("pwd; ls /")

    assert run_user(plan).out.split() == ["/", "bin", "lib", "lib64", "proc", "usr"]


def test_pivot_leaves_no_mount_of_the_host() -> None:
    plan = root_with_proc(user_namespace(Plan())).op("PIVOT", 5, 0).sh("cut -d' ' -f5 /proc/self/mountinfo")

    points = run_user(plan).out.split()

    assert points[0] == "/"
    assert all(point == "/" or point.split("/")[1] in {"usr", "proc"} for point in points)


def test_pivot_needs_a_mount(room: Path) -> None:
    plan = (
        user_namespace(Plan()).op("OPEN", CWD, str(room), O_PATH | DIRECTORY, 0, 0, out=5).op("PIVOT", 5, 0)
    )

    assert run_user(plan).error == ("PIVOT", errno.EINVAL)


def test_pivot_knows_two_ways() -> None:
    assert run_user(tmpfs(user_namespace(Plan()), 5).op("PIVOT", 5, 2)).error == ("PIVOT", errno.EINVAL)


# --- COVER


def coverable(plan: Plan) -> Plan:
    """Root in slot 5 with a directory, a file and a link; mounts to cover with in 6 (file) and 7 (directory)."""
    tmpfs(plan, 5).op("OPEN", CWD, "/mnt", O_PATH, 0, 0, out=8).op("MOVE", 5, 8, 0)
    plan.op("MKPATH", 5, "d/inside", DIR, 0o755, out=8).op("MKPATH", 5, "f", FILE, 0o644, out=8)
    plan.op("OPEN", 5, "f", os.O_WRONLY, 0, 0x10, out=8).op("WRITE", 8, b"secret").op("CLOSE", 8)
    plan.op("SYMLINK", 5, "l", "/../../f", 0)
    plan.op("OPEN_TREE", CWD, "/dev/null", CLONE_TREE, out=6)
    return tmpfs(plan, 7).op("SETATTR", 7, 0, 1, 0, NONE)


def test_cover_takes_what_fits() -> None:
    plan = coverable(user_namespace(Plan())).op("COVER", 5, "/d", 6, 7).op("COVER", 5, "/f", 6, 7)

    out = run_user(plan.sh("cd /mnt; ls d; cat f; touch d/x 2>&1 || true")).out

    assert "Read-only" in out
    assert "secret" not in out
    assert "inside" not in out


def test_cover_follows_a_link_inside_the_root() -> None:
    plan = coverable(user_namespace(Plan())).op("COVER", 5, "/l", 6, 7)

    assert run_user(plan.sh("cat /mnt/f")).out == ""


def test_cover_of_a_missing_path_is_the_only_enoent() -> None:
    plan = coverable(user_namespace(Plan()))
    plan.op("COVER", 5, "/no", 6, 7, tolerate=[errno.ENOENT]).op(
        "COVER", 5, "/d", 6, 7, tolerate=[errno.ENOENT]
    )

    result = run_user(plan.sh("ls /mnt/d"))

    assert result.skipped == [("COVER", errno.ENOENT)]
    assert result.out == ""


def test_cover_without_the_mount_for_it() -> None:
    plan = coverable(user_namespace(Plan())).op("CLOSE", 6).op("COVER", 5, "/f", 6, 7)

    assert run_user(plan).error == ("COVER", errno.EBADF)


# --- COPYUP


def tree(room: Path) -> Path:
    source = room / "source"
    (source / "sub/empty").mkdir(parents=True)
    (source / "sub/file").write_bytes(b"x" * 100_000)
    (source / "sub/file").chmod(0o4750)
    (source / "link").symlink_to("/etc/passwd")
    os.mkfifo(source / "fifo", 0o622)
    os.utime(source / "sub/file", ns=(1_000_000_001, 2_000_000_002))
    os.utime(source / "sub", ns=(3_000_000_003, 4_000_000_004))
    source.chmod(0o1777)
    return source


def copyup(source: Path, target: Path) -> Plan:
    plan = (
        Plan()
        .op("OPEN", CWD, str(source), O_PATH, 0, 0, out=5)
        .op("OPEN", CWD, str(target), O_PATH, 0, 0, out=6)
    )
    return plan.op("COPYUP", 5, 6)


def everything(top: Path) -> list[Path]:
    """Return what is below a directory. Path.rglob() follows links to see where they lead, and stops where it may not: in a
    sticky directory, where fs.protected_symlinks is on."""
    return sorted(Path(where, name) for where, *names in os.walk(top) for kind in names for name in kind)


def listing(top: Path) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for path in [top, *everything(top)]:
        s = path.lstat()
        times = () if path.is_symlink() or path == top else (s.st_mtime_ns,)
        size = s.st_size if stat.S_ISREG(s.st_mode) else 0
        rows.append((str(path.relative_to(top)), s.st_mode, s.st_uid, s.st_gid, size, s.st_rdev, *times))
    return rows


def test_copyup_copies_all_kinds(room: Path) -> None:
    source, target = tree(room), room / "target"
    target.mkdir()
    os.utime(source / "fifo", ns=(0, 0))

    assert run(copyup(source, target)).error is None

    os.utime(target / "fifo", ns=(0, 0))  # times of nodes are not kept
    assert listing(target) == listing(source)
    assert (target / "sub/file").read_bytes() == b"x" * 100_000
    assert os.readlink(target / "link") == "/etc/passwd"


@pytest.mark.root
@needs_root
def test_copyup_copies_owners_devices_and_attributes(room: Path) -> None:
    source, target = tree(room), room / "target"
    target.mkdir()
    os.mknod(source / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    for number, path in enumerate(everything(source)):
        os.chown(path, 1000 + number, 2000 + number, follow_symlinks=False)
    (source / "sub/file").chmod(0o4750)
    os.setxattr(source / "sub/file", "trusted.test", b"value")

    assert run(copyup(source, target)).error is None

    kept = [row[:6] for row in listing(source)]
    assert [row[:6] for row in listing(target)] == kept
    assert os.getxattr(target / "sub/file", "trusted.test") == b"value"


def test_copyup_into_what_is_not_empty(room: Path) -> None:
    source, target = tree(room), room / "target"
    (target / "sub").mkdir(parents=True)

    assert run(copyup(source, target)).error == ("COPYUP", errno.EEXIST)


def test_copyup_of_a_file(room: Path) -> None:
    (room / "f").touch()

    assert run(copyup(room / "f", room)).error == ("COPYUP", errno.ENOTDIR)


def test_copyup_ends_in_a_tree_too_deep(room: Path) -> None:
    deep = room / "source"
    deep.mkdir()
    fd = os.open(deep, os.O_RDONLY)
    for _ in range(200):
        os.mkdir("d", dir_fd=fd)
        below = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    (room / "target").mkdir()

    assert run(copyup(deep, room / "target")).error == ("COPYUP", errno.ELOOP)


def test_user_namespace_harness_maps_root() -> None:
    """The other tests rest on it: an ordinary user outside, root inside."""
    plan = user_namespace(Plan(), NEWNS).sh("cat /proc/self/uid_map; id -u")

    result = run(plan, answers={MAPS: write_maps})

    assert result.out.split()[-1] == "0"
    assert result.out.split()[1] == str(65534 if os.geteuid() == 0 else os.geteuid())
