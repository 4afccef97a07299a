"""bpf(2), as far as programs that judge a cgroup's access to devices need it. Functions raise OSError and nothing else.

The layouts of `union bpf_attr` are those of include/uapi/linux/bpf.h; the kernel takes what is left out at the end as zeros.
"""

from __future__ import annotations

from _struct import pack
from errno import ENOSPC

from pyrunc import _os as os
from pyrunc._shim import ffi, lib

BPF_PROG_LOAD, BPF_PROG_ATTACH, BPF_PROG_DETACH, BPF_PROG_GET_FD_BY_ID, BPF_PROG_QUERY = 5, 8, 9, 13, 16
BPF_PROG_TYPE_CGROUP_DEVICE = 15
BPF_CGROUP_DEVICE = 6
BPF_F_ALLOW_MULTI, BPF_F_REPLACE = 2, 4
INSTRUCTION = 8
"""Bytes of one instruction."""
_LICENSE = b"Apache-2.0\0"
_NAME = b"pyrunc_devices"
_MOST = 64
"""The kernel attaches no more to one cgroup (BPF_CGROUP_MAX_PROGS)."""


def _bpf(command: int, attr: object, size: int) -> int:
    result: int = lib.pyrunc_bpf(command, attr, size)
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return result


def load(program: bytes) -> int:
    """Have the kernel check a program of type BPF_PROG_TYPE_CGROUP_DEVICE; return a descriptor of it."""
    code, license_ = ffi.from_buffer(program), ffi.from_buffer(_LICENSE)
    attr = pack(
        "=IIQQIIQII16sII",
        BPF_PROG_TYPE_CGROUP_DEVICE,
        len(program) // INSTRUCTION,
        int(ffi.cast("unsigned long", code)),
        int(ffi.cast("unsigned long", license_)),
        *(0, 0, 0),  # no log: Python has assembled it, and tests have run it
        *(0, 0),
        _NAME,
        0,
        BPF_CGROUP_DEVICE,
    )
    return _bpf(BPF_PROG_LOAD, ffi.new("char[]", attr), len(attr))


def attach(cgroup: int, program: int, replaced: int = -1) -> None:
    """Attach a program to a cgroup beside others; or in the place of `replaced`, so that there is no moment without one."""
    flags = BPF_F_ALLOW_MULTI | (BPF_F_REPLACE if replaced >= 0 else 0)
    attr = pack("=IIIII", cgroup, program, BPF_CGROUP_DEVICE, flags, max(replaced, 0))
    _bpf(BPF_PROG_ATTACH, ffi.new("char[]", attr), len(attr))


def detach(cgroup: int, program: int) -> None:
    """Take a program away from a cgroup."""
    attr = pack("=III", cgroup, program, BPF_CGROUP_DEVICE)
    _bpf(BPF_PROG_DETACH, ffi.new("char[]", attr), len(attr))


def attached(cgroup: int) -> list[int]:
    """Return descriptors, which the caller owns, of the programs that are attached to a cgroup itself."""
    ids = ffi.new("unsigned int[]", _MOST)
    attr = ffi.new(
        "char[]",
        pack("=IIIIQII", cgroup, BPF_CGROUP_DEVICE, 0, 0, int(ffi.cast("unsigned long", ids)), _MOST, 0),
    )
    _bpf(BPF_PROG_QUERY, attr, len(attr) - 1)
    count = ffi.cast("unsigned int *", attr + 24)[0]
    if count > _MOST:
        raise OSError(ENOSPC, os.strerror(ENOSPC))
    return _opened(ids[0:count])


def _opened(ids: list[int]) -> list[int]:
    fds: list[int] = []
    try:
        for number in ids:
            attr = pack("=III", number, 0, 0)
            fds.append(_bpf(BPF_PROG_GET_FD_BY_ID, ffi.new("char[]", attr), len(attr)))
    except OSError:
        for fd in fds:
            os.close(fd)
        raise
    return fds
