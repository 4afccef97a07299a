"""What callers of runc rely on beyond the spec; CLI.md has the table of ids."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import subprocess

import pytest
from lib.console import Receiver
from lib.probe import seen_in
from lib.runtime import ENV, new_id, orphans, poll, process_state

req = pytest.mark.req


# ---- parsing ----


@req("CLI-PARSE-1")
@pytest.mark.parametrize("form", ["--bundle={}", "-bundle={}", "--b={}", "-b={}", "-b {}", "--bundle {}"])
def test_forms_of_a_flag(runtime, bundle, form):
    bundle.write()
    ident = new_id()
    runtime.ok("create", *form.format(bundle.path).split(" "), ident)
    assert runtime.ok("state", ident).json()["bundle"] == str(bundle.path)


@req("CLI-PARSE-1")
def test_flags_after_the_id(runtime, bundle):
    bundle.write()
    ident = new_id()
    runtime.ok("create", ident, "--bundle", bundle.path)
    runtime.ok("kill", ident, "KILL")
    runtime.ok("delete", ident, "-f")


@req("CLI-PARSE-1")
def test_global_flags_may_be_repeated(runtime, bundle):
    bundle.write()
    ident = new_id()
    runtime.raw("--root", "/nonexistent", "--root", runtime.root, "create", "-b", bundle.path, ident)
    assert runtime.cmd("state", ident).code == 0


@req("CLI-PARSE-2")
@pytest.mark.parametrize(
    "args",
    [
        ["--bogus"],
        ["state", "--bogus", "x"],
        ["state", "a", "b"],
        ["list", "x"],
        ["spec", "x"],
        ["kill", "a", "TERM", "x"],
    ],
    ids=" ".join,
)
def test_wrong_arguments(runtime, args):
    runtime.root.mkdir()
    result = runtime.fails(*args)
    assert result.code == 1
    assert result.said.strip()


@req("CLI-PARSE-3")
def test_unknown_command(runtime):
    result = runtime.raw("foo")
    assert result.code == 3
    assert "No help topic for 'foo'" in result.said


@req("CLI-HELP-1")
@pytest.mark.parametrize(
    "args",
    [["--help"], ["-h"], ["help"], *([c, "--help"] for c in ("create", "run", "kill", "list", "spec"))],
    ids=" ".join,
)
def test_help(runtime, args):
    result = runtime.raw(*args)
    assert result.code == 0
    assert result.err == ""
    assert result.out.startswith("NAME:")
    assert "USAGE:" in result.out


@req("CLI-VERSION-1")
@pytest.mark.parametrize("flag", ["--version", "-v"])
def test_version(runtime, flag):
    result = runtime.raw(flag, env={})
    assert result.code == 0
    assert result.err == ""
    lines = result.out.splitlines()
    assert re.match(r"\S+ version \d+\.\d+\.\d+", lines[0])
    assert [line for line in lines if line.startswith("commit: ")]
    assert [line for line in lines if re.match(r"spec: \d+\.\d+\.\d+", line)]


# ---- root and log ----


@req("CLI-ROOT-1", "T36")
@pytest.mark.parametrize("mask", [0o22, 0])
def test_state_is_nobody_elses(runtime, bundle, mask):
    c = runtime.create(bundle, umask=mask)
    assert runtime.root.stat().st_mode & 0o777 == 0o700
    assert (runtime.root / c.id).stat().st_mode & 0o777 in {0o700, 0o711}
    readable = [p for p in (runtime.root / c.id).rglob("*") if p.is_file() and p.stat().st_mode & 0o077]
    assert readable == []


@req("CLI-ROOT-1")
def test_root_may_be_relative(runtime, bundle):
    bundle.write()
    ident = new_id()
    runtime.raw("--root", "root", "create", "--bundle", bundle.path, ident, cwd=runtime.work)
    assert runtime.ok("state", ident).json()["id"] == ident


@req("CLI-ROOT-1")
def test_root_may_not_be_the_whole_system(runtime):
    assert runtime.raw("--root", "/", "list").code != 0


@req("CLI-LOG-1")
@pytest.mark.parametrize(
    "args",
    [["state", "nope"], ["start", "nope"], ["create", "--bundle", "/nonexistent", "x"], ["delete", "nope"]],
    ids=" ".join,
)
def test_json_log_of_a_failure(runtime, args):
    runtime.root.mkdir()
    log = runtime.work / "log.json"
    result = runtime.cmd("--log", log, "--log-format", "json", *args)
    assert result.code == 1
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    assert len(entries) == 1, entries
    (entry,) = entries
    assert entry["level"] == "error"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", entry["time"])
    assert entry["msg"]
    assert entry["msg"] in result.err


@req("CLI-LOG-1", "CLI-LOG-4")
def test_log_stays_empty_when_all_is_well(runtime, bundle):
    log = runtime.work / "log.json"
    bundle.probe("hold").write()
    ident = new_id()
    flags = ("--log", log, "--log-format", "json")
    said = runtime.ok(*flags, "create", "--bundle", bundle.path, ident).said
    said += runtime.ok(*flags, "start", ident).said
    said += runtime.ok(*flags, "kill", ident, "KILL").said
    poll(lambda: runtime.ok("state", ident).json()["status"] == "stopped")
    said += runtime.ok(*flags, "delete", ident).said
    assert said == ""
    assert log.read_text() == ""


@req("CLI-LOG-2")
def test_text_log(runtime):
    runtime.root.mkdir()
    result = runtime.cmd("state", "nope")
    assert re.fullmatch(r'time="[^"]+" level=error msg="container does not exist"\n', result.err)


@req("CLI-LOG-2")
def test_text_log_in_a_file(runtime):
    runtime.root.mkdir()
    log = runtime.work / "log"
    result = runtime.cmd("--log", log, "state", "nope")
    assert "level=error" in log.read_text()
    assert result.err == "container does not exist\n"


@req("CLI-LOG-3")
def test_unknown_log_format(runtime):
    assert "xml" in runtime.fails("--log-format", "xml", "list").said


@req("CLI-LOG-1", "T37")
def test_what_strangers_wrote_is_escaped(runtime, bundle):
    log = runtime.work / "log.json"
    bundle.hook(
        "createRuntime",
        str(runtime.tree / "probe"),
        "complain",
        "\x1b]0;title\x07\nsecond {line}",
        "exit",
        "1",
    ).write()
    runtime.cmd("--log", log, "--log-format", "json", "create", "--bundle", bundle.path, new_id())
    assert len(log.read_text().splitlines()) == 1
    assert "second {line}" in json.loads(log.read_text())["msg"]


# ---- state and list ----


@req("CLI-STATE-1", "ST-10")
def test_form_of_the_state(runtime, bundle):
    c = runtime.create(bundle.set("annotations", {"k": "v"}))
    text = runtime.ok("state", c.id).out
    state = json.loads(text)
    assert list(state) == [
        "ociVersion",
        "id",
        "pid",
        "status",
        "bundle",
        "rootfs",
        "created",
        "annotations",
        "owner",
    ]
    assert text == json.dumps(state, indent=2)
    assert state["owner"] == ""
    assert state["rootfs"] == str(bundle.rootfs)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", state["created"])


@req("CLI-STATE-1")
def test_state_without_annotations(runtime, bundle):
    assert "annotations" not in runtime.create(bundle).state()


@req("CLI-STATE-2")
@pytest.mark.parametrize("command", ["state", "start", "kill", "delete"])
def test_unknown_id(runtime, command):
    runtime.root.mkdir()
    result = runtime.fails(command, "nope")
    assert result.code == 1
    assert "container does not exist" in result.err


@req("CLI-STATE-3")
def test_stopped_container_has_no_pid(runtime, bundle):
    c = runtime.create(bundle)
    c.stop()
    assert c.state().get("pid", 0) == 0


@req("CLI-LIST-1")
def test_list(runtime, bundle):
    first, second = runtime.create(bundle), runtime.running(runtime.bundle().probe("hold"))
    lines = runtime.ok("list").out.splitlines()
    assert re.fullmatch(r"ID +PID +STATUS +BUNDLE +CREATED +OWNER", lines[0])
    rows = [line.split() for line in lines[1:]]
    assert [row[0] for row in rows] == sorted([first.id, second.id])
    by_id = {row[0]: row for row in rows}
    assert by_id[second.id][1:4] == [str(second.pid), "running", str(second.bundle.path)]
    assert by_id[first.id][5] == "root"


@req("CLI-LIST-2")
def test_quiet_list(runtime, bundle):
    first, second = runtime.create(bundle), runtime.create(runtime.bundle())
    assert runtime.ok("list", "-q").out == "".join(f"{i}\n" for i in sorted([first.id, second.id]))


@req("CLI-LIST-2")
def test_json_list(runtime, bundle):
    c = runtime.create(bundle)
    text = runtime.ok("list", "--format", "json").out.strip()
    assert "\n" not in text
    assert text == json.dumps(json.loads(text), separators=(",", ":"))
    (entry,) = json.loads(text)
    assert list(entry)[:7] == ["ociVersion", "id", "pid", "status", "bundle", "rootfs", "created"]
    assert (entry["id"], entry["owner"]) == (c.id, "root")


@req("CLI-LIST-2")
def test_empty_list(runtime):
    runtime.root.mkdir()
    assert runtime.ok("list", "-f", "json").out == "null\n"
    assert runtime.ok("list", "-q").out == ""


@req("CLI-LIST-3")
def test_list_in_another_format(runtime):
    runtime.root.mkdir()
    assert "invalid format option" in runtime.fails("list", "--format", "xml").err


@req("CLI-LIST-4", "F07")
def test_foreign_directories_are_passed_over(runtime, bundle):
    c = runtime.create(bundle)
    (runtime.root / "foreign").mkdir()
    (runtime.root / "foreign/state.json").write_text('{"not": "ours"}')
    (runtime.root / "a file").write_text("x")
    try:
        assert runtime.ok("list", "-q").out.splitlines().count(c.id) == 1
        assert (runtime.root / "foreign/state.json").read_text() == '{"not": "ours"}'
    finally:
        (runtime.root / "foreign/state.json").unlink()
        (runtime.root / "foreign").rmdir()
        (runtime.root / "a file").unlink()


# ---- spec and features ----


@req("CLI-SPEC-1")
def test_spec(runtime):
    where = runtime.work / "new"
    where.mkdir()
    assert runtime.raw("spec", cwd=where).said == ""
    text = (where / "config.json").read_text()
    config = json.loads(text)
    assert text.rstrip("\n") == json.dumps(config, indent="\t")
    assert config["process"]["args"] == ["sh"]
    assert config["process"]["terminal"] is True
    assert config["root"] == {"path": "rootfs", "readonly": True}
    assert [m["destination"] for m in config["mounts"]] == [
        "/proc",
        "/dev",
        "/dev/pts",
        "/dev/shm",
        "/dev/mqueue",
        "/sys",
        "/sys/fs/cgroup",
    ]
    assert {n["type"] for n in config["linux"]["namespaces"]} - {"cgroup"} == {
        "pid",
        "network",
        "ipc",
        "uts",
        "mount",
    }
    assert config["linux"]["resources"]["devices"] == [{"allow": False, "access": "rwm"}]
    assert "/proc/kcore" in config["linux"]["maskedPaths"]
    assert "/proc/sys" in config["linux"]["readonlyPaths"]


@req("CLI-SPEC-1")
def test_spec_writes_over_nothing(runtime, bundle):
    bundle.write()
    before = (bundle.path / "config.json").read_text()
    result = runtime.raw("spec", "--bundle", bundle.path)
    assert result.code == 1
    assert "config.json exists" in result.err
    assert (bundle.path / "config.json").read_text() == before


@req("CLI-SPEC-2")
def test_spec_rootless(runtime):
    where = runtime.work / "new"
    where.mkdir()
    assert runtime.raw("spec", "--rootless", "-b", where).code == 0
    config = json.loads((where / "config.json").read_text())
    kinds = {n["type"] for n in config["linux"]["namespaces"]}
    assert "user" in kinds
    assert "network" not in kinds
    assert config["linux"]["uidMappings"] == [{"containerID": 0, "hostID": 0, "size": 1}]
    assert not config["linux"].get("resources")
    assert not [o for m in config["mounts"] for o in m.get("options", []) if o.startswith(("uid=", "gid="))]


@req("CLI-SPEC-3", "LC-2a")
@pytest.mark.parametrize("rootless", [False, True])
def test_spec_runs(runtime, bundle, rootless):
    bundle.path.chmod(0o755)
    runtime.raw("spec", *(["--rootless"] if rootless else []), "--bundle", bundle.path)
    bundle.config = json.loads((bundle.path / "config.json").read_text())
    bundle.set("process.terminal", False)
    seen = runtime.report(
        bundle, "write", "/x", "x", "stat", "/proc/kcore", "write", "/proc/sys/kernel/hostname", "x"
    )
    assert seen["no_new_privs"] == 1
    assert seen.step("write", "/x").err == "EROFS"
    assert seen.step("write", "/proc/sys/kernel/hostname").err in {"EROFS", "EACCES"}


@req("CLI-FEATURES-1", "FE-1")
def test_form_of_the_features(runtime):
    result = runtime.raw("features", env={})
    assert result.code == 0, str(result)
    assert result.err == ""
    document = json.loads(result.out)
    assert result.out == json.dumps(document, indent=4) + "\n"
    assert list(document)[:4] == ["ociVersionMin", "ociVersionMax", "hooks", "mountOptions"]


# ---- create, start, kill, delete ----


@req("CLI-CREATE-1", "CLI-LOG-4")
def test_create_and_start_say_nothing(runtime, bundle):
    c = runtime.create(bundle.probe("quiet", "hold"))
    started = c.start()
    assert c.out + c.err + started.said == ""


@req("CLI-CREATE-2")
def test_texts_about_the_id(runtime, bundle):
    c = runtime.create(bundle)
    assert "container with given ID already exists" in runtime.try_create(bundle, c.id).err
    assert "container id cannot be empty" in runtime.try_create(bundle, "").err
    for wrong in ("a/b", "..", "a b"):
        assert "invalid container ID format" in runtime.try_create(bundle, wrong).err


@req("CLI-PIDFILE-1")
@pytest.mark.parametrize("command", ["create", "run"])
def test_pid_file(runtime, bundle, command):
    if command == "create":
        c = runtime.create(bundle.probe("hold"), "--pid-file", "pid")
    else:
        c = runtime.detached(bundle.probe("hold"), "--pid-file", "pid")
    assert (runtime.work / "pid").read_text() == str(c.pid)


@req("CLI-PIDFILE-1")
def test_no_pid_file_after_a_failure(runtime, bundle):
    runtime.try_create(bundle.args("/no/such/program"), None, "--pid-file", runtime.work / "pid")
    assert not list(runtime.work.glob("*pid*"))


@req("CLI-PIDFILE-1", "F20", "ER-1")
def test_pid_file_that_cannot_be_written(runtime, bundle):
    with runtime.assert_untouched():
        assert runtime.try_create(bundle, None, "--pid-file", runtime.work / "absent/pid").code != 0


@req("CLI-START-1", "F02", "F05b")
def test_texts_of_start(runtime, bundle):
    c = runtime.running(bundle.probe("hold"))
    assert "cannot start an already running container" in runtime.cmd("start", c.id).err
    c.stop()
    assert "cannot start a container that has stopped" in runtime.cmd("start", c.id).err


@req("CLI-START-2")
def test_nobody_holds_the_output_of_start(runtime, bundle):
    c = runtime.create(bundle.probe("hold"))
    process = runtime.spawn("--root", runtime.root, "start", c.id, out=subprocess.PIPE, err=subprocess.STDOUT)
    try:
        assert process.communicate(timeout=5)[0] == b""  # waits until every holder has closed it
    finally:
        runtime.wait(process)
    assert c.status == "running"


@req("CLI-KILL-1")
@pytest.mark.parametrize("name", ["FOO", "-1", "999", "SIGSIG"], ids=repr)
def test_unknown_signal(runtime, bundle, name):
    c = runtime.running(bundle.probe("hold"))
    runtime.fails("kill", c.id, "--", name) if name.startswith("-") else runtime.fails("kill", c.id, name)
    assert c.status == "running"


@req("CLI-KILL-2", "F02")
def test_kill_of_a_dead_container_in_words(runtime, bundle):
    c = runtime.create(bundle)
    c.stop()
    result = runtime.cmd("kill", c.id, "TERM")
    assert result.code == 1
    assert "container not running" in result.err


@req("CLI-KILL-2")
def test_kill_all_of_a_dead_container(runtime, bundle):
    c = runtime.create(bundle)
    c.stop()
    runtime.ok("kill", "--all", c.id, "KILL")
    runtime.ok("kill", c.id, "9", "-a")


@req("CLI-KILL-3", "F22")
def test_kill_without_a_pid_namespace(runtime, bundle):
    bundle.drop_ns("pid").probe("spawn", "spawn", "hold")
    c = runtime.running(bundle)
    children = [step["child"] for step in c.seen().steps]
    assert all(process_state(pid) == "S" for pid in children)
    pid = c.pid
    c.kill("KILL")
    c.wait(pid)
    for child in children:
        c.wait(child)


@req("CLI-DELETE-3", "F22", "LC-12")
def test_force_delete_without_a_pid_namespace(runtime, bundle):
    c = runtime.running(bundle.drop_ns("pid").probe("spawn", "hold"))
    child = c.seen().step("spawn")["child"]
    c.delete("--force")
    c.wait(child)


@req("CLI-DELETE-1", "F05b")
def test_delete_of_a_running_container_in_words(runtime, bundle):
    c = runtime.running(bundle.probe("hold"))
    result = runtime.cmd("delete", c.id)
    assert result.code == 1
    assert f"cannot delete container {c.id} that is not stopped: running" in result.err


@req("CLI-DELETE-2", "F05b")
@pytest.mark.parametrize("flag", ["--force", "-f"])
def test_force_delete(runtime, bundle, flag):
    c = runtime.running(bundle.probe("hold"))
    pid = c.pid
    c.delete(flag)
    c.wait(pid)
    assert not c.exists()
    assert runtime.ok("delete", flag, c.id).said == ""
    assert runtime.cmd("delete", c.id).code == 1


@req("CLI-DELETE-3")
def test_delete_of_a_created_container(runtime, bundle):
    c = runtime.create(bundle)
    pid = c.pid
    c.delete()
    c.wait(pid)
    assert not c.exists()


# ---- run ----


@req("CLI-RUN-1")
@pytest.mark.parametrize("code", [0, 1, 42, 255])
def test_exit_status_of_run(runtime, bundle, code):
    ident = new_id()
    assert runtime.try_run(bundle.probe("exit", code), ident=ident).code == code
    assert runtime.cmd("state", ident).code == 1
    assert ident not in runtime.states()


@req("CLI-RUN-1")
def test_exit_status_after_a_signal(runtime, bundle):
    assert runtime.try_run(bundle.drop_ns("pid").probe("die", "KILL")).code == 137


@req("CLI-RUN-2")
def test_detached_run(runtime, bundle):
    c = runtime.detached(bundle.probe("report", "pause", "exit", "7"))
    assert c.status == "running"
    pid = c.pid
    assert pid in orphans(), "the process is not the child of the caller's reaper"
    c.seen()
    c.kill("WINCH")
    c.kill("KILL")
    c.wait(pid)
    assert c.status == "stopped"


@req("CLI-RUN-2", "LC-10")
def test_exit_status_reaches_the_reaper(runtime, bundle):
    c = runtime.create(bundle.probe("exit", "42"))
    pid = c.pid
    c.start()
    assert c.reap(pid) == 42
    assert c.status == "stopped"


@req("CLI-RUN-3")
def test_keep(runtime, bundle):
    ident = new_id()
    assert runtime.try_run(bundle.probe("exit", 3), "--keep", ident=ident).code == 3
    assert runtime.ok("state", ident).json()["status"] == "stopped"
    runtime.ok("delete", ident)


@req("CLI-RUN-4", "F18")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_signals_to_a_foreground_run(runtime, bundle, number):
    bundle.probe("stop-on", int(number), "write", "/ready", "x", "hold").write()
    process = runtime.spawn("--root", runtime.root, "run", "--bundle", bundle.path, new_id())
    try:
        assert poll((bundle.rootfs / "ready").exists)
        process.send_signal(number)
    finally:
        assert runtime.wait(process, 5) == 100 + number


@req("CLI-RUN-4", "F18")
def test_killed_run_leaves_what_force_delete_removes(runtime, bundle):
    ident = new_id()
    bundle.probe("write", "/ready", "x", "hold").write()
    process = runtime.spawn("--root", runtime.root, "run", "--bundle", bundle.path, ident)
    assert poll((bundle.rootfs / "ready").exists)
    process.kill()
    runtime.wait(process)
    runtime.ok("delete", "--force", ident)


@req("CLI-RUN-5")
def test_standard_input_of_a_foreground_run(runtime, bundle):
    result = runtime.run(bundle.probe("stdin", "complain", "to stderr"), stdin=b"from the caller\n")
    assert result.seen.step("stdin").text == "from the caller\n"
    assert result.err == "to stderr\n"


@req("CLI-RUN-5")
def test_pipes_of_a_foreground_run(runtime, bundle):
    bundle.probe("stdin", "say", "done").write()
    argv = ("--root", runtime.root, "run", "--bundle", bundle.path, new_id())
    process = runtime.spawn(*argv, stdin=subprocess.PIPE, out=subprocess.PIPE, err=subprocess.PIPE)
    try:
        out, err = process.communicate(b"x" * 1000, timeout=10)
    finally:
        runtime.wait(process)
    assert err == b""
    assert seen_in(out.decode()).step("stdin").text == "x" * 1000


@req("CLI-RUN-5", "PR-2")
@pytest.mark.only_if("tool:script")
def test_foreground_terminal(runtime, bundle):
    # The size may come a moment after the process.
    bundle.args("sh", "-c", "sleep 0.2; exec /probe report").set("process.terminal", True).write()
    ident = new_id()
    command = f"stty rows 33 cols 77; {runtime.path} --root {runtime.root} run --bundle {bundle.path} {ident}"
    done = subprocess.run(
        ["script", "-qefc", command, "/dev/null"],
        capture_output=True,
        timeout=10,
        stdin=subprocess.DEVNULL,
        env=ENV,
        check=False,
    )
    seen = seen_in(done.stdout.decode())
    assert [t["isatty"] for t in seen["tty"]] == [1, 1, 1]
    assert seen["controlling_tty"] == 1
    assert (seen["tty"][0]["rows"], seen["tty"][0]["cols"]) == (33, 77)
    assert done.returncode == 0


@req("CLI-ENVIRON-1")
@pytest.mark.parametrize(
    "env",
    [{}, {"XDG_RUNTIME_DIR": ""}, {"PYTHONPATH": "/nonexistent", "PYTHONHOME": "/nonexistent"}],
    ids=str,
)
def test_environment_of_callers(runtime, bundle, env):
    bundle.probe("hold").write()
    ident = new_id()
    runtime.ok("create", "--bundle", bundle.path, ident, env=env)
    runtime.ok("start", ident, env=env)
    runtime.ok("state", ident, env=env)
    runtime.ok("kill", ident, "9", env=env)
    runtime.ok("delete", "--force", ident, env=env)


@req("CLI-CONSOLE-2")
def test_text_about_the_console(runtime, bundle):
    said = runtime.try_create(bundle.set("process.terminal", True)).err
    assert "cannot allocate tty if" in said
    assert "will detach without setting console socket" in said


@req("CLI-PIDFD-1")
def test_pidfd_socket(runtime, bundle):
    receiver = Receiver(runtime.work / "pidfd.sock")
    try:
        ident = new_id()
        result = runtime.try_create(bundle, ident, "--pidfd-socket", receiver.path)
        if "not supported by this version" in result.err:
            pytest.skip("needs a runtime that has --pidfd-socket")
        assert result.code == 0, str(result)
        fd = receiver.receive()
        info = pathlib.Path(f"/proc/self/fdinfo/{fd}").read_text()
        assert f"Pid:\t{runtime.ok('state', ident).json()['pid']}\n" in info
    finally:
        receiver.close()


@req("CLI-NOPIVOT-1")
def test_no_pivot(runtime, bundle):
    seen = runtime.report_with(bundle, ["--no-pivot"])
    assert seen["cwd"] == "/"
    assert seen.mount("/proc").kind == "proc"


@req("CLI-KEYRING-1", "T35")
@pytest.mark.only_if("file:/proc/keys")
@pytest.mark.parametrize("option", [[], ["--no-new-keyring"]], ids=["new", "no new"])
def test_session_keyring(runtime, bundle, option):
    bundle.set("linux.maskedPaths", []).probe("cat", "/proc/keys")
    ident = new_id()
    seen = runtime.run(bundle, *option, ident=ident).seen
    assert (f"_ses.{ident}" in seen.cat("/proc/keys")) == (not option)


@req("CLI-NOTIFY-1")
def test_notify_socket(runtime, bundle):
    """The READY of the program comes to the caller's socket, with the pid that the runtime vouches for."""
    path = runtime.work / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))
        listener.settimeout(3)
        ident = new_id()
        container = runtime.create(
            bundle.probe("report", "hold"), ident=ident, env=ENV | {"NOTIFY_SOCKET": str(path)}
        )
        process = runtime.spawn(
            "--root", runtime.root, "start", ident, env=ENV | {"NOTIFY_SOCKET": str(path)}
        )
        seen = container.seen()
        assert "NOTIFY_SOCKET=/run/notify/notify.sock" in seen.env
        inside = pathlib.Path(f"/proc/{container.pid}/root/run/notify/notify.sock")
        assert poll(inside.exists)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.connect(str(inside))
            sender.send(b"STATUS=x")
            sender.send(b"READY=1\nMAINPID=1\n")
        said = b""
        with contextlib.suppress(TimeoutError):
            while b"MAINPID=" not in said or b"BARRIER=" not in said:
                text, fds, *_ = socket.recv_fds(listener, 4096, 4)
                said += text
                for fd in fds:  # of BARRIER=1: the runtime waits until they are closed
                    os.close(fd)
        pid = container.pid
        container.kill("KILL")
        container.reap(pid)  # the runtime may wait until the pid is gone
        runtime.wait(process)
    assert b"READY=1" in said, said
    assert b"MAINPID=1\n" not in said
