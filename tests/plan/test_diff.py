"""`pyrunc plan --plan-diff`: what two bundles ask of the kernel differently."""

from __future__ import annotations

import copy
import json
import os
import sys
from pathlib import Path
from subprocess import run

import pyrunc

CLI = [sys.executable, "-m", "pyrunc", "plan"]
CONFIG = {
    "ociVersion": "1.0.0",
    "process": {"user": {"uid": 0, "gid": 0}, "args": ["sh"], "cwd": "/"},
    "root": {"path": "rootfs"},
    "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
    "linux": {"namespaces": [{"type": "mount"}, {"type": "pid"}]},
}


def bundle(place: Path, config: dict[str, object]) -> Path:
    (place / "rootfs").mkdir(parents=True)
    (place / "config.json").write_text(json.dumps(config))
    return place


def compare(one: Path, other: Path, *words: str) -> tuple[int, list[str]]:
    env = os.environ | {"PYTHONPATH": str(Path(pyrunc.__file__).parents[1])}
    command = [*CLI, "--plan-diff", one.name, *words, other.name]
    done = run(command, cwd=one.parent, env=env, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.returncode, done.stdout.splitlines()


def test_the_same_config_in_two_places(tmp_path: Path) -> None:
    assert compare(bundle(tmp_path / "a", CONFIG), bundle(tmp_path / "b", CONFIG)) == (0, [])


def test_one_more_mount_is_all_that_differs(tmp_path: Path) -> None:
    """Every slot behind it has another number, which is no difference."""
    more = copy.deepcopy(CONFIG)
    more["mounts"].insert(0, {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"})  # type: ignore[attr-defined]
    code, lines = compare(bundle(tmp_path / "a", CONFIG), bundle(tmp_path / "b", more))

    assert code == 1
    assert any('FSOPEN "tmpfs"' in line for line in lines)
    assert all(line.startswith("+ ") and "mounts[0]" in line for line in lines if "FSOPEN" in line)
    assert all("mounts[0]" in line for line in lines)
    back = compare(tmp_path / "b", tmp_path / "a")
    assert (back[0], len(back[1])) == (1, len(lines))


def test_a_change_shows_both_sides(tmp_path: Path) -> None:
    changed = copy.deepcopy(CONFIG)
    changed["process"]["args"] = ["ash"]  # type: ignore[index]
    code, lines = compare(bundle(tmp_path / "a", CONFIG), bundle(tmp_path / "b", changed))

    assert code == 1
    assert {line[0] for line in lines} == {"-", "+"}
    assert all("process.args" in line for line in lines)
