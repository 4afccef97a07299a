"""Devices listed and default ones, and what the devices cgroup allows."""

from __future__ import annotations

import os
import stat

import pytest
from lib import host
from lib.bundle import Unset

req = pytest.mark.req
DEFAULTS = {
    "null": (1, 3),
    "zero": (1, 5),
    "full": (1, 7),
    "random": (1, 8),
    "urandom": (1, 9),
    "tty": (5, 0),
}


@req("DD-1", "DV-1")
@pytest.mark.parametrize("name", DEFAULTS)
def test_default_device(runtime, bundle, name):
    shown = runtime.report(bundle, "stat", f"/dev/{name}").step("stat")
    assert (shown["type"], shown["major"], shown["minor"], shown["mode"]) == ("char", *DEFAULTS[name], 0o666)
    assert (shown["uid"], shown["gid"]) == (0, 0)


@req("DD-1")
def test_default_devices_work(runtime, bundle):
    """Also with a cgroup that denies every device."""
    bundle.set("process.user", {"uid": 1000, "gid": 1000})
    steps = ["write", "/dev/null", "x", "write", "/dev/full", "x", "write", "/dev/zero", "x"]
    for name in ("zero", "full", "random", "urandom"):
        steps += ["open", f"/dev/{name}", "r"]
    seen = runtime.report(bundle, *steps)
    assert [s.err for s in seen.steps] == ["", "ENOSPC", "", "", "", "", ""]
    assert [s["read"] for s in seen.steps[3:]] == [1, 1, 1, 1]


@req("DD-1")
def test_default_devices_when_the_image_has_dev(runtime, bundle):
    bundle.config["mounts"] = [m for m in bundle.config["mounts"] if not m["destination"].startswith("/dev")]
    seen = runtime.report(bundle, "stat", "/dev/null", "write", "/dev/null", "x")
    assert seen.step("stat")["type"] == "char"
    assert seen.step("write").err == ""


@req("DD-3")
def test_ptmx(runtime, bundle):
    seen = runtime.report(bundle, "stat", "/dev/ptmx", "open", "/dev/ptmx", "rw")
    assert seen.step("stat")["target"] == "pts/ptmx"
    assert seen.step("open").err == ""


@req("DV-1", "DV-3", "DV-6")
@pytest.mark.parametrize(
    ("device", "wanted"),
    [
        ({"path": "/dev/c", "type": "c", "major": 10, "minor": 229}, ("char", 10, 229)),
        ({"path": "/dev/u", "type": "u", "major": 1, "minor": 3}, ("char", 1, 3)),
        ({"path": "/dev/b", "type": "b", "major": 7, "minor": 0}, ("block", 7, 0)),
        ({"path": "/dev/p", "type": "p"}, ("fifo", 0, 0)),
        ({"path": "/foo/deep/bar", "type": "c", "major": 1, "minor": 5}, ("char", 1, 5)),
        ({"path": "/dev/sub/x", "type": "c", "major": 4, "minor": 255}, ("char", 4, 255)),
    ],
    ids=lambda v: v["path"] if isinstance(v, dict) else "",
)
def test_device(runtime, bundle, device, wanted):
    device = device | {"fileMode": 0o640, "uid": 3, "gid": 4}
    shown = runtime.report(bundle.add("linux.devices", device), "stat", device["path"]).step("stat")
    assert (shown["type"], shown["major"], shown["minor"]) == wanted
    assert (shown["mode"], shown["uid"], shown["gid"]) == (0o640, 3, 4)


@req("DV-6")
@pytest.mark.parametrize(
    ("mode", "shown"), [(438, 0o666), (8630, 0o666), (8576, 0o600), (0, 0), (Unset, 0o666)]
)
def test_file_mode(runtime, bundle, mode, shown):
    """Callers send the S_IFCHR bits along; without a mode runc has 0666."""
    device = {"path": "/dev/x", "type": "c", "major": 1, "minor": 3} | (
        {} if mode is Unset else {"fileMode": mode}
    )
    assert runtime.report(bundle.add("linux.devices", device), "stat", "/dev/x").step("stat")["mode"] == shown


@req("DV-3", "DV-5", "EX-3")
@pytest.mark.parametrize(
    "device",
    [
        {"path": "/dev/x", "type": "z", "major": 1, "minor": 3},
        {"path": "/dev/x", "type": "", "major": 1, "minor": 3},
        {"path": "/dev/x", "major": 1, "minor": 3},
        {"type": "c", "major": 1, "minor": 3},
        {"path": "", "type": "c", "major": 1, "minor": 3},
        {"path": "/dev/x", "type": "c\n", "major": 1, "minor": 3},
        {"path": "/dev/x", "type": "c", "major": "1", "minor": 3},
        {"path": "/dev/x", "type": "c", "major": -1, "minor": 3},
    ],
    ids=lambda d: repr(sorted(d.items()))[:60],
)
def test_device_that_is_none(runtime, bundle, device):
    runtime.refuses(bundle.add("linux.devices", device))


@req("DV-5")
@pytest.mark.parametrize("kind", ["c", "b", "u"])
@pytest.mark.parametrize("given", [{}, {"major": 1}, {"minor": 3}], ids=str)
def test_device_needs_its_numbers(runtime, bundle, kind, given):
    runtime.refuses(bundle.add("linux.devices", {"path": "/dev/x", "type": kind, **given}))


@req("DV-4")
@pytest.mark.parametrize("what", ["file", "directory", "other device"])
def test_device_at_a_path_that_holds_something_else(runtime, bundle, what):
    path = bundle.rootfs / "here"
    match what:
        case "file":
            path.write_text("content")
        case "directory":
            path.mkdir()
        case "other device":
            os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 5))
    runtime.refuses(bundle.add("linux.devices", {"path": "/here", "type": "c", "major": 1, "minor": 3}))
    if what == "file":
        assert path.read_text() == "content"


@req("DV-4")
def test_device_at_a_path_that_holds_it_already(runtime, bundle):
    os.mknod(bundle.rootfs / "here", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    device = {"path": "/here", "type": "c", "major": 1, "minor": 3}
    shown = runtime.report(bundle.add("linux.devices", device), "stat", "/here").step("stat")
    assert (shown["type"], shown["major"], shown["minor"]) == ("char", 1, 3)


@req("DV-7")
def test_two_paths_of_one_device(runtime, bundle):
    for path in ("/dev/x", "/dev/y"):
        bundle.add("linux.devices", {"path": path, "type": "c", "major": 1, "minor": 3})
    seen = runtime.report(bundle, "stat", "/dev/x", "stat", "/dev/y")
    assert [(s["major"], s["minor"]) for s in seen.steps] == [(1, 3), (1, 3)]


@req("DV-1", "DD-1")
def test_listed_device_with_the_path_of_a_default_one(runtime, bundle):
    bundle.add(
        "linux.devices",
        {"path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o644, "gid": 5},
    )
    bundle.add(
        "linux.resources.devices", {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rwm"}
    )
    shown = runtime.report(bundle, "stat", "/dev/null").step("stat")
    assert (shown["mode"], shown["gid"]) == (0o644, 5)


@req("DV-3")
def test_device_path_stays_inside_the_root(runtime, bundle):
    marker = runtime.work / "x"
    (bundle.rootfs / "link").symlink_to(runtime.work)
    bundle.add("linux.devices", {"path": "/link/x", "type": "c", "major": 1, "minor": 3})
    runtime.try_run(bundle.probe("report"))
    assert not marker.exists()


# ---- the devices cgroup ----


def attempts(bundle, rules: list[dict]):
    """A container that may mknod, under these rules; it tries to make and open a node of 10:229."""
    bundle.caps("MKNOD").set("linux.resources.devices", rules)
    return ["mknod", "/dev/new", "c", "10", "229", "open", "/dev/new", "rw"]


DENY = {"allow": False, "access": "rwm"}


@req("DV-8", "DA-1")
@pytest.mark.only_if("devices")
def test_devices_that_are_not_allowed_cannot_be_opened(runtime, bundle):
    seen = runtime.report(bundle, *attempts(bundle, [DENY]))
    assert seen.step("mknod").err == ""  # mknod of any is a default rule of runc's and crun's
    assert seen.step("open").err == "EPERM"


@req("DA-1")
@pytest.mark.only_if("devices")
@pytest.mark.parametrize("last", ["allow", "deny"])
def test_rules_apply_in_their_order(runtime, bundle, last):
    allow = {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rwm"}
    rules = [DENY, allow] if last == "allow" else [DENY, allow, allow | {"allow": False}]
    seen = runtime.report(bundle, *attempts(bundle, rules))
    assert (seen.step("open").err == "EPERM") == (last == "deny")


@req("DA-2")
@pytest.mark.only_if("devices")
@pytest.mark.parametrize(
    "rule",
    [
        {"allow": True, "access": "rwm"},
        {"allow": True, "type": "a", "access": "rwm"},
        {"allow": True, "type": "c", "access": "rwm"},
        {"allow": True, "type": "c", "major": 10, "access": "rwm"},
        {"allow": True, "type": "c", "minor": 229, "access": "rw"},
        {"allow": True, "type": "c", "major": -1, "minor": -1, "access": "rw"},
    ],
    ids=lambda r: "-".join(map(str, r.values())),
)
def test_rule_with_wildcards(runtime, bundle, rule):
    assert runtime.report(bundle, *attempts(bundle, [DENY, rule])).step("open").err != "EPERM"


@req("DA-2")
@pytest.mark.only_if("devices")
def test_access_is_what_was_allowed(runtime, bundle):
    bundle.add(
        "linux.devices", {"path": "/dev/mem2", "type": "c", "major": 1, "minor": 11, "fileMode": 0o666}
    )
    bundle.set(
        "linux.resources.devices",
        [DENY, {"allow": True, "type": "c", "major": 1, "minor": 11, "access": "w"}],
    )
    seen = runtime.report(bundle, "open", "/dev/mem2", "r", "open", "/dev/mem2", "w")
    assert [s.err for s in seen.steps] == ["EPERM", ""]


@req("DA-1", "DA-2", "DV-8")
@pytest.mark.only_if("cgroup-v2")
@pytest.mark.parametrize(
    "rules", [[], [DENY], [DENY, {"allow": True, "type": "b", "access": "rwm"}]], ids=len
)
def test_default_devices_and_no_other(runtime, bundle, rules):
    """Where no list of rules can be read, the container tries: also without any rule in the config."""
    opened = ("open", "/dev/null", "rw", "open", "/dev/zero", "r", "open", "/dev/tty2", "w")
    bundle.add(
        "linux.devices", {"path": "/dev/tty2", "type": "c", "major": 1, "minor": 11, "fileMode": 0o666}
    )
    if rules:
        bundle.set("linux.resources.devices", rules)
    assert [step.err for step in runtime.report(bundle, *opened).steps] == ["", "", "EPERM"]


@req("DA-2", "EX-3")
@pytest.mark.parametrize(
    "rule",
    [
        {"type": "c", "access": "r"},
        {"allow": True, "type": "z", "access": "r"},
        {"allow": True, "type": "c", "access": "q"},
        {"allow": "yes", "access": "r"},
        {"allow": True, "type": "c", "major": "1", "access": "r"},
    ],
    ids=lambda r: "-".join(map(str, r.values())),
)
def test_rule_that_is_none(runtime, bundle, rule):
    runtime.refuses(bundle.set("linux.resources.devices", [DENY, rule]))


@req("DD-1", "DV-8", "CLI-DEVICES-1")
@pytest.mark.only_if("v1:devices")
def test_default_rules(runtime, bundle):
    """After the config's rules, so that they cannot be denied."""
    c = runtime.create(
        bundle.set(
            "linux.resources.devices",
            [{"allow": True, "type": "b", "major": 8, "minor": 1, "access": "r"}, DENY],
        )
    )
    rules = set((host.cgroup_of(c.pid, "devices") / "devices.list").read_text().splitlines())
    wanted = {f"c {major}:{minor} rwm" for major, minor in DEFAULTS.values()} | {
        "c *:* m",
        "b *:* m",
        "c 136:* rwm",
        "c 5:2 rwm",
    }
    assert wanted <= rules
    assert rules <= wanted | {"c 10:200 rwm", "c 5:1 rwm"}
