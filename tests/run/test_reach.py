"""Which sources of bind mounts are left to the parent."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pyrunc.plan.request import Source
from pyrunc.run.reach import mark_unreachable
from pyrunc.spec.parse import parse_config

if TYPE_CHECKING:
    from pathlib import Path


def test_a_closed_directory_on_the_way(tmp_path: Path) -> None:
    """It counts when the source is reached by a symbolic link, too; a source that is closed itself is reachable."""
    for place in (tmp_path, *tmp_path.parents[:3]):
        place.chmod(place.stat().st_mode | 0o111)
    (tmp_path / "open/vol").mkdir(parents=True)
    (tmp_path / "closed/vol").mkdir(parents=True)
    (tmp_path / "closed").chmod(0o750)
    (tmp_path / "open/vol").chmod(0o700)
    (tmp_path / "open/link").symlink_to("../closed/vol")
    names = ("open/vol", "closed/vol", "open/link", "none")
    mounts = [{"destination": "/m", "type": "bind", "source": name} for name in names]
    spec = parse_config(json.dumps({"ociVersion": "1.3.0", "root": {"path": "r"}, "mounts": mounts}).encode())
    sources = {f"mounts[{index}].source": Source("dir") for index in range(3)}
    sources["mounts[3].source"] = Source("missing")

    mark_unreachable(sources, spec, str(tmp_path))

    assert [source.reachable for source in sources.values()] == [True, False, False, True]
