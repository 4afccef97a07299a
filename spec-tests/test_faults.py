"""Things that break: killed commands, damaged state, full disks, races. What is left must be removable."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest
from lib import host
from lib.runtime import PREFIX, Container, new_id, orphans, poll, process_state, start_time

if TYPE_CHECKING:
    from lib.hooks import Log

req = pytest.mark.req


def gone(runtime, ident: str) -> list[str]:
    """What is still there of a container."""
    poll(lambda: not orphans() and not host.cgroup_dirs(ident), 0.6)
    return [*host.cgroup_dirs(ident), *orphans().values(), *(s for s in runtime.states() if s == ident)]


@req("F01", "ER-1")
def test_create_killed_at_any_moment(runtime, bundle):
    """`delete --force` removes everything that a killed `create` left."""
    bundle.write()
    began = time.monotonic()
    runtime.ok("create", "--bundle", bundle.path, ident := new_id())
    whole = time.monotonic() - began
    runtime.ok("delete", "--force", ident)
    left = {}
    for n in range(24):
        ident = new_id()
        with open(runtime.work / "out", "wb") as out:
            process = runtime.spawn(
                "--root", runtime.root, "create", "--bundle", bundle.path, ident, out=out, err=out
            )
        time.sleep(whole * 1.2 * n / 24)
        process.send_signal(signal.SIGKILL)
        runtime.wait(process)
        poll(lambda: True, 0.02)
        runtime.cmd("delete", "--force", ident)
        if rest := gone(runtime, ident):
            left[n] = rest
            runtime.remove_cgroups(ident)
            for pid in orphans():
                os.kill(pid, signal.SIGKILL)
    assert left == {}


@req("F15", "DE-3")
def test_delete_killed_at_any_moment(runtime, bundle):
    bundle.probe("hold").write()
    left = {}
    for n in range(10):
        c = runtime.running(bundle)
        process = runtime.spawn("--root", runtime.root, "delete", "--force", c.id)
        time.sleep(0.003 * n)
        process.send_signal(signal.SIGKILL)
        runtime.wait(process)
        runtime.cmd("delete", "--force", c.id)
        if rest := gone(runtime, c.id):
            left[n] = rest
    assert left == {}


@req("F02", "ST-4", "KI-2", "SA-2")
def test_process_killed_from_outside(runtime, bundle):
    c = runtime.create(bundle)
    pid = c.pid
    os.kill(pid, signal.SIGKILL)
    c.wait(pid)
    assert c.status == "stopped"
    runtime.fails("start", c.id)
    runtime.fails("kill", c.id, "TERM")
    c.delete()
    assert not c.exists()


@req("F03", "KI-2", "DE-3")
def test_pid_that_another_process_has_now(runtime, bundle):
    """Put a foreign process's pid into the state: the start time tells that it is not ours."""
    c = runtime.create(bundle)
    pid = c.pid
    c.stop()
    sleeper = runtime.spawn_sleep()
    try:
        changed = 0
        for path in (runtime.root / c.id).rglob("*"):
            if (
                path.is_file()
                and not path.is_symlink()
                and str(pid) in (text := path.read_text(errors="replace"))
            ):
                path.write_text(
                    text.replace(f": {pid}", f": {sleeper.pid}").replace(f":{pid}", f":{sleeper.pid}")
                )
                changed += 1
        if not changed:
            pytest.skip("needs a state file that holds the pid as text")
        assert start_time(sleeper.pid)
        assert c.status == "stopped"
        assert runtime.cmd("kill", c.id, "KILL").code != 0
        runtime.cmd("delete", "--force", c.id)
        assert sleeper.poll() is None, "a foreign process was killed"
    finally:
        sleeper.kill()
        runtime.wait(sleeper)


@req("F04", "CR-2")
def test_parallel_creates_of_one_id(runtime, bundle):
    bundle.write()
    ident = new_id()
    with open(runtime.work / "out", "wb") as log:
        argv = ("--root", runtime.root, "create", "--bundle", bundle.path, ident)
        processes = [runtime.spawn(*argv, out=log, err=log) for _ in range(8)]
        codes = [runtime.wait(p) for p in processes]
    assert codes.count(0) == 1
    assert Container(runtime, ident, bundle).status == "created"


@req("F10", "SA-2")
def test_parallel_starts(runtime, bundle):
    for _ in range(3):
        c = runtime.create(bundle.probe("append", "/ran", "x", "hold"))
        processes = [
            runtime.spawn("--root", runtime.root, "start", c.id, err=subprocess.DEVNULL) for _ in range(4)
        ]
        codes = [runtime.wait(p, 5) for p in processes]
        assert codes.count(0) == 1, codes
        assert c.status == "running"
        assert poll((bundle.rootfs / "ran").exists)
        c.delete("--force")
    assert (bundle.rootfs / "ran").read_text() == "xxx"


@req("F06", "ER-1")
def test_state_root_on_a_full_disk(runtime, bundle):
    runtime.root.mkdir()
    host.mount("tmpfs", runtime.root, "tmpfs", data="size=16k,mode=700")
    try:
        full = runtime.root / "full"
        with open(full, "wb") as file:
            try:
                file.write(b"x" * 65536)
                file.flush()
            except OSError:
                pass
        # Leave the guard nothing but what the runtime made.
        before = runtime.states()
        bundle.set("annotations", {"a": "x" * 20000})
        result = runtime.try_create(bundle)
        assert result.code != 0
        assert "no space left" in result.err.lower()
        assert runtime.states() == before
        assert not host.cgroup_dirs(PREFIX)
        assert poll(lambda: not orphans(), 1)
        full.unlink()
    finally:
        host.umount(runtime.root)


@req("F14", "ER-1")
def test_state_root_that_is_read_only(runtime, bundle):
    runtime.root.mkdir()
    host.mount("tmpfs", runtime.root, "tmpfs", data="mode=700")
    host.mount("none", runtime.root, flags=0x20 | 1)  # MS_REMOUNT, MS_RDONLY
    try:
        result = runtime.try_create(bundle)
        assert result.code != 0
        assert "read-only file system" in result.err.lower()
        assert not host.cgroup_dirs(PREFIX)
    finally:
        host.umount(runtime.root)


@req("F07", "CLI-LIST-4")
def test_stale_empty_state_directory(runtime, bundle):
    ident = new_id()
    (runtime.root / ident).mkdir(parents=True, mode=0o700)
    assert runtime.cmd("state", ident).code != 0
    assert runtime.cmd("list").code == 0
    assert runtime.try_create(bundle, ident).code != 0
    runtime.ok("delete", "--force", ident)
    assert runtime.states() == []


@req("F08", "CLI-LIST-4")
@pytest.mark.parametrize(
    "content",
    [b"", b'{"id": ', b"garbage", b"null", b"{}", b"[]", b'{"id": 5}'],
    ids=lambda c: c.decode() or "empty",
)
def test_damaged_state(runtime, bundle, content):
    """`list` goes on, `delete --force` removes all, the other commands fail in words."""
    other = runtime.create(runtime.bundle())
    c = runtime.create(bundle)
    pid = c.pid
    for path in (runtime.root / c.id).iterdir():
        if path.name in {"state.json", "status"}:
            path.write_bytes(content)
    result = runtime.cmd("state", c.id)
    assert result.code == 1
    assert "Traceback" not in result.said
    assert "goroutine" not in result.said
    listed = runtime.cmd("list", "-q")
    assert listed.code == 0, str(listed)
    assert other.id in listed.out.split()
    runtime.cmd("delete", "--force", c.id, timeout=8)
    assert c.id not in runtime.states()
    assert poll(lambda: process_state(pid) in {None, "Z"}, 1), "the process was left"
    assert not host.cgroup_dirs(c.id)


@req("F08")
@pytest.mark.parametrize("pid", [0, -1])
def test_state_with_an_impossible_pid(runtime, bundle, pid):
    """kill(-1) would end every process of the host: nothing may be signalled by such a number."""
    c = runtime.create(bundle)
    real = c.pid
    c.stop()
    for path in (runtime.root / c.id).iterdir():
        if path.name in {"state.json", "status"}:
            state = json.loads(path.read_text())
            for key in ("init_process_pid", "pid"):
                if key in state:
                    state[key] = pid
            path.write_text(json.dumps(state))
    assert real > 0
    # In a pid namespace of its own, where the number could hurt nobody else.
    result = runtime.cmd("kill", c.id, "TERM", prefix=("unshare", "-p", "-f", "--kill-child"), timeout=8)
    assert result.code != 0
    runtime.cmd("delete", "--force", c.id, prefix=("unshare", "-p", "-f", "--kill-child"), timeout=8)


@req("F09", "ST-4")
def test_start_fifo_removed(runtime, bundle):
    c = runtime.create(bundle.probe("append", "/ran", "x"))
    fifo = runtime.root / c.id / "exec.fifo"
    if not fifo.exists():
        pytest.skip("needs a runtime with exec.fifo")
    fifo.unlink()
    assert runtime.cmd("start", c.id, timeout=5).code != 0
    assert not (bundle.rootfs / "ran").exists()
    c.delete("--force")


@req("F12", "LC-13", "HK-17")
@pytest.mark.parametrize("stage", ["prestart", "createRuntime", "createContainer"])
def test_failing_hook_of_run(runtime, bundle, hooks: Log, stage):
    hooks.hook(stage, "exit", "1")
    hooks.hook("poststop", "exit", "1", tag="-1")
    hooks.hook("poststop", tag="-2")
    ident = new_id()
    result = runtime.try_run(bundle.probe("say", "ran"), ident=ident)
    assert result.code != 0
    assert "ran" not in result.out.split()
    assert hooks.ran() == [stage, "poststop-1", "poststop-2"]
    assert gone(runtime, ident) == []


@req("F12", "LC-9", "LC-7")
@pytest.mark.parametrize("stage", ["startContainer", "poststart"])
def test_failing_hook_of_start_in_run(runtime, bundle, hooks: Log, stage):
    hooks.hook(stage, "exit", "1")
    hooks.hook("poststop")
    ident = new_id()
    result = runtime.try_run(bundle.probe("hold"), ident=ident, timeout=8)
    assert result.code != 0
    assert sorted(hooks.ran()) == sorted([stage, "poststop"])
    assert gone(runtime, ident) == []


@req("F13", "ER-1")
def test_failing_mount_in_run(runtime, bundle):
    with runtime.assert_untouched():
        assert runtime.try_run(bundle.mount("/x", "nosuchfs")).code == 1


@req("F18")
def test_terminated_run_ends_with_the_status_of_its_process(runtime, bundle):
    bundle.probe("stop-on", "TERM", "write", "/ready", "x", "hold").write()
    process = runtime.spawn("--root", runtime.root, "run", "--bundle", bundle.path, ident := new_id())
    assert poll((bundle.rootfs / "ready").exists)
    process.terminate()
    assert runtime.wait(process, 5) == 115
    assert gone(runtime, ident) == []


@req("F19", "ER-1")
def test_caller_with_few_descriptors(runtime, bundle):
    """An error, or success: nothing left in the first case, and no crash in either."""
    for n in range(100):
        bundle.mount(f"/m/{n}", None, bundle.path, ["bind"])
    prefix = ("/bin/sh", "-c", 'ulimit -n 64; exec "$@"', "sh")
    with runtime.assert_untouched():
        result = runtime.try_run(bundle.probe("report"), prefix=prefix)
        assert result.code in {0, 1}
        assert "Traceback" not in result.said


@req("F19", "ER-1")
def test_caller_with_a_file_size_limit(runtime, bundle):
    """SIGXFSZ must not end the runtime half way."""
    prefix = ("/bin/bash", "-c", 'ulimit -f 0; exec "$@"', "sh")
    ident = new_id()
    result = runtime.try_create(bundle, ident, prefix=prefix)
    if result.code != 0:
        assert result.code == 1, f"the runtime died: {result}"
        assert gone(runtime, ident) == []


@req("ER-1", "CLI-PIDFILE-1")
def test_no_pid_file_of_a_program_that_could_not_be_run(runtime, bundle):
    """Found, but refused by execve: by then the pid file may have been written."""
    script = bundle.rootfs / "run.sh"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    pid_file = runtime.work / "late.pid"
    bundle.args("/run.sh").write()
    result = runtime.raw(
        "--root", runtime.root, "run", "--pid-file", pid_file, "--bundle", bundle.path, new_id()
    )
    assert result.code != 0
    assert not pid_file.exists()
