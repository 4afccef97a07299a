"""What the process may use: resource limits, OOM score, scheduling; and the kernel parameters of its
namespaces."""

from __future__ import annotations

from _struct import Struct
from errno import EACCES, EPERM

from pyrunc import _os as os
from pyrunc.plan.kernel import RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS
from pyrunc.spec.jsontext import key_at
from pyrunc.spec.tables import (
    IOPRIO_CLASSES,
    MEMORY_POLICY_FLAGS,
    MEMORY_POLICY_MODES,
    PERSONALITIES,
    RLIMITS,
    SCHEDULER_FLAGS,
    SCHEDULER_POLICIES,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.plan.context import Context
    from pyrunc.spec.model import Scheduler

IOPRIO_WHO_PGRP = 2
_ATTR = Struct("=IIQiIQQQ")
"""struct sched_attr of 48 bytes: size, policy, flags, nice, priority, runtime, deadline, period."""


def open_proc(c: Context) -> None:
    """Take hold of the host's /proc while it is sure to be the host's, where a later stage needs it."""
    linux = c.spec.linux
    if linux.sysctl:
        c.proc("linux.sysctl")
    elif linux.time_offsets and "time" in c.made:
        c.proc("linux.timeOffsets")
    elif c.labelled:
        c.proc("process.selinuxLabel" if c.process.selinux_label else "process.apparmorProfile")
    elif linux.net_devices:
        c.proc("linux.netDevices")
    elif c.process.oom_score_adj is not None:
        c.proc("process.oomScoreAdj")


def adjust_oom_score(c: Context) -> None:
    """Write oom_score_adj: early, because lowering it needs privilege over the host and a process that may
    be dumped."""
    score = c.process.oom_score_adj
    if score is None:
        return
    at = "process.oomScoreAdj"
    resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS
    file = c.b.open(c.proc(at), "self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC, at, resolve=resolve)
    c.b.write(file, b"%d" % score, at)
    if c.request.rootless:
        c.b.tolerate(EACCES, EPERM)  # an ordinary user cannot lower it; runc goes on as well


def raise_rlimits(c: Context) -> None:
    """Raise hard limits above the caller's: that needs CAP_SYS_RESOURCE over the host, which we may give up
    soon.

    Soft limits stay for now. RLIMIT_AS or RLIMIT_NOFILE would hit ourselves; `limit` sets them as the last
    thing.
    """
    for rlimit in c.process.rlimits:
        number = RLIMITS[rlimit.type]
        soft, hard = c.host.rlimits.get(number, (rlimit.soft, rlimit.hard))
        if rlimit.hard > hard:
            c.b.rlimit(number, soft, rlimit.hard, rlimit.at)


def limit(c: Context) -> None:
    """Set every resource limit, as late as can be; lowering is always allowed."""
    for rlimit in c.process.rlimits:
        c.b.rlimit(RLIMITS[rlimit.type], rlimit.soft, rlimit.hard, rlimit.at)


def write_sysctls(c: Context) -> None:
    """Write kernel parameters of the container's namespaces, through the host's /proc.

    As in sysctl(8), dots separate and a slash stands for a dot, unless the first separator is a slash.
    """
    for name, value in c.spec.linux.sysctl.items():
        at = key_at("linux.sysctl", name)
        resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS
        file = c.b.open(
            c.proc(at), f"sys/{sysctl_path(name)}", os.O_WRONLY | os.O_CLOEXEC, at, resolve=resolve
        )
        c.b.write(file, value.encode(), at)
        c.b.about(f"{name}={value}")


def sysctl_path(name: str) -> str:
    """Return the path of a kernel parameter below /proc/sys."""
    dot, slash = name.find("."), name.find("/")
    if slash >= 0 and (dot < 0 or slash < dot):
        return name
    return name.translate({46: "/", 47: "."})


def schedule(c: Context) -> None:
    """Set scheduler, I/O priority, execution domain and memory policy; real-time policies need the capabilities that are
    about to go."""
    process = c.process
    if process.scheduler is not None:
        c.b.sched(encode_scheduler(process.scheduler), process.scheduler.at)
    if process.io_priority is not None:
        priority = process.io_priority
        value = IOPRIO_CLASSES[priority.class_] << 13 | priority.priority
        c.b.ioprio(IOPRIO_WHO_PGRP, 0, value, priority.at)
    personality = c.spec.linux.personality
    if personality is not None:
        c.b.personality(PERSONALITIES[personality.domain], personality.at)
    policy = c.spec.linux.memory_policy
    if policy is not None:
        mode = MEMORY_POLICY_MODES[policy.mode]
        for flag in policy.flags:
            mode |= MEMORY_POLICY_FLAGS[flag]
        c.b.mempolicy(mode, encode_nodes(policy.nodes or ""), policy.at)
        c.b.about(f"{policy.mode} {policy.nodes or ''}".rstrip())


def encode_nodes(text: str) -> bytes:
    """Return a list of memory nodes ("0-3,5") as the kernel's bit mask, in whole longs; nothing for none."""
    mask = 0
    for part in text.split(",") if text else ():
        low, _, high = part.strip(" ").partition("-")
        mask |= (2 << int(high or low)) - (1 << int(low))
    return mask.to_bytes((mask.bit_length() + 63) // 64 * 8, "little")


def encode_scheduler(scheduler: Scheduler) -> bytes:
    """Return the struct sched_attr (sched_setattr(2)); what is not given is 0, also the nice value."""
    flags = 0
    for flag in scheduler.flags:
        flags |= SCHEDULER_FLAGS[flag]
    return _ATTR.pack(
        _ATTR.size, SCHEDULER_POLICIES[scheduler.policy], flags, scheduler.nice, scheduler.priority,
        scheduler.runtime, scheduler.deadline, scheduler.period,
    )  # fmt: skip
