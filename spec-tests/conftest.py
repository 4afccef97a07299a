"""Fixtures and reporting of the conformance suite; README.md says how a test is written."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from lib import bundle as bundles
from lib import host
from lib import runtime as runtimes
from lib.console import Receiver
from lib.hooks import Log

HERE = pathlib.Path(__file__).resolve().parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--results", metavar="FILE", help="write the result of each test, with its requirement ids, as JSON"
    )
    parser.addoption(
        "--driver", choices=("cgroupfs", "systemd"), default="cgroupfs", help="who makes cgroups in all tests"
    )


def pytest_configure(config: pytest.Config) -> None:
    """One private mount namespace for the session, with a tmpfs that vanishes with it."""
    config.stash_runtime = runtimes.find(os.environ.get("RUNTIME", "pyrunc"))
    config.stash_results = {}
    host.CHOSEN["driver"] = config.getoption("--driver")
    config.stash_base = pathlib.Path(tempfile.mkdtemp(prefix="st-"))
    if os.geteuid() == 0:
        host.own_mount_namespace()
        host.mount("tmpfs", config.stash_base, "tmpfs", data="mode=755")
    host.become_subreaper()
    done = subprocess.run([config.stash_runtime, "--version"], capture_output=True, text=True, check=False)
    config.stash_version = done.stdout.splitlines()[0] if done.stdout else "unknown"
    hide_unified_controllers(config.stash_version, config.stash_base)


def hide_unified_controllers(version: str, base: pathlib.Path) -> None:
    """crun takes a hybrid host whose cgroup2 has controllers for a broken one: show it none, here only."""
    controllers = f"{host.hierarchies().get('', '')}/cgroup.controllers"
    if version.startswith("crun") and not host.unified_only() and os.path.exists(controllers):
        (base / "empty").touch()
        host.mount(str(base / "empty"), controllers, flags=host.MS_BIND)


def pytest_report_header(config: pytest.Config) -> str:
    return f"runtime: {config.stash_version} ({config.stash_runtime})"


def pytest_unconfigure(config: pytest.Config) -> None:
    if os.geteuid() == 0:
        host.umount(config.stash_base)
    shutil.rmtree(config.stash_base, ignore_errors=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> object:
    report = yield
    ids = [ident for name in ("req", "fault") for mark in item.iter_markers(name) for ident in mark.args]
    record = item.config.stash_results.setdefault(item.nodeid, {"req": ids, "outcome": "passed", "why": ""})
    if classes := [name for mark in item.iter_markers("cve") for name in mark.args]:
        record["cve"] = classes
    record |= {name: value for name, value in item.user_properties if name == "attempts"}
    if report.outcome != "passed" and record["outcome"] in {"passed", "skipped"}:
        record["outcome"] = report.outcome if report.when != "teardown" else "failed"
        record["why"] = str(report.longrepr[2]) if report.skipped else report.longreprtext[-2000:]
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    where = session.config.getoption("--results")
    if where:
        document = {
            "runtime": session.config.stash_version,
            "host": host.describe(),
            "tests": session.config.stash_results,
        }
        pathlib.Path(where).write_text(json.dumps(document, indent=1))


def is_of_an_attack(mark: pytest.Mark) -> bool:
    return mark.name == "req" and any(re.match(r"T\d\d", ident) for ident in mark.args)


def skip_in_a_user_namespace(items: list[pytest.Item]) -> None:
    """What no user namespace can have, and why; a row for a test that is no longer there is an error."""
    with (HERE / "userns.csv").open() as file:
        rows = list(csv.DictReader(file))
    files, used = {item.nodeid.partition("::")[0] for item in items}, set()
    for item in items:
        name = item.nodeid.removeprefix("spec-tests/")
        for row in rows:
            begin, star, _ = row["tests"].partition("*")
            if name.startswith(begin) if star else name == begin:
                item.add_marker(pytest.mark.skip(f"needs the initial user namespace: {row['why']}"))
                used.add(row["tests"])
    stale = {row["tests"] for row in rows if row["tests"].partition("::")[0] in files} - used
    assert not stale, f"userns.csv: no such tests: {stale}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if host.in_userns():
        skip_in_a_user_namespace(items)
    marks = {item.nodeid: list(item.iter_markers()) for item in items}
    bare = [name for name, all_ in marks.items() if not any(m.name in {"req", "fault"} for m in all_)]
    assert not bare, f"tests without a requirement id: {bare}"
    attacks = {name: all_ for name, all_ in marks.items() if any(map(is_of_an_attack, all_))}
    nameless = [name for name, all_ in attacks.items() if not any(m.name == "cve" for m in all_)]
    assert not nameless, f"tests of an attack without its class: {nameless}"


@pytest.fixture(autouse=True)
def needs(request: pytest.FixtureRequest) -> None:
    """Every test needs root; `only_if` adds to that."""
    facts = ["root", *(fact for mark in request.node.iter_markers("only_if") for fact in mark.args)]
    lacking = [words for fact in facts if (words := host.missing(fact))]
    if lacking:
        pytest.skip(f"needs {' and '.join(lacking)}")


@pytest.fixture(scope="session")
def tree(request: pytest.FixtureRequest) -> pathlib.Path:
    """The root file system that bundles are linked from."""
    base = request.config.stash_base
    bundles.build_rootfs(base / "tree")
    return base / "tree"


@pytest.fixture
def runtime(request: pytest.FixtureRequest, needs: None, tree: pathlib.Path) -> object:
    """The runtime with an empty state root; after the test nothing of it may be left on the host."""
    work = pathlib.Path(tempfile.mkdtemp(prefix="t", dir=request.config.stash_base))
    work.chmod(0o755)
    under_test = runtimes.Runtime(request.config.stash_runtime, work, tree)
    under_test.globals = host.driver_options()
    before, nodes, settings = runtimes.mount_table(), host.device_nodes(), host.settings()
    yield under_test
    complaints = under_test.clean() + host.give_back(nodes)
    complaints += [f"setting {name}: {was}" for name, was in settings.items() if host.settings()[name] != was]
    after = runtimes.mount_table()
    if after != before:
        complaints += [f"mount {line}" for line in sorted(set(after) - set(before))]
        complaints += [f"lost mount {line}" for line in sorted(set(before) - set(after))]
        for line in set(after) - set(before):
            with contextlib.suppress(OSError):
                host.umount(line.split(" ")[1])
    shutil.rmtree(work, ignore_errors=True)
    assert not complaints, f"left behind after delete --force: {complaints}"


@pytest.fixture
def bundle(runtime: runtimes.Runtime) -> bundles.Bundle:
    return runtime.bundle()


@pytest.fixture
def hooks(runtime: runtimes.Runtime, bundle: bundles.Bundle) -> Log:
    return Log(runtime, bundle)


@pytest.fixture
def console(runtime: runtimes.Runtime) -> object:
    receiver = Receiver(runtime.work / "console.sock")
    yield receiver
    receiver.close()
