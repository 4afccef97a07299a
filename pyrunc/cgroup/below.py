"""crun's annotations for a cgroup below the container's own, which an init system in the container can have for its own.

The one of systemd is there before the cgroup namespace is made, which begins in it. The other comes after that: the limits, on
the cgroup above it, can be seen in the container, and its root can do as they like below.
"""

from __future__ import annotations

from pyrunc.cgroup import DELEGATE
from pyrunc.errors import Fault, SpecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyrunc.cgroup.manager import Manager
    from pyrunc.spec.model import Spec

SUBGROUP = "run.oci.systemd.subgroup"
NEEDS_V2 = "a cgroup is handed on with cgroup v2 alone"


def sub_of(annotations: Mapping[str, str], key: str) -> str:
    """Return the name that the annotation `key` has for a cgroup, "" for none. Raises SpecError."""
    name = annotations.get(key, "")
    if "/" in name or name in {".", ".."}:
        raise SpecError([Fault(f"annotations.{key}", f'"{name}": the name of a directory is expected')])
    return name


def check_delegate(manager: Manager, annotations: Mapping[str, str]) -> None:
    """Refuse the annotation before anything is made, where `hand_down` could not do it. Raises SpecError."""
    from pyrunc.cgroup.v2 import ManagerV2

    if sub_of(annotations, DELEGATE) and not (isinstance(manager, ManagerV2) and manager.places):
        raise SpecError([Fault(f"annotations.{DELEGATE}", NEEDS_V2)])


def hand_down(manager: Manager, spec: Spec, pid: int) -> None:
    """Move the first process, which has its namespaces, into a cgroup that belongs to root of the container. Raises OpError."""
    from pyrunc.cgroup.owner import on_host
    from pyrunc.cgroup.v2 import ManagerV2

    name = spec.annotations[DELEGATE]
    assert isinstance(manager, ManagerV2)  # or it would not be here
    manager.owner = on_host(spec.linux, 0)
    manager.go_down(pid, f"{manager.sub}/{name}" if manager.sub else name)
