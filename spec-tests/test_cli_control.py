"""What callers of runc rely on when they look at, stop, change and watch containers; CLI.md has the ids."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import time

import pytest
from lib import host
from lib.runtime import new_id, poll, process_state

req = pytest.mark.req
TICKER = "i=0; while :; do i=$((i+1)); echo $i > /tick; sleep 0.02; done"


def ticking(runtime, bundle):
    """A container that counts in a file while it is not paused."""
    c = runtime.running(bundle.args("/bin/sh", "-c", TICKER))
    assert poll(lambda: count(c) > 0)
    return c


def count(container) -> int:
    path = container.bundle.rootfs / "tick"
    return int(path.read_text() or 0) if path.exists() else 0


def stands_still(container) -> bool:
    before = count(container)
    time.sleep(0.2)
    return count(container) == before


# ---- pause and resume ----


@req("CLI-PAUSE-1", "CLI-LOG-4", "ST-5")
def test_pause_and_resume(runtime, bundle):
    c = ticking(runtime, bundle)
    paused = runtime.ok("pause", c.id)
    assert c.status == "paused"
    assert "paused" in runtime.ok("list").out
    assert stands_still(c)
    resumed = runtime.ok("resume", c.id)
    assert c.status == "running"
    assert not stands_still(c)
    assert paused.said + resumed.said == ""


@req("CLI-PAUSE-1")
def test_pause_with_an_environment_of_nothing_but_xdg_runtime_dir(runtime, bundle):
    c = ticking(runtime, bundle)
    runtime.ok("pause", c.id, env={"XDG_RUNTIME_DIR": ""})
    assert c.status == "paused"
    runtime.ok("resume", c.id, env={"XDG_RUNTIME_DIR": ""})
    assert c.status == "running"


@req("CLI-PAUSE-2")
def test_pause_in_the_wrong_state(runtime, bundle):
    c = ticking(runtime, bundle)
    assert "not paused" in runtime.fails("resume", c.id).err
    runtime.ok("pause", c.id)
    c.stop()
    result = runtime.cmd("pause", c.id)
    assert result.code == 1
    assert "container not running" in result.err
    assert "container not paused" in runtime.cmd("resume", c.id).err
    assert "does not exist" in runtime.cmd("pause", f"{c.id}-no").err


@req("CLI-PAUSE-2")
def test_pause_of_a_paused_one(runtime, bundle):
    c = ticking(runtime, bundle)
    runtime.ok("pause", c.id)
    assert "container not running" in runtime.fails("pause", c.id).err
    assert c.status == "paused"


@req("CLI-PAUSE-3")
def test_kill_of_a_paused_one(runtime, bundle):
    c = ticking(runtime, bundle)
    pid = c.pid
    runtime.ok("pause", c.id)
    c.kill("KILL")
    c.wait(pid)
    c.delete()


@req("CLI-PAUSE-3")
def test_delete_of_a_paused_one(runtime, bundle):
    c = ticking(runtime, bundle)
    pid = c.pid
    runtime.ok("pause", c.id)
    result = runtime.fails("delete", c.id)
    assert f"cannot delete container {c.id} that is not stopped: paused" in result.err
    c.delete("--force")
    c.wait(pid)


@req("CLI-PAUSE-4")
def test_pause_of_a_created_one(runtime, bundle):
    c = runtime.create(bundle.args("/bin/sh", "-c", TICKER))
    runtime.ok("pause", c.id)
    assert c.status == "paused"
    assert "cannot start a container in the paused state" in runtime.fails("start", c.id).err
    runtime.ok("resume", c.id)
    assert c.status == "created"
    c.start()
    assert poll(lambda: count(c) > 0)


@req("CLI-PAUSE-1")
def test_pause_while_processes_are_made(runtime, bundle):
    """A cgroup in which tasks appear all the time is hard to freeze (v1): it takes more than one attempt."""
    c = runtime.running(
        bundle.args("/bin/sh", "-c", "while :; do /bin/true & /bin/true; echo 1 > /tick; done")
    )
    assert poll(lambda: count(c) > 0)
    for _ in range(5):
        runtime.ok("pause", c.id)
        assert c.status == "paused"
        runtime.ok("resume", c.id)
        assert c.status == "running"


# ---- ps ----


def processes_file(container):
    """cgroup.procs of the container, on v1 of the hierarchy that tells which processes are its own."""
    return host.cgroup_of(container.pid, "pids" if "pids" in host.hierarchies() else "") / "cgroup.procs"


def two_processes(runtime, bundle):
    c = runtime.running(bundle.args("/bin/sh", "-c", "sleep 1000 & exec sleep 1001"))
    assert poll(lambda: len(processes_file(c).read_text().split()) == 2)
    return c


def pids_of(container) -> list[int]:
    return sorted(map(int, processes_file(container).read_text().split()))


@req("CLI-PS-1")
@pytest.mark.only_if("tool:ps")
def test_ps_table(runtime, bundle):
    c = two_processes(runtime, bundle)
    result = runtime.ok("ps", c.id)
    header, *rows = result.out.splitlines()
    assert header.split() == ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
    assert sorted(int(row.split()[1]) for row in rows) == pids_of(c)
    assert result.err == ""
    assert runtime.ok("ps", "--format", "table", c.id).out.splitlines()[0] == header


@req("CLI-PS-2")
@pytest.mark.parametrize("form", [["--format", "json"], ["-f", "json"], ["-format=json"]])
def test_ps_json(runtime, bundle, form):
    c = two_processes(runtime, bundle)
    result = runtime.ok("ps", *form, c.id)
    assert sorted(result.json()) == pids_of(c)
    assert result.out == "[" + ",".join(map(str, result.json())) + "]\n"


@req("CLI-PS-2")
def test_ps_sees_cgroups_below(runtime, bundle):
    c = two_processes(runtime, bundle)
    names = [k for k in ("pids", "devices", "freezer") if k in host.hierarchies()] or [""]
    for top in {str(host.cgroup_of(c.pid, name)) for name in names}:
        os.mkdir(f"{top}/below")
        (pathlib.Path(top) / "below/cgroup.procs").write_text(str(c.pid))
    assert c.pid in runtime.ok("ps", "--format", "json", c.id).json()


@req("CLI-PS-2", "CLI-PS-1")
@pytest.mark.only_if("tool:ps")
def test_ps_of_a_stopped_one(runtime, bundle):
    c = two_processes(runtime, bundle)
    c.stop()
    assert runtime.ok("ps", "--format", "json", c.id).out == "null\n"
    assert len(runtime.ok("ps", c.id).out.splitlines()) == 1


@req("CLI-PS-3")
@pytest.mark.only_if("tool:ps")
def test_ps_options_are_those_of_ps(runtime, bundle):
    c = two_processes(runtime, bundle)
    header, *rows = runtime.ok("ps", c.id, "-e", "-x").out.splitlines()
    assert header.split() == ["PID", "TTY", "STAT", "TIME", "COMMAND"]
    assert len(rows) == 2
    header, *rows = runtime.ok("ps", c.id, "-e", "-f").out.splitlines()  # not our --format
    assert header.split()[:2] == ["UID", "PID"]
    assert len(rows) == 2


@req("CLI-PS-3")
@pytest.mark.only_if("tool:ps")
def test_ps_finds_the_column_by_its_header(runtime, bundle):
    c = two_processes(runtime, bundle)
    header, *rows = runtime.ok("ps", c.id, "-eo", "ppid,pid,comm").out.splitlines()
    assert header.split() == ["PPID", "PID", "COMMAND"]
    assert sorted(int(row.split()[1]) for row in rows) == pids_of(c)
    assert "couldn't find PID field in ps output" in runtime.fails("ps", c.id, "-eo", "ppid,comm").err
    assert "exit status 1: error" in runtime.fails("ps", c.id, "--nonsense").err


@req("CLI-PS-4")
def test_ps_in_another_format(runtime, bundle):
    c = runtime.create(bundle)
    assert "invalid format option" in runtime.fails("ps", "--format", "xml", c.id).err


# ---- events ----


@req("CLI-EVENTS-1")
@pytest.mark.only_if("v1:memory", "v1:cpuacct", "v1:pids", "v1:cpuset")
def test_events_stats(runtime, bundle):
    bundle.set("linux.resources.memory", {"limit": 64 << 20}).set("linux.resources.pids", {"limit": 50})
    bundle.set("linux.resources.cpu", {"quota": 50000, "period": 100000, "cpus": "0"})
    c = ticking(runtime, bundle)
    result = runtime.ok("events", "--stats", c.id)
    assert result.out.endswith("}\n")
    assert result.out.count("\n") == 1
    assert result.out.startswith(f'{{"type":"stats","id":"{c.id}","data":{{"cpu":{{"usage":{{"total":')
    data = result.json()["data"]
    assert list(data) == [
        "cpu",
        "cpuset",
        "memory",
        "pids",
        "blkio",
        "hugetlb",
        "intel_rdt",
        "network_interfaces",
    ]
    assert list(data["cpu"]["usage"]) == ["total", "percpu", "percpu_kernel", "percpu_user", "kernel", "user"]
    assert data["cpu"]["usage"]["total"] > 10**6
    assert set(data["cpu"].get("throttling", ())) <= {"periods", "throttledPeriods", "throttledTime"}
    assert list(data["cpuset"]) == [
        "cpus",
        "cpu_exclusive",
        "mems",
        "mem_hardwall",
        "mem_exclusive",
        "memory_migrate",
        "memory_spread_page",
        "memory_spread_slab",
        "memory_pressure",
        "sched_load_balance",
        "sched_relax_domain_level",
    ]
    assert (data["cpuset"]["cpus"], data["cpuset"]["sched_relax_domain_level"]) == ([0], -1)
    assert [k for k in data["memory"] if k != "cache"] == ["usage", "swap", "kernel", "kernelTCP", "raw"]
    assert list(data["memory"]["usage"]) == ["limit", "usage", "max", "failcnt"]
    assert data["memory"]["usage"]["limit"] == 64 << 20
    assert data["memory"]["raw"]["hierarchical_memory_limit"] == 64 << 20
    assert list(data["memory"]["raw"]) == sorted(data["memory"]["raw"])
    assert data["pids"]["limit"] == 50
    assert data["pids"]["current"] >= 1
    assert data["network_interfaces"] is None


def watching(runtime, container, *options: str):
    path = runtime.work / "events"
    with path.open("wb") as out:
        process = runtime.spawn(*runtime.options, "events", *options, container.id, out=out)
    return process, lambda: [json.loads(line) for line in path.read_text().splitlines()]


@req("CLI-EVENTS-2")
@pytest.mark.only_if("v1:memory")
def test_events_until_the_container_is_gone(runtime, bundle):
    c = ticking(runtime, bundle)
    process, events = watching(runtime, c, "--interval", "100ms")

    def usage() -> list[int]:
        return [event["data"]["cpu"]["usage"]["total"] for event in events()]

    assert poll(lambda: len(usage()) >= 3 and usage()[-1] > usage()[0])
    c.stop()
    c.delete()
    assert runtime.wait(process) == 0
    assert {(event["type"], event["id"]) for event in events()} == {("stats", c.id)}
    assert usage() == sorted(usage())


@req("CLI-EVENTS-3")
@pytest.mark.only_if("v1:memory")
def test_events_of_lacking_memory(runtime, bundle):
    script = "while [ ! -e /go ]; do sleep 0.02; done; /bin/busybox tail /dev/zero; sleep 100"
    bundle.set("linux.resources.memory", {"limit": 8 << 20})
    c = runtime.running(bundle.args("/bin/sh", "-c", script))
    process, events = watching(runtime, c, "--interval", "100ms")
    assert poll(events)
    (bundle.rootfs / "go").touch()
    assert poll(lambda: {"type": "oom", "id": c.id} in events()), events()
    c.stop()
    c.delete()
    assert runtime.wait(process) == 0
    assert [event for event in events() if event["type"] == "oom"] == [{"type": "oom", "id": c.id}]


@req("CLI-EVENTS-4")
def test_events_in_the_wrong_state(runtime, bundle):
    c = runtime.running(bundle.probe("hold"))
    assert "duration interval must be greater than 0" in runtime.fails("events", "--interval", "0s", c.id).err
    assert "duration interval must be greater than 0" in runtime.fails("events", "--interval=-1m", c.id).err
    assert "parse error" in runtime.fails("events", "--interval", "5", c.id).said
    c.stop()
    assert f"container with id {c.id} is not running" in runtime.fails("events", "--stats", c.id).err


# ---- update ----


def control(container, controller: str, name: str) -> str:
    return (host.cgroup_of(container.pid, controller) / name).read_text().strip()


def limited(runtime, bundle):
    """A container with a limit of each kind."""
    bundle.set("linux.resources.memory", {"limit": 64 << 20, "reservation": 32 << 20})
    bundle.set("linux.resources.cpu", {"shares": 512, "quota": 50000, "period": 100000, "cpus": "0"})
    bundle.set("linux.resources.pids", {"limit": 50})
    return ticking(runtime, bundle)


OPTIONS = [
    ("--memory", "48m", "memory", "memory.limit_in_bytes", str(48 << 20)),
    ("--memory", str(128 << 20), "memory", "memory.limit_in_bytes", str(128 << 20)),
    ("--memory-reservation", "20M", "memory", "memory.soft_limit_in_bytes", str(20 << 20)),
    ("--cpu-share", "100", "cpu", "cpu.shares", "100"),
    ("--cpu-quota", "20000", "cpu", "cpu.cfs_quota_us", "20000"),
    ("--cpu-quota", "-1", "cpu", "cpu.cfs_quota_us", "-1"),
    ("--cpu-period", "200000", "cpu", "cpu.cfs_period_us", "200000"),
    ("--pids-limit", "20", "pids", "pids.max", "20"),
    ("--pids-limit", "-1", "pids", "pids.max", "max"),
    ("--cpuset-cpus", "0", "cpuset", "cpuset.cpus", "0"),
    ("--cpuset-mems", "0", "cpuset", "cpuset.mems", "0"),
]


@req("CLI-UPDATE-1", "CLI-LOG-4")
@pytest.mark.only_if("v1:memory", "v1:cpu", "v1:pids", "v1:cpuset")
@pytest.mark.parametrize(("option", "given", "controller", "file", "expected"), OPTIONS)
def test_update_by_option(runtime, bundle, option, given, controller, file, expected):
    c = limited(runtime, bundle)
    result = runtime.ok("update", f"{option}={given}", c.id)
    assert control(c, controller, file) == expected
    assert result.said == ""


@req("CLI-UPDATE-1")
@pytest.mark.only_if("v1:cpu/cpu.cfs_burst_us", "v1:cpu/cpu.idle")
def test_update_of_burst_and_idle(runtime, bundle):
    c = limited(runtime, bundle)
    runtime.ok("update", "--cpu-burst", "10000", c.id)
    assert control(c, "cpu", "cpu.cfs_burst_us") == "10000"
    runtime.ok("update", "--cpu-idle", "1", c.id)
    assert control(c, "cpu", "cpu.idle") == "1"


@req("CLI-UPDATE-2")
@pytest.mark.only_if("v1:memory", "v1:cpu", "v1:pids", "v1:cpuset")
@pytest.mark.parametrize("way", ["stdin", "file", "other case"])
def test_update_by_json(runtime, bundle, way):
    c = limited(runtime, bundle)
    change = '{"memory":{"limit":50331648},"cpu":{"shares":200,"cpus":"0"},"pids":{"limit":10}}'
    if way == "other case":
        change = change.replace("memory", "Memory").replace("cpu", "CPU").replace("limit", "Limit")
        change = change.replace("shares", "Shares").replace("CPUs", "Cpus")
    if way == "file":
        (runtime.work / "r.json").write_text(change + "\n")
        runtime.ok("update", "-r", "r.json", c.id)
    else:
        runtime.ok("update", "--resources=-", c.id, stdin=change.encode())
    files = (("memory", "memory.limit_in_bytes"), ("cpu", "cpu.shares"), ("pids", "pids.max"))
    assert [control(c, *file) for file in files] == ["50331648", "200", "10"]
    assert control(c, "cpu", "cpu.cfs_quota_us") == "50000"


@req("CLI-UPDATE-3")
@pytest.mark.only_if("v1:cpu", "v1:pids")
def test_update_keeps_the_other_of_quota_and_period(runtime, bundle):
    c = limited(runtime, bundle)
    runtime.ok("update", "--cpu-period", "50000", c.id)
    assert [control(c, "cpu", f"cpu.cfs_{name}_us") for name in ("period", "quota")] == ["50000", "50000"]
    runtime.ok("update", "--cpu-quota", "10000", c.id)
    assert [control(c, "cpu", f"cpu.cfs_{name}_us") for name in ("period", "quota")] == ["50000", "10000"]


@req("CLI-UPDATE-3")
@pytest.mark.only_if("v1:cpu", "v1:pids")
def test_update_leaves_the_rest_and_the_devices(runtime, bundle):
    c = limited(runtime, bundle)
    rules = control(c, "devices", "devices.list") if "devices" in host.hierarchies() else ""
    pids_file = host.cgroup_of(c.pid, "pids") / "pids.max"
    pids_file.write_text("33")  # by somebody else
    runtime.ok("update", "--cpu-share", "300", c.id)
    assert pids_file.read_text() == "33\n"
    assert control(c, "memory", "memory.limit_in_bytes") == str(64 << 20)
    if rules:
        assert control(c, "devices", "devices.list") == rules


@req("CLI-UPDATE-4")
@pytest.mark.only_if("v1:memory", "v1:memory/memory.memsw.limit_in_bytes")
def test_update_of_memory_and_swap_in_any_order(runtime, bundle):
    """The kernel wants memory <= memory+swap at every moment."""
    c = limited(runtime, bundle)
    for memory, swap in ((32, 64), (128, 256), (16, 16), (100, 100), (-1, -1), (64, 80)):
        amounts = [n if n == -1 else n << 20 for n in (memory, swap)]
        runtime.ok("update", f"--memory={amounts[0]}", f"--memory-swap={amounts[1]}", c.id)
        if memory != -1:
            read = [control(c, "memory", f"memory.{name}limit_in_bytes") for name in ("", "memsw.")]
            assert read == [str(n) for n in amounts]
    runtime.ok("update", "--memory=-1", c.id)
    assert int(control(c, "memory", "memory.memsw.limit_in_bytes")) > 1 << 60


@req("CLI-UPDATE-5")
@pytest.mark.only_if("v1:cpu", "v1:pids")
def test_update_that_fails_changes_nothing(runtime, bundle):
    c = limited(runtime, bundle)
    change = b'{"cpu":{"shares":300,"quota":20000,"period":100000,"cpus":"4000"},"pids":{"limit":7}}'
    runtime.fails("update", "-r", "-", c.id, stdin=change)
    assert control(c, "cpu", "cpu.shares") == "512"
    assert control(c, "cpu", "cpu.cfs_quota_us") == "50000"
    assert control(c, "pids", "pids.max") == "50"
    runtime.ok("update", "--cpu-share", "400", c.id)
    assert control(c, "cpu", "cpu.cfs_quota_us") == "50000"


@req("CLI-UPDATE-5")
@pytest.mark.only_if("v1:memory")
def test_update_below_what_is_in_use(runtime, bundle):
    c = limited(runtime, bundle)
    result = runtime.fails("update", "--memory", "4096", c.id)
    assert "unable to set memory limit to 4096 (current usage: " in result.err
    assert control(c, "memory", "memory.limit_in_bytes") == str(64 << 20)


@req("CLI-UPDATE-6")
def test_update_in_words(runtime, bundle):
    c = limited(runtime, bundle)
    for option, wrong, text in (
        (
            "cpu-period",
            "x",
            'invalid value for cpu-period: strconv.ParseUint: parsing \\"x\\": invalid syntax',
        ),
        ("cpu-share", "-1", "invalid value for cpu-share: strconv.ParseUint"),
        ("cpu-quota", "1.5", "invalid value for cpu-quota: strconv.ParseInt"),
        ("memory", "12x", "invalid value for memory: invalid s"),
        ("l3-cache-schema", "L3:0=f", "Intel RDT/CAT: l3 cache schema is not enabled"),
        ("mem-bw-schema", "MB:0=1", "Intel RDT/MBA: memory bandwidth schema is not enabled"),
    ):
        assert text in runtime.fails("update", f"--{option}={wrong}", c.id).err
    assert "no such file or directory" in runtime.fails("update", "-r", "/no/such/file", c.id).err
    runtime.fails("update", "-r", "-", c.id, stdin=b"{")
    c.stop()
    assert "container not running" in runtime.fails("update", "--cpu-share", "100", c.id).err


@req("CLI-UPDATE-1", "CLI-PAUSE-1")
@pytest.mark.only_if("v1:pids")
def test_update_of_paused_and_created_ones(runtime, bundle):
    c = limited(runtime, bundle)
    runtime.ok("pause", c.id)
    runtime.ok("update", "--pids-limit", "21", c.id)
    assert (control(c, "pids", "pids.max"), c.status) == ("21", "paused")
    other = runtime.create(runtime.bundle())
    runtime.ok("update", "--pids-limit", "22", other.id)
    assert control(other, "pids", "pids.max") == "22"
    other.delete()
    runtime.ok("resume", c.id)


# ---- many at a time ----


@req("CLI-REGEX-1")
@pytest.mark.only_if("root")
def test_kill_and_delete_by_expression(runtime, bundle):
    names = [f"{new_id()}-{kind}" for kind in ("web-a", "web-b", "db")]
    made = [runtime.detached(runtime.bundle().probe("hold"), ident=name) for name in names]
    expression = f"^{names[0].rpartition('-st')[0]}.*web-[ab]$"
    pids = [c.pid for c in made]
    runtime.ok("kill", "--regex", expression, "KILL")
    for c, pid in zip(made[:2], pids, strict=False):
        c.wait(pid)
    assert [c.status for c in made] == ["stopped", "stopped", "running"]
    runtime.ok("delete", "--regex", expression)
    assert runtime.states() == [names[2]]
    assert runtime.cmd("delete", "-r", "[").code != 0
    result = runtime.cmd("delete", "-r", "db$")
    assert made[2].status == "running", result
    runtime.ok("delete", "--force", "-r", "db$")
    assert runtime.states() == []


@req("CLI-DELETE-2", "CLI-KILL-3")
@pytest.mark.parametrize("force", [[], ["--force"]], ids=["stopped", "force"])
def test_delete_ends_what_the_first_process_has_left_behind(runtime, bundle, force):
    c = runtime.running(bundle.drop_ns("pid").args("/bin/sh", "-c", "sleep 1000 & exec sleep 1001"))
    assert poll(lambda: len(processes_file(c).read_text().split()) == 2)
    first = c.pid
    other = next(pid for pid in pids_of(c) if pid != first)
    os.kill(first, signal.SIGKILL)
    c.wait(first)
    assert process_state(other) not in {None, "Z"}
    c.delete(*force)
    c.wait(other)
    assert not c.exists()
