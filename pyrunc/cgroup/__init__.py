"""Control groups: one `Manager` a container, with a driver each for v1 (hybrid included) and v2.

The drivers are imported by the function that needs them: `state` and `kill` need neither.
"""

from __future__ import annotations

from pyrunc import _os as os
from pyrunc.errors import StateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pyrunc.cgroup.manager import Manager as Manager
    from pyrunc.cgroup.manager import Place
    from pyrunc.host import CgroupLayout
    from pyrunc.spec.model import Spec

    MagicOf = Callable[[int], int]

DELEGATE = "run.oci.delegate-cgroup"
"""crun's annotation: a cgroup below the container's own for its processes (cgroup/below.py)."""


def open_manager(
    layout: CgroupLayout,
    spec: Spec,
    name: str,
    *,
    rootless: bool = False,
    in_userns: bool = False,
    systemd: bool = False,
    magic_of: MagicOf | None = None,
) -> Manager:
    """Return the manager of a container that is to be made; nothing is written yet.

    `name` is the container's id. `rootless` and `in_userns` make it tolerant: a container that asks for no
    path and for no limit goes without a cgroup where the caller may not make one. With
    `systemd` that makes the cgroup. `magic_of` is for tests.
    Raises SpecError for a path or resources that no such host can have, HostError where pyrunc cannot.
    """
    if systemd:
        manager = _open_systemd(layout, spec, name, user=os.geteuid() != 0 or in_userns)
    else:
        manager = _open_files(layout, spec, name, unprivileged=rootless or in_userns)
        if magic_of is not None:
            manager.magic_of = magic_of
    if DELEGATE in spec.annotations:
        from pyrunc.cgroup.below import check_delegate

        check_delegate(manager, spec.annotations)
    return manager


def _open_files(layout: CgroupLayout, spec: Spec, name: str, *, unprivileged: bool) -> Manager:
    from pyrunc.cgroup.manager import Place
    from pyrunc.cgroup.paths import join, locate

    linux = spec.linux
    places = [
        Place(hierarchy.controllers, join(hierarchy.mountpoint, rel), hierarchy.mountpoint, rel)
        for hierarchy, rel in locate(layout, linux.cgroups_path, name)
    ]
    make = _open_v2 if layout.mode == "v2" else _open_v1
    return make(spec, places, lenient=unprivileged and not linux.cgroups_path, unprivileged=unprivileged)


def _open_v1(spec: Spec, places: list[Place], *, lenient: bool, unprivileged: bool) -> Manager:
    from pyrunc.cgroup.limits_v1 import limits_v1
    from pyrunc.cgroup.v1 import ManagerV1

    limits_v1(spec.linux.resources)  # what no kernel could take is told before anything is made
    if lenient:
        places = [place for place in places if may_make(place)]
    manager = ManagerV1(places, lenient=lenient)
    manager.unprivileged = unprivileged
    manager.resources = spec.linux.resources
    return manager


def _open_v2(spec: Spec, places: list[Place], *, lenient: bool, unprivileged: bool) -> Manager:
    from pyrunc.cgroup.limits_v2 import ignored, limits_v2
    from pyrunc.cgroup.v2 import ManagerV2

    wanted = {write.controller for write in limits_v2(spec.linux.resources)}
    if lenient and not wanted:
        places = [place for place in places if may_make(place)]
    manager = ManagerV2(places, lenient=lenient)
    manager.unprivileged = unprivileged
    manager.wanted = tuple(sorted(wanted))
    manager.warnings += ignored(spec.linux.resources)
    manager.owner = _owner(spec)
    return manager


def _open_systemd(layout: CgroupLayout, spec: Spec, name: str, *, user: bool) -> Manager:
    from pyrunc.cgroup.limits_v2 import ignored
    from pyrunc.cgroup.systemd import ManagerSystemd, open_scope

    manager = open_scope(layout, spec, name, user=user)
    if isinstance(manager, ManagerSystemd):
        manager.warnings += ignored(spec.linux.resources)
        manager.owner = _owner(spec)
    return manager


def _owner(spec: Spec) -> int | None:
    """Return the user to give the cgroup to; None where nobody asks for one, or where the caller may give nothing away."""
    if os.geteuid() or not any(mount.source == "cgroup" for mount in spec.mounts):
        return None
    from pyrunc.cgroup.owner import owner_of

    return owner_of(spec)


def may_make(place: Place) -> bool:
    """Tell whether the caller may make the cgroup of a place: may write to what is there of its path."""
    rel = place.rel
    while rel and not os.path.lexists(f"{place.mountpoint}/{rel}"):
        rel = rel.rpartition("/")[0]
    return os.access(f"{place.mountpoint}/{rel}", os.W_OK | os.X_OK, effective_ids=True)


def from_state(
    paths: Mapping[str, str], created: Iterable[str] = (), *, magic_of: MagicOf | None = None
) -> Manager:
    """Return the manager of a container that was made; `paths` and `created` are the manager's of then.

    Raises StateError for a path that cannot be one.
    """
    from pyrunc.cgroup.manager import Place

    created = list(created)
    of_scope = bool(created) and created[0].startswith("systemd")
    controllers: dict[str, list[str]] = {}
    for name, path in paths.items():
        controllers.setdefault(path, []).extend([name] if name else [])
    for path in (*controllers, *created[of_scope:]):
        _check_path(path)
    places = [Place(tuple(names), path) for path, names in controllers.items()]
    unified = set(paths) == {""}
    manager = (
        _of_scope(places, created, unified=unified)
        if of_scope
        else _driver(unified=unified)(places, created=created)
    )
    if magic_of is not None:
        manager.magic_of = magic_of
    return manager


def _of_scope(places: list[Place], created: list[str], *, unified: bool) -> Manager:
    from pyrunc.cgroup.scope import check_path, find_scope
    from pyrunc.cgroup.systemd import ManagerSystemd
    from pyrunc.cgroup.systemd_v1 import ManagerSystemdV1

    for place in places:
        check_path(place.path)
    manager = (ManagerSystemd if unified else ManagerSystemdV1)(places, created=created)
    manager.scope = find_scope(created)
    manager.unprivileged = manager.scope.user
    return manager


def _driver(*, unified: bool) -> type[Manager]:
    if unified:
        from pyrunc.cgroup.v2 import ManagerV2

        return ManagerV2
    from pyrunc.cgroup.v1 import ManagerV1

    return ManagerV1


def _check_path(path: str) -> None:
    """Refuse what `open_manager` would never make: the path will be removed."""
    names = path.split("/")[1:]
    if not path.startswith("/") or len(names) < 2 or not set(names).isdisjoint({"", ".", ".."}):
        raise StateError(f'not the path of a cgroup: "{path}"')


def is_frozen(paths: Mapping[str, str]) -> bool:
    """Tell whether a container's cgroup is frozen: the cheap question of `state`, without a manager."""
    if "freezer" in paths:
        return _read(f"{paths['freezer']}/freezer.state") in {"FROZEN", "FREEZING"}
    if set(paths) == {""}:
        return _read(f"{paths['']}/cgroup.freeze") == "1"
    return False


def _read(path: str) -> str:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            return os.read(fd, 64).decode("ascii", "replace").strip()
        finally:
            os.close(fd)
    except OSError:
        return (
            ""  # the cgroup is gone (ENOENT, ENODEV) or closed to this caller: nothing says that it is frozen
        )
