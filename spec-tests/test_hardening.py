"""A hostile root file system and hostile strings: each test is a class of vulnerability that some runtime had."""

from __future__ import annotations

import fcntl
import json
import os
import pathlib
import re
import stat

import pytest
from lib import host
from lib.runtime import ENV, new_id, poll

req = pytest.mark.req


@pytest.fixture
def leak():
    """A descriptor of / at 60 that an earlier program forgot to close on exec (CVE-2024-21626's ingredient)."""
    fd = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    os.dup2(fd, 60, inheritable=True)
    yield (60,)
    os.close(60)
    os.close(fd)


@pytest.fixture
def trap(runtime) -> pathlib.Path:
    """A directory of the host that attacks aim at, with a file in it; it must stay as it is."""
    where = runtime.work / "trap"
    where.mkdir()
    (where / "marker").write_text("host")
    yield where
    assert sorted(os.listdir(where)) == ["marker"], "the runtime wrote into a directory of the host"
    assert (where / "marker").read_text() == "host"


def without_dev(bundle) -> None:
    bundle.config["mounts"] = [m for m in bundle.config["mounts"] if not m["destination"].startswith("/dev")]


# ---- the runtime's own binary ----


@req("T01a")
def test_nothing_writable_of_the_runtime_is_in_the_container(runtime, bundle):
    """CVE-2019-5736: what /proc/PID/exe leads to must be a sealed copy, and nothing of the host be mapped."""
    pid = runtime.create(bundle).pid
    exe = os.open(f"/proc/{pid}/exe", os.O_RDONLY)
    try:
        mine = {
            (s.st_dev, s.st_ino)
            for s in (os.stat(p) for p in (runtime.path, os.path.realpath("/proc/self/exe")))
        }
        found = os.fstat(exe)
        assert (found.st_dev, found.st_ino) not in mine
        assert fcntl.fcntl(exe, 1034) & 0xF == 0xF, "not sealed"  # F_GET_SEALS: seal, shrink, grow, write
    finally:
        os.close(exe)
    maps = pathlib.Path(f"/proc/{pid}/maps").read_text()
    files = {
        line.split(None, 5)[5] for line in maps.splitlines() if len(line.split(None, 5)) == 6 and "/" in line
    }
    assert not [f for f in files if "memfd" not in f], "files of the host are mapped"


@req("T01a")
def test_environment_of_the_caller_is_not_in_the_container(runtime, bundle):
    pid = runtime.create(bundle, env=ENV | {"SECRET_OF_THE_CALLER": "1"}).pid
    assert b"SECRET_OF_THE_CALLER" not in pathlib.Path(f"/proc/{pid}/environ").read_bytes()


@req("T01a")
def test_the_waiting_process_has_one_thread(runtime, bundle):
    pid = runtime.create(bundle).pid
    assert "Threads:\t1\n" in pathlib.Path(f"/proc/{pid}/status").read_text()


# ---- descriptors ----


@req("T02a", "PR-6")
def test_cwd_through_a_descriptor(runtime, bundle):
    """3 to 20 cover what runtimes have open; the rest of the range costs time and no further insight."""
    for fd in range(3, 21):
        result = runtime.try_create(bundle.set("process.cwd", f"/proc/self/fd/{fd}"))
        assert result.code != 0, f"/proc/self/fd/{fd} was taken for a cwd"


@req("T02b", "PR-6")
def test_cwd_through_a_leaked_descriptor(runtime, bundle, leak):
    runtime.refuses(bundle.set("process.cwd", "/proc/self/fd/60"), pass_fds=leak)


@req("T03", "PR-8")
def test_program_through_a_leaked_descriptor(runtime, bundle, leak):
    program = "/proc/self/fd/60/bin/busybox"
    result = runtime.try_run(bundle.args(program, "echo", "ran a file of the host"), pass_fds=leak)
    assert result.code != 0
    assert "ran a file of the host" not in result.out


@req("T02e", "RL-1")
def test_descriptors_of_the_waiting_process(runtime, bundle):
    """runc's own suite has this list: nothing that leads into the host's file systems."""
    c = runtime.create(bundle)
    allowed = (
        r"/dev/null|/dev/pts/\d+|anon_inode:.*|socket:.*|pipe:.*|.*/exec\.fifo|/proc/1/task/1/fd|/memfd:.*|/|/proc|"
        + re.escape(str(runtime.work))
        + r"/st-[\w-]+\.(out|err)"
    )
    folder = f"/proc/{c.pid}/fd"
    links = {n: os.readlink(f"{folder}/{n}") for n in os.listdir(folder)}
    assert {n: target for n, target in links.items() if not re.fullmatch(allowed, target)} == {}


# ---- /proc and /sys ----


@req("T04")
@pytest.mark.parametrize("name", ["proc", "sys"])
def test_mount_point_that_is_a_link(runtime, bundle, name):
    (bundle.rootfs / name).rmdir()
    (bundle.rootfs / name).symlink_to("/elsewhere")
    (bundle.rootfs / "elsewhere").mkdir()
    if name == "sys":
        bundle.mount("/sys", "sysfs", "sysfs", ["ro"])
    runtime.refuses(bundle, "must be mounted on ordinary directory")


@req("T06")
def test_directory_in_the_place_of_proc(runtime, bundle):
    (bundle.path / "fake").mkdir()
    bundle.config["mounts"][0] = {"destination": "/proc", "source": "fake", "options": ["bind"]}
    runtime.refuses(bundle)


@req("T06c")
def test_tmpfs_in_the_place_of_proc(runtime, bundle):
    bundle.config["mounts"][0] = {"destination": "/proc", "type": "tmpfs", "source": "tmpfs"}
    runtime.refuses(bundle)


@req("T06b")
@pytest.mark.parametrize("place", ["/proc/sys", "/proc/self", "/proc/1/attr", "/proc/sys/kernel"])
def test_mount_inside_proc(runtime, bundle, place):
    runtime.refuses(bundle.mount(place), "cannot be mounted because it is inside /proc")


@req("T06b")
@pytest.mark.parametrize("name", ["cpuinfo", "meminfo", "uptime", "stat"])
def test_files_that_may_be_mounted_inside_proc(runtime, bundle, name):
    (bundle.path / "fake").write_text("fake\n")
    seen = runtime.report(bundle.mount(f"/proc/{name}", None, "fake", ["bind"]), "cat", f"/proc/{name}")
    assert seen.cat(f"/proc/{name}") == "fake"


@req("T11")
def test_mount_inside_proc_through_a_link(runtime, bundle):
    (bundle.rootfs / "x").symlink_to("/proc/self/attr")
    runtime.refuses(bundle.mount("/x"))


# ---- links in the root file system ----


@req("T07", "T08")
@pytest.mark.parametrize("form", ["absolute", "dots"])
def test_mount_through_a_link_out_of_the_root(runtime, bundle, trap, form):
    (bundle.rootfs / "link").symlink_to(trap if form == "absolute" else f"../../../../../../..{trap}")
    runtime.try_run(bundle.mount("/link/a/b").probe("report"))
    (bundle.path / "f").write_text("x")
    runtime.try_run(bundle.mount("/link/file", None, "f", ["bind"]).probe("report"))


@req("T12")
@pytest.mark.parametrize("dev_mount", [False, True], ids=["no mount", "tmpfs"])
def test_dev_that_is_a_link_out_of_the_root(runtime, bundle, trap, dev_mount):
    """CVE-2026-41579: devices and links were made in a directory of the host."""
    (bundle.rootfs / "dev").rmdir()
    (bundle.rootfs / "dev").symlink_to(f"../../../../../../..{trap}")
    if not dev_mount:
        without_dev(bundle)
    runtime.try_run(bundle.probe("report"))


@req("T12b", "DD-3")
def test_ptmx_of_a_linked_dev_is_not_replaced(runtime, bundle, trap):
    (bundle.rootfs / "dev").rmdir()
    (bundle.rootfs / "dev").symlink_to(f"../../../../../../..{trap}")
    (trap / "marker").rename(trap / "ptmx")
    try:
        runtime.try_run(bundle.probe("report"))
        assert (trap / "ptmx").read_text() == "host"
    finally:
        (trap / "ptmx").rename(trap / "marker")


@req("T13", "DD-2")
def test_console_that_is_a_link_out_of_the_root(runtime, bundle, trap, console):
    without_dev(bundle)
    (bundle.rootfs / "dev/console").symlink_to(f"../../../../../../..{trap}/console")
    bundle.mount("/dev/pts", "devpts", "devpts", ["newinstance", "ptmxmode=0666"]).set(
        "process.terminal", True
    )
    runtime.try_create(bundle, None, "--console-socket", console.path)


@req("T14")
def test_null_device_that_is_a_file(runtime, bundle, trap):
    without_dev(bundle)
    (bundle.rootfs / "dev/null").write_text("victim")
    before = os.stat(bundle.rootfs / "dev/null")
    bundle.set("process.user", {"uid": 1234, "gid": 1234})
    result = runtime.try_run(bundle.probe("stat", "/dev/null"))
    if result.code == 0:
        shown = result.seen.step("stat")
        assert (shown["type"], shown["major"], shown["minor"]) == ("char", 1, 3)
    after = os.stat(bundle.rootfs / "dev/null")
    assert (after.st_uid, after.st_mode) == (before.st_uid, before.st_mode)
    assert (bundle.rootfs / "dev/null").read_text() == "victim"


@req("T14", "CLI-STDIO-1")
def test_null_device_of_the_host_keeps_its_owner(runtime, bundle):
    before = os.stat("/dev/null")
    c = runtime.running(bundle.set("process.user", {"uid": 1234, "gid": 1234}).probe("hold"))
    after = os.stat("/dev/null")
    assert (after.st_uid, after.st_gid, after.st_mode) == (before.st_uid, before.st_gid, before.st_mode)
    assert c.status == "running"


# ---- strings and sizes ----


@req("T18", "ID-3")
@pytest.mark.parametrize("lines", [400, 5000])
def test_many_mappings(runtime, bundle, lines):
    """More than the kernel takes: never a part of them in effect."""
    bundle.userns()
    runtime.refuses(
        bundle.set(
            "linux.uidMappings",
            [{"containerID": n, "hostID": 100000 + 2 * n, "size": 1} for n in range(lines)],
        )
    )


@req("T18", "EX-3")
@pytest.mark.parametrize("key", ["destination", "source", "type", "options"])
def test_nul_in_a_mount(runtime, bundle, key):
    bundle.mount("/data", options=["ro"])
    entry = bundle.config["mounts"][-1]
    entry[key] = ["ro\0rw"] if key == "options" else entry[key] + "\0x"
    runtime.refuses(bundle)


@req("T18", "PR-8")
def test_many_arguments(runtime, bundle):
    result = runtime.try_run(bundle.args("/bin/busybox", "true", *["x"] * 20000))
    assert result.code == 0


@req("T18", "PR-8")
def test_more_arguments_than_the_kernel_takes(runtime, bundle):
    result = runtime.try_run(bundle.args("/bin/busybox", "true", *["x" * 100000] * 40))
    assert result.code != 0
    assert result.err.strip()


@req("T18", "MO-1")
def test_many_mounts(runtime, bundle):
    for n in range(300):
        bundle.mount(f"/m/{n}", options=["size=4k"])
    seen = runtime.report(bundle)
    assert len([m for m in seen.mounts if m.place.startswith("/m/")]) == 300


# ---- ids ----

# Never name anything outside the scratch: crun 1.8.1 removes an absolute path that is given as an id.
IDS = ["..", ".", "../keep", "a/../../keep", "{scratch}/keep", "", "keep/", "./keep", "x\ny"]


@req("T23", "CR-2", "KI-2", "DE-2")
@pytest.mark.parametrize("command", ["create", "run", "start", "state", "kill", "delete", "delete --force"])
def test_ids_never_leave_the_state_root(runtime, bundle, command):
    """In a scratch tmpfs: a faulty runtime removes what lies beside its root."""
    scratch = runtime.work / "scratch"
    scratch.mkdir()
    host.mount("tmpfs", scratch, "tmpfs")
    try:
        for name in ("keep", "root/keep"):
            (scratch / name).mkdir(parents=True)
            (scratch / name / "file").write_text("keep")
        bundle.write()
        options = ["--bundle", str(bundle.path)] if command in {"create", "run"} else []
        for ident in [ident.format(scratch=scratch) for ident in IDS]:
            result = runtime.raw("--root", scratch / "root", *command.split(), *options, ident)
            assert result.code != 0, f"{command} {ident!r}"
            left = sorted(str(p.relative_to(scratch)) for p in scratch.rglob("*"))
            assert left == ["keep", "keep/file", "root", "root/keep", "root/keep/file"], (
                f"{command} {ident!r}"
            )
    finally:
        host.umount(scratch)


# ---- the container's files that a runtime reads ----


@req("T31", "CLI-HOME-1")
@pytest.mark.parametrize("what", ["fifo", "zero", "directory", "hole", "loop", "junk", "dangling", "nul"])
def test_hostile_passwd(runtime, bundle, what):
    passwd = bundle.rootfs / "etc/passwd"
    passwd.unlink()
    match what:
        case "fifo":
            os.mkfifo(passwd)
        case "zero":
            os.mknod(passwd, 0o666 | stat.S_IFCHR, os.makedev(1, 5))
        case "directory":
            passwd.mkdir()
        case "hole":
            with passwd.open("wb") as file:
                file.truncate(200 << 20)
        case "loop":
            passwd.symlink_to("passwd")
        case "junk":
            passwd.write_bytes(b"\xff:::\n\0\n" * 100 + b"root:x:0" + b"::" * 100)
        case "dangling":
            passwd.symlink_to("/nowhere")
        case "nul":
            passwd.write_bytes(b"root:x:0:0::/a\0b:/bin/sh\n")
    result = runtime.try_run(bundle.set("process.env", ["PATH=/bin"]).probe("report"), timeout=5)
    assert result.code == 0, str(result)
    homes = [e for e in result.seen.env if e.startswith("HOME=")]
    assert homes == ["HOME=/"]


@req("T32", "CLI-ENVIRON-1")
def test_files_named_like_modules_are_not_loaded(runtime, bundle):
    """A runtime in an interpreted language must import nothing from where it runs."""
    marker = runtime.work / "loaded"
    code = f"open({str(marker)!r}, 'a').write(__name__ + chr(10))\n"
    for where in (bundle.path, bundle.rootfs, runtime.work):
        for name in ("json", "ctypes", "os", "sitecustomize", "usercustomize", "errno", "pyrunc", "site"):
            (where / f"{name}.py").write_text(code)
        (where / "encodings").mkdir()
        (where / "encodings/__init__.py").write_text(code)
    env = ENV | {
        "PYTHONPATH": str(bundle.path),
        "PYTHONSTARTUP": str(bundle.path / "os.py"),
        "PYTHONINSPECT": "1",
        "PYTHONBREAKPOINT": "os.system",
        "PYTHONUSERBASE": str(bundle.path),
        "PYTHONWARNINGS": "always",
        "PYTHONVERBOSE": "1",
    }
    bundle.write()
    result = runtime.cmd("run", "--bundle", bundle.path, new_id(), env=env, cwd=bundle.path)
    assert result.code == 0, str(result)
    assert result.err == ""
    assert not marker.exists(), marker.read_text()


# ---- the rest ----


@req("T33c", "CLI-NOPIVOT-1")
@pytest.mark.parametrize("options", [[], ["--no-pivot"]], ids=["pivot", "no pivot"])
def test_no_other_proc_is_in_reach(runtime, bundle, options):
    """A bare procfs that stays visible somewhere lets a nested user namespace mount another one, without the masks."""
    bundle.set("linux.maskedPaths", ["/proc/kcore", "/proc/keys"]).set("linux.readonlyPaths", ["/proc/sys"])
    (bundle.rootfs / "mnt").mkdir()
    result = runtime.run(bundle.probe("report", "nested-proc", "/mnt", "ls", "/proc/1/root"), *options)
    assert result.seen.step("nested-proc").err == "EPERM"
    assert "probe" in result.seen.step("ls")["names"]


@req("T34", "PR-2")
def test_own_session_without_a_terminal(runtime, bundle):
    """A container in the caller's session could push characters into its terminal (TIOCSTI)."""
    seen = runtime.report(bundle)
    assert seen["sid"] == 1
    assert seen["controlling_tty"] == 0
    assert seen.file("stat").rpartition(")")[2].split()[4] == "0"


@req("T34")
def test_own_session_in_the_callers_pid_namespace(runtime, bundle):
    seen = runtime.report(bundle.drop_ns("pid"))
    assert seen["sid"] == seen["pid"]


@req("T35")
@pytest.mark.only_if("file:/proc/keys")
def test_keys_of_the_caller_are_not_seen(runtime, bundle):
    bundle.set("process.user", {"uid": 4321, "gid": 4321})
    keys = runtime.report(bundle, "cat", "/proc/keys").cat("/proc/keys")
    named = [line for line in keys.splitlines() if "_ses." in line]
    assert len(named) <= 1


@req("T15", "LP-2")
def test_inheritable_is_what_was_asked_for(runtime, bundle):
    bundle.caps("KILL", "CHOWN", kinds=("bounding", "permitted", "effective", "inheritable"))
    caps = runtime.report(bundle).caps
    assert caps["Inh"] == host.mask_of("KILL", "CHOWN")
    assert caps["Amb"] == 0


@req("T21", "NS-7")
def test_host_settings_are_as_before(runtime, bundle):
    paths = [
        pathlib.Path("/proc/sys", n)
        for n in ("kernel/core_pattern", "kernel/hostname", "kernel/shmmni", "net/ipv4/ip_forward")
    ]
    before = [p.read_text() for p in paths]
    runtime.report(bundle.set("linux.sysctl", {"kernel.shmmni": "99", "net.ipv4.ip_forward": "1"}))
    assert [p.read_text() for p in paths] == before


@req("LP-5", "LP-2")
def test_setuid_gains_nothing_with_no_new_privileges(runtime, bundle):
    """A set-user-id program in the image, run by an ordinary user."""
    helper = bundle.rootfs / "suid"
    helper.write_bytes((bundle.rootfs / "probe").read_bytes())
    helper.chmod(0o4755)
    bundle.set("process.user", {"uid": 1000, "gid": 1000}).args("/suid", "report")
    assert runtime.run(bundle).seen["uids"] == [1000] * 3
    other = runtime.run(bundle.set("process.noNewPrivileges", False)).seen
    assert other["uids"][1] == 0


@req("RL-1", "HK-14", "T02e")
def test_environment_of_the_started_process_is_only_the_configs(runtime, bundle):
    c = runtime.running(bundle.probe("hold"), env=ENV | {"SECRET_OF_THE_CALLER": "1"})
    pid = c.pid
    assert poll(lambda: b"HOME=/root" in pathlib.Path(f"/proc/{pid}/environ").read_bytes())
    assert b"SECRET" not in pathlib.Path(f"/proc/{pid}/environ").read_bytes()


@req("T18", "AN-1")
def test_large_annotations(runtime, bundle):
    annotations = {f"org.example.{n}": "x" * 1000 for n in range(2000)}
    c = runtime.create(bundle.set("annotations", annotations))
    assert json.loads(runtime.ok("state", c.id).out)["annotations"] == annotations


@req("T18", "MO-2")
def test_root_cannot_be_covered(runtime, bundle):
    runtime.refuses(bundle.mount("/"))


@req("T18", "MK-1")
def test_root_cannot_be_masked(runtime, bundle):
    runtime.refuses(bundle.set("linux.maskedPaths", ["/"]))
