"""Hooks: what each stage's are given, where they run, and when."""

from __future__ import annotations

import os
import time

import pytest
from lib.hooks import AT_CREATE, IN_RUNTIME_NS, STAGES, Log, stdin_state
from lib.runtime import PATIENCE, process_state
from test_lifecycle import check_state

req = pytest.mark.req
STATUS = {
    "prestart": "creating",
    "createRuntime": "creating",
    "createContainer": "creating",
    "startContainer": "created",
    "poststart": "running",
    "poststop": "stopped",
}


def whole_life(runtime, bundle):
    """Create, start, let it end, delete; the pid that it had and its id."""
    c = runtime.create(bundle.probe("report", "hold"))
    pid = c.pid
    c.start()
    c.seen()
    c.stop()
    c.delete()
    return c, pid


@req("HK-1", "HK-9", "HK-10", "HK-11", "HK-13", "HK-15", "HK-16", "HO-0", "FE-6")
def test_order_of_the_stages(runtime, bundle, hooks: Log):
    for stage in reversed(STAGES):
        hooks.hook(stage)
    c = runtime.create(
        bundle.probe(
            "append", "/hooks.log", '{"did":[{"cmd":"access","args":["program"],"err":""}]}\n', "hold"
        )
    )
    assert hooks.ran() == list(AT_CREATE)
    c.start()
    assert hooks.ran()[3:4] == ["poststart"]
    assert [name for name in hooks.ran() if name in {"startContainer", "program"}] == [
        "startContainer",
        "program",
    ]
    c.stop()
    assert "poststop" not in hooks.ran()
    c.delete()
    assert hooks.ran()[4] == "poststop"


@req("HK-5")
@pytest.mark.parametrize("stage", STAGES)
def test_hooks_of_a_stage_run_in_order_one_by_one(runtime, bundle, hooks: Log, stage):
    """The first waits before it writes, so that a second beside it would come first."""
    program, log = hooks.paths(stage)
    bundle.hook(stage, program, "nap", "60", "out", log, "report", "access", "1")
    bundle.hook(stage, program, "out", log, "report", "access", "2")
    bundle.hook(stage, program, "out", log, "report", "access", "3")
    whole_life(runtime, bundle)
    assert hooks.ran() == ["1", "2", "3"]


@req("HK-6", "ST-11", "ST-7")
@pytest.mark.parametrize("stage", STAGES)
def test_state_on_standard_input(runtime, bundle, hooks: Log, stage):
    hooks.hook(stage)
    bundle.set("annotations", {"org.example.k": "v"})
    c, pid = whole_life(runtime, bundle)
    state = stdin_state(hooks.of(stage))
    check_state(
        state, id=c.id, status=STATUS[stage], bundle=str(bundle.path), annotations={"org.example.k": "v"}
    )
    if stage != "poststop":
        assert state["pid"] == (1 if stage in {"createContainer", "startContainer"} else pid)


@req("HK-2")
@pytest.mark.parametrize("stage", STAGES)
def test_hook_arguments_are_its_argv(runtime, bundle, hooks: Log, stage):
    program, log = hooks.paths(stage)
    args = ["a name", "out", log, "report", "access", "x y", "access", ""]
    bundle.add(f"hooks.{stage}", {"path": program, "args": args})
    whole_life(runtime, bundle)
    assert hooks.entries()[0][1]["argv"] == args


@req("HK-2")
def test_hook_without_arguments_gets_its_path(runtime, bundle):
    log = runtime.work / "argv0"
    hook = runtime.work / "hook"
    hook.write_text(f'#!/bin/sh\necho "$0 $#" > {log}\n')
    hook.chmod(0o755)
    bundle.add("hooks.createRuntime", {"path": str(hook)})
    runtime.create(bundle)
    assert log.read_text() == f"{hook} 0\n"


@req("HK-3")
@pytest.mark.parametrize("stage", STAGES)
def test_hook_environment_is_exactly_the_one_given(runtime, bundle, hooks: Log, stage):
    hooks.hook(stage, env=["A=1", "EMPTY=", "B=x=y"])
    whole_life(runtime, bundle)
    assert hooks.of(stage).env == ["A=1", "EMPTY=", "B=x=y"]


@req("HK-3")
def test_start_container_hook_without_env_gets_that_of_the_process(runtime, bundle, hooks: Log):
    hooks.hook("startContainer")
    bundle.add("process.env", "OF_THE_PROCESS=yes")
    whole_life(runtime, bundle)
    assert "OF_THE_PROCESS=yes" in hooks.of("startContainer").env


@req("HK-1")
@pytest.mark.parametrize("stage", STAGES)
def test_relative_hook_path(runtime, bundle, stage):
    runtime.refuses(bundle.add(f"hooks.{stage}", {"path": "bin/true"}))


@req("HK-1")
@pytest.mark.parametrize("stage", STAGES)
def test_hook_without_a_path(runtime, bundle, stage):
    runtime.refuses(bundle.add(f"hooks.{stage}", {"args": ["x"]}))


@req("HK-1", "LC-4")
def test_hook_that_does_not_exist(runtime, bundle):
    runtime.refuses(bundle.hook("createRuntime", "/nonexistent/hook"), "no such file or directory")


@req("HK-4")
@pytest.mark.parametrize("timeout", [0, -1])
def test_timeout_must_be_positive(runtime, bundle, hooks: Log, timeout):
    hooks.hook("createRuntime", timeout=timeout)
    runtime.refuses(bundle)


@req("HK-4")
@pytest.mark.parametrize("stage", AT_CREATE)
def test_hook_past_its_timeout_is_aborted(runtime, bundle, hooks: Log, stage):
    hooks.hook(stage, "nap", "60000", timeout=1)
    began = time.monotonic()
    runtime.refuses(bundle)
    assert 0.9 < time.monotonic() - began < 5 * PATIENCE
    assert hooks.ran() == []


@req("HK-4")
def test_hook_within_its_timeout(runtime, bundle, hooks: Log):
    hooks.hook("createRuntime", "nap", "50", timeout=5)
    runtime.create(bundle)
    assert hooks.ran() == ["createRuntime"]


@req("HK-7", "HK-10", "HK-15", "HK-16")
@pytest.mark.parametrize("stage", IN_RUNTIME_NS)
def test_hook_in_the_namespaces_of_the_runtime(runtime, bundle, hooks: Log, stage):
    hooks.hook(stage)
    whole_life(runtime, bundle)
    own = {kind: os.readlink(f"/proc/self/ns/{kind}") for kind in ("mnt", "net", "pid", "uts", "ipc", "user")}
    assert {kind: hooks.of(stage)["ns"][kind] for kind in own} == own


@req("HK-12", "HK-11")
def test_create_container_hook_runs_in_the_container_found_in_the_host(runtime, bundle, hooks: Log):
    hooks.hook("createContainer", "stat", str(bundle.rootfs / "proc/1/exe"))
    c = runtime.create(bundle)
    seen = hooks.of("createContainer")
    # /proc is still the host's there, and shows the hook's namespaces under the pid that the host knows.
    for kind in ("mnt", "net", "uts", "ipc"):
        if seen["ns"][kind] is not None:
            assert seen["ns"][kind] == os.readlink(f"/proc/{c.pid}/ns/{kind}"), kind
    assert seen["hostname"] in {"spec-tests", os.uname().nodename}
    assert [m for m in seen.mounts if m.place == str(bundle.rootfs / "dev/shm")], (
        "the container's mounts are not there"
    )


@req("HK-8", "HK-10", "HK-11")
@pytest.mark.parametrize("stage", AT_CREATE)
def test_hooks_of_create_see_the_namespaces_made_and_the_host_root(runtime, bundle, hooks: Log, stage):
    """Before pivot_root: host paths are there; the namespaces of the pid on standard input are new ones."""
    witness = runtime.work / "witness"
    witness.write_text("host")
    look = [] if stage == "createContainer" else ["cat", str(witness)]
    hooks.hook(stage, "stat", str(witness), *look)
    runtime.create(bundle)
    assert hooks.of(stage).step("stat").err == ""


@req("HK-8", "HK-10")
@pytest.mark.parametrize("stage", ["prestart", "createRuntime"])
def test_the_hook_pid_leads_to_the_new_namespaces(runtime, bundle, stage):
    out = runtime.work / "ns"
    hook = runtime.work / "hook"
    hook.write_text(
        "#!/bin/sh\nread -r state || true\n"
        'pid=$(printf %s "$state" | sed \'s/.*"pid": *\\([0-9]*\\).*/\\1/\')\n'
        f"for kind in net mnt pid; do readlink /proc/$pid/ns/$kind; done > {out}\n"
    )
    hook.chmod(0o755)
    c = runtime.create(bundle.hook(stage, str(hook)))
    wanted = [os.readlink(f"/proc/{c.pid}/ns/{kind}") for kind in ("net", "mnt", "pid")]
    assert out.read_text().split() == wanted


@req("HK-14")
def test_start_container_hook_inside(runtime, bundle, hooks: Log):
    hooks.hook("startContainer")
    c = runtime.running(bundle.probe("report", "hold"))
    program, seen = c.seen(), hooks.of("startContainer")
    assert seen["ns"] == program["ns"]
    assert seen["hostname"] == "spec-tests"
    assert [m.place for m in seen.mounts] == [m.place for m in program.mounts]
    assert seen.caps["Bnd"] == program.caps["Bnd"]


@req("HK-14")
def test_start_container_hook_is_not_found_in_the_host(runtime, bundle):
    """Its path is one of the container."""
    bundle.hook("startContainer", str(runtime.tree / "probe"), "exit", "0")
    c = runtime.create(bundle.probe("write", "/ran", "x"))
    pid = c.pid
    assert runtime.cmd("start", c.id).code != 0
    c.wait(pid)
    assert not (bundle.rootfs / "ran").exists()


@req("HK-15")
def test_start_returns_after_poststart(runtime, bundle, hooks: Log):
    hooks.hook("poststart", "nap", "150")
    c = runtime.create(bundle.probe("hold"))
    assert hooks.ran() == []
    c.start()
    assert hooks.ran() == ["poststart"]


@req("HK-16")
def test_delete_returns_after_poststop(runtime, bundle, hooks: Log):
    hooks.hook("poststop", "nap", "150")
    c = runtime.create(bundle)
    c.stop()
    c.delete()
    assert hooks.ran() == ["poststop"]


@req("HK-13")
def test_start_container_hook_runs_at_start(runtime, bundle, hooks: Log):
    hooks.hook("startContainer")
    c = runtime.create(bundle.probe("hold"))
    assert hooks.ran() == []
    pid = c.pid
    c.start()
    assert process_state(pid) not in {None, "Z"}
    assert hooks.ran() == ["startContainer"]


@req("EX-2", "HK-1")
def test_unknown_stage_is_ignored(runtime, bundle):
    runtime.create(bundle.add("hooks.noSuchStage", {"path": "/nonexistent"}))


@req("HK-17", "LC-4")
def test_standard_error_of_a_failing_hook_is_in_the_message(runtime, bundle):
    bundle.hook("createRuntime", str(runtime.tree / "probe"), "complain", "the reason is here", "exit", "7")
    assert "the reason is here" in runtime.refuses(bundle).said


@req("HK-5")
@pytest.mark.parametrize("stage", STAGES)
def test_hooks_get_no_other_descriptors(runtime, bundle, hooks: Log, stage):
    hooks.hook(stage)
    whole_life(runtime, bundle)
    assert sorted(hooks.of(stage)["fds"]) == ["0", "1", "2"]
