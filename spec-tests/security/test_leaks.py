"""Descriptors and sockets through which a container could reach the host."""

from __future__ import annotations

import os
import re

import pytest
from lib.runtime import new_id

req, cve = pytest.mark.req, pytest.mark.cve


@req("T02a", "PR-6")
@cve("CVE-2024-21626")
def test_cwd_through_a_descriptor(runtime, bundle, record_property):
    for fd in range(3, 64):
        result = runtime.try_create(bundle.set("process.cwd", f"/proc/self/fd/{fd}"))
        assert result.code != 0, f"/proc/self/fd/{fd} was taken for a cwd"
    record_property("attempts", 61)


@req("T02b", "PR-6")
@cve("CVE-2024-21626")
def test_cwd_through_a_leaked_descriptor(runtime, bundle, leak):
    runtime.refuses(bundle.set("process.cwd", "/proc/self/fd/60"), pass_fds=leak)


@req("T02b", "PR-6")
@cve("CVE-2024-21626")
def test_cwd_through_a_link_to_a_leaked_descriptor(runtime, bundle, leak):
    (bundle.rootfs / "evil").symlink_to("/proc/self/fd/60")
    runtime.refuses(bundle.set("process.cwd", "/evil"), pass_fds=leak)


@req("T02d", "PR-6")
@cve("CVE-2024-21626")
@pytest.mark.parametrize("cwd", ["/evil", "/proc/self/fd/60"])
def test_cwd_of_an_exec_through_a_leaked_descriptor(runtime, bundle, leak, cwd):
    (bundle.rootfs / "evil").symlink_to("/proc/self/fd/60")
    c = runtime.running(bundle.probe("hold"))
    result = runtime.cmd("exec", "--cwd", cwd, c.id, "/probe", "report", pass_fds=leak)
    assert result.code != 0, str(result)


@req("T03", "PR-8")
@cve("CVE-2024-21626")
def test_program_through_a_leaked_descriptor(runtime, bundle, leak):
    program = "/proc/self/fd/60/bin/busybox"
    result = runtime.try_run(bundle.args(program, "echo", "ran a file of the host"), pass_fds=leak)
    assert result.code != 0
    assert "ran a file of the host" not in result.out


@req("T03", "PR-8")
@cve("CVE-2024-21626")
def test_program_of_an_exec_through_a_leaked_descriptor(runtime, bundle, leak):
    c = runtime.running(bundle.probe("hold"))
    program = "/proc/self/fd/60/bin/busybox"
    result = runtime.cmd("exec", c.id, program, "echo", "ran a file of the host", pass_fds=leak)
    assert result.code != 0
    assert "ran a file of the host" not in result.out


@req("T02e", "RL-1")
@cve("CVE-2024-21626", "CVE-2016-9962")
def test_descriptors_of_the_waiting_process(runtime, bundle):
    """runc's own suite has this list: nothing that leads into the host's file systems."""
    c = runtime.create(bundle)
    allowed = (
        r"/dev/null|/dev/pts/\d+|anon_inode:.*|socket:.*|pipe:.*|.*/exec\.fifo|/proc/1/task/1/fd|/memfd:.*|/|/proc|"
        + re.escape(str(runtime.work))
        + r"/st-[\w-]+\.(out|err)"
    )
    folder = f"/proc/{c.pid}/fd"
    links = {n: os.readlink(f"{folder}/{n}") for n in os.listdir(folder)}
    assert {n: target for n, target in links.items() if not re.fullmatch(allowed, target)} == {}


@req("T24")
@cve("CVE-2020-15257")
def test_no_socket_without_a_path(runtime, bundle):
    """Abstract sockets belong to the network namespace, which a container may share."""
    table = runtime.work / "sockets"
    script = f'"$@"; code=$?; cat /proc/net/unix > {table}; exit $code'
    bundle.drop_ns("network").probe("hold").write()
    prefix = ("unshare", "-n", "sh", "-c", script, "sh")
    out = runtime.work / "out"
    for command in (("create", "--bundle", bundle.path, ident := new_id()), ("start", ident)):
        runtime.ok(*command, prefix=prefix, out=out, err=out)
        paths = [line.split()[7] for line in table.read_text().splitlines()[1:] if len(line.split()) > 7]
        assert [path for path in paths if path.startswith("@")] == []
