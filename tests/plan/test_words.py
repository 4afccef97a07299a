"""The small functions of the stages: options, paths, names."""

from __future__ import annotations

import json
import os

import pytest
from cases import HOST, base, compile_config, minimal
from goldens import userns, with_mount

from pyrunc.errors import SpecError
from pyrunc.plan.context import relative
from pyrunc.plan.namespaces import setgroups_denied
from pyrunc.plan.options import Options, split_data
from pyrunc.plan.process import candidates
from pyrunc.plan.request import Facts, Source
from pyrunc.plan.resources import sysctl_path
from pyrunc.run.facts import gather, mount_point
from pyrunc.spec.model import IDMapping, Mount
from pyrunc.spec.parse import parse_config

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("path", "expected"),
    [("/", ""), ("/a//b/./c", "a/b/c"), ("a/../../b", "b"), ("/a/..", ""), ("/../../x/", "x")],
)
def test_relative_paths_stay_below_the_root(path: str, expected: str) -> None:
    """A destination is cleaned, and cannot climb."""
    assert relative(path) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("size=1k", ["size=1k"]),
        ("size=1k,mode=755", ["size=1k", "mode=755"]),
        ('context="a,b",ro=1', ['context="a,b"', "ro=1"]),
        ("lowerdir=/a\\,b:/c,volatile", ["lowerdir=/a\\,b:/c", "volatile"]),
        (",", []),
        ("", []),
    ],
)
def test_data_is_split_as_the_kernel_would(text: str, expected: list[str]) -> None:
    """One option may hold several, but a comma can be quoted."""
    assert split_data(text) == expected


def test_later_options_win() -> None:
    """Options are folded in their order, and a change of atime clears the whole field."""
    options = Options(
        Mount(destination="/", options=("ro", "nosuid", "rw", "noatime", "relatime", "suid", "rro", "rbind"))
    )
    assert (options.mount.on, options.mount.off & 0x3) == (0, 0x3)
    assert options.mount.off & 0x70 == 0x70
    assert options.tree.on == 0x1
    assert (options.bind, options.recursive) == (True, True)


@pytest.mark.parametrize(
    ("kind", "options", "recursive"),
    [
        ("bind", (), True),
        ("bind", ("bind",), False),
        (None, ("rbind",), True),
        ("bind", ("rbind", "bind"), True),
    ],
)
def test_which_binds_are_recursive(kind: str | None, options: tuple[str, ...], recursive: bool) -> None:
    """The type alone means rbind; an option says it exactly."""
    assert Options(Mount(destination="/x", type=kind, options=options)).recursive is recursive


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
        ("net/ipv4/conf/eth0.5/forwarding", "net/ipv4/conf/eth0.5/forwarding"),
        ("net.ipv4.conf.eth0/5.forwarding", "net/ipv4/conf/eth0.5/forwarding"),
    ],
)
def test_sysctl_names(name: str, path: str) -> None:
    """The first separator tells which one separates."""
    assert sysctl_path(name) == path


@pytest.mark.parametrize(
    ("program", "env", "expected"),
    [
        ("/bin/x", (), ("/bin/x",)),
        ("./x", ("PATH=/bin",), ("./x",)),
        ("x", ("PATH=/a:/b/:/a",), ("/a/x", "/b/x")),
        ("x", ("PATH=/a", "PATH=/b"), ("/b/x",)),
        ("x", (), ("/bin/x", "/usr/bin/x")),
        ("x", ("PATH=.::rel",), ("",)),
    ],
)
def test_where_a_program_is_looked_for(program: str, env: tuple[str, ...], expected: tuple[str, ...]) -> None:
    """PATH of the container's environment, absolute entries only."""
    assert candidates(program, env) == expected


def test_when_setgroups_is_given_up() -> None:
    """Only an ordinary user who maps no other group than their own must deny setgroups."""
    user = type(HOST)(**(HOST.__dict__ | {"euid": 1000, "egid": 1000}))
    own = (IDMapping(container_id=0, host_id=1000, size=1),)
    more = (*own, IDMapping(container_id=1, host_id=100000, size=65536))
    assert [setgroups_denied(own, user), setgroups_denied(more, user), setgroups_denied(own, HOST)] == [
        True,
        False,
        False,
    ]


@pytest.mark.parametrize(
    ("config", "at"),
    [
        (with_mount("/a", "bind", "/b", "size=1k"), "mounts[0].options"),
        (with_mount("/a", None, None, "remount", "size=1k"), "mounts[0].options"),
        (with_mount("/a", "tmpfs", "x" * 256), "mounts[0].source"),
        (with_mount("/a", "overlay", "o", f"upperdir=/{'x' * 255}"), "mounts[0].options"),
    ],
)
def test_what_cannot_be_asked_of_the_kernel_is_an_error(config: dict[str, object], at: str) -> None:
    """Options that have no place are refused, never dropped."""
    with pytest.raises(SpecError) as caught:
        compile_config(config)
    assert [fault.at for fault in caught.value.faults] == [at]


@pytest.mark.parametrize(("own_ids", "expected"), [(True, "RPC"), (False, "OPEN_TREE")])
def test_a_source_that_the_ids_of_the_container_cannot_reach(own_ids: bool, expected: str) -> None:
    """The parent is asked for it; without a user namespace the executor has the caller's ids."""
    config = with_mount("/data", "bind", "/closed/vol", "bind")
    if own_ids:
        config = userns(config)
    plan = compile_config(config, facts=Facts({"mounts[0].source": Source("dir", reachable=False)}))
    assert [op.name for op in plan.ops if op.at == "mounts[0].source"] == [expected]


def test_groups_where_setgroups_is_denied() -> None:
    """They are refused when they cannot be set, and without any nothing is set."""
    host = type(HOST)(**(HOST.__dict__ | {"in_userns": True, "setgroups": False}))
    config = base()
    assert {op.args[3] for op in compile_config(config, host).ops if op.name == "SETRES"} == {0}
    config["process"]["user"]["additionalGids"] = [5]
    with pytest.raises(SpecError, match="additionalGids: setgroups is denied in this user namespace"):
        compile_config(config, host)


def test_no_cgroup_hierarchy() -> None:
    """A cgroup mount on a host without cgroups is refused."""
    from pyrunc.host import CgroupLayout

    host = type(HOST)(**(HOST.__dict__ | {"cgroup": CgroupLayout("none")}))
    with pytest.raises(SpecError, match="no cgroup hierarchy"):
        compile_config(base(), host)


def test_long_lowerdir_needs_a_newer_kernel() -> None:
    """Layers are added one by one from Linux 6.5 on; data-only ones, and colons in paths, survive."""
    config = with_mount("/m", "overlay", "o", "lowerdir=" + "/l" * 130 + ":/a\\:b::/data")
    with pytest.raises(SpecError):
        compile_config(config)
    config["mounts"][0]["options"] = ["lowerdir=" + ":".join("/l" * 60 for _ in range(4)) + ":/a\\:b::/data"]
    plan = compile_config(config)
    values = [op.args[2:] for op in plan.ops if op.name == "FSCONFIG" and "dir" in op.args[2]]
    assert values[-2:] == [("lowerdir+", "/a:b"), ("datadir+", "/data")]
    with pytest.raises(SpecError):
        compile_config(config, type(HOST)(**(HOST.__dict__ | {"kernel": (5, 15)})))


def test_subjects_of_messages() -> None:
    """An operation can tell what it was about, in the user's words."""
    config = minimal()
    config["process"]["args"] = ["prog"]
    config["mounts"] = base()["mounts"][:2]
    subjects = {(op.name, op.subject()) for op in compile_config(config).ops}
    assert {
        ("OPEN", "/"), ("MKPATH", "/proc"), ("FSOPEN", "proc"), ("FSCONFIG", "size=65536k"), ("FIND", "prog"),
        ("EXEC", "prog"), ("NODE", "null"), ("RPC", ""), ("OPEN_TREE", "/bundle/rootfs"),
    } <= subjects  # fmt: skip


def test_facts_of_a_bundle(tmp_path: Path) -> None:
    """Sources are directories, files or missing; relative ones lie in the bundle."""
    (tmp_path / "dir").mkdir()
    (tmp_path / "file").touch()
    config = minimal()
    config["mounts"] = [
        {"destination": "/x", "source": source, "options": ["bind"]}
        for source in ("dir", str(tmp_path / "file"), "none")
    ]
    config["mounts"].append({"destination": "/t", "type": "tmpfs", "source": "tmpfs"})
    config["linux"]["rootfsPropagation"] = "shared"
    (tmp_path / "rootfs").mkdir()
    facts = gather(parse_config(json.dumps(config).encode()), str(tmp_path), HOST, None)
    assert {at: source.kind for at, source in facts.sources.items()} == {
        "mounts[0].source": "dir", "mounts[1].source": "file", "mounts[2].source": "missing",
    }  # fmt: skip
    assert tmp_path.is_relative_to(facts.rootfs_mount)
    assert os.path.ismount(facts.rootfs_mount)


def test_mount_point_of_nothing_is_the_root() -> None:
    """A path that is not there does not stop the gathering of facts."""
    assert mount_point("/no/such/path") == "/"
    assert mount_point("/proc/self") == "/proc"


def test_questions_of_the_executor_cost_no_reading_of_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parent looks at each while the executor waits for the answer; the list of operations is parsed at each call."""
    questions = [op for op in compile_config(base()).ops if op.name == "RPC"]
    monkeypatch.setattr("pyrunc.plan.ops.signatures", lambda: pytest.fail("parsed the list of operations"))
    assert len(questions) > 2
    assert {op.subject() for op in questions} == {""}
