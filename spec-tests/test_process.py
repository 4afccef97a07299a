"""The process: terminal, cwd, env, args, rlimits, user; host and domain name."""

from __future__ import annotations

import os
import re
import stat

import pytest
from lib import host
from lib.bundle import PATH, Unset
from lib.console import read_line
from lib.probe import seen_in
from lib.runtime import new_id

req = pytest.mark.req


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


@req("US-2", "F19")
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


# ---- descriptors ----


@req("RL-1", "T02c")
def test_only_the_three_descriptors_are_open(runtime, bundle):
    leak = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    os.dup2(leak, 60, inheritable=True)
    try:
        seen = runtime.report(bundle, pass_fds=(60,))
    finally:
        os.close(60)
        os.close(leak)
    assert sorted(seen["fds"]) == ["0", "1", "2"]


@req("RL-2", "T02g")
@pytest.mark.parametrize("way", ["--preserve-fds", "LISTEN_FDS", "LISTEN_PID of another"])
def test_further_descriptors(runtime, bundle, way):
    files = [os.open(runtime.work / f"extra{n}", os.O_RDWR | os.O_CREAT) for n in (3, 4, 5)]
    high = [os.dup2(fd, 200 + n) for n, fd in enumerate(files)]
    # The shell moves them to 3, 4, 5 and becomes the runtime, so that LISTEN_PID can be its own pid.
    move = "exec 3<&200 4<&201 5<&202 200<&- 201<&- 202<&-; "
    options = ["--preserve-fds", "2"] if way == "--preserve-fds" else []
    if way != "--preserve-fds":
        move += (
            f"LISTEN_FDS=2 LISTEN_PID={'$$' if way == 'LISTEN_FDS' else '1'}; export LISTEN_FDS LISTEN_PID; "
        )
    move += 'exec "$@"'
    try:
        seen = runtime.report_with(bundle, options, prefix=("/bin/bash", "-c", move, "sh"), pass_fds=high)
    finally:
        for fd in [*files, *high]:
            os.close(fd)
    wanted = [] if way.endswith("another") else [(str(n), f"extra{n}") for n in (3, 4)]
    assert sorted(seen["fds"]) == ["0", "1", "2", *(n for n, _ in wanted)]
    for number, name in wanted:
        assert seen["fds"][number]["link"].endswith(name)
    listen = [e for e in seen.env if e.startswith("LISTEN_")]
    assert sorted(listen) == (["LISTEN_FDS=2", "LISTEN_PID=1"] if way == "LISTEN_FDS" else [])


@req("RL-3", "T02f")
def test_closed_standard_descriptors(runtime, bundle):
    """The runtime's own first files must not land on 0, 1, 2 and reach the container there."""
    bundle.probe("out", "/seen", "report", "hold").write()
    ident = new_id()
    runtime.cmd(
        "run",
        "--detach",
        "--bundle",
        bundle.path,
        ident,
        prefix=("/bin/sh", "-c", '"$@" 0<&- 1>&- 2>&-', "sh"),
    )
    if runtime.cmd("state", ident).code != 0:
        pytest.skip("the runtime refuses closed standard descriptors")
    from lib.runtime import poll

    assert poll(lambda: (bundle.rootfs / "seen").exists() and (bundle.rootfs / "seen").read_text())
    fds = seen_in((bundle.rootfs / "seen").read_text())["fds"]
    assert {n: fds[n]["link"] for n in fds} == dict.fromkeys("012", "/dev/null")


@req("RL-3", "CLI-STDIO-1")
def test_standard_descriptors_belong_to_the_user(runtime, bundle):
    """runc gives the three to the process's user, and never /dev/null's inode."""
    before = os.stat("/dev/null")
    c = runtime.running(
        bundle.set("process.user", {"uid": 1000, "gid": 1000}).probe(
            "report", "write", "/dev/stderr", "x", "hold"
        )
    )
    seen = c.seen()
    assert seen["fds"]["1"]["uid"] == 1000
    assert seen.step("write").err == ""
    after = os.stat("/dev/null")
    assert (after.st_uid, stat.S_IMODE(after.st_mode)) == (before.st_uid, stat.S_IMODE(before.st_mode))


@req("RL-4")
def test_links_to_the_descriptors(runtime, bundle):
    links = {
        "fd": "/proc/self/fd",
        "stdin": "/proc/self/fd/0",
        "stdout": "/proc/self/fd/1",
        "stderr": "/proc/self/fd/2",
    }
    steps = [word for name in links for word in ("stat", f"/dev/{name}")]
    seen = runtime.report(bundle, *steps)
    assert {name: seen.step("stat", f"/dev/{name}")["target"] for name in links} == links


@req("RL-4")
def test_links_to_the_descriptors_are_made_at_create(runtime, bundle):
    pid = runtime.create(bundle).pid
    # /proc/PID/root may be closed to us by the process's dumpable flag, but root may read it.
    assert os.readlink(f"/proc/{pid}/root/dev/fd") == "/proc/self/fd"


@req("RL-4")
def test_links_without_proc_are_no_error(runtime, bundle):
    bundle.config["mounts"] = [m for m in bundle.config["mounts"] if m["destination"] != "/proc"]
    seen = runtime.report(bundle, "stat", "/dev/null")
    assert seen.step("stat")["type"] == "char"


@req("RL-4", "DD-1")
def test_a_bound_dev_is_left_as_it_is(runtime, bundle):
    """A /dev of the host's, bound: nothing of it is replaced."""
    own = runtime.work / "dev"
    own.mkdir()
    (own / "marker").touch()
    os.mknod(own / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    (own / "pts").mkdir()
    (own / "shm").mkdir()
    bundle.config["mounts"] = [m for m in bundle.config["mounts"] if not m["destination"].startswith("/dev")]
    bundle.mount("/dev", None, own, ["rbind"])
    runtime.report(bundle)
    assert {"marker", "null"} <= set(os.listdir(own))
    assert not os.path.lexists(own / "core")


@req("RL-4")
def test_existing_links_are_kept(runtime, bundle):
    """Without a mount on /dev the image's own entries are there already."""
    bundle.config["mounts"] = [m for m in bundle.config["mounts"] if not m["destination"].startswith("/dev")]
    (bundle.rootfs / "dev/stdin").symlink_to("/proc/self/fd/0")
    seen = runtime.report(bundle, "stat", "/dev/stdin", "stat", "/dev/stdout")
    assert seen.step("stat", "/dev/stdin")["target"] == "/proc/self/fd/0"
    assert seen.step("stat", "/dev/stdout")["target"] == "/proc/self/fd/1"


# ---- Linux ----


@req("LP-2")
@pytest.mark.parametrize("kind", ["bounding", "effective", "permitted", "inheritable", "ambient"])
def test_capability_sets(runtime, bundle, kind):
    """Each set differs from the others by what it alone holds, as far as the kernel lets sets differ."""
    sets = {
        "bounding": ["KILL", "CHOWN", "SETUID", "NET_RAW"],
        "permitted": ["KILL", "CHOWN", "NET_RAW"],
        "effective": ["KILL", "CHOWN"],
        "inheritable": ["KILL", "CHOWN"],
        "ambient": ["CHOWN"],
    }
    for name, caps in sets.items():
        bundle.caps(*caps, kinds=(name,))
    bundle.set("process.user", {"uid": 1000, "gid": 1000})
    seen = runtime.report(bundle)
    # Across execve a user other than root keeps the ambient set as permitted and effective (capabilities(7)).
    wanted = sets | {"permitted": ["CHOWN"], "effective": ["CHOWN"]}
    letters = {
        "bounding": "Bnd",
        "permitted": "Prm",
        "effective": "Eff",
        "inheritable": "Inh",
        "ambient": "Amb",
    }
    assert seen.caps[letters[kind]] == host.mask_of(*wanted[kind])


@req("LP-2", "T15")
def test_capabilities_of_root(runtime, bundle):
    caps = runtime.report(bundle.caps("KILL", "CHOWN")).caps
    assert caps == {"Inh": 0, "Amb": 0} | dict.fromkeys(("Prm", "Eff", "Bnd"), host.mask_of("KILL", "CHOWN"))


@req("LP-2", "T15")
def test_capabilities_of_a_user_without_ambient(runtime, bundle):
    bundle.caps("KILL", "CHOWN").set("process.user", {"uid": 1000, "gid": 1000})
    assert runtime.report(bundle).caps == dict.fromkeys(("Inh", "Amb", "Prm", "Eff"), 0) | {
        "Bnd": host.mask_of("KILL", "CHOWN")
    }


@req("LP-2", "T15b")
@pytest.mark.parametrize("value", [Unset, {}], ids=["absent", "empty"])
def test_no_capabilities_unless_asked_for(runtime, bundle, value):
    assert runtime.report(bundle.set("process.capabilities", value)).caps == dict.fromkeys(
        ("Inh", "Amb", "Prm", "Eff", "Bnd"), 0
    )


@req("LP-3", "EX-3")
@pytest.mark.parametrize("name", ["CAP_FOO", "kill", ""])
def test_unknown_capability_is_a_warning(runtime, bundle, name):
    bundle.set(
        "process.capabilities", {k: ["CAP_KILL", name] for k in ("bounding", "effective", "permitted")}
    ).write()
    log = runtime.work / "log"
    result = runtime.cmd("--log", log, "run", "--bundle", bundle.path, new_id())
    assert result.code == 0, str(result)
    assert result.seen.caps["Bnd"] == host.mask_of("KILL")
    if name:
        assert name in log.read_text() + result.err
    assert "warn" in log.read_text() + result.err


@req("LP-4", "LP-3")
@pytest.mark.only_if("no-cap:SYS_RESOURCE")
def test_capability_that_the_caller_lacks_is_a_warning(runtime, bundle):
    result = runtime.run(bundle.caps("KILL", "SYS_RESOURCE"))
    assert result.seen.caps["Eff"] == host.mask_of("KILL")


@req("LP-4")
@pytest.mark.only_if("tool:setpriv")
def test_capability_outside_of_the_bounding_set_is_a_warning(runtime, bundle):
    result = runtime.run(bundle.caps("KILL", "SYSLOG"), prefix=("setpriv", "--bounding-set=-syslog", "--"))
    assert result.seen.caps["Eff"] == host.mask_of("KILL")


@req("LP-5")
@pytest.mark.parametrize(("value", "seen"), [(True, 1), (False, 0), (Unset, 0)])
def test_no_new_privileges(runtime, bundle, value, seen):
    assert runtime.report(bundle.set("process.noNewPrivileges", value))["no_new_privs"] == seen


@req("LP-6")
@pytest.mark.parametrize("value", [0, 100, 1000])
def test_oom_score_adj(runtime, bundle, value):
    assert runtime.report(bundle.set("process.oomScoreAdj", value)).file("oom_score_adj") == f"{value}\n"


@req("LP-6")
@pytest.mark.only_if("cap:SYS_RESOURCE")
def test_negative_oom_score_adj(runtime, bundle):
    assert runtime.report(bundle.set("process.oomScoreAdj", -500)).file("oom_score_adj") == "-500\n"


@req("LP-6", "CR-7")
@pytest.mark.only_if("no-cap:SYS_RESOURCE")
def test_oom_score_adj_that_the_caller_may_not_set(runtime, bundle):
    runtime.refuses(bundle.set("process.oomScoreAdj", -500))


@req("LP-6", "EX-3")
@pytest.mark.parametrize("value", [5000, -1001])
def test_oom_score_adj_out_of_range(runtime, bundle, value):
    runtime.refuses(bundle.set("process.oomScoreAdj", value))


@req("LP-7")
def test_oom_score_adj_unset_is_the_callers(runtime, bundle):
    raise_it = ("/bin/sh", "-c", 'echo 123 > /proc/self/oom_score_adj; exec "$@"', "sh")
    assert runtime.report(bundle, prefix=raise_it).file("oom_score_adj") == "123\n"


@req("LP-8", "LP-9")
@pytest.mark.parametrize(
    ("scheduler", "wanted"),
    [
        ({"policy": "SCHED_OTHER"}, {"policy": 0, "nice": 0}),
        ({"policy": "SCHED_OTHER", "nice": 5}, {"policy": 0, "nice": 5}),
        ({"policy": "SCHED_BATCH", "nice": -5}, {"policy": 3, "nice": -5}),
        ({"policy": "SCHED_IDLE"}, {"policy": 5}),
        ({"policy": "SCHED_FIFO", "priority": 10}, {"policy": 1, "priority": 10}),
        ({"policy": "SCHED_RR", "priority": 99}, {"policy": 2, "priority": 99}),
        (
            {"policy": "SCHED_DEADLINE", "runtime": 1000000, "deadline": 20000000, "period": 20000000},
            {"policy": 6, "runtime": 1000000, "deadline": 20000000, "period": 20000000},
        ),
    ],
    ids=lambda v: v.get("policy") if isinstance(v.get("policy"), str) else "",
)
def test_scheduler(runtime, bundle, scheduler, wanted):
    if scheduler["policy"] in {"SCHED_FIFO", "SCHED_RR"} and not host.missing("v1:cpu/cpu.rt_runtime_us"):
        # A kernel with RT_GROUP_SCHED gives a new cgroup no real-time budget.
        bundle.set("linux.resources.cpu", {"realtimeRuntime": 1000, "realtimePeriod": 1000000})
    seen = runtime.report(bundle.set("process.scheduler", scheduler))["sched"]
    assert {key: seen[key] for key in wanted} == wanted


@req("LP-9")
def test_scheduler_with_a_policy_alone_resets_nice(runtime, bundle):
    seen = runtime.report(
        bundle.set("process.scheduler", {"policy": "SCHED_OTHER"}), prefix=("nice", "-n", "7")
    )
    assert seen["sched"]["nice"] == 0


@req("LP-10")
def test_scheduler_flag(runtime, bundle):
    bundle.set("process.scheduler", {"policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_RESET_ON_FORK"]})
    assert runtime.report(bundle)["sched"]["flags"] & 1


@req("LP-8", "LP-10", "EX-3")
@pytest.mark.parametrize(
    "scheduler",
    [
        {},
        {"nice": 1},
        {"policy": "SCHED_FOO"},
        {"policy": "SCHED_ISO"},
        {"policy": "SCHED_OTHER", "nice": 20},
        {"policy": "SCHED_OTHER", "nice": -21},
        {"policy": "SCHED_OTHER", "priority": 5},
        {"policy": "SCHED_FIFO"},
        {"policy": "SCHED_FIFO", "priority": 100},
        {"policy": "SCHED_OTHER", "runtime": 5},
        {"policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_FOO"]},
    ],
    ids=lambda s: "-".join(map(str, s.values())) or "empty",
)
def test_scheduler_that_is_none(runtime, bundle, scheduler):
    runtime.refuses(bundle.set("process.scheduler", scheduler))


@req("LP-12")
@pytest.mark.parametrize(
    ("priority", "wanted"),
    [
        ({"class": "IOPRIO_CLASS_BE", "priority": 3}, 2 << 13 | 3),
        ({"class": "IOPRIO_CLASS_RT", "priority": 0}, 1 << 13),
        ({"class": "IOPRIO_CLASS_IDLE", "priority": 7}, 3 << 13 | 7),
    ],
    ids=["BE", "RT", "IDLE"],
)
def test_io_priority(runtime, bundle, priority, wanted):
    assert runtime.report(bundle.set("process.ioPriority", priority))["ioprio"] == wanted


@req("LP-12", "EX-3")
@pytest.mark.parametrize(
    "priority",
    [
        {"class": "IOPRIO_CLASS_FOO", "priority": 1},
        {"class": "IOPRIO_CLASS_BE", "priority": 9},
        {"class": "IOPRIO_CLASS_BE", "priority": -1},
        {"class": "IOPRIO_CLASS_BE"},
        {"priority": 1},
    ],
    ids=lambda p: "-".join(map(str, p.values())),
)
def test_io_priority_that_is_none(runtime, bundle, priority):
    runtime.refuses(bundle.set("process.ioPriority", priority))


@req("LP-13", "LP-14", "LP-15")
@pytest.mark.only_if("cpus:2")
def test_exec_affinity_does_not_concern_the_first_process(runtime, bundle):
    seen = runtime.report(bundle.set("process.execCPUAffinity", {"initial": "0", "final": "0"}))
    assert len(seen["cpus"]) == len(os.sched_getaffinity(0))


@req("LP-15", "EX-3")
@pytest.mark.parametrize(
    "value", [{"initial": "a"}, {"final": "0-"}, {"initial": "3-1"}, {"final": "-, "}], ids=str
)
def test_exec_affinity_that_is_none(runtime, bundle, value):
    runtime.refuses(bundle.set("process.execCPUAffinity", value))


@req("CLI-AFFINITY-1")
@pytest.mark.only_if("cpus:2", "tool:taskset")
def test_affinity_of_the_caller_is_not_inherited(runtime, bundle):
    seen = runtime.report(bundle, prefix=("taskset", "-c", "0"))
    assert len(seen["cpus"]) == len(os.sched_getaffinity(0))


@req("LP-2", "CLI-SIGNALS-1")
def test_signals_are_as_after_boot(runtime, bundle):
    """Whatever the caller ignores or blocks (an interpreter ignores SIGPIPE), the program starts clean."""
    import signal

    def ignore() -> None:
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2, signal.SIGHUP])

    status = runtime.report(bundle, preexec_fn=ignore, restore_signals=False).status
    assert int(status["SigIgn"], 16) == 0
    assert int(status["SigBlk"], 16) == 0
    assert re.fullmatch("1", status["Threads"])
