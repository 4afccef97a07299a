"""checkpoint and restore of real containers, with tests/run/fake_criu.py in criu's place."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from test_life import cgroups, config, new_id, running, state, write_config

RUN = Path(__file__).parents[1] / "run"
sys.path.insert(0, str(RUN))

from fake_criu import field, notice  # noqa: E402

from pyrunc.run.criu import decode  # noqa: E402

TYPE_CHECKING = False
if TYPE_CHECKING:
    from conftest import Containers, Result

pytestmark = pytest.mark.root

DUMP, RESTORE, VERSION = 1, 2, 10
OK = field(2, 1)
VERSION_4_2 = (field(1, VERSION) + OK + field(10, field(1, 4) + field(2, 2))).hex()
RESTORED = (field(1, RESTORE) + OK).hex()
REFUSED = (field(1, RESTORE) + field(2, 0) + field(7, 22)).hex()


class Story:
    """Containers, and a criu whose answers are set by the test."""

    def __init__(self, containers: Containers, directory: Path) -> None:
        self.containers, self.place = containers, directory / "criu"
        self.image = directory / "image"
        self.image.mkdir()
        self.place.mkdir()
        criu = self.place / "criu"
        criu.write_text(f"#!{sys.executable} -IS\n{(RUN / 'fake_criu.py').read_text()}")
        criu.chmod(0o755)

    def answers(self, **answers: list[str]) -> None:
        told = {"10": [VERSION_4_2]} | {number.strip("_"): value for number, value in answers.items()}
        (self.place / "answers.json").write_text(json.dumps(told))

    def __call__(self, command: str, *words: str | Path) -> Result:
        env = {"PATH": f"{self.place}:{os.environ['PATH']}"}
        where = ("--image-path", self.image, "--work-path", self.place / "work")
        return self.containers(command, *where, *words, env=env)

    def restore(self, *words: str | Path) -> Result:
        return self("restore", "--detach", "--bundle", self.containers.bundle, *words)

    def dumped(self, *descriptors: str) -> None:
        (self.image / "descriptors.json").write_text(json.dumps(descriptors))

    def options(self, kind: int) -> bytes:
        """Return the options of the one request of a type."""
        asked = [bytes.fromhex(line) for line in (self.place / "asked").read_text().splitlines()]
        (found,) = [decode(one)[2] for one in asked if decode(one)[1] == kind]
        assert isinstance(found, bytes)
        return found


@pytest.fixture
def story(containers: Containers, tmp_path: Path) -> Story:
    return Story(containers, tmp_path)


def test_a_dump_ends_the_container(story: Story) -> None:
    name = running(story.containers)
    story.answers(_1=[notice("network-lock").hex(), notice("post-dump").hex(), (field(1, DUMP) + OK).hex()])
    assert story("checkpoint", "--leave-running", name).err == ""
    assert state(story.containers, name)["status"] == "running"
    assert story("checkpoint", name).err == ""
    assert "does not exist" in story.containers("state", name).err
    assert not cgroups(name)


def test_a_pre_dump_says_nothing(story: Story) -> None:
    name = running(story.containers)
    story.answers(
        _9=[(field(1, 9) + OK + field(8, field(1, 1))).hex()],
        _4=[notice("pre-dump").hex(), (field(1, 4) + OK).hex()],
    )
    result = story("checkpoint", "--pre-dump", name)
    assert (result.code, result.err) == (0, "")
    assert state(story.containers, name)["status"] == "running"


def test_a_dump_beside_its_parent(story: Story) -> None:
    """The directory of the images need not be there yet, and its way may be a link."""
    name = running(story.containers)
    story.answers(_1=[(field(1, DUMP) + OK).hex()])
    first, link = story.image.parent / "deep/first", story.image.parent / "link"
    first.mkdir(parents=True)
    link.symlink_to("deep")
    story.image = link / "second"
    refused = story("checkpoint", "--leave-running", "--parent-path", "../none", name)
    assert (refused.code, story.image.exists()) == (1, False)
    assert "invalid --parent-path: ../none: no such file or directory" in refused.err

    done = story("checkpoint", "--leave-running", "--parent-path", "../first", name)

    assert (done.code, done.err) == (0, "")
    assert story.image.is_dir()


def test_a_dump_that_fails_leaves_the_container(story: Story) -> None:
    name = running(story.containers)
    pid = state(story.containers, name)["pid"]
    story.answers(_1=[notice("pre-dump").hex(), (field(1, DUMP) + field(2, 0) + field(7, 16)).hex()])
    result = story("checkpoint", name)
    assert result.code == 1
    assert "criu failed: type DUMP errno 16" in result.err
    assert result.err.count("\n") == 1
    assert state(story.containers, name)["pid"] == pid
    assert state(story.containers, name)["status"] == "running"


def test_a_restored_container_is_like_any_other(story: Story, tmp_path: Path) -> None:
    """Hooks when the namespaces are there, state, pid file, cgroup; and it can be deleted."""
    made = config()
    made["hooks"] = {"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", f"cat > {tmp_path}/told"]}]}
    write_config(story.containers, made)
    name, pid_file = new_id(), tmp_path / "pid"
    story.dumped("/dev/null", "pipe:[1]", "pipe:[2]")
    story.answers(_2=[notice("setup-namespaces", os.getpid()).hex(), "fork", RESTORED])
    result = story.restore("--pid-file", pid_file, name)
    assert (result.code, result.err) == (0, "")

    now = state(story.containers, name)
    assert now["status"] == "running"
    assert pid_file.read_text() == str(now["pid"])
    told = json.loads((tmp_path / "told").read_text())
    assert (told["pid"], told["status"]) == (os.getpid(), "creating")
    assert name in Path(f"/proc/{now['pid']}/cgroup").read_text()
    options = story.options(RESTORE)
    for number, key in ((1, b"pipe:[1]"), (2, b"pipe:[2]")):
        entry = field(1, key) + field(2, number)
        assert b"\xda\x01" + bytes([len(entry)]) + entry in options, "inherit_fd"
    assert name.encode() in options, "cg_root"
    assert decode(options)[38] == 0x40000000, "the network is the hooks' matter"
    story.containers.ok("delete", "--force", name)
    assert not cgroups(name)


@pytest.mark.parametrize(
    ("words", "number", "sent"),
    [
        (("--tcp-close",), 52, 1),
        (("--lsm-profile", "apparmor:x"), 53, b"apparmor:x"),
        (("--lsm-mount-context", "c"), 63, b"c"),
        (("--network-lock", "skip"), 64, 3),
        (("--shell-job",), 7, 1),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_options_of_restore(story: Story, words: tuple[str, ...], number: int, sent: object) -> None:
    write_config(story.containers, config())
    story.dumped("", "", "")
    story.answers(_2=[REFUSED])
    assert "criu failed: type RESTORE errno 22" in story.restore(*words, new_id()).err
    told = decode(story.options(RESTORE))
    assert told[number] == sent
    assert (told[26], told[6]) == (1, 1), "a child of ours, and devices as they are"


def test_a_namespace_by_path_is_handed_over(story: Story) -> None:
    kinds = [{"type": kind} for kind in ("pid", "mount", "ipc", "uts")]
    made = config(namespaces=[*kinds, {"type": "network", "path": f"/proc/{os.getpid()}/ns/net"}])
    write_config(story.containers, made)
    story.dumped("", "", "")
    story.answers(_2=[REFUSED])
    assert "errno 22" in story.restore(new_id()).err
    given = decode(story.options(RESTORE))[27]
    assert isinstance(given, bytes)
    assert decode(given)[1] == b"extRootNetNS"


@pytest.mark.parametrize("before", [[], ["fork"]], ids=["at-once", "with-processes"])
def test_a_restore_that_fails_leaves_nothing(story: Story, before: list[str]) -> None:
    write_config(story.containers, config())
    name = new_id()
    story.dumped("", "", "")
    story.answers(_2=[*before, REFUSED])
    result = story.restore(name)
    assert result.code == 1
    assert "criu failed: type RESTORE errno 22" in result.err
    assert not cgroups(name)
    assert not (story.containers.root / name).exists()


def test_a_criu_that_restores_nothing_is_an_error(story: Story) -> None:
    write_config(story.containers, config())
    name = new_id()
    story.dumped("", "", "")
    story.answers(_2=[RESTORED])
    assert "it has restored no process" in story.restore(name).err
    assert not cgroups(name)


@pytest.mark.parametrize("text", ["{", "[1]", '["a", "b", "c", "d"]', "null"])
def test_descriptors_that_are_damaged(story: Story, text: str) -> None:
    write_config(story.containers, config())
    story.answers()
    (story.image / "descriptors.json").write_text(text)
    name = new_id()
    assert f"{story.image}/descriptors.json: damaged" in story.restore(name).err
    assert not (story.containers.root / name).exists()


def test_mountpoints_are_made_below_the_root(story: Story, tmp_path: Path) -> None:
    """A link of the image does not lead out; what is a file outside becomes a file."""
    (tmp_path / "outside").mkdir()
    (story.containers.bundle / "rootfs/link").symlink_to("../../outside")
    made = config()
    made["mounts"] += [
        {"destination": "/a/b", "type": "bind", "source": str(tmp_path), "options": ["bind"]},
        {"destination": "/link/c", "type": "bind", "source": str(tmp_path), "options": ["bind"]},
        {"destination": "/etc/one", "type": "bind", "source": "/etc/passwd", "options": ["bind"]},
    ]
    write_config(story.containers, made)
    rootfs = story.containers.bundle / "rootfs"
    (rootfs / "outside").mkdir()
    story.dumped("", "", "")
    story.answers(_2=[REFUSED])
    story.restore(new_id())
    assert (rootfs / "a/b").is_dir()
    assert (rootfs / "etc/one").is_file()
    assert (rootfs / "outside/c").is_dir()
    assert not list((tmp_path / "outside").iterdir())
