"""A started interpreter in a file: the launcher maps it (csrc/resume.c) instead of starting Python again.

Starting Python and importing our modules takes longer than making a container, and ends in the same memory each time. So
after its first success a command starts an interpreter of its own (`make`), which imports what the hot path needs and
writes its memory to a file (`save`): that of the host's root lies in /run/pyrunc, a user's in $XDG_RUNTIME_DIR/pyrunc.
From then on a command begins in the middle of `save`, with its own arguments and environment, until the host boots or a
file changes that the memory was made of. docs/decisions/0011 has the reasons, csrc/snapshot.h the format.
"""

from __future__ import annotations

import _signal
import _struct as struct
import posix
import sys
import time
from errno import EAGAIN

from pyrunc import _os as os
from pyrunc._shim import ffi, lib

HOT = (
    "create", "delete", "exec", "kill", "list", "pause", "ps", "resume", "run", "spec", "start", "state", "update",
)  # fmt: skip
"""Commands whose modules are in a snapshot; the others load theirs, as in any start."""
PRELOAD = (
    *(f"cgroup.{name}" for name in (
        "devices", "devices_v1", "devices_v2", "limits", "limits_v1", "limits_v2", "manager", "owner", "paths", "sub",
        "v1", "v2",
    )),
    *(f"check.{name}" for name in ("mounts", "namespaces", "rare", "resources")),
    "cli", *(f"commands.{verb}" for verb in HOT), "host", "plan.exec", "plan.request",
    *(f"run.{name}" for name in (
        "affinity", "console", "environ", "facts", "foreground", "hooks", "idmap", "notify", "phrase", "process",
    )),
    "seccomp.cache", "spec.landlock", "state.lock", "sys.bpf",
)  # fmt: skip
"""What the hot path imports, sooner or later. A module too many costs a start nothing."""
SYSTEMD = ("cgroup.bus", "cgroup.systemd", "cgroup.systemd_v1")
"""What --systemd-cgroup needs besides, with the package that speaks to the bus: where systemd runs."""
WORTH = frozenset(("create", "exec", "run", "start"))
"""Commands after which a snapshot is made: they write below /run in any case."""
PATIENCE = 10
"""Seconds for making a snapshot; it takes 0.1, and thirty times that in an emulated machine."""

HEAD = struct.Struct("=QIIIIQQ36s4x")
FILE = struct.Struct("=7Q")
PART = struct.Struct("=QQQii")
HEAD_LENGTH = 32768
MAGIC = 0x31304E5352595031
OWN, ZERO, VDSO = -1, -2, -3
"""What a part is, beside the number of a file."""
READ, WRITE, EXECUTE = 1, 2, 4
VDSO_NAMES = ("[vdso]", "[vvar]", "[vvar_vclock]")
LIBC_SIGNALS = (32, 33)
"""The C library keeps these to itself."""
DROPPED = (b"PYTHONEXECUTABLE", b"__PYVENV_LAUNCHER__")
"""What the launcher takes out of the environment of an ordinary start, and why it does: see there."""
TRIES = 8
ROUNDS = 20
CHUNK = 1 << 17
PREFIX = ".snapshot-"
UNFINISHED = ".new"
CLOSE_RANGE_CLOEXEC = 4
DIRECTORY, DIRECTORY_AND_OTHERS = 0o040000, 0o170022
"""The type of a directory; the bits for types and for others' writing."""


class _NoSnapshotError(Exception):
    """This process cannot be kept: something is mapped that could not be mapped again."""


# ---- the command that found none ----


def make(path: str, launcher: str, script: str) -> None:
    """Start an interpreter that saves itself to `path`, and see that the launcher can go on from it.

    Whatever fails makes the next start slower, and nothing else. What was found not to work is not tried again.
    """
    if _fits(path, _boot()) or not _begin(path):
        return
    # we are about to end, and neither process may inherit what is ours
    lib.pyrunc_close_range(3, 0xFFFFFFFF, CLOSE_RANGE_CLOEXEC)
    where = {"XDG_RUNTIME_DIR": path.rpartition("/pyrunc/")[0]}
    python = [sys.executable, "-I", "-S", "-B", "-X", "utf8", "-X", f"snapshot={path}", script]
    try:
        if _run(python, {}) or _run([launcher, "state", "--help"], where):
            _write_marker(path)
    except (OSError, KeyboardInterrupt):
        _unlink(path)
    _unlink(path + UNFINISHED)


def _begin(path: str) -> bool:
    """Make the file that fills; False when another command is about it, or the launcher would not trust the directory."""
    directory = path.rpartition("/")[0]
    try:
        if not os.path.lexists(directory):
            posix.mkdir(directory, 0o700)
        found = posix.lstat(directory)
        if found.st_uid != posix.geteuid() or found.st_mode & DIRECTORY_AND_OTHERS != DIRECTORY:
            return False
        posix.close(posix.open(path + UNFINISHED, posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC, 0o600))
    except OSError:
        _give_up_on(path + UNFINISHED)
        return False
    return True


def _give_up_on(path: str) -> None:
    """Remove what nobody will finish: its maker was killed."""
    try:
        if time.time() - posix.stat(path).st_mtime > 2 * PATIENCE:
            posix.unlink(path)
    except OSError:
        return  # it was finished, or we may not write here at all


def _run(command: list[str], environ: dict[str, str]) -> int:
    """Run a program with nothing of ours but these variables, and return its wait status."""
    import select

    null = [(posix.POSIX_SPAWN_OPEN, fd, "/dev/null", posix.O_RDWR, 0) for fd in (0, 1, 2)]
    signals = set(range(1, 65)) - {_signal.SIGKILL, _signal.SIGSTOP, *LIBC_SIGNALS}
    pid = posix.posix_spawn(
        command[0], command, environ, file_actions=null, setsigdef=signals, setsigmask=(), setsid=True
    )
    pidfd = posix.pidfd_open(pid)
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    if not poll.poll(PATIENCE * 1000):
        _signal.pidfd_send_signal(pidfd, _signal.SIGKILL)
    return posix.waitpid(pid, 0)[1]


def _write_marker(path: str) -> None:
    """Leave a word that in this boot there will be no snapshot: too short for the launcher, and it fits until then."""
    flags = posix.O_WRONLY | posix.O_CREAT | posix.O_TRUNC | posix.O_NOFOLLOW | posix.O_CLOEXEC
    fd = posix.open(path + UNFINISHED, flags, 0o600)  # what was tried had been given its name
    posix.write(fd, HEAD.pack(MAGIC, HEAD.size, 0, 0, HEAD.size, 0, 0, _boot()))
    posix.close(fd)
    posix.rename(path + UNFINISHED, path)


def _unlink(path: str) -> None:
    try:
        posix.unlink(path)
    except OSError:
        return  # gone, or for somebody else to remove


# ---- the interpreter that is kept ----


def save(path: str) -> None:
    """Keep this process in a file, and end. It returns in the processes that go on from there."""
    for name in PRELOAD:
        __import__(f"pyrunc.{name}")
    _load_systemd()
    directory, _, name = path.rpartition("/")
    _sweep(directory, name)
    _warm_up()
    _give_memory_back()
    fd = posix.open(path + UNFINISHED, posix.O_RDWR | posix.O_NOFOLLOW | posix.O_CLOEXEC)
    posix.chdir("/")
    result = -EAGAIN
    for _ in range(TRIES):  # surveying the memory makes it grow, but not each time
        if result == -EAGAIN:
            result = _save(fd)
    if result > 0:
        _resumed()
        return
    if result == 0:
        posix.rename(path + UNFINISHED, path)
    posix._exit(0 if result == 0 else 1)  # noqa: SLF001  # the public name of posix itself


def _load_systemd() -> None:
    from pyrunc.errors import HostError

    if not os.path.lexists("/run/systemd/system"):  # sd_booted(3)
        return
    for name in SYSTEMD:
        try:
            __import__(f"pyrunc.{name}")
        except HostError:
            return  # without the package there is no such driver


def _warm_up() -> None:
    """Do what only computes, a few times: tables that are filled at first use, and bytecode that adapts itself (PEP 659)."""
    from pyrunc.commands.spec import default_config, make_rootless
    from pyrunc.plan.encode import encode
    from pyrunc.plan.request import Request
    from pyrunc.run.prepare import prepare
    from pyrunc.spec.jsontext import dumps

    config = default_config(cgroup_namespace=False)
    config["root"]["path"] = __file__.rpartition("/")[0]  # some directory that exists
    user = posix.geteuid()
    if user:
        make_rootless(config, user, posix.getegid())
    fd = posix.memfd_create("config.json", posix.MFD_CLOEXEC)
    posix.write(fd, dumps(config).encode())
    for _ in range(ROUNDS):
        request = Request(
            id="warm-up", bundle="/", wait=True, rootless=user != 0, config=f"/proc/self/fd/{fd}"
        )
        encode(prepare(request).plan)
    posix.close(fd)


def _give_memory_back() -> None:
    """Let the C library return what it holds in reserve: pages that are zero take no room."""
    trim = lib.pyrunc_symbol(b"libc.so.6", b"malloc_trim")
    if trim:
        ffi.cast("int (*)(unsigned long)", trim)(0)


def _save(fd: int) -> int:
    maps = _read("/proc/self/maps")
    files, mappings, vdso = _survey(maps.decode())
    names = b"".join([name.encode() + b"\0" for name in files])
    identities = b"".join([FILE.pack(*identity(name)) for name in files])
    parts = b"".join([PART.pack(*mapping) for mapping in mappings])
    result: int = lib.pyrunc_snapshot_save(
        fd, _boot(), vdso, identities, len(files), names, len(names), parts, len(mappings), maps, len(maps)
    )
    return result


def _survey(maps: str) -> tuple[list[str], list[tuple[int, ...]], int]:
    """Return the files that must stay as they are, the mappings as csrc/snapshot.h has them, and the vdso's address."""
    package = __file__.rpartition("/")[0]
    files = [f"{package}/{name}" for name in ("image.bin", "start.pyc")]
    if "jeepney" in sys.modules:
        files.append(str(sys.modules["jeepney"].__file__))
    mappings: list[tuple[int, ...]] = []
    vdso = 0
    for line in maps.splitlines():
        span, flags, offset, _device, _inode, *rest = line.split(None, 5)
        begin, end = [int(number, 16) for number in span.split("-")]
        path = rest[0] if rest else ""
        if path == "[vsyscall]":
            continue  # the same in each process
        if path == "[vdso]":
            vdso = begin
        protection = sum(
            [bit for bit, letter in ((READ, "r"), (WRITE, "w"), (EXECUTE, "x")) if letter in flags]
        )
        source = _source(path, begin, end, protection, int(offset, 16), files)
        if source == OWN and (protection & EXECUTE or "s" in flags):
            raise _NoSnapshotError(line)
        mappings.append((begin, end - begin, int(offset, 16), protection, source))
    return files, mappings, vdso


def _source(path: str, begin: int, end: int, protection: int, offset: int, files: list[str]) -> int:
    if path in VDSO_NAMES:
        return VDSO
    if protection == 0:
        return ZERO
    if path[:1] != "/" or protection & WRITE or not _is_as_in_file(begin, end, path, offset):
        return OWN
    if path not in files:
        files.append(path)
    return files.index(path)


def _is_as_in_file(begin: int, end: int, path: str, offset: int) -> bool:
    """Tell whether memory holds what the file does: relocations change it."""
    memory = posix.open("/proc/self/mem", posix.O_RDONLY | posix.O_CLOEXEC)
    file = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        for done in range(0, end - begin, CHUNK):
            length = min(CHUNK, end - begin - done)
            there = posix.pread(file, length, offset + done).ljust(length, b"\0")
            if posix.pread(memory, length, begin + done) != there:
                return False
        return True
    finally:
        posix.close(file)
        posix.close(memory)


def identity(path: str) -> tuple[int, ...]:
    """Return what changes when a file does, as the launcher compares it."""
    status = posix.stat(path)
    times = (*divmod(status.st_mtime_ns, 10**9), *divmod(status.st_ctime_ns, 10**9))
    return (status.st_dev, status.st_ino, status.st_size, *times)


def _read(path: str, most: int = 1 << 30) -> bytes:
    fd = posix.open(path, posix.O_RDONLY | posix.O_NOFOLLOW | posix.O_CLOEXEC)
    text = b""
    while len(text) < most and (more := posix.read(fd, min(most, 1 << 16))):
        text += more
    posix.close(fd)
    return text


def _boot() -> bytes:
    return _read("/proc/sys/kernel/random/boot_id")[:36]


def _sweep(directory: str, keep: str) -> None:
    """Remove the snapshots of installations that are gone or were changed, and of earlier boots."""
    boot = _boot()
    for name in posix.listdir(directory):
        other = not name.startswith(keep)
        if name.startswith(PREFIX) and other and not _fits(f"{directory}/{name}", boot):
            _unlink(f"{directory}/{name}")


def _fits(path: str, boot: bytes) -> bool:
    """Tell whether a snapshot is of this boot and of files as they are."""
    try:
        data = _read(path, HEAD_LENGTH).ljust(HEAD.size, b"\0")
        magic, length, count, _parts, paths, _context, _vdso, born = HEAD.unpack_from(data)
        if magic != MAGIC or born != boot:
            return False
        names = data[paths:length].split(b"\0")[:count]
        identities = [FILE.unpack_from(data, HEAD.size + index * FILE.size) for index in range(count)]
        return [identity(name.decode()) for name in names] == identities
    except (OSError, ValueError):  # not there, or a name that is none
        return False


# ---- the command that goes on from it ----


def _resumed() -> None:
    """Take over from the new process what an interpreter looks at when it starts."""
    words = _words(0)
    sys.argv[1:] = [word.decode("utf-8", "surrogateescape") for word in words]
    posix.environ.clear()
    for word in _words(len(words) + 1):
        name, equals, value = word.partition(b"=")
        if equals and name not in DROPPED:
            posix.environ.setdefault(name, value)
    ignored = lib.pyrunc_signals_ignored()
    for number in range(1, 65):
        if ignored >> number - 1 & 1 and number not in LIBC_SIGNALS:
            _signal.signal(number, _signal.SIG_IGN)
    del sys._xoptions["snapshot"]  # noqa: SLF001  # where Python has what the launcher says; there is one now


def _words(index: int) -> list[bytes]:
    """Return the strings up to the next NULL of what execve(2) has put onto the stack."""
    found = []
    while (word := lib.pyrunc_snapshot_word(index)) != ffi.NULL:
        found.append(ffi.string(word))
        index += 1
    return found
