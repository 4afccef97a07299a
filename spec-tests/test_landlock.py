"""Landlock by annotation, which pyrunc alone has (experimental); docs/landlock.md describes it, CLI.md has the ids."""

from __future__ import annotations

import json

import pytest
from lib import host

req = pytest.mark.req
NAME = "org.pyrunc.landlock"


@pytest.fixture(autouse=True)
def known(runtime):
    if "pyrunc" not in runtime.cmd("--version").out:
        pytest.skip("needs pyrunc, whose annotation it is")
    if host.kernel() < (6, 7):
        pytest.skip("needs Landlock's rules on ports in the kernel")


def locked(bundle, rules, script, *, nnp=True):
    bundle.set("annotations", {NAME: rules if isinstance(rules, str) else json.dumps(rules)})
    return bundle.set("process.noNewPrivileges", nnp).args("/bin/sh", "-c", script)


@req("CLI-LANDLOCK-1")
@pytest.mark.parametrize("nnp", [True, False], ids=["no_new_privs", "privileged"])
def test_reading(runtime, bundle, nnp):
    (bundle.rootfs / "open").mkdir()
    (bundle.rootfs / "open/file").write_text("here\n")
    (bundle.rootfs / "file").write_text("there\n")
    rules = {"read": ["/bin", "/open"]}
    result = runtime.run(
        locked(bundle, rules, "cat /open/file; cat /file; ls /; echo more > /file; echo on", nnp=nnp)
    )
    assert result.out == "here\non\n"
    assert result.err.count("Permission denied") == 2
    assert (bundle.rootfs / "file").read_text() == "more\n"


@req("CLI-LANDLOCK-1")
def test_writing(runtime, bundle):
    (bundle.rootfs / "open").mkdir()
    (bundle.rootfs / "file").write_text("there\n")
    script = "echo x > /open/new; mkdir /open/d; echo x > /file; mkdir /d; rm /file; cat /file"
    result = runtime.run(locked(bundle, {"write": ["/open"]}, script))
    assert result.out == "there\n"
    assert result.err.count("ermission denied") == 3
    assert (bundle.rootfs / "open/d").is_dir()


@req("CLI-LANDLOCK-1")
def test_a_single_file(runtime, bundle):
    (bundle.rootfs / "one").write_text("1\n")
    (bundle.rootfs / "two").write_text("2\n")
    result = runtime.run(locked(bundle, {"read": ["/bin", "/one"]}, "cat /one; cat /two; true"))
    assert result.out == "1\n"


@req("CLI-LANDLOCK-1")
def test_executing(runtime, bundle):
    script = "/probe report >/dev/null || echo refused"
    result = runtime.run(locked(bundle, {"execute": ["/bin"]}, script))
    assert "refused" in result.out


@req("CLI-LANDLOCK-2")
def test_the_program_itself_must_be_allowed(runtime, bundle):
    result = runtime.try_run(locked(bundle, {"execute": ["/etc"]}, "true"))
    assert result.code != 0
    assert result.err.splitlines() == ["exec /bin/sh: permission denied"]


@req("CLI-LANDLOCK-1")
def test_ports(runtime, bundle):
    script = "nc -l -p 7000 -w 1 </dev/null; echo $?; nc -w 1 127.0.0.1 7002 </dev/null"
    result = runtime.try_run(locked(bundle, {"bind": [7001], "connect": [7003]}, script))
    assert result.err.count("ermission denied") == 2


@req("CLI-LANDLOCK-1")
def test_exec_has_the_rules(runtime, bundle):
    c = runtime.running(locked(bundle, {"read": ["/bin"]}, "sleep 60"))
    result = runtime.cmd("exec", c.id, "/bin/cat", "/etc/passwd")
    assert result.code != 0
    assert "Permission denied" in result.err


@req("CLI-LANDLOCK-1")
def test_in_a_user_namespace(runtime, bundle):
    result = runtime.run(locked(bundle.userns(), {"read": ["/bin"]}, "cat /etc/passwd || echo refused"))
    assert result.out == "refused\n"


@req("CLI-LANDLOCK-2")
@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ("{", f"annotations.{NAME}"),
        ("[]", "expected an object"),
        ("{}", "no rules"),
        ({"reed": []}, f"annotations.{NAME}.reed"),
        ({"read": "/"}, f"annotations.{NAME}.read: expected an array"),
        ({"read": ["bin"]}, f"annotations.{NAME}.read[0]: expected an absolute path"),
        ({"bind": [70000]}, f"annotations.{NAME}.bind[0]: expected a port"),
        ({"read": ["/nope"]}, f"annotations.{NAME}.read[0]: /nope: no such file or directory"),
    ],
    ids=str,
)
def test_bad_rules(runtime, bundle, rules, words):
    assert words in runtime.refuses(locked(bundle, rules, "true")).err.replace('\\"', '"')
