"""Hooks that run in the runtime's own namespaces: prestart, createRuntime, poststart, poststop.

Each gets the state on its standard input and the working directory of the command. Input and output are
memfds, not pipes: what a hook leaves running in the background may hold them for ever without anybody
waiting for it. The output is sealed when the hook has ended, so that it cannot grow either.
"""

from __future__ import annotations

import fcntl
import select
import time

from pyrunc import _os as os
from pyrunc.consts import IGNORED, SPEC_VERSION
from pyrunc.errors import OpError, strerror
from pyrunc.run.hookio import STDERR, STDOUT, append_output
from pyrunc.spec.jsontext import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Iterable, Mapping, Sequence

    from pyrunc.spec.model import Hook
    from pyrunc.state import Container
else:
    import _signal  # the public module imports enum

ORIGINAL = "/proc/self/environ"
"""The environment as execve(2) gave it; what is set later does not appear there."""
SHOWN = 4096
"""Bytes of each output stream that a message quotes."""
MAX_WAIT = 2**31 - 1  # poll(2) takes an int of milliseconds


def state_json(container: Container, status: str, pid: int) -> bytes:
    """Return the state as hooks read it (runtime.md, State); without a pid when it is 0."""
    state: dict[str, object] = {"ociVersion": SPEC_VERSION, "id": container.id, "status": status}
    if pid:
        state["pid"] = pid
    state["bundle"] = container.bundle
    if container.annotations:
        state["annotations"] = container.annotations
    return dumps(state).encode("utf-8", "surrogateescape")


def run_hooks(
    hooks: Iterable[Hook], stage: str, state: bytes, annotations: Mapping[str, str] | None = None
) -> None:
    """Run the hooks of a stage one after another; the first that fails ends it. Raises OpError."""
    for index, hook in enumerate(hooks):
        run_hook(hook, stage, index, state, annotations)


def run_hook(
    hook: Hook, stage: str, index: int, state: bytes, annotations: Mapping[str, str] | None = None
) -> None:
    """Run one hook to its end. Raises OpError with runC's text, which quotes the output."""
    where = f"error running {stage} hook #{index}"
    files = (_memfd("hook-state", state), _memfd("hook-stdout"), _memfd("hook-stderr"))
    try:
        try:
            pid = _spawn(hook, files)
        except OSError as error:
            raise OpError(f"{where}: fork/exec {hook.path}: {strerror(error.errno or 0)}") from None
        why = _wait(pid, hook.timeout)
        if why:
            raise OpError(f"{where}: {why}, stdout: {_text(files[1])}, stderr: {_text(files[2])}")
    finally:
        for fd, name in zip(files[1:], (STDOUT, STDERR), strict=True):
            append_output((annotations or {}).get(name, ""), fd)
        for fd in files:
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK)
            os.close(fd)


def _memfd(name: str, data: bytes = b"") -> int:
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, data)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _text(fd: int) -> str:
    return os.pread(fd, SHOWN, 0).decode(errors="replace").strip()


class _Environ(dict[str, str]):
    """An environment exactly as the config lists it: a name that stands twice stays there twice."""

    def __init__(self, entries: Sequence[str]) -> None:
        self.pairs = [(name, value) for name, _, value in (entry.partition("=") for entry in entries) if name]
        super().__init__(self.pairs)

    def __len__(self) -> int:
        return len(self.pairs)

    def keys(self) -> list[str]:  # type: ignore[override]  # posix_spawn wants these two, as sequences
        return [name for name, _value in self.pairs]

    def values(self) -> list[str]:  # type: ignore[override]  # the same
        return [value for _name, value in self.pairs]


def inherited() -> dict[str, str]:
    """Return the caller's environment, without the LC_CTYPE that Python adds to its own in the C locale (PEP 538)."""
    found = dict(os.environ)
    if "LC_CTYPE" in found:
        with open(ORIGINAL, "rb") as file:
            given = file.read().split(b"\0")
        if not any(entry.startswith(b"LC_CTYPE=") for entry in given):
            del found["LC_CTYPE"]
    return found


def _spawn(hook: Hook, files: Sequence[int]) -> int:
    """Start a hook in a process group of its own, with descriptors 0-2 and no others."""
    actions: list[tuple[int, ...]] = [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(files)]
    actions += [(os.POSIX_SPAWN_CLOSE, fd) for fd in _inheritable()]
    return os.posix_spawn(
        hook.path,
        hook.args or (hook.path,),
        inherited() if hook.env is None else _Environ(hook.env),  # as runC and crun do
        file_actions=actions,
        setpgroup=0,
        setsigmask=(),
        setsigdef=IGNORED,
    )


def _inheritable() -> list[int]:
    """Return the descriptors above 2 that an execve would pass on; --preserve-fds has such."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            if int(name) > 2 and os.get_inheritable(int(name)):
                found.append(int(name))
        except OSError:
            continue  # the descriptor of the listing itself is gone by now
    return found


def _wait(pid: int, timeout: int | None) -> str:
    """Wait for the end of a hook; return what went wrong, or "". Nothing of its group survives a time-out."""
    try:
        if timeout is not None and not _ends_within(pid, timeout):
            _kill_group(pid)
            return f"hook ran past specified timeout of {timeout:.1f}s"
        _pid, status = os.waitpid(pid, 0)
    except BaseException:  # an interrupt: the hook is not left behind
        _kill_group(pid)
        raise
    if status == 0:
        return ""
    from pyrunc.run.phrase import describe_status  # only a failure needs it

    return describe_status(status)


def _ends_within(pid: int, seconds: int) -> bool:
    pidfd = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        end = time.monotonic() + seconds
        while not poll.poll(min(max((end - time.monotonic()) * 1000, 0), MAX_WAIT)):
            if time.monotonic() >= end:
                return False
    finally:
        os.close(pidfd)
    return True


def _kill_group(pid: int) -> None:
    """Kill a hook that was not waited for yet, so that its number is still its own, and all of its group."""
    try:
        os.killpg(pid, _signal.SIGKILL)
        os.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        return  # the interrupt came just after its end
