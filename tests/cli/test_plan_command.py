"""`plan` and `validate` take the bundle as an option as well, and a plan is that of the command line's driver."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest
from test_life import config

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Result

    Run = Callable[..., Result]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    (tmp_path / "rootfs").mkdir()
    (tmp_path / "config.json").write_text(json.dumps(config()))
    return tmp_path


@pytest.mark.parametrize("command", ["plan", "validate"])
def test_a_bundle_is_an_option_or_an_argument(pyrunc: Run, bundle: Path, command: str) -> None:
    said = pyrunc(command, bundle)
    assert (said.code, said.err) == (0, "")
    for words in (("--bundle", bundle), ("-b", bundle)):
        assert pyrunc(command, *words).out == said.out
    twice = pyrunc(command, "--bundle", bundle, bundle)
    assert twice.code == 1
    assert f"the bundle is given twice: {bundle} and {bundle}" in twice.err


@pytest.mark.root
def test_a_plan_without_cgroups(pyrunc: Run, bundle: Path) -> None:
    if os.geteuid() or not os.path.exists("/sys/fs/cgroup/pids"):
        pytest.skip("needs root and a host with cgroup v1")
    assert "INPUT cgroup tasks" in pyrunc("plan", bundle).out
    assert "INPUT cgroup tasks" not in pyrunc("--cgroup-manager", "disabled", "plan", bundle).out


def test_a_plan_of_a_scope_is_of_this_host(pyrunc: Run, bundle: Path) -> None:
    host = bundle / "host.json"
    assert pyrunc("plan", "--save-host", host, bundle).code == 0
    refused = pyrunc("--systemd-cgroup", "plan", "--host", host, bundle)
    assert refused.code == 1
    assert "--host: the systemd cgroup driver asks systemd" in refused.err
    if not os.path.isdir("/run/systemd"):
        assert "cannot reach the systemd" in pyrunc("--systemd-cgroup", "plan", bundle).err
