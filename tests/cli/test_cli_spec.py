from __future__ import annotations

import json
import os

import pytest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Result

    Run = Callable[..., Result]


def test_the_default_config(pyrunc: Run, tmp_path: Path) -> None:
    result = pyrunc("spec", cwd=tmp_path)

    text = (tmp_path / "config.json").read_text()
    assert (result.code, result.out, result.err) == (0, "", "")
    assert text.startswith('{\n\t"ociVersion": "1.3.0",\n\t"process": {\n\t\t"terminal": true,\n')
    assert not text.endswith("\n")
    config = json.loads(text)
    assert list(config) == ["ociVersion", "process", "root", "hostname", "mounts", "linux"]
    assert config["process"]["args"] == ["sh"]
    assert "ambient" not in config["process"]["capabilities"]
    assert [mount["destination"] for mount in config["mounts"]] == [
        "/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys", "/sys/fs/cgroup",
    ]  # fmt: skip
    types = [entry["type"] for entry in config["linux"]["namespaces"]]
    assert types[:5] == ["pid", "network", "ipc", "uts", "mount"]
    assert config["linux"]["resources"] == {"devices": [{"allow": False, "access": "rwm"}]}


def test_it_goes_into_the_bundle_with_the_umask(pyrunc: Run, tmp_path: Path) -> None:
    pyrunc("spec", "-b", tmp_path, umask=0o027)

    assert (tmp_path / "config.json").stat().st_mode & 0o777 == 0o640


def test_a_config_is_never_overwritten(pyrunc: Run, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("mine")
    result = pyrunc("spec", "--bundle", tmp_path)

    assert result.code == 1
    assert 'msg="File config.json exists. Remove it first"' in result.err
    assert (tmp_path / "config.json").read_text() == "mine"


def test_a_bundle_that_is_missing(pyrunc: Run, tmp_path: Path) -> None:
    result = pyrunc("spec", "--bundle", tmp_path / "none")

    assert f'msg="chdir {tmp_path}/none: no such file or directory"' in result.err
    assert result.code == 1


def test_rootless(pyrunc: Run, tmp_path: Path) -> None:
    pyrunc("spec", "--rootless", cwd=tmp_path)

    config = json.loads((tmp_path / "config.json").read_text())
    linux = config["linux"]
    types = [entry["type"] for entry in linux["namespaces"]]
    assert "network" not in types
    assert types[-1] == "user"
    assert linux["uidMappings"] == [{"containerID": 0, "hostID": os.geteuid(), "size": 1}]
    assert linux["gidMappings"] == [{"containerID": 0, "hostID": os.getegid(), "size": 1}]
    assert "resources" not in linux
    mounts = {mount["destination"]: mount for mount in config["mounts"]}
    assert mounts["/sys"] == {
        "destination": "/sys", "type": "none", "source": "/sys",
        "options": ["rbind", "nosuid", "noexec", "nodev", "ro"],
    }  # fmt: skip
    assert "gid=5" not in mounts["/dev/pts"]["options"]
    assert "options" not in mounts["/proc"]


def test_features_tell_what_there_is(pyrunc: Run) -> None:
    result = pyrunc("features")

    assert (result.code, result.err) == (0, "")
    assert result.out.startswith(
        '{\n    "ociVersionMin": "1.0.0",\n    "ociVersionMax": "1.3.0",\n    "hooks": [\n'
    )
    assert result.out.endswith("\n}\n")
    features = json.loads(result.out)
    assert list(features) == [
        "ociVersionMin", "ociVersionMax", "hooks", "mountOptions", "linux", "annotations",
        "potentiallyUnsafeConfigAnnotations",
    ]  # fmt: skip
    options = features["mountOptions"]
    assert options == sorted(options)
    assert {"rro", "rnodev", "tmpcopyup", "rbind", "idmap", "ridmap"} <= set(options)
    linux = features["linux"]
    assert linux["namespaces"] == ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"]
    assert (linux["capabilities"][0], linux["capabilities"][-1]) == ("CAP_CHOWN", "CAP_CHECKPOINT_RESTORE")
    assert linux["cgroup"] == {"v1": True, "v2": True, "systemd": True, "systemdUser": True, "rdma": True}
    for name in ("seccomp", "apparmor", "selinux", "intelRdt", "netDevices"):
        assert linux[name]["enabled"] is True
    assert linux["mountExtensions"] == {"idmap": {"enabled": True}}
    assert "MPOL_WEIGHTED_INTERLEAVE" in linux["memoryPolicy"]["modes"]
    assert "MPOL_F_STATIC_NODES" in linux["memoryPolicy"]["flags"]


def test_features_are_the_same_everywhere(pyrunc: Run) -> None:
    assert pyrunc("features").out == pyrunc("features", env={}).out


def test_features_fail_without_a_reader(pyrunc: Run) -> None:
    with open("/dev/full", "wb") as full:
        assert pyrunc("features", stdout=full).code == 1


@pytest.mark.parametrize("name", ["spec", "features"])
def test_no_arguments_are_taken(pyrunc: Run, name: str) -> None:
    assert f'\\"{name}\\" requires exactly 0 argument(s)' in pyrunc(name, "x").err
