"""What systemd is told: places, properties, annotations. Without systemd; spec-tests/test_systemd.py has the real one."""

from __future__ import annotations

import os
import socket
import threading
from typing import TYPE_CHECKING

import pytest
from device_rules import rule
from jeepney import Parser, new_method_return

from pyrunc.cgroup import bus, from_state, units
from pyrunc.cgroup.bus import addresses, outer_uid
from pyrunc.cgroup.gvariant import annotated, parse_value
from pyrunc.cgroup.manager import Place
from pyrunc.cgroup.scope import Scope
from pyrunc.cgroup.systemd import ManagerSystemd
from pyrunc.errors import OpError, SpecError, StateError
from pyrunc.host import CGROUP2_SUPER_MAGIC
from pyrunc.spec.resources import CPU, Memory, Pids, Resources

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Fake

R = "linux.resources"
PATH = "/sys/fs/cgroup/system.slice/pyrunc-x.scope"


@pytest.mark.parametrize(
    ("path", "user", "expected"),
    [
        (None, False, ("system.slice", "pyrunc-c1.scope")),
        ("", True, ("user.slice", "pyrunc-c1.scope")),
        ("a-b.slice:docker:xyz", False, ("a-b.slice", "docker-xyz.scope")),
        (":docker:xyz", True, ("user.slice", "docker-xyz.scope")),
        ("-:docker:xyz", False, ("-.slice", "docker-xyz.scope")),
        ("a.slice::xyz", False, ("a.slice", "xyz.scope")),
        ("a.slice:p:x+y é", False, ("a.slice", "p-x\\x2by\\x20\\xc3\\xa9.scope")),
        ("a.slice:p:x\udced", False, ("a.slice", "p-x\\xed.scope")),
    ],
)
def test_places(path: str | None, user: bool, expected: tuple[str, str]) -> None:
    assert units.parse_place(path, "c1", user=user) == expected


@pytest.mark.parametrize(
    "path",
    ["/a", "a:b", "a.slice:b:", "a:b:c", "a--b.slice:b:c", "-a.slice:b:c", ".slice:b:c", "a.slice:b:c.slice", "a.slice:b/..:c"],
)  # fmt: skip
def test_places_that_are_none(path: str) -> None:
    with pytest.raises(SpecError, match=r"^linux.cgroupsPath: "):
        units.parse_place(path, "c1", user=False)


def test_slices_lie_in_slices() -> None:
    assert units.expand_slice("a-b-c.slice") == "/a.slice/a-b.slice/a-b-c.slice"
    assert units.expand_slice("-.slice") == ""


def test_limits_are_properties() -> None:
    resources = Resources(
        at=R,
        memory=Memory(limit=100, swap=150, reservation=-1, at=f"{R}.memory"),
        cpu=CPU(shares=1024, quota=1, period=3000, cpus="0-1,9", at=f"{R}.cpu"),
        pids=Pids(limit=-1, at=f"{R}.pids"),
        unified={"memory.high": "7", "memory.max": "1G", "pids.max": "9"},
    )

    assert dict(units.properties_of(resources, devices=False)) == {
        "MemoryMax": ("t", 100),
        "MemorySwapMax": ("t", 50),
        "MemoryLow": ("t", 2**64 - 1),
        "MemoryHigh": ("t", 7),
        "TasksMax": ("t", 9),
        "CPUWeight": ("t", 100),
        "CPUQuotaPeriodUSec": ("t", 3000),
        "CPUQuotaPerSecUSec": ("t", 10000),
        "AllowedCPUs": ("ay", b"\x03\x02"),
    }


def test_no_process_more_than_the_first() -> None:
    """A limit of 0 is one (PD-2), which systemd has no number for."""
    given = Resources(at=R, pids=Pids(at=f"{R}.pids", limit=0))
    assert ("TasksMax", ("t", 1)) in units.properties_of(given, devices=False)


def test_idle_is_a_weight_of_nothing() -> None:
    resources = Resources(at=R, cpu=CPU(idle=1, at=f"{R}.cpu"))

    assert units.properties_of(resources, devices=False) == [("CPUWeight", ("t", 0))]


def test_systemd_allows_at_least_what_the_rules_do() -> None:
    rules = [
        rule(True, "c", 9),
        rule(False),
        rule(True, "c", 10, 229, "rw"),
        rule(True, None, 8, None, "r"),
        rule(True, "b", None, 3),
    ]

    policy, allowed = units.device_allow([*rules, rule(False, "c", 10, 229, "w")])

    assert policy == "strict"
    assert allowed[:4] == [("/dev/char/10:229", "rw"), ("block-8", "r"), ("char-8", "r"), ("block-*", "rwm")]
    assert ("/dev/char/1:3", "rwm") in allowed
    assert ("char-*", "m") in allowed
    assert ("char-136", "rwm") in allowed
    assert ("char-9", "rwm") not in allowed


def test_all_devices() -> None:
    assert units.device_allow([rule(False), rule(True), rule(False, "c", 1, 3)]) == ("auto", [])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("'a\\'b'", ("s", "a'b")),
        ('"x y"', ("s", "x y")),
        ("true", ("b", True)),
        ("5", ("i", 5)),
        ("-0x10", ("i", -16)),
        ("1.5", ("d", 1.5)),
        ("uint64 18446744073709551615", ("t", 2**64 - 1)),
        ("@t 7", ("t", 7)),
        ("byte 255", ("y", 255)),
        ("['a', 'b']", ("as", ["a", "b"])),
        ("@as []", ("as", [])),
        ("[[1, 2], [3]]", ("aai", [[1, 2], [3]])),
        ("[byte 1, 2]", ("ay", b"\x01\x02")),
        ("objectpath '/a'", ("o", "/a")),
    ],
)
def test_values(text: str, expected: tuple[str, object]) -> None:
    assert parse_value(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "nope", "[", "['a' 'b']", "[1, 'a']", "5 6", "[]", "byte 256", "uint32 -1", "'a", "@s 5", "{'a': 1}", "1.2.3", "]"],
)  # fmt: skip
def test_values_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_value(text)


def test_annotations() -> None:
    given = {
        "other": "x",
        "org.systemd.property.TimeoutStopSec": "1.5",
        "org.systemd.property.KillMode": "'none'",
    }

    assert annotated(given) == [("TimeoutStopUSec", ("t", 1500000)), ("KillMode", ("s", "none"))]


@pytest.mark.parametrize(
    "text", ["-1", "1e400", "@d -1", "99999999999999", "@t 18446744073709551615", "[" * 5000, "@s" * 5000]
)
def test_times_that_are_none(text: str) -> None:
    with pytest.raises(SpecError, match=r"^annotations.*value parse error"):
        annotated({"org.systemd.property.TimeoutStopSec": text})


@pytest.mark.parametrize("name", ["ab", "A1B", "Kill.Mode", ""])
def test_annotations_with_names_that_are_none(name: str) -> None:
    with pytest.raises(SpecError, match=r"^annotations"):
        annotated({f"org.systemd.property.{name}": "true"})


@pytest.mark.parametrize(
    "name",
    ["SuccessAction", "FailureAction", "JobTimeoutAction", "StartLimitAction", "Conflicts", "PropagatesStopTo",
     "StopPropagatedFrom", "OnFailure", "OnSuccess", "Upholds"],
)  # fmt: skip
def test_annotations_that_reach_beyond_the_scope(name: str) -> None:
    """CVE-2024-3154: an image's author must not switch the host off."""
    with pytest.raises(SpecError, match=r"^annotations.*would act on the host or on other units"):
        annotated({f"org.systemd.property.{name}": "'poweroff-force'"})


@pytest.mark.parametrize("name", ["CollectMode", "Requires", "After", "TasksMax", "StopWhenUnneeded"])
def test_annotations_of_the_scope_itself(name: str) -> None:
    assert annotated({f"org.systemd.property.{name}": "'x'"}) == [(name, ("s", "x"))]


def test_the_state_knows_the_unit() -> None:
    manager = from_state({"": PATH}, ["systemd-user:pyrunc-x.scope"])

    assert isinstance(manager, ManagerSystemd)
    assert (manager.scope.name, manager.scope.user, manager.unprivileged) == ("pyrunc-x.scope", True, True)
    assert manager.created == manager.expected()
    assert manager.clone_fd() == -1


@pytest.mark.parametrize("path", ["/sys/fs/cgroup/a", "/sys/fs/cgroup/../x.scope", "", "x.scope"])
def test_a_state_with_a_path_that_is_none(path: str) -> None:
    with pytest.raises(StateError, match=r"^not the path of a "):
        from_state({"": path}, ["systemd:x.scope"])


def test_whom_systemd_takes_us_for() -> None:
    assert outer_uid(0, "         0       1000          1\n         1     100000      65536\n") == 1000
    assert outer_uid(5, "0 0 4294967295\n") == 5
    assert outer_uid(65534, "0 1000 1\n") == 65534


def test_where_systemd_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/x/bus,guid=5;unix:abstract=y;tcp:host=a")

    assert addresses(user=False, uid=0) == [
        ("/run/dbus/system_bus_socket", True),
        ("/run/systemd/private", False),
    ]
    assert addresses(user=True, uid=7) == [
        ("\0y", True),
        ("/x/bus", True),
        ("/run/user/7/bus", True),
        ("/run/user/7/systemd/private", False),
    ]


def test_controllers_that_systemd_does_not_know(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    """hugetlb, rdma and misc get to the scope as they do without systemd, from the top on; a user may not do that."""
    rel = "system.slice/pyrunc-x.scope"
    for path in (fake.path, fake.path / "system.slice", fake.path / rel):
        path.mkdir(exist_ok=True)
        (path / "cgroup.controllers").write_text("cpu hugetlb")
        (path / "cgroup.subtree_control").write_text("cpu")
    monkeypatch.setattr(Scope, "start", lambda *_: None)
    handed = {}
    for user in (True, False):
        manager = ManagerSystemd([Place((), str(fake.path / rel), str(fake.path), rel)])
        manager.magic_of = lambda _fd: CGROUP2_SUPER_MAGIC
        manager.scope = Scope("pyrunc-x.scope", user=user, begin=[])
        manager.join(os.getpid())
        manager.close()
        handed[user] = [fake.read(f"{part}/cgroup.subtree_control") for part in (".", "system.slice", rel)]

    assert handed == {True: ["cpu", "cpu", "cpu"], False: ["+hugetlb", "+hugetlb", "cpu"]}


def test_memory_in_use_is_looked_at_before_systemd_is_told(
    fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    (fake.path / "memory.current").write_text("8192\n")
    manager = ManagerSystemd([Place((), str(fake.path))])
    manager.magic_of, manager.scope = lambda _fd: CGROUP2_SUPER_MAGIC, Scope("pyrunc-x.scope", user=False)
    told: list[object] = []
    monkeypatch.setattr(manager.scope, "tell", told.append)
    limit = Memory(at=f"{R}.memory", limit=4096, check_before_update=True)
    with pytest.raises(OpError, match="rejecting memory limit 4096 <= usage 8192"):
        manager.apply(Resources(at=R, memory=limit))
    assert told == []


def test_systemds_own_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a bus: the same messages, and no greeting. None may come with BEGIN: systemd would not look at it."""
    address = str(tmp_path / "private")
    server = socket.create_server(address, family=socket.AF_UNIX)

    greetings: list[bytes] = []

    def serve() -> None:
        peer = server.accept()[0]
        greetings.append(peer.recv(1024).partition(b"EXTERNAL ")[2])
        peer.sendall(b"OK 0123\r\n")
        parser, asked = Parser(), []
        while not asked:
            asked = parser.feed(peer.recv(4096))
        peer.sendall(new_method_return(asked[0], "v", (("s", "/here"),)).serialise(serial=1))
        peer.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    monkeypatch.setattr(bus, "addresses", lambda **_who: [(address, False)])
    connection = bus.Bus(user=False)
    try:
        assert connection.property("ControlGroup") == "/here"
        assert greetings == [str(os.getuid()).encode().hex().encode() + b"\r\nBEGIN\r\n"]
    finally:
        connection.close()
        thread.join(10)
        server.close()
