"""Mounts of a container that lives already, added and removed (crun's `mounts`); CLI.md has the ids."""

from __future__ import annotations

import json
import os
import pathlib

import pytest
from lib.runtime import poll

req, cve = pytest.mark.req, pytest.mark.cve


def mounts(runtime, verb: str, container, *entries: dict, **how):
    file = runtime.work / "mounts.json"
    file.write_text(json.dumps({"mounts": list(entries)}))
    return runtime.cmd("mounts", verb, container.id, file, **how)


def bind(source, destination: str, *options: str) -> dict:
    return {"destination": destination, "source": str(source), "type": "bind", "options": ["rbind", *options]}


def inside(runtime, container, *command: str):
    return runtime.cmd("exec", container.id, *command)


@pytest.fixture
def living(runtime, bundle):
    if runtime.raw("help", "mounts").out.count("mounts") == 0:
        pytest.skip("needs a runtime with mounts")
    return runtime.running(bundle.args("/bin/sleep", "60"))


@pytest.fixture
def data(runtime) -> pathlib.Path:
    made = runtime.work / "data"
    made.mkdir()
    (made / "file").write_text("from the host\n")
    return made


@req("CLI-CRUN-5", "CLI-LOG-4")
def test_add_and_remove(runtime, living, data):
    host = runtime.snapshot().mounts
    added = mounts(runtime, "add", living, bind(data, "/data/deep", "ro"))
    assert (added.code, added.said) == (0, "")
    assert inside(runtime, living, "/bin/cat", "/data/deep/file").out == "from the host\n"
    assert "Read-only" in inside(runtime, living, "/bin/sh", "-c", "echo x > /data/deep/file").err
    assert runtime.snapshot().mounts == host
    removed = mounts(runtime, "remove", living, {"destination": "/data/deep"})
    assert (removed.code, removed.said) == (0, "")
    assert inside(runtime, living, "/bin/cat", "/data/deep/file").code != 0
    assert living.status == "running"


@req("CLI-CRUN-5")
def test_a_file_and_a_new_file_system(runtime, living, data):
    tmpfs = {
        "destination": "/t",
        "type": "tmpfs",
        "source": "tmpfs",
        "options": ["size=64k", "nosuid", "mode=0700"],
    }
    result = mounts(runtime, "add", living, bind(data / "file", "/etc/one"), tmpfs)
    assert result.code == 0, str(result)
    assert inside(runtime, living, "/bin/cat", "/etc/one").out == "from the host\n"
    table = inside(runtime, living, "/bin/cat", "/proc/mounts").out
    (line,) = [line for line in table.splitlines() if line.split()[1] == "/t"]
    assert {"nosuid", "size=64k", "mode=700"} <= set(line.split()[3].split(","))


@req("CLI-CRUN-5", "T11")
@cve("CVE-2025-52881", "CVE-2021-30465")
def test_links_of_the_container_lead_nowhere_else(runtime, bundle, data):
    """Destinations are resolved below the container's root, by what it holds at that moment."""
    (bundle.rootfs / "out").symlink_to("/../../../../../" + str(runtime.work))
    (bundle.rootfs / "proclink").symlink_to("/proc")
    if runtime.raw("help", "mounts").out.count("mounts") == 0:
        pytest.skip("needs a runtime with mounts")
    c = runtime.running(bundle.set("linux.maskedPaths", ["/proc/kcore"]).args("/bin/sleep", "60"))
    host = runtime.snapshot().mounts
    assert mounts(runtime, "add", c, bind(data, "/out/x")).code == 0
    assert runtime.snapshot().mounts == host
    assert (bundle.rootfs / str(runtime.work)[1:] / "x").is_dir()
    assert mounts(runtime, "add", c, bind(data / "file", "/proclink/uptime")).code != 0
    refused = mounts(runtime, "remove", c, {"destination": "/proclink/kcore"})
    assert refused.code == 1
    assert "mounts[0].destination" in refused.err
    assert inside(runtime, c, "/bin/cat", "/proc/kcore").out == ""
    assert c.status == "running"


SWAPPER = """\
for name in mkdir mv ln rm; do alias $name="/bin/busybox $name"; done
mkdir -p /a/kcore
while :; do mv /a /b; ln -s /proc /a; rm /a; mv /b /a; done"""


@req("CLI-CRUN-5", "T11")
@cve("CVE-2025-52881", "CVE-2021-30465")
def test_a_path_that_changes_all_the_time(runtime, bundle):
    """umount2(2) takes a path: nothing may swap a part of it for a link behind the look at it."""
    if runtime.raw("help", "mounts").out.count("mounts") == 0:
        pytest.skip("needs a runtime with mounts")
    bundle.set("linux.maskedPaths", ["/proc/kcore"]).args("/bin/sh", "-c", SWAPPER)
    c = runtime.running(bundle)
    assert poll((bundle.rootfs / "a").is_symlink)
    for _ in range(25):
        assert mounts(runtime, "remove", c, {"destination": "/a/kcore"}).code == 1
    assert inside(runtime, c, "/bin/cat", "/proc/kcore").out == ""
    assert c.status == "running"


@req("CLI-CRUN-5")
@pytest.mark.only_if("idmap")
def test_in_a_user_namespace(runtime, bundle, data):
    if runtime.raw("help", "mounts").out.count("mounts") == 0:
        pytest.skip("needs a runtime with mounts")
    bundle.args("/bin/sleep", "60").userns()
    c = runtime.running(bundle)
    assert mounts(runtime, "add", c, bind(data, "/data", "ro", "idmap")).code == 0
    assert inside(runtime, c, "/bin/busybox", "stat", "-c", "%u", "/data/file").out == "0\n"
    assert mounts(runtime, "remove", c, {"destination": "/data"}).code == 0


@req("CLI-CRUN-5")
@pytest.mark.parametrize(
    ("verb", "entry", "words"),
    [
        ("add", {"destination": "/p", "type": "proc", "source": "proc"}, "would show the host's namespace"),
        ("add", {"destination": "/", "type": "tmpfs", "source": "tmpfs"}, "on the top of rootfs"),
        ("add", bind("/nonexistent", "/x"), "no such file or directory"),
        ("add", {"destination": "/proc/sys", "type": "tmpfs", "source": "tmpfs"}, "proc"),
        ("remove", {"destination": "/"}, "root of a container"),
        ("remove", {"destination": "/tmp"}, "invalid argument"),
        ("remove", {"destination": "/none"}, "no such file or directory"),
        ("remove", {"source": "/x"}, "destination"),
        ("move", {"destination": "/x"}, "expected add or remove"),
    ],
)
def test_what_cannot_be(runtime, living, verb, entry, words):
    before = pathlib.Path(f"/proc/{living.pid}/mounts").read_text()
    result = mounts(runtime, verb, living, entry)
    assert result.code == 1
    assert words in result.err
    assert pathlib.Path(f"/proc/{living.pid}/mounts").read_text() == before
    assert living.status == "running"


@req("CLI-CRUN-5")
def test_of_paused_and_stopped_ones(runtime, living, data):
    runtime.ok("pause", living.id)
    assert mounts(runtime, "add", living, bind(data, "/data")).code == 0
    assert mounts(runtime, "remove", living, {"destination": "/data"}).code == 0
    assert living.status == "paused"
    runtime.ok("resume", living.id)
    living.stop()
    assert "container not running" in mounts(runtime, "add", living, bind(data, "/data")).err
    assert "does not exist" in runtime.cmd("mounts", "add", "no", os.devnull).err
