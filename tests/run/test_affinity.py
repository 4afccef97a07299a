"""Lists of CPUs, as the rules let them pass."""

from __future__ import annotations

import pytest

from pyrunc.run.affinity import LAST_CPU, parse_cpus


@pytest.mark.parametrize(
    ("text", "numbers"), [("0", {0}), ("0-2,7", {0, 1, 2, 7}), (" 3 , 1-1", {1, 3}), ("9999999", set())]
)
def test_lists(text: str, numbers: set[int]) -> None:
    assert parse_cpus(text) == numbers


def test_a_list_of_millions_costs_no_more_than_the_largest_machine() -> None:
    assert parse_cpus("0-9999999,8190-9999999") == set(range(LAST_CPU + 1))
