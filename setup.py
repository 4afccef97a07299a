"""Build the three C programs of pyrunc, and the image of its modules.

The executor is static and needs no C library; the shim (cffi) holds the executor's bytes; the launcher is the
`pyrunc` command itself. CC and CFLAGS are honoured. Whatever is missing is told in one line: what to install.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from setuptools import setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

if TYPE_CHECKING:
    from types import ModuleType

CSRC = Path("csrc")
EXECUTOR = "init check ops path copy talk program seccomp freestanding"
LAUNCHER = "launcher freestanding"
WARNINGS = "-std=gnu11 -Wall -Wextra -Wconversion"
# They come after the user's CFLAGS: a distribution's hardening flags call into a C library.
FREESTANDING = (
    "-Os -ffreestanding -fno-stack-protector -fno-pic -fno-pie -fno-lto -fomit-frame-pointer "
    "-U_FORTIFY_SOURCE -fno-asynchronous-unwind-tables -ffunction-sections -fdata-sections -nostdlib -static -s "
    "-Wl,-z,noseparate-code -Wl,-z,noexecstack -Wl,--build-id=none -Wl,--gc-sections"
)
# What can be had of a distribution's hardening without a C library; docs/decisions/0010 has the rest, and why not.
HARDENED = (
    "-fPIE -static-pie -fstack-clash-protection -Wl,-T,csrc/executor.ld"
    + " -fstack-protector-strong" * (os.uname().machine == "x86_64")
)
MACHINES = ("x86_64", "aarch64")

HEADERS = """
#include <linux/close_range.h>
#include <linux/mount.h>
#include <linux/openat2.h>
int probe = MOUNT_ATTR_NOSYMFOLLOW;
"""
NO_COMPILER = "a C compiler: apt-get install gcc libc6-dev (dnf install gcc glibc-devel)"
PROBES = (
    ("int probe;", NO_COMPILER),
    ("#include <unistd.h>", "the C library's headers: apt-get install libc6-dev (dnf install glibc-devel)"),
    (HEADERS, "kernel headers of Linux 5.14: apt-get install linux-libc-dev (dnf install kernel-headers)"),
    ("#include <Python.h>", "Python's headers: apt-get install python3-dev (dnf install python3-devel)"),
)


def compiler() -> list[str]:
    """Return the C compiler as words: $CC, or the first of the usual names."""
    if os.environ.get("CC"):
        return shlex.split(os.environ["CC"])
    for name in ("cc", "gcc", "clang"):
        if shutil.which(name):
            return [name]
    raise SystemExit(f"pyrunc needs {NO_COMPILER}")


def compiles(text: str) -> bool:
    """Tell whether a C file with this text compiles."""
    include = [f"-I{sysconfig.get_path(name)}" for name in ("include", "platinclude")]
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch, "probe.c")
        source.write_text(text + "\n")
        command = [*compiler(), *include, "-c", str(source), "-o", f"{scratch}/probe.o"]
        try:
            return subprocess.run(command, check=False, capture_output=True).returncode == 0  # noqa: S603  # $CC
        except OSError:  # $CC names no program
            return False


def check_host() -> None:
    """Raise SystemExit with one line when this host cannot build pyrunc."""
    if sys.platform != "linux" or os.uname().machine not in MACHINES:
        raise SystemExit(f"pyrunc runs on Linux on {' and '.join(MACHINES)} only")
    for text, remedy in PROBES:
        if not compiles(text):
            raise SystemExit(f"pyrunc needs {remedy}")


def compile_static(names: str, output: Path, defines: dict[str, str], more: str = "") -> None:
    """Compile one of the two programs that need no C library from csrc/NAME.c, each of the names."""
    output.parent.mkdir(parents=True, exist_ok=True)
    flags = [
        *shlex.split(os.environ.get("CFLAGS", "")),
        *WARNINGS.split(),
        *FREESTANDING.split(),
        *more.split(),
    ]
    macros = [f'-D{name}="{value}"' for name, value in defines.items()]
    sources = [str(CSRC / f"{name}.c") for name in names.split()]
    command = [*compiler(), *flags, *macros, "-o", str(output), *sources]
    print(shlex.join(command))  # noqa: T201  # a build shows what it does
    if subprocess.run(command, check=False).returncode:  # noqa: S603  # $CC
        raise SystemExit(f"pyrunc: the {output.name} does not compile: the compiler says above why")


def launcher_defines() -> dict[str, str]:
    """Return what the launcher is told of the interpreter that it is built for."""
    platlib = os.path.relpath(sysconfig.get_path("platlib"), sys.prefix)
    return {
        "PYTHON_NAME": f"python{sysconfig.get_python_version()}",
        "PYTHON_PATH": os.path.realpath(getattr(sys, "_base_executable", sys.executable)),
        "PLATLIB": "." if platlib.startswith("..") else platlib,
    }


class BuildPrograms(build_ext):
    """Build executor and launcher, then the extension with the executor's bytes in it."""

    def run(self) -> None:
        """Build all three."""
        check_host()
        executor = Path(self.build_temp, "executor").absolute()
        compile_static(EXECUTOR, executor, {}, HARDENED)
        self.build_launcher()
        for extension in self.extensions:
            extension.define_macros.append(("PYRUNC_EXECUTOR", f'"{executor}"'))
            extension.depends.append(str(executor))
            # where it was built is in no debug information: two builds give the same bytes
            extension.extra_compile_args.append(f"-ffile-prefix-map={Path.cwd()}=.")
        if not shutil.which((sysconfig.get_config_var("CC") or "cc").split()[0]):
            os.environ.setdefault("CC", compiler()[0])  # what built this Python is not installed here
        super().run()

    def build_launcher(self) -> None:
        """Build build/bin/pyrunc. In a checkout it finds the package by a link beside its directory."""
        compile_static(LAUNCHER, Path("build/bin/pyrunc"), launcher_defines())
        link = Path("build/pyrunc")
        if self.inplace and not link.is_symlink():
            link.symlink_to("../pyrunc")


class BuildModules(build_py):
    """Copy the modules, then pack them into the image that the launcher starts from."""

    def run(self) -> None:
        """Copy and pack."""
        super().run()
        if self.editable_mode:
            return  # a checkout is run from its sources
        package = Path(self.build_lib, "pyrunc")
        files = sorted(package.rglob("*.py"))
        _image().build(
            [(self.dotted(path), str(path.relative_to(self.build_lib)), path.read_bytes()) for path in files],
            str(package),
        )

    def dotted(self, path: Path) -> str:
        """Return the name by which a file is imported."""
        parts = path.relative_to(self.build_lib).with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _image() -> ModuleType:
    """Return pyrunc/_image.py, which must not need the package to be importable yet."""
    spec = importlib.util.spec_from_file_location("_image", "pyrunc/_image.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


setup(
    cffi_modules=["csrc/build_shim.py:ffibuilder"],
    cmdclass={"build_ext": BuildPrograms, "build_py": BuildModules},
    data_files=[
        ("bin", ["build/bin/pyrunc"]),
        ("share/man/man8", sorted(str(path) for path in Path("docs/man").glob("*.8"))),
    ],
)
