"""The mappings that a user namespace without any gets, and where they come from."""

from __future__ import annotations

import json
import os
import pwd
from typing import TYPE_CHECKING

import pytest

from pyrunc import check
from pyrunc.run import defaultmap
from pyrunc.spec.parse import parse_config

if TYPE_CHECKING:
    from pathlib import Path

    from pyrunc.spec.model import IDMapping, Spec

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0, reason="needs real root, whom the files can give any range"
)


def spec_of(uid: int = 0, **linux: object) -> Spec:
    config = {
        "ociVersion": "1.3.0",
        "root": {"path": "r"},
        "process": {"args": ["x"], "cwd": "/", "user": {"uid": uid, "gid": 0}},
        "linux": {"namespaces": [{"type": "user"}, {"type": "mount"}], **linux},
    }
    return parse_config(json.dumps(config).encode())


def lines(mappings: tuple[IDMapping, ...]) -> list[tuple[int, int, int]]:
    return [(m.container_id, m.host_id, m.size) for m in mappings]


@pytest.mark.parametrize(
    ("inside", "extent", "expected"),
    [
        (0, (0, 0), [(0, 7, 1)]),
        (5, (0, 0), [(0, 7, 1)]),
        (0, (100000, 65536), [(0, 7, 1), (1, 100000, 65536)]),
        (5, (100000, 65536), [(0, 100000, 5), (5, 7, 1), (6, 100005, 65531)]),
        (5, (100000, 5), [(0, 100000, 5), (5, 7, 1)]),
    ],
)
def test_the_map(inside: int, extent: tuple[int, int], expected: list[tuple[int, int, int]]) -> None:
    """crun 1.8 writes these very lines (seen by strace)."""
    assert defaultmap.default_map(7, inside, extent) == expected


@pytest.mark.parametrize(
    ("text", "extent"),
    [
        ("", (0, 0)),
        ("other:1:2\n{name}:300000:10\n{name}:500000:10\n", (300000, 10)),
        ("{number}:700000:20", (700000, 20)),
        ("{name}:x:10\n{name}:5\n\n:::\n{name}:-1:5\n", (0, 0)),
    ],
)
def test_the_files(tmp_path: Path, text: str, extent: tuple[int, int]) -> None:
    me = os.geteuid()
    for kind in ("uid", "gid"):
        (tmp_path / f"sub{kind}").write_text(text.format(name=pwd.getpwuid(me).pw_name, number=me))
    spec = defaultmap.with_default_maps(spec_of(), str(tmp_path))

    assert lines(spec.linux.uid_mappings) == defaultmap.default_map(me, 0, extent)
    assert lines(spec.linux.gid_mappings) == defaultmap.default_map(os.getegid(), 0, extent)
    assert check.check(spec, check.CheckFacts("/b")) == []


def test_no_files(tmp_path: Path) -> None:
    spec = defaultmap.with_default_maps(spec_of(), str(tmp_path))

    assert lines(spec.linux.uid_mappings) == [(0, os.geteuid(), 1)]


@pytest.mark.parametrize("given", ["uidMappings", "gidMappings"])
def test_what_is_given_is_kept(given: str) -> None:
    spec = spec_of(**{given: [{"containerID": 0, "hostID": 5, "size": 1}]})

    assert defaultmap.with_default_maps(spec) is spec


def test_a_joined_namespace_has_its_own() -> None:
    spec = spec_of(namespaces=[{"type": "user", "path": "/proc/self/ns/user"}])

    assert defaultmap.with_default_maps(spec) is spec
