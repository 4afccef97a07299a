"""Rules on namespaces and on what needs one: id mappings, sysctls, the rootless container."""

from __future__ import annotations

from pyrunc.check.common import find_namespace, is_absolute, mapping_faults
from pyrunc.errors import Fault
from pyrunc.spec.jsontext import key_at, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyrunc.check.common import CheckFacts
    from pyrunc.spec.model import IDMapping, Spec

IPC_SYSCTLS = frozenset((
    "kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall", "kernel.shmmax",
    "kernel.shmmni", "kernel.shm_rmid_forced",
))  # fmt: skip


def check_namespaces(spec: Spec, _facts: CheckFacts) -> Iterator[Fault]:
    """NS-3: a path is absolute; NS-8: each type once."""
    seen: set[str] = set()
    for namespace in spec.linux.namespaces:
        if namespace.type in seen:
            yield Fault(
                f"{namespace.at}.type", f"malformed spec file: duplicated ns {quoted(namespace.type)}"
            )
        seen.add(namespace.type)
        if namespace.path and not is_absolute(namespace.path):
            yield Fault(f"{namespace.at}.path", f"{quoted(namespace.path)} is not an absolute path")


def check_user_namespace(spec: Spec, _facts: CheckFacts) -> Iterator[Fault]:
    """ID-1, ID-3, ID-4: mappings as user_namespaces(7) wants them, and one for whom the process runs as."""
    user, linux = find_namespace(spec, "user"), spec.linux
    if user is None or user.path:
        return
    if not linux.uid_mappings and not linux.gid_mappings:
        return  # the caller's own are taken (run/defaultmap.py)
    for key, mappings in (("uidMappings", linux.uid_mappings), ("gidMappings", linux.gid_mappings)):
        if not mappings:
            yield Fault(f"linux.{key}", "required where the other mappings are given")
    yield from mapping_faults("linux", linux.uid_mappings, linux.gid_mappings)
    yield from _unmapped_faults(spec)


def _unmapped_faults(spec: Spec) -> Iterator[Fault]:
    linux = spec.linux
    for kind, mappings in (("uid", linux.uid_mappings), ("gid", linux.gid_mappings)):
        if mappings and not is_mapped(0, mappings):
            yield Fault(f"linux.{kind}Mappings", f"no mapping for {kind} 0, which sets the container up")
    if spec.process is None:
        return
    user = spec.process.user
    if linux.uid_mappings and not is_mapped(user.uid, linux.uid_mappings):
        yield Fault("process.user.uid", f"cannot setuid to unmapped uid {user.uid} in user namespace")
    if linux.gid_mappings and not is_mapped(user.gid, linux.gid_mappings):
        yield Fault("process.user.gid", f"cannot setgid to unmapped gid {user.gid} in user namespace")
    for index, gid in enumerate(user.additional_gids):
        if linux.gid_mappings and not is_mapped(gid, linux.gid_mappings):
            message = f"cannot setgroups to unmapped gid {gid} in user namespace"
            yield Fault(f"process.user.additionalGids[{index}]", message)


def is_mapped(number: int, mappings: tuple[IDMapping, ...]) -> bool:
    """Tell whether an id of the container has one outside."""
    return any(m.container_id <= number < m.container_id + m.size for m in mappings)


def check_rootless(spec: Spec, facts: CheckFacts) -> Iterator[Fault]:
    """Who is not root makes containers in a user namespace only, and mounts with mapped ids."""
    if not facts.rootless:
        return
    user, linux = find_namespace(spec, "user"), spec.linux
    if user is None:
        yield Fault("linux.namespaces", "rootless container requires user namespaces")
    elif not user.path and (linux.uid_mappings or linux.gid_mappings):
        if not linux.uid_mappings:
            yield Fault("linux.uidMappings", "rootless containers requires at least one UID mapping")
        if not linux.gid_mappings:
            yield Fault("linux.gidMappings", "rootless containers requires at least one GID mapping")
    yield from _rootless_option_faults(spec)


def _rootless_option_faults(spec: Spec) -> Iterator[Fault]:
    maps = {"uid": spec.linux.uid_mappings, "gid": spec.linux.gid_mappings}
    for mount in spec.mounts:
        for option in mount.options:
            key, _, number = option.partition("=")
            mappings = maps.get(key)
            if (
                mappings
                and number.isascii()
                and number.isdigit()
                and not is_mapped(int(number[:11]), mappings)
            ):
                message = f"cannot specify {option} mount option for rootless container: the id is not mapped"
                yield Fault(f"{mount.at}.options", message)


def check_sysctls(spec: Spec, _facts: CheckFacts) -> Iterator[Fault]:
    """SY-1: a kernel parameter is set only where it belongs to a namespace of the container."""
    kinds = {namespace.type for namespace in spec.linux.namespaces}
    for key in spec.linux.sysctl:
        message = _sysctl_refusal(sysctl_name(key), kinds)
        if message:
            yield Fault(key_at("linux.sysctl", key), message % quoted(key))


def sysctl_name(key: str) -> str:
    """Return a sysctl in its form with dots, or "" where no file of /proc/sys can have that name.

    As sysctl(8): where the first separator is a slash, slashes and dots change places. A part that is empty
    or leads elsewhere (`net/../kernel/core_pattern`) makes the name bad.
    """
    slash = key.find("/")
    if slash >= 0 and "." not in key[:slash]:
        key = key.translate({ord("/"): ".", ord("."): "/"})
    parts = key.split(".")
    return "" if any(not part.strip("/") for part in parts) else key


def _sysctl_refusal(name: str, kinds: set[str]) -> str:
    if name in IPC_SYSCTLS or name.startswith("fs.mqueue."):
        return "" if "ipc" in kinds else "sysctl %s is not allowed in the hosts ipc namespace"
    if name.startswith("net."):
        return "" if "network" in kinds else "sysctl %s not allowed in host network namespace"
    if name.startswith("user."):
        return "" if "user" in kinds else "setting ucounts without a user namespace not allowed: %s"
    if "uts" in kinds and name == "kernel.domainname":
        return ""
    if "uts" in kinds and name == "kernel.hostname":
        return 'sysctl %s is not allowed as it conflicts with the OCI "hostname" field'
    return "sysctl %s is not in a separate kernel namespace"


def warn_of_mappings(spec: Spec, _facts: CheckFacts) -> Iterator[Fault]:
    """ID-4: mappings without a user namespace to make are left unused, as in runC and crun."""
    user, linux = find_namespace(spec, "user"), spec.linux
    if user is not None and not user.path:
        return
    reason = "there is no user namespace" if user is None else "the user namespace is joined, not made"
    for key, mappings in (("uidMappings", linux.uid_mappings), ("gidMappings", linux.gid_mappings)):
        if mappings:
            yield Fault(f"linux.{key}", f"not used, {reason}")


CHECKS = (check_namespaces, check_user_namespace, check_rootless, check_sysctls)
WARNINGS = (warn_of_mappings,)
