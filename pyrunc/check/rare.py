"""Rules on what few configs have. Loaded on demand."""

from __future__ import annotations

from pyrunc.check.common import find_namespace, is_number_list
from pyrunc.errors import Fault, SpecError
from pyrunc.spec.jsontext import key_at, quoted
from pyrunc.spec.landlock import landlock_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyrunc.check.common import CheckFacts
    from pyrunc.spec.model import Spec


def check_scheduler(spec: Spec, _facts: CheckFacts) -> Iterator[Fault]:
    """LP-8, LP-9: which numbers go with which policy (sched_setattr(2))."""
    scheduler = spec.process.scheduler if spec.process else None
    if scheduler is None:
        return
    policy, at = scheduler.policy, scheduler.at
    if policy == "SCHED_ISO":
        yield Fault(f"{at}.policy", "Linux has no SCHED_ISO")
    if policy in ("SCHED_OTHER", "SCHED_BATCH") and not -20 <= scheduler.nice <= 19:
        message = f"invalid scheduler.nice: {scheduler.nice} when scheduler.policy is {policy}"
        yield Fault(f"{at}.nice", message)
    if policy in ("SCHED_FIFO", "SCHED_RR"):
        if not 1 <= scheduler.priority <= 99:
            yield Fault(f"{at}.priority", f"{scheduler.priority} is not from 1 to 99, as {policy} needs it")
    elif scheduler.priority:
        message = "scheduler.priority can only be specified for SchedFIFO or SchedRR policy"
        yield Fault(f"{at}.priority", message)
    if policy != "SCHED_DEADLINE" and (scheduler.runtime or scheduler.deadline or scheduler.period):
        message = "scheduler runtime/deadline/period can only be specified for SchedDeadline policy"
        yield Fault(at, message)


def check_io_priority(spec: Spec, _facts: CheckFacts) -> Iterator[Fault]:
    """LP-12: priority is 0 to 7."""
    priority = spec.process.io_priority if spec.process else None
    if priority and not 0 <= priority.priority <= 7:
        yield Fault(f"{priority.at}.priority", f"invalid ioPriority.Priority: {priority.priority}")


def check_affinity(spec: Spec, _facts: CheckFacts) -> Iterator[Fault]:
    """LP-15: CPUs are a list."""
    affinity = spec.process.exec_cpu_affinity if spec.process else None
    if affinity is None:
        return
    for key, text in (("initial", affinity.initial), ("final", affinity.final)):
        if text and not is_number_list(text):
            yield Fault(f"{affinity.at}.{key}", f'{quoted(text)} is not a list such as "0-3,7"')


def check_time_offsets(spec: Spec, _facts: CheckFacts) -> Iterator[Fault]:
    """TI-1: offsets are of the clocks that a new time namespace can shift."""
    offsets = spec.linux.time_offsets
    for clock, offset in offsets.items():
        if clock not in ("monotonic", "boottime"):
            message = f"{quoted(clock)} is not a clock that can be shifted"
            yield Fault(offset.at, message, 'one of "monotonic", "boottime"')
    time = find_namespace(spec, "time")
    if offsets and time is None:
        message = "time namespace offsets specified, but time namespace isn't enabled in the config"
        yield Fault("linux.timeOffsets", message)
    elif offsets and time and time.path:
        message = "time namespace enabled, but both namespace path and time offsets specified"
        yield Fault("linux.timeOffsets", f"{message} -- you may only provide one")


def check_seccomp(spec: Spec, _facts: CheckFacts) -> Iterator[Fault]:
    """SE-2: an errno only with an action that takes one; SE-12; NOTIFY needs somebody to ask."""
    seccomp = spec.linux.seccomp
    if seccomp is None:
        return
    yield from _errno_faults(
        f"{seccomp.at}.defaultErrnoRet", seccomp.default_action, seccomp.default_errno_ret
    )
    for rule in seccomp.syscalls:
        yield from _errno_faults(f"{rule.at}.errnoRet", rule.action, rule.errno_ret)
    if seccomp.listener_metadata and not seccomp.listener_path:
        yield Fault(f"{seccomp.at}.listenerMetadata", "only together with listenerPath")
    if seccomp.default_action == "SCMP_ACT_NOTIFY":
        yield Fault(f"{seccomp.at}.defaultAction", "SCMP_ACT_NOTIFY cannot be used as default action")
    notifies = any(rule.action == "SCMP_ACT_NOTIFY" for rule in seccomp.syscalls)
    receiver = seccomp.listener_path or spec.annotations.get("run.oci.seccomp.receiver")
    if notifies and not receiver:
        yield Fault(f"{seccomp.at}.listenerPath", "seccomp listenerPath is not set")
    if any(rule.action == "SCMP_ACT_NOTIFY" and "write" in rule.names for rule in seccomp.syscalls):
        yield Fault(f"{seccomp.at}.syscalls", "SCMP_ACT_NOTIFY cannot be used for the write syscall")
    if "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV" in (seccomp.flags or ()) and not notifies:
        message = "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV needs a rule with SCMP_ACT_NOTIFY"
        yield Fault(f"{seccomp.at}.flags", message)


def _errno_faults(at: str, action: str, value: int | None) -> Iterator[Fault]:
    """The kernel has 16 bits for it, and would take 4096 and more for 4095."""
    if value is None:
        return
    limit = {"SCMP_ACT_ERRNO": 4095, "SCMP_ACT_TRACE": 65535}.get(action)
    if limit is None:
        yield Fault(at, f"{action} takes no errno")
    elif value > limit:
        yield Fault(at, f"{value} is more than {limit}")


def check_intel_rdt(spec: Spec, _facts: CheckFacts) -> Iterator[Fault]:
    """RT-4, RT-5, RT-6: closID is one name or "/"; a schema is one line."""
    rdt = spec.linux.intel_rdt
    if rdt is None:
        return
    if (
        rdt.clos_id is not None
        and rdt.clos_id != "/"
        and ("/" in rdt.clos_id or rdt.clos_id in ("", ".", ".."))
    ):
        yield Fault(f"{rdt.at}.closID", f"invalid intelRdt.ClosID {quoted(rdt.clos_id)}")
    if rdt.l3_cache_schema and (not rdt.l3_cache_schema.startswith("L3:") or "\n" in rdt.l3_cache_schema):
        yield Fault(f"{rdt.at}.l3CacheSchema", 'must be one line that starts with "L3:"')
    for index, line in enumerate(rdt.schemata):
        if "\n" in line:
            yield Fault(f"{rdt.at}.schemata[{index}]", "must be one line")


def check_net_devices(spec: Spec, facts: CheckFacts) -> Iterator[Fault]:
    """ND-3: a move needs somewhere to move to, and a name that an interface can have."""
    devices = spec.linux.net_devices
    if devices and find_namespace(spec, "network") is None:
        yield Fault("linux.netDevices", "unable to move network devices without a NET namespace")
    if devices and facts.rootless:
        yield Fault("linux.netDevices", "network devices are not supported for rootless containers")
    for host_name, device in devices.items():
        for name in (host_name, device.name):
            if name is not None and not _is_interface_name(name):
                yield Fault(
                    key_at("linux.netDevices", host_name), f"invalid network device name {quoted(name)}"
                )


def _is_interface_name(name: str) -> bool:
    """Tell whether dev_valid_name() of the kernel takes it."""
    return 0 < len(name.encode()) < 16 and name not in (".", "..") and not set(name) & set("/: \t\n\r\v\f")


def check_memory_policy(spec: Spec, _facts: CheckFacts) -> Iterator[Fault]:
    """MP-1: which modes take nodes (set_mempolicy(2))."""
    policy = spec.linux.memory_policy
    if policy is None:
        return
    if policy.nodes and not is_number_list(policy.nodes):
        yield Fault(f"{policy.at}.nodes", f"invalid memory policy nodes {quoted(policy.nodes)}")
    if policy.mode in ("MPOL_DEFAULT", "MPOL_LOCAL"):
        if policy.nodes:
            yield Fault(f"{policy.at}.nodes", f"{policy.mode} mode requires 0 nodes")
    elif policy.mode != "MPOL_PREFERRED" and not policy.nodes:
        yield Fault(f"{policy.at}.nodes", f"{policy.mode} mode requires at least 1 node")


def check_landlock(spec: Spec, _facts: CheckFacts) -> Iterator[Fault]:
    """The annotation is of the form that pyrunc.spec.landlock describes."""
    try:
        landlock_of(spec)
    except SpecError as error:
        yield from error.faults


CHECKS = (
    check_landlock,
    check_scheduler,
    check_io_priority,
    check_affinity,
    check_time_offsets,
    check_seccomp,
    check_intel_rdt,
    check_net_devices,
    check_memory_policy,
)
