"""The sentences that engines look for, and the ones for people."""

from __future__ import annotations

import errno

import pytest

from pyrunc.run.phrase import Step, describe_status, hook_of, phrase

CASES = [
    (Step("FIND", "process.args", "nope", "process.args"), errno.ENOENT,
     'exec: "nope": executable file not found in $PATH'),
    (Step("FIND", "process.args", "/nope", "process.args"), errno.ENOENT,
     'exec: "/nope": stat /nope: no such file or directory'),
    (Step("FIND", "process.args", "/etc", "process.args"), errno.EISDIR, 'exec: "/etc": permission denied'),
    (Step("FIND", "process.args", "/x", "process.args"), errno.EACCES, 'exec: "/x": permission denied'),
    (Step("EXEC", "process.args", "/run.sh", "process.args"), errno.ENOENT, "exec /run.sh: no such file or directory"),
    (Step("MKPATH", "mounts[7].destination", "/data", "mounts[7].destination (/data)"), errno.ENOTDIR,
     "mounts[7].destination (/data): mkpath /data: not a directory"),
    (Step("OPEN", "mounts[0].destination", "/proc", "mounts[0].destination (/proc)"), errno.ELOOP,
     'mounts[0].destination (/proc): filesystem "proc" must be mounted on ordinary directory'),
    (Step("OPEN", "mounts[1].destination", "/sys", "mounts[1].destination (/sys)"), errno.ENOTDIR,
     'mounts[1].destination (/sys): filesystem "sysfs" must be mounted on ordinary directory'),
    (Step("OPEN", "linux.sysctl.net", "/sys/net/nope", 'linux.sysctl["net.nope"]'), errno.ENOENT,
     'linux.sysctl["net.nope"]: open /proc/sys/net/nope: no such file or directory'),
    (Step("SETATTR", "mounts[2].options", "clear MS_RDONLY", "mounts[2].options (/d)"), errno.EPERM,
     "mounts[2].options (/d): cannot clear locked flags MS_RDONLY: operation not permitted"),
    (Step("FSCONFIG", "mounts[2].options", "gid=5", "mounts[2].options (/dev/pts)"), errno.EINVAL,
     "mounts[2].options (/dev/pts): fsconfig gid=5: is gid 5 mapped in the user namespace?: invalid argument"),
    (Step("SETATTR", "mounts[2].options", "atime", "mounts[2].options (/d)"), errno.EPERM,
     "mounts[2].options (/d): cannot change locked atime flags: operation not permitted"),
    (Step("SETATTR", "mounts[2].options", "clear MS_RDONLY", "mounts[2].options (/d)"), errno.EINVAL,
     "mounts[2].options (/d): setattr clear MS_RDONLY: invalid argument"),
    (Step("SETATTR", "mounts[2].options", "idmap /src", "mounts[2].options (/d)"), errno.EINVAL,
     ("mounts[2].options (/d): cannot map the ids of /src (its file system has no id-mapped mounts on this kernel): "
     "invalid argument")),
    (Step("SETATTR", "mounts[2].options", "idmap /src", "mounts[2].options (/d)"), errno.ENOMEM,
     "mounts[2].options (/d): cannot map the ids of /src: cannot allocate memory"),
]  # fmt: skip


@pytest.mark.parametrize(("step", "number", "text"), CASES, ids=[case[2] for case in CASES])
def test_text(step: Step, number: int, text: str) -> None:
    error = phrase(step, number, 0, str)

    assert str(error) == text
    assert error.errno == number


def test_a_failed_execve_is_told_without_the_logger_s_fields() -> None:
    assert phrase(Step("EXEC", "process.args", "/x", ""), errno.ENOENT, 0, str).plain
    assert not phrase(Step("FIND", "process.args", "/x", ""), errno.ENOENT, 0, str).plain


HOOK = Step("SPAWN", "hooks.createContainer[2].path", "/bin/hook", "hooks.createContainer[2].path")


def test_a_failed_hook_says_its_stage_number_status_and_output() -> None:
    error = phrase(HOOK, errno.ECANCELED, 3 << 8, lambda: "cat: nosuchfile")

    assert str(error) == "error running createContainer hook #2: exit status 3, output: cat: nosuchfile"


def test_a_hook_that_could_not_be_run() -> None:
    assert str(phrase(HOOK, errno.ENOENT, 0, str)) == (
        "error running createContainer hook #2: exec /bin/hook: no such file or directory"
    )


def test_a_hook_past_its_time() -> None:
    assert "timeout" in str(phrase(HOOK, errno.ETIMEDOUT, -1, str))


def test_a_hook_s_origin() -> None:
    assert hook_of("hooks.startContainer[11].args") == ("startContainer", 11)


@pytest.mark.parametrize(
    ("status", "text"),
    [(0, "exit status 0"), (5 << 8, "exit status 5"), (9, "signal: killed"), (31, "signal: bad system call")],
)
def test_wait_status_in_go_s_words(status: int, text: str) -> None:
    assert describe_status(status) == text
