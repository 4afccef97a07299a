"""What the caller's surroundings hold: files, variables, signals, and the state that somebody else has written."""

from __future__ import annotations

import os
import re
import shutil

import pytest
from lib.runtime import ENV, new_id

req, cve = pytest.mark.req, pytest.mark.cve
SECRET = "hunter2-correct-horse"
VARIABLES = (
    *("PYTHONHOME", "PYTHONPATH", "PYTHONSTARTUP", "PYTHONUSERBASE", "PYTHONPLATLIBDIR", "PYTHONEXECUTABLE"),
    *("PYTHONPYCACHEPREFIX", "PYTHONWARNINGS", "PYTHONBREAKPOINT", "PYTHONIOENCODING", "PYTHONMALLOC", "PYTHONINSPECT"),
    *("PYTHONVERBOSE", "PYTHONDEBUG", "PYTHONDEVMODE", "PYTHONTRACEMALLOC", "PYTHONPROFILEIMPORTTIME", "PYTHONOPTIMIZE"),
    *("PYTHONFAULTHANDLER", "PYTHONINTMAXSTRDIGITS", "PYTHONCASEOK", "PYTHONHASHSEED", "PYTHONUTF8"),
    *("PYTHONCOERCECLOCALE", "PYTHONDUMPREFS", "PYTHONDUMPREFSFILE", "PYTHONPERFSUPPORT", "PYTHON_GIL"),
)  # fmt: skip
FAULTY = {
    "no name": SECRET,
    "empty name": f"={SECRET}",
    "nul in the value": f"PASSWORD={SECRET}\0",
    "nul in the name": f"PASS\0WORD={SECRET}",
    "an object": {"PASSWORD": SECRET},
    "half a character": f"PASSWORD={SECRET}\ud800",
}
GLIBCS = 3 << 31  # 32 and 33, of its threads: glibc's posix_spawn(3) leaves them ignored
MODULES = (
    "json",
    "ctypes",
    "os",
    "sitecustomize",
    "usercustomize",
    "errno",
    "pyrunc",
    "site",
    "_cffi_backend",
)


@pytest.fixture
def hostile(runtime):
    """A home and working directory full of files that an interpreter might take for its own."""
    where = runtime.work / "hostile"
    code = f"open({str(runtime.work / 'loaded')!r}, 'a').write(__name__ + chr(10))\n"
    version = "python{}.{}".format(*os.sys.version_info[:2])
    for place in (where, where / f".local/lib/{version}/site-packages", where / f"lib/{version}"):
        (place / "encodings").mkdir(parents=True)
        (place / "encodings/__init__.py").write_text(code)
        for name in MODULES:
            (place / f"{name}.py").write_text(code)
        (place / "evil.pth").write_text(f"import sys; exec({code!r})\n")
    (where / "pyvenv.cfg").write_text(f"home = {where}\n")
    (where / "pybuilddir.txt").write_text(f"{where}\n")
    yield where
    assert not (runtime.work / "loaded").exists(), (runtime.work / "loaded").read_text()


@req("T32", "CLI-ENVIRON-1")
@cve("CVE-2019-14271")
@pytest.mark.parametrize("value", ["path", "1"])
def test_variables_of_an_interpreter(runtime, bundle, hostile, value):
    """Each alone, for some would end an interpreter before another one could do harm."""
    bundle.args("/bin/echo", "works").write()
    for name in VARIABLES:
        env = ENV | {"HOME": str(hostile), name: str(hostile) if value == "path" else "1"}
        result = runtime.cmd("run", "--bundle", bundle.path, new_id(), env=env, cwd=hostile)
        assert (result.code, result.out, result.err) == (0, "works\n", ""), f"{name}: {result}"


@req("T32", "CLI-ENVIRON-1")
@cve("CVE-2019-14271")
@pytest.mark.only_if("tool:strace")
def test_no_file_of_the_callers_is_looked_for(runtime, bundle, hostile):
    """Neither in the working directory, nor at home, nor where a variable points to: not even tried."""
    bundle.args("/bin/true").write()
    trace = runtime.work / "trace"
    strace = (shutil.which("strace") or "strace", "-f", "-qq", "-o", trace, "-e", "trace=%file")
    for command in (("run", "--bundle", bundle.path, new_id()), ("list",)):
        env = ENV | dict.fromkeys(VARIABLES, str(hostile)) | {"HOME": str(hostile), "PWD": str(hostile)}
        runtime.ok(*command, env=env, cwd=hostile, prefix=strace)
        lines = trace.read_text().splitlines()
        assert [line for line in lines if re.search(rf'"{hostile}[^"]', line)] == []
        relative = [line for line in lines if re.search(r'AT_FDCWD, "[^/]', line)]
        assert [line for line in relative if any(f"{name}." in line for name in MODULES)] == []


# ---- state of somebody else's ----


def verbs(runtime, bundle, ident: str) -> list[tuple[object, ...]]:
    """Each command on a container, and one that would make another."""
    on_it = ("state", "start", "pause", "kill", "delete", "delete --force", "exec")
    made = [(*verb.split(), ident, *(["/bin/true"] if verb == "exec" else [])) for verb in on_it]
    return [("create", "--bundle", bundle.path, new_id()), ("run", "--bundle", bundle.path, new_id()), *made]


@req("T25", "CLI-ROOT-1")
@cve("state written by somebody else")
@pytest.mark.parametrize("how", ["owner", "world", "group"])
@pytest.mark.parametrize("what", ["root", "container"])
def test_state_that_others_may_write(runtime, bundle, how, what):
    """Who writes the state chooses which processes are killed and which directories removed."""
    c = runtime.create(bundle)
    pid = c.pid
    place = runtime.root if what == "root" else runtime.root / c.id
    mode = place.stat().st_mode & 0o7777
    if how == "owner":
        os.chown(place, 12345, 12345)
    else:
        place.chmod(mode | (0o2 if how == "world" else 0o20))
    try:
        for command in verbs(runtime, bundle, c.id)[0 if what == "root" else 2 :]:
            result = runtime.cmd(*command)
            assert result.code != 0, str(result)
            assert "Traceback" not in result.said
        assert os.path.exists(f"/proc/{pid}")
    finally:
        os.chown(place, 0, 0)
        place.chmod(mode)
    assert (c.status, c.pid) == ("created", pid)


@req("T25", "CLI-ROOT-1")
@cve("state written by somebody else")
def test_state_that_is_a_link(runtime, bundle):
    """A link in the root leads to no container, wherever it points."""
    c = runtime.create(bundle)
    other = runtime.work / "other"
    other.mkdir(mode=0o700)
    (other / "linked").symlink_to(runtime.root / c.id)
    for command in ("state", "kill", "delete", "delete --force"):
        result = runtime.raw("--root", other, *command.split(), "linked")
        if command == "delete --force":
            assert (other / "linked").is_symlink() or not (other / "linked").exists()
        else:
            assert result.code != 0, str(result)
    assert c.status == "created"


@req("T25", "T36", "CLI-ROOT-1")
@cve("state written by somebody else", "secrets at rest")
def test_nobody_may_write_above_the_root_that_is_made(runtime, bundle):
    """A caller whose umask is 0: the directories on the way are as safe as the last one."""
    bundle.write()
    root = runtime.work / "a/b/root"
    ident = new_id()
    out = runtime.work / "out"
    made = runtime.raw("--root", root, "create", "--bundle", bundle.path, ident, umask=0, out=out, err=out)
    try:
        assert made.code == 0, str(made)
        open_ = [str(p) for p in (root, *root.parents[:2]) if p.stat().st_mode & 0o022]
        assert open_ == []
    finally:
        runtime.raw("--root", root, "delete", "--force", ident)


# ---- signals ----


@req("T26", "PR-7")
@cve("what a runtime ignores, its container ignores")
@pytest.mark.parametrize("way", ["run", "start", "exec"])
@pytest.mark.parametrize("ignored", ["", "INT HUP PIPE XFSZ TERM USR1"], ids=["plain", "ignoring"])
def test_signals_of_the_program(runtime, bundle, way, ignored):
    """None is ignored or blocked, whatever the runtime and its caller do with theirs."""
    prefix = ("/bin/sh", "-c", f"trap '' {ignored}; exec \"$@\"", "sh") if ignored else ()
    if way == "run":
        status = runtime.run(bundle.probe("report"), prefix=prefix).seen.status
    elif way == "start":
        c = runtime.create(bundle.probe("report", "hold"), prefix=prefix)
        runtime.ok("start", c.id, prefix=prefix)
        status = c.seen().status
    else:
        c = runtime.running(bundle.probe("hold"))
        status = runtime.ok("exec", c.id, "/probe", "report", prefix=prefix).seen.status
    assert (int(status["SigIgn"], 16), int(status["SigBlk"], 16)) == (0, 0)


@req("T26", "HK-14")
@cve("what a runtime ignores, its container ignores")
def test_signals_of_hooks(runtime, bundle, hooks):
    for stage in ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"):
        hooks.hook(stage)
    runtime.run(bundle.args("/bin/true"))
    for stage, seen in hooks.entries():
        assert (int(seen.status["SigIgn"], 16) & ~GLIBCS, int(seen.status["SigBlk"], 16)) == (0, 0), stage


# ---- secrets ----


def logged(runtime, *args: object, **how: object):
    """A command that tells all it can; what it has said and logged, and traced if it can do that."""
    log, trace = runtime.work / "all.log", runtime.work / "all.trace"
    tracing = ("--trace", trace) if "--trace" in runtime.raw("--help").out else ()
    result = runtime.cmd("--debug", "--log", log, "--log-format", "json", *tracing, *args, **how)
    said = result.said + log.read_text()
    return result, said + (trace.read_text() if trace.exists() else "")


@req("T27", "CLI-LOG-1")
@cve("secrets in logs")
def test_secrets_of_the_environment_are_not_logged(runtime, bundle):
    """Passwords come by variables: the program's, a hook's, an exec's and the caller's."""
    env = ENV | {"CALLER_PASSWORD": SECRET}
    bundle.config["process"]["env"].append(f"PASSWORD={SECRET}")
    for stage in ("createRuntime", "createContainer", "startContainer", "poststop"):
        program = "/probe" if stage == "startContainer" else str(runtime.tree / "probe")
        bundle.hook(stage, program, "quiet", env=[f"PASSWORD={SECRET}"])
    bundle.probe("hold").write()
    ident = new_id()
    commands = [
        ("create", "--bundle", bundle.path, ident),
        ("start", ident),
        ("state", ident),
        ("exec", "--env", f"TOKEN={SECRET}", ident, "/bin/true"),
        ("exec", "--env", f"TOKEN={SECRET}", ident, "/no/such/program"),
        ("list",),
        ("ps", ident),
        ("kill", ident, "KILL"),
        ("delete", "--force", ident),
    ]
    for command in commands:
        result, said = logged(runtime, *command, env=env)
        assert (result.code == 0) == ("/no/such/program" not in command), str(result)
        assert SECRET not in said, f"{command[0]}: {said[:3000]}"


@req("T27", "CLI-LOG-1")
@cve("secrets in logs")
@pytest.mark.parametrize("entry", FAULTY.values(), ids=FAULTY)
def test_a_faulty_variable_is_not_quoted(runtime, bundle, entry):
    bundle.config["process"]["env"].append(entry)
    bundle.write()
    _, said = logged(runtime, "create", "--bundle", bundle.path, new_id())
    assert SECRET not in said, said


@req("T27", "CLI-LOG-1")
@cve("secrets in logs")
@pytest.mark.parametrize("fault", ["program", "mount", "hook", "cwd"])
def test_secrets_are_not_in_the_errors_of_others(runtime, bundle, fault):
    """Something else fails: the error is about that."""
    bundle.config["process"]["env"].append(f"PASSWORD={SECRET}")
    match fault:
        case "program":
            bundle.args("/no/such/program")
        case "mount":
            bundle.mount("/x", "nosuchfs")
        case "hook":
            bundle.hook("createRuntime", str(runtime.tree / "probe"), "exit", "1", env=[f"PASSWORD={SECRET}"])
        case "cwd":
            bundle.set("process.cwd", "/etc/passwd")
    bundle.write()
    result, said = logged(
        runtime, "create", "--bundle", bundle.path, new_id(), env=ENV | {"MY_PASSWORD": SECRET}
    )
    assert result.code != 0
    assert SECRET not in said, said
