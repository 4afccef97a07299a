from __future__ import annotations

import functools
import json
import os
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from pyrunc.errors import OpError
from pyrunc.run.hooks import run_hook, run_hooks, state_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def hook(
    script: str,
    env: Sequence[str] | None = None,
    timeout: int | None = None,
    args: Sequence[str] | None = None,
    path: str = "/bin/sh",
) -> SimpleNamespace:
    words = tuple(args) if args is not None else ("sh", "-c", script)
    return SimpleNamespace(path=path, args=words, env=env, timeout=timeout)


def run(*args: object, **how: object) -> None:
    run_hook(hook(*args, **how), "createRuntime", 0, b"{}")  # type: ignore[arg-type]


def failure(*args: object, **how: object) -> str:
    with pytest.raises(OpError) as caught:
        run(*args, **how)
    return str(caught.value)


def test_the_state_has_the_keys_of_the_specification_in_their_order() -> None:
    container = SimpleNamespace(id="c1", bundle="/b", annotations={"k": "v"})

    assert state_json(container, "creating", 7) == (
        b'{"ociVersion":"1.3.0","id":"c1","status":"creating","pid":7,"bundle":"/b","annotations":{"k":"v"}}'
    )


def test_no_pid_and_no_annotations_in_the_state_of_a_stopped_container() -> None:
    container = SimpleNamespace(id="c1", bundle="/b", annotations={})

    assert json.loads(state_json(container, "stopped", 0)) == {
        "ociVersion": "1.3.0", "id": "c1", "status": "stopped", "bundle": "/b",
    }  # fmt: skip


def test_the_state_comes_on_standard_input(tmp_path: Path) -> None:
    run_hook(hook(f"cat > {tmp_path}/in"), "prestart", 0, b'{"id":"x"}')  # type: ignore[arg-type]

    assert (tmp_path / "in").read_bytes() == b'{"id":"x"}'


def test_a_large_state_comes_whole(tmp_path: Path) -> None:
    state = b"x" * (1 << 20)
    run_hook(hook(f"cat > {tmp_path}/in"), "prestart", 0, state)  # type: ignore[arg-type]

    assert (tmp_path / "in").read_bytes() == state


def test_arguments_are_passed_as_they_are(tmp_path: Path) -> None:
    run("", args=("zero", "-c", f'printf "%s|" "$0" "$@" > {tmp_path}/args', "a b", "", "c"))

    assert (tmp_path / "args").read_text() == "a b||c|"


def test_the_path_is_the_only_argument_by_default(tmp_path: Path) -> None:
    script = tmp_path / "hook"
    script.write_text(f'#!/bin/sh\necho "$0 $#" > {tmp_path}/args\n')
    script.chmod(0o755)
    run("", path=str(script), args=())

    assert (tmp_path / "args").read_text() == f"{script} 0\n"


def test_without_env_the_caller_s_is_inherited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYRUNC_TEST", "inherited")
    run(f"echo $PYRUNC_TEST > {tmp_path}/env")

    assert (tmp_path / "env").read_text() == "inherited\n"


def test_env_is_all_there_is(tmp_path: Path) -> None:
    run("", path="/usr/bin/env", args=("env", "sh", "-c", f"cat /proc/$PPID/environ > {tmp_path}/x"), env=())
    run(f"tr '\\0' '\\n' < /proc/$$/environ > {tmp_path}/env", env=("A=1", "B=x=y", "A=2"))

    assert (tmp_path / "env").read_text() == "A=1\nB=x=y\nA=2\n"


def test_only_the_standard_descriptors_are_open(tmp_path: Path) -> None:
    leak = os.open("/", os.O_RDONLY)
    os.set_inheritable(leak, True)
    try:
        run("", path=sys.executable, args=("python3", "-I", "-S", "-c", LIST_FDS.format(tmp_path / "fds")))
    finally:
        os.close(leak)

    assert (tmp_path / "fds").read_text().split() == ["0", "1", "2"]


LIST_FDS = """
import os
import signal
fds = [fd for fd in os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd/" + fd)]
open("{}", "w").write(" ".join(sorted(fds)))
"""


def test_the_failure_quotes_the_output() -> None:
    assert failure("echo out; echo err >&2; exit 3") == (
        "error running createRuntime hook #0: exit status 3, stdout: out, stderr: err"
    )


def test_long_output_is_cut() -> None:
    assert len(failure("head -c 100000 /dev/zero | tr '\\0' x; exit 1")) < 5000


def test_a_signal_is_told_in_the_words_of_go() -> None:
    assert "hook #0: signal: killed, stdout" in failure("kill -9 $$")
    assert "hook #0: signal: bad system call, stdout" in failure("kill -SYS $$")


def test_a_program_that_is_missing() -> None:
    assert failure("", path="/nonexistent") == (
        "error running createRuntime hook #0: fork/exec /nonexistent: no such file or directory"
    )


def test_a_directory_is_no_program() -> None:
    assert failure("", path="/etc").endswith("fork/exec /etc: permission denied")


def test_hooks_run_in_order_up_to_the_first_failure(tmp_path: Path) -> None:
    hooks = [
        hook(f"echo {n} >> {tmp_path}/log; {end}") for n, end in ((0, "true"), (1, "false"), (2, "true"))
    ]

    with pytest.raises(OpError, match=r"^error running poststart hook #1: exit status 1"):
        run_hooks(hooks, "poststart", b"{}")  # type: ignore[arg-type]
    assert (tmp_path / "log").read_text() == "0\n1\n"


def test_a_hook_that_takes_too_long_is_killed_with_its_children(tmp_path: Path) -> None:
    begin = time.monotonic()
    text = failure(f"sleep 30 & echo $! > {tmp_path}/pid; wait", timeout=1)

    assert "hook #0: hook ran past specified timeout of 1.0s, stdout: , stderr: " in text
    assert 0.9 < time.monotonic() - begin < 5
    assert _is_gone(int((tmp_path / "pid").read_text()))


def test_a_hook_in_time_is_not_held_up() -> None:
    begin = time.monotonic()
    run("true", timeout=2**62)

    assert time.monotonic() - begin < 2


def test_a_daemon_with_the_hook_s_output_holds_nobody_up(tmp_path: Path) -> None:
    begin = time.monotonic()
    run(f"sleep 20 & echo $! > {tmp_path}/pid")
    pid = int((tmp_path / "pid").read_text())
    try:
        assert time.monotonic() - begin < 5
    finally:
        os.kill(pid, 9)


def test_what_a_daemon_writes_later_takes_no_memory(tmp_path: Path) -> None:
    run(f"(sleep 0.3; echo late && echo written > {tmp_path}/log || echo refused > {tmp_path}/log) &")
    end = time.monotonic() + 5
    while not (tmp_path / "log").exists() and time.monotonic() < end:
        time.sleep(0.05)

    assert (tmp_path / "log").read_text() == "refused\n"


def test_nothing_is_left_open() -> None:
    before = os.listdir("/proc/self/fd")
    run("true")
    failure("exit 1")
    failure("", path="/nonexistent")
    failure("sleep 9", timeout=1)

    assert os.listdir("/proc/self/fd") == before


def test_signals_are_as_a_program_expects_them(request: pytest.FixtureRequest) -> None:
    # what our caller ignores stays so, nohup's SIGHUP or the SIGINT of a shell's background job
    for number in signal.valid_signals() - {signal.SIGPIPE, signal.SIGXFSZ}:
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
            request.addfinalizer(functools.partial(signal.signal, number, signal.SIG_IGN))
    # Python ignores SIGPIPE; a hook that inherits that would not end with its reader
    for pattern in ("^SigIgn:.*0000000$", "^SigBlk:.0*$"):  # glibc's own, 32 and 33, it leaves ignored
        run("", path="/bin/grep", args=("grep", "-q", pattern, "/proc/self/status"))


def _is_gone(pid: int) -> bool:
    end = time.monotonic() + 5
    while time.monotonic() < end:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False
