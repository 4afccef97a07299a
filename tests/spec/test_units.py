from __future__ import annotations

import pytest

from pyrunc.spec.units import parse_duration, parse_size, show_size

S = 10**9


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("5s", 5 * S), ("0", 0), ("+0", 0), ("0s", 0), ("100ms", S // 10), ("1m30s", 90 * S), ("1.5h", 5400 * S),
        ("-2us", -2000), ("3µs", 3000), ("3μs", 3000), ("7ns", 7), (".5s", S // 2),("1.s", S),
        ("1h0m0.001s", 3600 * S + 10**6),
    ],
)  # fmt: skip
def test_durations_as_go_reads_them(text: str, nanoseconds: int) -> None:
    assert parse_duration(text) == nanoseconds


@pytest.mark.parametrize("text", ["", "5", "s", "-", "1x", "1 s", ".s", "1.2.3s", "5sm", "٣s", "1s ", "--1s"])
def test_durations_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0), ("17", 17), ("512m", 512 << 20), ("1.5G", 3 << 29), ("10kb", 10 << 10), ("2 MiB", 2 << 20),
        ("5B", 5), ("1T", 1 << 40), ("1p", 1 << 50),
    ],
)  # fmt: skip
def test_sizes_as_docker_reads_them(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "m", "-1", "1x", "1..5m", "1mm", "x1", "1,5m", "1e3"])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        parse_size(text)


def test_sizes_for_people() -> None:
    assert [show_size(n) for n in (0, 1023, 1024, 64 << 20, 3 << 50)] == [
        "0 B", "1023 B", "1.0 KiB", "64.0 MiB", "3072.0 TiB",
    ]  # fmt: skip
