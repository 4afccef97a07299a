"""What criu is asked, byte by byte, and what is made of its answers; fake_criu.py plays criu."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from fake_criu import field, notice

from pyrunc.cli.table import COMMANDS
from pyrunc.errors import HostError, StateError, UsageError
from pyrunc.run import checkpoint as module
from pyrunc.run.checkpoint import Checkpoint, check_outside, mount_roots
from pyrunc.run.criu import Criu, ask_once, check_feature, check_version, decode, encode, number_of
from pyrunc.spec.parse import parse_config

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Fake = Callable[..., Path]

DUMP, RESTORE, PRE_DUMP, FEATURE, VERSION = 1, 2, 4, 9, 10
OK = field(2, 1)
VERSION_4_2 = (field(1, VERSION) + OK + field(10, field(1, 4) + field(2, 2) + field(4, 1))).hex()
DUMPED = (field(1, DUMP) + OK).hex()
CONFIG: dict[str, Any] = {
    "ociVersion": "1.0.2",
    "process": {"cwd": "/", "args": ["sleep"], "user": {"uid": 0, "gid": 0}},
    "root": {"path": "rootfs"},
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/data", "type": "bind", "source": "/srv", "options": ["rbind"]},
    ],
    "linux": {"namespaces": [{"type": "mount"}], "maskedPaths": ["/proc/keys", "/proc/not-there"]},
}


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Put a criu with these answers on $PATH, by the number of the request's type; return the file of what it is asked."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))

    def make(**answers: list[str]) -> Path:
        place = tmp_path / "bin"
        place.mkdir(exist_ok=True)
        text = Path(__file__).with_name("fake_criu.py").read_text()
        (place / "criu").write_text(f"#!{sys.executable} -IS\n{text}")
        (place / "criu").chmod(0o755)
        (place / "answers.json").write_text(json.dumps({k.strip("_"): v for k, v in answers.items()}))
        return place / "asked"

    return make


def requests(asked: Path) -> list[bytes]:
    return [bytes.fromhex(line) for line in asked.read_text().splitlines()]


def arguments(tmp_path: Path, **given: object) -> SimpleNamespace:
    options: dict[str, object] = {name: default for name, _, _, default, *_ in COMMANDS["checkpoint"][4]}
    options |= {"image-path": str(tmp_path / "image"), "work-path": str(tmp_path / "work")}
    return SimpleNamespace(options=options | {name.replace("_", "-"): value for name, value in given.items()})


def container(config: dict[str, Any] | None = None) -> Any:
    """Return an entry whose container is this process."""
    spec = parse_config(json.dumps(config or CONFIG).encode())
    told = SimpleNamespace(init_process_pid=os.getpid(), rootfs="/b/rootfs", cgroup_paths={"freezer": "/f/c"})
    return SimpleNamespace(container=told, read_spec=lambda: spec)


def dump(tmp_path: Path, config: dict[str, Any] | None = None, **given: object) -> None:
    Checkpoint(arguments(tmp_path, **given), container(config)).run()  # type: ignore[arg-type]


# ---- the encoding ----


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ({"type": 1}, "0801"),
        ({"type": 1, "notify_success": True}, "08011801"),
        ({"opts": {"pid": 300}}, "12 03 10 ac02"),
        ({"opts": {"pid": -1}}, "12 0b 10 ffffffffffffffffff01"),
        ({"opts": {"log_file": "dump.log"}}, "12 0a 52 08 64756d702e6c6f67"),
        ({"opts": {"network_lock": 3}}, "12 03 8004 03"),
        ({"opts": {"external": ["a", "b"]}}, "12 08 aa02 01 61 aa02 01 62"),
        ({"opts": {"ext_mnt": [{"key": "/k", "val": "/v"}]}}, "12 0b ba01 08 0a 02 2f6b 12 02 2f76"),
        ({"opts": {"cg_root": [{"path": "/p"}]}}, "12 07 ca01 04 12 02 2f70"),
    ],
    ids=lambda value: "" if isinstance(value, str) else str(value),
)
def test_bytes_on_the_wire(message: dict[str, Any], expected: str) -> None:
    """As protoc would; by hand from the description of the encoding."""
    from pyrunc.run.criu import REQUEST

    assert encode(REQUEST, message) == bytes.fromhex(expected)


def test_decoding_passes_unknown_kinds_over() -> None:
    assert decode(bytes.fromhex("0801 19 0102030405060708 25 01020304 120161")) == {
        1: 1, 3: bytes(range(1, 9)), 4: bytes(range(1, 5)), 2: b"a",
    }  # fmt: skip


@pytest.mark.parametrize("text", ["08", "0a05", "0b", "ff", "1901"])
def test_what_is_no_message_is_an_error(text: str) -> None:
    with pytest.raises(StateError, match="not a message"):
        decode(bytes.fromhex(text))


# ---- each option ----


FLAGS = {
    "leave_running": 3, "ext_unix_sk": 4, "tcp_established": 5, "shell_job": 7, "file_locks": 8,
    "auto_dedup": 16, "link_remap": 18, "tcp_skip_in_flight": 46,
}  # fmt: skip


def options_of(asked: Path, kind: int) -> dict[int, int | bytes]:
    (request,) = [one for one in map(decode, requests(asked)) if one[1] == kind]
    inner = request[2]
    assert isinstance(inner, bytes)
    return decode(inner)


@pytest.mark.parametrize("flag", FLAGS)
def test_flags(fake: Fake, tmp_path: Path, flag: str) -> None:
    asked = fake(_10=[VERSION_4_2], _1=[DUMPED])
    dump(tmp_path, **{flag: True})
    told = options_of(asked, DUMP)
    assert {name for name, number in FLAGS.items() if number_of(told, number)} == {flag}


@pytest.mark.parametrize(
    ("option", "value", "number", "sent"),
    [
        ("manage_cgroups_mode", "ignore", 34, 0),
        ("manage_cgroups_mode", "", 34, 3),
        ("manage_cgroups_mode", "full", 34, 4),
        ("manage_cgroups_mode", "strict", 34, 5),
        ("network_lock", "iptables", 64, 1),
        ("network_lock", "nftables", 64, 2),
        ("network_lock", "skip", 64, 3),
        ("empty_ns", ["network"], 38, 0x40000000),
        ("page_server", "127.0.0.1:27", 11, bytes.fromhex("0a09 3132372e302e302e31 101b")),
        ("page_server", "[::1]:27", 11, bytes.fromhex("0a03 3a3a31 101b")),
        ("status_fd", 2, 49, 2),
    ],
)
def test_options_with_values(
    fake: Fake, tmp_path: Path, option: str, value: object, number: int, sent: object
) -> None:
    asked = fake(_10=[VERSION_4_2], _1=[DUMPED])
    dump(tmp_path, **{option: value})
    assert options_of(asked, DUMP)[number] == sent


def test_what_is_always_told(fake: Fake, tmp_path: Path) -> None:
    asked = fake(_10=[VERSION_4_2], _1=[DUMPED])
    dump(tmp_path)
    told = options_of(asked, DUMP)
    assert told[2] == os.getpid()
    assert (told[10], told[13], told[44]) == (b"dump.log", b"/b/rootfs", b"/f/c")
    assert told[23] == field(1, b"/data") + field(2, b"/data"), (
        "the bind mount; what is masked but not there is not"
    )
    assert {12, 24, 50} <= set(told), "notifications, cgroups, the terminal's master"
    assert 51 not in told or os.path.lexists("/etc/criu/runc.conf")
    assert json.loads((tmp_path / "image/descriptors.json").read_text()) == [
        os.readlink(f"/proc/self/fd/{fd}") for fd in range(3)
    ]


def test_the_configuration_file_of_the_annotation(fake: Fake, tmp_path: Path) -> None:
    asked = fake(_10=[VERSION_4_2], _1=[DUMPED])
    dump(tmp_path, CONFIG | {"annotations": {"org.criu.config": "/my.conf"}})
    assert options_of(asked, DUMP)[51] == b"/my.conf"


def test_namespaces_by_path_are_external(fake: Fake, tmp_path: Path) -> None:
    asked = fake(_10=[VERSION_4_2], _1=[DUMPED])
    namespaces = [{"type": "network", "path": "/proc/self/ns/net"}, {"type": "mount"}]
    dump(tmp_path, CONFIG | {"linux": {"namespaces": namespaces}})
    inode = os.stat("/proc/self/ns/net").st_ino
    assert options_of(asked, DUMP)[37] == f"net[{inode}]:extRootNetNS".encode()


@pytest.mark.parametrize("kind", ["prestart", "createRuntime", "poststart"])
def test_a_network_by_hooks_is_left_out(fake: Fake, tmp_path: Path, kind: str) -> None:
    """They run again at restore, and would find their own network devices there."""
    asked = fake(_10=[VERSION_4_2], _1=[DUMPED])
    dump(tmp_path, CONFIG | {"hooks": {kind: [{"path": "/bin/true"}]}})
    assert options_of(asked, DUMP).get(38, 0) == (0 if kind == "poststart" else 0x40000000)


def test_hierarchies_and_masked_files_are_external(
    fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    roots = {"/sys/fs/cgroup": "/", "/sys/fs/cgroup/pids": "/c", "/proc/keys": "/null", "/proc/acpi": "/"}
    monkeypatch.setattr(module, "mount_roots", lambda _pid: roots)
    mounts = [{"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup"}]
    linux = {"maskedPaths": ["/proc/keys", "/proc/acpi"]}
    given = container(CONFIG | {"mounts": mounts, "linux": linux})
    asked = Checkpoint(arguments(tmp_path), given)._options()["ext_mnt"]  # type: ignore[arg-type]
    assert asked == [
        {"key": "/sys/fs/cgroup/pids", "val": "/sys/fs/cgroup/pids"},
        {"key": "/proc/keys", "val": "/dev/null"},
    ]


def test_mounts_of_a_process() -> None:
    assert mount_roots(os.getpid())["/proc"] == "/"
    with pytest.raises(StateError, match=r"/proc/0/mountinfo: no such file"):
        mount_roots(0)


def test_pre_dump(fake: Fake, tmp_path: Path) -> None:
    able = (field(1, FEATURE) + OK + field(8, field(1, 1))).hex()
    asked = fake(_10=[VERSION_4_2], _9=[able], _4=[(field(1, PRE_DUMP) + OK).hex()])
    dump(tmp_path, pre_dump=True)
    told = options_of(asked, PRE_DUMP)
    assert (told[3], told[15]) == (1, 1), "leave it running, track memory"
    assert 23 not in told
    assert not (tmp_path / "image/descriptors.json").exists()


def test_a_parent(fake: Fake, tmp_path: Path) -> None:
    asked = fake(_10=[VERSION_4_2], _1=[DUMPED])
    for name in ("image", "first"):
        (tmp_path / name).mkdir()
    dump(tmp_path, parent_path="../first")
    told = options_of(asked, DUMP)
    assert (told[14], told[15]) == (b"../first", 1)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"network_lock": "x"}, "invalid network-lock value: x"),
        ({"manage_cgroups_mode": "x"}, "invalid manage-cgroups-mode value"),
        ({"empty_ns": ["ipc"]}, 'namespace "ipc" is not supported'),
        ({"parent_path": "/x"}, "--parent-path must be relative"),
        ({"parent_path": "x"}, "invalid --parent-path: x: no such file or directory"),
        ({"page_server": "x"}, "Use --page-server ADDRESS:PORT"),
        ({"page_server": "x:99999"}, "Invalid port number"),
        ({"status_fd": 99}, "invalid --status-fd argument 99"),
    ],
)
def test_bad_values(tmp_path: Path, given: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        dump(tmp_path, **given)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("linux", "words"),
    [
        ({"namespaces": [{"type": "user"}]}, "user namespace"),
        ({"intelRdt": {"closID": "x"}}, "resctrl"),
    ],
)
def test_what_is_not_built_is_refused(linux: dict[str, object], words: str) -> None:
    with pytest.raises(StateError, match=words):
        check_outside(parse_config(json.dumps(CONFIG | {"linux": linux}).encode()))


# ---- answers ----


def test_no_criu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HostError, match="need criu"):
        dump(tmp_path)


@pytest.mark.parametrize(("major", "minor", "fine"), [(2, 12, False), (3, 0, True), (4, 2, True)])
def test_versions(fake: Fake, major: int, minor: int, fine: bool) -> None:
    fake(_10=[(field(1, VERSION) + OK + field(10, field(1, major) + field(2, minor))).hex()])
    if fine:
        check_version()
    else:
        with pytest.raises(HostError, match=r"criu is too old: CRIU 3\.0 is needed"):
            check_version()


def test_a_version_for_an_option(fake: Fake) -> None:
    fake(_10=[(field(1, VERSION) + OK + field(10, field(1, 3) + field(2, 15))).hex()])
    with pytest.raises(HostError, match=r"--lsm-profile requires at least CRIU 3\.16"):
        check_version(31600, "--lsm-profile")


def test_a_feature_that_is_missing(fake: Fake) -> None:
    fake(_9=[(field(1, FEATURE) + OK + field(8, field(2, 1))).hex()])
    check_feature("lazy_pages", 2)
    with pytest.raises(HostError, match="mem_track is not supported"):
        check_feature("mem_track", 1)


def test_a_dump_that_fails_tells_the_end_of_the_log(fake: Fake, tmp_path: Path) -> None:
    fake(_10=[VERSION_4_2], _1=[(field(1, DUMP) + field(2, 0) + field(7, 52)).hex()])
    (tmp_path / "work").mkdir()
    errors = [f"(00.00{n}) Error (criu/a.c:{n}): what {n}\n" for n in range(5)]
    (tmp_path / "work/dump.log").write_text("(00.0) Dumping\n" + "".join(errors))
    with pytest.raises(StateError) as caught:
        dump(tmp_path)
    assert str(caught.value) == (
        f"criu failed: type DUMP errno 52: what 2: what 3: what 4 (log file: {tmp_path}/work/dump.log)"
    )


def test_a_criu_that_dies(fake: Fake, tmp_path: Path) -> None:
    fake(_10=[VERSION_4_2], _1=[notice("pre-dump").hex(), "end"])
    with pytest.raises(StateError, match="criu failed: type DUMP: "):
        dump(tmp_path)


def test_notifications(fake: Fake) -> None:
    """Each is acknowledged before criu goes on; a terminal comes as a descriptor."""
    scripts = [notice("network-lock").hex(), notice("setup-namespaces", 300).hex(), "tty"]
    asked = fake(_2=[*scripts, (field(1, RESTORE) + OK).hex()])
    told: list[tuple[str, int, bool]] = []

    def hear(script: str, pid: int, fd: int) -> None:
        told.append((script, pid, fd >= 0 and os.isatty(fd)))
        if fd >= 0:
            os.close(fd)

    criu = Criu()
    try:
        criu.ask("RESTORE", hear)
    finally:
        criu.close()
    assert told == [
        ("network-lock", 0, False), ("setup-namespaces", 300, False), ("orphan-pts-master", 0, True),
    ]  # fmt: skip
    assert [one.hex() for one in requests(asked)] == ["0802", *["08061801"] * 3]


def test_one_question(fake: Fake) -> None:
    fake(_10=[VERSION_4_2])
    assert ask_once("VERSION")[1] == VERSION
