"""The other processor: what needs no C library is built for it, and what can be of that is run, by qemu's emulation.

That emulation of single programs knows few of the newer system calls, and has a thread of its own, without which no namespace
can be left: operations on files, mounts and namespaces are for a machine. The start of both programs, the calling convention,
the layout of structures, the conversation and the way into a program are seen here.
"""

from __future__ import annotations

import errno
import os
import runpy
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import harness
import pytest
from conftest import CSRC
from harness import NONE, RPC, Plan, run
from test_hardened import PT_GNU_STACK, PT_LOAD, WRITE, segments

if TYPE_CHECKING:
    from pathlib import Path

TREE = CSRC.parent
COMPILER, EMULATOR = "aarch64-linux-gnu-gcc", "qemu-aarch64-static"
NEEDED = {
    COMPILER: "gcc-aarch64-linux-gnu libc6-dev-arm64-cross",
    EMULATOR: "qemu-user-static",
}
EM_AARCH64 = 183
STUB = """
#include <unistd.h>
int main(int argc, char **argv) {
  char *args[] = {"qemu", "-0", argv[0], PROGRAM, argv[1], argc > 2 ? argv[2] : 0, 0};
  execv(EMULATOR, args);
  return 126;
}
"""
"""The executor looks at its own name, and emulators at their words: this stands between them."""

pytestmark = pytest.mark.skipif(os.uname().machine != "x86_64", reason="needs an x86-64 processor")


@pytest.fixture(scope="module")
def setup() -> dict[str, Any]:
    """Return what setup.py would do on that processor."""
    for program, packages in NEEDED.items():
        if not shutil.which(program):
            pytest.skip(f"{program} is not installed: apt-get install {packages}")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(TREE)
        patch.setattr("setuptools.setup", lambda **_what: None)
        here = os.uname()
        patch.setattr("os.uname", lambda: os.uname_result((*here[:4], "aarch64")))
        return runpy.run_path("setup.py")


@pytest.fixture(scope="module")
def executor(setup: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("aarch64") / "executor"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(TREE)
        patch.setenv("CC", COMPILER)
        setup["compile_static"](setup["EXECUTOR"], program, {}, setup["HARDENED"])
    return program


@pytest.fixture
def emulated(executor: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `run` start that executor."""
    stub = executor.with_name("stub")
    source = executor.with_name("stub.c")
    source.write_text(STUB)
    places = {"PROGRAM": executor, "EMULATOR": shutil.which(EMULATOR)}
    macros = [f'-D{name}="{value}"' for name, value in places.items()]
    subprocess.run(["cc", "-static", *macros, "-o", stub, source], check=True)
    monkeypatch.setattr(harness, "sanitized", str(stub))


@pytest.mark.parametrize("hosted", [False, True])
def test_no_warnings(setup: dict[str, Any], hosted: bool) -> None:
    words = [COMPILER, *setup["WARNINGS"].split(), "-Werror", "-Os", "-fsyntax-only"]
    freestanding = [name for name in setup["EXECUTOR"].split() if not (hosted and name == "freestanding")]
    own = [CSRC / f"{name}.c" for name in freestanding]
    subprocess.run([*words, "-ffreestanding", *["-DPYRUNC_HOSTED"] * hosted, *own], check=True)
    subprocess.run([*words, f'-DPYRUNC_EXECUTOR="{CSRC}/init.c"', CSRC / "shim.c"], check=True)


def test_what_it_becomes(executor: Path) -> None:
    """As here: position independent, no relocation, and nothing that can be written to."""
    data = executor.read_bytes()

    assert int.from_bytes(data[18:20], "little") == EM_AARCH64
    assert {kind for kind, *_ in segments(data)} == {PT_LOAD, PT_GNU_STACK}
    assert not any(flags & WRITE for kind, flags, *_ in segments(data) if kind == PT_LOAD)
    assert len(data) < 1 << 17  # pages have 64 KiB there


@pytest.mark.usefixtures("emulated")
def test_it_leaves_without_a_plan() -> None:
    assert run(b"no plan").code == 1


@pytest.mark.usefixtures("emulated")
def test_the_way_into_a_program() -> None:
    env = os.memfd_create("env")
    os.write(env, b"A=b\0C=d e\0")
    plan = Plan(inputs=1).op("UMASK", 0o27).op("CHDIR", "/usr/bin").op("BOUND", 30)

    result = run(plan.sh("umask; pwd; echo $A $C; ls /proc/self/fd | tr '\\n' ' '", env=4), [env])

    assert (result.code, result.error) == (0, None)
    assert result.out.splitlines()[:3] == ["0027", "/usr/bin", "b d e"]


@pytest.mark.usefixtures("emulated")
def test_the_conversation() -> None:
    output = os.memfd_create("more")
    asked: list[int] = []

    def answer(_pid: int, fds: list[int]) -> tuple[int, list[int]]:
        asked.extend(fds)
        return 0, [output]

    plan = (
        Plan(inputs=1)
        .op("RPC", 40, 4, 1, out=6)
        .op("WRITE", 6, b"by the answer")
        .op("CHDIR", "/nowhere", tolerate=[2])
    )
    result = run(plan.op("CHDIR", "/nowhere/else"), [output], {40: answer})

    assert [message.kind for message in result.messages].count(RPC) == len(asked) == 1
    assert os.pread(output, 100, 0) == b"by the answer"
    assert result.skipped == [("CHDIR", errno.ENOENT)]
    assert (result.code, result.error) == (1, ("CHDIR", errno.ENOENT))


@pytest.mark.usefixtures("emulated")
@pytest.mark.parametrize(
    ("path", "args", "error"),
    [
        ("/bin/sh", ["sh", "-c", "exit 0"], None),
        ("/bin/sh", ["sh", "-c", "exit 3"], errno.ECANCELED),
        ("/no", ["no"], errno.ENOENT),
    ],
)
def test_hooks(path: str, args: list[str], error: int | None) -> None:
    plan = Plan().op("SPAWN", path, args, [], NONE | NONE << 16, 0)

    assert run(plan.sh("exit 0")).error == (("SPAWN", error) if error else None)


def test_the_launcher(setup: dict[str, Any], tmp_path: Path) -> None:
    """It finds the interpreter, and hands on all words, from the stack that the kernel has made."""
    program, python = tmp_path / "bin/pyrunc", tmp_path / "bin/python3.99"
    package = tmp_path / "lib/pyrunc"
    package.mkdir(parents=True)
    (package / "__main__.py").touch()
    defines = {"PYTHON_NAME": python.name, "PYTHON_PATH": "/no/python", "PLATLIB": "lib"}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(TREE)
        patch.setenv("CC", COMPILER)
        setup["compile_static"](setup["LAUNCHER"], program, defines, setup["LAUNCHER_PLACE"])
    python.symlink_to("/bin/echo")

    done = subprocess.run([EMULATOR, program, "a", "b c"], check=True, capture_output=True, text=True, env={})

    assert done.stdout.split(" ")[0].startswith("-")
    assert done.stdout.endswith(" a b c\n")


def test_the_launcher_without_an_interpreter(setup: dict[str, Any], tmp_path: Path) -> None:
    program = tmp_path / "bin/pyrunc"
    defines = {"PYTHON_NAME": "python3.99", "PYTHON_PATH": "/no/python", "PLATLIB": "lib"}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(TREE)
        patch.setenv("CC", COMPILER)
        setup["compile_static"](setup["LAUNCHER"], program, defines, setup["LAUNCHER_PLACE"])

    done = subprocess.run([EMULATOR, program], check=False, capture_output=True, text=True, env={})

    assert done.returncode == 127
    assert done.stderr.startswith("pyrunc: ")
    assert len(done.stderr.splitlines()) == 1
