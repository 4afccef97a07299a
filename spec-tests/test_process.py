"""The process: terminal, cwd, env, args, rlimits, user; host and domain name."""

from __future__ import annotations

import os

import pytest
from lib.bundle import PATH, Unset
from lib.console import read_line
from lib.probe import seen_in
from lib.runtime import new_id

fault, req = pytest.mark.fault, pytest.mark.req


def on_a_terminal(runtime, bundle, console, *commands: str):
    """Start the probe on a pty that we hold; what it saw."""
    c = runtime.create(
        bundle.probe("report", *commands, "hold").set("process.terminal", True),
        "--console-socket",
        console.path,
    )
    master = console.receive()
    c.start()
    return seen_in(read_line(master, '"did":')), c


# ---- terminal ----


@req("PR-2", "DD-2", "CLI-CONSOLE-1")
def test_terminal(runtime, bundle, console):
    seen, _ = on_a_terminal(runtime, bundle, console, "stat", "/dev/console", "stat", "/dev/pts/0")
    assert [t["isatty"] for t in seen["tty"]] == [1, 1, 1]
    assert len({seen["fds"][n]["ino"] for n in "012"}) == 1
    assert seen["sid"] == seen["pid"] == seen["pgid"]
    assert seen["controlling_tty"] == 1
    shown = seen.step("stat", "/dev/console")
    assert (shown["type"], shown["major"]) == ("char", 136)
    assert (shown["major"], shown["minor"]) == (seen["fds"]["0"]["major"], seen["fds"]["0"]["minor"])
    assert 0 < len(console.name) < 4096
    assert b"\0" not in console.name


@req("PR-2")
def test_terminal_belongs_to_the_user(runtime, bundle, console):
    seen, _ = on_a_terminal(runtime, bundle.set("process.user", {"uid": 1000, "gid": 1000}), console)
    assert (seen["fds"]["0"]["uid"], seen["fds"]["0"]["gid"]) == (1000, 5)


@req("PR-2")
@pytest.mark.parametrize("value", [False, Unset])
def test_no_terminal_by_default(runtime, bundle, value):
    seen = runtime.report(bundle.set("process.terminal", value), "stat", "/dev/console")
    assert [t["isatty"] for t in seen["tty"]] == [0, 0, 0]
    assert seen["controlling_tty"] == 0
    assert seen.step("stat").err == "ENOENT"  # DD-2: /dev/console comes with a terminal


@req("PR-2", "CLI-CONSOLE-2")
def test_terminal_without_a_console_socket(runtime, bundle):
    runtime.refuses(bundle.set("process.terminal", True))


@req("CLI-CONSOLE-3")
def test_console_socket_without_a_terminal(runtime, bundle, console):
    bundle.write()
    runtime.fails("create", "--bundle", bundle.path, "--console-socket", console.path, new_id())


@req("PR-2", "CR-7")
def test_console_socket_that_nobody_listens_on(runtime, bundle):
    bundle.set("process.terminal", True).write()
    runtime.fails("create", "--bundle", bundle.path, "--console-socket", runtime.work / "nobody", new_id())


@req("PR-3")
def test_console_size_without_a_terminal(runtime, bundle):
    bundle.set("process.consoleSize", {"height": 10, "width": 110})
    assert [t["isatty"] for t in runtime.report(bundle)["tty"]] == [0, 0, 0]


@req("PR-4")
def test_console_size(runtime, bundle, console):
    seen, _ = on_a_terminal(runtime, bundle.set("process.consoleSize", {"height": 10, "width": 110}), console)
    assert [(t["rows"], t["cols"]) for t in seen["tty"]] == [(10, 110)] * 3


@req("PR-4", "EX-3")
@pytest.mark.parametrize("size", [{"height": 10}, {"width": 110}, {"height": -1, "width": 1}, 5], ids=str)
def test_console_size_needs_both(runtime, bundle, console, size):
    bundle.set("process.terminal", True).set("process.consoleSize", size).write()
    runtime.fails("create", "--bundle", bundle.path, "--console-socket", console.path, new_id())


# ---- cwd ----


@req("PR-5")
@pytest.mark.parametrize("cwd", [Unset, "", "x", "./x", "../x"])
def test_cwd_must_be_absolute(runtime, bundle, cwd):
    runtime.refuses(bundle.set("process.cwd", cwd))


@req("PR-6")
@pytest.mark.parametrize("cwd", ["/", "/root", "/bin/", "/etc/../tmp"])
def test_cwd(runtime, bundle, cwd):
    assert runtime.report(bundle.set("process.cwd", cwd))["cwd"] == os.path.normpath(cwd)


@req("PR-6", "CLI-CWD-1")
def test_cwd_that_is_missing_is_made(runtime, bundle):
    assert runtime.report(bundle.set("process.cwd", "/new/dir"))["cwd"] == "/new/dir"


@req("PR-6", "CR-7")
def test_cwd_that_is_a_file(runtime, bundle):
    runtime.refuses(bundle.set("process.cwd", "/etc/passwd"), "not a directory")


@req("PR-6")
def test_cwd_through_a_link_stays_inside(runtime, bundle):
    (bundle.rootfs / "link").symlink_to("/etc")
    seen = runtime.report(bundle.set("process.cwd", "/link"), "stat", "passwd")
    assert seen["cwd"] == "/etc"
    assert seen.step("stat").err == ""


@req("PR-6", "US-1")
def test_cwd_that_only_the_user_may_enter(runtime, bundle):
    """With no capability to override it, root cannot enter; the process's user can."""
    (bundle.rootfs / "home").mkdir(mode=0o700)
    os.chown(bundle.rootfs / "home", 1000, 1000)
    bundle.set("process.user", {"uid": 1000, "gid": 1000}).set("process.cwd", "/home")
    assert runtime.report(bundle)["cwd"] == "/home"


# ---- env and args ----


@req("PR-7")
def test_environment_is_exactly_the_one_given(runtime, bundle):
    env = [PATH, "HOME=/h", "EMPTY=", "A=b=c", "MULTI=1\n2", "SPACE= x "]
    assert runtime.report(bundle.set("process.env", env)).env == env


@req("PR-7", "CLI-HOME-1")
@pytest.mark.parametrize(("uid", "home"), [(0, "/root"), (1000, "/home/user"), (4242, "/")])
def test_home_comes_from_passwd_when_unset(runtime, bundle, uid, home):
    bundle.set("process.env", [PATH]).set("process.user", {"uid": uid, "gid": 0})
    assert runtime.report(bundle).env == [PATH, f"HOME={home}"]


@req("PR-7")
def test_nothing_of_the_caller_is_in_the_environment(runtime, bundle):
    seen = runtime.report(
        bundle, env={"PATH": "/usr/bin:/bin:/usr/sbin", "OF_THE_CALLER": "1", "LISTEN_PID": "1"}
    )
    assert seen.env == [PATH, "HOME=/root"]


@req("PR-7", "CLI-ENV-1")
@pytest.mark.parametrize("entry", ["NOVALUE", "=x", "", "A=\0b"], ids=["no sign", "no name", "empty", "nul"])
def test_environment_entry_that_is_none(runtime, bundle, entry):
    runtime.refuses(bundle.add("process.env", entry))


@req("PR-8")
def test_args_are_argv(runtime, bundle):
    args = ["/probe", "report", "access", "a b", "access", "", "access", "\u00fc\n\t\"'"]
    seen = runtime.run(bundle.args(*args)).seen
    assert [a.encode("latin-1").decode() for a in seen["argv"]] == args


@req("PR-8")
@pytest.mark.parametrize("args", [[], [""], Unset], ids=["none", "empty", "absent"])
def test_args_need_one_entry(runtime, bundle, args):
    ident = new_id()
    created = runtime.try_create(bundle.set("process.args", args), ident)
    if created.code == 0:
        runtime.fails("start", ident)


@req("PR-8")
def test_program_is_looked_up_in_the_containers_path(runtime, bundle):
    (bundle.rootfs / "opt").mkdir()
    (bundle.rootfs / "opt/look-me-up").symlink_to("/probe")
    bundle.set("process.env", ["PATH=/nonexistent:/etc:/opt"]).args("look-me-up", "report")
    assert runtime.run(bundle).seen["argv"][0] == "look-me-up"


@req("PR-8")
def test_program_relative_to_the_cwd(runtime, bundle):
    bundle.set("process.cwd", "/bin").args("../probe", "report")
    assert runtime.run(bundle).seen["cwd"] == "/bin"


@req("PR-8", "CLI-EXEC-1")
@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("no-such-program", "executable file not found in $PATH"),
        ("/no/such/program", "no such file or directory"),
        ("/etc/passwd", "permission denied"),
        ("passwd", ""),  # execvp has EACCES for it, Go's search has "not found"
        ("/etc", ""),
    ],
)
def test_program_that_cannot_be_run(runtime, bundle, program, words):
    """Engines tell 126 from 127 by these words, so that they must come at create."""
    bundle.set("process.env", ["PATH=/bin:/etc"])
    runtime.refuses(bundle.args(program), words)


@req("PR-8")
def test_program_that_the_user_may_not_run(runtime, bundle):
    (bundle.rootfs / "secret").mkdir(mode=0o700)
    (bundle.rootfs / "secret/probe").symlink_to("/probe")
    bundle.set("process.user", {"uid": 1000, "gid": 1000}).args("/secret/probe")
    runtime.refuses(bundle, "permission denied")


@req("PR-8", "CLI-EXEC-2")
def test_format_that_the_kernel_does_not_run(runtime, bundle):
    """Found and executable, but execve fails: no error may be lost."""
    (bundle.rootfs / "junk").write_text("\1\2\3 not a program")
    (bundle.rootfs / "junk").chmod(0o755)
    result = runtime.try_run(bundle.args("/junk"))
    assert result.code != 0
    assert "exec format error" in result.said


@req("PR-8", "CLI-EXEC-2")
def test_interpreter_that_is_missing(runtime, bundle):
    (bundle.rootfs / "script").write_text("#!/no/such/interpreter\n")
    (bundle.rootfs / "script").chmod(0o755)
    result = runtime.try_run(bundle.args("/script"))
    assert result.code != 0
    assert result.err.count("\n") == 1
    assert "exec /script: no such file or directory" in result.err


# ---- rlimits ----

LIMITS = {
    "RLIMIT_AS": (1 << 30, 1 << 30),
    "RLIMIT_CORE": (0, 1024),
    "RLIMIT_CPU": (60, 70),
    "RLIMIT_DATA": (1 << 28, 1 << 29),
    "RLIMIT_FSIZE": (1 << 20, 1 << 21),
    "RLIMIT_LOCKS": (10, 20),
    "RLIMIT_MEMLOCK": (65536, 131072),
    "RLIMIT_MSGQUEUE": (1000, 2000),
    "RLIMIT_NICE": (0, 0),
    "RLIMIT_NOFILE": (100, 200),
    "RLIMIT_NPROC": (1000, 2000),
    "RLIMIT_RSS": (1 << 28, 1 << 29),
    "RLIMIT_RTPRIO": (0, 0),
    "RLIMIT_RTTIME": (1000000, 2000000),
    "RLIMIT_SIGPENDING": (100, 200),
    "RLIMIT_STACK": (1 << 20, 1 << 22),
}


@req("PX-3", "PX-1", "PX-5")
@pytest.mark.parametrize("kind", LIMITS)
def test_rlimit(runtime, bundle, kind):
    soft, hard = LIMITS[kind]
    seen = runtime.report(bundle.set("process.rlimits", [{"type": kind, "soft": soft, "hard": hard}]))
    assert seen["rlimits"][kind.removeprefix("RLIMIT_")] == [soft, hard]


@req("PX-3", "PX-5")
def test_all_rlimits_at_once(runtime, bundle):
    rlimits = [{"type": k, "soft": s, "hard": h} for k, (s, h) in LIMITS.items()]
    seen = runtime.report(bundle.set("process.rlimits", rlimits))["rlimits"]
    assert {k: tuple(seen[k.removeprefix("RLIMIT_")]) for k in LIMITS} == LIMITS


@req("PX-3")
def test_rlimit_infinity(runtime, bundle):
    limit = {"type": "RLIMIT_FSIZE", "soft": 2**64 - 1, "hard": 2**64 - 1}
    assert runtime.report(bundle.set("process.rlimits", [limit]))["rlimits"]["FSIZE"] == [2**64 - 1] * 2


@req("PX-3")
def test_rlimits_that_are_not_set_are_the_callers(runtime, bundle):
    import resource

    seen = runtime.report(bundle)["rlimits"]["CORE"]
    assert seen == [value % 2**64 for value in resource.getrlimit(resource.RLIMIT_CORE)]


@req("PX-5")
def test_rlimit_of_one_file(runtime, bundle):
    """A limit that would stop the runtime itself may stop the program only."""
    bundle.set("process.rlimits", [{"type": "RLIMIT_NOFILE", "soft": 4, "hard": 4}])
    assert runtime.report(bundle)["rlimits"]["NOFILE"] == [4, 4]


@req("PX-3")
@pytest.mark.only_if("cap:SYS_RESOURCE")
def test_rlimit_above_the_callers_hard_limit(runtime, bundle):
    import resource

    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1] + 1
    seen = runtime.report(
        bundle.set("process.rlimits", [{"type": "RLIMIT_NOFILE", "soft": hard, "hard": hard}])
    )
    assert seen["rlimits"]["NOFILE"] == [hard, hard]


@req("PX-2")
@pytest.mark.parametrize("kind", ["RLIMIT_TEST", "", "NOFILE", "rlimit_nofile", "RLIMIT_CPU\n", 7])
def test_rlimit_of_no_kernel_limit(runtime, bundle, kind):
    runtime.refuses(bundle.set("process.rlimits", [{"type": kind, "soft": 10, "hard": 10}]))


@req("PX-1", "EX-3")
@pytest.mark.parametrize("fault", ["soft", "hard", "type", "order", "negative", "large", "fraction"])
def test_rlimit_that_is_none(runtime, bundle, fault):
    limit = {"type": "RLIMIT_CORE", "soft": 0, "hard": 0}
    match fault:
        case "soft" | "hard" | "type":
            del limit[fault]
            if fault != "type":  # runc takes what is missing for 0, which must not be told from a given 0
                limit["hard" if fault == "soft" else "soft"] = 5
        case "order":
            limit["soft"] = 1
        case "negative":
            limit["soft"] = -1
        case "large":
            limit["hard"] = 2**64
        case "fraction":
            limit["soft"] = 0.5
    runtime.refuses(bundle.set("process.rlimits", [limit]))


@req("PX-4")
def test_duplicate_rlimit(runtime, bundle):
    limits = [{"type": "RLIMIT_CORE", "soft": n, "hard": n} for n in (10, 5)]
    runtime.refuses(bundle.set("process.rlimits", limits))


# ---- user ----


@req("US-1")
@pytest.mark.parametrize(("uid", "gid"), [(0, 0), (1000, 1000), (7, 0), (0, 9), (4294967294, 4294967294)])
def test_user_ids(runtime, bundle, uid, gid):
    seen = runtime.report(bundle.set("process.user", {"uid": uid, "gid": gid}))
    assert seen.status["Uid"].split() == [str(uid)] * 4
    assert seen.status["Gid"].split() == [str(gid)] * 4
    assert seen["groups"] == []


@req("US-1")
def test_user_ids_are_those_of_the_user_namespace(runtime, bundle):
    seen = runtime.report(bundle.userns().set("process.user", {"uid": 12, "gid": 34}))
    assert (seen["uids"], seen["gids"]) == ([12] * 3, [34] * 3)


@req("US-1", "EX-3", "CR-7")
@pytest.mark.parametrize("which", ["uid", "gid"])
@pytest.mark.parametrize("value", [-1, 4294967295, 4294967296, "0", 1.5, True], ids=str)
def test_user_id_that_is_none(runtime, bundle, which, value):
    runtime.refuses(bundle.set("process.user", {"uid": 0, "gid": 0, which: value}))


@req("US-4", "EX-3")
def test_user_name_is_not_looked_up(runtime, bundle):
    """`username` is for Windows: another key that Linux ignores."""
    assert runtime.report(bundle.set("process.user", {"uid": 3, "gid": 3, "username": "root"}))["uids"] == [
        3,
        3,
        3,
    ]


@req("US-2")
@pytest.mark.parametrize("mask", [0, 0o22, 0o77, 0o777])
def test_umask(runtime, bundle, mask):
    bundle.set("process.user.umask", mask)
    seen = runtime.report(bundle, "write", "/tmp/x", "x", "stat", "/tmp/x")
    assert seen["umask"] == mask
    assert seen.step("stat")["mode"] == 0o666 & ~mask


@req("US-2")
def test_umask_by_default(runtime, bundle):
    """The caller's by the spec, 022 in runc: with a caller at 022 they agree."""
    assert runtime.report(bundle, umask=0o022)["umask"] == 0o022


@fault("F19")
@req("US-2")
@pytest.mark.parametrize("mask", [0o077, 0o777])
def test_umask_of_the_caller_does_not_reach_what_the_runtime_makes(runtime, bundle, mask):
    bundle.mount("/new/deep").set("process.cwd", "/made/cwd").add(
        "linux.devices", {"path": "/dev/x", "type": "p", "fileMode": 0o666}
    )
    seen = runtime.report(
        bundle, "stat", "/new", "stat", "/made", "stat", "/dev/null", "stat", "/dev/x", umask=mask
    )
    assert [s["mode"] for s in seen.steps] == [0o755, 0o755, 0o666, 0o666]


@req("US-3")
@pytest.mark.parametrize("groups", [[], [5, 10, 1000], [0], [4294967294]], ids=str)
def test_additional_groups_are_all_the_groups(runtime, bundle, groups):
    bundle.set("process.user.additionalGids", groups)
    seen = runtime.report(bundle, extra_groups=[77, 88])
    assert sorted(seen["groups"]) == sorted(groups)


@req("US-3", "EX-3")
@pytest.mark.parametrize(
    "groups", [[-1], [4294967295], ["5"], list(range(65537))], ids=["-1", "2^32-1", "string", "65537"]
)
def test_additional_groups_that_are_none(runtime, bundle, groups):
    runtime.refuses(bundle.set("process.user.additionalGids", groups))


# ---- names ----


@req("HN-1")
@pytest.mark.parametrize("name", ["a", "host.example.org", "x" * 64], ids=lambda n: n[:9])
def test_hostname(runtime, bundle, name):
    assert runtime.report(bundle.set("hostname", name))["hostname"] == name


@req("HN-1", "NS-7")
def test_hostname_without_a_uts_namespace(runtime, bundle):
    before = os.uname().nodename
    runtime.refuses(bundle.drop_ns("uts"))
    assert os.uname().nodename == before


@req("HN-1", "EX-3")
def test_hostname_longer_than_the_kernel_takes(runtime, bundle):
    runtime.refuses(bundle.set("hostname", "x" * 65))


@req("HN-1")
def test_hostname_in_a_joined_uts_namespace(runtime, bundle):
    holder = runtime.running(runtime.bundle().set("hostname", "first").probe("hold"))
    seen = runtime.report(bundle.ns("uts", f"/proc/{holder.pid}/ns/uts").set("hostname", "second"))
    assert seen["hostname"] == "second"


@req("DN-1")
def test_domainname(runtime, bundle):
    bundle.set("domainname", "example.org")
    seen = runtime.report(bundle, "cat", "/proc/sys/kernel/domainname")
    assert seen["domainname"] == "example.org"
    assert seen.cat("/proc/sys/kernel/domainname") == "example.org"


@req("DN-1")
def test_domainname_without_a_uts_namespace(runtime, bundle):
    runtime.refuses(bundle.drop_ns("uts").set("hostname", Unset).set("domainname", "example.org"))
