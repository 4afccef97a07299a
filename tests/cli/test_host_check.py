"""`pyrunc check`: what is found in a host that the test makes, and in this one."""

from __future__ import annotations

import json
import os

from conftest import start

from pyrunc.commands.check import table, to_json
from pyrunc.run.survey import (
    Finding,
    Place,
    look_at_capabilities,
    look_at_cgroups,
    look_at_extras,
    look_at_ids,
    look_at_kernel,
    look_at_namespaces,
    survey,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

V2 = "30 20 0:25 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw"
V1 = "31 20 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory"


def place(top: Path, files: dict[str, str], uid: int = 0) -> Place:
    for name, text in files.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(f"{text}\n")
    return Place(top=str(top), uid=uid, release="6.1.0-test", path="/usr/bin")


def why(findings: Iterable[Finding], what: str) -> str:
    """Return why it is missing, "" where it is there."""
    (found,) = [one for one in findings if one.what == what]
    assert found.able or found.why
    return "" if found.able else found.why


def test_a_kernel_that_is_too_old(tmp_path: Path) -> None:
    found = list(look_at_kernel(Place(top=str(tmp_path), release="5.4.0")))

    assert found[0].vital
    assert why(found, "Linux 5.4.0").startswith("pyrunc needs Linux 5.14 or later")
    assert "not in this kernel" in why(found, "file system overlay")


def test_what_an_administrator_forbids(tmp_path: Path) -> None:
    kinds = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")
    files = {f"proc/self/ns/{kind}": "" for kind in kinds}
    files |= {"proc/sys/user/max_net_namespaces": "0", "proc/sys/kernel/unprivileged_userns_clone": "0"}
    found = list(look_at_namespaces(place(tmp_path, files, uid=1000)))

    assert why(found, "time namespace") == "/proc/self/ns/time is missing: the kernel was built without it"
    assert why(found, "network namespace") == "sysctl user.max_net_namespaces is 0"
    assert why(found, "user namespace").endswith("only root may make one")
    assert why(found, "mount namespace") == ""
    assert why(look_at_namespaces(place(tmp_path, {})), "user namespace") == ""


def test_controllers_of_cgroup_v2(tmp_path: Path) -> None:
    files = {
        "proc/self/mountinfo": V2,
        "proc/self/cgroup": "0::/",
        "sys/fs/cgroup/cgroup.controllers": "cpu io memory",
    }
    found = list(look_at_cgroups(place(tmp_path, files)))

    assert why(found, "cgroups (v2)") == ""
    assert why(found, "limits of block I/O") == ""
    assert why(found, "limits of numbers of processes") == "no such controller here"
    assert not [one for one in found if one.what == "pause"]


def test_controllers_of_a_hybrid_host(tmp_path: Path) -> None:
    files = {
        "proc/self/mountinfo": f"{V1}\n{V2.replace('cgroup rw', 'cgroup/unified rw', 1)}",
        "proc/self/cgroup": "4:memory:/\n0::/",
        "sys/fs/cgroup/unified/cgroup.controllers": "hugetlb",
        "sys/fs/cgroup/memory/tasks": "",
    }
    found = list(look_at_cgroups(place(tmp_path, files)))

    assert why(found, "limits of memory") == ""
    assert "beside v1 controllers" in why(found, "limits of huge pages")
    assert why(found, "pause") == "no v1 hierarchy of freezer is mounted"
    assert why(found, "new cgroups") == ""


def test_no_cgroups_at_all(tmp_path: Path) -> None:
    assert why(look_at_cgroups(place(tmp_path, {})), "cgroups (none)").endswith("no limits at all")


def test_ids_of_an_ordinary_user(tmp_path: Path) -> None:
    files = {"etc/passwd": "me:x:1000:1000::/:/bin/sh", "etc/subuid": "me:100000:65536\n1000:1:5"}
    here = place(tmp_path, files, uid=1000)

    assert "newuidmap is not installed" in why(look_at_ids(here), "uids beside your own")
    for name in ("newuidmap", "newgidmap"):
        (tmp_path / "usr/bin").mkdir(parents=True, exist_ok=True)
        (tmp_path / "usr/bin" / name).touch(mode=0o755)
    uids, gids = look_at_ids(here)
    assert (uids.able, uids.why) == (True, "65541 of /etc/subuid")
    assert (gids.able, gids.why) == (False, "/etc/subgid has no range for you (usermod --add-subgids)")


def test_capabilities_that_lack(tmp_path: Path) -> None:
    masks = "Umask:\t0022\nCapEff:\t0\nCapBnd:\t{:x}\nSeccomp:\t0"
    files = {"proc/self/status": masks.format(0x1FF ^ 1 << 7), "proc/sys/kernel/cap_last_cap": "8"}
    (found,) = look_at_capabilities(place(tmp_path, files))

    assert (found.what, found.able, found.why) == ("CAP_SETUID", False, "no other user ids")
    files["proc/self/status"] = masks.format(0x1FF)
    assert [one.what for one in look_at_capabilities(place(tmp_path, files))] == ["every capability"]


def test_programs(tmp_path: Path) -> None:
    assert (
        why(look_at_extras(place(tmp_path, {})), "criu, for checkpoint and restore")
        == "criu is not installed"
    )
    criu = tmp_path / "usr/bin/criu"
    criu.parent.mkdir(parents=True)
    criu.write_text("#!/bin/sh\necho 'Error (criu/x.c:1): no vdso' >&2\nexit 1\n")
    criu.chmod(0o755)
    told = why(look_at_extras(place(tmp_path, {})), "criu, for checkpoint and restore")
    assert told == f"{criu} check: no vdso"
    criu.write_text("#!/bin/sh\necho Looks good.\n")
    found = next(one for one in look_at_extras(place(tmp_path, {})) if one.what.startswith("criu"))
    assert (found.able, found.why) == (True, "/usr/bin/criu")


def test_what_cannot_be_understood_is_told(tmp_path: Path) -> None:
    found = survey(place(tmp_path, {"etc/subuid": "x", "etc/passwd": "me:x:7"}, uid=7))
    odd = survey(place(tmp_path, {"etc/subuid": "7:many:of"}, uid=7))["user ids"]

    assert found["kernel"]
    assert odd[0].why.startswith("cannot be told: ")


def test_both_forms() -> None:
    found = {"kernel": [Finding("a", able=True), Finding("bcd", able=False, why="so")]}

    assert table(found) == "kernel\n  can     a\n  cannot  bcd  so\n\n1 missing; containers can run here\n"
    assert "\033[33mcannot\033[0m" in table(found, coloured=True)
    assert to_json(found) == {
        "kernel": [{"what": "a", "able": True, "why": ""}, {"what": "bcd", "able": False, "why": "so"}]
    }
    found["kernel"].append(Finding("e", able=False, why="no", vital=True))
    assert table(found).endswith("2 missing; no container can run here\n")


def test_the_command_on_this_host() -> None:
    result = start("check", "--format", "json", env={"PATH": os.environ["PATH"]})
    found = json.loads(result.out)

    assert (result.code, result.err) == (0, "")
    assert {"kernel", "namespaces", "cgroups", "user ids", "security"} <= set(found)
    assert {row["what"]: row["able"] for row in found["namespaces"]}["pid namespace"]
    assert start("check", env={}).out.endswith("containers can run here\n")
    assert start("check", "--format", "xml").code == 1
