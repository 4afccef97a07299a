"""Hostile strings and sizes: never a part of a value in effect, and an id is never a path."""

from __future__ import annotations

import json

import pytest
from lib import host

req, cve = pytest.mark.req, pytest.mark.cve


@req("T18", "ID-3")
@cve("CVE-2021-43784")
@pytest.mark.parametrize("lines", [400, 5000])
def test_many_mappings(runtime, bundle, lines):
    """More than the kernel takes: never a part of them in effect."""
    bundle.userns()
    runtime.refuses(
        bundle.set(
            "linux.uidMappings",
            [{"containerID": n, "hostID": 100000 + 2 * n, "size": 1} for n in range(lines)],
        )
    )


@req("T18", "EX-3")
@cve("CVE-2021-43784")
@pytest.mark.parametrize("key", ["destination", "source", "type", "options"])
def test_nul_in_a_mount(runtime, bundle, key):
    bundle.mount("/data", options=["ro"])
    entry = bundle.config["mounts"][-1]
    entry[key] = ["ro\0rw"] if key == "options" else entry[key] + "\0x"
    runtime.refuses(bundle)


@req("T18", "PR-8")
@cve("CVE-2021-43784")
def test_many_arguments(runtime, bundle):
    result = runtime.try_run(bundle.args("/bin/busybox", "true", *["x"] * 20000))
    assert result.code == 0


@req("T18", "PR-8")
@cve("CVE-2021-43784")
def test_more_arguments_than_the_kernel_takes(runtime, bundle):
    result = runtime.try_run(bundle.args("/bin/busybox", "true", *["x" * 100000] * 40))
    assert result.code != 0
    assert result.err.strip()


@req("T18", "MO-1")
@cve("CVE-2021-43784")
def test_many_mounts(runtime, bundle):
    for n in range(300):
        bundle.mount(f"/m/{n}", options=["size=4k"])
    seen = runtime.report(bundle)
    assert len([m for m in seen.mounts if m.place.startswith("/m/")]) == 300


@req("T18", "AN-1")
@cve("CVE-2021-43784")
def test_large_annotations(runtime, bundle):
    annotations = {f"org.example.{n}": "x" * 1000 for n in range(2000)}
    c = runtime.create(bundle.set("annotations", annotations))
    assert json.loads(runtime.ok("state", c.id).out)["annotations"] == annotations


@req("T18", "MO-2")
@cve("CVE-2021-43784")
def test_root_cannot_be_covered(runtime, bundle):
    runtime.refuses(bundle.mount("/"))


@req("T18", "MK-1")
@cve("CVE-2021-43784")
def test_root_cannot_be_masked(runtime, bundle):
    runtime.refuses(bundle.set("linux.maskedPaths", ["/"]))


# Never name anything outside the scratch: crun 1.8.1 removes an absolute path that is given as an id.
IDS = ["..", ".", "../keep", "a/../../keep", "{scratch}/keep", "", "keep/", "./keep", "x\ny", "x\n", "\u00e9"]


@pytest.fixture
def scratch(runtime):
    """A tmpfs with something in it and in a state root: a faulty runtime removes what lies beside its root."""
    where = runtime.work / "scratch"
    where.mkdir()
    host.mount("tmpfs", where, "tmpfs")
    for name in ("keep", "root/keep"):
        (where / name).mkdir(parents=True)
        (where / name / "file").write_text("keep")
    yield where
    host.umount(where)


def refuses_ids(runtime, scratch, command, before=(), after=()):
    """Every id is refused, and all that lies in the scratch stays."""
    for ident in [ident.format(scratch=scratch) for ident in IDS]:
        result = runtime.raw("--root", scratch / "root", *command.split(), *before, ident, *after)
        assert result.code != 0, f"{command} {ident!r}"
        left = sorted(str(p.relative_to(scratch)) for p in scratch.rglob("*"))
        assert left == ["keep", "keep/file", "root", "root/keep", "root/keep/file"], f"{command} {ident!r}"


@req("T23", "CR-2", "KI-2", "DE-2")
@cve("an id as a path")
@pytest.mark.parametrize("command", ["create", "run", "start", "state", "kill", "delete", "delete --force"])
def test_ids_never_leave_the_state_root(runtime, bundle, scratch, command):
    bundle.write()
    before = ["--bundle", str(bundle.path)] if command in {"create", "run"} else []
    refuses_ids(runtime, scratch, command, before=before)


# Of these only what cannot harm in a scratch: with most of them a command would need a container.
OTHERS = ("exec", "pause", "resume", "ps", "events --stats", "update")


@req("T23", "CR-2")
@cve("an id as a path")
@pytest.mark.parametrize("command", OTHERS)
def test_ids_of_the_other_commands(runtime, scratch, command):
    refuses_ids(runtime, scratch, command, after=["/bin/true"] if command == "exec" else [])
