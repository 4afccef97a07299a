"""The bundle, config.json as JSON, its version, unknown and invalid values, the root file system, annotations."""

from __future__ import annotations

import json
import os

import pytest
from lib.bundle import Unset
from lib.runtime import new_id

req = pytest.mark.req


def create_from(runtime, bundle, data: bytes):
    """`create` with exactly these bytes as config.json."""
    (bundle.path / "config.json").write_bytes(data)
    return runtime.cmd("create", "--bundle", bundle.path, new_id())


def refused_bytes(runtime, bundle, data: bytes) -> None:
    with runtime.assert_untouched():
        result = create_from(runtime, bundle, data)
        assert result.code != 0, f"accepted: {result}"
        assert result.err.strip()
        assert "Traceback (most" not in result.said
        assert "panic:" not in result.said


# ---- JSON ----


@req("GL-1")
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "utf-8-sig"])
def test_config_in_another_encoding(runtime, bundle, encoding):
    refused_bytes(runtime, bundle, json.dumps(bundle.config).encode(encoding))


@req("GL-1")
def test_config_with_bytes_that_are_no_utf8(runtime, bundle):
    refused_bytes(
        runtime,
        bundle,
        json.dumps(bundle.config).replace("spec-tests", "x@x").encode().replace(b"@", b"\xff"),
    )


@req("GL-1")
def test_config_with_characters_beyond_ascii(runtime, bundle):
    seen = runtime.report(bundle.add("process.env", "A=\u00fc\u4e16\U0001f600"))
    assert "A=\u00fc\u4e16\U0001f600".encode().decode("latin-1") in seen.env


@req("GL-2")
def test_duplicate_names_are_refused_or_one_counts(runtime, bundle):
    """The rule binds the bundle; a runtime may reject it, and pyrunc does."""
    text = json.dumps(bundle.probe("report").config)
    data = text[:-1] + ', "hostname": "second"}'
    (bundle.path / "config.json").write_text(data)
    result = runtime.cmd("run", "--bundle", bundle.path, new_id())
    if result.code == 0:
        assert result.seen["hostname"] in {"spec-tests", "second"}


@req("GL-3")
def test_order_of_members_has_no_meaning(runtime, bundle):
    def reverse(node: object) -> object:
        if isinstance(node, dict):
            return {key: reverse(node[key]) for key in reversed(node)}
        return [reverse(item) for item in node] if isinstance(node, list) else node

    straight = runtime.report(bundle)
    other = runtime.bundle().probe("report")
    other.config = reverse(other.config)
    turned = runtime.report(other)
    for key in ("argv", "env", "hostname", "uids"):
        assert straight[key] == turned[key]
    assert [m.place for m in straight.mounts] == [m.place for m in turned.mounts]


@req("BU-1", "EX-3")
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"x"',
        b"{}",
        b"7",
        b"{'a': 1}",
        b'{"ociVersion": "1.0.2"',
        b"\0",
        b"[" * 100000,
    ],
    ids=["empty", "brace", "null", "list", "string", "object", "number", "quotes", "cut", "nul", "deep"],
)
def test_config_that_is_no_config(runtime, bundle, data):
    refused_bytes(runtime, bundle, data)


@req("EX-3")
@pytest.mark.parametrize("literal", ["NaN", "Infinity", "1e400", "-", "01", "0x1"])
def test_numbers_that_json_has_not(runtime, bundle, literal):
    text = json.dumps(bundle.set("linux.resources.pids", {"limit": 424242}).config)
    refused_bytes(runtime, bundle, text.replace("424242", literal).encode())


# ---- bundle ----


@req("BU-1")
@pytest.mark.parametrize(
    "name", [None, "Config.json", "config.json/"], ids=["missing", "other case", "directory"]
)
def test_config_json_has_one_name_and_place(runtime, bundle, name):
    if name == "config.json/":
        (bundle.path / "config.json").mkdir()
    elif name:
        (bundle.path / name).write_text(json.dumps(bundle.config))
    runtime.fails("create", "--bundle", bundle.path, new_id())


@req("BU-2", "RO-2")
def test_root_outside_of_the_bundle(runtime, bundle):
    elsewhere = runtime.work / "elsewhere"
    bundle.rootfs.rename(elsewhere)
    assert runtime.report(bundle.set("root.path", str(elsewhere)))["cwd"] == "/"


# ---- version ----


@req("CV-1", "EX-3")
@pytest.mark.parametrize(
    "version", [Unset, "", "invalid", "1", "1.0", "v1.0.2", "1.0.2.3", "01.0.2", " 1.0.2", "1.0.2\n", 1, None]
)
def test_version_that_is_no_semver(runtime, bundle, version):
    runtime.refuses(bundle.set("ociVersion", version))


@req("CV-2", "EX-3")
@pytest.mark.parametrize("version", ["2.0.0", "0.6.0"])
def test_version_of_another_major(runtime, bundle, version):
    runtime.refuses(bundle.set("ociVersion", version))


@req("CV-2", "FE-4")
@pytest.mark.parametrize(
    "version", ["1.0.0", "1.0.2", "1.0.2-dev", "1.1.0", "1.2.1", "1.3.0", "1.3.0+dev", "1.2.0-rc.1"]
)
def test_version_of_this_major(runtime, bundle, version):
    assert runtime.report(bundle.set("ociVersion", version))["cwd"] == "/"


# ---- extensibility, valid values ----


@req("EX-1", "EX-2")
@pytest.mark.parametrize(
    "where",
    [
        "foo",
        "process.foo",
        "process.user.foo",
        "root.foo",
        "linux.foo",
        "linux.resources.foo",
        "linux.resources.cpu.foo",
    ],
)
@pytest.mark.parametrize("value", [1, {"a": [None]}], ids=["number", "object"])
def test_unknown_property_is_ignored(runtime, bundle, where, value):
    assert runtime.report(bundle.set(where, value))["cwd"] == "/"


@req("EX-2", "AN-6")
def test_unknown_property_in_a_mount_and_a_namespace(runtime, bundle):
    bundle.mount("/data", foo={"bar": 1}).config["linux"]["namespaces"][0]["foo"] = 1
    assert runtime.report(bundle.set("annotations", {"org.example.foo": "x"})).mount("/data").kind == "tmpfs"


WRONG = {
    "process": "x",
    "process.args": "probe",
    "process.args.0": [1],
    "process.env": {"A": "1"},
    "process.terminal": "yes",
    "process.user": [],
    "process.user.uid": "0",
    "process.user.gid": 1.5,
    "process.cwd": 7,
    "process.noNewPrivileges": "true",
    "process.oomScoreAdj": "1",
    "process.capabilities": ["CAP_KILL"],
    "process.capabilities.bounding": "CAP_KILL",
    "process.rlimits": {},
    "root": "rootfs",
    "root.path": 1,
    "root.readonly": "no",
    "hostname": 5,
    "mounts": {},
    "annotations": [],
    "hooks": [],
    "hooks.prestart": {},
    "linux": [],
    "linux.namespaces": {"type": "pid"},
    "linux.devices": {},
    "linux.uidMappings": {},
    "linux.resources": [],
    "linux.resources.memory": 1,
    "linux.resources.memory.limit": "1",
    "linux.resources.pids.limit": 1.5,
    "linux.resources.devices": {},
    "linux.cgroupsPath": 1,
    "linux.sysctl": [],
    "linux.maskedPaths": "/x",
    "linux.readonlyPaths": [1],
    "linux.rootfsPropagation": 1,
}


@req("EX-3", "CR-7", "CR-8")
@pytest.mark.parametrize("where", WRONG)
def test_value_of_the_wrong_type(runtime, bundle, where):
    value = WRONG[where]
    runtime.refuses(bundle.set(where.removesuffix(".0"), value))


@req("EX-3")
@pytest.mark.parametrize("where", ["process.cwd", "hostname", "root.path", "linux.cgroupsPath"])
def test_nul_in_a_string(runtime, bundle, where):
    runtime.refuses(bundle.set(where, "/a\0b"))


@req("EX-4", "FE-1")
def test_features_says_which_values_are_supported(runtime):
    document = runtime.raw("features").json()
    assert document["mountOptions"]
    assert document["linux"]["namespaces"]


@req("PL-1", "NS-7")
def test_config_without_a_linux_section_leaves_the_host_alone(runtime, bundle):
    """All namespaces are inherited then; refusing is right as long as nothing of the caller's changes."""
    bundle.set("linux", Unset).set("mounts", []).set("hostname", Unset)
    with runtime.assert_untouched():
        result = runtime.try_run(bundle.probe("report"))
        if result.code == 0:
            assert result.seen["cwd"] == "/"


@req("PL-1")
def test_null_is_the_same_as_absent(runtime, bundle):
    for where in (
        "hooks",
        "annotations",
        "process.rlimits",
        "linux.devices",
        "linux.sysctl",
        "linux.maskedPaths",
    ):
        bundle.set(where, None)
    assert runtime.report(bundle)["cwd"] == "/"


# ---- root ----


@req("RO-1")
def test_root_is_required(runtime, bundle):
    runtime.refuses(bundle.set("root", Unset))


@req("RO-2", "RO-4")
@pytest.mark.parametrize("path", [Unset, "", "absent", "probe-file", "/nonexistent/rootfs"])
def test_root_path_that_is_no_directory(runtime, bundle, path):
    (bundle.path / "probe-file").touch()
    runtime.refuses(bundle.set("root.path", path))


@req("RO-2", "RO-3")
@pytest.mark.parametrize("form", ["relative", "absolute", "dot", "deep"])
def test_root_path_forms(runtime, bundle, form):
    match form:
        case "absolute":
            bundle.set("root.path", str(bundle.rootfs))
        case "dot":
            for name in os.listdir(bundle.rootfs):
                (bundle.rootfs / name).rename(bundle.path / name)
            bundle.set("root.path", ".")
        case "deep":
            (bundle.path / "a").mkdir()
            bundle.rootfs.rename(bundle.path / "a/b")
            bundle.set("root.path", "a/b")
    assert runtime.report(bundle, "stat", "/probe").step("stat").err == ""


@req("RO-5")
def test_readonly_root(runtime, bundle):
    bundle.set("root.readonly", True).mount("/tmp")
    seen = runtime.report(
        bundle, "write", "/x", "x", "mkdir", "/y", "write", "/tmp/x", "x", "write", "/dev/shm/x", "x"
    )
    assert [step.err for step in seen.steps] == ["EROFS", "EROFS", "", ""]
    assert not (bundle.rootfs / "x").exists()


@req("RO-5")
@pytest.mark.parametrize("value", [Unset, False])
def test_root_is_writable_by_default(runtime, bundle, value):
    assert runtime.report(bundle.set("root.readonly", value), "write", "/x", "x").step("write").err == ""
    assert (bundle.rootfs / "x").exists()


# ---- annotations ----


@req("AN-1", "AN-7", "EX-3")
@pytest.mark.parametrize(
    "annotations",
    [["a"], "x", {"k": 5}, {"k": {}}, {"k": True}],
    ids=["list", "string", "number", "object", "bool"],
)
def test_annotations_of_the_wrong_type(runtime, bundle, annotations):
    runtime.refuses(bundle.set("annotations", annotations))


@req("AN-2")
def test_annotation_with_an_empty_key(runtime, bundle):
    runtime.refuses(bundle.set("annotations", {"": "x"}))


@req("AN-3", "AN-4", "AN-5", "AN-6", "AN-7", "AN-8", "FE-8")
def test_annotations_are_taken_as_they_are(runtime, bundle):
    annotations = {
        "org.opencontainers.image.os": "linux",
        "org.opencontainers.image.stopSignal": "SIGUSR1",
        "com.example.unknown": "",
        "short": "a\nb\u00fc",
    }
    assert runtime.create(bundle.set("annotations", annotations)).state()["annotations"] == annotations
