"""Which descriptors the program has, and the links to them in /dev."""

from __future__ import annotations

import os
import stat

import pytest
from lib.probe import seen_in
from lib.runtime import new_id

req, cve = pytest.mark.req, pytest.mark.cve


# ---- descriptors ----


@req("RL-1", "T02c")
@cve("CVE-2024-21626", "CVE-2016-9962")
def test_only_the_three_descriptors_are_open(runtime, bundle):
    leak = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    os.dup2(leak, 60, inheritable=True)
    try:
        seen = runtime.report(bundle, pass_fds=(60,))
    finally:
        os.close(60)
        os.close(leak)
    assert sorted(seen["fds"]) == ["0", "1", "2"]


@req("RL-2", "T02g")
@cve("descriptors beyond those asked for")
@pytest.mark.parametrize("way", ["--preserve-fds", "LISTEN_FDS", "LISTEN_PID of another"])
def test_further_descriptors(runtime, bundle, way):
    files = [os.open(runtime.work / f"extra{n}", os.O_RDWR | os.O_CREAT) for n in (3, 4, 5)]
    high = [os.dup2(fd, 200 + n) for n, fd in enumerate(files)]
    # The shell moves them to 3, 4, 5 and becomes the runtime, so that LISTEN_PID can be its own pid.
    move = "exec 3<&200 4<&201 5<&202 200<&- 201<&- 202<&-; "
    options = ["--preserve-fds", "2"] if way == "--preserve-fds" else []
    if way != "--preserve-fds":
        move += (
            f"LISTEN_FDS=2 LISTEN_PID={'$$' if way == 'LISTEN_FDS' else '1'}; export LISTEN_FDS LISTEN_PID; "
        )
    move += 'exec "$@"'
    try:
        seen = runtime.report_with(bundle, options, prefix=("/bin/bash", "-c", move, "sh"), pass_fds=high)
    finally:
        for fd in [*files, *high]:
            os.close(fd)
    wanted = [] if way.endswith("another") else [(str(n), f"extra{n}") for n in (3, 4)]
    assert sorted(seen["fds"]) == ["0", "1", "2", *(n for n, _ in wanted)]
    for number, name in wanted:
        assert seen["fds"][number]["link"].endswith(name)
    listen = [e for e in seen.env if e.startswith("LISTEN_")]
    assert sorted(listen) == (["LISTEN_FDS=2", "LISTEN_PID=1"] if way == "LISTEN_FDS" else [])


@req("RL-2", "T02g")
@cve("CVE-2024-21626", "descriptors beyond those asked for")
@pytest.mark.parametrize("given", [0, 1])
@pytest.mark.parametrize("way", ["run", "exec"])
def test_descriptors_that_nobody_passed(runtime, bundle, way, given):
    """More are asked for than the caller has: the runtime's own, a directory of the host's say, are not for the container."""
    c = runtime.running(bundle.probe("hold")) if way == "exec" else None
    move = f"exec {' '.join(f'{n}<&-' for n in range(3, 10))}; " + "exec 3</dev/null; " * given + 'exec "$@"'
    prefix = ("/bin/bash", "-c", move, "sh")
    for asked in range(given + 1, 7):
        options = ["--preserve-fds", str(asked)]
        if c is None:
            words = ["--bundle", bundle.path, new_id()]
            bundle.probe("out", f"/seen{asked}", "report").write()
        else:
            words = [c.id, "/probe", "out", f"/seen{asked}", "report"]
        runtime.cmd(way, *options, *words, prefix=prefix)
        seen = bundle.rootfs / f"seen{asked}"
        fds = seen_in(seen.read_text())["fds"] if seen.exists() else {}
        assert set(fds) <= {"0", "1", "2", *(["3"] if given else [])}, fds


@req("RL-3", "T02f")
@cve("closed standard streams")
def test_closed_standard_descriptors(runtime, bundle):
    """The runtime's own first files must not land on 0, 1, 2 and reach the container there."""
    bundle.probe("out", "/seen", "report", "hold").write()
    ident = new_id()
    runtime.cmd(
        "run",
        "--detach",
        "--bundle",
        bundle.path,
        ident,
        prefix=("/bin/sh", "-c", '"$@" 0<&- 1>&- 2>&-', "sh"),
    )
    if runtime.cmd("state", ident).code != 0:
        pytest.skip("the runtime refuses closed standard descriptors")
    from lib.runtime import poll

    assert poll(lambda: (bundle.rootfs / "seen").exists() and (bundle.rootfs / "seen").read_text())
    fds = seen_in((bundle.rootfs / "seen").read_text())["fds"]
    assert {n: fds[n]["link"] for n in fds} == dict.fromkeys("012", "/dev/null")


@req("RL-3", "CLI-STDIO-1")
def test_standard_descriptors_belong_to_the_user(runtime, bundle):
    """runc gives the three to the process's user, and never /dev/null's inode."""
    before = os.stat("/dev/null")
    c = runtime.running(
        bundle.set("process.user", {"uid": 1000, "gid": 1000}).probe(
            "report", "write", "/dev/stderr", "x", "hold"
        )
    )
    seen = c.seen()
    assert seen["fds"]["1"]["uid"] == 1000
    assert seen.step("write").err == ""
    after = os.stat("/dev/null")
    assert (after.st_uid, stat.S_IMODE(after.st_mode)) == (before.st_uid, stat.S_IMODE(before.st_mode))


@req("RL-4")
def test_links_to_the_descriptors(runtime, bundle):
    links = {
        "fd": "/proc/self/fd",
        "stdin": "/proc/self/fd/0",
        "stdout": "/proc/self/fd/1",
        "stderr": "/proc/self/fd/2",
    }
    steps = [word for name in links for word in ("stat", f"/dev/{name}")]
    seen = runtime.report(bundle, *steps)
    assert {name: seen.step("stat", f"/dev/{name}")["target"] for name in links} == links


@req("RL-4")
def test_links_to_the_descriptors_are_made_at_create(runtime, bundle):
    pid = runtime.create(bundle).pid
    # /proc/PID/root may be closed to us by the process's dumpable flag, but root may read it.
    assert os.readlink(f"/proc/{pid}/root/dev/fd") == "/proc/self/fd"


@req("RL-4")
def test_links_without_proc_are_no_error(runtime, bundle):
    bundle.config["mounts"] = [m for m in bundle.config["mounts"] if m["destination"] != "/proc"]
    seen = runtime.report(bundle, "stat", "/dev/null")
    assert seen.step("stat")["type"] == "char"


@req("RL-4", "DD-1")
def test_a_bound_dev_is_left_as_it_is(runtime, bundle):
    """A /dev of the host's, bound: nothing of it is replaced."""
    own = runtime.work / "dev"
    own.mkdir()
    (own / "marker").touch()
    os.mknod(own / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    (own / "pts").mkdir()
    (own / "shm").mkdir()
    bundle.config["mounts"] = [m for m in bundle.config["mounts"] if not m["destination"].startswith("/dev")]
    bundle.mount("/dev", None, own, ["rbind"])
    runtime.report(bundle)
    assert {"marker", "null"} <= set(os.listdir(own))
    assert not os.path.lexists(own / "core")


@req("RL-4")
def test_existing_links_are_kept(runtime, bundle):
    """Without a mount on /dev the image's own entries are there already."""
    bundle.config["mounts"] = [m for m in bundle.config["mounts"] if not m["destination"].startswith("/dev")]
    (bundle.rootfs / "dev/stdin").symlink_to("/proc/self/fd/0")
    seen = runtime.report(bundle, "stat", "/dev/stdin", "stat", "/dev/stdout")
    assert seen.step("stat", "/dev/stdin")["target"] == "/proc/self/fd/0"
    assert seen.step("stat", "/dev/stdout")["target"] == "/proc/self/fd/1"
