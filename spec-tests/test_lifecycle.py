"""State, lifecycle, operations: what create, start, state, kill and delete promise."""

from __future__ import annotations

import json
import os
import pathlib
import re
import signal
import subprocess

import pytest
from lib import host
from lib.bundle import Unset
from lib.hooks import Log, script, stdin_state
from lib.probe import parse_mountinfo
from lib.runtime import PREFIX, new_id, poll, process_state

req = pytest.mark.req
SEMVER = r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?"


def check_state(state: dict, **exact: object) -> None:
    """The rules of the spec's state document, and of its JSON schema."""
    assert re.fullmatch(SEMVER, state["ociVersion"]), state
    assert isinstance(state["id"], str), state
    assert state["id"], state
    assert os.path.isabs(state["bundle"]), state
    if state["status"] in {"creating", "created", "running"}:
        assert type(state["pid"]) is int, state
        assert state["pid"] > 0, state
    else:
        assert type(state.get("pid", 0)) is int, state
    annotations = state.get("annotations", {})
    assert all(isinstance(k, str) and isinstance(v, str) for k, v in annotations.items()), state
    for key, value in exact.items():
        assert state[key] == value, state


# ---- state ----


@req("ST-1", "ST-2", "ST-3", "ST-4", "ST-5", "ST-6", "ST-8", "ST-11", "QS-3", "CR-3", "SC-1", "OP-1", "SP-1")
def test_state_in_every_phase(runtime, bundle):
    c = runtime.create(bundle.probe("hold"))
    check_state(c.state(), id=c.id, status="created", bundle=str(bundle.path))
    pid = c.pid
    assert process_state(pid) not in {None, "Z"}
    c.start()
    check_state(c.state(), id=c.id, status="running", pid=pid, bundle=str(bundle.path))
    c.kill("KILL")
    c.wait(pid)
    check_state(c.state(), id=c.id, status="stopped", bundle=str(bundle.path))
    c.delete()
    assert not c.exists()


@req("ST-1")
def test_state_version_is_not_an_echo_of_the_config(runtime, bundle):
    """A config of 1.0.0 does not make the state document one of a version that the runtime does not write."""
    first, second = (
        runtime.create(b.set("ociVersion", v)) for b, v in ((bundle, "1.0.0"), (runtime.bundle(), "1.0.2"))
    )
    assert first.state()["ociVersion"] == second.state()["ociVersion"]


@req("ST-4")
def test_zombie_counts_as_stopped(runtime, bundle):
    c = runtime.create(bundle.probe("exit", 0))
    pid = c.pid
    c.start()
    c.wait(pid)
    assert process_state(pid) == "Z"  # nobody has reaped it
    assert c.status == "stopped"


@req("ST-4")
def test_killed_while_created_is_stopped(runtime, bundle):
    c = runtime.create(bundle)
    c.stop()
    assert c.status == "stopped"


@req("ST-4")
def test_creating_is_what_hooks_of_create_read(runtime, bundle, hooks: Log):
    hooks.hook("createRuntime")
    runtime.create(bundle)
    assert stdin_state(hooks.of("createRuntime"))["status"] == "creating"


@req("ST-8")
def test_bundle_is_absolute_when_given_relative(runtime, bundle):
    bundle.write()
    ident = new_id()
    runtime.ok("create", "--bundle", ".", ident, cwd=bundle.path)
    assert runtime.ok("state", ident).json()["bundle"] == str(bundle.path)


@req("ST-8", "CR-1")
def test_bundle_is_the_current_directory_by_default(runtime, bundle):
    bundle.write()
    ident = new_id()
    runtime.ok("create", ident, cwd=bundle.path)
    assert runtime.ok("state", ident).json()["bundle"] == str(bundle.path)


@req("ST-9", "AN-1")
@pytest.mark.parametrize(
    "annotations", [None, {}, {"org.example.a": "1", "empty": ""}], ids=["absent", "empty", "two"]
)
def test_annotations_in_the_state(runtime, bundle, annotations):
    if annotations is not None:
        bundle.set("annotations", annotations)
    c = runtime.create(bundle)
    assert c.state().get("annotations", {}) == (annotations or {})


@req("ST-2", "CR-2", "ER-1")
def test_second_create_of_an_id(runtime, bundle):
    c = runtime.create(bundle)
    before = c.state()
    with runtime.assert_untouched():
        assert runtime.try_create(runtime.bundle(), c.id).code != 0
    assert c.state() == before


# ---- lifecycle ----


@req("LC-2a", "LC-2c", "CR-4", "CR-5", "LC-8", "SA-3")
def test_create_makes_the_environment_and_start_runs_the_program(runtime, bundle):
    c = runtime.create(bundle.probe("write", "/ran", "x"))
    pid = c.pid
    for kind in ("pid", "net", "ipc", "uts", "mnt"):
        assert os.readlink(f"/proc/{pid}/ns/{kind}") != os.readlink(f"/proc/self/ns/{kind}"), kind
    assert host.cgroup_dirs(c.id)
    assert not (bundle.rootfs / "ran").exists()
    c.start()
    c.wait(pid)
    assert (bundle.rootfs / "ran").read_text() == "x"


@req("CR-4")
@pytest.mark.only_if("v1:pids")
def test_resources_hold_before_start(runtime, bundle):
    c = runtime.create(bundle.set("linux.resources.pids", {"limit": 77}))
    assert (host.cgroup_of(c.pid, "pids") / "pids.max").read_text() == "77\n"


@req("CR-4")
@pytest.mark.only_if("tool:nsenter")
def test_mounts_and_sysctls_hold_before_start(runtime, bundle):
    bundle.mount("/data").set("linux.sysctl", {"kernel.shmmni": "123"})
    c = runtime.create(bundle)
    inside = pathlib.Path(f"/proc/{c.pid}/root")
    assert [m for m in parse_mountinfo((inside.parent / "mountinfo").read_text()) if m.place == "/data"]
    read = ["nsenter", "-t", str(c.pid), "-i", "cat", "/proc/sys/kernel/shmmni"]
    assert subprocess.run(read, capture_output=True, check=True).stdout == b"123\n"


@req("CR-6", "US-1")
def test_process_properties_hold_at_the_latest_after_start(runtime, bundle):
    seen = runtime.report(bundle.set("process.user", {"uid": 5, "gid": 6}))
    assert (seen["uids"], seen["gids"]) == ([5] * 3, [6] * 3)


@req("LC-2b", "CR-7")
@pytest.mark.parametrize("fault", ["no rootfs", "unknown file system", "no such source"])
def test_an_environment_that_cannot_be_built(runtime, bundle, fault):
    match fault:
        case "no rootfs":
            bundle.set("root.path", "absent")
        case "unknown file system":
            bundle.mount("/x", "nosuchfs", "nosuchfs")
        case "no such source":
            bundle.mount("/x", None, "/nonexistent/source", ["bind"])
    runtime.refuses(bundle)


@req("LC-2d")
def test_config_changed_after_create_changes_nothing(runtime, bundle, hooks: Log):
    hooks.hook("poststop", tag="-old")
    c = runtime.create(bundle.probe("write", "/ran", "old"))
    pid = c.pid
    changed = json.loads((bundle.path / "config.json").read_text())
    changed["process"]["args"] = ["/probe", "write", "/ran", "new"]
    changed["hooks"]["poststop"][0]["args"] = ["probe", "out", str(hooks.outside), "access", "poststop-new"]
    (bundle.path / "config.json").write_text(json.dumps(changed))
    c.start()
    c.wait(pid)
    c.delete()
    assert (bundle.rootfs / "ran").read_text() == "old"
    assert hooks.ran() == ["poststop-old"]


@req("LC-2d")
def test_config_removed_after_create(runtime, bundle):
    c = runtime.create(bundle.probe("write", "/ran", "x"))
    pid = c.pid
    (bundle.path / "config.json").unlink()
    c.start()
    c.wait(pid)
    c.delete()
    assert (bundle.rootfs / "ran").exists()


@req("LC-10")
@pytest.mark.parametrize(("commands", "code"), [(("exit", 0), 0), (("exit", 42), 42), (("die", "SEGV"), 139)])
def test_the_process_ends_for_any_reason(runtime, bundle, commands, code):
    """As pid 1 of its pid namespace it would survive its own signal: let it share the caller's."""
    bundle.drop_ns("pid").probe(*commands).drop_ns("pid")
    assert runtime.try_run(bundle).code == code


@req("LC-12", "DE-3")
def test_delete_undoes_create(runtime, bundle):
    with runtime.assert_untouched():
        c = runtime.running(bundle.probe("hold"))
        assert host.cgroup_dirs(c.id)
        c.stop()
        c.delete()
    assert not host.cgroup_dirs(c.id)
    assert runtime.states() == []


@req("LC-13", "WA-1")
def test_failing_poststop_hook_is_a_warning(runtime, bundle, hooks: Log):
    hooks.hook("poststop", "exit", "1", tag="-1")
    hooks.hook("poststop", tag="-2")
    c = runtime.create(bundle)
    c.stop()
    log = runtime.work / "log"
    done = runtime.cmd("--log", log, "delete", c.id)
    assert hooks.ran() == ["poststop-1", "poststop-2"]
    assert done.code == 0, str(done)
    assert not c.exists()
    assert "warn" in log.read_text() + done.err, "no warning was logged"


@req("WA-1", "LP-3")
def test_a_warning_changes_nothing(runtime, bundle):
    bundle.add("process.capabilities.bounding", "CAP_NO_SUCH_THING")
    log = runtime.work / "log"
    result = (
        runtime.cmd("--log", log, "run", "--bundle", bundle.path, new_id()) if not bundle.write() else None
    )
    assert result.code == 0, str(result)
    assert result.seen["uids"] == [0, 0, 0]
    assert "CAP_NO_SUCH_THING" in log.read_text() + result.err


# ---- operations ----


@req("QS-1", "KI-1", "SA-1", "DE-1", "CR-1")
@pytest.mark.parametrize("operation", ["state", "create", "start", "kill", "delete"])
def test_operation_without_an_id(runtime, bundle, operation):
    bundle.write()
    runtime.fails(operation, cwd=bundle.path)


@req("QS-2", "KI-2", "SA-2", "DE-2", "ER-1")
@pytest.mark.parametrize("operation", ["state", "start", "kill", "delete"])
def test_operation_on_an_unknown_id(runtime, operation):
    runtime.root.mkdir()
    assert runtime.fails(operation, new_id()).code == 1


@req("CR-2", "ER-1")
@pytest.mark.parametrize(
    "ident",
    [".", "..", "../x", "a/b", "", "/x", "é", "a b", "a\nb", "x" * 1025, "a\\b", "a:b", "a*"],
    ids=lambda i: repr(i)[:9],
)
def test_create_refuses_an_invalid_id(runtime, bundle, ident):
    bundle.write()
    beside = runtime.work / "x"
    runtime.fails("create", "--bundle", bundle.path, ident)
    assert not beside.exists()


@req("CR-2")
@pytest.mark.parametrize("ident", ["a", "A-b_c+d.e", "0", "a" * 200], ids=lambda i: i[:9])
def test_create_takes_a_valid_id(runtime, bundle, ident):
    ident = PREFIX + ident
    runtime.create(bundle, ident=ident)
    assert runtime.ok("state", ident).json()["id"] == ident


@req("CR-1")
def test_create_without_a_bundle(runtime):
    runtime.fails("create", "--bundle", runtime.work / "absent", new_id())


@req("SA-2")
def test_start_twice_runs_once(runtime, bundle):
    c = runtime.running(bundle.probe("append", "/ran", "x", "hold"))
    ran = bundle.rootfs / "ran"
    assert poll(ran.exists)
    runtime.fails("start", c.id)
    assert c.status == "running"
    assert ran.read_text() == "x"


@req("SA-2")
def test_start_of_a_stopped_container(runtime, bundle):
    c = runtime.create(bundle.probe("append", "/ran", "x"))
    pid = c.pid
    c.start()
    c.wait(pid)
    runtime.fails("start", c.id)
    assert (bundle.rootfs / "ran").read_text() == "x"
    assert c.status == "stopped"


@req("SA-4", "PR-1")
def test_no_process_to_start(runtime, bundle):
    ident = new_id()
    created = runtime.try_create(bundle.set("process", Unset), ident)
    refused = runtime.fails("start", ident) if created.code == 0 else created
    assert "process" in refused.err, "what is missing is named"
    assert "bug" not in refused.err


@req("KI-2")
@pytest.mark.parametrize("number", ["TERM", "KILL", "0"])
def test_kill_of_a_stopped_container(runtime, bundle, number):
    c = runtime.create(bundle)
    c.stop()
    before = c.state()
    runtime.fails("kill", c.id, number)
    assert c.state() == before


@req("KI-3")
@pytest.mark.parametrize(
    ("said", "number"),
    [
        ("TERM", signal.SIGTERM),
        ("SIGUSR1", signal.SIGUSR1),
        ("usr2", signal.SIGUSR2),
        ("1", signal.SIGHUP),
        (str(signal.SIGRTMIN + 3), signal.SIGRTMIN + 3),
        (None, signal.SIGTERM),
    ],
)
def test_kill_delivers_the_signal(runtime, bundle, said, number):
    c = runtime.running(bundle.probe("trap", int(number), "/got", "write", "/ready", "x", "hold"))
    assert poll((bundle.rootfs / "ready").exists)
    c.kill(*([] if said is None else [said]))
    got = bundle.rootfs / "got"
    assert poll(lambda: got.exists() and got.read_text()), f"signal {number} did not come"
    assert got.read_text() == f"{int(number)}\n"
    assert c.status == "running"


@req("KI-3")
def test_kill_of_a_created_container(runtime, bundle):
    c = runtime.create(bundle.probe("write", "/ran", "x"))
    c.stop()
    assert c.status == "stopped"
    assert not (bundle.rootfs / "ran").exists()


@req("DE-2", "ER-1")
def test_delete_of_a_running_container(runtime, bundle):
    c = runtime.running(bundle.probe("hold"))
    before = c.state()
    runtime.fails("delete", c.id)
    assert c.state() == before


@req("DE-2")
def test_delete_of_a_created_container_either_way(runtime, bundle):
    """The spec wants an error; runc, crun and their callers have it succeed. Neither may leave half a container."""
    c = runtime.create(bundle)
    pid = c.pid
    if runtime.cmd("delete", c.id).code == 0:
        assert not c.exists()
        c.wait(pid)
    else:
        assert c.status == "created"
        assert process_state(pid) not in {None, "Z"}


@req("DE-4")
def test_delete_keeps_what_it_did_not_make(runtime, bundle):
    source = runtime.work / "source"
    source.mkdir()
    (source / "file").write_text("mine")
    bundle.mount("/data", None, source, ["bind"])
    c = runtime.create(bundle)
    c.stop()
    c.delete()
    assert (source / "file").read_text() == "mine"
    assert (bundle.rootfs / "probe").exists()
    assert (bundle.path / "config.json").exists()


@req("DE-4")
@pytest.mark.only_if("tool:unshare")
def test_delete_keeps_a_joined_namespace(runtime, bundle):
    holder = runtime.running(runtime.bundle().probe("hold"))
    c = runtime.create(bundle.ns("network", f"/proc/{holder.pid}/ns/net"))
    before = os.readlink(f"/proc/{holder.pid}/ns/net")
    c.stop()
    c.delete()
    assert os.readlink(f"/proc/{holder.pid}/ns/net") == before
    assert holder.status == "running"


@req("DE-4")
@pytest.mark.only_if("v1:pids", "cgroupfs")
def test_delete_keeps_the_parent_cgroup_of_others(runtime, bundle):
    with runtime.premade_cgroup("parent/other"):
        c = runtime.create(bundle.set("linux.cgroupsPath", f"/{PREFIX}parent/mine"))
        c.stop()
        c.delete()
        left = {place.rpartition("parent/")[2] for place in host.cgroup_dirs("other")}
        assert left == {"other"}
        assert not any(os.path.exists(f"{top}/{PREFIX}parent/mine") for top in host.hierarchies().values())


@req("DE-5")
def test_an_id_can_be_used_again(runtime, bundle):
    ident = new_id()
    for _ in range(2):
        c = runtime.create(bundle, ident=ident)
        c.stop()
        c.delete()


@req("ER-1", "CR-7")
def test_failing_create_leaves_other_containers_alone(runtime, bundle):
    other = runtime.running(bundle.probe("hold"))
    runtime.refuses(runtime.bundle().mount("/x", "nosuchfs"))
    assert other.status == "running"


# ---- hooks that fail ----


@req("LC-3", "LC-4", "LC-5", "HK-17", "ER-1")
@pytest.mark.parametrize("stage", ["prestart", "createRuntime", "createContainer"])
def test_failing_hook_of_create(runtime, bundle, hooks: Log, stage):
    hooks.hook(stage, "exit", "1")
    hooks.hook(stage, tag="-never")
    hooks.hook("poststop")
    runtime.refuses(bundle.probe("write", "/ran", "x"))
    assert hooks.ran() == [stage, "poststop"]
    assert not (bundle.rootfs / "ran").exists()


@req("LC-7", "HK-17")
def test_failing_start_container_hook(runtime, bundle, hooks: Log):
    hooks.hook("startContainer", "exit", "1")
    hooks.hook("poststop")
    c = runtime.create(bundle.probe("write", "/ran", "x"))
    pid = c.pid
    started = runtime.cmd("start", c.id)
    c.wait(pid)
    assert not (bundle.rootfs / "ran").exists()
    assert started.code != 0, "start succeeded"
    assert not c.exists()
    assert not host.cgroup_dirs(c.id)
    assert sorted(hooks.ran()) == ["poststop", "startContainer"]


@req("LC-9", "HK-17")
def test_failing_poststart_hook(runtime, bundle, hooks: Log):
    hooks.hook("poststart", "exit", "1")
    hooks.hook("poststop")
    c = runtime.create(bundle.probe("hold"))
    pid = c.pid
    started = runtime.cmd("start", c.id)
    assert started.code != 0, "start succeeded"
    c.wait(pid)
    assert not c.exists()
    assert not host.cgroup_dirs(c.id)
    assert hooks.ran() == ["poststart", "poststop"]


@req("LC-13", "LC-12", "HK-16")
def test_poststop_runs_when_all_is_gone(runtime, bundle):
    ident, answer = new_id(), runtime.work / "answer"
    look = script(
        runtime.work / "look",
        f"{runtime.path} --root {runtime.root} state {ident} >/dev/null 2>&1; echo state $? >> {answer}\n"
        f"ls -d /sys/fs/cgroup/*/{ident} /sys/fs/cgroup/{ident} >> {answer} 2>/dev/null; exit 0",
    )
    bundle.hook("poststop", look)
    c = runtime.create(bundle, ident=ident)
    c.stop()
    c.delete()
    said = answer.read_text().splitlines()
    assert said[0] != "state 0", "the container still exists for its poststop hook"
    assert said[1:] == [], "a cgroup still exists"
