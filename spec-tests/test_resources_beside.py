"""Every resource beside runc and crun: the same config, the same contents of the kernel's files and of systemd's properties.

RESOURCES.md has the differences, one by one, with their reasons. One that it has not, and one that it has and that is not
there, fail. Its columns name the versions that it was written for: of another version a difference need only be named.
"""

from __future__ import annotations

import fnmatch
import functools
import pathlib
import re
import subprocess

import pytest
from lib import host, limits
from lib.beside import Peer
from lib.runtime import new_id, remove_cgroup

pytestmark = [pytest.mark.only_if("tool:runc"), pytest.mark.req("CLI-BESIDE-3")]
MIB = 1 << 20
PEERS = ("runc", "crun")
REFUSED = {"create": "refused"}


def disk() -> dict[str, int]:
    """Some whole disk, in the config's words."""
    for line in pathlib.Path("/proc/partitions").read_text().splitlines()[2:]:
        major, minor, _, name = line.split()
        if pathlib.Path(f"/sys/block/{name}").exists() and not name.startswith(("ram", "zram", "loop")):
            return {"major": int(major), "minor": int(minor)}
    return {"major": 7, "minor": 0}


def rate(value: int) -> list[dict[str, int]]:
    return [{**disk(), "rate": value}]


def line(text: str) -> str:
    return "{major}:{minor} ".format(**disk()) + text


CONFIGS = {
    "nothing": {},
    "memory limit": {"memory": {"limit": 64 * MIB}},
    "memory without limit": {"memory": {"limit": -1}},
    "memory reservation": {"memory": {"limit": 64 * MIB, "reservation": 32 * MIB}},
    "memory and swap": {"memory": {"limit": 64 * MIB, "swap": 96 * MIB}},
    "no swap": {"memory": {"limit": 64 * MIB, "swap": 64 * MIB}},
    "swap without limit": {"memory": {"limit": 64 * MIB, "swap": -1}},
    "swap alone": {"memory": {"swap": 96 * MIB}},
    "swap below memory": {"memory": {"limit": 64 * MIB, "swap": 32 * MIB}},
    "swappiness": {"memory": {"limit": 64 * MIB, "swappiness": 10}},
    "kernel memory": {"memory": {"limit": 64 * MIB, "kernel": 32 * MIB, "kernelTCP": 32 * MIB}},
    "no OOM killer": {"memory": {"limit": 64 * MIB, "disableOOMKiller": True}},
    "check before update": {"memory": {"limit": 64 * MIB, "checkBeforeUpdate": True}},
    "shares 2": {"cpu": {"shares": 2}},
    "shares 512": {"cpu": {"shares": 512}},
    "shares 1024": {"cpu": {"shares": 1024}},
    "shares 262144": {"cpu": {"shares": 262144}},
    "quota and period": {"cpu": {"quota": 20000, "period": 50000}},
    "quota": {"cpu": {"quota": 123456}},
    "period": {"cpu": {"period": 50000}},
    "quota without limit": {"cpu": {"quota": -1, "period": 50000}},
    "burst": {"cpu": {"quota": 50000, "period": 100000, "burst": 10000}},
    "idle": {"cpu": {"idle": 1}},
    "real time": {"cpu": {"realtimeRuntime": 1000, "realtimePeriod": 900000}},
    "cpuset": {"cpu": {"cpus": "0", "mems": "0"}},
    "pids 77": {"pids": {"limit": 77}},
    "pids -1": {"pids": {"limit": -1}},
    "pids 0": {"pids": {"limit": 0}},
    "io weight": {"blockIO": {"weight": 500}},
    "io weight of a device": {"blockIO": {"weightDevice": [{**disk(), "weight": 200}]}},
    "io leaf weight": {"blockIO": {"leafWeight": 500}},
    "io limits": {
        "blockIO": {
            "throttleReadBpsDevice": rate(1048576),
            "throttleWriteBpsDevice": rate(2097152),
            "throttleReadIOPSDevice": rate(100),
            "throttleWriteIOPSDevice": rate(200),
        }
    },
    "huge pages": {"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MIB}]},
    "huge pages that are none": {"hugepageLimits": [{"pageSize": "3MB", "limit": 4 * MIB}]},
    "rdma": {"rdma": {"mlx5_1": {"hcaHandles": 3}}},
    "network": {"network": {"classID": 1048577, "priorities": [{"name": "lo", "priority": 5}]}},
    "unified": {"unified": {"memory.high": str(48 * MIB), "memory.oom.group": "1", "pids.max": "55"}},
    "unified over the rest": {"cpu": {"shares": 512}, "unified": {"cpu.weight": "77"}},
    "unified io": {"unified": {"io.max": line("rbps=1048576")}},
    "unified cpu": {"unified": {"cpu.max": "30000 60000", "cpuset.cpus": "0"}},
    "unified that is none": {"unified": {"nope.max": "1"}},
    "devices": {
        "devices": [
            {"allow": False, "access": "rwm"},
            {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rw"},
            {"allow": True, "type": "b", "major": 7, "access": "r"},
        ]
    },
    "all of it": {
        "memory": {"limit": 64 * MIB, "reservation": 32 * MIB, "swap": 96 * MIB},
        "cpu": {"shares": 512, "quota": 20000, "period": 50000, "cpus": "0-1", "mems": "0"},
        "pids": {"limit": 100},
        "blockIO": {"throttleReadBpsDevice": rate(1048576)},
    },
}
DRIVERS = [
    pytest.param("v1", marks=pytest.mark.only_if("cgroup-v1")),
    pytest.param("v2", marks=pytest.mark.only_if("cgroup-v2")),
    pytest.param("systemd", marks=pytest.mark.only_if("cgroup-v2", "systemd")),
    pytest.param("v1 systemd", marks=pytest.mark.only_if("cgroup-v1", "systemd")),
]


# ---- the table ----


class Row:
    """One explained difference: where it is, and what each runtime has there."""

    def __init__(self, cells: list[str], versions: dict[str, str]) -> None:
        *where, self.ours, its, other, self.why = cells
        self.hosts, self.configs, self.files = (re.split(", *", cell) for cell in where)
        theirs = (its, other)
        self.theirs = dict(zip(PEERS, theirs, strict=True))
        self.versions = versions

    def about(self, driver: str, config: str, file: str) -> bool:
        return (
            driver in self.hosts
            and any(fnmatch.fnmatchcase(config, pattern) for pattern in self.configs)
            and any(fnmatch.fnmatchcase(file, pattern) for pattern in self.files)
        )

    def explains(self, peer: str, version: str, ours: str, theirs: str) -> bool:
        """An empty cell of a peer's stands for no difference; `…` for any value."""
        told = self.theirs[peer]
        if self.versions[peer] != version:
            return True
        return told != "" and same(self.ours, ours) and same(told, theirs)


def same(told: str, value: str) -> bool:
    return told == "…" or told == (value or "nothing")


@functools.cache
def table() -> list[Row]:
    """The rows of RESOURCES.md."""
    text = (pathlib.Path(__file__).parent / "RESOURCES.md").read_text()
    rows = [
        [cell.strip().replace("`", "") for cell in row.strip("|").split("|")]
        for row in text.splitlines()
        if row.startswith("|")
    ]
    versions = dict(cell.split() for cell in rows[0][4:6])
    return [Row(cells, versions) for cells in rows[2:]]


@functools.cache
def version_of(path: str) -> str:
    done = subprocess.run([path, "--version"], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[0].split()[-1].partition("+")[0]


# ---- looking ----


def held(runtime, bundle, driver: str, who: str) -> dict[str, str]:
    """What is in the files after `create`, and in the unit's properties; that it was refused is an answer as well."""
    ident = f"{new_id()}-{who}"
    by_systemd = driver.endswith("systemd")
    path = f"system.slice:st:{ident}" if by_systemd else f"/{ident}"
    runtime.globals = ("--systemd-cgroup",) if by_systemd else ()
    pid_file = runtime.work / f"{ident}.pid"
    if runtime.try_create(bundle.set("linux.cgroupsPath", path), ident, "--pid-file", pid_file).code:
        for place in host.cgroup_dirs(ident) if who != "ours" else ():
            remove_cgroup(place)  # crun leaves them
        return REFUSED
    try:
        found = limits.in_files(int(pid_file.read_text()), ident)
        if by_systemd:
            found |= limits.of_unit(f"st-{ident}.scope")
        return {name: value.replace(ident, "ID") for name, value in found.items()}
    finally:
        runtime.ok("delete", "--force", ident)


def differences(ours: dict[str, str], theirs: dict[str, str]) -> dict[str, tuple[str, str]]:
    if REFUSED in (ours, theirs):
        ours, theirs = ({"create": found.get("create", "taken")} for found in (ours, theirs))
    return {
        name: (ours.get(name, "none"), theirs.get(name, "none"))
        for name in sorted({*ours, *theirs})
        if ours.get(name, "none") != theirs.get(name, "none")
    }


@pytest.fixture
def peers(runtime, request):
    if not request.config.stash_version.startswith("pyrunc"):
        pytest.skip("needs the runtime that RESOURCES.md is about")
    made = {name: Peer(name, runtime) for name in PEERS if host.missing(f"tool:{name}") is None}
    yield made
    for peer in made.values():
        peer.clean_containers()
        assert peer.states() == []


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("driver", DRIVERS)
def test_resources(runtime, bundle, peers, driver, config):
    lacks = host.missing("v1:blkio/blkio.bfq.weight")
    if lacks and config == "io weight" and driver.startswith("v1"):
        pytest.skip(f"needs {lacks}")  # what nothing takes is refused by all three
    bundle.set("linux.resources", {"devices": [{"allow": False, "access": "rwm"}], **CONFIGS[config]})
    bundle.args("/bin/sleep", "60")
    ours = held(runtime, bundle, driver, "ours")
    wrong = []
    for name, peer in peers.items():
        theirs = held(peer, peer.twin(bundle.config), driver, name)
        found = differences(ours, theirs)
        for file, (mine, its) in found.items():
            rows = [row for row in table() if row.about(driver, config, file)]
            if not any(row.explains(name, version_of(peer.path), mine, its) for row in rows):
                wrong.append(f"| {driver} | {config} | {file} | {mine} | {name} {its} |")
        wrong += stale(name, version_of(peer.path), driver, config, found, {"create", *ours, *theirs})
    assert not wrong, "\n" + "\n".join(wrong)


def stale(
    peer: str, version: str, driver: str, config: str, found: dict[str, tuple[str, str]], files: set[str]
) -> list[str]:
    """Rows about just this config whose difference is not there; of a file that this kernel lacks there can be none."""
    return [
        f"RESOURCES.md: no difference to {peer} in {file} of {config} on {driver}"
        for row in table()
        if row.versions[peer] == version
        and row.theirs[peer]
        and config in row.configs
        and driver in row.hosts
        for file in row.files
        if file in files and file not in found
    ]
