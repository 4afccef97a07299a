"""The plan checker: what it refuses, at which record; and that no bytes at all make it read where it should not."""

from __future__ import annotations

import errno
import random
import struct
import subprocess
from pathlib import Path

import pytest
from conftest import CSRC, compile_sanitized
from harness import CODES, CWD, ERROR, NONE, RECORD, SIGNATURES, Plan, run

HEADER_SIZE, RECORD_SIZE = 64, RECORD.size
FUZZER = Path(__file__).parents[1] / "fuzz" / "fuzz_plan.c"
MUTATIONS = 6000


@pytest.fixture(scope="module")
def checker(tmp_path_factory: pytest.TempPathFactory) -> str:
    program = tmp_path_factory.mktemp("fuzz") / "fuzz-plan"
    return compile_sanitized(program, CSRC / "check.c", FUZZER)


def judge(checker: str, plans: list[bytes]) -> list[int]:
    data = b"".join(struct.pack("=I", len(plan)) + plan for plan in plans)
    done = subprocess.run([checker], input=data, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()[-4000:]
    return [int(line) for line in done.stdout.split()]


def every_operation() -> Plan:
    """One of each, with arguments that every type allows."""
    plan = Plan(inputs=2)
    some = {"slot": 5, "path": "/p", "str": "s", "bytes": b"bytes", "strs": ["a", "b"], "fd": 4, "id": 7}
    for name, types in SIGNATURES.items():
        args = [some.get(kind, 1) for kind in types]
        if name == "SPAWN":
            args[3] = NONE | NONE << 16
        fills = name in FILLING
        plan.op(name, *args, out=6 if fills else NONE, tolerate=[errno.ENOENT])
    return plan


FILLING = {"OPEN", "OPEN_TREE", "FSOPEN", "FSMOUNT", "SOCKET", "PTY", "MKPATH", "RPC"}


def test_a_good_plan_of_every_operation(checker: str) -> None:
    plan = every_operation()

    assert len(plan.records) == len(CODES)
    assert judge(checker, [plan.encode(), Plan().encode()]) == [0, 0]


def patched(data: bytes, offset: int, form: str, value: int) -> bytes:
    packed = struct.pack(form, value)
    return data[:offset] + packed + data[offset + len(packed) :]


HEADER_FAULTS = {
    "magic": (0, "=I", 0x316E6C51),
    "hash": (4, "=I", 1),
    "more operations": (8, "=I", 3),
    "fewer operations": (8, "=I", 0),
    "operations past counting": (8, "=I", 0xFFFFFFFF),
    "a larger blob": (12, "=I", 1 << 20),
    "a smaller blob": (12, "=I", 1),
    "too many inputs": (16, "=I", 61),
}


@pytest.mark.parametrize("fault", HEADER_FAULTS)
def test_bad_headers(checker: str, fault: str) -> None:
    data = Plan().op("UMASK", 0).op("CHDIR", "/").encode()

    assert judge(checker, [data, patched(data, *HEADER_FAULTS[fault])]) == [0, -1]


def test_bad_lengths(checker: str) -> None:
    data = Plan().op("CHDIR", "/").encode()

    assert judge(checker, [data[:-1], data + b"\0", data[:63], b"", data[:-1] + b"x"]) == [-1] * 5


def record(name: str, *args: int, out: int = NONE, skip: int = 0) -> bytes:
    return RECORD.pack(CODES[name], out, skip, 0, 0, 0, 0, *[*args, 0, 0, 0, 0, 0][:5])


BLOB = 8
FAULTS = {
    "no such operation": RECORD.pack(len(CODES), NONE, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
    "a skip past the end": record("UMASK", 0, skip=1),
    "a slot too high": record("CLOSE", 64),
    "a slot of 64 bits": record("CLOSE", 1 << 32),
    "a string past the blob": record("CHDIR", BLOB),
    "a string far away": record("CHDIR", 1 << 40),
    "bytes past the blob": record("WRITE", 5, 4 | 5 << 32),
    "bytes that wrap": record("WRITE", 5, 0xFFFFFFFF | 0xFFFFFFFF << 32),
    "more strings than there are": record("FIND", 0 | (BLOB + 1) << 32),
    "strings past the blob": record("FIND", BLOB + 1),
    "an argument too many": record("UMASK", 0, 1),
    "a descriptor below zero": record("DUP2", 5, 1 << 31),
    "an id of 2**32, which is root when cut": record("SETRES", 1 << 32, 5),
    "nowhere to put the descriptor": record("FSOPEN", 0),
    "a slot filled by what makes none": record("UMASK", 0, out=5),
    "stdin overwritten": record("FSOPEN", 0, out=0),
    "the conversation overwritten": record("FSOPEN", 0, out=3),
    "a slot too high filled": record("FSOPEN", 0, out=64),
    "answers past the last slot": record("RPC", 1, NONE, 3, out=62),
    "answers without slots": record("RPC", 1, NONE, 1),
    "a slot without answers": record("RPC", 1, NONE, 0, out=5),
    "answers past counting": record("RPC", 1, NONE, 1 << 32, out=5),
    "stdio closed": record("CLOSEFROM", 2),
    "a hook's input from nowhere": record("SPAWN", 0, 0, 0, 64 | NONE << 16),
    "a hook's output to nowhere": record("SPAWN", 0, 0, 0, NONE | 64 << 16),
    "words in the conversation": record("WRITE", 3, 4 << 32),
    "the conversation closed": record("CLOSE", 3),
    "the conversation handed on": record("RPC", 1, 3, 0),
    "a hook that speaks in the conversation": record("SPAWN", 0, 0, 0, NONE | 3 << 16),
    "more than a hook's two": record("SPAWN", 0, 0, 0, NONE | NONE << 16 | 1 << 32),
}
GOOD = {
    "the current directory": record("OPEN", CWD, 0, 0, 0, 0, out=5),
    "no descriptor to send": record("RPC", 1, NONE, 0),
    "the last slots": record("RPC", 1, NONE, 2, out=62),
    "the last byte as a string": record("CHDIR", BLOB - 1),
    "all bytes": record("WRITE", 5, BLOB << 32),
    "no bytes at the end": record("WRITE", 5, BLOB),
    "all strings": record("FIND", BLOB << 32),
    "the largest id": record("SETRES", 0xFFFFFFFE, 0),
}


def one(body: bytes, blob: bytes = bytes(BLOB)) -> bytes:
    plan = Plan()
    plan.records = [record("UMASK", 0), body]
    return plan.header(len(blob)) + b"".join(plan.records) + blob


@pytest.mark.parametrize("fault", FAULTS)
def test_bad_records(checker: str, fault: str) -> None:
    assert judge(checker, [one(FAULTS[fault])]) == [2]


@pytest.mark.parametrize("name", GOOD)
def test_good_records(checker: str, name: str) -> None:
    assert judge(checker, [one(GOOD[name])]) == [0]


@pytest.mark.usefixtures("build")
def test_the_executor_says_which_record_is_bad() -> None:
    result = run(one(FAULTS["a slot too high"]))

    assert result.code == 1
    assert [(m.kind, m.op, m.value) for m in result.messages] == [(ERROR, 1, errno.EBADMSG)]


@pytest.mark.usefixtures("build")
def test_the_executor_runs_nothing_of_a_bad_plan(room: Path) -> None:
    plan = Plan().op("OPEN", CWD, f"{room}/new", 0o101, 0o600, 0, out=5)
    plan.records.append(record("CLOSE", 64))

    assert run(plan).messages[0].value == errno.EBADMSG
    assert list(room.iterdir()) == []


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Change a few fields to values that are likely to be believed; keep magic and hash, or all would end there."""
    out = bytearray(data)
    sizes = [0, 1, 3, 4, 5, 63, 64, 0xFFFE, 0xFFFF, len(data), 1 << 31, 0xFFFFFFFF, 1 << 32, (1 << 64) - 1]
    for _ in range(rng.randint(1, 4)):
        width = rng.choice([1, 2, 4, 8])
        at = rng.randrange(8, max(9, len(out) - width))
        value = rng.choice(
            [*sizes, rng.randrange(1 << 64), rng.randrange(len(data)) << 32 | rng.randrange(len(data))]
        )
        out[at : at + width] = (value & (1 << 8 * width) - 1).to_bytes(width, "little")
    if rng.random() < 0.1:
        del out[rng.randrange(len(out)) :]
    return bytes(out)


def test_mutations_never_make_it_read_elsewhere(checker: str) -> None:
    rng = random.Random(20261)
    seeds = [every_operation().encode(), one(GOOD["all strings"]), one(GOOD["the last slots"])]

    verdicts = judge(checker, [mutate(rng.choice(seeds), rng) for _ in range(MUTATIONS)])

    assert len(verdicts) == MUTATIONS
    assert verdicts.count(0) > MUTATIONS // 100, (
        "some must get through, or nothing behind the header was tried"
    )
    assert len({v for v in verdicts if v > 0}) > 20
