"""A class of resctrl in use, against a directory that plays it: update's schemata, and what events tell."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from pyrunc.cgroup.resctrl import RDTGROUP_SUPER_MAGIC
from pyrunc.cgroup.resctrl_use import change, schemata, stats
from pyrunc.commands import events, update
from pyrunc.errors import HostError, OpError, StateError, UsageError

if TYPE_CHECKING:
    from pathlib import Path


def magic(_fd: int) -> int:
    return RDTGROUP_SUPER_MAGIC


def fill(top: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(f"{text}\n")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    fill(
        tmp_path,
        {
            "info/L3/cbm_mask": "fff", "info/L3/min_cbm_bits": "1", "info/L3/num_closids": "16",
            "info/MB/bandwidth_gran": "10", "info/MB/delay_linear": "1", "info/MB/min_bandwidth": "10",
            "info/MB/num_closids": "8",
            "schemata": "    MB:0=100;1=100\n    L3:0=fff;1=fff",
            "c1/schemata": "    MB:0= 50;1= 70\n    L3:0=00f;1=0f0",
            "c1/mon_data/mon_L3_00/mbm_total_bytes": "11", "c1/mon_data/mon_L3_00/mbm_local_bytes": "10",
            "c1/mon_data/mon_L3_00/llc_occupancy": "4096", "c1/mon_data/mon_L3_01/llc_occupancy": "Unavailable",
        },
    )  # fmt: skip
    return tmp_path


def test_all_that_events_have(root: Path) -> None:
    assert stats(str(root), str(root / "c1"), "c1") == {
        "l3_cache_info": {"cbm_mask": "fff", "min_cbm_bits": 1, "num_closids": 16},
        "l3_cache_schema_root": "L3:0=fff;1=fff",
        "l3_cache_schema": "L3:0=00f;1=0f0",
        "mem_bw_info": {"bandwidth_gran": 10, "delay_linear": 1, "min_bandwidth": 10, "num_closids": 8},
        "mem_bw_schema_root": "MB:0=100;1=100",
        "mem_bw_schema": "MB:0=50;1=70",
        "schemata": ["MB:0=50;1=70", "L3:0=00f;1=0f0"],
        "mbm_stats": [{"mbm_total_bytes": 11, "mbm_local_bytes": 10}, {}],
        "cmt_stats": [{"llc_occupancy": 4096}, {}],
    }


def test_a_monitoring_group_of_its_own(root: Path) -> None:
    fill(root, {"c1/mon_groups/c1/mon_data/mon_L3_00/llc_occupancy": "7"})
    found = stats(str(root), str(root / "c1"), "c1")

    assert found["cmt_stats"] == [{"llc_occupancy": 7}]
    assert "mbm_stats" not in found


def test_a_processor_with_one_feature(tmp_path: Path) -> None:
    fill(tmp_path, {"info/MB/min_bandwidth": "10", "schemata": "MB:0=100"})

    assert set(stats(str(tmp_path), str(tmp_path), "c1")) == {
        "mem_bw_info", "mem_bw_schema_root", "mem_bw_schema", "schemata",
    }  # fmt: skip


def test_change_tells_what_was_there(root: Path) -> None:
    group = str(root / "c1")
    before = change(group, ["L3:0=1"], magic)

    assert before == ["L3:0=00f;1=0f0"]
    # a real one merges; the file that plays it is written from its beginning
    assert (root / "c1/schemata").read_text().startswith("L3:0=1\n")


def test_change_of_what_is_no_resctrl(root: Path) -> None:
    with pytest.raises(OpError, match="not on a resctrl file system"):
        change(str(root / "c1"), ["L3:0=1"])
    os.unlink(root / "c1/schemata")
    with pytest.raises(OpError, match="schemata: no such file or directory"):
        schemata(str(root / "c1"))


# ---- the commands ----


def options(l3: str = "", mb: str = "") -> dict[str, object]:
    return {"l3-cache-schema": l3, "mem-bw-schema": mb}


def test_options_of_update(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyrunc.host.find_resctrl", lambda: str(root))

    assert update.read_schemas(options()) == []
    assert update.read_schemas(options("L3:0=f", "MB:0=20")) == ["L3:0=f", "MB:0=20"]
    for wrong in (options("MB:0=1"), options("L3:0=1\nMB:0=1"), options(mb="x")):
        with pytest.raises(UsageError, match="must be one line that starts with"):
            update.read_schemas(wrong)
    monkeypatch.setattr("pyrunc.host.find_resctrl", lambda: "")
    with pytest.raises(HostError, match=r"^Intel RDT/MBA: memory bandwidth schema is not enabled$"):
        update.read_schemas(options(mb="MB:0=20"))


class Entry:
    """A container in a class, or in none."""

    name = "c1"

    def __init__(self, group: str) -> None:
        self.group = group

    def read_groups(self) -> tuple[str, list[str]]:
        return self.group, []

    def manager(self) -> None:
        return None


def test_update_changes_back_what_cannot_be_kept(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[list[str]] = []

    def fake_change(_group: str, lines: list[str]) -> list[str]:
        written.append(lines)
        return ["L3:0=old"]

    def refuse(*_args: object) -> None:
        raise OpError("x", 22)

    monkeypatch.setattr("pyrunc.cgroup.resctrl_use.change", fake_change)
    monkeypatch.setattr(update, "apply_update", lambda *_args: None)
    apply = update._apply_with_schemas
    apply(Entry(str(root)), ["L3:0=new"], None, None)  # type: ignore[arg-type]
    assert written == [["L3:0=new"]]
    monkeypatch.setattr(update, "apply_update", refuse)
    with pytest.raises(OpError):
        apply(Entry(str(root)), ["L3:0=new"], None, None)  # type: ignore[arg-type]
    assert written[1:] == [["L3:0=new"], ["L3:0=old"]]
    with pytest.raises(
        StateError, match=r"^updating a non-existent Intel RDT configuration is not supported$"
    ):
        apply(Entry(""), ["L3:0=new"], None, None)  # type: ignore[arg-type]


def test_events_have_it_only_with_a_class(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "stats_of", lambda _manager: {"intel_rdt": {}})
    monkeypatch.setattr("pyrunc.host.find_resctrl", lambda: str(root))

    assert events.all_stats(Entry(""), None) == {"intel_rdt": {}}  # type: ignore[arg-type]
    found = events.all_stats(Entry(str(root / "c1")), None)["intel_rdt"]  # type: ignore[arg-type]
    assert isinstance(found, dict)
    assert found["l3_cache_schema"] == "L3:0=00f;1=0f0"
