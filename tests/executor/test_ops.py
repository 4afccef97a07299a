"""Each operation against the real kernel: what it does, and how it fails."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
import struct
from typing import TYPE_CHECKING

import pytest
from harness import (
    CWD,
    NEWCGROUP,
    NEWIPC,
    NEWNET,
    NEWNS,
    NEWPID,
    NEWTIME,
    NEWUTS,
    NONE,
    Plan,
    look,
    run,
    run_user,
    tmpfs,
    user_namespace,
)

if TYPE_CHECKING:
    from pathlib import Path

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: makes devices, drops capabilities")

pytestmark = pytest.mark.usefixtures("build")

O_PATH = os.O_PATH
DIRECTORY = os.O_DIRECTORY
IN_ROOT = 0x10
AT_EMPTY_PATH, AT_RECURSIVE = 0x1000, 0x8000
CLONE_TREE = 1
RDONLY, NOSUID, NODEV, NOEXEC = 1, 2, 4, 8
MS_PRIVATE = 1 << 18
MNT_DETACH = 2


def directory(plan: Plan, path: Path | str, slot: int) -> Plan:
    return plan.op("OPEN", CWD, str(path), O_PATH | DIRECTORY, 0, 0, out=slot)


# --- make an fd


def test_open_resolves_links_below_the_root(room: Path) -> None:
    (room / "link").symlink_to("/../../inner")
    (room / "inner").write_text("inside")
    plan = directory(Plan(), room, 5).op("OPEN", 5, "link", os.O_RDONLY, 0, IN_ROOT, out=6).op("DUP2", 6, 0)

    assert run(plan.sh("cat")).out == "inside"


def test_open_says_why_not(room: Path) -> None:
    plan = directory(Plan(), room, 5).op("OPEN", 5, "nothing", O_PATH, 0, IN_ROOT, out=6)

    result = run(plan)

    assert (result.code, result.error) == (1, ("OPEN", errno.ENOENT))


def test_open_is_always_cloexec() -> None:
    plan = Plan().op("OPEN", CWD, "/", O_PATH, 0, 0, out=5)

    assert run(plan.sh("ls /proc/self/fd")).out.split() == ["0", "1", "2", "3"]  # 3 is ls's own


def test_open_creates_with_mode(room: Path) -> None:
    plan = Plan().op("UMASK", 0).op("OPEN", CWD, f"{room}/new", os.O_CREAT | os.O_WRONLY, 0o640, 0, out=5)

    assert run(plan.sh("true")).code == 0
    assert stat.S_IMODE((room / "new").stat().st_mode) == 0o640


def test_open_tree_clones_and_a_plain_one_needs_no_path(room: Path) -> None:
    (room / "f").write_text("x")
    plan = directory(user_namespace(Plan()), room, 5)
    plan.op("OPEN_TREE", 5, "", CLONE_TREE | AT_EMPTY_PATH, out=6)

    assert run_user(look(plan, 6, "ls")).out == "f\n"


def test_open_tree_of_a_missing_path(room: Path) -> None:
    plan = directory(Plan(), room, 5).op("OPEN_TREE", 5, "no", 0, out=6)

    assert run(plan).error == ("OPEN_TREE", errno.ENOENT)


def test_file_system_from_nothing() -> None:
    plan = tmpfs(user_namespace(Plan()), 5, ("size", "64k"), ("mode", "0711"))

    assert run_user(look(plan, 5, "stat -c %a . && stat -f -c %b .")).out.split() == ["711", "16"]


def test_fsopen_of_an_unknown_type() -> None:
    assert run_user(user_namespace(Plan()).op("FSOPEN", "nosuchfs", out=5)).error == ("FSOPEN", errno.ENODEV)


def test_fsconfig_of_an_unknown_key() -> None:
    plan = user_namespace(Plan()).op("FSOPEN", "tmpfs", out=5).op("FSCONFIG", 5, 1, "colour", "blue")

    assert run_user(plan).error == ("FSCONFIG", errno.EINVAL)


def test_fsconfig_flag_and_fsmount_attributes() -> None:
    plan = user_namespace(Plan()).op("FSOPEN", "tmpfs", out=5).op("FSCONFIG", 5, 0, "ro", "")
    plan.op("FSCONFIG", 5, 6, "", "").op("FSMOUNT", 5, NOEXEC, out=6)

    assert "read-only" in run_user(look(plan, 6, "touch x 2>&1 || true")).out.lower()


def test_fsmount_before_create() -> None:
    plan = user_namespace(Plan()).op("FSOPEN", "tmpfs", out=5).op("FSMOUNT", 5, 0, out=6)

    assert run_user(plan).error == ("FSMOUNT", errno.EINVAL)


def test_socket_and_ioctl_bring_the_loopback_up() -> None:
    plan = user_namespace(Plan(), NEWNET).op("SOCKET", socket.AF_INET, socket.SOCK_DGRAM, out=5)
    plan.op("IOCTL", 5, 0x8914, struct.pack("16sH22x", b"lo", 1))

    assert "00000000000000000000000000000001" in run_user(plan.sh("cat /proc/net/if_inet6")).out


def test_ioctl_says_why_not() -> None:
    plan = Plan().op("SOCKET", socket.AF_INET, socket.SOCK_DGRAM, out=5).op("IOCTL", 5, 0x8914, bytes(40))

    assert run(plan).error in {("IOCTL", errno.ENODEV), ("IOCTL", errno.EPERM)}


def test_ioctl_without_data() -> None:
    """FIOCLEX takes no argument."""
    plan = Plan().op("DUP2", 0, 9).op("IOCTL", 0, 0x5451, b"")

    assert run(plan.sh("ls /proc/self/fd/0 2>&1; readlink /proc/self/fd/9")).out.endswith("/dev/null\n")


def devpts(plan: Plan, slot: int) -> Plan:
    plan.op("FSOPEN", "devpts", out=slot).op("FSCONFIG", slot, 1, "ptmxmode", "0666")
    return plan.op("FSCONFIG", slot, 6, "", "").op("FSMOUNT", slot, 0, out=slot)


def test_pty_opens_the_peer() -> None:
    plan = devpts(user_namespace(Plan()), 5).op("OPEN", 5, "ptmx", os.O_RDWR | os.O_NOCTTY, 0, 0, out=6)
    plan.op("PTY", 6, out=7).op("SETSID").op("DUP2", 7, 0).op("IOCTL", 0, 0x540E, b"")

    assert run_user(plan.sh("stty -F /dev/stdin size && cut -d' ' -f7 /proc/self/stat")).out.split() != [
        "0",
        "0",
        "0",
    ]


@pytest.mark.parametrize("path", ["/dev/null", "/etc/passwd"])
def test_pty_refuses_what_is_not_ptmx(path: str) -> None:
    plan = Plan().op("OPEN", CWD, path, os.O_RDONLY, 0, 0, out=5).op("PTY", 5, out=6)

    assert run(plan).error == ("PTY", errno.ENODEV)


# --- use an fd


def test_setattr_locks_a_mount_before_it_is_seen() -> None:
    plan = tmpfs(user_namespace(Plan()), 5).op("SETATTR", 5, MS_PRIVATE, RDONLY | NOSUID, 0, NONE)

    assert "Read-only" in run_user(look(plan, 5, "touch x 2>&1 || true")).out


def test_setattr_of_nonsense() -> None:
    plan = tmpfs(user_namespace(Plan()), 5).op("SETATTR", 5, AT_RECURSIVE, 1 << 40, 0, NONE)

    assert run_user(plan).error == ("SETATTR", errno.EINVAL)


def test_move_and_umount(room: Path) -> None:
    (room / "below").touch()
    plan = tmpfs(directory(user_namespace(Plan()), room, 5), 6).op("MOVE", 6, 5, 0)

    assert run_user(plan.sh(f"ls {room}; grep -c {room} /proc/self/mountinfo")).out == "1\n"
    plan.records.pop()
    plan.op("UMOUNT", str(room), MNT_DETACH)
    assert run_user(plan.sh(f"ls {room}")).out == "below\n"


def test_move_of_something_attached_elsewhere(room: Path) -> None:
    plan = directory(user_namespace(Plan()), room, 5).op("MOVE", 5, 5, 0)

    assert run_user(plan).error == ("MOVE", errno.EINVAL)


def test_move_onto_a_forbidden_file_system(room: Path) -> None:
    """CVE-2025-52881: a link in the image may have led into /proc; the fd itself is asked, not its path."""
    tmpfs_magic, proc_magic = 0x01021994, 0x9FA0
    plan = tmpfs(user_namespace(Plan()), 5).op("OPEN", CWD, "/proc/self/attr", O_PATH, 0, 0, out=6)
    refused = plan.op("MOVE", 5, 6, proc_magic)

    assert run_user(refused).error == ("MOVE", errno.EXDEV)

    allowed = directory(tmpfs(user_namespace(Plan()), 5), room, 6).op("MOVE", 5, 6, tmpfs_magic ^ 1)
    assert run_user(allowed).error is None


def test_umount_of_no_mount(room: Path) -> None:
    assert run_user(user_namespace(Plan()).op("UMOUNT", str(room), 0)).error == ("UMOUNT", errno.EINVAL)


def test_write_is_one_call(room: Path) -> None:
    plan = (
        Plan().op("OPEN", CWD, f"{room}/f", os.O_CREAT | os.O_WRONLY, 0o600, 0, out=5).op("WRITE", 5, b"a\0b")
    )

    assert run(plan.sh("true")).code == 0
    assert (room / "f").read_bytes() == b"a\0b"


def test_a_short_write_is_an_error() -> None:
    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(write, False)

    result = run(Plan(1).op("WRITE", 4, bytes(5000)), [write])
    os.close(read)
    os.close(write)

    assert result.error == ("WRITE", errno.EIO)


def test_write_says_why_not() -> None:
    assert run(Plan().op("WRITE", 0, b"x")).error == ("WRITE", errno.EBADF)


def test_dup2_is_the_way_into_the_program() -> None:
    plan = Plan().op("OPEN", CWD, "/dev/zero", os.O_RDONLY, 0, 0, out=5).op("DUP2", 5, 7)

    assert run(plan.sh("readlink /proc/self/fd/7")).out == "/dev/zero\n"


def test_dup2_to_itself_only_clears_cloexec() -> None:
    plan = Plan(1).op("DUP2", 4, 5)  # base is 3, so the first input is fd 5

    assert run(plan.sh("ls /proc/self/fd"), [os.open("/", O_PATH)]).out.split() == ["0", "1", "2", "3", "5"]


def test_close_and_then_it_is_empty() -> None:
    plan = Plan().op("OPEN", CWD, "/", O_PATH, 0, 0, out=5).op("CLOSE", 5).op("CLOSE", 5).op("CHOWN", 5, 0, 0)

    result = run(plan)

    assert result.error == ("CHOWN", errno.EBADF)
    assert result.messages[-1].op == 3


def test_an_empty_slot_is_no_directory_even_for_an_absolute_path() -> None:
    assert run(Plan().op("OPEN", 9, "/etc", O_PATH, 0, 0, out=5)).error == ("OPEN", errno.EBADF)


def test_closefrom_leaves_only_the_users_own(tmp_path: Path) -> None:
    """What the caller asks to keep stays; the conversation moves down; all else is really closed, not CLOEXEC."""
    plan = Plan().op("OPEN", CWD, "/", O_PATH, 0, 0, out=5).op("DUP2", 5, 40).op("CLOSEFROM", 3)
    plan.op("OPEN", CWD, "/proc/self/fd/40", O_PATH, 0, 0, out=5)

    assert run(plan).error == ("OPEN", errno.ENOENT)


def test_closefrom_keeps_the_environment_that_exec_will_read() -> None:
    env = os.memfd_create("env")
    os.write(env, b"A=1\0B=two words\0")
    plan = Plan(2).op("CLOSEFROM", 3).sh("echo $A $B; ls /proc/self/fd", env=5)

    assert run(plan, [os.open("/", O_PATH), env]).out.split() == ["1", "two", "words", "0", "1", "2", "3"]


def test_sendfd() -> None:
    ours, theirs = socket.socketpair()
    plan = Plan(1).op("OPEN", CWD, "/dev/zero", os.O_RDONLY, 0, 0, out=5).op("SENDFD", 4, 5, b"a name")

    assert run(plan, [theirs.fileno()]).code == 0
    data, fds, _, _ = socket.recv_fds(ours, 64, 4)
    assert (data, os.readlink(f"/proc/self/fd/{fds[0]}")) == (b"a name", "/dev/zero")
    for fd in fds:
        os.close(fd)
    ours.close()
    theirs.close()


def test_sendfd_to_nobody() -> None:
    ours, theirs = socket.socketpair()
    ours.close()

    with theirs:
        result = run(Plan(1).op("SENDFD", 4, 0, b"x"), [theirs.fileno()])
    assert result.error == ("SENDFD", errno.EPIPE)


def test_copymode(room: Path) -> None:
    (room / "d").mkdir()
    (room / "d").chmod(0o1731)
    plan = directory(user_namespace(Plan()), room / "d", 5).op("FSOPEN", "tmpfs", out=6).op("COPYMODE", 6, 5)
    plan.op("FSCONFIG", 6, 6, "", "").op("FSMOUNT", 6, 0, out=7)

    assert run_user(look(plan, 7, "stat -c %a .")).out == "1731\n"


def test_copymode_into_something_else(room: Path) -> None:
    assert run(directory(Plan(), room, 5).op("COPYMODE", 5, 5)).error == ("COPYMODE", errno.EBADF)


def test_symlink(room: Path) -> None:
    plan = directory(Plan(), room, 5).op("SYMLINK", 5, "l", "/a", 0)

    assert run(plan).code == 0
    assert os.readlink(room / "l") == "/a"
    assert run(plan).error == ("SYMLINK", errno.EEXIST)


def test_symlink_replaces_a_file_but_not_a_directory(room: Path) -> None:
    (room / "f").touch()
    (room / "d").mkdir()

    assert run(directory(Plan(), room, 5).op("SYMLINK", 5, "f", "/a", 1)).code == 0
    assert os.readlink(room / "f") == "/a"
    assert run(directory(Plan(), room, 5).op("SYMLINK", 5, "d", "/a", 1)).error == ("SYMLINK", errno.EISDIR)


@pytest.mark.root
@needs_root
def test_chown(room: Path) -> None:
    (room / "f").touch()
    plan = Plan().op("OPEN", CWD, f"{room}/f", os.O_RDONLY, 0, 0, out=5).op("CHOWN", 5, 3, 4)

    assert run(plan).code == 0
    assert ((room / "f").stat().st_uid, (room / "f").stat().st_gid) == (3, 4)


def test_chown_says_why_not() -> None:
    plan = (
        user_namespace(Plan(), 0)
        .op("OPEN", CWD, "/etc/passwd", os.O_RDONLY, 0, 0, out=5)
        .op("CHOWN", 5, 0, 0)
    )

    assert run_user(plan).error == ("CHOWN", errno.EPERM)


# --- process state


@pytest.mark.parametrize(
    ("flag", "name"),
    [(NEWNS, "mnt"), (NEWUTS, "uts"), (NEWIPC, "ipc"), (NEWNET, "net"), (NEWCGROUP, "cgroup")],
)
def test_unshare(flag: int, name: str) -> None:
    result = run_user(user_namespace(Plan(), flag).sh(f"readlink /proc/self/ns/{name}"))

    assert result.out.startswith(f"{name}:[")
    assert result.out.strip() != os.readlink(f"/proc/self/ns/{name}")


def test_unshare_says_why_not() -> None:
    assert run(Plan().op("UNSHARE", 1)).error == ("UNSHARE", errno.EINVAL)


def test_setns_checks_the_kind() -> None:
    uts = os.open("/proc/self/ns/uts", os.O_RDONLY)
    plan = Plan(1).op("SETNS", 4, NEWNET)

    assert run(plan, [uts]).error == ("SETNS", errno.EINVAL)
    os.close(uts)


def test_setns_joins() -> None:
    plan = user_namespace(Plan(), NEWUTS).op("OPEN", CWD, "/proc/self/ns/uts", os.O_RDONLY, 0, 0, out=5)
    plan.op("HOSTNAME", 0, b"first").op("UNSHARE", NEWUTS).op("HOSTNAME", 0, b"second").op("SETNS", 5, NEWUTS)

    assert run_user(plan.sh("cat /proc/sys/kernel/hostname")).out == "first\n"


def test_fork_reports_the_pid_first_and_leaves_a_sibling() -> None:
    plan = user_namespace(Plan(), NEWPID).op("FORK").op("RPC", 7, NONE, 0).sh("echo $$; kill -9 $$; exit 3")
    seen = []

    result = run_user(plan, answers={7: lambda pid, _fds: (seen.append(pid), (0, ()))[1]})

    kinds = [m.kind for m in result.messages]
    assert kinds.index(3) < kinds.index(5, 2), "the pid comes before the child's first word"
    assert result.out == "1\n"
    assert result.code == 3, "pid 1 is safe from its own signal, and we are its parent"


@pytest.mark.root
@needs_root
def test_fork_into_a_time_namespace() -> None:
    offsets = b"boottime 86400 0\n"
    plan = (
        Plan().op("UNSHARE", NEWTIME).op("OPEN", CWD, "/proc/self/timens_offsets", os.O_WRONLY, 0, 0, out=5)
    )
    plan.op("WRITE", 5, offsets).op("FORK").sh("cut -d. -f1 /proc/uptime")
    with open("/proc/uptime") as file:
        before = float(file.read().split()[0])

    assert int(run(plan).out) >= before + 86400 - 1


def test_setsid() -> None:
    fields = run(Plan().op("SETSID").sh("exec cat /proc/self/stat")).out.rpartition(") ")[2].split()

    assert fields[3] == fields[2] != str(os.getsid(0))


def test_setsid_twice() -> None:
    assert run(Plan().op("SETSID").op("SETSID")).error == ("SETSID", errno.EPERM)


@pytest.mark.root
@needs_root
def test_setgroups_and_setres() -> None:
    plan = Plan().op("SETRES", 1234, 5678, struct.pack("=2I", 7, 65536), 1)

    assert run(plan.sh("id -u; id -g; id -G")).out.split() == ["1234", "5678", "5678", "7", "65536"]


@pytest.mark.parametrize("ids", [(0xFFFFFFFF, 0), (0, 0xFFFFFFFF)])
def test_setres_refuses_the_id_that_means_no_change(ids: tuple[int, int]) -> None:
    assert run(Plan().op("SETRES", *ids, b"", 0)).error == ("SETRES", errno.EINVAL)


def test_setgroups_without_the_right() -> None:
    groups = struct.pack("=I", 5)

    assert run_user(user_namespace(Plan(), 0).op("SETRES", 0, 0, groups, 1)).error == ("SETRES", errno.EPERM)
    assert run_user(user_namespace(Plan(), 0).op("SETRES", 0, 0, groups, 2).sh("id -u")).out == "0\n"


def test_prctl() -> None:
    plan = Plan().op("PRCTL", 38, 1, 0, 0, 0)

    assert "NoNewPrivs:\t1" in run(plan.sh("cat /proc/self/status")).out


def test_prctl_says_why_not() -> None:
    assert run(Plan().op("PRCTL", 38, 2, 0, 0, 0)).error == ("PRCTL", errno.EINVAL)


def capability_sets(result: str) -> dict[str, int]:
    return {line[3:6]: int(line[8:], 16) for line in result.splitlines() if line.startswith("Cap")}


def test_bound_and_capset_with_ambient() -> None:
    chown, kill, net_raw = 1 << 0, 1 << 5, 1 << 13
    plan = user_namespace(Plan(), 0).op("BOUND", chown | kill | net_raw).op("PRCTL", 28, 0b101111, 0, 0, 0)
    plan.op("CAPSET", chown | kill, chown | kill, chown, chown)

    sets = capability_sets(run_user(plan.sh("cat /proc/self/status")).out)

    assert sets["Bnd"] == chown | kill | net_raw
    assert (sets["Inh"], sets["Amb"]) == (chown, chown)
    assert sets["Prm"] == sets["Eff"] == chown, "with SECBIT_NOROOT only the ambient set survives execve"


def test_capset_cannot_raise() -> None:
    plan = user_namespace(Plan(), 0).op("CAPSET", 0, 0, 0, 0).op("CAPSET", 1, 1, 0, 0)

    assert run_user(plan).error == ("CAPSET", errno.EPERM)


def test_bound_without_the_right() -> None:
    plan = user_namespace(Plan(), 0).op("CAPSET", 0, 0, 0, 0).op("BOUND", 0)

    assert run_user(plan).error == ("BOUND", errno.EPERM)


def test_rlimit() -> None:
    assert run(Plan().op("RLIMIT", 7, 33, 44).sh("ulimit -Sn; ulimit -Hn")).out.split() == ["33", "44"]
    assert run(Plan().op("RLIMIT", 7, 44, 33)).error == ("RLIMIT", errno.EINVAL)


def test_sched() -> None:
    attr = struct.pack("=IIQiIQQQ", 48, 3, 0, 5, 0, 0, 0, 0)  # SCHED_BATCH, nice 5

    fields = run(Plan().op("SCHED", attr).sh("exec cat /proc/self/stat")).out.rpartition(") ")[2].split()

    assert (fields[16], fields[38]) == ("5", "3")
    assert run(Plan().op("SCHED", bytes(48)[:0] + struct.pack("=II40x", 48, 99))).error == (
        "SCHED",
        errno.EINVAL,
    )


def test_ioprio() -> None:
    assert run(Plan().op("IOPRIO", 1, 0, 2 << 13 | 7).sh("ionice -p $$")).out == "best-effort: prio 7\n"
    assert run(Plan().op("IOPRIO", 9, 0, 0)).error == ("IOPRIO", errno.EINVAL)


def test_personality() -> None:
    assert run(Plan().op("PERSONALITY", 0x0040000).sh("cat /proc/self/personality")).out == "00040000\n"


def test_mempolicy() -> None:
    """Bind to node 0, the one that every machine has; numa_maps says how memory is placed from then on."""
    ran = run(
        Plan()
        .op("MEMPOLICY", 2, (1).to_bytes(8, "little"))
        .sh("grep -c '^[0-9a-f]* bind:0' /proc/self/numa_maps")
    )
    assert int(ran.out) > 0
    assert run(Plan().op("MEMPOLICY", 2, b"")).error == ("MEMPOLICY", errno.EINVAL)


def test_umask() -> None:
    assert run(Plan().op("UMASK", 0o027).sh("umask")).out == "0027\n"


def test_hostname_and_domainname() -> None:
    plan = user_namespace(Plan(), NEWUTS).op("HOSTNAME", 0, b"box").op("HOSTNAME", 1, b"lan")

    assert run_user(plan.sh("cat /proc/sys/kernel/hostname /proc/sys/kernel/domainname")).out == "box\nlan\n"


def test_hostname_too_long() -> None:
    plan = user_namespace(Plan(), NEWUTS).op("HOSTNAME", 0, b"x" * 65)

    assert run_user(plan).error == ("HOSTNAME", errno.EINVAL)


def test_keyctl() -> None:
    plan = Plan().op("KEYCTL", "_ses.test", 0x3F1B0000)

    keys = run(plan.sh("cat /proc/keys")).out

    assert "_ses.test" in keys
    assert "3f1b0000" in keys


def test_keyctl_says_why_not() -> None:
    assert run(Plan().op("KEYCTL", "", 0)).error == ("KEYCTL", errno.EINVAL)


def test_chdir(room: Path) -> None:
    assert run(Plan().op("CHDIR", str(room)).sh("pwd")).out == f"{room}\n"
    assert run(Plan().op("CHDIR", f"{room}/no")).error == ("CHDIR", errno.ENOENT)


def test_chdir_through_a_leaked_directory_is_found_out() -> None:
    """CVE-2024-21626: /proc/self/fd/N leads out of the root, and only getcwd(2) tells."""
    root = user_namespace(Plan())
    root = (
        tmpfs(root, 5)
        .op("OPEN", CWD, "/mnt", O_PATH, 0, 0, out=6)
        .op("OPEN", CWD, "/etc", O_PATH, 0, 0, out=7)
    )
    root.op("DUP2", 7, 40).op("MOVE", 5, 6, 0).op("MKPATH", 5, "proc", 0, 0o755, out=8)
    root.op("OPEN_TREE", CWD, "/proc", CLONE_TREE | AT_RECURSIVE, out=9).op("MOVE", 9, 8, 0).op("PIVOT", 5, 0)

    assert run_user(root.op("CHDIR", "/proc/self/fd/40")).error == ("CHDIR", errno.EXDEV)
