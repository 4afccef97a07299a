"""`pyrunc --trace FILE`: the file is the caller's, wherever the command goes, and tells of both sides."""

from __future__ import annotations

import json
import os

import pytest
from test_life import config, new_id, write_config

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Containers


@pytest.mark.root
def test_a_relative_name_is_the_callers(containers: Containers, tmp_path: Path) -> None:
    """`create` changes into the bundle; it wrote the file there."""
    write_config(containers, config())
    name = new_id()
    done = containers("--trace", "out.json", "create", "--bundle", containers.bundle, name, cwd=tmp_path)

    assert (done.code, done.err) == (0, "")
    events = json.loads((tmp_path / "out.json").read_text())["traceEvents"]
    assert not (containers.bundle / "out.json").exists()
    assert {event["tid"] for event in events} == {"python", "executor"}
    names = [event["name"] for event in events]
    assert {"parse", "compile", "launch", "PIVOT"} <= set(names)
    assert all(event["ph"] == "X" and event["dur"] >= 0 for event in events)


@pytest.mark.root
def test_a_failure_leaves_its_trace(containers: Containers, tmp_path: Path) -> None:
    write_config(containers, config() | {"hostname": 5})
    done = containers("--trace", tmp_path / "out.json", "create", "--bundle", containers.bundle, new_id())

    assert done.code == 1
    assert [event["name"] for event in json.loads((tmp_path / "out.json").read_text())["traceEvents"]] == [
        "read config.json"
    ]


@pytest.mark.root
def test_nowhere_to_write_to(containers: Containers) -> None:
    """Told before anything is made."""
    write_config(containers, config())
    name = new_id()
    done = containers("--trace", "/nope/out.json", "create", "--bundle", containers.bundle, name)

    assert done.code == 1
    assert '"--trace: open /nope/out.json: no such file or directory"' in done.err
    assert not os.path.lexists(containers.root / name)
