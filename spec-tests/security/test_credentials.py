"""Ids and capabilities: never more than was asked for."""

from __future__ import annotations

import pytest
from lib import host

req, cve = pytest.mark.req, pytest.mark.cve
INHERITABLE = ("CVE-2022-24769", "CVE-2022-29162", "CVE-2022-27650", "CVE-2025-27612")


@req("T15", "LP-2")
@cve(*INHERITABLE)
def test_inheritable_is_what_was_asked_for(runtime, bundle):
    bundle.caps("KILL", "CHOWN", kinds=("bounding", "permitted", "effective", "inheritable"))
    caps = runtime.report(bundle).caps
    assert caps["Inh"] == host.mask_of("KILL", "CHOWN")
    assert caps["Amb"] == 0


@req("T15", "LP-2")
@cve(*INHERITABLE)
@pytest.mark.parametrize("user", ["0", "1000"])
def test_capabilities_added_by_exec(runtime, bundle, user):
    """They are neither inheritable nor ambient, and an ordinary user gets none into his effective set."""
    c = runtime.running(bundle.probe("hold"))
    result = runtime.ok("exec", "--user", user, "--cap", "CAP_CHOWN", c.id, "/probe", "report")
    caps = result.seen.caps
    assert caps["Inh"] == 0
    assert bool(caps["Eff"] & host.mask_of("CHOWN")) == (user == "0")
    if user != "0":
        assert caps["Eff"] == caps["Amb"] == 0


@req("T15", "LP-2")
@cve(*INHERITABLE)
def test_exec_has_the_containers_capabilities(runtime, bundle):
    c = runtime.running(bundle.caps("KILL", "CHOWN").probe("hold"))
    caps = runtime.ok("exec", c.id, "/probe", "report").seen.caps
    assert caps == {"Inh": 0, "Amb": 0} | dict.fromkeys(("Prm", "Eff", "Bnd"), host.mask_of("KILL", "CHOWN"))


USERS = [
    "1:", ":1", ":", "-1", "1:-1", "4294967295", "1:4294967295", "4294967296", "1:4294967296", "18446744073709551616",
    "abc", "root", "1:2:3", "0x10", "1e1", "1.0", " 1", "1 ", "+1", "1_0", "\u0663", "\u00b2", "1\n",
]  # fmt: skip


@req("T19", "CLI-EXEC-1")
@cve("CVE-2026-30892", "CVE-2016-3697")
@pytest.mark.parametrize("user", USERS, ids=ascii)
def test_user_of_an_exec_that_is_none(runtime, bundle, user):
    """Numbers only, each within its range: what is cut or overlooked becomes root."""
    c = runtime.running(bundle.probe("hold"))
    result = runtime.cmd("exec", "--user", user, c.id, "/probe", "report")
    assert result.code != 0, f"--user {user!r}: {result.seen['uids']} {result.seen['gids']}"
    assert result.said.strip()


@req("T19", "CLI-EXEC-1")
@cve("CVE-2026-30892")
@pytest.mark.parametrize(
    ("user", "uid", "gid"),
    [("1", 1, 0), ("1:2", 1, 2), ("0:3", 0, 3), ("2147483647:2147483647", *[2147483647] * 2)],
)
def test_user_of_an_exec(runtime, bundle, user, uid, gid):
    c = runtime.running(bundle.probe("hold"))
    seen = runtime.ok("exec", "--user", user, c.id, "/probe", "report").seen
    assert (seen["uids"], seen["gids"]) == ([uid] * 3, [gid] * 3)


@req("T19", "CLI-EXEC-1")
@cve("CVE-2026-30892")
def test_no_user_at_all_is_the_containers(runtime, bundle):
    """runc takes an empty word for none."""
    c = runtime.running(bundle.set("process.user", {"uid": 5, "gid": 6}).probe("hold"))
    result = runtime.cmd("exec", "--user", "", c.id, "/probe", "report")
    if result.code == 0:
        assert (result.seen["uids"], result.seen["gids"]) == ([5] * 3, [6] * 3)


@req("T19")
@cve("CVE-2016-3697")
def test_a_user_named_like_a_number(runtime, bundle):
    """A passwd whose names are numbers: the number counts."""
    (bundle.rootfs / "etc/passwd").unlink()
    (bundle.rootfs / "etc/passwd").write_text("1000:x:0:0:root:/root:/bin/sh\n")
    c = runtime.running(bundle.probe("hold"))
    assert runtime.ok("exec", "--user", "1000", c.id, "/probe", "report").seen["uids"] == [1000] * 3


@req("LP-5", "LP-2", "T15")
@cve("no_new_privs")
def test_setuid_gains_nothing_with_no_new_privileges(runtime, bundle):
    """A set-user-id program in the image, run by an ordinary user."""
    helper = bundle.rootfs / "suid"
    helper.write_bytes((bundle.rootfs / "probe").read_bytes())
    helper.chmod(0o4755)
    bundle.set("process.user", {"uid": 1000, "gid": 1000}).args("/suid", "report")
    assert runtime.run(bundle).seen["uids"] == [1000] * 3
    other = runtime.run(bundle.set("process.noNewPrivileges", False)).seen
    assert other["uids"][1] == 0
