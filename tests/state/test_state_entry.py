"""The state directory: ids, the lock, what is written when, and what damage does."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyrunc.errors import OpError, PyruncError, StateError, UsageError
from pyrunc.spec.model import Hook, Hooks, Linux, Namespace, Root, Spec
from pyrunc.state import CGROUP, NO_SUCH, STATE, Entry, StateRoot, check_id, open_root, process_start
from pyrunc.state.record import PHASES, Container, fields_of, parse_container, timestamp

if TYPE_CHECKING:
    from collections.abc import Iterator

NOT_RUNNING = "container not running"
SPEC = Spec(
    oci_version="1.3.0",
    root=Root(path="rootfs"),
    annotations={"a.b": "ü"},
    hooks=Hooks(poststop=(Hook(path="/bin/true"),)),
    linux=Linux(namespaces=(Namespace(type="pid"), Namespace(type="network", path="/x"))),
)


class NoCgroup:
    """Stands for the manager of a container without a cgroup."""

    paths: dict[str, str] = {}
    created: list[str] = []

    def expected(self) -> list[str]:
        return []


class Args:
    def __init__(self, root: Path) -> None:
        self.root = str(root)
        self.default_root = False


@pytest.fixture
def root(tmp_path: Path) -> StateRoot:
    return open_root(Args(tmp_path / "deep" / "root"), ensure=True)  # type: ignore[arg-type]  # what is used of Args


def begun(root: StateRoot, name: str = "c1") -> Entry:
    entry = root.create(name)
    entry.begin(SPEC, b'{"ociVersion": "1.3.0"}', "/bundle", NoCgroup(), rootless=False)  # type: ignore[arg-type]
    return entry


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "60"]) as child:
        yield child
        child.kill()


def made(root: StateRoot, pid: int, phase: str = "running", name: str = "c1") -> Entry:
    entry = begun(root, name)
    entry.prepare(pid, phase, NoCgroup())  # type: ignore[arg-type]
    entry.ready()
    entry.unlock()
    return entry


# Ids.

BAD_IDS = [
    "",
    ".",
    "..",
    "a/b",
    "../x",
    "/etc",
    "é",
    "a b",
    "a\n",
    "a\0b",
    "x" * 256,
    "a\x1b[0m",
    "a:b",
    "~",
    "a\\b",
]


@pytest.mark.parametrize("name", BAD_IDS)
def test_a_bad_id_is_refused_by_every_door_and_reaches_no_path(
    root: StateRoot, name: str, tmp_path: Path
) -> None:
    before = sorted(path for path in tmp_path.rglob("*"))

    for door in (check_id, root.create, root.open, root.open_directory):
        with pytest.raises(UsageError) as caught:
            door(name)
        text = str(caught.value)
        assert text.startswith("invalid container ID format: " if name else "container id cannot be empty")
        assert text.isprintable()

    assert sorted(path for path in tmp_path.rglob("*")) == before


@given(st.text(max_size=300))
def test_an_id_that_passes_is_one_name_of_plain_ascii(name: str) -> None:
    try:
        check_id(name)
    except UsageError:
        return
    assert 0 < len(name) <= 255
    assert name.isascii()
    assert name.isprintable()
    assert not {"/", "\0", " "} & set(name)
    assert os.path.normpath(f"/r/{name}") == f"/r/{name}"


@pytest.mark.parametrize("name", ["a", "A-1_2+3.4", ".hidden", "...", "x" * 255, "-rf"])
def test_a_good_id_passes(name: str) -> None:
    check_id(name)


# Files and modes.


def test_everything_is_closed_to_others_under_any_umask(root: StateRoot) -> None:
    old = os.umask(0)
    try:
        entry = made(root, os.getpid())
        os.close(entry.listen())
        entry.write_steps(3, [["EXEC", "process.args", "sh", "process.args"]])
    finally:
        os.umask(old)

    top = Path(root.path)
    for path in (top, *top.rglob("*")):
        assert stat.S_IMODE(path.lstat().st_mode) & 0o077 == 0, path


def test_the_state_comes_back(root: StateRoot) -> None:
    written = made(root, os.getpid()).container

    with root.open("c1") as entry:
        assert entry.container == written
        assert entry.read_spec().oci_version == "1.3.0"

    assert (written.bundle, written.rootfs) == ("/bundle", "/bundle/rootfs")
    assert written.annotations == {"a.b": "ü"}
    assert written.hooks
    assert written.own_pid_namespace
    assert (written.init_process_pid, written.init_process_start) == (os.getpid(), process_start(os.getpid()))


def test_a_pid_namespace_that_is_joined_is_not_its_own(root: StateRoot) -> None:
    entry = root.create("c1")
    spec = Spec(oci_version="1.3.0", linux=Linux(namespaces=(Namespace(type="pid", path="/proc/1/ns/pid"),)))

    entry.begin(spec, b"{}", "/b", NoCgroup(), rootless=False)  # type: ignore[arg-type]

    assert not entry.container.own_pid_namespace
    assert not entry.container.hooks


def test_steps_come_back(root: StateRoot) -> None:
    entry = made(root, os.getpid())
    entry.write_steps(7, [["EXEC", "process.args", "sh", "x"]])

    assert entry.read_steps() == (7, [["EXEC", "process.args", "sh", "x"]])


@pytest.mark.parametrize(
    "steps",
    [b"[]", b"{}", b'{"first": "1", "steps": []}', b'{"first": 1, "steps": {}}', b'{"first": 1}',
     b'{"first": 1, "steps": [["a", "b", "c"]]}', b'{"first": 1, "steps": [["a", "b", "c", 4]]}',
     b'{"first": 1, "steps": ["abcd"]}'],
)  # fmt: skip
def test_damaged_steps_are_told(root: StateRoot, steps: bytes) -> None:
    entry = made(root, os.getpid())
    entry.write("start.json", steps)

    with pytest.raises(StateError, match=r"start\.json: damaged$"):
        entry.read_steps()


def test_a_full_disk_leaves_the_old_state(root: StateRoot) -> None:
    code = f"""
import resource, signal, sys
sys.path[:0] = {sys.path!r}
from pyrunc.state import StateRoot
entry = StateRoot({root.path!r}).open("c1")
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
try:
    entry.enter("running")
except Exception as error:
    print(type(error).__name__, error)
"""
    made(root, os.getpid(), "created")

    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert out == f"OpError write {root.path}/c1/state.json: file too large\n"
    assert root.open("c1").container.phase == "created"


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1_500_000_000, "1970-01-01T00:00:01.5Z"),
        (1_700_000_000_123_456_789, "2023-11-14T22:13:20.123456789Z"),
        (1_000_000_010_000_000_000, "2001-09-09T01:46:50Z"),
        (10, "1970-01-01T00:00:00.00000001Z"),
    ],
)
def test_times_as_go_prints_them(nanoseconds: int, text: str) -> None:
    assert timestamp(nanoseconds) == text


def test_every_field_of_the_record_is_checked_when_it_is_read() -> None:
    assert set(fields_of(CONTAINER)) == set(Container.__annotations__)


CONTAINER = Container(
    id="c1", oci_version="1.3.0", bundle="/b", rootfs="/b/r", created="x", phase="created", init_process_pid=5,
    init_process_start=6, cgroup_paths={"": "/a/b"}, created_cgroups=("/a/b",), annotations={"k": "v"},
)  # fmt: skip
GOOD = {"pyrunc": 1, **fields_of(CONTAINER), "created_cgroups": ["/a/b"]}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=4,
)


def test_a_good_record_is_taken() -> None:
    assert parse_container(GOOD, "c1") == CONTAINER


@given(st.sampled_from(sorted(GOOD)), JSON)
def test_a_wrong_field_is_told_and_never_taken(key: str, value: object) -> None:
    try:
        container = parse_container({**GOOD, key: value}, "c1")
    except StateError as error:
        assert str(error).startswith("container c1: state.json: ")  # noqa: PT017 - one of two outcomes
    else:
        assert type(value) is type(GOOD[key])
        assert container.phase in PHASES
        assert container.id == "c1"
        assert container.init_process_pid >= 0
        assert all(
            type(path) is str for path in (*container.cgroup_paths.values(), *container.created_cgroups)
        )


# One id, one lock.


def test_an_id_is_taken_once(root: StateRoot) -> None:
    begun(root)

    with pytest.raises(StateError, match=r"^container with given ID already exists$"):
        root.create("c1")


def test_of_many_creators_one_wins(root: StateRoot) -> None:
    won: list[Entry] = []
    lost: list[str] = []

    def attempt() -> None:
        try:
            won.append(root.create("c1"))
        except StateError as error:
            lost.append(str(error))

    threads = [threading.Thread(target=attempt) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (len(won), len(lost)) == (1, 19)


def test_a_creator_that_a_delete_overtook_tries_again(
    root: StateRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = Entry.lock

    def overtaken(entry: Entry) -> None:
        monkeypatch.setattr(Entry, "lock", lock)
        os.rmdir(f"{root.path}/c1")
        lock(entry)

    monkeypatch.setattr(Entry, "lock", overtaken)

    entry = root.create("c1")

    assert not entry.is_gone()
    assert Path(root.path, "c1").is_dir()


def test_a_second_command_waits_for_the_first(root: StateRoot) -> None:
    first = begun(root)
    times: list[float] = []

    def second() -> None:
        with root.open("c1", lock=True):
            times.append(time.monotonic())

    thread = threading.Thread(target=second)
    thread.start()
    time.sleep(0.05)
    released = time.monotonic()
    first.unlock()
    thread.join(5)

    assert times[0] >= released


def test_no_more_memory_than_the_file_needs(root: StateRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    """Room for the largest file that may be costs more than all the rest of reading a state."""
    entry = begun(root)
    asked: list[int] = []
    read = os.read

    def spy(fd: int, most: int) -> bytes:
        asked.append(most)
        return read(fd, most)

    monkeypatch.setattr(os, "read", spy)
    data = entry.read(STATE)

    assert asked == [len(data)]
    assert data.endswith(b"}")


def test_readers_do_not_wait(root: StateRoot) -> None:
    begun(root)

    with root.open("c1") as entry:
        assert entry.container.phase == "creating"


# Status.


def test_creating_is_while_somebody_creates(root: StateRoot) -> None:
    creator = begun(root)

    assert root.open("c1").status() == "creating"
    creator.unlock()
    assert root.open("c1").status() == "stopped"  # it was killed


def test_status_follows_phase_and_process(root: StateRoot, process: subprocess.Popen[bytes]) -> None:
    entry = made(root, process.pid, "created")

    assert entry.status() == "created"
    entry.enter("running")
    assert root.open("c1").status() == "running"
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert Path(f"/proc/{process.pid}/stat").read_text().split()[2] == "Z"
    assert root.open("c1").status() == "stopped"  # a zombie has ended
    process.wait()
    assert root.open("c1").status() == "stopped"


def test_starting_is_created_while_the_executor_listens(
    root: StateRoot, process: subprocess.Popen[bytes]
) -> None:
    entry = made(root, process.pid, "starting")
    assert entry.status() == "running"  # `run`: nobody was ever waited for

    listener = entry.listen()
    assert root.open("c1").status() == "created"  # a start was killed before its word was heard
    os.close(listener)
    assert root.open("c1").status() == "running"


def test_paused_is_read_from_the_freezer(
    root: StateRoot, process: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    entry = made(root, process.pid)
    (tmp_path / "freezer.state").write_text("FROZEN\n")

    entry.save(cgroup_paths={"freezer": str(tmp_path)})

    assert root.open("c1").status() == "paused"


def test_a_pid_that_is_somebody_elses_is_stopped_and_gets_no_signal(
    root: StateRoot, process: subprocess.Popen[bytes]
) -> None:
    entry = made(root, process.pid)
    entry.save(init_process_start=entry.container.init_process_start + 1)
    entry = root.open("c1")

    assert entry.status() == "stopped"
    for act in (entry.open_pidfd, lambda: entry.signal(9)):
        with pytest.raises(StateError, match=f"^{NOT_RUNNING}$"):
            act()
    assert process.poll() is None


@pytest.mark.parametrize("pid", [0, 2**31, 2**40])
def test_a_pid_that_is_none_gets_no_signal(root: StateRoot, pid: int) -> None:
    entry = made(root, os.getpid())
    entry.save(init_process_pid=pid)

    with pytest.raises(StateError, match=f"^{NOT_RUNNING}$"):
        root.open("c1").signal(0)


def test_a_signal_arrives(root: StateRoot, process: subprocess.Popen[bytes]) -> None:
    made(root, process.pid)

    root.open("c1").signal(15)

    assert process.wait(5) == -15


def test_a_process_that_died_is_not_ready(root: StateRoot) -> None:
    with subprocess.Popen(["true"]) as gone:
        gone.wait()
    entry = begun(root)

    with pytest.raises(StateError, match=r"^container init died before it was ready$"):
        entry.prepare(gone.pid, "created", NoCgroup())  # type: ignore[arg-type]


def test_start_time_of_a_process_with_a_hostile_name(tmp_path: Path) -> None:
    program = tmp_path / ") Z 1 2 3"
    program.symlink_to("/bin/sleep")
    with subprocess.Popen([program, "60"]) as child:
        expected = int(Path(f"/proc/{child.pid}/stat").read_text().rsplit(")", 1)[1].split()[19])
        assert process_start(child.pid) == expected > 0
        child.kill()


# The socket.


def test_the_word_arrives_though_the_path_is_long(tmp_path: Path) -> None:
    import _socket

    root = open_root(Args(tmp_path / ("d" * 120)), ensure=True)  # type: ignore[arg-type]
    entry = made(root, os.getpid(), "created")
    listener = _socket.socket(fileno=entry.listen())

    with root.open("c1") as other:
        peer = other.connect()
        peer.send(b"go")
        fd, _ = listener._accept()
        assert os.read(fd, 10) == b"go"
        os.close(fd)
        peer.close()
    listener.close()

    with pytest.raises(ConnectionRefusedError):
        entry.connect()


# Damage, strangers and leftovers.


@pytest.mark.parametrize(
    "text",
    ["", "{", "null", "{}", "[]", '"x"', '{"pyrunc": 1}', '{"pyrunc": 2, "id": "c1"}', "\xff", "[" * 5000],
)
def test_a_damaged_state_is_told_and_its_process_still_found(
    root: StateRoot, process: subprocess.Popen[bytes], text: str
) -> None:
    made(root, process.pid).close()
    Path(root.path, "c1", STATE).write_bytes(text.encode("latin-1"))

    with pytest.raises(StateError, match=r"^container c1: state\.json: "):
        root.open("c1")

    with root.open_directory("c1") as entry:
        assert entry.process() == (process.pid, process_start(process.pid))
        assert entry.recorded_manager().paths == {}
        entry.signal(9)
        assert process.wait(5) == -9
        entry.remove()
    assert not Path(root.path, "c1").exists()


@pytest.mark.parametrize(
    "text", [b"", b"{", b"null\n5 6\n", b'{"paths": {"a": 5}, "created": []}\n1 2\n', b'{"paths": {}}']
)
def test_a_damaged_record_is_told_too(root: StateRoot, text: bytes) -> None:
    made(root, os.getpid()).close()
    Path(root.path, "c1", CGROUP).write_bytes(text)

    with root.open_directory("c1") as entry, pytest.raises(PyruncError):
        entry.recorded_manager()


@pytest.mark.parametrize(
    "record", [b'{"paths": {}}\n', b'{"paths": {}}\nx y\n', b'{"paths": {}}\n-1 5\n', b"{}\n1 2 3\n"]
)
def test_a_record_without_a_process_names_none(root: StateRoot, record: bytes) -> None:
    with begun(root) as entry:
        Path(root.path, "c1", CGROUP).write_bytes(record)
    Path(root.path, "c1", STATE).write_text("null")

    with root.open_directory("c1") as entry:
        assert entry.process() == (0, 0)


def test_another_runtimes_container_does_not_exist(root: StateRoot) -> None:
    Path(root.path, "theirs").mkdir()
    Path(root.path, "theirs", STATE).write_text('{"id": "theirs", "init_process_pid": 1}')

    with pytest.raises(StateError, match=f"^{NO_SUCH}$"):
        root.open("theirs")


@pytest.mark.parametrize("kind", ["file", "link", "missing", "dangling"])
def test_what_is_no_directory_does_not_exist(root: StateRoot, kind: str, tmp_path: Path) -> None:
    path = Path(root.path, "c1")
    (tmp_path / "elsewhere").mkdir()
    if kind == "file":
        path.write_text("")
    elif kind != "missing":
        path.symlink_to(tmp_path / ("elsewhere" if kind == "link" else "nowhere"))

    with pytest.raises(StateError, match=f"^{NO_SUCH}$"):
        root.open("c1")
    with pytest.raises(StateError, match=f"^{NO_SUCH}$"):
        root.open_directory("c1")


def test_an_unreadable_root_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(OpError, match=r"mkdir .*/file/x"):
        open_root(Args(tmp_path / "file" / "x"), ensure=True)  # type: ignore[arg-type]


def test_names_are_those_that_can_be_containers(root: StateRoot) -> None:
    for name in ("b", "a", "with space"):
        Path(root.path, name).mkdir()
    Path(root.path, "file").write_text("")
    Path(root.path, "link").symlink_to("a")

    assert root.names() == ["a", "b"]


def test_remove_follows_no_link_and_takes_all(root: StateRoot, tmp_path: Path) -> None:
    keep = tmp_path / "keep"
    keep.mkdir()
    (keep / "precious").write_text("x")
    with made(root, os.getpid()) as entry:
        below = Path(root.path, "c1", "notify")
        below.mkdir()
        (below / "out").symlink_to(keep)
        Path(root.path, "c1", "out").symlink_to(keep)
        (below / "f").write_text("")

        entry.remove()
        assert entry.is_gone()
        entry.remove()

    assert not Path(root.path, "c1").exists()
    assert (keep / "precious").read_text() == "x"


def test_an_interrupted_remove_can_be_repeated(root: StateRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = made(root, os.getpid())
    unlink = os.unlink

    def fail(path: str, *, dir_fd: int | None = None) -> None:
        if path == STATE:
            raise OSError(5, "Input/output error")
        unlink(path, dir_fd=dir_fd)

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", fail)
        with pytest.raises(OpError, match=r"^unable to remove container state dir: "):
            entry.remove()

    assert os.listdir(f"{root.path}/c1") == [STATE]
    root.open("c1").remove()
    assert not Path(root.path, "c1").exists()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(data=st.binary(max_size=60))
def test_no_state_file_ends_in_a_traceback(root: StateRoot, data: bytes) -> None:
    if not Path(root.path, "c1").exists():
        made(root, os.getpid()).close()
    Path(root.path, "c1", STATE).write_bytes(data)
    Path(root.path, "c1", CGROUP).write_bytes(data)

    with pytest.raises(StateError):
        root.open("c1")
    with root.open_directory("c1") as entry:
        entry.process()
        with pytest.raises(PyruncError):
            entry.recorded_manager()


def test_what_state_needs_is_all_that_is_imported() -> None:
    code = f"""
import sys
sys.path[:0] = {sys.path!r}
before = set(sys.modules)
import pyrunc.state
print(*sorted(set(sys.modules) - before))
"""

    out = subprocess.run([sys.executable, "-ISc", code], capture_output=True, text=True, check=True).stdout

    dear = {
        "_socket",
        "fcntl",
        "json",
        "typing",
        "dataclasses",
        "enum",
        "re",
        "pyrunc.sys",
        "pyrunc._shim",
        "pyrunc.cgroup",
    }
    assert dear.isdisjoint(out.split())


# Whose it is.


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702, 0o1770])
@pytest.mark.parametrize("what", ["root", "container"])
def test_what_others_may_write_to_is_not_used(root: StateRoot, what: str, mode: int) -> None:
    """Who can write a state file chooses what `delete --force` kills and removes."""
    begun(root).close()
    place = Path(root.path) if what == "root" else Path(root.path, "c1")
    place.chmod(mode)

    if (what, mode) == ("root", 0o1770):  # as /tmp: ours are ours there
        open_root(Args(Path(root.path))).open("c1").close()  # type: ignore[arg-type]
        return
    with pytest.raises(StateError, match=rf"{place}: others may write to it \(mode {mode:04o}\): not used"):
        open_root(Args(Path(root.path))).open("c1")  # type: ignore[arg-type]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.parametrize("what", ["root", "container"])
def test_what_is_anothers_is_not_used(root: StateRoot, what: str) -> None:
    begun(root).close()
    place = root.path if what == "root" else f"{root.path}/c1"
    os.chown(place, 4242, 0)

    with pytest.raises(
        StateError, match=rf"{place}: is the directory of another user \(uid 4242\): not used"
    ):
        open_root(Args(Path(root.path))).open("c1")  # type: ignore[arg-type]


def test_what_is_made_above_the_root_is_ours_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        open_root(Args(tmp_path / "a" / "b" / "root"), ensure=True)  # type: ignore[arg-type]
        assert os.umask(0) == 0
    finally:
        os.umask(before)

    for place in ("a", "a/b", "a/b/root"):
        assert stat.S_IMODE((tmp_path / place).stat().st_mode) == 0o700
