"""The tables are whole, and say what the declaration and the machine say."""

from __future__ import annotations

import json
import os
import resource
import signal

import pytest

from pyrunc.spec import tables, values
from pyrunc.spec.declare import fields_of
from pyrunc.spec.model import Hooks

MUST = (
    "async atime bind defaults dev diratime dirsync exec iversion lazytime loud noatime nodev nodiratime noexec "
    "noiversion nolazytime norelatime nostrictatime nosuid private rbind relatime remount ro rprivate rshared rslave "
    "runbindable rw shared silent slave strictatime suid sync unbindable"
)
SHOULD = (
    "nosymfollow symfollow idmap ridmap ratime rdev rdiratime rexec rnoatime rnodiratime rnoexec rnorelatime "
    "rnostrictatime rnosuid rnosymfollow rrelatime rro rrw rstrictatime rsuid rsymfollow rnodev"
)
MAY = "mand nomand tmpcopyup"


def test_mount_options_are_those_of_the_specification():
    assert set(tables.MOUNT_OPTIONS) == {*MUST.split(), *SHOULD.split(), *MAY.split()}


@pytest.mark.parametrize("name", sorted(tables.MOUNT_OPTIONS))
def test_an_option_does_one_kind_of_thing(name):
    option = tables.MOUNT_OPTIONS[name]
    kinds = [
        bool(option.set or option.clear),
        option.bind,
        option.remount,
        option.propagation,
        option.extension,
    ]

    assert sum(map(bool, kinds)) <= 1
    assert not option.set & option.clear
    if name[0] == "r" and name[1:] in tables.MOUNT_OPTIONS and name != "ro":
        assert option.recursive
        plain = tables.MOUNT_OPTIONS[name[1:]]
        assert (option.propagation, option.bind) == (plain.propagation, plain.bind)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ro", {"set": 0x1, "fs_flag": "ro"}),
        ("rw", {"clear": 0x1, "fs_flag": "rw"}),
        ("rro", {"set": 0x1, "recursive": True}),
        ("nosuid", {"set": 0x2}),
        ("rdev", {"clear": 0x4, "recursive": True}),
        ("noexec", {"set": 0x8}),
        ("noatime", {"set": 0x10, "clear": 0x20}),
        ("rstrictatime", {"set": 0x20, "clear": 0x10, "recursive": True}),
        ("relatime", {"clear": 0x30}),
        ("nodiratime", {"set": 0x80}),
        ("nosymfollow", {"set": 0x200000}),
        ("rslave", {"propagation": 1 << 19, "recursive": True}),
        ("rbind", {"bind": True, "recursive": True}),
        ("sync", {"fs_flag": "sync"}),
        ("defaults", {}),
        ("ridmap", {"extension": "idmap", "recursive": True}),
    ],
)
def test_what_an_option_does(name, expected):
    assert tables.MOUNT_OPTIONS[name] == tables.MountOption(**expected)


@pytest.mark.parametrize(
    ("table", "kind"),
    [
        (tables.NAMESPACES, values.NAMESPACE_TYPES),
        (tables.RLIMITS, values.RLIMIT_TYPES),
        (tables.PROPAGATIONS, values.PROPAGATIONS),
        (tables.SCHEDULER_POLICIES, values.SCHEDULER_POLICIES),
        (tables.SCHEDULER_FLAGS, values.SCHEDULER_FLAGS),
        (tables.IOPRIO_CLASSES, values.IOPRIO_CLASSES),
        (tables.MEMORY_POLICY_MODES, values.MEMORY_POLICY_MODES),
        (tables.MEMORY_POLICY_FLAGS, values.MEMORY_POLICY_FLAGS),
        (tables.PERSONALITIES, values.PERSONALITY_DOMAINS),
        (tables.SECCOMP_ACTIONS, values.SECCOMP_ACTIONS),
        (tables.SECCOMP_OPERATORS, values.SECCOMP_OPERATORS),
        (tables.SECCOMP_ARCHITECTURES, values.SECCOMP_ARCHITECTURES),
        (tables.SECCOMP_FLAGS, values.SECCOMP_FLAGS),
    ],
)
def test_every_value_that_is_read_has_its_number(table, kind):
    assert set(table) == set(kind.values)


def test_hooks_are_in_the_order_of_the_declaration():
    assert list(tables.HOOKS) == [field.key for field in fields_of(Hooks)]


def test_capabilities_are_the_kernels_in_its_order():
    assert list(tables.CAPABILITIES.values()) == list(range(41))
    with open("/proc/sys/kernel/cap_last_cap", encoding="ascii") as file:
        assert int(file.read()) >= 40


def test_numbers_are_those_of_this_machine():
    for name, number in tables.RLIMITS.items():
        assert getattr(resource, name, number) == number
    for name, number in tables.SIGNALS.items():
        assert getattr(signal, name, number) == number
    for name in ("CLONE_NEWPID", "CLONE_NEWNS"):  # since Python 3.12
        kind = {"CLONE_NEWPID": "pid", "CLONE_NEWNS": "mount"}[name]
        assert getattr(os, name, tables.NAMESPACES[kind].flag) == tables.NAMESPACES[kind].flag
    for kind in tables.NAMESPACES.values():
        assert os.path.exists(f"/proc/self/ns/{kind.file}")


def test_signals_are_all_named_and_have_texts():
    assert set(tables.SIGNALS.values()) == {*range(1, 32), *range(34, 65)}
    assert set(tables.SIGNAL_TEXTS) == set(range(1, 32))
    assert (tables.SIGNALS["SIGRTMIN+15"], tables.SIGNALS["SIGRTMAX-14"]) == (49, 50)


def test_tables_are_what_features_can_print():
    for name in ("RLIMITS", "CAPABILITIES", "SIGNALS", "SCHEDULER_FLAGS", "SECCOMP_FLAGS", "HOOKS"):
        assert json.dumps(getattr(tables, name))
