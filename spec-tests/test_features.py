"""The features document: its form, and that what it names is really supported."""

from __future__ import annotations

import os
import re

import pytest
from lib import host

req = pytest.mark.req
TOP = {"ociVersionMin", "ociVersionMax", "hooks", "mountOptions", "linux", "annotations"}
TOP |= {"potentiallyUnsafeConfigAnnotations"}
LINUX = {"namespaces", "capabilities", "cgroup", "seccomp", "apparmor", "selinux", "intelRdt", "memoryPolicy"}
LINUX |= {"mountExtensions", "netDevices"}
STAGES = {"prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"}


@pytest.fixture
def features(runtime) -> dict:
    result = runtime.raw("features")
    assert result.code == 0, str(result)
    return result.json()


def version(text: str) -> tuple[int, ...]:
    return tuple(int(n) for n in re.match(r"(\d+)\.(\d+)\.(\d+)", text).groups())


@req("FE-1", "FE-4")
def test_versions(features):
    assert version(features["ociVersionMin"]) <= version(features["ociVersionMax"])


@req("FE-4", "CV-2")
@pytest.mark.parametrize("which", ["ociVersionMin", "ociVersionMax"])
def test_versions_are_accepted_in_a_config(runtime, bundle, features, which):
    runtime.create(bundle.set("ociVersion", features[which]))


@req("FE-2")
def test_document_does_not_depend_on_the_caller(runtime, features):
    poor = runtime.raw("features", env={}, prefix=("unshare", "-n", "-i", "-u"))
    assert poor.json() == features
    assert poor.err == ""


@req("FE-3")
def test_nothing_is_null(features):
    def nulls(node: object, where: str) -> list[str]:
        if node is None:
            return [where]
        items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        return [found for key, value in items for found in nulls(value, f"{where}.{key}")]

    assert nulls(features, "") == []


@req("FE-5")
def test_only_properties_of_the_spec(features):
    if version(features["ociVersionMax"]) < (1, 3, 0):
        pytest.skip("needs a document of 1.3.0")
    assert set(features) <= TOP
    assert set(features["linux"]) <= LINUX


@req("FE-6")
def test_hook_stages(features):
    assert set(features["hooks"]) == STAGES


@req("FE-7", "MO-6")
def test_mount_options_that_must_be_there(features):
    must = """async atime bind defaults dev diratime dirsync exec iversion lazytime loud noatime nodev nodiratime
    noexec noiversion nolazytime norelatime nostrictatime nosuid private rbind relatime remount ro rprivate rshared
    rslave runbindable rw shared silent slave strictatime suid sync unbindable"""
    assert set(must.split()) <= set(features["mountOptions"])


@req("FE-7")
def test_every_mount_option_is_recognised(runtime, bundle, features):
    """On a bind mount an option that is not recognised would be data, which its file system would not take."""
    other = "remount bind rbind idmap ridmap tmpcopyup iversion noiversion mand nomand silent loud defaults"
    source = runtime.work / "src"
    source.mkdir()
    options = sorted(set(features["mountOptions"]) - set(other.split()))
    for option in options:
        bundle.mount(f"/m/{option}", None, source, ["rbind", option])
    places = {m.place for m in runtime.report(bundle).mounts}
    assert {f"/m/{option}" for option in options} <= places


@req("FE-8")
def test_annotations(features):
    assert all(key and isinstance(value, str) for key, value in features.get("annotations", {}).items())


@req("FE-9")
def test_unsafe_annotations(features):
    assert all(
        isinstance(name, str) and name for name in features.get("potentiallyUnsafeConfigAnnotations", [])
    )


@req("FL-1", "LP-2")
def test_capabilities_are_recognised(runtime, bundle, features):
    names = features["linux"]["capabilities"]
    assert set(names) <= {f"CAP_{name}" for name in host.CAPS}
    held = [name for name in names if host.bounding() >> host.CAPS.index(name.removeprefix("CAP_")) & 1]
    caps = runtime.report(bundle.caps(*held)).caps
    assert caps["Eff"] == host.mask_of(*held)


@req("FL-1", "NS-1")
def test_namespaces_are_recognised(runtime, bundle, features):
    kinds = set(features["linux"]["namespaces"])
    assert {"pid", "network", "mount", "ipc", "uts", "user", "cgroup"} <= kinds
    for kind in kinds - {"user"}:
        if os.path.exists(f"/proc/self/ns/{kind.replace('network', 'net').replace('mount', 'mnt')}"):
            bundle.ns(kind)
    runtime.report(bundle)


@req("FL-2", "FL-4", "FL-6")
def test_enabled_flags_are_booleans(features):
    linux = features["linux"]
    assert linux["cgroup"]["v1"] is True or linux["cgroup"]["v2"] is True
    for name in ("apparmor", "selinux", "intelRdt", "netDevices", "seccomp"):
        assert type(linux.get(name, {}).get("enabled", False)) is bool
    assert type(linux.get("mountExtensions", {}).get("idmap", {}).get("enabled", False)) is bool


@req("FL-3", "FL-4", "FL-5", "EX-4")
def test_what_is_not_enabled_is_refused(runtime, bundle, features):
    """A config that asks for a part which the document says is absent must not be taken in silence."""
    asked = {
        "seccomp": {"defaultAction": "SCMP_ACT_ALLOW"},
        "intelRdt": {"closID": "x"},
        "netDevices": {"no-such-link": {}},
        "memoryPolicy": {"mode": "MPOL_DEFAULT"},
    }
    linux = features["linux"]
    off = [name for name in asked if not linux.get(name) or linux[name].get("enabled") is False]
    if not off:
        pytest.skip("needs a part that is not enabled")
    for name in off:
        other = runtime.bundle().set(f"linux.{name}", asked[name])
        assert runtime.try_create(other).code != 0, f"{name} was taken"
