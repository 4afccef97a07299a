"""The declaration is whole: annotations, kinds, defaults and texts agree."""

from __future__ import annotations

import pytest

from pyrunc.spec.declare import Bool, Enum, Int, List, Map, Node, Str, fields_of
from pyrunc.spec.model import Linux, Mount, Spec
from pyrunc.spec.reference import texts_of
from pyrunc.spec.schema import json_schema


def _records():
    found: dict[str, type[Node]] = {}
    waiting: list[object] = [Spec]
    while waiting:
        kind = waiting.pop()
        if isinstance(kind, List | Map):
            waiting.append(kind.of)
        elif isinstance(kind, type) and kind.__name__ not in found:
            found[kind.__name__] = kind
            waiting.extend(field.kind for field in fields_of(kind))
    return sorted(found.values(), key=lambda cls: cls.__name__)


RECORDS = _records()


def _annotation(kind):
    if isinstance(kind, Bool):
        return "bool"
    if isinstance(kind, Int):
        return "int"
    if isinstance(kind, Str | Enum):
        return "str"
    if isinstance(kind, List):
        return f"tuple[{_annotation(kind.of)}, ...]"
    if isinstance(kind, Map):
        return f"Mapping[str, {_annotation(kind.of)}]"
    return kind.__name__


@pytest.mark.parametrize("cls", RECORDS)
def test_annotations_say_what_the_kinds_say(cls):
    annotations = dict(cls.__annotations__)

    assert annotations.pop("at") == "str"
    for field in fields_of(cls):
        optional = not field.required and field.default is None
        assert annotations.pop(field.name) == _annotation(field.kind) + (" | None" if optional else "")
    assert annotations == {}


@pytest.mark.parametrize("cls", RECORDS)
def test_every_field_has_a_text_and_every_record_a_line(cls):
    assert set(texts_of(cls)) == {field.name for field in fields_of(cls)}
    assert all(text.endswith((".", "`")) for text in texts_of(cls).values())
    assert cls.__doc__


@pytest.mark.parametrize("cls", RECORDS)
def test_empty_stands_for_absent_only_where_the_default_says_so(cls):
    for field in fields_of(cls):
        if isinstance(field.kind, List | Map) and not field.required:
            assert field.default in (None, (), {})


def test_keys_are_those_of_the_specification():
    keys = {field.key for cls in RECORDS for field in fields_of(cls)}

    wanted = (
        "ociVersion noNewPrivileges oomScoreAdj execCPUAffinity ioPriority containerID hostID classID closID kernelTCP "
        "disableOOMKiller throttleReadBpsDevice throttleWriteIOPSDevice blockIO l3CacheSchema memBwSchema hcaHandles "
        "additionalGids rootfsPropagation cgroupsPath apparmorProfile selinuxLabel class valueTwo netDevices"
    )
    assert [key for key in wanted.split() if key not in keys] == []


def test_records_are_frozen_compare_and_print():
    mount = Mount(destination="/a", at="mounts[0]")

    assert mount == Mount(destination="/a", at="mounts[0]")
    assert mount != Mount(destination="/a", at="mounts[1]")
    assert "destination='/a'" in repr(mount)
    with pytest.raises(AttributeError):
        mount.source = "x"
    with pytest.raises(TypeError):
        Mount()


def test_what_is_absent_has_its_place_all_the_same():
    spec = Spec(oci_version="1.3.0")

    assert spec.linux == Linux(at="linux")
    assert (spec.linux.resources.at, spec.hooks.at, spec.at) == ("linux.resources", "hooks", "")
    assert spec.linux.resources.memory is None


def test_the_schema_defines_every_record():
    assert set(json_schema()["$defs"]) == {cls.__name__ for cls in RECORDS} - {"Spec"}
