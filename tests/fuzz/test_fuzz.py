"""Each fuzzer in Python judges its corpus, and some inputs of a fixed seed: that they run, and that nothing comes back."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path[:0] = [
    str(HERE),
    *(str(HERE.parent / name) for name in ("spec", "plan", "executor", "seccomp", "cgroup")),
]

from fuzzing import Failure, Target, fuzz, judge  # noqa: E402  # after sys.path
from run import python_targets  # noqa: E402  # after sys.path

INPUTS = 200


@pytest.mark.parametrize("name", sorted(python_targets()))
def test_corpus_and_a_fixed_seed(name: str) -> None:
    target = python_targets()[name]()
    try:
        assert fuzz(target, 60, seed=20261128, inputs=INPUTS)
    finally:
        target.clean()


class Bad(Target):
    def corpus(self) -> list[bytes]:
        return [b"x"]

    def judge(self, data: bytes) -> str:
        if b"x" not in data:
            raise KeyError("a traceback")
        return "x" * 5


def test_a_fuzzer_finds_what_is_there_to_find() -> None:
    assert judge(Bad(), b"x")[0] == "xxxxx"
    with pytest.raises(Failure, match="KeyError"):
        fuzz(Bad(), 60, seed=1)
