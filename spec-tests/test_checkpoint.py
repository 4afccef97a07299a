"""Checkpoint and restore by criu(8), the one on the caller's PATH; CLI.md has the ids."""

from __future__ import annotations

import contextlib
import os
import pathlib
import select
import time

import pytest
from lib.console import read_line
from lib.runtime import ENV, Container, new_id, poll, process_state

req = pytest.mark.req
works = pytest.mark.only_if("criu")
COUNT = "i=0; while true; do i=$((i+1)); echo $i; sleep 0.1; done"
SLOW = 60.0


class Pipe:
    """What a container writes to; both ends stay open, so that it never ends."""

    def __init__(self) -> None:
        self.end, self.into = os.pipe()
        self.text = ""

    def numbers(self, more: int = 0, seconds: float = 10.0) -> list[int]:
        """Read until there are `more` further whole lines; return all that was ever read."""
        wanted, deadline = self.text.count("\n") + more, time.monotonic() + seconds
        while self.text.count("\n") < wanted:
            assert time.monotonic() < deadline, f"only {self.text!r}"
            self.drain(0.1)
        self.drain()
        return [int(line) for line in self.text.splitlines()]

    def drain(self, seconds: float = 0.0) -> None:
        while select.select([self.end], [], [], seconds)[0]:
            self.text += os.read(self.end, 65536).decode(errors="replace")
            seconds = 0.0

    def close(self) -> None:
        for fd in (self.end, self.into):
            with contextlib.suppress(OSError):
                os.close(fd)


@pytest.fixture
def pipe() -> object:
    made = Pipe()
    yield made
    made.close()


@pytest.fixture
def env(runtime) -> dict[str, str]:
    if "checkpoint" not in runtime.raw("--help").out:
        pytest.skip("needs a runtime with checkpoint")
    return ENV | {"PATH": os.environ.get("PATH", "")}


class Criu:
    """One container and the commands about it."""

    def __init__(self, runtime, bundle, env: dict[str, str], pipe: Pipe) -> None:
        self.runtime, self.bundle, self.env, self.pipe = runtime, bundle, env, pipe
        self.image, self.log = runtime.work / "image", runtime.work / "log"
        self.errors = Pipe()  # criu dumps no file that lies outside of the container
        self.container = Container(runtime, new_id(), bundle)

    @property
    def id(self) -> str:
        return self.container.id

    def call(self, *args: object, **popen: object) -> int:
        """Run a command whose output is the pipe, as the container's then is."""
        given = {"out": self.pipe.into, "err": self.errors.into, "env": self.env} | popen
        return self.runtime.wait(self.runtime.spawn(*self.runtime.options, *args, **given), SLOW)

    def said(self) -> str:
        self.errors.drain()
        return self.errors.text

    def run(self, *options: object, args: tuple[str, ...] = ("/bin/sh", "-c", COUNT)) -> Criu:
        if args:
            self.bundle.args(*args)
        self.bundle.write()
        code = self.call("run", "--detach", "--bundle", self.bundle.path, *options, self.id)
        assert code == 0, self.said()
        return self

    def checkpoint(self, *options: object, image: pathlib.Path | None = None):
        where = ("--image-path", image or self.image, "--work-path", self.log)
        result = self.runtime.cmd("checkpoint", *where, *options, self.id, env=self.env, timeout=SLOW)
        self.pipe.drain()
        return result

    def restore(self, *options: object, ident: str = "", image: pathlib.Path | None = None) -> int:
        where = ("--image-path", image or self.image, "--work-path", self.log, "--bundle", self.bundle.path)
        return self.call("restore", *where, *options, ident or self.id)

    def must_restore(self, *options: object, **how: object) -> None:
        assert self.restore("--detach", *options, **how) == 0, self.said() + self.log_tail()

    def log_tail(self) -> str:
        file = self.log / "restore.log"
        return "".join(file.read_text().splitlines(keepends=True)[-15:]) if file.exists() else ""


@pytest.fixture
def criu(runtime, bundle, env, pipe) -> object:
    made = Criu(runtime, bundle, env, pipe)
    yield made
    made.errors.close()


def ok(result) -> None:
    assert (result.code, result.said) == (0, ""), str(result)


@req("CLI-CRIU-1", "CLI-LOG-4")
@works
def test_a_counter_goes_on(criu):
    criu.run().pipe.numbers(3)
    pid = criu.container.pid
    ok(criu.checkpoint())
    assert not criu.container.exists()
    assert process_state(pid) in {None, "Z"}
    before = criu.pipe.numbers()[-1]
    pid_file = criu.runtime.work / "pid"
    criu.must_restore("--pid-file", pid_file)
    assert criu.container.status == "running"
    assert pid_file.read_text() == str(criu.container.pid)
    counted = criu.pipe.numbers(4)
    assert counted == list(range(1, len(counted) + 1)), before
    assert (criu.log / "dump.log").exists()
    assert (criu.log / "restore.log").exists()
    inside = criu.runtime.cmd("exec", criu.id, "/bin/cat", "/proc/sys/kernel/hostname")
    assert inside.out == "spec-tests\n"
    criu.container.delete("--force")
    assert not criu.container.exists()


@req("CLI-CRIU-1")
@works
def test_another_id_and_another_cgroup(criu):
    criu.run().pipe.numbers(2)
    ok(criu.checkpoint())
    other = Container(criu.runtime, new_id(), criu.bundle)
    criu.must_restore(ident=other.id)
    criu.pipe.numbers(2)
    lines = pathlib.Path(f"/proc/{other.pid}/cgroup").read_text().splitlines()
    paths = {line.partition(":")[2] for line in lines}
    assert any(other.id in path for path in paths), paths
    assert not any(path.endswith(criu.id) for path in paths), paths
    other.delete("--force")


@req("CLI-CRIU-2")
@works
def test_leave_running(criu):
    criu.run().pipe.numbers(2)
    pid = criu.container.pid
    ok(
        criu.checkpoint(
            "--leave-running", "--file-locks", "--tcp-established", "--ext-unix-sk", "--shell-job"
        )
    )
    assert (criu.container.pid, criu.container.status) == (pid, "running")
    counted = criu.pipe.numbers(3)
    assert counted == list(range(1, len(counted) + 1))
    criu.container.delete("--force")
    criu.must_restore("--file-locks", "--tcp-established", "--ext-unix-sk", "--shell-job")
    criu.pipe.numbers(3)


@req("CLI-CRIU-2")
@works
def test_pre_dump(criu):
    criu.run().pipe.numbers(2)
    first, second = criu.runtime.work / "first", criu.runtime.work / "second"
    before = criu.checkpoint("--pre-dump", image=first)
    if "mem_track" in before.said or "missing features" in before.said:
        pytest.skip("needs a kernel with soft-dirty pages")
    ok(before)
    assert criu.container.status == "running"
    criu.pipe.numbers(2)
    bad = criu.checkpoint("--parent-path", "../nowhere", image=second)
    assert bad.code == 1
    assert "--parent-path" in bad.err
    ok(criu.checkpoint("--parent-path", "../first", image=second))
    criu.must_restore(image=second)
    counted = criu.pipe.numbers(3)
    assert counted == list(range(1, len(counted) + 1))


@req("CLI-CRIU-1")
@works
def test_in_the_foreground(criu):
    """restore waits for the program, passes its exit code on, and deletes the container."""
    criu.run(args=("/bin/sh", "-c", "echo 1; sleep 2; echo 2; exit 7")).pipe.numbers(1)
    ok(criu.checkpoint())
    assert criu.restore() == 7, criu.said()
    assert criu.pipe.numbers() == [1, 2]
    assert not criu.container.exists()


@req("CLI-CRIU-3")
@works
@pytest.mark.parametrize("mode", ["ignore", "soft", "full"])
def test_cgroup_modes(criu, mode):
    criu.run().pipe.numbers(1)
    ok(criu.checkpoint("--manage-cgroups-mode", mode))
    criu.must_restore("--manage-cgroups-mode", mode)
    criu.pipe.numbers(2)
    assert criu.runtime.cmd("pause", criu.id).code == 0
    assert criu.container.status == "paused"
    assert criu.runtime.cmd("resume", criu.id).code == 0


@req("CLI-CRIU-3", "ER-1")
@works
def test_the_strict_cgroup_mode_is_criu_s_to_judge(criu):
    """criu finds the cgroup that the runtime has made for it, and strict mode wants none; runc 1.1 forgets the mode."""
    criu.run().pipe.numbers(1)
    ok(criu.checkpoint("--manage-cgroups-mode", "strict"))
    with criu.runtime.assert_untouched():
        if criu.restore("--detach", "--manage-cgroups-mode", "strict"):
            assert "existing cgroups" in criu.log_tail()
            assert not criu.container.exists()
        else:
            criu.pipe.numbers(1)
            criu.container.delete("--force")


@req("CLI-CRIU-4")
@works
def test_mounts_from_outside(criu):
    """Bind mounts, of a file and of a directory; masked and read-only paths; destinations that the root lacks."""
    data = criu.runtime.work / "data"
    data.mkdir()
    (data / "file").write_text("one\n")
    criu.bundle.mount("/mnt/data", "bind", str(data), ["rbind", "ro"])
    criu.bundle.mount("/etc/one", "bind", str(data / "file"), ["bind"])
    criu.bundle.set("linux.maskedPaths", ["/proc/kcore", "/proc/keys", "/proc/acpi", "/sys/firmware"])
    criu.bundle.set("linux.readonlyPaths", ["/proc/sys"])
    criu.run().pipe.numbers(1)
    ok(criu.checkpoint())
    (data / "file").write_text("two\n")
    for made in ("mnt/data", "mnt"):
        (criu.bundle.rootfs / made).rmdir()
    (criu.bundle.rootfs / "etc/one").unlink()
    criu.must_restore()
    criu.pipe.numbers(2)
    inside = criu.runtime.cmd("exec", criu.id, "/bin/cat", "/mnt/data/file", "/etc/one", "/proc/keys")
    assert inside.out == "two\ntwo\n", str(inside)
    written = criu.runtime.cmd("exec", criu.id, "/bin/sh", "-c", "echo x > /mnt/data/file")
    assert "Read-only" in written.err


@req("CLI-CRIU-4")
@works
@pytest.mark.parametrize("namespace", [False, True], ids=["host-view", "cgroup-namespace"])
def test_a_cgroup_mount(criu, namespace):
    criu.bundle.mount("/sys", "sysfs", "sysfs", ["nosuid", "noexec", "nodev", "ro"])
    criu.bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", ["nosuid", "noexec", "nodev", "relatime", "ro"])
    if namespace:
        criu.bundle.add("linux.namespaces", {"type": "cgroup"})
    criu.run().pipe.numbers(1)
    ok(criu.checkpoint())
    criu.must_restore()
    criu.pipe.numbers(2)
    assert criu.runtime.cmd("exec", criu.id, "/bin/ls", "/sys/fs/cgroup").out.strip()


@req("CLI-CRIU-4")
@works
@pytest.mark.only_if("tool:ip")
def test_a_network_namespace_of_somebody_else(criu):
    keeper = criu.runtime.spawn_sleep("unshare", "-n")
    try:
        path = f"/proc/{keeper.pid}/ns/net"
        own = os.stat("/proc/self/ns/net").st_ino
        assert poll(lambda: os.stat(path).st_ino != own)
        others = [ns for ns in criu.bundle.get("linux.namespaces") if ns["type"] != "network"]
        criu.bundle.set("linux.namespaces", [*others, {"type": "network", "path": path}])
        criu.run().pipe.numbers(1)
        ok(criu.checkpoint())
        criu.must_restore()
        criu.pipe.numbers(2)
        assert os.stat(f"/proc/{criu.container.pid}/ns/net").st_ino == os.stat(path).st_ino
        criu.container.delete("--force")
    finally:
        keeper.kill()
        criu.runtime.wait(keeper)


@req("CLI-CRIU-5")
@works
def test_terminal(criu, console):
    criu.bundle.set("process.terminal", True).args("/bin/sh", "-c", "while read x; do echo got-$x; done")
    criu.run("--console-socket", console.path, args=())
    master = console.receive()
    os.write(master, b"one\n")
    assert "got-one" in read_line(master, "got-one")
    ok(criu.checkpoint())
    os.close(console.fds.pop())
    criu.must_restore("--console-socket", console.path)
    master = console.receive()
    os.write(master, b"two\n")
    assert "got-two" in read_line(master, "got-two")


@req("CLI-CRIU-6", "ER-1")
@works
def test_a_dump_that_fails_changes_nothing(criu):
    """What criu cannot dump: a file outside of the container. The container goes on."""
    outside = (criu.runtime.work / "outside").open("w")
    with outside:
        criu.bundle.args("/bin/sh", "-c", COUNT).write()
        command = ("run", "--detach", "--bundle", criu.bundle.path, criu.id)
        assert criu.call(*command, stdin=outside) == 0, criu.said()
    criu.pipe.numbers(2)
    pid = criu.container.pid
    result = criu.checkpoint()
    assert result.code == 1
    assert "criu failed: type " in result.err
    assert str(criu.log / "dump.log") in result.err
    assert (criu.container.pid, criu.container.status) == (pid, "running")
    counted = criu.pipe.numbers(3)
    assert counted == list(range(1, len(counted) + 1))


@req("CLI-CRIU-6", "ER-1")
@works
def test_a_restore_that_fails_leaves_nothing(criu):
    criu.run().pipe.numbers(1)
    ok(criu.checkpoint())
    for image in criu.image.glob("core-*.img"):
        image.write_bytes(b"damaged")
    with criu.runtime.assert_untouched():
        assert criu.restore("--detach") == 1
    assert "criu failed: type " in criu.said()
    assert not criu.container.exists()


@req("CLI-CRIU-6", "ER-1")
@works
def test_a_restore_whose_console_is_gone_leaves_nothing(criu, console):
    """The failure comes when the processes live already."""
    criu.bundle.set("process.terminal", True).args("/bin/sleep", "60")
    criu.run("--console-socket", console.path, args=())
    console.receive()
    ok(criu.checkpoint())
    gone = criu.runtime.work / "gone.sock"
    with criu.runtime.assert_untouched():
        assert criu.restore("--detach", "--console-socket", gone) == 1
    assert not criu.container.exists()


@req("CLI-CRIU-7")
def test_states_that_cannot_be_dumped(criu):
    criu.bundle.args("/bin/sleep", "60").write()
    assert criu.call("create", "--bundle", criu.bundle.path, criu.id) == 0, criu.said()
    result = criu.checkpoint()
    assert result.code == 1
    assert "cannot be checkpointed in created state" in result.err
    criu.container.delete("--force")
    assert "does not exist" in criu.checkpoint().err


@req("CLI-CRIU-7")
def test_without_criu(criu):
    criu.bundle.args("/bin/sleep", "60")
    criu.run(args=())
    criu.env["PATH"] = str(criu.runtime.work)
    result = criu.checkpoint()
    assert result.code == 1
    assert "criu" in result.err
    assert criu.container.status == "running"


@req("CLI-CRIU-7")
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--manage-cgroups-mode", "odd"), "manage-cgroups-mode"),
        (("--parent-path", "/absolute"), "--parent-path must be relative"),
        (("--page-server", "nowhere"), "Use --page-server ADDRESS:PORT to specify page server"),
        (("--page-server", "127.0.0.1:port"), "Invalid port number"),
        (("--empty-ns", "uts"), "is not supported"),
        (("--status-fd", "77"), "status-fd"),
    ],
    ids=lambda value: value[0].strip("-") if isinstance(value, tuple) else "",
)
def test_bad_options(criu, options, words):
    criu.bundle.args("/bin/sleep", "60")
    criu.run(args=())
    result = criu.checkpoint(*options)
    assert result.code == 1, str(result)
    assert words in result.err
    assert criu.container.status == "running"


@req("CLI-CRIU-7")
def test_restore_without_an_image(criu):
    criu.bundle.args("/bin/sleep", "60").write()
    with criu.runtime.assert_untouched():
        assert criu.restore("--detach") == 1
    assert not criu.container.exists()


@req("CLI-CRIU-8")
def test_stdin_is_the_containers_own_null_device(criu):
    """criu dumps no file of a mount that is not the container's; and the host's device is none of its business."""
    criu.bundle.args("/bin/sleep", "60")
    criu.run(args=())
    fd = f"/proc/{criu.container.pid}/fd/0"
    status = os.stat(fd)
    assert (os.major(status.st_rdev), os.minor(status.st_rdev)) == (1, 3)
    assert os.readlink(fd) == "/dev/null"
    assert status.st_dev != os.stat("/dev/null").st_dev
