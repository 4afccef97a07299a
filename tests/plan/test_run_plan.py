"""Plans against the real kernel: what a compiled container is, as a program inside it sees it.

A kernel that refuses an operation at its place in the plan (an era that has ended, a flag that is locked, a
detached mount that cannot be cloned) shows here and nowhere else.
"""

from __future__ import annotations

import array
import fcntl
import os
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from cases import base, compile_config, minimal
from goldens import namespaces

from pyrunc import host as hosts
from pyrunc.errors import SpecError
from pyrunc.plan.request import Facts, Source
from pyrunc.run.facts import mount_point

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from cases import Config
    from running import Outcome

pytest.importorskip("pyrunc._shim", reason="the shim is not built: python setup.py build_ext --inplace")
running = pytest.importorskip("running", reason="the shim is not built: python setup.py build_ext --inplace")

BUSYBOX = shutil.which("busybox")
pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs real root: mounts and namespaces"),
    pytest.mark.skipif(not BUSYBOX, reason="needs busybox-static (apt install busybox-static)"),
    pytest.mark.skipif(not hasattr(running._shim.lib, "pyrunc_spawn"), reason="the shim is not built"),
]
APPLETS = [
    "sh",
    "cat",
    "ls",
    "id",
    "mount",
    "stat",
    "hostname",
    "ip",
    "touch",
    "env",
    "sleep",
    "true",
    "test",
    "readlink",
    "date",
    "stty",
    "tty",
    "mkdir",
    "umount",
    "grep",
    "head",
    "wc",
]
SHARED_PROGRAM = 'exec sh -c "$0"'


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with a busybox root."""
    path = tmp_path_factory.mktemp("bundle")
    make_rootfs(path / "rootfs")
    (path / "vol").mkdir()
    (path / "vol" / "hello").write_text("hello\n")
    for parent in (path, *path.parents[:3]):
        parent.chmod(parent.stat().st_mode | 0o111)
    return path


def make_rootfs(rootfs: Path) -> None:
    """Make a root directory with busybox and some things to mount on."""
    for name in ("bin", "proc", "sys", "dev", "etc", "tmp", "home/app", "old/sub"):
        (rootfs / name).mkdir(parents=True)
    assert BUSYBOX
    shutil.copy(BUSYBOX, rootfs / "bin" / "busybox")
    for applet in APPLETS:
        (rootfs / "bin" / applet).symlink_to("busybox")
    (rootfs / "old" / "sub" / "file").write_text("from the image\n")
    (rootfs / "old").chmod(0o1750)
    (rootfs / "etc" / "secret").write_text("secret\n")


def run(bundle: Path, config: Config, script: str = "", **given: Any) -> Outcome:
    """Compile and run a config whose program is a shell script; the run must succeed."""
    outcome = attempt(bundle, config, script, **given)
    assert (outcome.error, outcome.status) == ("", 0), outcome
    return outcome


def attempt(bundle: Path, config: Config, script: str = "", **given: Any) -> Outcome:
    if script:
        config["process"]["args"] = ["sh", "-c", script]
        config["process"].setdefault("env", ["PATH=/bin"])
    talk = {key: given.pop(key) for key in ("inputs", "on") if key in given}
    facts = given.pop("facts", None) or Facts({})
    plan = compile_config(
        config, given.pop("host", None) or hosts.probe(mounts=True), facts, bundle=str(bundle), **given
    )
    return running.run_plan(plan, **talk)


def mapped(config: Config) -> Config:
    """Give a config the user namespace whose maps running.map_ids writes."""
    config["linux"]["namespaces"].append({"type": "user"})
    mapping = [
        {"containerID": 0, "hostID": 0, "size": 1},
        {"containerID": 1, "hostID": 100001, "size": 65535},
    ]
    config["linux"] |= {"uidMappings": mapping, "gidMappings": mapping}
    return config


def mounts(output: str) -> dict[str, list[str]]:
    """Return mount point -> fields of the mountinfo in an output (the last one wins)."""
    return {line.split()[4]: line.split() for line in output.splitlines() if " - " in line}


# The default config.


def test_default_container(bundle: Path) -> None:
    """The config of `runc spec` runs: every mount is there, the root is read-only, capabilities are as
    asked."""
    script = (
        "cat /proc/self/mountinfo; id -u; hostname; touch /x; echo touch $?; "
        "grep -E '^(Cap|NoNewPrivs)' /proc/self/status; ls /dev; ip link; stat -c %a /dev/null"
    )
    outcome = run(bundle, base(), script)
    lines = outcome.output.splitlines()
    seen = mounts(outcome.output)
    assert {"/", "/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys", "/sys/fs/cgroup"} <= set(
        seen
    )
    assert seen["/"][5].startswith("ro")
    assert "touch 1" in lines
    assert "CapEff:\t0000000020000420" in lines
    assert "CapInh:\t0000000000000000" in lines
    assert "NoNewPrivs:\t1" in lines
    assert {
        "null",
        "zero",
        "full",
        "random",
        "urandom",
        "tty",
        "ptmx",
        "fd",
        "stdin",
        "stdout",
        "stderr",
    } <= set(lines)
    assert "LOOPBACK,UP" in outcome.output
    assert lines[-1] == "666"
    assert outcome.asked == ["join", "prepared", "env", "ready"]


def test_nothing_but_stdio_is_open(bundle: Path) -> None:
    """The program has fds 0, 1, 2 (and the one with which it looks)."""
    outcome = run(bundle, base(), "for f in /proc/self/fd/*; do echo ${f##*/}; done")
    assert outcome.output.split() == ["0", "1", "2", "3"]


@contextmanager
def descriptors(*fds: int) -> Iterator[None]:
    """Put /dev/zero on these fds for a while; what the test run has there is set aside."""
    saved = {
        fd: fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 100) for fd in fds if os.path.exists(f"/proc/self/fd/{fd}")
    }
    zero = os.open("/dev/zero", os.O_RDONLY)
    for fd in fds:
        if zero != fd:
            os.dup2(zero, fd)
    try:
        yield
    finally:
        for fd in {*fds, zero}:
            os.close(fd)
        for fd, aside in saved.items():
            os.dup2(aside, fd, inheritable=False)
            os.close(aside)


def test_preserved_descriptors_follow(bundle: Path) -> None:
    """--preserve-fds hands on 3 and up, and no more."""
    with descriptors(3, 4):
        outcome = run(
            bundle,
            base(),
            "readlink /proc/self/fd/3; readlink /proc/self/fd/4; ls /proc/self/fd",
            preserve_fds=2,
        )
    assert outcome.output.split()[:2] == ["/dev/zero", "/dev/zero"]
    assert outcome.output.split()[2:] == ["0", "1", "2", "3", "4", "5"]


def test_no_namespaces_no_mounts(bundle: Path) -> None:
    """Without a mount namespace the container is a chroot, and the host's mounts are as before."""
    config = minimal()
    del config["linux"]
    before = Path("/proc/self/mountinfo").read_text()
    outcome = run(bundle, config, "test -x /bin/busybox && echo inside")
    assert outcome.output == "inside\n"
    assert Path("/proc/self/mountinfo").read_text() == before


def test_host_mounts_stay_as_they_are(bundle: Path) -> None:
    """A container leaves no mount on the host."""
    before = Path("/proc/self/mountinfo").read_text()
    run(bundle, base(), "true")
    assert Path("/proc/self/mountinfo").read_text() == before


# User namespaces.


def test_user_namespace(bundle: Path) -> None:
    """With a user namespace the devices are bound, the rest is mounted in it, and ids are mapped."""
    script = "cat /proc/self/uid_map; echo x > /dev/null; cat /proc/self/mountinfo; ip link"
    outcome = run(bundle, mapped(base()), script, on={"maps": running.map_ids})
    assert outcome.output.split()[:6] == ["0", "0", "1", "1", "100001", "65535"]
    assert "/dev/null" in mounts(outcome.output)
    assert "LOOPBACK,UP" in outcome.output
    assert outcome.asked == ["join", "maps", "prepared", "env", "ready"]


def test_user_namespace_of_other_ids(bundle: Path) -> None:
    """A user other than root runs in a user namespace, with the groups that were asked for."""
    config = mapped(base())
    config["process"]["user"] = {"uid": 1000, "gid": 100, "additionalGids": [5, 10]}
    outcome = run(bundle, config, "id; grep Groups /proc/self/status", on={"maps": running.map_ids})
    assert "uid=1000 gid=100" in outcome.output
    assert "Groups:\t5 10" in outcome.output


def test_user_namespace_without_pid_and_network(bundle: Path) -> None:
    """Where the kernel would refuse proc and sysfs, the host's are bound."""
    config = mapped(namespaces(base(), "mount", "uts"))
    config["linux"]["maskedPaths"] = config["linux"]["readonlyPaths"] = []
    del config["mounts"][4]  # a host need not have /dev/mqueue
    outcome = run(bundle, config, "cat /proc/self/mountinfo", on={"maps": running.map_ids})
    assert {"/proc", "/sys"} <= set(mounts(outcome.output))


# Namespaces.


def test_time_namespace(bundle: Path) -> None:
    """Offsets hold in the program, with and without a user namespace."""
    config = namespaces(minimal(), "mount", "pid", "time")
    config["mounts"] = [base()["mounts"][0]]
    config["linux"]["timeOffsets"] = {
        "monotonic": {"secs": 7881, "nanosecs": 2718281},
        "boottime": {"secs": 1337},
    }
    script = "cat /proc/self/timens_offsets"
    expected = ["monotonic", "7881", "2718281", "boottime", "1337", "0"]
    assert run(bundle, config, script).output.split() == expected
    assert run(bundle, mapped(config), script, on={"maps": running.map_ids}).output.split() == expected


@pytest.fixture
def others() -> Iterator[str]:
    """A process in namespaces of its own; its directory below /proc."""
    assert BUSYBOX
    child = subprocess.Popen(
        [
            "unshare",
            "--net",
            "--ipc",
            "--uts",
            "--pid",
            "--fork",
            "--cgroup",
            "--kill-child",
            BUSYBOX,
            "sleep",
            "60",
        ]
    )
    try:
        yield f"/proc/{_child_of(child.pid)}/ns"
    finally:
        child.kill()
        child.wait()


def _child_of(pid: int) -> int:
    for _ in range(200):
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        if found and "busybox" in Path(f"/proc/{found[0]}/cmdline").read_text():
            return int(found[0])
        time.sleep(0.01)
    raise AssertionError("unshare has no child")


def test_joined_namespaces(bundle: Path, others: str) -> None:
    """The program is in the namespaces that it was to join, the pid namespace included."""
    kinds = {"network": "net", "ipc": "ipc", "uts": "uts", "pid": "pid", "cgroup": "cgroup"}
    config = namespaces(base(), "mount", **{kind: f"{others}/{name}" for kind, name in kinds.items()})
    del config["hostname"]
    fds = {
        f"ns:linux.namespaces[{index}]": os.open(f"{others}/{name}", os.O_RDONLY)
        for index, name in enumerate(kinds.values(), 1)
    }
    try:
        outcome = run(
            bundle, config, "; ".join(f"readlink /proc/self/ns/{name}" for name in kinds.values()), inputs=fds
        )
    finally:
        for fd in fds.values():
            os.close(fd)
    assert outcome.output.split() == [os.readlink(f"{others}/{name}") for name in kinds.values()]


def test_joined_user_namespace(bundle: Path) -> None:
    """A user namespace and a network namespace of its own are joined, in whichever order the kernel
    allows."""
    assert BUSYBOX
    child = subprocess.Popen(["unshare", "--user", "--map-root-user", "--net", BUSYBOX, "sleep", "60"])
    try:
        for _ in range(200):
            if Path(f"/proc/{child.pid}/cmdline").read_bytes().startswith(os.fsencode(BUSYBOX)):
                break
            time.sleep(0.01)
        ns = f"/proc/{child.pid}/ns"
        config = namespaces(minimal(), "mount", "pid", user=f"{ns}/user", network=f"{ns}/net")
        config["mounts"] = base()["mounts"][:2]
        fds = {
            "ns:linux.namespaces[2]": os.open(f"{ns}/user", os.O_RDONLY),
            "ns:linux.namespaces[3]": os.open(f"{ns}/net", os.O_RDONLY),
        }
        outcome = run(bundle, config, "readlink /proc/self/ns/user; readlink /proc/self/ns/net", inputs=fds)
        assert outcome.output.split() == [os.readlink(f"{ns}/user"), os.readlink(f"{ns}/net")]
        for fd in fds.values():
            os.close(fd)
    finally:
        child.kill()
        child.wait()


# Mounts.


def with_mounts(*entries: dict[str, Any]) -> Config:
    config = namespaces(minimal(), "mount", "pid")
    config["mounts"] = [*base()["mounts"][:2], *entries]
    return config


def bind(destination: str, source: str, *options: str) -> dict[str, Any]:
    return {"destination": destination, "type": "bind", "source": source, "options": list(options)}


def test_bind_mounts(bundle: Path) -> None:
    """Directories and files are bound with their options; what is missing of a destination is made."""
    config = with_mounts(
        bind("/new/dir", "vol", "rbind", "ro", "nosuid"),
        bind("/etc/hello", str(bundle / "vol/hello"), "bind", "noexec", "rprivate"),
    )
    facts = Facts({"mounts[3].source": Source("file")})
    outcome = run(
        bundle,
        config,
        "cat /new/dir/hello /etc/hello; touch /new/dir/x; cat /proc/self/mountinfo",
        facts=facts,
    )
    assert outcome.output.startswith("hello\nhello\n")
    assert "Read-only file system" in outcome.output
    seen = mounts(outcome.output)
    assert {"ro", "nosuid"} <= set(seen["/new/dir"][5].split(","))
    assert "noexec" in seen["/etc/hello"][5]
    (bundle / "rootfs/etc/hello").unlink()


def test_tmpfs_takes_the_mode_of_its_place(bundle: Path) -> None:
    """Without mode= a tmpfs has the mode of the directory that it covers, with tmpcopyup its content as
    well."""
    tmpfs = {"destination": "/old", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup", "ro"]}
    fresh = {"destination": "/fresh", "type": "tmpfs", "source": "tmpfs"}
    inside = bind("/old/later", "vol", "bind")
    outcome = run(
        bundle,
        with_mounts(tmpfs, fresh, inside),
        "stat -c %a /old; cat /old/sub/file /old/later/hello; touch /old/x; echo $?",
    )
    assert outcome.output.split("\n")[:3] == ["1750", "from the image", "hello"]
    assert outcome.output.rstrip().endswith("1")
    assert (
        any("mounts[3].options: OPEN: ENOENT" in skip for skip in outcome.skipped)
        or (bundle / "rootfs/fresh").exists()
    )


def test_overlay(bundle: Path, tmp_path: Path) -> None:
    """An overlay shows its layers, also when lowerdir is longer than fsconfig takes."""
    layers = [tmp_path / f"{'layer' * 12}{number}" for number in range(6)]
    for number, layer in enumerate(layers):
        layer.mkdir()
        (layer / f"file{number}").write_text(f"{number}\n")
    options = [f"lowerdir={':'.join(map(str, layers))}"]
    config = with_mounts(
        {"destination": "/merged", "type": "overlay", "source": "overlay", "options": options}
    )
    if hosts.probe().kernel < (6, 5):  # which takes no layer by itself
        with pytest.raises(SpecError, match=r"^mounts\[2\]\.options: longer than 255 bytes"):
            attempt(bundle, config)
        return
    outcome = run(bundle, config, "cat /merged/*")
    assert outcome.output.split() == ["0", "1", "2", "3", "4", "5"]


def test_masks_and_readonly_paths(bundle: Path) -> None:
    """A masked file is empty, a masked directory is an empty read-only tmpfs; read-only paths refuse
    writing, missing ones are skipped."""
    config = with_mounts()
    config["linux"] |= {
        "maskedPaths": ["/etc/secret", "/old", "/old", "/none"],
        "readonlyPaths": ["/tmp", "/none/x"],
    }
    outcome = run(
        bundle,
        config,
        "cat /etc/secret; ls /old; touch /old/x; touch /tmp/x; cat /proc/self/mountinfo; ls -l /etc/secret",
    )
    assert "secret\n" not in outcome.output.split("crw")[0].replace("/etc/secret", "")
    assert outcome.output.count("Read-only file system") == 2
    assert sum(line.split()[4] == "/old" for line in outcome.output.splitlines() if " - " in line) == 1
    assert outcome.skipped.count("linux.readonlyPaths[1]: OPEN: ENOENT") == 1
    assert outcome.skipped.count("linux.maskedPaths[3]: COVER: ENOENT") == 1


def test_proc_on_a_symlink_is_refused(bundle: Path) -> None:
    """An image whose /proc is a symbolic link gets no procfs (CVE-2019-19921)."""
    link = bundle / "rootfs" / "linked"
    link.symlink_to("old")
    config = with_mounts({"destination": "/linked", "type": "proc", "source": "proc"})
    outcome = attempt(bundle, config, "true")
    link.unlink()
    assert outcome.error.startswith("mounts[2].destination: ")
    assert " = OPEN " in outcome.error
    assert outcome.error.endswith("ELOOP")


def test_dev_on_a_symlink_stays_inside(tmp_path: Path) -> None:
    """An image whose /dev leads out of it hits its own tree, never the host's (CVE-2026-41579)."""
    other = tmp_path / "rootfs"
    make_rootfs(other)
    (other / "dev").rmdir()
    (tmp_path / "outside").mkdir()
    (other / "dev").symlink_to(tmp_path / "outside")
    run(tmp_path, namespaces(minimal(), "mount"), "test -c /dev/null")
    assert list((tmp_path / "outside").iterdir()) == []


@pytest.mark.parametrize("name", ["private", "rslave", "shared", "rshared", "unbindable"])
def test_propagation(bundle: Path, name: str) -> None:
    """The root has the propagation that was asked for, and nothing spreads to the host."""
    config = with_mounts()
    config["linux"]["rootfsPropagation"] = name
    before = Path("/proc/self/mountinfo").read_text()
    facts = Facts({}, rootfs_mount=mount_point(str(bundle / "rootfs")))
    outcome = run(bundle, config, "cat /proc/self/mountinfo", facts=facts)
    fields = mounts(outcome.output)["/"]
    optional = " ".join(fields[6 : fields.index("-")])
    assert ("shared:" in optional) == ("shared" in name)
    assert ("unbindable" in optional) == (name == "unbindable")
    assert Path("/proc/self/mountinfo").read_text() == before


def test_shared_root_below_a_shared_mount(tmp_path: Path) -> None:
    """With rootfsPropagation shared, on a host whose mounts are shared, the container's own mounts do not
    show on the host."""
    place = tmp_path / "shared"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", place], check=True)
    try:
        subprocess.run(["mount", "--make-rshared", place], check=True)
        make_rootfs(place / "rootfs")
        (place / "vol").mkdir()
        before = Path("/proc/self/mountinfo").read_text()
        config = with_mounts(bind("/data", "vol", "rbind", "rshared"))
        config["linux"]["rootfsPropagation"] = "shared"
        facts = Facts({}, rootfs_mount=mount_point(str(place / "rootfs")))
        assert facts.rootfs_mount == str(place)
        for no_pivot in (False, True):
            run(place, config, "test -d /data", facts=facts, no_pivot=no_pivot)
            assert Path("/proc/self/mountinfo").read_text() == before
    finally:
        subprocess.run(["umount", place], check=True)


def test_no_pivot(bundle: Path) -> None:
    """Without pivot_root the root is the container's, and no other full proc is left to see."""
    outcome = run(bundle, base(), "ls /proc/1/root/; test -e /etc/debian_version || echo gone", no_pivot=True)
    assert "busybox" not in outcome.output
    assert "gone" in outcome.output
    assert "old" in outcome.output.split()


@pytest.mark.parametrize("own", [True, False])
def test_cgroup_mounts(bundle: Path, own: bool) -> None:
    """A cgroup mount shows every hierarchy of this host, read-only, with and without a cgroup namespace."""
    config = namespaces(base(), "mount", "pid", "cgroup") if own else namespaces(base(), "mount", "pid")
    config["linux"]["namespaces"].append({"type": "uts"})
    outcome = run(bundle, config, "cat /proc/self/mountinfo; ls /sys/fs/cgroup")
    layout = hosts.probe().cgroup
    seen = mounts(outcome.output)
    expected = {f"/sys/fs/cgroup/{hierarchy.mountpoint.rpartition('/')[2]}" for hierarchy in layout.v1}
    assert expected <= set(seen)
    assert all(
        fields[5].startswith("ro") for point, fields in seen.items() if point.startswith("/sys/fs/cgroup")
    )


# The process.


def test_ordinary_user(bundle: Path) -> None:
    """An ordinary user has its ids, groups, umask and working directory, and none of the capabilities but
    the bounding set."""
    config = base()
    config["process"]["user"] = {"uid": 1000, "gid": 100, "additionalGids": [5, 10], "umask": 0o27}
    config["process"]["cwd"] = "/home/app"
    script = "id -u; id -g; umask; pwd; grep -E 'Groups|Cap' /proc/self/status"
    lines = run(bundle, config, script).output.splitlines()
    assert lines[:4] == ["1000", "100", "0027", "/home/app"]
    assert lines[4] == "Groups:\t5 10 "
    assert [line.split()[1] for line in lines[5:]] == [
        "0" * 16,
        "0" * 16,
        "0" * 16,
        "0000000020000420",
        "0" * 16,
    ]


@pytest.mark.parametrize(("mode", "owner"), [(0o700, 0), (0o700, 1000)])
def test_cwd_that_only_one_may_enter(bundle: Path, mode: int, owner: int) -> None:
    """A working directory that only root, or only the user, may enter is entered."""
    private = bundle / "rootfs" / "private"
    private.mkdir(exist_ok=True)
    os.chown(private, owner, owner)
    private.chmod(mode)
    config = base()
    config["process"] |= {"cwd": "/private", "user": {"uid": 1000, "gid": 1000}}
    outcome = run(bundle, config, "readlink /proc/self/cwd")
    assert outcome.output == "/private\n"


def test_no_capabilities_when_absent(bundle: Path) -> None:
    """Without process.capabilities not even root has any."""
    config = base()
    del config["process"]["capabilities"]
    outcome = run(bundle, config, "grep Cap /proc/self/status")
    assert {line.split()[1] for line in outcome.output.splitlines()} == {"0" * 16}


def test_limits_and_scores(bundle: Path) -> None:
    """Resource limits, OOM score, scheduler and sysctls are what the config says."""
    config = base()
    config["process"] |= {"oomScoreAdj": 500, "scheduler": {"policy": "SCHED_BATCH", "nice": 3}}
    config["process"]["rlimits"].append({"type": "RLIMIT_CORE", "soft": 7, "hard": 9})
    config["linux"]["sysctl"] = {"net.ipv4.ip_forward": "1", "kernel.msgmax": "4242"}
    script = (
        "cd /proc/sys; cat ../self/oom_score_adj net/ipv4/ip_forward kernel/msgmax; grep core ../self/limits"
    )
    outcome = run(bundle, config, script)
    assert outcome.output.split()[:3] == ["500", "1", "4242"]
    assert outcome.output.split()[7:9] == ["7", "9"]


def test_no_terminal_no_controlling_tty(bundle: Path) -> None:
    """Without a terminal the program leads a session of its own and has no controlling terminal (T34)."""
    fields = run(bundle, base(), "cat /proc/self/stat").output.rpartition(")")[2].split()
    assert (fields[3], fields[4]) == ("1", "0")


def test_terminal(bundle: Path) -> None:
    """The master arrives at the console socket; the slave is stdio, /dev/console and the controlling
    terminal."""
    ours, theirs = socket.socketpair()
    config = base()
    config["process"] |= {"terminal": True, "consoleSize": {"height": 10, "width": 110}}
    config["process"]["user"] = {"uid": 1000, "gid": 1000}
    try:
        outcome = attempt(
            bundle,
            config,
            "tty; stty size; stat -c '%u %g' $(tty); echo to >/dev/console",
            inputs={"console": theirs.fileno()},
        )
        data, control, _, _ = ours.recvmsg(64, socket.CMSG_SPACE(4))
        master = array.array("i", control[0][2])[0]
        text = _read_all(master)
    finally:
        ours.close()
        theirs.close()
    assert outcome.error == ""
    assert data == b"/dev/ptmx"
    assert text.split() == ["/dev/pts/0", "10", "110", "1000", "5", "to"]


def _read_all(master: int) -> str:
    data = b""
    try:
        while chunk := os.read(master, 4096):
            data += chunk
    except OSError:  # EIO: the last slave is closed
        pass
    finally:
        os.close(master)
    return data.decode()


def test_terminal_needs_a_real_devpts(bundle: Path) -> None:
    """A directory that plays devpts gives no terminal (CVE-2025-52565)."""
    config = namespaces(minimal(), "mount")
    config["process"]["terminal"] = True
    (bundle / "rootfs/dev/pts").mkdir(exist_ok=True)
    (bundle / "rootfs/dev/pts/ptmx").write_text("")
    ours, theirs = socket.socketpair()
    outcome = attempt(bundle, config, "true", inputs={"console": theirs.fileno()})
    shutil.rmtree(bundle / "rootfs/dev/pts")
    for end in (ours, theirs):
        end.close()
    assert outcome.error.startswith("process.terminal: s")
    assert "PTY" in outcome.error


def test_missing_program_is_told_before_ready(bundle: Path) -> None:
    """A program that is not there is an error of create."""
    config = base()
    config["process"]["args"] = ["nonesuch"]
    outcome = attempt(bundle, config)
    assert "FIND" in outcome.error
    assert outcome.error.endswith("ENOENT")
    assert "ready" not in outcome.asked


def test_hooks_in_the_container(bundle: Path) -> None:
    """createContainer hooks run in the container's namespaces with the host's files, startContainer hooks
    inside."""
    config = base()
    log = bundle / "rootfs" / "tmp" / "log"
    config["root"]["readonly"] = False
    note = f"test -e {bundle}/vol/hello && test -d proc/1 && echo outside >{log}"
    config["hooks"] = {
        "createContainer": [{"path": "/bin/sh", "args": ["sh", "-c", note]}],
        "startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", "cd /tmp && echo inside >>log"]}],
    }
    outcome = run(bundle, config, "true")
    assert log.read_text() == "outside\ninside\n"
    assert outcome.asked == ["join", "prepared", "hook", "env", "ready", "start", "hook"]
    log.unlink()


def test_failing_hook_stops_the_container(bundle: Path) -> None:
    """A createContainer hook that fails ends the plan, with its status."""
    config = base()
    config["hooks"] = {"createContainer": [{"path": "/bin/sh", "args": ["sh", "-c", "exit 3"]}]}
    outcome = attempt(bundle, config, "true")
    assert "SPAWN" in outcome.error
    assert outcome.error.endswith(f"status {3 << 8}")


def test_wait_for_start(bundle: Path, tmp_path: Path) -> None:
    """A created container goes on at the word of whoever connects, and takes its errors there."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(str(tmp_path / "start.sock"))
    listener.listen()
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def go(_pid: int) -> None:
        peer.connect(str(tmp_path / "start.sock"))
        peer.send(b"\0" * 8)

    try:
        outcome = run(
            bundle,
            base(),
            "echo started",
            wait=True,
            inputs={"listener": listener.fileno()},
            on={"ready": go},
        )
    finally:
        peer.close()
        listener.close()
    assert outcome.output == "started\n"


def test_three_thousand_mounts(bundle: Path) -> None:
    """Any number of mounts fits into 64 slots and a plan."""
    config = with_mounts(*(bind(f"/many/{number}", "vol", "bind", "ro") for number in range(3000)))
    plan = compile_config(config, hosts.probe(), bundle=str(bundle))
    outcome = running.run_plan(plan, wait=60) if len(plan.ops) < 0xFFFF else None
    assert outcome is not None
    assert outcome.error == ""
    shutil.rmtree(bundle / "rootfs/many")
