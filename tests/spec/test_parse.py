"""From bytes to a Spec, or to every fault with its path."""

from __future__ import annotations

import json
import random

import pytest
from config_maker import encode, make_config, spoil
from hypothesis import given
from hypothesis import strategies as st

from pyrunc.errors import SpecError
from pyrunc.spec.model import Spec
from pyrunc.spec.parse import parse_config

SMALL = {"ociVersion": "1.3.0", "root": {"path": "rootfs"}, "process": {"cwd": "/", "args": ["true"]}}


def parse(config):
    return parse_config(encode(config))


def faults_of(config):
    with pytest.raises(SpecError) as error:
        parse(config)
    return [str(fault) for fault in error.value.faults]


def spec_or_faults(data):
    """Return what became of an input: a Spec, or at least one fault."""
    try:
        return parse_config(data)
    except SpecError as error:
        faults = error.faults
    assert faults
    return faults


def within(path, value):
    """Return SMALL with one more value at a path such as "process.user.uid"."""
    config = json.loads(json.dumps(SMALL))
    *holders, last = path.split(".")
    at = config
    for key in holders:
        at = at.setdefault(key, {})
    at[last] = value
    return config


def test_structure_and_places_mirror_the_file():
    config = {
        **SMALL,
        "process": {
            "cwd": "/",
            "user": {"uid": 1, "additionalGids": [5, 6]},
            "rlimits": [{"type": "RLIMIT_CORE", "soft": 0, "hard": 2**64 - 1}],
            "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 4},
        },
        "mounts": [{"destination": "/a", "uidMappings": [{"containerID": 0, "hostID": 1, "size": 2}]}],
        "hooks": {"createRuntime": [{"path": "/x", "env": [], "timeout": 3}]},
        "annotations": {"a": ""},
        "linux": {
            "resources": {
                "memory": {"limit": -1},
                "rdma": {"mlx5.1": {"hcaHandles": 1}},
                "unified": {"a": "1"},
            },
            "timeOffsets": {"monotonic": {"secs": -3}},
            "seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "flags": []},
        },
    }
    spec = parse(config)

    assert spec.process is not None
    assert spec.process.user.uid == 1
    assert spec.process.user.additional_gids == (5, 6)
    assert spec.process.rlimits[0].hard == 2**64 - 1
    assert spec.process.rlimits[0].at == "process.rlimits[0]"
    assert spec.process.io_priority is not None
    assert spec.process.io_priority.class_ == "IOPRIO_CLASS_BE"
    assert spec.mounts[0].uid_mappings[0].at == "mounts[0].uidMappings[0]"
    assert spec.mounts[0].options == ()
    hook = spec.hooks.create_runtime[0]
    assert (hook.at, hook.args, hook.env, hook.timeout) == ("hooks.createRuntime[0]", None, (), 3)
    assert spec.annotations == {"a": ""}
    assert spec.linux.resources.memory is not None
    assert spec.linux.resources.memory.limit == -1
    assert spec.linux.resources.rdma["mlx5.1"].at == 'linux.resources.rdma["mlx5.1"]'
    assert spec.linux.time_offsets["monotonic"].secs == -3
    assert spec.linux.seccomp is not None
    assert spec.linux.seccomp.flags == ()
    assert spec.linux.rootfs_propagation is None


def test_null_is_absent_and_unknown_is_ignored():
    config = {**SMALL, "mounts": None, "linux": None, "hooks": {"prestart": None}, "foo": float(1), "process": {
        "cwd": "/", "args": None, "user": {"uid": None, "bar": "\u2028"}, "Terminal": 5,
    }}  # fmt: skip
    spec = parse(config)

    assert spec == parse({**SMALL, "hooks": {}, "process": {"cwd": "/", "user": {}}})
    assert spec.process is not None
    assert spec.process.user.uid == 0


def test_the_order_of_members_has_no_meaning():
    config = make_config(random.Random(1))
    backwards = json.loads(json.dumps(config), object_pairs_hook=lambda pairs: dict(reversed(pairs)))

    assert parse(backwards) == parse(config)


WRONG = (
    ("process.user.uid", "x", 'process.user.uid: expected an integer, got "x"'),
    ("process.user.uid", "7", 'process.user.uid: expected an integer, got "7" (write it without quotes)'),
    ("process.user.uid", True, "process.user.uid: expected an integer, got true"),
    ("process.user.uid", 1.0,
     "process.user.uid: expected an integer, got 1.0 (write it without a fraction or an exponent)"),
    ("process.user.uid", 1.5, "process.user.uid: expected an integer, got 1.5"),
    ("process.user.uid", 2**32 - 1, "process.user.uid: expected an integer from 0 to 4294967294, got 4294967295"),
    ("process.user.uid", -1, "process.user.uid: expected an integer from 0 to 4294967294, got -1"),
    ("process.user.umask", 0o1000, "process.user.umask: expected an integer from 0 to 511, got 512"),
    ("process.user.additionalGids", [1, "2"],
     'process.user.additionalGids[1]: expected an integer, got "2" (write it without quotes)'),
    ("process.oomScoreAdj", 1001, "process.oomScoreAdj: expected an integer from -1000 to 1000, got 1001"),
    ("process.terminal", "true", 'process.terminal: expected true or false, got "true" (write it without quotes)'),
    ("process.terminal", 1, "process.terminal: expected true or false, got 1"),
    ("process.args", "sh", 'process.args: expected an array, got "sh" (write ["sh"])'),
    ("process.env", ["A=1", 5, None], "process.env[1]: expected a string, got 5"),
    ("process.cwd", None, "process.cwd: required, but missing"),
    ("process.cwd", [], "process.cwd: expected a string, got an array"),
    ("process.rlimits", [{"type": "NOFILE", "soft": 1, "hard": 1}],
     'process.rlimits[0].type: wrong rlimit value: "NOFILE" (did you mean "RLIMIT_NOFILE"?)'),
    ("process.rlimits", [{"type": "RLIMIT_CORE", "soft": 2**64, "hard": 1}],
     f"process.rlimits[0].soft: expected an integer from 0 to {2**64 - 1}, got {2**64}"),
    ("process.consoleSize", {"height": 1}, "process.consoleSize.width: required, but missing"),
    ("hooks.prestart", [{"path": "/x", "timeout": 0}],
     f"hooks.prestart[0].timeout: expected an integer from 1 to {2**63 - 1}, got 0"),
    ("hooks.prestart", {"path": "/x"}, "hooks.prestart: expected an array, got an object"),
    ("mounts", [None], "mounts[0]: expected an object, got null"),
    ("mounts", [{"Destination": "/a"}],
     'mounts[0].destination: required, but missing (did you mean "destination" by "Destination"?)'),
    ("annotations", ["a"], "annotations: expected an object, got an array"),
    ("annotations", {"a.b": 5}, 'annotations["a.b"]: expected a string, got 5'),
    ("linux.namespaces", [{"type": "bogus"}],
     ('linux.namespaces[0].type: namespace "bogus" does not exist (one of "pid", "network", "mount", "ipc", '
      '"uts", "user", "cgroup", "time")')),
    ("linux.namespaces", [{"type": "netwrok"}],
     'linux.namespaces[0].type: namespace "netwrok" does not exist (did you mean "network"?)'),
    ("linux.namespaces", [{"type": 5}], "linux.namespaces[0].type: expected a string, got 5"),
    ("linux.devices", [{"type": "z", "path": "/x"}],
     'linux.devices[0].type: "z" is not a value of this (one of "c", "b", "u", "p")'),
    ("linux.devices", [{"type": "c\n", "path": "/x"}],
     'linux.devices[0].type: "c\\n" is not a value of this (one of "c", "b", "u", "p")'),
    ("linux.rootfsPropagation", "foo",
     ('linux.rootfsPropagation: rootfsPropagation="foo" is not supported (one of "private", "rprivate", '
      '"shared", "rshared", "slave", "rslave", "unbindable", "runbindable")')),
    ("linux.personality", {"domain": "X"},
     'linux.personality.domain: invalid personality domain "X" (one of "LINUX", "LINUX32")'),
    ("linux.resources.hugepageLimits", [{"pageSize": "2MB\n", "limit": 1}],
     'linux.resources.hugepageLimits[0].pageSize: expected a size such as "2MB", got "2MB\\n"'),
    ("linux.resources.hugepageLimits", [{"pageSize": "B", "limit": 1}],
     'linux.resources.hugepageLimits[0].pageSize: expected a size such as "2MB", got "B"'),
    ("linux.resources.memory.swappiness", 200,
     "linux.resources.memory.swappiness: expected an integer from 0 to 100, got 200"),
    ("linux.resources.cpu.idle", 7, "linux.resources.cpu.idle: expected an integer from 0 to 1, got 7"),
    ("linux.seccomp", {}, "linux.seccomp.defaultAction: required, but missing"),
    ("linux.seccomp", {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": [], "action": "SCMP_ACT_LOG"}]},
     "linux.seccomp.syscalls[0].names: needs at least 1 entry"),
    ("linux.intelRdt.memBwSchema", "L3:",
     'linux.intelRdt.memBwSchema: expected a line that starts with "MB:", got "L3:"'),
    ("process.execCPUAffinity.initial", "a",
     'process.execCPUAffinity.initial: expected a list of CPUs such as "0-3,7", got "a"'),
)  # fmt: skip


@pytest.mark.parametrize(("path", "value", "message"), WRONG, ids=[f"{w[0]}={w[1]!r}" for w in WRONG])
def test_a_wrong_value_is_named_with_its_place(path, value, message):
    assert message in faults_of(within(path, value))


def test_all_faults_are_told_at_once():
    config = {"process": {"user": {"uid": "x"}, "args": 5}, "mounts": [{}], "annotations": {"a": 1}}

    assert [fault.partition(":")[0] for fault in faults_of(config)] == [
        "process.user.uid", "process.args", "process.cwd", "mounts[0].destination", "annotations.a", "ociVersion",
    ]  # fmt: skip


def test_faults_of_the_text_come_with_those_of_the_values():
    with pytest.raises(SpecError) as error:
        parse_config(b'{"hostname": 5, "hostname": NaN, "process": {"cwd": "\\u0000"}}')

    assert [str(fault) for fault in error.value.faults] == [
        'duplicate key "hostname"', "hostname: NaN is not JSON", 'process.cwd: "\\u0000" contains a null byte',
        "ociVersion: required, but missing",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"null", "config.json: config cannot be null"),
        (b"[]", "config.json: expected an object, got an array"),
        (b'"x"', 'config.json: expected an object, got "x"'),
        (b"", "config.json: unexpected end of JSON input"),
    ],
)
def test_what_is_no_object_is_no_config(data, message):
    with pytest.raises(SpecError) as error:
        parse_config(data)

    assert str(error.value) == message


def test_a_flood_of_faults_takes_no_flood_of_time():
    config = {
        **SMALL,
        "linux": {"namespaces": [{"type": "bogus"}] * 20_000},
        **{f"rot{n}": 1 for n in range(20_000)},
    }
    del config["root"], config["ociVersion"]

    assert len(faults_of(config)) == 20_001


@given(st.binary(max_size=200))
def test_arbitrary_bytes_give_a_spec_or_faults(data):
    assert isinstance(spec_or_faults(data), Spec | tuple)


@given(st.integers(0, 2**64))
def test_a_config_of_valid_values_is_read(seed):
    assert isinstance(parse(make_config(random.Random(seed))), Spec)


@given(st.integers(0, 2**64))
def test_a_damaged_config_gives_a_spec_or_faults(seed):
    rnd = random.Random(seed)
    config = make_config(rnd)
    for _ in range(rnd.randint(1, 5)):
        config = spoil(config, rnd)
    result = spec_or_faults(encode(config))
    assert isinstance(result, Spec) or all(str(fault).isprintable() for fault in result)
