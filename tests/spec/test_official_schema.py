"""Our parser and our schema against the official schema of runtime-spec 1.3.0.

Every config is judged by all three; for each place where two of them differ, the table below must have a reason.
The official schema is looked for in $OCI_SCHEMA_DIR, or in ../shared/oci-schema beside the repository.
"""

from __future__ import annotations

import json
import os
import random
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from config_maker import encode, make_config, spoil
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft4Validator, Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT4

from pyrunc.errors import SpecError
from pyrunc.spec.jsontext import key_at
from pyrunc.spec.parse import parse_config
from pyrunc.spec.schema import json_schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[2]
OFFICIAL = Path(os.environ.get("OCI_SCHEMA_DIR") or ROOT.parent / "shared" / "oci-schema")

needs_official = pytest.mark.skipif(
    not (OFFICIAL / "config-schema.json").is_file(),
    reason=f"no official schema at {OFFICIAL}: set OCI_SCHEMA_DIR to the folder schema/ of runtime-spec",
)


class Difference(NamedTuple):
    refuses: str
    "Who refuses what the other takes: official or pyrunc."
    at: str
    "A regular expression for the whole path."
    when: Callable[[Any], bool]
    "What the value there is like (None also where there is none)."
    reason: str
    example: dict[str, Any]


def anything(_value: object) -> bool:
    return True


def absent(value: object) -> bool:
    return value is None


def whole(value: object) -> bool:
    return type(value) is int


def above(high: int) -> Callable[[object], bool]:
    return lambda value: type(value) is int and value > high


def outside(low: int, high: int) -> Callable[[object], bool]:
    return lambda value: type(value) is int and not low <= value <= high


def text(value: object) -> bool:
    return isinstance(value, str)


def ends_in_newline(value: object) -> bool:
    return isinstance(value, str) and value.endswith("\n")


MAPPINGS = r"(linux|mounts\[\d+\])\.(uid|gid)Mappings\[\d+\]"
BLOCK = r"linux\.resources\.blockIO\.\w+\[\d+\]"

DIFFERENCES = (
    Difference("official", r".*", absent, "null is absent: callers written in Go send it", {"mounts": None}),
    Difference(
        "official",
        r"(windows|solaris|vm|zos|freebsd)\b.*",
        anything,
        "not a property of Linux, so ignored",
        {"windows": 5},
    ),
    Difference(
        "official",
        r"process\.commandLine",
        anything,
        "of Windows, so ignored",
        {"process": {"cwd": "/", "commandLine": 5}},
    ),
    Difference(
        "official",
        r"process\.user\.username",
        anything,
        "of Windows, so ignored",
        {"process": {"cwd": "/", "user": {"username": 5}}},
    ),
    Difference(
        "official",
        r"linux\.resources\.pids\.limit",
        absent,
        "optional since 1.3.0, the schema lags",
        {"linux": {"resources": {"pids": {}}}},
    ),
    Difference(
        "official",
        r"linux\.devices\[\d+\]\.fileMode",
        above(511),
        "callers send the bits of the type, too",
        {"linux": {"devices": [{"type": "c", "path": "/x", "fileMode": 8630}]}},
    ),
    Difference(
        "official",
        r"linux\.rootfsPropagation",
        text,
        "rshared and the like: runC takes them, Docker sends them",
        {"linux": {"rootfsPropagation": "rshared"}},
    ),
    Difference(
        "pyrunc",
        r"process\.user\.(uid|gid|additionalGids\[\d+\])",
        above(2**32 - 2),
        "(uid_t)-1 is no id",
        {"process": {"cwd": "/", "user": {"additionalGids": [4294967295]}}},
    ),
    Difference(
        "pyrunc",
        r"process\.user\.umask",
        above(0o777),
        "umask(2) has nine bits",
        {"process": {"cwd": "/", "user": {"umask": 512}}},
    ),
    Difference(
        "pyrunc",
        r"process\.oomScoreAdj",
        outside(-1000, 1000),
        "the kernel's range (LP-6)",
        {"process": {"cwd": "/", "oomScoreAdj": 1001}},
    ),
    Difference(
        "pyrunc",
        r"process\.ioPriority\.priority",
        absent,
        "required by the prose (LP-12)",
        {"process": {"cwd": "/", "ioPriority": {"class": "IOPRIO_CLASS_BE"}}},
    ),
    Difference(
        "pyrunc",
        r"process\.rlimits\[\d+\]\.type",
        text,
        "a limit that the kernel does not have (PX-2)",
        {"process": {"cwd": "/", "rlimits": [{"type": "RLIMIT_TEST", "soft": 1, "hard": 1}]}},
    ),
    Difference(
        "pyrunc",
        r"linux\.devices\[\d+\]\.(uid|gid)",
        above(2**32 - 2),
        "(uid_t)-1 is no id",
        {"linux": {"devices": [{"type": "p", "path": "/x", "uid": 4294967295}]}},
    ),
    Difference(
        "pyrunc",
        r"linux\.devices\[\d+\]\.(major|minor)",
        whole,
        "mknod(2) would cut it",
        {"linux": {"devices": [{"type": "c", "path": "/x", "major": 4096}]}},
    ),
    Difference(
        "pyrunc",
        r"linux\.devices\[\d+\]\.type",
        ends_in_newline,
        "Python's $ matches before a newline",
        {"linux": {"devices": [{"type": "c\n", "path": "/x"}]}},
    ),
    Difference(
        "pyrunc",
        MAPPINGS + r"\.size",
        lambda value: value == 0,
        "the kernel takes no empty range",
        {"linux": {"uidMappings": [{"containerID": 0, "hostID": 0, "size": 0}]}},
    ),
    Difference(
        "pyrunc",
        r"hooks\.\w+\[\d+\]\.timeout",
        above(2**63 - 1),
        "no int64, which runC reads",
        {"hooks": {"poststop": [{"path": "/x", "timeout": 9223372036854775808}]}},
    ),
    Difference(
        "pyrunc",
        r"linux\.resources\.devices\[\d+\]\.type",
        text,
        "a, b or c (DA-2, EX-3)",
        {"linux": {"resources": {"devices": [{"allow": True, "type": "z"}]}}},
    ),
    Difference(
        "pyrunc",
        r"linux\.resources\.devices\[\d+\]\.(major|minor)",
        whole,
        "no device can have it",
        {"linux": {"resources": {"devices": [{"allow": True, "minor": -2}]}}},
    ),
    Difference(
        "pyrunc",
        r"linux\.resources\.memory\.\w+",
        outside(-1, 2**63 - 1),
        "bytes, or -1 (ME-1)",
        {"linux": {"resources": {"memory": {"limit": -7}}}},
    ),
    Difference(
        "pyrunc",
        r"linux\.resources\.memory\.swappiness",
        above(100),
        "0 to 100 (ME-3)",
        {"linux": {"resources": {"memory": {"swappiness": 200}}}},
    ),
    Difference(
        "pyrunc",
        r"linux\.resources\.cpu\.idle",
        outside(0, 1),
        "0 or 1 (CP-3)",
        {"linux": {"resources": {"cpu": {"idle": 7}}}},
    ),
    Difference(
        "pyrunc",
        BLOCK + r"\.(major|minor)",
        whole,
        "no device can have it",
        {"linux": {"resources": {"blockIO": {"weightDevice": [{"major": -1, "minor": 0}]}}}},
    ),
    Difference(
        "pyrunc",
        BLOCK + r"\.rate",
        absent,
        "required by the prose (BI-3)",
        {"linux": {"resources": {"blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0}]}}}},
    ),
    Difference(
        "pyrunc",
        r"linux\.resources\.hugepageLimits\[\d+\]\.pageSize",
        ends_in_newline,
        "Python's $ again",
        {"linux": {"resources": {"hugepageLimits": [{"pageSize": "2MB\n", "limit": 1}]}}},
    ),
    Difference(
        "pyrunc",
        r"linux\.intelRdt\.memBwSchema",
        ends_in_newline,
        "Python's $ again (RT-6)",
        {"linux": {"intelRdt": {"memBwSchema": "MB:0=1\n"}}},
    ),
    Difference(
        "pyrunc",
        r"process\.execCPUAffinity\.\w+",
        ends_in_newline,
        "Python's $ again",
        {"process": {"cwd": "/", "execCPUAffinity": {"initial": "0\n"}}},
    ),
    Difference(
        "pyrunc",
        r"linux\.timeOffsets.*\.nanosecs",
        above(999_999_999),
        "timespec(3)",
        {"linux": {"timeOffsets": {"boottime": {"nanosecs": 1000000000}}}},
    ),
    Difference(
        "pyrunc",
        r"linux\.timeOffsets(\.(?!monotonic|boottime)\w|\[).*",
        anything,
        "a clock that the schema does not look at",
        {"linux": {"timeOffsets": {"foo": 5}}},
    ),
    Difference(
        "pyrunc",
        r"linux\.seccomp\.syscalls\[\d+\]\.args\[\d+\]\.index",
        above(5),
        "six arguments (SE-15)",
        {
            "linux": {
                "seccomp": {
                    "defaultAction": "SCMP_ACT_LOG",
                    "syscalls": [
                        {
                            "names": ["x"],
                            "action": "SCMP_ACT_ALLOW",
                            "args": [{"index": 9, "value": 0, "op": "SCMP_CMP_EQ"}],
                        }
                    ],
                }
            }
        },
    ),
    Difference(
        "pyrunc",
        r"linux\.personality\.domain",
        absent,
        "required by the prose (PE-1)",
        {"linux": {"personality": {}}},
    ),
    Difference(
        "pyrunc",
        r"linux\.memoryPolicy\.mode",
        absent,
        "required by the prose (MP-1)",
        {"linux": {"memoryPolicy": {}}},
    ),
    Difference(
        "pyrunc",
        r'.*\["(\\n)?"\]',
        anything,
        'the schema\'s pattern ".{1,}" skips these keys of a map',
        {"annotations": {"": 5}},
    ),
)

OWN_DIFFERENCES = (
    Difference(
        "pyrunc",
        r".*",
        lambda value: isinstance(value, float),
        "JSON Schema takes 1.0 for an integer",
        {"linux": {"resources": {"pids": {"limit": 1.0}}}},
    ),
    Difference(
        "pyrunc",
        r".*",
        ends_in_newline,
        "Python's $ matches before a newline",
        {"linux": {"intelRdt": {"memBwSchema": "MB:0=1\n"}}},
    ),
)
"""Where our parser refuses what our schema takes."""


def official_validator() -> Draft4Validator:
    documents = {path.name: json.loads(path.read_text("utf-8")) for path in OFFICIAL.glob("*.json")}
    resources = [(n, Resource.from_contents(d, default_specification=DRAFT4)) for n, d in documents.items()]
    return Draft4Validator(documents["config-schema.json"], registry=Registry().with_resources(resources))


OFFICIAL_VALIDATOR = official_validator() if (OFFICIAL / "config-schema.json").is_file() else None
OWN_VALIDATOR = Draft202012Validator(json_schema())


def schema_places(validator: Any, config: object) -> set[str]:
    return {place for error in validator.iter_errors(config) for place in _error_places(error)}


def _error_places(error: Any) -> Iterator[str]:
    if error.context and error.validator == "anyOf":
        for inner in error.context:
            yield from _error_places(inner)
        return
    at = ""
    for step in error.absolute_path:
        at = f"{at}[{step}]" if isinstance(step, int) else key_at(at, step)
    if error.validator == "required":
        at = key_at(at, error.message.split("'")[1])
    yield at or "config.json"


def parser_places(config: object) -> set[str]:
    try:
        parse_config(encode(config))
    except SpecError as error:
        return {fault.at for fault in error.faults}
    return set()


def value_at(config: Any, place: str) -> Any:
    for name, index, quoted in re.findall(r'(\w+)|\[(\d+)\]|\[("(?:[^"\\]|\\.)*")\]', place):
        key: Any = int(index) if index else json.loads(quoted) if quoted else name
        try:
            config = config[key]
        except (KeyError, IndexError, TypeError):
            return None
    return config


def unexplained(config: Any, theirs: set[str], ours: set[str], table: tuple[Difference, ...]) -> list[str]:
    left = []
    for who, places in (("official", theirs - ours), ("pyrunc", ours - theirs)):
        for place in places:
            value = value_at(config, place)
            if not any(d.refuses == who and re.fullmatch(d.at, place) and d.when(value) for d in table):
                left.append(f"only {who} refuses {place} = {value!r}")
    return left


def assert_agreement(config: Any) -> None:
    ours = parser_places(config)
    assert unexplained(config, schema_places(OWN_VALIDATOR, config), ours, OWN_DIFFERENCES) == []
    if OFFICIAL_VALIDATOR is not None:
        assert unexplained(config, schema_places(OFFICIAL_VALIDATOR, config), ours, DIFFERENCES) == []


@needs_official
@pytest.mark.parametrize("path", sorted(OFFICIAL.glob("test/config/good/*.json")), ids=lambda path: path.name)
def test_good_fixtures_are_good(path):
    config = json.loads(path.read_text("utf-8"))

    assert parser_places(config) == set()
    assert schema_places(OWN_VALIDATOR, config) == set()


@needs_official
@pytest.mark.parametrize("path", sorted(OFFICIAL.glob("test/config/bad/*.json")), ids=lambda path: path.name)
def test_bad_fixtures_are_bad(path):
    try:
        config = json.loads(path.read_text("utf-8"))
    except ValueError:
        with pytest.raises(SpecError):
            parse_config(path.read_bytes())
        return
    if path.name.startswith("freebsd-"):
        assert parser_places(config) == set(), "not a property of Linux, so ignored"
        return

    assert parser_places(config) == schema_places(OWN_VALIDATOR, config) != set()


@needs_official
def test_the_fixtures_are_there():
    assert len(list(OFFICIAL.glob("test/config/*/*.json"))) >= 14


@given(st.integers(0, 2**64))
@settings(max_examples=150, deadline=None)
def test_configs_of_valid_values_differ_only_as_listed(seed):
    assert_agreement(make_config(random.Random(seed)))


@given(st.integers(0, 2**64))
@settings(max_examples=300, deadline=None)
def test_damaged_configs_differ_only_as_listed(seed):
    rnd = random.Random(seed)
    config = spoil(make_config(rnd), rnd)
    if rnd.random() < 0.3:
        config = spoil(config, rnd)
    assert_agreement(config)


def explains(difference: Difference, config: Any, theirs: set[str], ours: set[str]) -> bool:
    places = theirs - ours if difference.refuses == "official" else ours - theirs
    return any(re.fullmatch(difference.at, at) and difference.when(value_at(config, at)) for at in places)


@needs_official
@pytest.mark.parametrize("difference", DIFFERENCES, ids=lambda difference: difference.at)
def test_a_listed_difference_is_one(difference):
    config = {"ociVersion": "1.3.0", **difference.example}

    assert explains(difference, config, schema_places(OFFICIAL_VALIDATOR, config), parser_places(config))
    assert_agreement(config)


@pytest.mark.parametrize("difference", OWN_DIFFERENCES, ids=lambda difference: difference.reason)
def test_a_listed_difference_to_our_schema_is_one(difference):
    config = {"ociVersion": "1.3.0", **difference.example}

    assert explains(difference, config, schema_places(OWN_VALIDATOR, config), parser_places(config))


def test_the_schema_is_one():
    Draft202012Validator.check_schema(json_schema())
