"""Many containers at once, and kills at random moments, with pyrunc beside runc."""

from __future__ import annotations

import random
import signal
import time

import images
import pytest
from day import action, until
from leftover import NETWORKS, Killer, delete_forgotten, left, look, running, shims

pytestmark = [pytest.mark.engines, pytest.mark.timeout(300)]

BATCH = 20


def words(user, verb, name):
    """Return the command line that starts or removes a container without a network, as a string."""
    if user.engine.name == "containerd":
        start = user.engine.command(user.runtime, "run", "--detach", images.NAME, name, "sleep", "1000")
        remove = [*user.engine.command(user.runtime, "task", "rm", "--force", name), ";"]
        remove += user.engine.command(user.runtime, "container", "rm", name)
    else:
        start = user.engine.command(
            user.runtime, "run", "-d", "--network", "none", "--name", name, images.NAME, "sleep", "1000"
        )
        remove = user.engine.command(user.runtime, *user.engine.remove, name)
    return " ".join(start if verb == "run" else remove)


def together(user, verb, names):
    """Start or remove containers at the same time, and wait for all of them."""
    jobs = " & ".join(f"{{ {words(user, verb, name)}; }}" for name in names)
    return user.box("sh", "-c", f"{jobs} & wait", limit=150)


def known(user):
    """List the containers that the engine knows, with what it says of them."""
    if user.engine.name == "containerd":
        tasks = {row.split()[0]: row.split()[2] for row in user("task", "ls").out.splitlines()[1:]}
        return {name: tasks.get(name, "CREATED") for name in user("container", "ls", "--quiet").out.split()}
    listed = user("ps", "--all", "--format", "{{.Names}} {{.State}}").out.splitlines()
    return {row.split()[0]: row.split()[1].upper() for row in listed}


def clear(user, names):
    """Remove by the engine's words, again and again while it still knows one."""
    end = time.monotonic() + 60
    while left_ones := set(names) & set(known(user)):
        together(user, "rm", left_ones)
        assert time.monotonic() < end, f"the engine cannot remove {left_ones}"


@action("twenty at a time, then nothing is left", on=("docker", "podman"))
def test_many(user):
    names = [user.new_name() for _ in range(BATCH)]
    assert together(user, "run", names).code == 0
    assert set(names) <= set(known(user))
    user(*user.engine.remove, *names, limit=100)
    assert not set(names) & set(known(user))


@action(
    "200 containers, twenty at a time: nothing is left",
    on=("containerd", "docker"),
    runtimes=("pyrunc",),
    releases=("newer",),
)
def test_two_hundred(user):
    before, others = look(user), set(known(user))
    for turn in range(10):
        names = [f"{user.runtime}-{turn}-{number}" for number in range(BATCH)]
        assert together(user, "run", names).code == 0
        assert {state for name, state in known(user).items() if name in names} == {"RUNNING"}
        together(user, "rm", names)
    assert set(known(user)) == others
    assert left(user, before) == {}


@action("the runtime is killed at random moments: nothing is left", on=("containerd", "docker"))
def test_runtime_is_killed(user):
    before = look(user)
    killed = 0
    for turn in range(3):
        names = [f"{user.runtime}-k{turn}-{number}" for number in range(6)]
        with Killer(user.box, user.runtime, 0.4, seed=turn) as killer:
            together(user, "run", names)
            together(user, "rm", names[:3])
        killed += killer.killed
        clear(user, names)
    assert killed
    forgotten = delete_forgotten(user, before)
    note(user, f"{killed} killed, {forgotten} containers that the engine forgot")
    more = left(user, before)
    assert set(more) <= {"mounts"}, more
    assert all(path.startswith(NETWORKS) for path in more.get("mounts", ())), more
    again = f"{user.runtime}-again"
    together(user, "run", [again])
    assert known(user)[again] == "RUNNING"
    clear(user, [again])


@action(
    "the engine is killed at random moments: it agrees with the kernel, nothing is left",
    on=("containerd", "docker"),
)
def test_engine_is_killed(user):
    before = look(user)
    chance = random.Random(7)
    forgotten = 0
    for turn in range(3):
        names = [f"{user.runtime}-e{turn}-{number}" for number in range(6)]
        jobs = " & ".join(words(user, "run", name) for name in names)
        begun = user.box.spawn(user.engine.logs / "killed.log", "sh", "-c", f"{jobs} & wait")
        time.sleep(chance.uniform(0.1, 1.2))
        user.engine.stop(signal.SIGKILL)
        begun.wait(60)
        user.engine.serve()
        assert until(lambda: not disagreement(user), 20), disagreement(user)
        clear(user, names)
        forgotten += delete_forgotten(user, before)
    note(user, f"engine killed 3 times, {forgotten} containers that it forgot, {shims(user)} shims")
    assert left(user, before) == {}


def note(user, text):
    """Keep what no test judges beside the daemons' logs."""
    with (user.engine.logs / "kills.log").open("a") as file:
        file.write(f"{user.engine.label()} {user.runtime}: {text}\n")


def disagreement(user):
    """Compare what the engine calls running, and what the runtime does, with what runs; what is not the same.

    A daemon that dies between the start of a container and its own note of that calls it created from then on, whatever
    the runtime is, and containerd forgets a shim that was just starting: the runtime knows better.
    """
    states = known(user)
    said = [name for name, state in states.items() if state == "RUNNING"]
    unsure = [name for name, state in states.items() if state == "CREATED"]
    runs = {row.split()[0] for row in look(user)["processes"] if row.endswith(" sleep 1000")}
    same = running(user) == runs and len(said) <= len(runs) <= len(said + unsure)
    return [] if same else [states, running(user), runs]
