"""Build the three C programs of pyrunc: the executor (static, no libc), the shim (cffi, holds the executor's bytes) and the
launcher (the `pyrunc` command itself).

CC and CFLAGS are honoured. Whatever is missing is told in one line that says what to install.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess  # noqa: S404  # a compiler is a program
import sys
import sysconfig
import tempfile
from pathlib import Path

from setuptools import setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

CSRC = Path("csrc")
EXECUTOR = [CSRC / f"{name}.c" for name in ("init", "check", "ops", "path", "copy", "talk", "program", "freestanding")]
LAUNCHER = [CSRC / f"{name}.c" for name in ("launcher", "freestanding")]
WARNINGS = ["-std=gnu11", "-Wall", "-Wextra", "-Wconversion"]
# after the user's CFLAGS, so that a distribution's hardening flags (which call into libc) do not reach these two programs
FREESTANDING = [
    *("-Os", "-ffreestanding", "-fno-stack-protector", "-fno-pic", "-fno-pie", "-fno-lto", "-fomit-frame-pointer"),
    *("-fno-asynchronous-unwind-tables", "-ffunction-sections", "-fdata-sections", "-U_FORTIFY_SOURCE"),
    *("-nostdlib", "-static", "-Wl,-z,noseparate-code", "-Wl,-z,noexecstack", "-Wl,--build-id=none"),
    *("-Wl,--gc-sections", "-Wl,--hash-style=gnu", "-s"),
]
MACHINES = ("x86_64", "aarch64")

PROBES = (
    ("int probe;", "a C compiler that works: apt-get install gcc libc6-dev (or dnf install gcc glibc-devel)"),
    ("#include <errno.h>\n#include <unistd.h>\nint probe;", "the C library's headers: apt-get install libc6-dev (or dnf install glibc-devel)"),
    (
        "#include <linux/openat2.h>\n#include <linux/mount.h>\n#include <linux/close_range.h>\nint probe = MOUNT_ATTR_NOSYMFOLLOW;",
        "kernel headers of Linux 5.14 or later: apt-get install linux-libc-dev (or dnf install kernel-headers)",
    ),
    ("#include <Python.h>\nint probe;", "Python's headers: apt-get install python3-dev (or dnf install python3-devel)"),
)


def compiler() -> list[str]:
    """Return the C compiler as words: $CC, or the first of the usual names."""
    if os.environ.get("CC"):
        return shlex.split(os.environ["CC"])
    for name in ("cc", "gcc", "clang"):
        if shutil.which(name):
            return [name]
    raise SystemExit("pyrunc needs a C compiler: apt-get install gcc libc6-dev (or dnf install gcc glibc-devel)")


def cflags() -> list[str]:
    """Return the user's CFLAGS as words."""
    return shlex.split(os.environ.get("CFLAGS", ""))


def check_host() -> None:
    """Raise SystemExit with one line when this host cannot build pyrunc."""
    if sys.platform != "linux" or os.uname().machine not in MACHINES:
        raise SystemExit(f"pyrunc runs on Linux on {' and '.join(MACHINES)} only")
    python_h = [f"-I{sysconfig.get_path(name)}" for name in ("include", "platinclude")]
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch, "probe.c")
        for text, remedy in PROBES:
            source.write_text(text + "\n")
            command = [*compiler(), *python_h, "-c", str(source), "-o", f"{scratch}/probe.o"]
            try:
                found = subprocess.run(command, check=False, capture_output=True).returncode == 0  # noqa: S603
            except OSError:
                found = False
            if not found:
                raise SystemExit(f"pyrunc needs {remedy}")


def compile_static(sources: list[Path], output: Path, defines: dict[str, str]) -> None:
    """Compile one of the two programs that need no C library."""
    output.parent.mkdir(parents=True, exist_ok=True)
    macros = [f'-D{name}="{value}"' for name, value in defines.items()]
    command = [*compiler(), *cflags(), *WARNINGS, *FREESTANDING, *macros, "-o", str(output), *map(str, sources)]
    print(shlex.join(command))  # noqa: T201  # what a build shows
    try:
        subprocess.run(command, check=True)  # noqa: S603
    except subprocess.CalledProcessError:
        raise SystemExit(f"pyrunc: {output.name} does not compile: see the compiler's words above") from None


def launcher_defines() -> dict[str, str]:
    """Return what the launcher is told of the interpreter that it is built for."""
    base = os.path.realpath(getattr(sys, "_base_executable", sys.executable))
    platlib = os.path.relpath(sysconfig.get_path("platlib"), sys.prefix)
    return {
        "PYTHON_NAME": f"python{sysconfig.get_python_version()}",
        "PYTHON_PATH": base,
        "PLATLIB": "lib/python3/dist-packages" if platlib.startswith("..") else platlib,
    }


class BuildPrograms(build_ext):
    """Build executor and launcher, then the extension with the executor's bytes in it."""

    def run(self) -> None:
        """Build all three."""
        check_host()
        executor = Path(self.build_temp, "executor").absolute()
        compile_static(EXECUTOR, executor, {})
        self.build_launcher()
        for extension in self.extensions:
            extension.define_macros.append(("PYRUNC_EXECUTOR", f'"{executor}"'))
            extension.depends.append(str(executor))
        if not shutil.which((sysconfig.get_config_var("CC") or "cc").split()[0]):
            os.environ.setdefault("CC", compiler()[0])  # the compiler of who built this Python is not here
        super().run()

    def build_launcher(self) -> None:
        """Build `build/bin/pyrunc`; in a checkout it finds the package through a link beside its directory."""
        compile_static(LAUNCHER, Path("build/bin/pyrunc"), launcher_defines())
        link = Path("build/pyrunc")
        if self.inplace and not link.is_symlink():
            link.symlink_to("../pyrunc")


setup(
    cffi_modules=["csrc/build_shim.py:ffibuilder"],
    cmdclass={"build_ext": BuildPrograms, "build_py": build_py},
    data_files=[("bin", ["build/bin/pyrunc"])],
)
