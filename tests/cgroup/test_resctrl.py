"""linux.intelRdt against a directory that plays resctrl: no test machine has the processor for the real one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from pyrunc.cgroup import resctrl
from pyrunc.cgroup.resctrl import RDTGROUP_SUPER_MAGIC, Resctrl, open_resctrl, parse_schema, remove
from pyrunc.errors import HostError, OpError
from pyrunc.host import find_resctrl
from pyrunc.spec.model import IntelRdt

if TYPE_CHECKING:
    from pathlib import Path

AT = "linux.intelRdt"
L3, MB = "L3:0=ff;1=0f", "MB:0=50;1=70"


class Kernel:
    """os, but a directory that is made gets its files, and one that is removed takes them with it; writes are logged."""

    def __init__(self) -> None:
        self.log: list[tuple[str, bytes]] = []
        self.names: dict[int, str] = {}
        self.refuse: dict[str, int] = {}

    def __getattr__(self, name: str) -> object:
        return getattr(os, name)

    def open(self, path: str, flags: int, **more: int) -> int:
        fd = os.open(path, flags, **more)
        self.names[fd] = path
        return fd

    def write(self, fd: int, data: bytes) -> int:
        path = self.names[fd]
        if os.path.basename(path) in self.refuse:
            raise OSError(self.refuse[os.path.basename(path)], "refused")
        self.log.append((path, data))
        return os.write(fd, data)

    def mkdir(self, path: str, mode: int) -> None:
        name = os.path.basename(os.path.dirname(path))
        if name in self.refuse:
            raise OSError(self.refuse[name], "refused")
        os.mkdir(path, mode)
        for file in ("tasks", "schemata"):
            open(f"{path}/{file}", "w").close()
        if name != "mon_groups":
            os.mkdir(f"{path}/mon_groups")

    def rmdir(self, path: str) -> None:
        shutil.rmtree(path)


@pytest.fixture
def kernel(monkeypatch):
    fake = Kernel()
    monkeypatch.setattr(resctrl, "os", fake)
    return fake


@pytest.fixture
def root(tmp_path: Path) -> str:
    for name in ("info/L3", "info/MB", "mon_groups"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "info/last_cmd_status").write_text("ok\n")
    (tmp_path / "schemata").write_text("    MB:0= 50;1= 70\n    L3:0=00ff;1=000f\n")
    (tmp_path / "tasks").touch()
    return str(tmp_path)


def groups(root: str, **properties: object) -> Resctrl:
    made = Resctrl(root, IntelRdt(at=AT, **properties), "c1", lambda _fd: RDTGROUP_SUPER_MAGIC)
    made.check()
    return made


def existing(root: str, name: str, schemata: str = "") -> str:
    Kernel().mkdir(f"{root}/{name}", 0o755)
    with open(f"{root}/{name}/schemata", "w") as file:
        file.write(schemata)
    return f"{root}/{name}"


def test_without_a_class_the_group_has_the_name_of_the_container(root, kernel):
    """RT-1, RT-8, RT-9, RT-12."""
    made = groups(root)
    assert made.expected() == [f"{root}/c1"]
    made.create()
    made.join(77)
    assert kernel.log == [(f"{root}/c1/tasks", b"77")]
    assert made.kept() == ()


def test_order_of_writes(root, kernel):
    """RT-7."""
    groups(root, l3_cache_schema=L3, mem_bw_schema=MB, schemata=("L2:0=3", "L3:0=f0")).create()
    path = f"{root}/c1/schemata"
    assert kernel.log == [
        (path, f"{L3}\n".encode()), (path, f"{MB}\n".encode()), (path, b"L2:0=3\nL3:0=f0\n"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "schema", [{"l3_cache_schema": L3}, {"mem_bw_schema": MB}, {"schemata": ("L2:0=3",)}]
)
def test_one_schema_alone(root, kernel, schema):
    """RT-7."""
    groups(root, clos_id="gold", **schema).create()
    assert [path for path, _ in kernel.log] == [f"{root}/gold/schemata"]


def test_class_of_the_root(root, kernel):
    """RT-4."""
    made = groups(root, clos_id="/")
    made.create()
    made.join(77)
    assert made.expected() == []
    assert kernel.log == [(f"{root}/tasks", b"77")]


def test_class_that_is_made_is_kept(root, kernel):
    """RT-10, RT-12."""
    made = groups(root, clos_id="gold", l3_cache_schema=L3)
    assert made.expected() == [f"{root}/gold"]
    made.create()
    assert made.kept() == (f"{root}/gold",)
    assert kernel.log == [(f"{root}/gold/schemata", f"{L3}\n".encode())]


@pytest.mark.parametrize("name", ["/", "gold"])
def test_class_that_is_there_is_compared(root, kernel, name):
    """RT-10: padding, leading zeros and the order of lines do not count; nothing is written."""
    existing(root, "gold", "    MB:0= 50;1= 70\n    L3:0=00ff;1=000f\n")
    made = groups(root, clos_id=name, l3_cache_schema=L3, mem_bw_schema=MB)
    made.create()
    assert kernel.log == []
    assert made.expected() == []


@pytest.mark.parametrize(
    ("wanted", "key"),
    [
        ({"l3_cache_schema": "L3:0=ff;1=ff"}, "l3CacheSchema"),
        ({"l3_cache_schema": "L3:2=ff"}, "l3CacheSchema"),
        ({"mem_bw_schema": "MB:0=60"}, "memBwSchema"),
    ],
)
def test_class_that_does_not_match(root, kernel, wanted, key):
    """RT-10."""
    existing(root, "gold", "MB:0=50;1=70\nL3:0=ff;1=f\n")
    with pytest.raises(
        OpError, match=rf"linux\.intelRdt\.{key}: .*/gold exists, and its schemata do not match"
    ):
        groups(root, clos_id="gold", **wanted).create()
    assert kernel.log == []


def test_class_without_a_schema_must_be_there(root, kernel):
    """RT-11."""
    with pytest.raises(OpError, match=r"closID: .*/gold must be there already"):
        groups(root, clos_id="gold")
    path = existing(root, "gold")
    made = groups(root, clos_id="gold")
    made.create()
    made.join(5)
    assert kernel.log == [(f"{path}/tasks", b"5")]


def test_monitoring(root, kernel):
    """RT-13."""
    made = groups(root, enable_monitoring=True)
    monitor = f"{root}/c1/mon_groups/c1"
    assert made.expected() == [monitor, f"{root}/c1"]
    made.create()
    made.join(9)
    assert kernel.log == [(f"{root}/c1/tasks", b"9"), (f"{monitor}/tasks", b"9")]
    remove(made.expected() or [monitor, f"{root}/c1"], made.magic_of)
    assert not os.path.exists(f"{root}/c1")


def test_monitoring_in_a_shared_class_leaves_the_class(root, kernel):
    """RT-12, RT-13."""
    path = existing(root, "gold", "L3:0=ff;1=f\n")
    made = groups(root, clos_id="gold", enable_monitoring=True)
    wanted = made.expected()
    made.create()
    remove(wanted, made.magic_of)
    assert os.listdir(f"{path}/mon_groups") == []


def test_no_room_for_a_monitoring_group(root, kernel):
    """RT-13: the processor has only so many ids."""
    kernel.refuse["mon_groups"] = 28
    with pytest.raises(OpError, match=r"enableMonitoring: mkdir .*/mon_groups/c1: no space left"):
        groups(root, clos_id="/", enable_monitoring=True).create()


def test_refused_schema_is_told_with_the_words_of_the_kernel(root, kernel):
    kernel.refuse["schemata"] = 22
    with open(f"{root}/info/last_cmd_status", "w") as file:
        file.write("Mask out of range\n")
    with pytest.raises(OpError) as error:
        groups(root, l3_cache_schema=L3).create()
    assert str(error.value) == (
        f'linux.intelRdt.l3CacheSchema: write {root}/c1/schemata "{L3}": last_cmd_status: Mask out of range: '
        "invalid argument"
    )


@pytest.mark.parametrize(
    ("schema", "feature"), [({"l3_cache_schema": L3}, "L3"), ({"mem_bw_schema": MB}, "MB")]
)
def test_processor_without_the_feature(root, kernel, schema, feature):
    os.rmdir(f"{root}/info/{feature}")
    with pytest.raises(HostError, match=r"is specified in config, but Intel RDT/(CAT|MBA) is not enabled"):
        groups(root, **schema)


def test_another_file_system_is_never_written(root):
    for act in (lambda: Resctrl(root, IntelRdt(at=AT), "c1").check(), lambda: remove([f"{root}/info"])):
        with pytest.raises(OpError, match="not on a resctrl file system"):
            act()


def test_removing_twice(root, kernel):
    remove([f"{root}/gone"], lambda _fd: RDTGROUP_SUPER_MAGIC)


def test_host_without_resctrl(monkeypatch):
    """RT-2, with runC's words."""
    monkeypatch.setattr(resctrl, "find_resctrl", str)
    with pytest.raises(HostError, match="intelRdt is specified in config, but Intel RDT is not enabled"):
        open_resctrl(IntelRdt(at=AT), "c1")


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ("29 23 0:26 / /sys/fs/res\\040ctrl rw,relatime shared:9 - resctrl resctrl rw\n", "/sys/fs/res ctrl"),
        ("29 23 0:26 /mon_groups /x rw - resctrl resctrl rw\n30 23 0:26 / /y rw - resctrl r rw\n", "/y"),
        ("29 23 0:26 / /resctrl rw - tmpfs tmpfs rw\n", ""),
    ],
)
def test_where_it_is_mounted(tmp_path, lines, found):
    (tmp_path / "self").mkdir()
    (tmp_path / "self/mountinfo").write_text(lines)
    assert find_resctrl(str(tmp_path)) == found


def test_parsing_a_schema():
    assert parse_schema(" L3:0=00F; 1= 000;;") == ("L3", {"0": "f", "1": "0"})


# The whole way, with the fake in pyrunc's own process.

SCRIPT = """
import sys
sys.path[:0] = [sys.argv[1], sys.argv[2]]
from pyrunc.cgroup import resctrl
from pyrunc.sys import fs_magic
from test_resctrl import Kernel
import os
root = sys.argv[3]
fd = os.open(root, os.O_RDONLY)
resctrl.RDTGROUP_SUPER_MAGIC = fs_magic(fd)
os.close(fd)
resctrl.find_resctrl = lambda: root
resctrl.os = Kernel()
from pyrunc.cli import main
code = main("pyrunc", sys.argv[4:])
sys.stdout.flush()
sys.stderr.flush()
os._exit(code)
"""


@pytest.mark.root
@pytest.mark.parametrize(
    ("rdt", "left"), [({"enableMonitoring": True}, []), ({"closID": "gold", "l3CacheSchema": L3}, ["gold"])]
)
def test_a_container_in_its_class(root, tmp_path_factory, rdt, left):
    import json

    import pyrunc as pyrunc_package

    if os.geteuid() != 0:
        pytest.skip("needs real root")
    work = tmp_path_factory.mktemp("life")
    (work / "rootfs").mkdir()
    shutil.copy("/bin/busybox", work / "rootfs/true")
    config = {
        "ociVersion": "1.3.0", "root": {"path": "rootfs"}, "process": {"args": ["/true"], "cwd": "/"},
        "linux": {"namespaces": [{"type": "mount"}, {"type": "pid"}], "intelRdt": rdt},
    }  # fmt: skip
    (work / "config.json").write_text(json.dumps(config))
    here = os.path.dirname(__file__)
    name = f"rdt-{os.getpid()}-{len(rdt)}"

    def pyrunc(*words: str) -> tuple[int, str]:
        places = [os.path.dirname(os.path.dirname(pyrunc_package.__file__)), here, root]
        command = [sys.executable, "-c", SCRIPT, *places, "--root", f"{work}/state"]
        command += ["--cgroup-manager", "disabled", *words]
        with open(work / "err", "wb") as err:  # a file: the container holds it while it waits
            done = subprocess.run(command, timeout=30, check=False, stdin=subprocess.DEVNULL, stderr=err)
        return done.returncode, (work / "err").read_text()

    before = sorted(os.listdir(root))
    assert pyrunc("create", "--bundle", str(work), "--pid-file", f"{work}/pid", name) == (0, "")
    pid = (work / "pid").read_text()
    group = f"{root}/{rdt.get('closID', name)}"
    with open(f"{group}/tasks") as tasks:
        assert tasks.read() == pid
    if rdt.get("enableMonitoring"):
        with open(f"{group}/mon_groups/{name}/tasks") as tasks:
            assert tasks.read() == pid
    assert pyrunc("delete", "--force", name) == (0, "")
    assert sorted(os.listdir(root)) == sorted(before + left)

    for name_of_class in left:
        shutil.rmtree(f"{root}/{name_of_class}")
    code, told = pyrunc(
        "create", "--bundle", str(work), "--pid-file", "/nowhere/pid", name
    )  # fails when all is made
    assert (code, "/nowhere/pid" in told) == (1, True)
    assert sorted(os.listdir(root)) == before
