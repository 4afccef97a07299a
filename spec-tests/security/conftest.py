"""What attacks begin with: a descriptor that leads out of the container, and a place of the host's that they aim at."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import pathlib


@pytest.fixture
def leak():
    """A descriptor of / at 60 that an earlier program forgot to close on exec (CVE-2024-21626's ingredient)."""
    fd = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    os.dup2(fd, 60, inheritable=True)
    yield (60,)
    os.close(60)
    os.close(fd)


@pytest.fixture
def trap(runtime) -> pathlib.Path:
    """A directory of the host that attacks aim at, with a file in it; it must stay as it is."""
    where = runtime.work / "trap"
    where.mkdir()
    (where / "marker").write_text("host")
    yield where
    assert sorted(os.listdir(where)) == ["marker"], "the runtime wrote into a directory of the host"
    assert (where / "marker").read_text() == "host"
