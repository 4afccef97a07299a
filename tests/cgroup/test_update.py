"""Which stored values survive an update, and the way back from one that fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pyrunc.cgroup.update import apply_update, merge
from pyrunc.commands.update import decode, from_options, parse_resources, stored_resources
from pyrunc.errors import HostError, OpError, SpecError, StateError
from pyrunc.spec.fold import fold_keys
from pyrunc.spec.resources import Resources

if TYPE_CHECKING:
    from conftest import Fake

STORED = {
    "devices": [{"allow": False}],
    "memory": {"limit": 1000, "swap": 2000, "reservation": 500},
    "cpu": {
        "shares": 512,
        "quota": 5000,
        "period": 10000,
        "burst": 10,
        "cpus": "0-3",
        "mems": "0",
        "idle": 0,
    },
    "pids": {"limit": 5},
    "blockIO": {"weight": 100, "weightDevice": [{"major": 8, "minor": 0, "weight": 50}]},
    "unified": {"memory.high": "1"},
    "hugepageLimits": [{"pageSize": "2MB", "limit": 1}],
    "rdma": {"a": {"hcaHandles": 1}},
}


def test_what_nobody_asks_for_is_kept_or_forgotten_as_runc_does() -> None:
    assert merge(STORED, {}) == {
        "memory": STORED["memory"],
        "cpu": {"shares": 512},
        "blockIO": STORED["blockIO"],
        "hugepageLimits": STORED["hugepageLimits"],
        "rdma": STORED["rdma"],
    }


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"quota": 1}, {"shares": 512, "quota": 1, "period": 10000}),
        ({"period": 1}, {"shares": 512, "quota": 5000, "period": 1}),
        ({"quota": 1, "period": 2}, {"shares": 512, "quota": 1, "period": 2}),
        ({"quota": 0, "period": 0}, {"shares": 512}),
        ({"idle": 1}, {"idle": 1}),
        ({"idle": 0, "shares": 7}, {"idle": 0, "shares": 7}),
        ({"cpus": "1", "burst": 0}, {"shares": 512, "cpus": "1", "burst": 0}),
        ({"realtimeRuntime": 9}, {"shares": 512, "realtimeRuntime": 9}),
    ],
)
def test_cpu(change: dict[str, object], expected: dict[str, object]) -> None:
    assert merge(STORED, {"cpu": change})["cpu"] == expected


def test_memory_without_a_limit_lifts_the_one_on_swap() -> None:
    assert merge(STORED, {"memory": {"limit": -1}})["memory"] == {"limit": -1, "reservation": 500}
    assert merge(STORED, {"memory": {"limit": -1, "swap": 7}})["memory"]["swap"] == 7
    assert merge(STORED, {"memory": {"limit": 7}})["memory"] == {"limit": 7, "swap": 2000, "reservation": 500}


def test_devices_are_matched_by_their_numbers() -> None:
    change = [{"major": 8, "minor": 0, "weight": 60}, {"major": 8, "minor": 16, "weight": 70}]
    made = merge(STORED, {"blockIO": {"weightDevice": change}})

    assert made["blockIO"] == {"weight": 100, "weightDevice": change}
    assert merge(STORED, {"hugepageLimits": [{"pageSize": "1GB", "limit": 2}]})["hugepageLimits"] == [
        {"pageSize": "2MB", "limit": 1}, {"pageSize": "1GB", "limit": 2},
    ]  # fmt: skip
    assert merge(STORED, {"rdma": {"b": {"hcaObjects": 1}}})["rdma"] == {
        "a": {"hcaHandles": 1}, "b": {"hcaObjects": 1},
    }  # fmt: skip
    assert merge(STORED, {"pids": {"limit": -1}, "unified": {"a.b": "c"}, "devices": []}).keys() == {
        "memory", "cpu", "blockIO", "hugepageLimits", "rdma", "pids", "unified",
    }  # fmt: skip


def test_a_list_that_nobody_has_declared_is_no_list_of_devices() -> None:
    for value in (["x"], [{"a": 1}], [{"major": 8}]):
        made = merge({"blockIO": {"foo": [1]}}, {"blockIO": {"foo": value, "weight": 7}})
        assert made["blockIO"] == {"foo": value, "weight": 7}


def test_keys_in_any_case() -> None:
    given = {
        "CPU": {"Cpus": "0", "SHARES": 1, "shares": 2, "mems": None},
        "blockio": {"ThrottleReadIopsDevice": [{"MAJOR": 8, "minor": 0, "rate": 1}]},
        "Unified": {"Memory.High": "1"},
        "unknown": {"X": 1},
    }
    assert fold_keys(given, Resources) == {
        "cpu": {"cpus": "0", "shares": 2},
        "blockIO": {"throttleReadIOPSDevice": [{"major": 8, "minor": 0, "rate": 1}]},
        "unified": {"Memory.High": "1"},
        "unknown": {"X": 1},
    }


def test_json_that_cannot_be_meant() -> None:
    for text, fault in (
        (b"[]", r"^resources: expected an object, got an array$"),
        (b'{"CPU":{"Shares":"x"}}', r'^resources\.cpu\.shares: expected an integer, got "x"'),
        (b'{"memory":', r"^resources: unexpected end of JSON input$"),
    ):
        with pytest.raises(SpecError, match=fault):
            decode(text)


OPTIONS: dict[str, object] = dict.fromkeys(
    [
        "cpuset-cpus", "cpuset-mems", "cpu-idle", "cpu-burst", "cpu-period", "cpu-rt-period", "cpu-share", "cpu-quota",
        "cpu-rt-runtime", "memory", "memory-swap", "memory-reservation", "kernel-memory", "kernel-memory-tcp",
    ],
    "",
) | {"blkio-weight": None, "pids-limit": None}  # fmt: skip


def test_options() -> None:
    assert from_options(OPTIONS) == {}
    given = {"memory": "1.5k", "memory-swap": "-1", "cpu-idle": "1", "pids-limit": 0, "blkio-weight": 10}
    assert from_options(OPTIONS | given) == {
        "memory": {"limit": 1536, "swap": -1}, "cpu": {"idle": 1}, "pids": {"limit": 0}, "blockIO": {"weight": 10},
    }  # fmt: skip


def test_a_failure_puts_the_old_limits_back(fake: Fake) -> None:
    manager = fake.open(path="/a")
    manager.create()
    old = parse_resources({"cpu": {"shares": 1024}, "pids": {"limit": 500}})
    manager.apply(old)
    new = parse_resources(
        {"pids": {"limit": 700}, "cpu": {"shares": 2}, "hugepageLimits": [{"pageSize": "2MB", "limit": 1}]}
    )

    with pytest.raises(HostError, match="cannot set hugetlb limit"):
        apply_update(manager, old, new)

    assert (fake.read("a/pids.max"), fake.read("a/cpu.weight")) == ("500", "100")
    apply_update(manager, old, parse_resources({"pids": {"limit": 700}}))
    assert fake.read("a/pids.max") == "700"


@pytest.mark.parametrize(
    ("memory", "text"),
    [
        ({"limit": 4096}, r"^resources\.memory\.limit: rejecting memory limit 4096 <= usage 16384$"),
        (
            {"limit": 4096, "swap": 8192},
            r"^resources\.memory\.swap: rejecting memory\+swap limit 8192 <= usage 16384$",
        ),
    ],
)
def test_a_limit_below_what_is_in_use_is_refused_when_that_is_asked_for(
    fake: Fake, memory: dict[str, int], text: str
) -> None:
    manager = fake.open(path="/a")
    manager.create()
    (fake.path / "a/memory.current").write_text("16384\n")

    with pytest.raises(OpError, match=text):
        manager.apply(parse_resources({"memory": {**memory, "checkBeforeUpdate": True}}))
    assert fake.read("a/memory.max") == "max"

    manager.apply(parse_resources({"memory": memory}))
    assert fake.read("a/memory.max") == "4096"
    manager.apply(parse_resources({"memory": {"limit": 1 << 20, "checkBeforeUpdate": True}}))
    assert fake.read("a/memory.max") == str(1 << 20)


class Directory:
    """What stored_resources asks of an entry."""

    name = "c"

    def __init__(self, **files: bytes) -> None:
        self.files = files

    def read(self, name: str) -> bytes:
        if name.partition(".")[0] not in self.files:
            raise FileNotFoundError(name)
        return self.files[name.partition(".")[0]]


def test_where_the_stored_limits_are() -> None:
    config = b'{"linux":{"resources":{"pids":{"limit":5}}}}'
    for files, expected in (
        ({"config": config}, {"pids": {"limit": 5}}),
        ({"config": config, "resources": b"{}"}, {}),
        ({"config": b"{}"}, {}),
        ({"config": b'{"linux":{"resources":null}}'}, {}),
    ):
        assert stored_resources(Directory(**files)) == expected  # type: ignore[arg-type]


def test_stored_limits_that_are_damaged_are_told() -> None:
    for damaged in (b"[1]", b"7", b'"x"'):
        with pytest.raises(StateError, match=r"resources\.json: damaged$"):
            stored_resources(Directory(config=b"{}", resources=damaged))  # type: ignore[arg-type]
    for config in (b"[]", b"7", b'{"linux":[1]}', b'{"linux":{"resources":[]}}'):
        assert stored_resources(Directory(config=config)) == {}  # type: ignore[arg-type]
