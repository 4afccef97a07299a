"""Many containers at once, with pyrunc beside runc."""

from __future__ import annotations

import images
import pytest
from day import action

pytestmark = pytest.mark.engines


@action("twenty at a time, then nothing is left")
def test_many(user):
    names = [user.new_name() for _ in range(20)]
    jobs = " & ".join(
        " ".join(user.engine.command(user.runtime, "run", "-d", "--name", name, images.NAME, "sleep", "1000"))
        for name in names
    )
    assert user.box("sh", "-c", f"{jobs} & wait", limit=100).code == 0
    listed = user("ps", "--format", "{{.Names}}").out.split()
    assert set(names) <= set(listed)
    user(*user.engine.remove, *names, limit=100)
    assert not set(names) & set(user("ps", "--all", "--format", "{{.Names}}").out.split())
