"""Files that a runtime reads with its own privileges, written by somebody else."""

from __future__ import annotations

import os
import stat

import pytest
from lib.runtime import ENV, new_id

req, cve = pytest.mark.req, pytest.mark.cve


@req("T31", "CLI-HOME-1")
@cve("the container's files, read with privilege")
@pytest.mark.parametrize("what", ["fifo", "zero", "directory", "hole", "loop", "junk", "dangling", "nul"])
def test_hostile_passwd(runtime, bundle, what):
    passwd = bundle.rootfs / "etc/passwd"
    passwd.unlink()
    match what:
        case "fifo":
            os.mkfifo(passwd)
        case "zero":
            os.mknod(passwd, 0o666 | stat.S_IFCHR, os.makedev(1, 5))
        case "directory":
            passwd.mkdir()
        case "hole":
            with passwd.open("wb") as file:
                file.truncate(200 << 20)
        case "loop":
            passwd.symlink_to("passwd")
        case "junk":
            passwd.write_bytes(b"\xff:::\n\0\n" * 100 + b"root:x:0" + b"::" * 100)
        case "dangling":
            passwd.symlink_to("/nowhere")
        case "nul":
            passwd.write_bytes(b"root:x:0:0::/a\0b:/bin/sh\n")
    result = runtime.try_run(bundle.set("process.env", ["PATH=/bin"]).probe("report"), timeout=5)
    assert result.code == 0, str(result)
    homes = [e for e in result.seen.env if e.startswith("HOME=")]
    assert homes == ["HOME=/"]


@req("T32", "CLI-ENVIRON-1")
@cve("CVE-2019-14271")
def test_files_named_like_modules_are_not_loaded(runtime, bundle):
    """A runtime in an interpreted language must import nothing from where it runs."""
    marker = runtime.work / "loaded"
    code = f"open({str(marker)!r}, 'a').write(__name__ + chr(10))\n"
    for where in (bundle.path, bundle.rootfs, runtime.work):
        for name in ("json", "ctypes", "os", "sitecustomize", "usercustomize", "errno", "pyrunc", "site"):
            (where / f"{name}.py").write_text(code)
        (where / "encodings").mkdir()
        (where / "encodings/__init__.py").write_text(code)
    env = ENV | {
        "PYTHONPATH": str(bundle.path),
        "PYTHONSTARTUP": str(bundle.path / "os.py"),
        "PYTHONINSPECT": "1",
        "PYTHONBREAKPOINT": "os.system",
        "PYTHONUSERBASE": str(bundle.path),
        "PYTHONWARNINGS": "always",
        "PYTHONVERBOSE": "1",
    }
    bundle.write()
    result = runtime.cmd("run", "--bundle", bundle.path, new_id(), env=env, cwd=bundle.path)
    assert result.code == 0, str(result)
    assert result.err == ""
    assert not marker.exists(), marker.read_text()
