"""Commands and processes that are killed at any moment: what is left must be removable."""

from __future__ import annotations

import os
import signal
import time

import pytest
from lib.faults import census, gone
from lib.runtime import new_id, orphans, poll

fault, req = pytest.mark.fault, pytest.mark.req


@fault("F01")
@req("ER-1")
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
                *runtime.options, "create", "--bundle", bundle.path, ident, out=out, err=out
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


@fault("F15")
@req("DE-3")
def test_delete_killed_at_any_moment(runtime, bundle):
    bundle.probe("hold").write()
    left = {}
    for n in range(10):
        c = runtime.running(bundle)
        process = runtime.spawn(*runtime.options, "delete", "--force", c.id)
        time.sleep(0.003 * n)
        process.send_signal(signal.SIGKILL)
        runtime.wait(process)
        runtime.cmd("delete", "--force", c.id)
        if rest := gone(runtime, c.id):
            left[n] = rest
    assert left == {}


@fault("F02")
@req("ST-4", "KI-2", "SA-2")
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


@fault("F18")
def test_terminated_run_ends_with_the_status_of_its_process(runtime, bundle):
    bundle.probe("stop-on", "TERM", "write", "/ready", "x", "hold").write()
    process = runtime.spawn(*runtime.options, "run", "--bundle", bundle.path, ident := new_id())
    assert poll((bundle.rootfs / "ready").exists)
    process.terminate()
    assert runtime.wait(process, 5) == 115
    assert gone(runtime, ident) == []


@fault("F24")
def test_nothing_grows(runtime, bundle):
    """After many lives there is as much of everything as before."""
    bundle.probe("hold").write()

    def life() -> None:
        c = runtime.create(bundle)
        c.start()
        runtime.ok("exec", c.id, "/probe", "report")
        c.stop()
        c.delete()

    life()
    poll(lambda: not orphans(), 1)
    before = census()
    for _ in range(20):
        life()
    poll(lambda: not {k: n for k, n in census().items() if n > before[k]}, 2)
    after = census()
    assert {k: (before[k], n) for k, n in after.items() if n > before[k]} == {}


@fault("F01")
@req("ER-1")
def test_run_and_exec_killed_at_any_moment(runtime, bundle):
    """The program may live on or not; `delete --force` removes everything."""
    bundle.probe("hold").write()
    left = {}
    for n in range(12):
        c = runtime.running(bundle)
        with open(runtime.work / "out", "wb") as out:
            argv = ("exec", c.id, "/probe", "hold") if n % 2 else ("run", "--bundle", bundle.path, new_id())
            process = runtime.spawn(*runtime.options, *argv, out=out, err=out)
        time.sleep(0.004 * n)
        process.send_signal(signal.SIGKILL)
        runtime.wait(process)
        idents = [c.id] if n % 2 else [c.id, argv[-1]]
        for ident in idents:
            runtime.cmd("kill", ident, "KILL")
            poll(
                lambda: not orphans(), 0.5
            )  # a pid namespace ends when its processes are reaped, which is ours to do
            runtime.cmd("delete", "--force", ident)
        if rest := [line for ident in idents for line in gone(runtime, ident)]:
            left[n] = rest
    assert left == {}
