"""A plan per case, reviewed as text: a diff of plan.txt is a change of behaviour."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cases import HOST, base, compile_config
from goldens import CASES

from pyrunc import host as hosts
from pyrunc.plan.render import render, to_json

GOLDEN = Path(__file__).parents[1] / "golden"


def write(directory: Path, name: str) -> None:
    case = CASES[name]
    directory.mkdir(exist_ok=True)
    (directory / "config.json").write_text(json.dumps(case.config, indent=2) + "\n")
    recorded = replace_host(case.host)
    (directory / "host.json").write_text(json.dumps(hosts.to_dict(recorded), indent=2) + "\n")
    (directory / "request.json").write_text(json.dumps(case.request, indent=2) + "\n")


def replace_host(changes: dict[str, object]) -> hosts.Host:
    return hosts.Host(**(HOST.__dict__ | changes))


def compiled(directory: Path) -> str:
    config = json.loads((directory / "config.json").read_text())
    host = hosts.from_dict(json.loads((directory / "host.json").read_text()))
    request = json.loads((directory / "request.json").read_text())
    return render(compile_config(config, host, **request))


@pytest.mark.parametrize("name", sorted(CASES))
def test_plan_is_the_golden_one(name: str, request: pytest.FixtureRequest) -> None:
    """The plan of a case is the one that was reviewed."""
    directory = GOLDEN / name
    if request.config.getoption("--regold"):
        write(directory, name)
        (directory / "plan.txt").write_text(compiled(directory))
    assert (directory / "plan.txt").read_text() == compiled(directory)


@pytest.mark.parametrize("name", sorted(CASES))
def test_golden_files_belong_to_the_case(name: str) -> None:
    """config.json and host.json of a golden case are those of its definition."""
    directory = GOLDEN / name
    assert json.loads((directory / "config.json").read_text()) == CASES[name].config
    assert hosts.from_dict(json.loads((directory / "host.json").read_text())) == replace_host(
        CASES[name].host
    )


def test_no_golden_directory_is_left_over() -> None:
    """Every directory is a case."""
    assert {entry.name for entry in GOLDEN.iterdir()} == set(CASES)


@pytest.mark.parametrize("name", sorted(CASES))
def test_json_says_the_same(name: str) -> None:
    """The JSON form has an entry per operation, with its origin, and is JSON."""
    directory = GOLDEN / name
    case = CASES[name]
    plan = compile_config(case.config, replace_host(case.host), **case.request)
    value = json.loads(json.dumps(to_json(plan)))
    assert [(entry["op"], entry["at"]) for entry in value["operations"]] == [
        (op.name, op.at) for op in plan.ops
    ]
    assert all(entry["text"] in (directory / "plan.txt").read_text() for entry in value["operations"])


def test_a_warning_cannot_act_on_a_terminal() -> None:
    """What a config names reaches the text of its plan only escaped."""
    config = base()
    config["process"]["capabilities"] = {"effective": ["CAP_\ufeff\x1b[2J"]}
    assert r"[CAP_\ufeff\x1b[2J]" in render(compile_config(config)).splitlines()[-1]
