"""Many commands at once on one id."""

from __future__ import annotations

import pathlib
import random
import signal
import subprocess
import time

import pytest
from lib import host
from lib.faults import gone
from lib.runtime import Container, new_id, poll

fault, req = pytest.mark.fault, pytest.mark.req


@fault("F04")
@req("CR-2")
def test_parallel_creates_of_one_id(runtime, bundle):
    bundle.write()
    ident = new_id()
    with open(runtime.work / "out", "wb") as log:
        argv = (*runtime.options, "create", "--bundle", bundle.path, ident)
        processes = [runtime.spawn(*argv, out=log, err=log) for _ in range(8)]
        codes = [runtime.wait(p) for p in processes]
    assert codes.count(0) == 1
    assert Container(runtime, ident, bundle).status == "created"


@fault("F10")
@req("SA-2")
def test_parallel_starts(runtime, bundle):
    for _ in range(3):
        c = runtime.create(bundle.probe("append", "/ran", "x", "hold"))
        processes = [runtime.spawn(*runtime.options, "start", c.id, err=subprocess.DEVNULL) for _ in range(4)]
        codes = [runtime.wait(p, 5) for p in processes]
        assert codes.count(0) == 1, codes
        assert c.status == "running"
        assert poll((bundle.rootfs / "ran").exists)
        c.delete("--force")
    assert (bundle.rootfs / "ran").read_text() == "xxx"


@fault("F09")
@req("ST-4")
def test_start_fifo_removed(runtime, bundle):
    c = runtime.create(bundle.probe("append", "/ran", "x"))
    fifo = runtime.root / c.id / "exec.fifo"
    if not fifo.exists():
        pytest.skip("needs a runtime with exec.fifo")
    fifo.unlink()
    assert runtime.cmd("start", c.id, timeout=5).code != 0
    assert not (bundle.rootfs / "ran").exists()
    c.delete("--force")


@fault("F04")
@req("DE-3")
def test_sixty_four_commands_at_once_on_one_id(runtime, bundle):
    """Some are killed half way. None hangs, none says a traceback, and one `delete --force` removes what is left."""
    bundle.probe("hold").write()
    ident, rnd = new_id(), random.Random(1)
    verbs = [
        ("create", "--bundle", bundle.path, ident),
        ("start", ident),
        ("state", ident),
        ("kill", ident, "KILL"),
        ("exec", ident, "/probe", "report"),
        ("delete", "--force", ident),
        ("list",),
        ("run", "--detach", "--bundle", bundle.path, ident),
    ]
    with open(runtime.work / "all", "w+") as log:
        processes = []
        for n in range(64):
            processes.append(runtime.spawn(*runtime.options, *verbs[n % 8], out=log, err=log))
            if n % 4 == 3:
                victim = rnd.choice(processes)
                time.sleep(rnd.random() * 0.02)
                victim.send_signal(signal.SIGKILL)
        codes = [runtime.wait(p, 20) for p in processes]
        log.seek(0)
        said = log.read()
    assert "Traceback" not in said
    assert "goroutine" not in said
    assert {code for code in codes if code < 0} <= {-signal.SIGKILL}
    runtime.cmd("delete", "--force", ident)
    assert gone(runtime, ident) == []


@fault("F11")
@req("KI-2")
def test_exec_that_races_with_kill(runtime, bundle):
    """exec ends by itself, with an error or with the container's end."""
    for n in range(8):
        c = runtime.running(bundle.probe("hold"))
        with open(runtime.work / "out", "wb") as log:
            argv = (*runtime.options, "exec", c.id, "/probe", "hold")
            processes = [runtime.spawn(*argv, out=log, err=log) for _ in range(3)]
            time.sleep(0.006 * n)
            runtime.cmd("kill", c.id, "KILL")
            codes = [runtime.wait(p, 10) for p in processes]
        assert all(code in {1, 137, 255} for code in codes), codes
        runtime.ok("delete", "--force", c.id)


@fault("F02")
@req("SA-2")
def test_start_that_races_with_the_end_of_its_process(runtime, bundle):
    """A dying init: start fails or has started it, and hangs in neither case."""
    for n in range(8):
        c = runtime.create(bundle.probe("hold"))
        pid = c.pid
        process = runtime.spawn(*runtime.options, "start", c.id, err=subprocess.DEVNULL)
        time.sleep(0.002 * n)
        runtime.cmd("kill", c.id, "KILL")
        code = runtime.wait(process, 8)
        assert code in {0, 1}
        c.wait(pid)
        if code == 0 or c.exists():  # a start that fails may have destroyed it (LC-7)
            assert c.status == "stopped"
            c.delete()


@fault("F17")
@req("DE-3")
@pytest.mark.parametrize("frozen", [False, True], ids=["running", "frozen"])
def test_foreign_process_in_the_cgroup(runtime, bundle, frozen):
    """A cgroup that cannot be removed at once: an error and the state kept, or all gone; in the end all is gone."""
    c = runtime.running(bundle.probe("hold"))
    sleeper = runtime.spawn_sleep()
    try:
        for place in host.cgroup_dirs(c.id):
            with open(f"{place}/cgroup.procs", "w") as procs:
                procs.write(str(sleeper.pid))
        if frozen:
            runtime.ok("pause", c.id)
        result = runtime.cmd("delete", "--force", c.id, timeout=30)
        if result.code != 0:
            assert "cgroup" in result.err
            assert runtime.states() == [c.id]
    finally:
        sleeper.kill()
        runtime.wait(sleeper)
    runtime.cmd("delete", "--force", c.id)
    assert gone(runtime, c.id) == []


@fault("F05")
@req("CLI-EXEC-1", "KI-2")
def test_frozen_container(runtime, bundle):
    """exec is refused, KILL reaches it, and it can be deleted."""
    c = runtime.running(bundle.probe("hold"))
    pid = c.pid
    runtime.ok("pause", c.id)
    assert c.status == "paused"
    assert runtime.cmd("exec", c.id, "/probe", "report", timeout=5).code != 0
    assert runtime.cmd("start", c.id, timeout=5).code != 0
    assert runtime.cmd("delete", c.id, timeout=15).code != 0
    c.kill("KILL")
    c.wait(pid)
    assert c.status == "stopped"
    c.delete()
    assert gone(runtime, c.id) == []


@fault("F23")
@req("DE-3")
def test_cgroups_of_the_containers_own(runtime, bundle):
    """Sub-cgroups that were made in the container's are removed with it."""
    c = runtime.running(bundle.probe("hold"))
    for place in host.cgroup_dirs(c.id):
        for below in ("a", "a/b", "c"):
            (pathlib.Path(place) / below).mkdir()
    c.delete("--force")
    assert poll(lambda: not host.cgroup_dirs(c.id), 1)


@fault("F23")
@req("DE-4")
def test_container_in_another_ones_namespaces(runtime, bundle):
    """The first is deleted; the second keeps the namespaces that it joined, and is deleted after it."""
    first = runtime.running(bundle.probe("hold"))
    other = runtime.bundle().probe("hold")
    for kind, name in (("network", "net"), ("ipc", "ipc"), ("uts", "uts")):
        other.ns(kind, f"/proc/{first.pid}/ns/{name}")
    second = runtime.running(other)
    first.delete("--force")
    assert second.status == "running"
    runtime.ok("exec", second.id, "/probe", "report")
    second.delete("--force")
