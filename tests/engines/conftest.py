"""One box and one of each engine for the whole run; the matrix of what was really run, for docs/engines.md."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import drivers
import images
import matrix
import pytest
import unable
from box import Box, container_cgroups, remove_cgroups, remove_stale_cgroups, top_cgroups

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ENGINES = {kind.name: kind for kind in (drivers.Containerd, drivers.Docker, drivers.Podman, drivers.Buildah)}
RELEASES = ("host", "newer")  # the engines that are installed, and those of --newer
ENGINES_OWN = {
    "docker", "default", "moby", "buildkit", "containerd", "libpod_parent", "libpod", "machine.slice", "system.slice",
    "user.slice", "init.scope", "buildah", "conmon", "kubepods",
}  # fmt: skip
ROWS = pytest.StashKey[matrix.Rows]()
FAILED = pytest.StashKey[set[str]]()
LABELS = pytest.StashKey[dict[tuple[str, str], str]]()  # by engine and release: the head of its column


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--results", metavar="FILE", help="keep what tests/engines/matrix.py makes a page's table of"
    )
    parser.addoption("--release", choices=RELEASES, help="only the engines of the host, or the newer ones")
    parser.addoption(
        "--newer", metavar="DIRECTORY", default="", help="newer engines, as tests/engines/unpack leaves them"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[ROWS] = matrix.Rows()
    config.stash[FAILED] = set()
    config.stash[LABELS] = {}


@pytest.fixture(scope="session")
def runtimes() -> dict[str, str]:
    """Find pyrunc beside this interpreter, or where $RUNTIME says; runc in PATH."""
    beside = Path(sys.prefix) / "bin" / "pyrunc"
    ours = os.environ.get("RUNTIME") or str(beside)
    found = {"pyrunc": shutil.which(ours), "runc": shutil.which("runc", path="/usr/sbin:/usr/bin:/sbin")}
    missing = [name for name, path in found.items() if not path]
    if missing or os.geteuid():
        pytest.fail(f"needs {' and '.join(missing) or 'root'}: make test-engines")
    return {name: path for name, path in found.items() if path}


@pytest.fixture(scope="session")
def boxes(request: pytest.FixtureRequest) -> Iterator[dict[str, Box]]:
    """Boxes by release, each made at its first use."""

    class Made(dict[str, Box]):
        def __missing__(self, release: str) -> Box:
            newer = newer_engines(request.config) if release == "newer" else ""
            self[release] = Box(f"/pyrunc-engines-{release}-{os.getpid()}", newer)
            return self[release]

    remove_stale_cgroups()
    before = top_cgroups()
    made = Made()
    try:
        yield made
    finally:
        for box in made.values():
            box.close()
    # others may run tests at the same time: only the names that engines would use are theirs
    outside = [path for path in top_cgroups() - before if Path(path).name in ENGINES_OWN]
    assert not outside, "an engine has made cgroups outside of its parent"


def newer_engines(config: pytest.Config) -> str:
    folder = config.getoption("--newer")
    if not folder or not Path(folder, ".unpacked").exists():
        pytest.skip("needs newer engines in --newer: make test-engines")
    return str(Path(folder).resolve())


@pytest.fixture(scope="session")
def archive() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="pyrunc-engines-") as folder:
        path = Path(folder) / "image.tar"
        images.write_archive(path)
        yield str(path)


@pytest.fixture(scope="session")
def logs() -> Path:
    """Where the daemons' logs are kept after the run."""
    path = Path(__file__).parents[2] / "build" / "log"
    path.mkdir(parents=True, exist_ok=True)
    return path


@pytest.fixture(scope="session")
def running(
    boxes: dict[str, Box], archive: str, logs: Path, runtimes: dict[str, str], request: pytest.FixtureRequest
) -> Iterator[dict[tuple[str, str], drivers.Engine]]:
    """Engines by name and release, each started at its first use."""

    class Started(dict[tuple[str, str], drivers.Engine]):
        def __missing__(self, key: tuple[str, str]) -> drivers.Engine:
            box = boxes[key[1]]
            engine = ENGINES[key[0]](box, logs / key[1])
            lacking = [name for name in engine.programs if box("sh", "-c", f"command -v {name}").code]
            if lacking:
                pytest.skip(f"needs the program {lacking[0]}")
            engine.logs.mkdir(exist_ok=True)
            engine.runtimes, engine.bridge = runtimes, True
            self[key] = engine
            engine.boot(archive)
            label = request.config.stash[LABELS][key] = engine.label()
            runc = box("runc", "--version").out.splitlines()[0]
            request.config.stash[ROWS].versions[label] = (engine.version(), runc)
            return engine

    engines = Started()
    try:
        yield engines
    finally:
        for engine in engines.values():
            engine.shut_down()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make a test for each engine that the action names, with each runtime."""
    marker = metafunc.definition.get_closest_marker("action")
    if "user" in metafunc.fixturenames and marker:
        only = metafunc.config.getoption("--release")
        releases = [release for release in marker.kwargs["releases"] if only in (None, release)]
        params = list(itertools.product(marker.kwargs["on"], releases, marker.kwargs["runtimes"]))
        metafunc.parametrize("user", params, ids=["-".join(param) for param in params], indirect=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is of the other release alone: pytest would call it skipped."""
    specs = {item: getattr(item, "callspec", None) for item in items}
    empty = [
        item for item, spec in specs.items() if spec and not isinstance(spec.params.get("user", ()), tuple)
    ]
    config.hook.pytest_deselected(items=empty)
    items[:] = [item for item in items if item not in empty]


@pytest.fixture
def user(
    request: pytest.FixtureRequest, running: dict[tuple[str, str], drivers.Engine]
) -> Iterator[drivers.User]:
    engine, release, runtime = request.param
    user = drivers.User(running[engine, release], runtime)
    before = container_cgroups(user.box.parent)
    yield user
    user.engine.ensure()
    user.leave()
    if runtime == "pyrunc":
        left = until_gone(lambda: set(container_cgroups(user.box.parent)) - set(before))
        assert not left, "cgroups are left of removed containers"


def until_gone(left: Callable[[], set[str]], limit: float = 5) -> set[str]:
    """Wait until nothing is left; what is, after all."""
    end = time.monotonic() + limit
    while (seen := left()) and time.monotonic() < end:
        time.sleep(0.05)
    return seen


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> object:
    """Note each result. What is known to fail with runc is noted only, with both."""
    report = yield
    marker = item.get_closest_marker("action")
    spec = getattr(item, "callspec", None)
    if marker is None or spec is None or "user" not in spec.params:
        return report
    engine, release, runtime = spec.params["user"]
    label = item.config.stash[LABELS].get((engine, release), engine)
    if report.when == "call" or not report.passed:
        text = "not run" if report.skipped else "yes" if report.passed else "no"
        item.config.stash[ROWS].note(marker.args[0], label, runtime, text)
    reason = unable.why(marker.args[0], label)
    same = item.nodeid.replace(f"-{runtime}", "")
    excused = same in item.config.stash[FAILED] and marker.args[0] not in unable.RANDOM
    if report.failed and report.when == "call" and reason and (runtime == "runc" or excused):
        item.config.stash[FAILED].add(same)
        item.config.stash[ROWS].reasons[marker.args[0], label] = reason
        report.outcome, report.wasxfail = "skipped", f"runc cannot do it: {reason}"
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    rows = session.config.stash[ROWS]
    if not rows.results:
        return
    if file := session.config.getoption("--results"):
        rows.pyrunc = pyrunc_version()
        rows.save(Path(file))
    for release in RELEASES:
        remove_cgroups(f"/pyrunc-engines-{release}-{os.getpid()}")


def pyrunc_version() -> str:
    path = os.environ.get("RUNTIME") or str(Path(sys.prefix) / "bin" / "pyrunc")
    said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout
    return said.splitlines()[0] if said else path
