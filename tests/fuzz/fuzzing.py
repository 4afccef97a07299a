"""What every fuzzer in Python shares: damage to inputs, the loop, and the limits that an input must keep.

A `Target` makes inputs (bytes) and judges them: `judge` returns a word for what became of one, and raises only what it may
not. The loop keeps inputs whose verdict it had not seen before and damages them further: a coarse sort of guidance, which needs
no instrumentation.
"""

from __future__ import annotations

import os
import random
import re
import resource
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from pyrunc import log
from pyrunc.errors import HostError, OpError, PyruncError, SpecError, StateError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CORPUS = Path(__file__).with_name("corpus")
SLOW = 1.0
"""Seconds of processor time that an input may take."""
HANG = 20
"""Seconds of processor time after which an input counts as hung."""
STUCK = 300
"""Seconds after which one counts as waiting for ever: on a machine that is busy with other things all takes its time."""
MEMORY = 768 << 20
"""Bytes of address space that the whole fuzzer may have: an input that makes it want more has found something."""
TOLD = (SpecError, HostError, OpError, StateError, UsageError)
POOL = 2000

TOKENS = (
    b"\0", b"\xff", b"\xef\xbb\xbf", b"\\u0000", b"\\ud800", b"\\", b'"', b"{", b"}", b"[", b"]", b",", b":", b"NaN",
    b"-Infinity", b"1e400", b"-", b"1" * 5000, b"[" * 300, b'{"a":' * 250, b'{"":' * 250, b"null", b"\n", b"//", b"0x1",
    b"..", b"/", b"=", b"-1", b"4294967295", b"4294967296", b"18446744073709551616", b" ", b"\t", b"\x1b[31m", b"%n",
)  # fmt: skip


class Target:
    """One thing to fuzz. Files of `corpus/NAME` are where it starts; an empty corpus is an error."""

    name = ""
    tokens: Sequence[bytes] = TOKENS

    def make(self, rnd: random.Random) -> bytes:
        """Return a fresh input; by default one of the corpus."""
        return rnd.choice(self.corpus())

    def vary(self, data: bytes, rnd: random.Random) -> bytes:
        """Return the input damaged."""
        return damage(data, rnd, self.tokens)

    def judge(self, data: bytes) -> str:
        """Return what became of an input. Raises only what must not happen."""
        raise TypeError("a target says what it judges")

    def corpus(self) -> list[bytes]:
        """Return the inputs that the repository has."""
        if not hasattr(self, "_corpus"):
            self._corpus = [path.read_bytes() for path in sorted((CORPUS / self.name).iterdir())]
        return self._corpus

    def clean(self) -> None:
        """Remove what the target made."""


def damage(data: bytes, rnd: random.Random, tokens: Sequence[bytes] = TOKENS) -> bytes:
    """Change some bytes: cut, doubled, turned, or a token put in."""
    for _ in range(rnd.randint(1, 4)):
        at = rnd.randint(0, len(data))
        to = min(len(data), at + rnd.choice((0, 1, 2, 10, 100)))
        action = rnd.randrange(5)
        if action == 0:
            data = data[:at] + data[to:]
        elif action == 1:
            data = data[:to] + data[at:]
        elif action == 2:
            data = data[:at] + rnd.randbytes(to - at) + data[to:]
        elif action == 3:
            data = data[:at] + rnd.choice(tokens) + data[to:]
        else:
            data = data[:at] + rnd.choice(tokens) + data[at:]
    return data


def told(call: Callable[[], object], *allowed: type[PyruncError], bare: bool = False) -> tuple[object, str]:
    """Return (result, "") of a call, or (None, what it said) when it raised one of the errors that it may.

    An error must say something, and a SpecError every fault by itself, in one line that acts on no terminal: as the log writes
    it, or (`bare`) as it is, since `validate` writes the faults of a config without the log.
    """
    try:
        return call(), ""
    except PyruncError as caught:
        error = caught
    if not isinstance(error, allowed or TOLD):
        raise error
    lines = [str(fault) for fault in error.faults] if isinstance(error, SpecError) else [str(error)]
    assert lines, f"{type(error).__name__} without a fault"
    assert all(lines), "an empty message"
    bad = [line for line in lines if not (line if bare else log.escape(line)).isprintable()]
    bad += [line for line in lines if "\n" in log.json_quote(line)]
    assert not bad, f"a message that is not one harmless line: {bad[0]!r}"
    return None, f"{type(error).__name__}: {lines[0]}"


def kind_of(verdict: str) -> str:
    """Return a verdict without what is particular to the input, so that like ones count as one."""
    return re.sub(r'"[^"]*"|[^A-Za-z:;.]+', " ", verdict)[:60]


class Failure(Exception):  # noqa: N818  # what a fuzzer looks for
    """An input that did what none may do."""

    def __init__(self, data: bytes, why: BaseException) -> None:
        super().__init__(f"{type(why).__name__}: {why}")
        self.data = data


def _hung(number: int, _frame: object) -> None:
    how = f"{HANG} s of work" if number == signal.SIGPROF else f"{STUCK} s"
    raise TimeoutError(f"no end after {how}")


def judge(target: Target, data: bytes) -> tuple[str, float]:
    """Return the verdict on one input and the seconds that it took. Raises Failure."""
    signal.signal(signal.SIGALRM, _hung)
    signal.signal(signal.SIGPROF, _hung)
    signal.alarm(STUCK)
    signal.setitimer(signal.ITIMER_PROF, HANG)
    start = time.process_time()
    try:
        verdict = target.judge(data)
        spent = time.process_time() - start
        assert spent < SLOW, f"took {spent:.1f} s"
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        raise Failure(data, error) from error
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
    return verdict, spent


def limit_memory() -> None:
    """Let no input have more than MEMORY: a MemoryError is a finding like any other."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def fuzz(target: Target, seconds: float, seed: int, inputs: int = sys.maxsize) -> str:
    """Judge the corpus, then inputs until the time or their number is over; return a line about it. Raises Failure."""
    rnd = random.Random(seed)
    seen: dict[str, int] = {}
    pool = list(target.corpus())
    slowest, count, end = 0.0, 0, time.monotonic() + seconds
    todo = list(pool)
    before = -1
    while todo or (time.monotonic() < end and count < inputs):
        data = todo.pop() if todo else _next(target, pool, rnd)
        verdict, spent = judge(target, data)
        before = (
            descriptors() if before < 0 else before
        )  # after the first: modules that it imported keep some
        kind = kind_of(verdict)
        if kind not in seen and len(pool) < POOL:
            pool.append(data)
        seen[kind] = seen.get(kind, 0) + 1
        slowest, count = max(slowest, spent), count + 1
        if count % 512 == 0 and descriptors() > before:
            raise Failure(data, AssertionError(f"{descriptors() - before} descriptors are left open"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    return f"{count} inputs, {len(seen)} kinds of outcome; slowest {slowest * 1000:.0f} ms, peak memory {peak} MiB"


def _next(target: Target, pool: list[bytes], rnd: random.Random) -> bytes:
    data = target.make(rnd) if rnd.random() < 0.4 else rnd.choice(pool)
    return target.vary(data, rnd) if rnd.random() < 0.85 else data
