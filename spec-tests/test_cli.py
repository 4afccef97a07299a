"""What callers of runc rely on beyond the spec; CLI.md has the table of ids."""

from __future__ import annotations

import json
import re

import pytest
from lib.runtime import new_id, poll

fault, req, cve = pytest.mark.fault, pytest.mark.req, pytest.mark.cve


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


RUNC_COMMANDS = [
    "create",
    "delete",
    "events",
    "exec",
    "features",
    "kill",
    "list",
    "pause",
    "ps",
    "resume",
    "run",
    "spec",
    "start",
    "state",
    "update",
]


@req("CLI-HELP-1")
@pytest.mark.parametrize(
    "args",
    [["--help"], ["-h"], ["help"], *([c, "--help"] for c in RUNC_COMMANDS)],
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
@cve("secrets at rest")
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
@cve("injection into logs and terminals")
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


def go_json(value: object, indent: int | None = None) -> str:
    """JSON as Go writes it: compact or indented, keys in the order they have here, HTML's signs escaped."""
    separators = (",", ":") if indent is None else None
    text = json.dumps(value, indent=indent, ensure_ascii=False, separators=separators)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


STRANGE = {"z.last": "1", "a<b>&c": "\u00e9\u2028\u2029 \U0001f600", "B": 'quote " back \\ slash /', "a": "2"}


@req("CLI-STATE-1", "CLI-LIST-2")
def test_state_and_list_are_byte_for_byte_what_go_writes(runtime, bundle):
    c = runtime.create(bundle.set("annotations", STRANGE))
    state = runtime.ok("state", c.id)
    assert list(state.json()["annotations"].items()) == sorted(STRANGE.items())
    assert state.out == go_json(state.json(), indent=2)
    listed = runtime.ok("list", "--format", "json")
    assert listed.out == go_json([state.json() | {"owner": "root"}]) + "\n"


@req("CLI-LIST-1")
def test_columns_of_the_list(runtime, bundle):
    """At least 12 wide, 3 blanks behind the longest entry, none behind the last column."""
    first, second = runtime.create(bundle), runtime.create(runtime.bundle())
    states = sorted([first.state(), second.state()], key=lambda state: state["id"])
    keys = ("id", "pid", "status", "bundle", "created")
    rows = [[key.upper() for key in keys], *([str(state[key]) for key in keys] for state in states)]
    widths = [max(12, *(len(row[column]) + 3 for row in rows)) for column in range(len(keys))]
    text = [
        "".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + owner
        for row, owner in zip(rows, ("OWNER", "root", "root"), strict=True)
    ]
    assert runtime.ok("list").out == "".join(f"{line}\n" for line in text)
    runtime.ok("kill", first.id, "KILL")
    assert poll(lambda: f" {0:<12}stopped " in runtime.ok("list").out), runtime.ok("list").out


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


@fault("F07")
@req("CLI-LIST-4")
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
