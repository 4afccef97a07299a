"""/dev/null on fds 0-2: the container's own takes the place of the host's."""

from __future__ import annotations

import os

import pytest
from cases import compile_config, minimal

from pyrunc.plan.request import Facts
from pyrunc.run.facts import null_stdio

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cases import Config

DEV = {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"}


def replaced(config: Config, facts: Facts, **request: object) -> list[int]:
    """Return the descriptors that DUP2 fills by origin "stdio"."""
    plan = compile_config(config, facts=facts, **request)
    return [op.args[1] for op in plan.ops if op.name == "DUP2" and op.at == "stdio"]


def config(*mounts: dict[str, object], **process: object) -> Config:
    made = minimal()
    made["mounts"] = list(mounts)
    made["process"] |= process
    return made


@pytest.mark.parametrize(
    ("made", "null", "expected"),
    [
        (config(DEV), (0, 2), [0, 2]),
        (config(DEV), (), []),
        (config(), (0,), []),
        (config(DEV | {"type": "bind", "options": ["bind"], "source": "/d"}), (0,), []),
        (config(DEV, {"destination": "/dev/pts", "type": "devpts"}, terminal=True), (0,), []),
    ],
    ids=["two", "none", "dev-of-the-image", "dev-of-the-host", "terminal"],
)
def test_which_are_replaced(made: Config, null: tuple[int, ...], expected: list[int]) -> None:
    """Only on a file system that was mounted just now: in an image the name may be any device."""
    assert replaced(made, Facts({}, null=null)) == expected


def test_which_are_the_null_device() -> None:
    """Closed ones count: the executor opens /dev/null there."""
    read, write = os.pipe()
    kept = os.dup(0)
    try:
        os.dup2(read, 0)
        assert 0 not in null_stdio((False, True, True))
        assert null_stdio((True, True, True)) == ()
        os.close(0)
        assert null_stdio((False, True, True)) == (0,)
        null = os.open("/dev/null", os.O_RDONLY)
        assert null == 0
        assert null_stdio((False, True, True)) == (0,)
    finally:
        os.dup2(kept, 0)
        for fd in (kept, read, write):
            os.close(fd)
