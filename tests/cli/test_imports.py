"""What the commands of the hot path import: each module of the standard library costs a start half a millisecond up."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from conftest import FLAGS, PATHS
from test_life import config, create, new_id, running, write_config

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Containers

REPORT = f"""
import sys
before = set(sys.modules)
sys.path[:0] = {PATHS}
from pyrunc.cli import main
code = main("pyrunc", sys.argv[2:])
open(sys.argv[1], "w").write(" ".join(sorted(set(sys.modules) - before)))
sys.stdout.flush()
import posix
posix._exit(code)
"""

ALWAYS = {"stat", "_stat", "errno", "__future__", "_json"}
ALLOWED = {
    "state": set(),
    "kill": set(),
    "delete": {"fcntl", "select", "_cffi_backend"},
    "create": {"fcntl", "select", "_socket", "_struct", "termios", "_cffi_backend"},
    "start": {"fcntl", "select", "_socket", "_struct", "_cffi_backend"},
    "exec": {"fcntl", "select", "_socket", "_struct", "_cffi_backend"},
    "run": {"fcntl", "select", "_socket", "_struct", "termios", "_cffi_backend"},
    "pause": {"fcntl", "select", "_cffi_backend"},
    "ps": {"_cffi_backend"},
    "update": {"fcntl", "select", "_cffi_backend"},
}


def imported(containers: Containers, path: Path, *words: str | Path) -> set[str]:
    """Return the modules that a command has imported, without ours."""
    command = [
        sys.executable,
        *FLAGS,
        "-c",
        REPORT,
        str(path),
        "--root",
        str(containers.root),
        *map(str, words),
    ]
    done = subprocess.run(
        command, timeout=30, check=False, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    assert done.returncode == 0
    return {
        name for name in path.read_text().split() if name.partition(".")[0] != "pyrunc" and name != "_shim"
    }


@pytest.mark.root
@pytest.mark.parametrize("command", list(ALLOWED))
def test_a_command_imports_only_what_it_may(containers: Containers, tmp_path: Path, command: str) -> None:
    write_config(containers, config())
    words: list[str | Path] = [command]
    if command in {"create", "run"}:
        words += ["--bundle", containers.bundle, *(["--detach"] if command == "run" else []), new_id()]
    else:
        words.append((running if command in {"state", "kill", "exec"} else create)(containers))
        words += ["/bin/busybox", "true"] if command == "exec" else []
    found = imported(containers, tmp_path / "modules", *words)

    assert found <= ALWAYS | ALLOWED[command], (
        f"{command} imports {sorted(found - ALWAYS - ALLOWED[command])}"
    )


@pytest.mark.root
@pytest.mark.parametrize("command", ["pause", "resume", "update", "ps"])
def test_what_only_looks_or_changes_a_limit_loads_nothing_that_destroys(
    containers: Containers, tmp_path: Path, command: str
) -> None:
    write_config(containers, config())
    name = create(containers)
    if command == "resume":
        containers.ok("pause", name)
    imported(containers, tmp_path / "modules", command, name)
    found = {m for m in (tmp_path / "modules").read_text().split() if m.startswith("pyrunc.")}

    assert f"pyrunc.commands.{command}" in found
    assert not [m for m in found if m.startswith(("pyrunc.run", "pyrunc.plan", "pyrunc.commands.delete"))]


@pytest.mark.root
def test_the_report_would_tell(containers: Containers, tmp_path: Path) -> None:
    """`spec` may take its time, and imports json: so the test above sees such a module."""
    found = imported(containers, tmp_path / "modules", "spec", "--bundle", tmp_path)

    assert "json" in found
    assert json.loads((tmp_path / "config.json").read_text())


@pytest.mark.root
def test_a_known_seccomp_profile_costs_one_module(containers: Containers, tmp_path: Path) -> None:
    """Digests come from the interpreter's own BLAKE2, and libseccomp's compiler stays unloaded."""
    wanted = config()
    rule = {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}
    wanted["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
    write_config(containers, wanted)
    found = set()
    for _ in range(2):
        found = imported(containers, tmp_path / "modules", "create", "--bundle", containers.bundle, new_id())

    assert found <= ALWAYS | ALLOWED["create"] | {"_blake2"}
    assert "pyrunc.seccomp.compile" not in (tmp_path / "modules").read_text().split()
    assert "pyrunc.seccomp.cache" in (tmp_path / "modules").read_text().split()
