"""Images are built by each builder, with pyrunc beside runc for the RUN steps."""

from __future__ import annotations

import json

import images
import pytest
from box import HOME
from day import CAPS, action, until

pytestmark = [pytest.mark.engines, pytest.mark.timeout(300)]

STEPS = f"FROM {images.NAME}\nRUN echo built >/built && id -u\nUSER alice\nRUN test $(id -u) = 1000\n"
FAILS = f"FROM {images.NAME}\nRUN exit 42\n"


def write(user, steps):
    folder = f"{HOME}/build-{user.engine.name}-{user.runtime}"
    user.box.write(f"{folder}/Dockerfile", steps)
    return folder


@action("build with RUN steps", on=("podman", "buildah"))
def test_build(user):
    tag = f"localhost/built-{user.runtime}:1"
    # what buildah calls the parent is the container's own cgroup
    words = ("--cgroup-parent", f"{user.box.parent}/{user.new_name()}", "-t", tag)
    try:
        user("build", *words, write(user, STEPS))
        script = "cat /built; id -un"
        if user.engine.name == "podman":
            assert user("run", "--rm", tag, "sh", "-c", script).out == "built\nalice\n"
        else:
            name = user("from", tag).out.strip()
            assert user("run", name, "--", "sh", "-c", script).out == "built\nalice\n"
            user("rm", name)
        failed = user("build", *words, write(user, FAILS), code=None)
        assert failed.code == 42
        assert "exit status 42" in failed.err
    finally:
        user("rmi", "--force", tag, code=None)
        user.made.clear()


@pytest.fixture
def builder(user):
    """dockerd with its user's runtime as the default one: the classic builder cannot be told."""
    user.engine.configure({"default-runtime": user.runtime})
    assert until(lambda: user("info", "--format", "{{.DefaultRuntime}}").out.strip() == user.runtime)
    yield user
    user.engine.configure({"default-runtime": "runc"})


@action("build with RUN steps", on=("docker",))
def test_classic_build(builder):
    tag = f"built-{builder.runtime}"
    built = builder("build", "--no-cache", "-t", tag, write(builder, STEPS), DOCKER_BUILDKIT="0")
    assert "Successfully tagged" in built.out
    assert builder("run", "--rm", tag, "sh", "-c", "cat /built; id -un").out == "built\nalice\n"
    failed = builder("build", "--force-rm", write(builder, FAILS), code=None, DOCKER_BUILDKIT="0")
    assert "returned a non-zero code: 42" in failed.err
    builder("rmi", tag)


@pytest.fixture
def buildkit(user):
    """dockerd whose BuildKit runs the user's runtime."""
    user.engine.environment = {"DOCKER_BUILDKIT_RUNC_COMMAND": user.engine.runtimes[user.runtime]}
    user.engine.restart()
    yield user
    user.engine.environment = {}
    user.engine.restart()


@action("build with RUN steps: BuildKit", on=("docker",))
def test_buildkit(buildkit):
    tag = f"kit-{buildkit.runtime}"
    buildkit("build", "--no-cache", "-t", tag, write(buildkit, STEPS), DOCKER_BUILDKIT="1")
    assert buildkit("run", "--rm", tag, "sh", "-c", "cat /built; id -un").out == "built\nalice\n"
    assert "exit code: 42" in buildkit("build", write(buildkit, FAILS), code=None, DOCKER_BUILDKIT="1").err
    buildkit("rmi", tag)


# ---- buildah's own words ----


@pytest.fixture
def working(user):
    name = user("from", images.NAME).out.strip()
    yield name
    user("rm", name)


@action("buildah: run, config, copy, commit", on=("buildah",))
def test_working_container(user, working):
    said = user("run", working, "--", "sh", "-c", "echo out; echo err >&2")
    # buildah 1.28 asks for ambient capabilities that it does not make inheritable: newer runC, and pyrunc, warn of each
    assert (said.out, said.err.splitlines()[-1]) == ("out\n", "err")
    assert (
        user("run", "--user", "alice", "--workingdir", "/tmp", working, "--", "sh", "-c", "id -u; pwd").out
        == "1000\n/tmp\n"
    )
    user("run", working, "--", "sh", "-c", "exit 9", code=9)
    assert user("run", "--env", "A=b c", working, "--", "sh", "-c", 'echo "$A"').out == "b c\n"
    folder = f"{HOME}/buildah-{user.runtime}"
    user.box.write(f"{folder}/there", "seen")
    assert user("run", "--volume", f"{folder}:/v:ro", working, "--", "cat", "/v/there").out == "seen"
    assert int(user("run", "--cap-drop", "CAP_CHOWN", working, "--", "sh", "-c", CAPS).out, 16) & 1 == 0
    user("copy", working, f"{folder}/there", "/home/there")
    user("config", "--env", "X=y", "--workingdir", "/home", working)
    image = f"localhost/committed-{user.runtime}:1"
    user("commit", working, image)
    told = json.loads(user("inspect", "--type", "image", image).out)
    assert "X=y" in told["OCIv1"]["config"]["Env"]
    user("rmi", image)


@action("run --tty", on=("buildah",))
def test_terminal(user, working):
    seen = user.on_terminal(
        "run", "--tty", working, "--", "sh", "-c", "sleep 1; tty; read x; echo got $x", typed="word\n"
    )
    assert "/dev/pts/" in seen.out or "/dev/console" in seen.out
    assert "got word" in seen.out
    assert seen.code == 0


@action("exit code 127: not found", on=("buildah",))
def test_not_found(user, working):
    failed = user("run", working, "--", "/nope", code=None)
    assert failed.code != 0
    assert "no such file or directory" in failed.err
