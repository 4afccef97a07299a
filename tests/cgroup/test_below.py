"""crun's annotations for cgroups below the container's; spec-tests/test_cgroups_v2.py and test_systemd.py have them at work."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pyrunc.cgroup import DELEGATE, open_manager
from pyrunc.cgroup.below import SUBGROUP, sub_of
from pyrunc.errors import SpecError
from pyrunc.host import CGROUP2_SUPER_MAGIC, CgroupLayout, Hierarchy
from pyrunc.spec.model import Linux, Spec

if TYPE_CHECKING:
    from conftest import Fake


@pytest.mark.parametrize("key", [SUBGROUP, DELEGATE])
def test_names(key: str) -> None:
    assert sub_of({}, key) == ""
    assert sub_of({key: "inside"}, key) == "inside"
    for wrong in ("a/b", "..", "."):
        with pytest.raises(SpecError, match=rf"^annotations\.{key}: "):
            sub_of({key: wrong}, key)


def test_a_cgroup_to_delegate(fake: Fake) -> None:
    def magic_of(_fd: int) -> int:
        return CGROUP2_SUPER_MAGIC

    spec = Spec(oci_version="1.3.0", linux=Linux(), annotations={DELEGATE: "inside"})
    assert open_manager(fake.layout, spec, "c1", magic_of=magic_of).places


@pytest.mark.parametrize(
    "layout",
    [CgroupLayout("none"), CgroupLayout("v1", (Hierarchy(("pids",), "/sys/fs/cgroup/pids", "/", "/"),))],
    ids=["none", "v1"],
)
def test_v2_alone_can_delegate(layout: CgroupLayout) -> None:
    spec = Spec(oci_version="1.3.0", linux=Linux(), annotations={DELEGATE: "inside"})
    with pytest.raises(SpecError, match=rf"^annotations\.{DELEGATE}: a cgroup is handed on"):
        open_manager(layout, spec, "c1")
