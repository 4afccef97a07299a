"""Statistics from recorded files, to the letter; and notices of lacking memory."""

from __future__ import annotations

import os
import select
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pyrunc.cgroup import from_state, stats
from pyrunc.cgroup.oom import OomWatch
from pyrunc.cgroup.stats_v1 import stats_v1
from pyrunc.cgroup.stats_v2 import stats_v2
from pyrunc.cgroup.v2 import ManagerV2
from pyrunc.errors import HostError, OpError
from pyrunc.spec.jsontext import dumps
from pyrunc.spec.resources import Memory, Resources

if TYPE_CHECKING:
    from conftest import Fake, MakeManager

V1 = {
    "cpuacct.usage": "9896261", "cpuacct.usage_percpu": "6532695 3363566 ",
    "cpuacct.usage_all": "cpu user system\n0 10 8000000\n1 0 0\n", "cpuacct.stat": "user 2\nsystem 1\n",
    "cpu.stat": "nr_periods 4\nnr_throttled 3\nthrottled_time 200\nburst_time 0\n",
    "cpuset.cpus": "0-1,3\n", "cpuset.mems": "0\n", "cpuset.sched_load_balance": "1", "cpuset.sched_relax_domain_level": "-1",
    "memory.stat": "rss 49152\ncache 4096\n", "memory.usage_in_bytes": "1003520", "memory.max_usage_in_bytes": "2768896",
    "memory.limit_in_bytes": "67108864", "memory.failcnt": "5", "memory.kmem.tcp.limit_in_bytes": "9223372036854771712",
    "pids.current": "1", "pids.max": "max",
    "blkio.throttle.io_serviced_recursive": "8:0 Read 2\n8:0 Write 0\n8:0 Total 2\nTotal 2\n",
    "blkio.throttle.io_service_bytes_recursive": "8:0 Read 8192\nTotal 8192\n",
    "hugetlb.2MB.usage_in_bytes": "2097152", "hugetlb.2MB.max_usage_in_bytes": "4194304", "hugetlb.2MB.failcnt": "1",
}  # fmt: skip
V1_TEXT = (
    '{"cpu":{"usage":{"total":9896261,"percpu":[6532695,3363566],"percpu_kernel":[8000000,0],"percpu_user":[10,0],'
    '"kernel":10000000,"user":20000000},"throttling":{"periods":4,"throttledPeriods":3,"throttledTime":200}},'
    '"cpuset":{"cpus":[0,1,3],"cpu_exclusive":0,"mems":[0],"mem_hardwall":0,"mem_exclusive":0,"memory_migrate":0,'
    '"memory_spread_page":0,"memory_spread_slab":0,"memory_pressure":0,"sched_load_balance":1,'
    '"sched_relax_domain_level":-1},"memory":{"cache":4096,"usage":{"limit":67108864,"usage":1003520,"max":2768896,'
    '"failcnt":5},"kernelTCP":{"limit":9223372036854771712,"failcnt":0},"raw":{"cache":4096,"rss":49152}},'
    '"pids":{"current":1},"blkio":{"ioServiceBytesRecursive":[{"major":8,"op":"Read","value":8192}],'
    '"ioServicedRecursive":[{"major":8,"op":"Read","value":2},{"major":8,"op":"Write"},'
    '{"major":8,"op":"Total","value":2}]},"hugetlb":{"2MB":{"usage":2097152,"max":4194304,"failcnt":1}},'
    '"intel_rdt":{},"network_interfaces":null}'
)
PSI = "some avg10=0.00 avg60=1.50 avg300=0.25 total=17\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=3\n"
PSI_TEXT = '{"some":{"avg10":0,"avg60":1.5,"avg300":0.25,"total":17},"full":{"avg10":0,"avg60":0,"avg300":0,"total":3}}'
V2 = {
    "cpu.stat": "usage_usec 30\nuser_usec 20\nsystem_usec 10\nnr_periods 1\nnr_throttled 0\nthrottled_usec 2\n",
    "cpu.pressure": PSI, "memory.pressure": PSI, "io.pressure": PSI,
    "memory.stat": "anon 8192\nfile 4096\n", "memory.current": "16384", "memory.max": "67108864", "memory.peak": "32768",
    "memory.swap.current": "100", "memory.swap.max": "1000",
    "pids.current": "2", "pids.max": "50",
    "io.stat": "8:0 rbytes=4096 wbytes=0 rios=1 wios=0 dbytes=0 dios=0\n",
    "hugetlb.2MB.rsvd.current": "0", "hugetlb.2MB.current": "9", "hugetlb.2MB.rsvd.events": "max 4\n",
}  # fmt: skip
V2_TEXT = (
    '{"cpu":{"usage":{"total":30000,"kernel":10000,"user":20000},"throttling":{"periods":1,"throttledTime":2000},'
    f'"psi":{PSI_TEXT}}},"cpuset":{{"cpu_exclusive":0,"mem_hardwall":0,"mem_exclusive":0,"memory_migrate":0,'
    '"memory_spread_page":0,"memory_spread_slab":0,"memory_pressure":0,"sched_load_balance":0,'
    '"sched_relax_domain_level":0},"memory":{"cache":4096,"usage":{"limit":67108864,"usage":16384,"max":32768,'
    '"failcnt":0},"swap":{"limit":67109864,"usage":16484,"failcnt":0},"raw":{"anon":8192,"file":4096},'
    f'"psi":{PSI_TEXT}}},"pids":{{"current":2,"limit":50}},"blkio":{{"ioServiceBytesRecursive":'
    '[{"major":8,"op":"Read","value":4096},{"major":8,"op":"Write"}],"ioServicedRecursive":'
    f'[{{"major":8,"op":"Read","value":1}},{{"major":8,"op":"Write"}}],"psi":{PSI_TEXT}}},'
    '"hugetlb":{"2MB":{"failcnt":4}},"intel_rdt":{},"network_interfaces":null}'
)


@pytest.fixture(autouse=True)
def sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stats, "huge_page_sizes", lambda: ["2MB"])


def test_v1_from_recorded_files() -> None:
    assert dumps(stats_v1(lambda _controller, file: V1.get(file, ""))) == V1_TEXT


def test_v2_from_recorded_files() -> None:
    assert dumps(stats_v2(lambda _controller, file: V2.get(file, ""))) == V2_TEXT


def test_without_any_file_there_is_little_to_say() -> None:
    for made in (stats_v1(lambda *_: ""), stats_v2(lambda *_: "")):
        assert list(made) == [
            "cpu", "cpuset", "memory", "pids", "blkio", "hugetlb", "intel_rdt", "network_interfaces",
        ]  # fmt: skip
        assert (made["memory"], made["pids"], made["blkio"], made["hugetlb"]) == ({}, {}, {}, {})


def test_unlimited_on_v2() -> None:
    files = V2 | {"memory.max": "max\n", "memory.swap.max": "max\n", "pids.max": "max\n", "pids.current": ""}
    files["cgroup.procs"] = "5\n6\n"
    made = stats_v2(lambda _controller, file: files.get(file, ""))

    assert made["memory"]["usage"]["limit"] == made["memory"]["swap"]["limit"] == 2**64 - 1
    assert made["pids"] == {"current": 2}


def test_names_of_sizes() -> None:
    assert [stats._size_name(size) for size in (64, 2048, 32768, 1 << 20, 1 << 24)] == [
        "64KB", "2MB", "32MB", "1GB", "16GB",
    ]  # fmt: skip
    assert stats.cpu_list("0-2,5\n") == [0, 1, 2, 5]
    assert stats.cpu_list("\n") == []


def test_stats_of_a_fake_v2(fake: Fake) -> None:
    manager = fake.open(path="/a")
    manager.create()
    for name, text in V2.items():
        (fake.path / "a" / name).write_text(text)

    assert dumps(stats.stats_of(manager)) == V2_TEXT


def test_stats_of_what_is_gone_or_never_was() -> None:
    with pytest.raises(HostError, match=r"^unable to get container cgroup stats: cgroups not configured"):
        stats.stats_of(ManagerV2([]))
    with pytest.raises(OpError, match=r"^unable to get container cgroup stats: no such file or directory$"):
        stats.stats_of(from_state({"memory": "/sys/fs/cgroup/memory/pyrunc-no-such"}))


def test_kills_are_counted_on_v2(fake: Fake) -> None:
    manager = fake.open(path="/a")
    manager.create()
    with OomWatch(manager) as watch:
        assert list(watch.watched.values()) == [select.POLLPRI]
        assert watch.count() == 0
        (fake.path / "a/memory.events").write_text("oom 5\noom_kill 4\n")
        assert watch.count() == 2
        assert watch.count() == 0


def test_no_memory_controller(fake: Fake) -> None:
    manager = fake.open(path="/a")
    manager.create()
    (fake.path / "a/memory.events").unlink()
    with OomWatch(manager) as watch:
        assert not watch.available
        assert watch.count() == 0


@pytest.mark.root
def test_a_notice_on_v1(make: MakeManager) -> None:
    limits = Resources(at="r", memory=Memory(limit=8 << 20, at="r.memory"))
    manager = make(limits)
    manager.create()
    manager.apply(limits)
    place = manager.main()
    if place is None or "memory" not in manager.paths:
        pytest.skip("needs cgroup v1 memory")
    with OomWatch(manager) as watch:
        assert watch.count() == 0
        script = f"echo $$ > {manager.paths['memory']}/cgroup.procs; exec tail /dev/zero"
        subprocess.run(["sh", "-c", script], check=False, timeout=30)
        poll = select.poll()
        for fd, events in watch.watched.items():
            poll.register(fd, events)
        poll.poll(5000)
        assert watch.count() == 1
        assert watch.count() == 0
        end = time.monotonic() + 5
        while manager.pids() and time.monotonic() < end:
            time.sleep(0.01)
        manager.delete()
        poll.poll(1000)
        assert watch.count() == 0  # the kernel writes to the eventfd when the cgroup goes, too
    assert not os.path.exists(place.path)
    assert not Path(place.path).exists()
