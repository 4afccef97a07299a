"""From linux.resources to (file, value), for both versions of cgroups. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrunc.cgroup.limits_v1 import before_join, limits_v1
from pyrunc.cgroup.limits_v2 import ignored, io_weight, limits_v2, swap_max, weight_of_shares
from pyrunc.errors import SpecError
from pyrunc.spec.resources import (
    CPU,
    BlockIO,
    HugepageLimit,
    InterfacePriority,
    Memory,
    Network,
    Pids,
    Rdma,
    Resources,
    ThrottleDevice,
    WeightDevice,
)

if TYPE_CHECKING:
    from pyrunc.cgroup.limits import Write

R = "linux.resources"


def resources(**given: object) -> Resources:
    return Resources(at=R, **given)  # type: ignore[arg-type]  # each test gives one


def memory(**given: object) -> Resources:
    return resources(memory=Memory(at=f"{R}.memory", **given))  # type: ignore[arg-type]


def cpu(**given: object) -> Resources:
    return resources(cpu=CPU(at=f"{R}.cpu", **given))  # type: ignore[arg-type]


def block(**given: object) -> Resources:
    return resources(block_io=BlockIO(at=f"{R}.blockIO", **given))  # type: ignore[arg-type]


def pairs(writes: list[Write]) -> list[tuple[str, str]]:
    return [(write.file, write.value) for write in writes]


LIMIT, MEMSW = "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"

V1 = [
    (resources(), []),
    (memory(limit=0, swap=0, reservation=0), []),
    (memory(limit=100), [(LIMIT, "100")]),
    (memory(limit=-1), [(MEMSW, "-1"), (LIMIT, "-1")]),
    (memory(limit=100, swap=-1), [(MEMSW, "-1"), (LIMIT, "100")]),
    (memory(swap=200), [(MEMSW, "200")]),
    (memory(reservation=50), [("memory.soft_limit_in_bytes", "50")]),
    (memory(kernel=9), [("memory.kmem.limit_in_bytes", "9")]),
    (memory(kernel_tcp=9), [("memory.kmem.tcp.limit_in_bytes", "9")]),
    (memory(swappiness=0), [("memory.swappiness", "0")]),
    (memory(disable_oom_killer=True), [("memory.oom_control", "1")]),
    (memory(disable_oom_killer=False), []),
    (memory(use_hierarchy=True), [("memory.use_hierarchy", "1")]),
    (cpu(shares=1024), [("cpu.shares", "1024")]),
    (cpu(shares=0, quota=0, period=0), []),
    (cpu(quota=-1), [("cpu.cfs_quota_us", "-1")]),
    (cpu(quota=5, period=9, burst=0), [("cpu.cfs_period_us", "9"), ("cpu.cfs_burst_us", "0"), ("cpu.cfs_quota_us", "5")]),
    (cpu(idle=0), [("cpu.idle", "0")]),
    (cpu(cpus="0-1", mems="0"), [("cpuset.cpus", "0-1"), ("cpuset.mems", "0")]),
    (cpu(realtime_runtime=5, realtime_period=9), [("cpu.rt_period_us", "9"), ("cpu.rt_runtime_us", "5")]),
    (resources(pids=Pids(limit=7)), [("pids.max", "7")]),
    (resources(pids=Pids(limit=0)), [("pids.max", "0")]),
    (resources(pids=Pids(limit=-1)), [("pids.max", "max")]),
    (resources(pids=Pids()), []),
    (block(weight=500), [("blkio.weight", "500")]),
    (block(leaf_weight=500), [("blkio.leaf_weight", "500")]),
    (block(weight_device=(WeightDevice(major=8, minor=1, weight=9, leaf_weight=8),)),
     [("blkio.weight_device", "8:1 9"), ("blkio.leaf_weight_device", "8:1 8")]),
    (block(throttle_read_bps_device=(ThrottleDevice(major=8, minor=0, rate=1),),
           throttle_write_iops_device=(ThrottleDevice(major=8, minor=0, rate=0),)),
     [("blkio.throttle.read_bps_device", "8:0 1"), ("blkio.throttle.write_iops_device", "8:0 0")]),
    (resources(hugepage_limits=(HugepageLimit(page_size="2MB", limit=4),)),
     [("hugetlb.2MB.limit_in_bytes", "4"), ("hugetlb.2MB.rsvd.limit_in_bytes", "4")]),
    (resources(network=Network(class_id=0x100001, priorities=(InterfacePriority(name="lo", priority=5),))),
     [("net_prio.ifpriomap", "lo 5"), ("net_cls.classid", "1048577")]),
    (resources(rdma={"mlx5_0": Rdma(hca_handles=0, hca_objects=2)}), [("rdma.max", "mlx5_0 hca_handle=0 hca_object=2")]),
]  # fmt: skip


@pytest.mark.parametrize(("given_resources", "expected"), V1)
def test_v1_writes(given_resources: Resources, expected: list[tuple[str, str]]) -> None:
    assert pairs(limits_v1(given_resources)) == expected


@pytest.mark.parametrize(
    ("now", "files"),
    [
        (2**63, [LIMIT, MEMSW]),  # a new cgroup has no limit: memory must come down first
        (100, [MEMSW, LIMIT]),  # an update upwards: memory+swap must make room first
        (300, [LIMIT, MEMSW]),
    ],
)
def test_v1_memory_and_swap_keep_their_order_at_every_moment(now: int, files: list[str]) -> None:
    assert [write.file for write in limits_v1(memory(limit=200, swap=250), now)] == files


def test_v1_weights_fall_back_to_bfq() -> None:
    (write,) = limits_v1(block(weight=500))

    assert write.instead == (("blkio.bfq.weight", "500"),)


def test_v1_period_and_burst_are_tried_again_after_the_quota() -> None:
    again = {write.file for write in limits_v1(cpu(quota=5, period=9, burst=1)) if write.again}

    assert again == {"cpu.cfs_period_us", "cpu.cfs_burst_us"}
    assert not any(write.again for write in limits_v1(cpu(period=9, burst=1)))


def test_v1_before_join_is_what_a_process_needs_to_enter() -> None:
    everything = resources(
        cpu=CPU(at=f"{R}.cpu", cpus="0", realtime_runtime=1, shares=5),
        pids=Pids(limit=1),
        memory=Memory(limit=5),
    )

    assert pairs(before_join(everything)) == [("cpuset.cpus", "0"), ("cpu.rt_runtime_us", "1")]
    assert before_join(resources()) == []


@pytest.mark.parametrize(
    ("given_resources", "text"),
    [
        (
            resources(unified={"memory.high": "1"}),
            f"{R}.unified: invalid configuration: cannot use unified on cgroup v1",
        ),
        (cpu(shares=1), f"{R}.cpu.shares: the minimum allowed cpu-shares is 2"),
        (cpu(shares=262145), f"{R}.cpu.shares: the maximum allowed cpu-shares is 262144"),
        (
            block(weight_device=(WeightDevice(major=8, minor=1, at="W"),)),
            "W: expected at least one of weight and leafWeight",
        ),
        (resources(rdma={"x": Rdma()}), f'{R}.rdma["x"]: expected at least one of hcaHandles and hcaObjects'),
    ],
)
def test_v1_refuses(given_resources: Resources, text: str) -> None:
    with pytest.raises(SpecError) as caught:
        limits_v1(given_resources)

    assert str(caught.value) == text


V2 = [
    (resources(), []),
    (memory(limit=100), [("memory.max", "100")]),
    (memory(limit=100, swap=100), [("memory.swap.max", "0"), ("memory.max", "100")]),
    (memory(limit=100, swap=150), [("memory.swap.max", "50"), ("memory.max", "100")]),
    (memory(limit=100, swap=-1), [("memory.swap.max", "max"), ("memory.max", "100")]),
    (memory(limit=-1), [("memory.swap.max", "max"), ("memory.max", "max")]),
    (memory(limit=-1, swap=70), [("memory.swap.max", "70"), ("memory.max", "max")]),
    (memory(reservation=50), [("memory.low", "50")]),
    (memory(swappiness=5, kernel=9, kernel_tcp=9, disable_oom_killer=True), []),
    (cpu(shares=1024), [("cpu.weight", "100")]),
    (cpu(quota=5000), [("cpu.max", "5000 100000")]),
    (cpu(period=5000), [("cpu.max", "max 5000")]),
    (cpu(quota=-1, period=5000), [("cpu.max", "max 5000")]),
    (cpu(quota=7, burst=3), [("cpu.max.burst", "3"), ("cpu.max", "7 100000")]),
    (cpu(idle=1, shares=2), [("cpu.weight", "1"), ("cpu.idle", "1")]),
    (cpu(cpus="1", mems="0"), [("cpuset.cpus", "1"), ("cpuset.mems", "0")]),
    (resources(pids=Pids(limit=0)), [("pids.max", "0")]),
    (resources(pids=Pids(limit=-1)), [("pids.max", "max")]),
    (block(weight=10), [("io.bfq.weight", "10")]),
    (block(weight_device=(WeightDevice(major=8, minor=1, weight=9),)), [("io.bfq.weight", "8:1 9")]),
    (block(throttle_read_bps_device=(ThrottleDevice(major=8, minor=0, rate=1),),
           throttle_write_bps_device=(ThrottleDevice(major=8, minor=0, rate=2),),
           throttle_read_iops_device=(ThrottleDevice(major=8, minor=0, rate=3),),
           throttle_write_iops_device=(ThrottleDevice(major=8, minor=0, rate=0),)),
     [("io.max", "8:0 rbps=1"), ("io.max", "8:0 wbps=2"), ("io.max", "8:0 riops=3"), ("io.max", "8:0 wiops=max")]),
    (resources(hugepage_limits=(HugepageLimit(page_size="1GB", limit=4),)),
     [("hugetlb.1GB.max", "4"), ("hugetlb.1GB.rsvd.max", "4")]),
    (resources(rdma={"x": Rdma(hca_objects=2)}), [("rdma.max", "x hca_object=2")]),
    (resources(pids=Pids(limit=5), unified={"pids.max": "9", "io.max": "8:0 rbps=1\n8:1 rbps=2"}),
     [("pids.max", "5"), ("pids.max", "9"), ("io.max", "8:0 rbps=1"), ("io.max", "8:1 rbps=2")]),
]  # fmt: skip


@pytest.mark.parametrize(("given_resources", "expected"), V2)
def test_v2_writes(given_resources: Resources, expected: list[tuple[str, str]]) -> None:
    assert pairs(limits_v2(given_resources)) == expected


@pytest.mark.parametrize(
    ("given_resources", "text"),
    [
        (memory(swap=5), f"{R}.memory.swap: unable to set swap limit without memory limit"),
        (memory(limit=9, swap=5), f"{R}.memory.swap: memory+swap limit should be >= memory limit"),
        (cpu(realtime_runtime=5), f"{R}.cpu.realtimeRuntime: cgroup v2 has no counterpart of real-time groups"),
        (block(leaf_weight=5), f"{R}.blockIO.leafWeight: cgroup v2 has no counterpart of leaf weights"),
        (resources(network=Network(at="N", class_id=5)), "N: cgroup v2 has no counterpart of net_cls and net_prio"),
        (resources(unified={"../x": "1"}),
         f'{R}.unified["../x"]: unified resource "../x" must be a file name (no slashes)'),
        (resources(unified={"..": "1"}), f'{R}.unified[".."]: unified resource ".." must be a file name (no slashes)'),
    ],
)  # fmt: skip
def test_v2_refuses(given_resources: Resources, text: str) -> None:
    with pytest.raises(SpecError) as caught:
        limits_v2(given_resources)

    assert str(caught.value) == text


def test_v2_tells_what_it_ignores() -> None:
    given_memory = memory(swappiness=5, kernel=9, disable_oom_killer=False, use_hierarchy=True)

    assert ignored(given_memory) == (
        f"{R}.memory.kernel: ignored: cgroup v2 has no such setting",
        f"{R}.memory.swappiness: ignored: cgroup v2 has no such setting",
    )
    assert ignored(resources()) == ()


@pytest.mark.parametrize(
    ("shares", "weight"),
    [(1, 1), (2, 1), (3, 2), (512, 59), (1024, 100), (2048, 174), (262144, 10000), (2**40, 10000)],
)
def test_shares_to_weight_as_runc_converts_them(shares: int, weight: int) -> None:
    assert weight_of_shares(shares) == weight


@given(st.integers(2, 262143))
def test_weights_keep_the_order_of_shares(shares: int) -> None:
    assert 1 <= weight_of_shares(shares) <= weight_of_shares(shares + 1) <= 10000


@given(st.integers(10, 999))
def test_io_weights_keep_order_and_range(weight: int) -> None:
    assert 1 <= io_weight(weight) < io_weight(weight + 1) <= 10000


def test_io_weight_ends() -> None:
    assert (io_weight(10), io_weight(1000), io_weight(1)) == (1, 10000, 1)


@given(limit=st.integers(1, 2**40), more=st.integers(0, 2**40))
def test_v2_swap_is_what_goes_beyond_memory(limit: int, more: int) -> None:
    assert swap_max(limit, limit + more) == str(more)


@given(st.dictionaries(st.text("abc./", max_size=5), st.text("x\n", max_size=4), max_size=4))
def test_v2_unified_keys_are_names_or_errors(entries: dict[str, str]) -> None:
    try:
        writes = limits_v2(resources(unified=entries))
    except SpecError:
        assert any("/" in key or key in {"", ".", ".."} for key in entries)
    else:
        assert {write.file for write in writes} == set(entries)
        assert all("\n" not in write.value and write.named for write in writes)


@pytest.mark.parametrize(("given_resources", "expected"), V1 + V2)
def test_every_write_says_where_it_came_from(
    given_resources: Resources, expected: list[tuple[str, str]]
) -> None:
    for make in (limits_v1, limits_v2):
        try:
            writes = make(given_resources)
        except SpecError:
            continue
        assert all(write.at is not None and write.controller for write in writes)
