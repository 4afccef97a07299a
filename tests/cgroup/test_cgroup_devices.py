"""Device rules of v1, held against a model that asks for single devices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from device_rules import AT, rule
from hypothesis import given
from hypothesis import strategies as st

from pyrunc.cgroup.devices import DEFAULTS
from pyrunc.cgroup.devices_v1 import devices_v1
from pyrunc.errors import SpecError

if TYPE_CHECKING:
    from pyrunc.spec.resources import DeviceRule


def lines(*rules: DeviceRule) -> list[tuple[str, str]]:
    return [(write.file.removeprefix("devices."), write.value) for write in devices_v1(rules, AT)]


DEFAULT_LINES = [("allow", f"{kind} {major}:{minor} {access}") for kind, major, minor, access in DEFAULTS]


def test_without_rules_only_the_default_devices_are_allowed() -> None:
    assert lines() == [("deny", "a"), *DEFAULT_LINES]
    assert len(DEFAULTS) == 11


def test_the_rule_of_the_default_config_changes_nothing() -> None:
    assert lines(rule(allow=False)) == lines()


def test_rules_are_applied_in_order() -> None:
    allow, deny = rule(True, "c", 10, 229, "rw"), rule(False, "c", 10, 229, "w")

    assert ("allow", "c 10:229 r") in lines(allow, deny)
    assert ("allow", "c 10:229 rw") in lines(deny, allow)


def test_a_denial_takes_away_what_it_covers() -> None:
    assert ("allow", "c 10:229 rwm") not in lines(rule(True, "c", 10, 229), rule(False, "c", 10))


def test_allow_all_then_deny_one_but_not_its_mknod_which_is_always_allowed() -> None:
    assert lines(rule(True), rule(False, "b", 8, 0)) == [("allow", "a"), ("deny", "b 8:0 rw")]


def test_a_default_device_wins_over_a_denial_by_its_name() -> None:
    assert lines(rule(True), rule(False, "c", 1, 3)) == [("allow", "a")]


def test_a_hole_in_a_wildcard_is_an_error() -> None:
    with pytest.raises(
        SpecError,
        match=r"^linux.resources.devices\[0\]: rule \[c 10:3\] is not supported by devices cgroupv1",
    ):
        lines(rule(True, "c", 10), rule(False, "c", 10, 3))


def test_a_denied_wildcard_that_a_default_would_be_a_hole_in_is_an_error_at_the_rule() -> None:
    with pytest.raises(SpecError, match=r"^linux.resources.devices\[0\]: "):
        lines(rule(True), rule(False, "c"))


@pytest.mark.parametrize(
    ("access", "text"), [("", "device access field cannot be empty"), ("rx", 'expected letters of "rwm"')]
)
def test_access_must_be_letters(access: str, text: str) -> None:
    with pytest.raises(SpecError, match=text):
        lines(rule(True, "c", 1, 1, access))


def test_type_a_with_numbers_means_both_kinds() -> None:
    made = lines(rule(True, "a", 9, 9, "r"))

    assert ("allow", "b 9:9 r") in made
    assert ("allow", "c 9:9 r") in made


NUMBERS = st.none() | st.integers(1, 3)
RULES = st.lists(
    st.builds(
        rule,
        st.booleans(),
        st.sampled_from(["a", "b", "c", None]),
        NUMBERS,
        NUMBERS,
        st.sampled_from(["r", "w", "m", "rw", "rwm", "wr"]),
    ),
    max_size=6,
)


def matches(wanted: int | str | None, number: int) -> bool:
    return wanted in {None, "*"} or int(wanted or 0) == number


def wanted(rules: list[DeviceRule], kind: str, major: int, minor: int, letter: str) -> bool:
    """Tell whether the rules, then the defaults, allow one access to one device: the last word counts."""
    allowed = False
    for one in rules:
        fits = one.type in {kind, "a", None} and matches(one.major, major) and matches(one.minor, minor)
        if fits and letter in (one.access or ""):
            allowed = one.allow
    return allowed or any(
        kind == k and matches(a, major) and matches(b, minor) and letter in access
        for k, a, b, access in DEFAULTS
    )


def kernel(writes: list[tuple[str, str]], kind: str, major: int, minor: int, letter: str) -> bool:
    """Do what security/device_cgroup.c does with the lines: a default, and a list of exceptions to it."""
    default, exceptions = True, set()
    for file, value in writes:
        if value == "a":
            default, exceptions = file == "allow", set()
        else:
            assert (file == "allow") != default, "an exception that the default covers"
            exceptions.add(tuple(value.replace(":", " ").split()))
    found = any(
        kind == k and matches(a, major) and matches(b, minor) and letter in access
        for k, a, b, access in exceptions
    )
    return default != found


@given(RULES, st.sampled_from("bc"), st.integers(1, 4), st.integers(1, 4), st.sampled_from("rwm"))
def test_the_lines_mean_what_the_rules_mean(
    rules: list[DeviceRule], kind: str, major: int, minor: int, letter: str
) -> None:
    try:
        made = lines(*rules)
    except SpecError:
        return  # the kernel could not hold them; that is told
    assert kernel(made, kind, major, minor, letter) == wanted(rules, kind, major, minor, letter)
