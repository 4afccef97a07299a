"""One box and one of each engine for the whole run; the matrix of what was really run, for docs/engines.md."""

from __future__ import annotations

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
from box import Box, container_cgroups, remove_cgroups, remove_stale_cgroups, top_cgroups

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ENGINES = {kind.name: kind for kind in (drivers.Containerd, drivers.Docker, drivers.Podman)}
RUNTIMES = ("runc", "pyrunc")  # runc first: what fails with it is not asked of pyrunc
ENGINES_OWN = {
    "docker", "default", "moby", "buildkit", "containerd", "libpod_parent", "libpod", "machine.slice", "system.slice",
    "user.slice", "init.scope", "buildah", "conmon", "kubepods",
}  # fmt: skip
ROWS = pytest.StashKey[matrix.Rows]()
FAILED = pytest.StashKey[set[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--matrix", metavar="FILE", help="write engine x action into this page, between its marks"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[ROWS] = matrix.Rows()
    config.stash[FAILED] = set()


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
def box() -> Iterator[Box]:
    parent = f"/pyrunc-engines-{os.getpid()}"
    remove_stale_cgroups()
    before = top_cgroups()
    box = Box(parent)
    try:
        yield box
    finally:
        box.close()
    # others may run tests at the same time: only the names that engines would use are theirs
    made = [path for path in top_cgroups() - before if Path(path).name in ENGINES_OWN]
    assert not made, "an engine has made cgroups outside of its parent"


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
    box: Box, archive: str, logs: Path, runtimes: dict[str, str], request: pytest.FixtureRequest
) -> Iterator[dict[str, drivers.Engine]]:
    """Engines by name, each started at its first use."""

    class Started(dict[str, drivers.Engine]):
        def __missing__(self, name: str) -> drivers.Engine:
            engine = ENGINES[name](box, logs)
            if missing := [program for program in engine.programs if not find(program)]:
                pytest.skip(f"needs the program {missing[0]}")
            engine.runtimes = runtimes
            self[name] = engine
            engine.boot(archive)
            request.config.stash[ROWS].versions[name] = engine.version()
            return engine

    engines = Started()
    try:
        yield engines
    finally:
        for engine in engines.values():
            engine.shut_down()


def find(program: str) -> str | None:
    return shutil.which(program, path="/usr/sbin:/usr/bin:/sbin:/bin")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make a test for each engine that the action names, with each runtime."""
    marker = metafunc.definition.get_closest_marker("action")
    if "user" in metafunc.fixturenames and marker:
        pairs = [(engine, runtime) for engine in marker.kwargs["on"] for runtime in RUNTIMES]
        ids = [f"{engine}-{runtime}" for engine, runtime in pairs]
        metafunc.parametrize("user", pairs, ids=ids, indirect=True)


@pytest.fixture
def user(request: pytest.FixtureRequest, running: dict[str, drivers.Engine]) -> Iterator[drivers.User]:
    engine, runtime = request.param
    user = drivers.User(running[engine], runtime)
    before = container_cgroups(user.box.parent)
    yield user
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
    """Note each result. What fails with runc is noted only, with both: it says what cannot be done on this host."""
    report = yield
    marker = item.get_closest_marker("action")
    spec = getattr(item, "callspec", None)
    if marker is None or spec is None or "user" not in spec.params:
        return report
    engine, runtime = spec.params["user"]
    if report.when == "call" or not report.passed:
        text = "not run" if report.skipped else "yes" if report.passed else "no"
        item.config.stash[ROWS].note(marker.args[0], engine, runtime, text)
    same = item.nodeid.replace(f"-{runtime}", "")
    if report.failed and report.when == "call" and (runtime == "runc" or same in item.config.stash[FAILED]):
        item.config.stash[FAILED].add(same)
        report.outcome, report.wasxfail = "skipped", "runc cannot do it on this host"
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    page = session.config.getoption("--matrix")
    rows = session.config.stash[ROWS]
    if page and rows.results:
        rows.runtimes = {name: version_of(name) for name in RUNTIMES}
        rows.write(Path(page))
    if rows.results:
        remove_cgroups(f"/pyrunc-engines-{os.getpid()}")


def version_of(name: str) -> str:
    path = str(Path(sys.prefix) / "bin" / "pyrunc") if name == "pyrunc" else find(name) or name
    said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout
    return said.splitlines()[0] if said else name
