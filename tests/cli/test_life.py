"""state, list, kill and delete on real containers."""

from __future__ import annotations

import fcntl
import json
import os
import pwd
import signal
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import pytest

from pyrunc.commands.kill import kill, parse_signal
from pyrunc.commands.list import owner_name, table
from pyrunc.commands.spec import default_config
from pyrunc.errors import StateError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from conftest import Containers

SLEEP = ["/bin/busybox", "sleep", "100"]


def config(**linux: object) -> dict[str, object]:
    made = default_config(cgroup_namespace=False)
    made["process"]["terminal"] = False
    made["process"]["args"] = SLEEP
    made["linux"].update(linux)
    return made


def write_config(containers: Containers, made: dict[str, object]) -> None:
    (containers.bundle / "config.json").write_text(json.dumps(made))


def without_pid_namespace() -> dict[str, object]:
    kinds = ("mount", "ipc", "uts", "network")
    return config(namespaces=[{"type": kind} for kind in kinds])


_count = 0


def new_id() -> str:
    global _count  # noqa: PLW0603 - ids are names of cgroups, which all tests share
    _count += 1
    return f"pyrunc-cli-{os.getpid()}-{_count}"


def create(containers: Containers, made: dict[str, object] | None = None) -> str:
    write_config(containers, made or config())
    name = new_id()
    containers.ok("create", "--bundle", containers.bundle, name)
    return name


def running(containers: Containers, made: dict[str, object] | None = None) -> str:
    name = create(containers, made)
    containers.ok("start", name)
    return name


def state(containers: Containers, name: str) -> dict[str, object]:
    return dict(json.loads(containers.ok("state", name)))


def wait_for(containers: Containers, name: str, status: str) -> None:
    end = time.monotonic() + 5
    while state(containers, name)["status"] != status:
        assert time.monotonic() < end, f"{name} is {state(containers, name)['status']}, not {status}"
        time.sleep(0.02)


def cgroups(name: str) -> list[str]:
    return [line for line, names, _files in os.walk("/sys/fs/cgroup") if name in names]


# ---- state ----


@pytest.mark.root
def test_the_state_in_the_order_of_runc(containers: Containers) -> None:
    made = config()
    made["annotations"] = {"org.example": "<a&b>"}
    name = create(containers, made)
    text = containers.ok("state", name)

    assert r'"org.example": "\u003ca\u0026b\u003e"' in text
    value = json.loads(text)
    assert list(value) == [
        "ociVersion", "id", "pid", "status", "bundle", "rootfs", "created", "annotations", "owner",
    ]  # fmt: skip
    assert (value["id"], value["status"], value["owner"]) == (name, "created", "")
    assert value["rootfs"] == str(containers.bundle / "rootfs")
    assert not text.endswith("\n")


@pytest.mark.root
def test_the_state_of_one_that_has_ended(containers: Containers) -> None:
    name = running(containers)
    assert state(containers, name)["status"] == "running"
    containers.ok("kill", name, "KILL")
    wait_for(containers, name, "stopped")

    assert state(containers, name)["pid"] == 0


# ---- list ----


@pytest.mark.root
def test_the_table_has_the_columns_of_runc(containers: Containers) -> None:
    name = create(containers)
    header, row = containers.ok("list").splitlines()

    assert header.split() == ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]
    assert header.index("PID") == row.index(str(state(containers, name)["pid"]))
    assert row.split()[2] == "created"
    assert row.endswith(" root")


@pytest.mark.root
def test_json_is_one_line(containers: Containers) -> None:
    first, second = create(containers), create(containers)
    text = containers.ok("list", "--format", "json")

    assert text.count("\n") == 1
    assert [entry["id"] for entry in json.loads(text)] == sorted([first, second])
    assert {entry["owner"] for entry in json.loads(text)} == {pwd.getpwuid(0).pw_name}
    assert containers.ok("list", "-q").split() == sorted([first, second])


def test_an_empty_root(containers: Containers) -> None:
    containers.root.mkdir()

    assert containers.ok("list", "-f", "json") == "null\n"
    assert containers.ok("list", "-q") == ""
    assert containers.ok("list") == "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n"


def test_a_root_that_was_asked_for_must_be_there(containers: Containers) -> None:
    result = containers("list")

    assert f'msg="open {containers.root}: no such file or directory"' in result.err
    assert result.code == 1


def test_another_format(containers: Containers) -> None:
    assert 'msg="invalid format option"' in containers("list", "-f", "xml").err


@pytest.mark.root
def test_what_is_not_ours_is_passed_over_and_what_is_broken_is_told(containers: Containers) -> None:
    name, broken = create(containers), create(containers)
    good = (containers.root / broken / "state.json").read_bytes()
    foreign = containers.root / "foreign"
    foreign.mkdir()
    (foreign / "state.json").write_text('{"id": "foreign", "init_process_pid": 1}')
    (containers.root / "other").mkdir()
    (containers.root / "other/status").write_text("{}")
    (containers.root / "a file").write_text("x")
    (containers.root / broken / "state.json").write_text("{")
    result = containers("list", "-q")
    (containers.root / broken / "state.json").write_bytes(good)

    assert (result.code, result.out) == (0, f"{name}\n")
    assert result.err.startswith(f"load container {broken}: ")
    assert result.err.count("\n") == 1


def test_columns_grow_with_their_content() -> None:
    rows = table([["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"], ["x" * 20, "1", "a", "b", "c", "d"]])

    assert rows.splitlines() == [
        f"{'ID':23}{'PID':12}{'STATUS':12}{'BUNDLE':12}{'CREATED':12}OWNER",
        f"{'x' * 20:23}{'1':12}{'a':12}{'b':12}{'c':12}d",
    ]


def test_an_owner_without_a_name_is_a_number() -> None:
    assert owner_name(0) == "root"
    assert owner_name(3_999_999_999) == "#3999999999"


# ---- kill ----


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("9", 9), ("0", 0), ("64", 64), ("KILL", 9), ("sigkill", 9), ("SIGTERM", 15), ("usr1", 10),
        ("RTMIN", 34), ("sigrtmax-1", 63), ("CLD", 17), ("POLL", 29), ("00", 0), ("0" * 5000 + "9", 9),
    ],
)  # fmt: skip
def test_signals_by_number_and_name(text: str, number: int) -> None:
    assert parse_signal(text) == number


@pytest.mark.parametrize("text", ["", "FOO", "-9", "65", "9 ", "SIG", "SIGSIGKILL", "٩", "1e1", "1" * 5000])
def test_signals_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match=r"^unknown signal "):
        parse_signal(text)


def test_kill_of_all_while_the_first_dies() -> None:
    """Between the kill by way of the cgroup and that of the process it is there, then it is gone: that is no failure."""

    class Dying:
        container = SimpleNamespace(own_pid_namespace=False, rootless=False)
        killed: ClassVar[list[int]] = []

        def manager(self) -> SimpleNamespace:
            return SimpleNamespace(kill=self.killed.append)

        def is_alive(self) -> bool:
            return True

        def signal(self, _number: int) -> None:
            raise StateError("container not running")

    kill(Dying(), 9, "running")  # type: ignore[arg-type]

    assert Dying.killed == [9]


@pytest.mark.root
def test_kill_is_told_what_does_not_run(containers: Containers) -> None:
    name = create(containers)
    containers.ok("kill", name, "9")
    wait_for(containers, name, "stopped")

    result = containers("kill", name)
    assert 'msg="container not running"' in result.err
    assert result.code == 1
    containers.ok("kill", "--all", name, "KILL")
    containers.ok("kill", name, "-a")


@pytest.mark.root
def test_an_unknown_container_comes_before_an_unknown_signal(containers: Containers) -> None:
    name = running(containers)

    assert 'msg="container does not exist"' in containers("kill", "nope", "FOO").err
    assert r'msg="unknown signal \"FOO\""' in containers("kill", name, "FOO").err
    assert state(containers, name)["status"] == "running"


@pytest.mark.root
def test_a_signal_reaches_the_process(containers: Containers) -> None:
    made = config()
    script = "trap 'echo got > /tmp/got; exit 0' USR1; echo > /tmp/ready; while :; do sleep 0.05; done"
    made["process"]["args"] = ["/bin/busybox", "sh", "-c", script]  # type: ignore[index]
    made["root"]["readonly"] = False  # type: ignore[index]
    (containers.bundle / "rootfs/tmp").mkdir()
    name = running(containers, made)
    _wait_until((containers.bundle / "rootfs/tmp/ready").exists)
    containers.ok("kill", name, "usr1")
    wait_for(containers, name, "stopped")

    assert (containers.bundle / "rootfs/tmp/got").read_text() == "got\n"


@pytest.mark.root
def test_kill_reaches_all_where_no_pid_namespace_would(containers: Containers) -> None:
    made = without_pid_namespace()
    made["process"]["args"] = ["/bin/busybox", "sh", "-c", "busybox sleep 1000 & exec busybox sleep 1001"]  # type: ignore[index]
    name = running(containers, made)
    pid = int(str(state(containers, name)["pid"]))
    _wait_until(lambda: len(_members(name)) == 2)
    other = next(member for member in _members(name) if member != pid)

    os.kill(pid, signal.SIGKILL)
    wait_for(containers, name, "stopped")
    assert 'msg="container not running"' in containers("kill", name, "TERM").err
    assert _members(name) == [other]
    containers.ok("kill", name, "KILL")
    _wait_until(lambda: not _members(name))

    assert 'msg="container not running"' in containers("kill", name, "KILL").err


def _members(name: str) -> list[int]:
    for directory in cgroups(name):
        if "/pids" in directory or os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
            return [int(pid) for pid in Path(directory, name, "cgroup.procs").read_text().split()]
    return []


def _wait_until(what: object) -> None:
    end = time.monotonic() + 5
    while not what():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.02)


# ---- delete ----


@pytest.mark.root
def test_delete_leaves_nothing(containers: Containers) -> None:
    name = create(containers)
    pid = int(str(state(containers, name)["pid"]))
    assert cgroups(name)
    containers.ok("delete", name)

    assert not list(containers.root.iterdir())
    assert not cgroups(name)
    _wait_until(lambda: not Path(f"/proc/{pid}").exists() or _is_zombie(pid))


def _is_zombie(pid: int) -> bool:
    return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()


@pytest.mark.root
def test_delete_goes_on_where_another_was_killed_and_had_removed_the_config(containers: Containers) -> None:
    name = create(containers, config() | {"hooks": {"poststop": [{"path": "/bin/true"}]}})
    (containers.root / name / "config.json").unlink()

    containers.ok("delete", "--force", name)

    assert not (containers.root / name).exists()


@pytest.mark.root
def test_a_config_that_cannot_be_read_keeps_nobody_from_deleting_by_force(containers: Containers) -> None:
    name = create(containers, config() | {"hooks": {"poststop": [{"path": "/bin/true"}]}})
    (containers.root / name / "config.json").write_text("{")

    refused, forced = containers("delete", name), containers("delete", "--force", name)

    assert (refused.code, forced.code) == (1, 0)
    assert "no poststop hooks are run: config.json: " in forced.err
    assert not (containers.root / name).exists()


@pytest.mark.root
def test_delete_of_a_running_one_needs_force(containers: Containers) -> None:
    name = running(containers)
    result = containers("delete", name)

    assert f'msg="cannot delete container {name} that is not stopped: running"' in result.err
    assert result.code == 1
    assert state(containers, name)["status"] == "running"
    containers.ok("delete", "--force", name)
    assert not list(containers.root.iterdir())


def test_an_unknown_one_is_an_error_but_not_with_force(containers: Containers) -> None:
    result = containers("delete", "nope")

    assert 'msg="container does not exist"' in result.err
    assert result.code == 1
    containers.ok("delete", "--force", "nope")
    assert containers("delete", "--force", "..").code == 1


@pytest.mark.root
def test_what_belongs_to_another_runtime_is_left_alone(containers: Containers) -> None:
    for name, file, content in (("runc", "state.json", '{"id": "runc"}'), ("crun", "status", "{}")):
        (containers.root / name).mkdir(parents=True)
        (containers.root / name / file).write_text(content)

        containers.ok("delete", "--force", name)
        assert 'msg="container does not exist"' in containers("delete", name).err
        assert (containers.root / name / file).read_text() == content
        (containers.root / name / file).unlink()


@pytest.mark.root
@pytest.mark.parametrize("names", [[], [".cgroup.json"]])
def test_what_a_killed_create_left_goes_even_without_force(containers: Containers, names: list[str]) -> None:
    (containers.root / "left").mkdir(parents=True)
    for name in names:
        (containers.root / "left" / name).write_text("{")
    result = containers("delete", "left")

    assert 'msg="container does not exist"' in result.err
    assert result.code == 1
    assert not (containers.root / "left").exists()


@pytest.mark.root
def test_a_damaged_one_goes_by_force_alone(containers: Containers) -> None:
    name = running(containers)
    pid = int(str(state(containers, name)["pid"]))
    (containers.root / name / "state.json").write_text("{")
    result = containers("delete", name)
    assert result.code == 1
    assert "state.json" in result.err
    assert (containers.root / name).exists()

    containers.ok("delete", "--force", name)
    assert not (containers.root / name).exists()
    assert not cgroups(name)
    assert not Path(f"/proc/{pid}").exists() or _is_zombie(pid)


@pytest.mark.root
def test_poststop_hooks_run_last_and_all_of_them(containers: Containers, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    made = config()
    made["hooks"] = {
        "poststop": [
            {
                "path": "/bin/sh",
                "args": [
                    "sh",
                    "-c",
                    f"cat >> {seen}; echo >> {seen}; ls {containers.root} >> {seen}; exit 1",
                ],
            },
            {"path": "/bin/sh", "args": ["sh", "-c", f"echo second >> {seen}"]},
        ]
    }
    name = create(containers, made)
    log = tmp_path / "log"
    result = containers("--log", log, "--log-format", "json", "delete", name)

    assert (result.code, result.out, result.err) == (0, "", "")
    first, second = seen.read_text().splitlines()
    assert first.startswith('{"ociVersion":"1.3.0","id":"')
    assert json.loads(first)["status"] == "stopped"
    assert "pid" not in json.loads(first)
    assert second == "second"
    warning = json.loads(log.read_text())
    assert warning["level"] == "warning"
    assert warning["msg"].startswith("error running poststop hook #0: exit status 1")


@pytest.mark.root
def test_a_frozen_one_is_killed(containers: Containers) -> None:
    name = running(containers)
    freezer = Path("/sys/fs/cgroup/freezer")
    if not (freezer / name).exists():
        pytest.skip("needs the freezer of cgroup v1")
    (freezer / name / "freezer.state").write_text("FROZEN")
    wait_for(containers, name, "paused")
    assert f"cannot delete container {name} that is not stopped: paused" in containers("delete", name).err

    containers.ok("kill", name, "KILL")
    wait_for(containers, name, "stopped")
    containers.ok("delete", name)

    name = running(containers)
    (freezer / name / "freezer.state").write_text("FROZEN")
    containers.ok("delete", "--force", name)


@pytest.mark.root
def test_delete_waits_for_another_command(containers: Containers) -> None:
    name = running(containers)
    fd = os.open(containers.root / name, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    threading.Timer(0.5, os.close, (fd,)).start()
    begin = time.monotonic()
    containers.ok("delete", "--force", name)

    assert time.monotonic() - begin > 0.4
    assert not (containers.root / name).exists()


@pytest.mark.root
def test_delete_does_not_wait_for_ever(
    containers: Containers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from pyrunc.commands import Args, delete
    from pyrunc.state import lock

    name = running(containers)
    fd = os.open(containers.root / name, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    monkeypatch.setattr(lock, "PATIENCE", 0.2)
    args = Args("pyrunc", "delete")
    args.root, args.positionals, args.options = str(containers.root), [name], {"force": True, "regex": False}
    try:
        with pytest.raises(Exception, match="another command is still working on it"):
            delete.run(args)
    finally:
        os.close(fd)


@pytest.mark.root
def test_two_deletes_at_once(containers: Containers) -> None:
    name = running(containers)
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(containers("delete", "--force", name)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [(result.code, result.err) for result in results] == [(0, "")] * 4
    assert not (containers.root / name).exists()
