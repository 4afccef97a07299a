"""State directories that are damaged, stale, full, read-only or lie."""

from __future__ import annotations

import json
import os

import pytest
from lib import host
from lib.runtime import PREFIX, new_id, orphans, poll, process_state, start_time

fault, req = pytest.mark.fault, pytest.mark.req


@fault("F03")
@req("KI-2", "DE-3")
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


@fault("F06")
@req("ER-1")
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


@fault("F14")
@req("ER-1")
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


@fault("F07")
@req("CLI-LIST-4")
def test_stale_empty_state_directory(runtime, bundle):
    ident = new_id()
    (runtime.root / ident).mkdir(parents=True, mode=0o700)
    assert runtime.cmd("state", ident).code != 0
    assert runtime.cmd("list").code == 0
    assert runtime.try_create(bundle, ident).code != 0
    runtime.ok("delete", "--force", ident)
    assert runtime.states() == []


@fault("F08")
@req("CLI-LIST-4")
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


@fault("F08")
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


@fault("F03")
@req("ST-4")
def test_container_from_the_future(runtime, bundle):
    """Since the clock was set back its creation lies ahead: it is alive, looked at and removable like any other."""
    c = runtime.running(bundle.probe("hold"))
    for path in (runtime.root / c.id).iterdir():
        if path.name in {"state.json", "status"}:
            state = json.loads(path.read_text())
            if "created" in state:
                path.write_text(json.dumps(state | {"created": "2055-01-01T00:00:00.000000001Z"}))
    assert c.status == "running"
    for command in (("list",), ("ps", c.id)):
        result = runtime.ok(*command)
        assert "Traceback" not in result.said
    c.stop()
    c.delete()


@fault("F08")
@req("CLI-LIST-4")
@pytest.mark.parametrize("what", ["directory", "fifo", "loop", "huge"])
def test_state_file_that_is_no_file(runtime, bundle, what):
    """No command may hang or die of it; `delete --force` removes it."""
    c = runtime.create(bundle)
    pid = c.pid
    names = [p for p in (runtime.root / c.id).iterdir() if p.name in {"state.json", "status"}]
    for path in names:
        path.unlink()
        if what == "directory":
            path.mkdir()
        elif what == "fifo":
            os.mkfifo(path)
        elif what == "loop":
            path.symlink_to(path.name)
        else:
            path.write_text('{"id": "' + "x" * (8 << 20) + '"}')
    for command in (("state", c.id), ("list",), ("kill", c.id, "KILL")):
        result = runtime.cmd(*command, timeout=8)
        assert "Traceback" not in result.said
        assert "goroutine" not in result.said
    runtime.cmd("delete", "--force", c.id, timeout=8)
    assert c.id not in runtime.states()
    assert poll(lambda: process_state(pid) in {None, "Z"}, 1), "the process was left"


@fault("F14")
@req("ER-1")
def test_state_root_that_became_read_only(runtime, bundle):
    """state and list go on; kill works; delete says why it cannot."""
    runtime.root.mkdir()
    host.mount("tmpfs", runtime.root, "tmpfs", data="mode=700")
    try:
        c = runtime.running(bundle.probe("hold"))
        pid = c.pid
        host.mount("none", runtime.root, flags=0x20 | 1)  # MS_REMOUNT, MS_RDONLY
        assert runtime.cmd("list", "-q").out.split() == [c.id]
        assert c.status == "running"
        runtime.cmd("kill", c.id, "KILL")
        c.wait(pid)
        result = runtime.cmd("delete", c.id)
        assert result.code != 0
        assert "read-only file system" in result.err.lower()
        host.mount("none", runtime.root, flags=0x20)
        runtime.cmd("delete", "--force", c.id)
        assert runtime.states() == []
    finally:
        runtime.clean_containers()
        host.umount(runtime.root)
