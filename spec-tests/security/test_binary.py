"""What of the runtime's own program a container can get hold of."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import pathlib
import shutil

import pytest
from lib import attack
from lib.runtime import ENV, new_id, poll

req, cve = pytest.mark.req, pytest.mark.cve
RUNS = 25


def is_sealed(fd):
    """A memfd with all seals, or another file than the runtime's own on a read-only mount: runc since 1.2 has an overlay."""
    try:
        return fcntl.fcntl(fd, 1034) & 0xF == 0xF  # F_GET_SEALS: seal, shrink, grow, write
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    return bool(os.fstatvfs(fd).f_flag & os.ST_RDONLY)


@req("T01a")
@cve("CVE-2019-5736")
def test_nothing_writable_of_the_runtime_is_in_the_container(runtime, bundle):
    """CVE-2019-5736: what /proc/PID/exe leads to must be a copy that nobody can write to, and nothing of the host be mapped."""
    pid = runtime.create(bundle).pid
    exe = os.open(f"/proc/{pid}/exe", os.O_RDONLY)
    try:
        mine = {
            (s.st_dev, s.st_ino)
            for s in (os.stat(p) for p in (runtime.path, os.path.realpath("/proc/self/exe")))
        }
        found = os.fstat(exe)
        assert (found.st_dev, found.st_ino) not in mine
        assert is_sealed(exe), "can be written to"
    finally:
        os.close(exe)
    maps = pathlib.Path(f"/proc/{pid}/maps").read_text()
    files = {
        line.split(None, 5)[5] for line in maps.splitlines() if len(line.split(None, 5)) == 6 and "/" in line
    }
    assert not [f for f in files if "memfd" not in f], "files of the host are mapped"


@req("T01a")
@cve("secrets of the caller")
def test_environment_of_the_caller_is_not_in_the_container(runtime, bundle):
    pid = runtime.create(bundle, env=ENV | {"SECRET_OF_THE_CALLER": "1"}).pid
    assert b"SECRET_OF_THE_CALLER" not in pathlib.Path(f"/proc/{pid}/environ").read_bytes()


@req("T01a")
@cve("CVE-2019-5736")
def test_the_waiting_process_has_one_thread(runtime, bundle):
    pid = runtime.create(bundle).pid
    assert "Threads:\t1\n" in pathlib.Path(f"/proc/{pid}/status").read_text()


@req("RL-1", "HK-14", "T02e")
@cve("secrets of the caller")
def test_environment_of_the_started_process_is_only_the_configs(runtime, bundle):
    c = runtime.running(bundle.probe("hold"), env=ENV | {"SECRET_OF_THE_CALLER": "1"})
    pid = c.pid
    assert poll(lambda: b"HOME=/root" in pathlib.Path(f"/proc/{pid}/environ").read_bytes())
    assert b"SECRET" not in pathlib.Path(f"/proc/{pid}/environ").read_bytes()


@req("T01b")
@cve("CVE-2019-5736", "CVE-2016-9962")
@pytest.mark.parametrize("capable", [False, True], ids=["default", "ptrace"])
def test_exec_under_the_eyes_of_the_container(runtime, bundle, capable, record_property):
    """Of each process that joins, the first one tries to get at its program, its directories and its descriptors."""
    marker = runtime.work / "only-here"
    marker.touch()
    if capable:
        bundle.caps("SYS_PTRACE", "DAC_OVERRIDE", "DAC_READ_SEARCH", "KILL")
    c = runtime.running(bundle.args("/attacker", "watch", marker))
    assert poll(lambda: "watching" in c.out)
    for _ in range(60):
        runtime.ok("exec", c.id, "/bin/true")
    found = attack.ended(c)
    record_property("attempts", found["looks"])
    assert found["closed"] + found["memfd"] + found["foreign"] > 0, f"it never saw a process of ours: {found}"
    assert found["reached"] == 0, found
    assert found["writable"] + found["unsealed"] == 0, found
    if not capable:
        assert found["memfd"] + found["foreign"] == 0, found


@req("T01b")
@cve("CVE-2019-5736", "CVE-2016-9962")
def test_the_watcher_sees_who_is_careless(runtime, bundle):
    """A program that just joins the container's pid namespace, as runtimes once did, is laid open by it."""
    marker = runtime.work / "only-here"
    marker.touch()
    bundle.caps("SYS_PTRACE", "DAC_OVERRIDE", "DAC_READ_SEARCH", "KILL")
    c = runtime.running(bundle.args("/attacker", "watch", marker))
    assert poll(lambda: "watching" in c.out)
    for n in range(3):
        joiner = shutil.copy(runtime.tree / "attacker", runtime.work / f"joiner{n}")
        assert runtime.wait(runtime.spawn_program(joiner, "join", c.pid)) == 0
    found = attack.ended(c)
    assert found["reached"] > 0, found
    assert found["foreign"] > 0, found
    assert found["writable"] > 0, found


def fingerprints(runtime) -> dict[str, tuple[object, ...]]:
    """The runtime's program, the interpreter that a script would have, and the C library: content, time, inode."""
    files = {runtime.path, os.path.realpath(runtime.path), os.path.realpath("/proc/self/exe")}
    maps = pathlib.Path("/proc/self/maps").read_text().splitlines()
    files |= {line.split()[-1] for line in maps if "/libc.so" in line or "/libc-" in line}
    found = {}
    for name in files:
        status = os.stat(name)
        content = hashlib.sha256(pathlib.Path(name).read_bytes()).hexdigest()
        found[name] = (content, status.st_mtime_ns, status.st_ino, status.st_size)
    return found


@req("T01c")
@cve("CVE-2019-5736")
@pytest.mark.parametrize("way", ["run", "script", "exec"])
def test_the_program_that_is_the_runtime_itself(runtime, bundle, way, record_property):
    """/proc/self/exe, as the program, as a script's interpreter: whatever starts ends at once, and can do nothing."""
    before = fingerprints(runtime)
    (bundle.rootfs / "script").write_text("#!/proc/self/exe\n")
    (bundle.rootfs / "script").chmod(0o755)
    c = runtime.running(bundle.probe("hold")) if way == "exec" else None
    program = "/script" if way == "script" else "/proc/self/exe"
    for _ in range(RUNS):
        if c is not None:
            result = runtime.cmd("exec", c.id, program, "init", "3", timeout=5)
        else:
            result = runtime.try_run(bundle.args(program, "init", "3"), timeout=5)
        assert result.code != 0, str(result)
    record_property("attempts", RUNS)
    assert fingerprints(runtime) == before


@req("T01c")
@cve("CVE-2019-5736")
def test_the_runtime_itself_in_a_created_container(runtime, bundle):
    """create, start: the second half of the runtime runs in the container without what it needs, and is gone."""
    before = fingerprints(runtime)
    bundle.args("/proc/self/exe", "init", "3").write()
    result = runtime.try_create(bundle, ident := new_id())
    if result.code == 0:
        pid = runtime.ok("state", ident).json()["pid"]
        runtime.cmd("start", ident)
        assert poll(lambda: runtime.ok("state", ident).json()["status"] == "stopped"), f"{pid} is still there"
    assert fingerprints(runtime) == before
