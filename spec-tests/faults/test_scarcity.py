"""Callers and containers that lack something: descriptors, file size, memory, processes."""

from __future__ import annotations

import os
import pathlib

import pytest
from lib import host
from lib.faults import gone
from lib.runtime import PREFIX, new_id

fault, req = pytest.mark.fault, pytest.mark.req


@fault("F19")
@req("ER-1")
def test_caller_with_few_descriptors(runtime, bundle):
    """An error, or success: nothing left in the first case, and no crash in either."""
    for n in range(100):
        bundle.mount(f"/m/{n}", None, bundle.path, ["bind"])
    prefix = ("/bin/sh", "-c", 'ulimit -n 64; exec "$@"', "sh")
    with runtime.assert_untouched():
        result = runtime.try_run(bundle.probe("report"), prefix=prefix)
        assert result.code in {0, 1}
        assert "Traceback" not in result.said


@fault("F19")
@req("ER-1")
def test_caller_with_a_file_size_limit(runtime, bundle):
    """SIGXFSZ must not end the runtime half way."""
    prefix = ("/bin/bash", "-c", 'ulimit -f 0; exec "$@"', "sh")
    ident = new_id()
    result = runtime.try_create(bundle, ident, prefix=prefix)
    if result.code != 0:
        assert result.code == 1, f"the runtime died: {result}"
        assert gone(runtime, ident) == []


@fault("F16")
@req("ER-1")
@pytest.mark.only_if("v1:memory")
@pytest.mark.parametrize("limit", [1, 4096, 65536])
def test_too_little_memory_for_the_container(runtime, bundle, limit):
    """An error that names memory, or a container; nothing left in the first case."""
    ident = new_id()
    result = runtime.try_create(bundle.set("linux.resources.memory.limit", limit), ident, timeout=15)
    if result.code != 0:
        assert "memory" in result.err.lower(), result.err
        assert gone(runtime, ident) == []


@fault("F16")
@req("ER-1")
@pytest.mark.only_if("v1:pids")
def test_too_few_processes_for_the_container(runtime, bundle):
    """exec into a container that may have no further process fails in words."""
    bundle.set("linux.resources.pids", {"limit": 1})
    ident = new_id()
    result = runtime.try_create(bundle.probe("hold"), ident, timeout=15)
    if result.code != 0:
        assert gone(runtime, ident) == []
        return
    runtime.ok("start", ident)
    result = runtime.cmd("exec", ident, "/probe", "report", timeout=10)
    assert "Traceback" not in result.said
    runtime.ok("delete", "--force", ident)
    assert gone(runtime, ident) == []


@fault("F16")
@req("ER-1")
@pytest.mark.only_if("v1:pids")
@pytest.mark.parametrize("limit", [1, 2, 3, 4])
@pytest.mark.only_if("cgroupfs")
def test_caller_that_may_have_few_processes(runtime, bundle, limit):
    """The runtime runs in a cgroup with a limit of processes: a container, or an error and nothing left."""
    top = pathlib.Path(host.hierarchies()["pids"]) / f"{PREFIX}caller"
    top.mkdir()
    try:
        (top / "pids.max").write_text(str(limit))
        prefix = ("/bin/sh", "-c", 'echo $$ >"$0"; exec "$@"', str(top / "cgroup.procs"))
        bundle.set("linux.cgroupsPath", f"/{PREFIX}elsewhere")
        ident = new_id()
        result = runtime.try_create(bundle, ident, prefix=prefix, timeout=15)
        assert "Traceback" not in result.said
        runtime.cmd("delete", "--force", ident)
        assert gone(runtime, ident) == []
    finally:
        os.rmdir(top)


@fault("F16")
@req("ER-1")
@pytest.mark.parametrize("mebibytes", [4, 16, 64])
def test_caller_with_little_address_space(runtime, bundle, mebibytes):
    """An error, or a container; nothing left in the first case, and no traceback."""
    prefix = ("/bin/bash", "-c", f'ulimit -v {mebibytes * 1024}; exec "$@"', "sh")
    ident = new_id()
    result = runtime.try_create(bundle, ident, prefix=prefix, timeout=15)
    assert "Traceback" not in result.said
    if result.code == 0:
        runtime.ok("delete", "--force", ident)
    assert gone(runtime, ident) == []
