"""Volumes, devices, copies and images, with pyrunc beside runc."""

from __future__ import annotations

import pytest
from box import HOME
from day import action

pytestmark = pytest.mark.engines


@action("--volume, also :ro, --mount")
def test_volume(user):
    folder = f"{HOME}/volume-{user.engine.name}-{user.runtime}"
    user.box.write(f"{folder}/there", "seen")
    assert user.run("-v", f"{folder}:/v", script="cat /v/there; echo new >/v/made").out == "seen"
    assert user.box("cat", f"{folder}/made").out == "new\n"
    assert "Read-only" in user.run("-v", f"{folder}:/v:ro", script="echo no >/v/made", code=None).err
    mount = f"type=bind,source={folder},target=/m,readonly"
    assert "Read-only" in user.run("--mount", mount, script="cat /m/there; echo no >/m/made", code=None).err


@action("named volumes")
def test_named_volume(user):
    name = user.new_name()
    user.run("-v", f"{name}:/data", script="echo kept >/data/x")
    assert user.run("-v", f"{name}:/data", script="cat /data/x").out == "kept\n"
    user("volume", "rm", name)


@action("--read-only, --tmpfs")
def test_read_only(user):
    script = "touch /x 2>/dev/null || echo refused; touch /t/x && grep ' /t ' /proc/mounts"
    said = user.run("--read-only", "--tmpfs", "/t:size=1m,mode=700", script=script).out
    assert said.startswith("refused\n")
    assert "tmpfs" in said
    assert "size=1024k" in said


@action("--shm-size")
def test_shm(user):
    assert "size=2048k" in user.run("--shm-size", "2m", script="grep ' /dev/shm ' /proc/mounts").out


@action("--device")
def test_device(user):
    assert user.run("--device", "/dev/full:/dev/brim:rw", script="stat -c '%F %t %T' /dev/brim").out.split()[
        -2:
    ] == ["1", "7"]


@action("cp in both directions")
def test_cp(user):
    name = user.start()
    path = user.box.write(f"{HOME}/{name}", "copied")
    user("cp", path, f"{name}:/tmp/x")
    assert user("exec", name, "cat", "/tmp/x").out == "copied"
    user("cp", f"{name}:/tmp/x", f"{path}.back")
    assert user.box("cat", f"{path}.back").out == "copied"


@action("diff, commit")
def test_commit(user):
    name = user.start(script="echo x >/home/new")
    user("wait", name)
    assert "A /home/new" in user("diff", name).out
    user("commit", name, f"localhost/{name}:1")
    assert user("run", "--rm", f"localhost/{name}:1", "cat", "/home/new").out == "x\n"
    user("rmi", f"localhost/{name}:1")
