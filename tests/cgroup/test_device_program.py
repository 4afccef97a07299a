"""The device program of v2: run by an interpreter here and held against the rules, and by the kernel."""

from __future__ import annotations

import os
import struct
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from device_model import decide, reference
from device_rules import AT, rule
from hypothesis import given
from hypothesis import strategies as st

from pyrunc import host
from pyrunc.cgroup import devices_v2 as v2
from pyrunc.errors import SpecError
from pyrunc.sys import bpf

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyrunc.spec.resources import DeviceRule

ACCESS = st.sets(st.sampled_from("rwm"), min_size=1).map("".join)
NUMBER = st.sampled_from([0, 1, 2, 3, 5, 8, 136, 200, 0xFFFFF, 0x80000000])
RULE = st.builds(
    rule, st.booleans(), st.sampled_from([None, "a", "b", "c"]),
    st.one_of(st.none(), st.just(-1), NUMBER), st.one_of(st.none(), st.just(-1), NUMBER), ACCESS,
)  # fmt: skip


@given(st.lists(RULE, max_size=8), st.sampled_from("bc"), ACCESS, NUMBER, NUMBER)
def test_the_program_decides_as_the_rules_do(
    rules: list[DeviceRule], kind: str, access: str, major: int, minor: int
) -> None:
    assert decide(rules, kind, access, major, minor) == reference(rules, kind, access, major, minor)


@given(st.lists(RULE, max_size=8))
def test_every_instruction_can_be_reached(rules: list[DeviceRule]) -> None:
    code = v2.program(v2.matches(rules))
    seen: set[int] = set()
    todo = [0]
    while todo:
        pc = todo.pop()
        if pc in seen:
            continue
        seen.add(pc)
        op, _, offset, _ = struct.unpack_from("=BBhi", code, pc * 8)
        if op != v2.EXIT:
            todo += [pc + 1 + offset] if op in {v2.JA, v2.JNE_K, v2.JSET_K} else []
            todo += [pc + 1] if op != v2.JA else []
    assert seen == set(range(len(code) // 8))


def test_without_rules_only_the_default_devices_are_allowed() -> None:
    assert decide([], "c", "rw", 1, 3)
    assert decide([], "b", "m", 8, 0)
    assert not decide([], "b", "rm", 8, 0)
    assert not decide([], "c", "r", 10, 229)


def test_a_part_of_a_wildcard_can_be_denied() -> None:
    rules = [rule(True, "c", 10), rule(False, "c", 10, 229, "w")]

    assert decide(rules, "c", "rw", 10, 228)
    assert decide(rules, "c", "r", 10, 229)
    assert not decide(rules, "c", "rw", 10, 229)


def test_letters_of_several_rules_add_up() -> None:
    rules = [rule(True, "b", 8, 0, "r"), rule(True, "b", 8, None, "w")]

    assert decide(rules, "b", "rw", 8, 0)
    assert not decide(rules, "b", "rw", 8, 1)


def test_who_asks_for_nothing_gets_it() -> None:
    assert decide([rule(False)], "b", "", 8, 0)


@pytest.mark.parametrize(
    ("one", "text"),
    [
        (rule(True, access=""), f"{AT}[0].access: device access field cannot be empty"),
        (rule(True, access="rx"), f'{AT}[0].access: expected letters of "rwm", got "rx"'),
        (rule(True, "c", 1 << 32), f"{AT}[0].major: 4294967296 is more than any device has"),
        (rule(True, "c", 1, 1 << 40), f"{AT}[0].minor: 1099511627776 is more than any device has"),
    ],
)
def test_rules_that_cannot_be(one: DeviceRule, text: str) -> None:
    with pytest.raises(SpecError) as caught:
        v2.matches([one])

    assert str(caught.value) == text


# In the kernel, in cgroups that are made here.


@pytest.fixture
def cgroup() -> Iterator[int]:
    """Return an open cgroup of cgroup2, which needs no controller for this."""
    layout = host.probe().cgroup
    if os.geteuid() != 0 or layout.v2 is None:
        pytest.skip("needs real root and a cgroup2 mount")
    path = Path(layout.v2.mountpoint, f"pyrunc-test-{os.getpid()}-{time.monotonic_ns()}")
    path.mkdir()
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for program in bpf.attached(fd):
            os.close(program)
        yield fd
    except PermissionError:
        pytest.skip("needs CAP_BPF in the bounding set")
    finally:
        os.close(fd)
        path.rmdir()


def opens(cgroup: int, device: str, mode: str) -> bool:
    """Tell whether a process in the cgroup may open a device."""
    script = 'echo $$ > "$0/cgroup.procs" && exec 9' + {"r": "<", "w": ">", "rw": "<>"}[mode] + ' "$1"'
    place = f"/proc/{os.getpid()}/fd/{cgroup}"
    done = subprocess.run(["sh", "-c", script, place, device], check=False, capture_output=True, text=True)
    assert done.returncode == 0 or "not permitted" in done.stderr, done.stderr
    return done.returncode == 0


def count(cgroup: int) -> int:
    fds = bpf.attached(cgroup)
    for fd in fds:
        os.close(fd)
    return len(fds)


@pytest.mark.root
def test_the_kernel_takes_the_program_and_goes_by_it(cgroup: int) -> None:
    v2.enforce(cgroup, [rule(True, "c", 1, 11, "r")])

    assert opens(cgroup, "/dev/null", "rw")
    assert opens(cgroup, "/dev/kmsg", "r")
    assert not opens(cgroup, "/dev/kmsg", "w")


@pytest.mark.root
def test_new_rules_replace_the_old_program(cgroup: int) -> None:
    v2.enforce(cgroup, [])
    assert not opens(cgroup, "/dev/kmsg", "r")

    v2.enforce(cgroup, [rule(True)])

    assert opens(cgroup, "/dev/kmsg", "r")
    assert count(cgroup) == 1


@pytest.mark.root
def test_of_several_programs_none_stays(cgroup: int) -> None:
    for rules in ([], [rule(True, "c", 1, 11)]):
        fd = bpf.load(v2.program(v2.matches(rules)))
        bpf.attach(cgroup, fd)
        os.close(fd)
    assert count(cgroup) == 2

    v2.enforce(cgroup, [rule(True)])

    assert opens(cgroup, "/dev/kmsg", "r")
    assert count(cgroup) == 1


@pytest.mark.root
@given(st.lists(RULE, max_size=8))
def test_the_verifier_takes_any_rules(rules: list[DeviceRule]) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs real root and a cgroup2 mount")
    try:
        os.close(bpf.load(v2.program(v2.matches(rules))))
    except PermissionError:
        pytest.skip("needs CAP_BPF in the bounding set")
