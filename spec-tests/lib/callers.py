"""Programs that run a runtime: a command line with their global options, environment, directory and descriptors.

A line is written as in `create --bundle {b} --pid-file {b}/init.pid {id}`: one blank between two words, names in braces
stand for what the test has made.
"""

from __future__ import annotations

import ctypes
import datetime as dt
import json
import os
import pathlib
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, NamedTuple

from lib.runtime import _running, new_id, poll, process_state

if TYPE_CHECKING:
    from lib.bundle import Bundle
    from lib.runtime import Runtime

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_PDEATHSIG = 1
THIRD = "import os, sys; os.dup2(int(sys.argv[1]), 3); os.execv(sys.argv[2], sys.argv[2:])"
NO_COMMAND = ("No help topic", "unknown command", "not defined", "unrecognized option", "invalid option")


class Answer(NamedTuple):
    """What the caller has: the exit code and all that was said until no process held the pipes any more."""

    argv: list[str]
    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        return self.out + self.err

    def silent(self) -> None:
        """A success without a word, on any stream."""
        assert (self.code, self.out, self.err) == (0, "", ""), str(self)

    def __str__(self) -> str:
        return f"{' '.join(self.argv)} -> {self.code}\nstdout: {self.out[-1500:]}\nstderr: {self.err[-1500:]}"


class Caller:
    """One engine's way to call; `flags` is the line of its global options."""

    def __init__(self, runtime: Runtime, flags: str, env: dict[str, str], **names: object) -> None:
        self.runtime, self.flags, self.env = runtime, flags, env
        self.names = {"root": runtime.root, "work": runtime.work, **names}
        self.names.setdefault("id", new_id())

    @property
    def id(self) -> str:
        return str(self.names["id"])

    def use(self, bundle: Bundle) -> None:
        """The bundle that {b} stands for, and the caller's working directory."""
        bundle.write()
        self.names["b"] = bundle.path

    def words(self, line: str, flags: str | None = None) -> list[str]:
        """A line with its global options, as the words of an argv."""
        given = self.flags if flags is None else flags
        return [word.format(**self.names) for word in [*given.split(), *line.split()]]

    def with_third(self, fd: int) -> dict[str, object]:
        """What makes a descriptor number 3 of the runtime, as Go's ExtraFiles are."""
        return {"prefix": [sys.executable, "-I", "-S", "-c", THIRD, fd], "pass_fds": (fd,)}

    def spawn(self, line: str, flags: str | None = None, **popen: object) -> subprocess.Popen:
        """Start a line; the caller waits. As engines do, die with the thread that started it."""
        how = {"env": self.env, "cwd": self.names.get("b", self.runtime.work)} | popen
        return self.runtime.spawn(*self.words(line, flags), preexec_fn=_die_with_parent, **how)

    def __call__(
        self,
        line: str,
        *,
        flags: str | None = None,
        stdin: str | None = None,
        combined: bool = False,
        **popen: object,
    ) -> Answer:
        """Run a line with pipes as its output, and read them to their ends: a descendant that holds one is found out."""
        popen["stdin"] = subprocess.DEVNULL if stdin is None else subprocess.PIPE
        popen.setdefault("out", subprocess.PIPE)
        popen.setdefault("err", subprocess.STDOUT if combined else subprocess.PIPE)
        process = self.spawn(line, flags, **popen)
        try:
            said = process.communicate(None if stdin is None else stdin.encode(), timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"{process.args}: somebody still holds its output") from None
        finally:
            _running.discard(process.pid)
        out, err = [(text or b"").decode(errors="replace") for text in said]
        return Answer(list(process.args), process.returncode, out, err)

    def state(self) -> dict:
        """What `state` says now, asked with the least of options."""
        return self.runtime.ok("state", self.id).json()

    def wait(self, line: str, **how: object) -> int:
        """Run a line whose descendants keep its streams; the exit code."""
        return self.runtime.wait(self.spawn(line, **how))


def _die_with_parent() -> None:
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def reap(pid: int) -> int:
    """How a container's process ended: the caller is its reaper."""
    assert poll(lambda: process_state(pid) in {None, "Z"}), f"{pid} is still alive"
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


# ---- what callers take out of answers ----


def log_entries(path: pathlib.Path) -> list[dict]:
    """The log as Go's decoder reads it: JSON objects one after the other; `time` must be RFC 3339 or all is lost."""
    text, found, decoder = path.read_text(), [], json.JSONDecoder()
    while text := text.lstrip():
        entry, end = decoder.raw_decode(text)
        dt.datetime.fromisoformat(entry["time"])
        found.append(entry)
        text = text[end:]
    return found


def last_error(path: pathlib.Path) -> str:
    """The message that containerd shows: that of the last entry of level error."""
    errors = [entry["msg"] for entry in log_entries(path) if entry["level"] == "error"]
    return errors[-1] if errors else ""


def only_error(path: pathlib.Path) -> str:
    """The message that Podman shows: it takes the whole file for one JSON object."""
    entry = json.loads(path.read_text())
    assert entry["level"] == "error"
    return entry["msg"]


def knows(answer: Answer, code: int = 0) -> Answer | None:
    """None where the runtime has no such command or option; else the answer, with the expected exit code."""
    if any(text in answer.said for text in NO_COMMAND) and answer.code:
        return None
    assert answer.code == code, str(answer)
    return answer


def pid_in(path: pathlib.Path) -> int:
    """A pid file: decimal, and nothing behind it."""
    text = path.read_text()
    assert text.isdecimal(), repr(text)
    return int(text)


def alive_child(pid: int) -> bool:
    """Is the process ours, so that its exit status comes to us? A shim and conmon depend on it."""
    stat = pathlib.Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    return int(stat[1]) == os.getpid()
