"""What the values of a config.json must agree on, as a list of small rules.

The parser has looked at each value by itself; a rule looks at several, or at the meaning of one. A rule
yields its faults, all rules run, and one `SpecError` carries everything that they found. Where runC has a
wording that engines or tests look for, it stands in the message. Rules for parts that few configs have live
in `resources` and `rare` and are imported when the part is there.
"""

from __future__ import annotations

from pyrunc import _os as os
from pyrunc.check import mounts, namespaces
from pyrunc.check.common import CheckFacts, find_namespace, is_absolute
from pyrunc.errors import Fault, SpecError, strerror
from pyrunc.spec.jsontext import key_at, quoted
from pyrunc.spec.tables import CAPABILITIES, HOOKS

__all__ = ["CHECKS", "WARNINGS", "CheckFacts", "check", "check_bundle_paths"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeAlias

    from pyrunc.spec.model import Process, Rlimit, Spec

    Rule: TypeAlias = Callable[[Spec, CheckFacts], Iterator[Fault]]

NOT_IN_HOST_NETWORK = "not allowed in host network namespace"
NEWEST_MINOR = 3
GROUPS_MAX = 65536  # NGROUPS_MAX of limits.h
HOSTNAME_MAX = 64  # __NEW_UTS_LEN of linux/utsname.h


def check(spec: Spec, facts: CheckFacts) -> list[str]:
    """Hold the config against every rule; return warnings. Raises `SpecError` with all faults."""
    faults = [fault for rule in CHECKS for fault in rule(spec, facts)]
    if faults:
        raise SpecError(faults)
    return [str(warning) for rule in WARNINGS for warning in rule(spec, facts)]


def check_bundle_paths(spec: Spec, bundle: str) -> None:
    """Hold the config against the file system: the root is a directory (RO-4), sysctls do not reach the host.

    Raises `SpecError`. A bind source is the kernel's to find: it may appear later, or only in a namespace.
    """
    faults = [*_root_faults(spec, bundle), *_own_network_faults(spec)]
    if faults:
        raise SpecError(faults)


def _root_faults(spec: Spec, bundle: str) -> Iterator[Fault]:
    if spec.root is None:
        return
    path = os.path.join(bundle, spec.root.path)
    try:
        with_type = os.stat(path).st_mode & 0o170000
    except OSError as error:
        yield Fault("root.path", f"invalid rootfs: stat {path}: {strerror(error.errno or 0)}")
        return
    if with_type != 0o040000:
        yield Fault("root.path", f"invalid rootfs: {path}: not a directory")


def _own_network_faults(spec: Spec) -> Iterator[Fault]:
    """In a network namespace that is our own by its path, net.* would change the host (as runC compares).

    ND-3: and a device cannot be moved to where it is.
    """
    network = find_namespace(spec, "network")
    names = [name for name in spec.linux.sysctl if namespaces.sysctl_name(name).startswith("net.")]
    devices = spec.linux.net_devices
    if network is None or not network.path or not (names or devices):
        return
    try:
        is_own = os.path.samestat(os.stat(network.path), os.stat("/proc/self/ns/net"))
    except OSError as error:
        yield Fault(f"{network.at}.path", f"stat {network.path}: {strerror(error.errno or 0)}")
        return
    if is_own and devices:
        yield Fault("linux.netDevices", "unable to move network devices to the runtime's own NET namespace")
    if is_own:
        for name in names:
            yield Fault(key_at("linux.sysctl", name), f"sysctl {quoted(name)} {NOT_IN_HOST_NETWORK}")


def check_version(spec: Spec, _facts: CheckFacts) -> Iterator[Fault]:
    """CV-1: ociVersion is a SemVer 2.0.0 version; CV-2: any version of our major one will do."""
    version = _parse_version(spec.oci_version)
    if version is None:
        message = f"{quoted(spec.oci_version)} is not a version such as 1.3.0"
        yield Fault("ociVersion", message)
    elif version[0] != 1:
        yield Fault("ociVersion", f"{spec.oci_version} is not supported, 1.x is")


def warn_of_version(spec: Spec, _facts: CheckFacts) -> Iterator[Fault]:
    """CV-2: what a newer minor version added is not known here."""
    version = _parse_version(spec.oci_version)
    if version and version[1] > NEWEST_MINOR:
        yield Fault("ociVersion", f"{spec.oci_version} is newer than 1.{NEWEST_MINOR}, the newest known here")


def _parse_version(text: str) -> tuple[int, int, int] | None:
    """Return major, minor and patch of a SemVer 2.0.0 version, or None where it is none."""
    rest, plus, build = text.partition("+")
    core, dash, pre = rest.partition("-")
    numbers = core.split(".")
    if len(numbers) != 3 or not all(map(_is_plain_number, numbers)):
        return None
    if (dash and not _are_identifiers(pre)) or (plus and not _are_identifiers(build)):
        return None
    return int(numbers[0]), int(numbers[1]), int(numbers[2])


def _is_plain_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10 and (text == "0" or text[0] != "0")


def _are_identifiers(text: str) -> bool:
    return all(part.isascii() and part.replace("-", "0").isalnum() for part in text.split("."))


def check_root(spec: Spec, _facts: CheckFacts) -> Iterator[Fault]:
    """RO-1, RO-2: root and root.path are needed on Linux."""
    if spec.root is None:
        yield Fault("root", "root must be specified")
    elif not spec.root.path:
        yield Fault("root.path", "must not be empty")


def check_process(spec: Spec, facts: CheckFacts) -> Iterator[Fault]:
    """PR-4, PR-5, PR-8, US-3: cwd is absolute, args has an entry, terminal and groups are possible."""
    process = spec.process
    if process is None:
        return
    if not process.cwd:
        yield Fault("process.cwd", "Cwd property must not be empty")
    elif not is_absolute(process.cwd):
        yield Fault("process.cwd", "Cwd must be an absolute path")
    if not process.args:
        yield Fault("process.args", "args must not be empty")
    size = process.console_size
    if process.terminal and size and max(size.height, size.width) > 0xFFFF:
        yield Fault(size.at, "more than 65535 rows or columns")
    yield from _group_faults(process, facts)


def _group_faults(process: Process, facts: CheckFacts) -> Iterator[Fault]:
    gids = process.user.additional_gids
    if len(gids) > GROUPS_MAX:
        yield Fault("process.user.additionalGids", f"more than {GROUPS_MAX} groups")
    if gids and facts.rootless:
        message = "cannot set any additional groups in a rootless container"
        yield Fault("process.user.additionalGids", message)


def check_env(spec: Spec, _facts: CheckFacts) -> Iterator[Fault]:
    """PR-7: an environment is a list of NAME=VALUE (environ(7))."""
    for index, entry in enumerate(spec.process.env if spec.process else ()):
        name, equals, _ = entry.partition("=")
        if not equals:
            yield Fault(f"process.env[{index}]", "invalid environment variable: missing '='")
        elif not name:
            yield Fault(f"process.env[{index}]", "invalid environment variable: name cannot be empty")


def check_capabilities(spec: Spec, _facts: CheckFacts) -> Iterator[Fault]:
    """LP-2: capset(2) refuses an effective capability that is not permitted; say so before the start."""
    sets = spec.process.capabilities if spec.process else None
    if sets is None:
        return
    permitted = set(sets.permitted)
    for name in sets.effective:
        if name in CAPABILITIES and name not in permitted:
            yield Fault("process.capabilities.effective", f"{name} is not in permitted")


def warn_of_capabilities(spec: Spec, _facts: CheckFacts) -> Iterator[Fault]:
    """LP-3: a capability that is unknown is logged as a warning; LP-4: and is no error.

    The kernel raises an ambient capability only when it is permitted and inheritable (capabilities(7)).
    """
    sets = spec.process.capabilities if spec.process else None
    if sets is None:
        return
    names = {*sets.bounding, *sets.effective, *sets.inheritable, *sets.permitted, *sets.ambient}
    unknown = sorted(names.difference(CAPABILITIES))
    if unknown:
        shown = " ".join([quoted(name).strip('"') for name in unknown])
        yield Fault("", f"ignoring unknown or unavailable capabilities: [{shown}]", _capability_hint(unknown))
    raisable = set(sets.permitted).intersection(sets.inheritable)
    left = [name for name in CAPABILITIES if name in sets.ambient and name not in raisable]
    if left:
        yield Fault("", f"can't raise ambient capability {', '.join(left)}: operation not permitted")


def _capability_hint(unknown: list[str]) -> str:
    from pyrunc.spec.hints import enum_hint

    hints = [enum_hint(name, tuple(CAPABILITIES)) for name in unknown[:10]]
    return next(filter(None, hints), "")


def check_rlimits(spec: Spec, _facts: CheckFacts) -> Iterator[Fault]:
    """PX-4: each type once; setrlimit(2): the soft limit is not above the hard one."""
    seen: set[str] = set()
    for rlimit in spec.process.rlimits if spec.process else ():
        yield from _rlimit_faults(rlimit, seen)


def _rlimit_faults(rlimit: Rlimit, seen: set[str]) -> Iterator[Fault]:
    if rlimit.type in seen:
        yield Fault(f"{rlimit.at}.type", f"{rlimit.type} is there twice")
    seen.add(rlimit.type)
    if rlimit.soft > rlimit.hard:
        yield Fault(f"{rlimit.at}.soft", f"{rlimit.soft} is above the hard limit {rlimit.hard}")


def check_names(spec: Spec, _facts: CheckFacts) -> Iterator[Fault]:
    """HN-1, DN-1: a host or domain name of its own needs a UTS namespace; sethostname(2) takes 64 bytes."""
    for key, name in (("hostname", spec.hostname), ("domainname", spec.domainname)):
        if not name:
            continue
        if find_namespace(spec, "uts") is None:
            yield Fault(key, f"unable to set {key} without a private UTS namespace")
        if len(name.encode()) > HOSTNAME_MAX:
            yield Fault(key, f"longer than {HOSTNAME_MAX} bytes")


def check_hooks(spec: Spec, _facts: CheckFacts) -> Iterator[Fault]:
    """HK-1: the path of a hook is absolute (execv, no search in PATH)."""
    hooks = spec.hooks
    stages = (
        hooks.prestart,
        hooks.create_runtime,
        hooks.create_container,
        hooks.start_container,
        hooks.poststart,
        hooks.poststop,
    )
    assert len(stages) == len(HOOKS)
    for stage in stages:
        for hook in stage:
            if not is_absolute(hook.path):
                yield Fault(f"{hook.at}.path", f"{quoted(hook.path)} is not an absolute path")
            if hook.args is not None and not hook.args:
                yield Fault(f"{hook.at}.args", "args must not be empty", "leave it out for the path alone")


def check_annotations(spec: Spec, _facts: CheckFacts) -> Iterator[Fault]:
    """AN-2: keys are not empty."""
    if "" in spec.annotations:
        yield Fault("annotations", "an empty key")


def check_devices(spec: Spec, _facts: CheckFacts) -> Iterator[Fault]:
    """DV-3, DV-5: a device has an absolute path, and numbers unless it is a fifo."""
    for device in spec.linux.devices:
        if not is_absolute(device.path):
            yield Fault(f"{device.at}.path", f"{quoted(device.path)} is not an absolute path")
        if device.type == "p":
            continue
        for key, number in (("major", device.major), ("minor", device.minor)):
            if number is None:
                yield Fault(f"{device.at}.{key}", "required for a device that is no fifo")


def check_device_rules(spec: Spec, _facts: CheckFacts) -> Iterator[Fault]:
    """DA-2: access is made of r, w and m."""
    for rule in spec.linux.resources.devices:
        if rule.access and rule.access.strip("rwm"):
            yield Fault(f"{rule.at}.access", f"{quoted(rule.access)} is not made of r, w and m")


def check_resources(spec: Spec, facts: CheckFacts) -> Iterator[Fault]:
    """The rules of `pyrunc.check.resources`, for a config that limits more than devices."""
    if spec.linux.resources.__dict__.keys() - {"at", "devices"}:
        from pyrunc.check import resources

        for rule in resources.CHECKS:
            yield from rule(spec.linux.resources, facts)


_RARE_PROCESS = ("scheduler", "io_priority", "exec_cpu_affinity", "apparmor_profile", "selinux_label")
_RARE_LINUX = (
    "seccomp",
    "intel_rdt",
    "memory_policy",
    "net_devices",
    "mount_label",
    "time_offsets",
    "personality",
)


def _has_rare_parts(spec: Spec) -> bool:
    process, linux = spec.process, spec.linux
    if "org.pyrunc.landlock" in spec.annotations:
        return True
    if any(getattr(linux, name) for name in _RARE_LINUX):
        return True
    return process is not None and any(getattr(process, name) for name in _RARE_PROCESS)


def check_rare_parts(spec: Spec, facts: CheckFacts) -> Iterator[Fault]:
    """The rules of `pyrunc.check.rare`, for a config that has one of the parts that few have."""
    if _has_rare_parts(spec):
        from pyrunc.check import rare

        for rule in rare.CHECKS:
            yield from rule(spec, facts)


def warn_of_personality(spec: Spec, _facts: CheckFacts) -> Iterator[Fault]:
    """PE-2: no flag of a personality is supported."""
    if spec.linux.personality and spec.linux.personality.flags:
        yield Fault("linux.personality.flags", "ignored, no flag is defined")


CRUNS = "run.oci."
CRUNS_TAKEN = frozenset(
    f"{CRUNS}{name}"
    for name in (
        "delegate-cgroup", "hooks.stderr", "hooks.stdout", "keep_original_groups", "mount_context_type", "pidfd_receiver",
        "seccomp.receiver", "seccomp_fail_unknown_syscall", "systemd.subgroup",
    )
)  # fmt: skip
"""Those of crun's annotations that act here, too."""


def warn_of_annotations(spec: Spec, _facts: CheckFacts) -> Iterator[Fault]:
    """One that crun would act upon: it was meant to be more than a note. An unknown one is no error (AN-6)."""
    for key in spec.annotations:
        if key.startswith(CRUNS) and key not in CRUNS_TAKEN:
            yield Fault(
                key_at("annotations", key), "ignored, pyrunc does nothing by it (docs/annotations.md)"
            )


CHECKS: tuple[Rule, ...] = (
    check_version,
    check_root,
    check_process,
    check_env,
    check_capabilities,
    check_rlimits,
    check_names,
    check_hooks,
    check_annotations,
    *mounts.CHECKS,
    *namespaces.CHECKS,
    check_devices,
    check_device_rules,
    check_resources,
    check_rare_parts,
)
"""Rules whose faults refuse the config."""

WARNINGS: tuple[Rule, ...] = (
    warn_of_version,
    warn_of_capabilities,
    *mounts.WARNINGS,
    *namespaces.WARNINGS,
    warn_of_personality,
    warn_of_annotations,
)
"""Rules whose faults are told and then put up with (WA-1)."""
