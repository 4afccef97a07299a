"""Fuzz the reading of config.json: `python tests/fuzz_config.py --seconds 60 [--seed N]`.

Good configs are damaged as values (retyped, dropped, doubled, added) and as bytes, then parsed, checked and looked
at for slips. Nothing but `SpecError` may come out, nothing may take longer than a second, and every message must be
one harmless line. Ends with 1 and the input when one of this fails.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent / "spec")]

from config_maker import DEFAULT, ODD, encode, make_config, spoil  # noqa: E402  # after sys.path

from pyrunc.check import CheckFacts, check  # noqa: E402  # after sys.path
from pyrunc.errors import SpecError  # noqa: E402  # after sys.path
from pyrunc.spec.hints import slips  # noqa: E402  # after sys.path
from pyrunc.spec.jsontext import loads  # noqa: E402  # after sys.path
from pyrunc.spec.model import Spec  # noqa: E402  # after sys.path
from pyrunc.spec.parse import parse_config  # noqa: E402  # after sys.path

TOKENS = (
    b"\0", b"\xff", b"\xef\xbb\xbf", b"\\u0000", b"\\ud800", b"\\", b'"', b"{", b"}", b"[", b"]", b",", b":", b"NaN",
    b"-Infinity", b"1e400", b"-", b"1" * 5000, b"[" * 300, b'{"a":' * 250, b'{"":' * 250, b"null", b"\n", b"//", b"0x1",
)  # fmt: skip
SLOW = 1.0


def grow(config: dict[str, object], rnd: random.Random) -> None:
    """Make one part of a config very large."""
    count = rnd.choice((1000, 5000))
    value = rnd.choice(ODD)
    kind = rnd.randrange(4)
    if kind == 0:
        config[rnd.choice(("mounts", "hooks", "foo"))] = [value] * count
    elif kind == 1:
        config["annotations"] = {f"k{n}": value for n in range(count)}
    elif kind == 2:
        config["linux"] = {
            "namespaces": [{"type": f"pd{n}"} for n in range(count)],
            "maskedPaths": ["x"] * count,
        }
    else:
        config.update({f"ociVersio{n}": value for n in range(count)})


def damage(data: bytes, rnd: random.Random) -> bytes:
    """Change some bytes: cut, doubled, turned, or a token put in."""
    for _ in range(rnd.randint(1, 4)):
        at = rnd.randint(0, len(data))
        to = min(len(data), at + rnd.choice((0, 1, 2, 10, 100)))
        action = rnd.randrange(4)
        if action == 0:
            data = data[:at] + data[to:]
        elif action == 1:
            data = data[:to] + data[at:]
        elif action == 2:
            data = data[:at] + rnd.randbytes(to - at) + data[to:]
        else:
            data = data[:at] + rnd.choice(TOKENS) + data[at:]
    return data


def make_input(rnd: random.Random) -> bytes:
    config = make_config(rnd) if rnd.random() < 0.5 else DEFAULT
    for _ in range(rnd.choice((0, 1, 1, 3, 10))):
        config = spoil(config, rnd)
    if rnd.random() < 0.02:
        config = dict(config)
        grow(config, rnd)
    data = encode(config) if rnd.random() < 0.7 else json.dumps(config, indent=rnd.choice((None, 1))).encode()
    return damage(data, rnd) if rnd.random() < 0.5 else data


def require_harmless(error: SpecError) -> None:
    """Raise AssertionError unless the error says something, and every fault of it in one line that acts on no terminal."""
    assert error.faults, "a SpecError without a fault"
    assert all(str(fault).isprintable() for fault in error.faults), "a message that is not one harmless line"


def judge(data: bytes) -> str:
    """Return what became of an input: read, refused by a rule, or refused by the parser."""
    try:
        spec = parse_config(data)
    except SpecError as error:
        require_harmless(error)
        return "refused by the parser"
    list(slips(loads(data, "config.json"), Spec))
    try:
        for warning in check(spec, CheckFacts(bundle="/bundle", rootless=len(data) % 2 == 0)):
            assert warning.isprintable(), "a warning that is not one harmless line"
    except SpecError as error:
        require_harmless(error)
        return "refused by a rule"
    return "read"


def fuzz(seconds: float, seed: int) -> int:
    rnd = random.Random(seed)
    counts = {"read": 0, "refused by a rule": 0, "refused by the parser": 0}
    slowest, end = 0.0, time.monotonic() + seconds
    while time.monotonic() < end:
        data = make_input(rnd)
        start = time.process_time()
        try:
            counts[judge(data)] += 1
            spent = time.process_time() - start
            assert spent < SLOW, f"took {spent:.1f} s"
        except Exception:  # whatever it is, the input must be shown
            sys.stderr.write(f"seed {seed}, input {data!r}\n")
            raise
        slowest = max(slowest, spent)
    total = sum(counts.values())
    parts = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    sys.stdout.write(f"seed {seed}: {total} inputs: {parts}; the slowest took {slowest * 1000:.0f} ms\n")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    args = parser.parse_args()
    return fuzz(args.seconds, args.seed)


if __name__ == "__main__":
    sys.exit(main())
