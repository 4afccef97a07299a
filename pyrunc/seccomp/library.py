"""libseccomp, opened when a profile is there: its functions by name and type, through cffi, without its headers."""

from __future__ import annotations

from pyrunc._shim import ffi, lib
from pyrunc.errors import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NAME = b"libseccomp.so.2"
MISSING = (
    "linux.seccomp: libseccomp.so.2 cannot be loaded: install the package libseccomp2 (Fedora: libseccomp)"
)
TYPES = {
    "version": "const unsigned int *(*)(void)",
    "init": "void *(*)(unsigned int action)",
    "release": "void (*)(void *filter)",
    "arch_add": "int (*)(void *filter, unsigned int arch)",
    "arch_resolve_name": "unsigned int (*)(const char *name)",
    "syscall_resolve_name": "int (*)(const char *name)",
    "syscall_resolve_name_arch": "int (*)(unsigned int arch, const char *name)",
    "rule_add_array": "int (*)(void *filter, unsigned int action, int syscall, unsigned int count, const char *args)",
    "attr_set": "int (*)(void *filter, int attribute, unsigned int value)",
    "export_bpf": "int (*)(const void *filter, int fd)",
}
"""seccomp(3) and its sisters; enums are ints, struct scmp_arg_cmp arrays are bytes."""


def function(name: str) -> Any:
    """Return seccomp_NAME. Raises HostError when the library is missing."""
    address = lib.pyrunc_symbol(NAME, f"seccomp_{name}".encode())
    if not address:
        raise HostError(MISSING)
    return ffi.cast(TYPES[name], address)


def version() -> tuple[int, int, int]:
    """Return the version of the library. Raises HostError when it is missing."""
    numbers = function("version")()
    return numbers[0], numbers[1], numbers[2]


def version_text() -> str:
    """Return the version as text."""
    return ".".join([str(number) for number in version()])
