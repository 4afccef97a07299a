"""What a slip was meant to be."""

from __future__ import annotations

import pytest

from pyrunc.spec.hints import enum_hint, nearest, slips
from pyrunc.spec.model import Spec
from pyrunc.spec.tables import CAPABILITIES


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("SYS_ADMIN", 'did you mean "CAP_SYS_ADMIN"?'),
        ("cap_sys_admin", 'did you mean "CAP_SYS_ADMIN"?'),
        ("CAP_SYSADMIN", 'did you mean "CAP_SYS_ADMIN"?'),
        ("bpf", 'did you mean "CAP_BPF"?'),
        ("CAP_FOO_BAR", ""),
        ("", ""),
    ],
)
def test_names_of_capabilities(text, meant):
    assert enum_hint(text, tuple(CAPABILITIES)) == meant


@pytest.mark.parametrize(
    ("text", "meant"),
    [("optoins", "options"), ("option", "options"), ("source", ""), ("o", ""), ("x" * 100, "")],
)
def test_a_letter_or_two(text, meant):
    assert nearest(text, ["options", "destination", "y" * 99]) == meant


def test_slips_are_found_at_any_depth_and_only_for_what_is_absent():
    config = {
        "mounts": [{"destination": "/", "optoins": []}, 5],
        "linux": {"timeOffsets": {"boottime": {"nanosec": 1}}, "Sysctl": {}, "sysctl": {"a": "b"}},
        "org.example.other": 1,
        "hostname": "x",
        "hostnam": "y",
    }

    assert [str(slip) for slip in slips(config, Spec)] == [
        'mounts[0].optoins: unknown, so ignored (did you mean "options"?)',
        'linux.timeOffsets.boottime.nanosec: unknown, so ignored (did you mean "nanosecs"?)',
    ]
