"""`os` for the hot path: the system calls of `posix`, and a few functions on names, without what importing `os` costs.

`from pyrunc import _os as os` is `os` itself when somebody has imported that already. Otherwise it takes `posix` (which
the interpreter has loaded at its start) instead of building `os`'s classes and loading collections.abc: 0.9 ms less of
a `create`. What is not here comes from the real `os`, at its price; tests/cli/test_imports.py sees to it that no
command of the hot path pays that.
"""

from __future__ import annotations

import posix
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from os import *  # noqa: F403
    from os import _exit, path
    from typing import Any
elif "os" in sys.modules:
    sys.modules[__name__] = sys.modules["os"]
else:
    from posix import *  # noqa: F403
    from posix import _exit  # noqa: F401

    del environ  # noqa: F821  # in bytes; __getattr__ has it as text

    SEEK_SET, SEEK_CUR, SEEK_END = 0, 1, 2

    class _Rest(type):
        def __getattr__(cls, name: str) -> Any:
            import posixpath

            return getattr(posixpath, name)

    class path(metaclass=_Rest):  # noqa: N801  # the name that os has for it
        """The functions of `os.path` for names that are `str`."""

        @staticmethod
        def join(first: str, *rest: str) -> str:
            """Like os.path.join: what begins with a slash starts anew."""
            for part in rest:
                first = (
                    part
                    if part[:1] == "/" or not first
                    else f"{first}{'' if first[-1] == '/' else '/'}{part}"
                )
            return first

        @staticmethod
        def basename(name: str) -> str:
            """Return what follows the last slash."""
            return name.rpartition("/")[2]

        @staticmethod
        def normpath(name: str) -> str:
            """Resolve ".", ".." and repeated slashes by the text alone."""
            keep = 2 if name[:2] == "//" and name[2:3] != "/" else 1 if name[:1] == "/" else 0
            parts: list[str] = []
            for part in name.split("/"):
                if part == ".." and (parts[-1:] == [".."] or not (parts or keep)):
                    parts.append(part)
                elif part == "..":
                    del parts[-1:]
                elif part not in ("", "."):
                    parts.append(part)
            return "/" * keep + "/".join(parts) or "."

        @staticmethod
        def abspath(name: str) -> str:
            """Make absolute and normal, by the text alone."""
            return path.normpath(name if name[:1] == "/" else f"{posix.getcwd()}/{name}")

        @staticmethod
        def lexists(name: str | bytes) -> bool:
            """Tell whether there is something of that name, be it a dangling link."""
            try:
                posix.lstat(name)
            except (OSError, ValueError):  # of any kind, as os.path has it
                return False
            return True

        @staticmethod
        def exists(name: str | bytes) -> bool:
            """Tell whether there is something behind that name."""
            try:
                posix.stat(name)
            except (OSError, ValueError):  # of any kind, as os.path has it
                return False
            return True

        @staticmethod
        def isdir(name: str | bytes) -> bool:
            """Tell whether there is a directory behind that name."""
            try:
                return posix.stat(name).st_mode & 0o170000 == 0o040000
            except (OSError, ValueError):  # of any kind, as os.path has it
                return False

    def fsencode(name: str | bytes) -> bytes:
        """Return a file's name as the kernel has it."""
        return (
            name if isinstance(name, bytes) else name.encode(sys.getfilesystemencoding(), "surrogateescape")
        )

    def fsdecode(name: str | bytes) -> str:
        """Return a file's name as text; bytes that are none become lone surrogates."""
        return name if isinstance(name, str) else name.decode(sys.getfilesystemencoding(), "surrogateescape")

    def makedirs(name: str, mode: int = 0o777, exist_ok: bool = False) -> None:  # noqa: FBT001, FBT002
        """Make a directory, and what is missing above it with the default mode."""
        above = name.rstrip("/").rpartition("/")[0]
        if above and not path.exists(above):
            makedirs(above, exist_ok=exist_ok)
        try:
            posix.mkdir(name, mode)
        except OSError:  # also EROFS, where it exists, as os has it
            if not exist_ok or not path.isdir(name):
                raise

    def __getattr__(name: str) -> Any:
        """Find what is rare: the environment is decoded when first asked for, the rest is the real `os`'s."""
        if name == "environ":
            found = {fsdecode(key): fsdecode(value) for key, value in posix.environ.items()}
        else:
            import os

            found = getattr(os, name)
        globals()[name] = found
        return found
