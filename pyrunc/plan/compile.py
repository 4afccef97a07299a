"""From a Spec to a Plan: the table of contents. Reading `compile_plan` teaches the runtime.

Each line is a stage; the reason for its place stands in the docstring of the stage. Nothing here asks the
kernel or the disk: Host, Request and Facts are all that is known, so a plan for another machine can be made
here.
"""

from __future__ import annotations

from pyrunc.plan import (
    console,
    devices,
    mounts,
    namespaces,
    network,
    paths,
    process,
    resources,
    rootfs,
    security,
)
from pyrunc.plan.context import Context

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.host import Host
    from pyrunc.plan.ops import Plan
    from pyrunc.plan.request import Facts, Request
    from pyrunc.spec.model import Spec


def compile_plan(spec: Spec, host: Host, request: Request, facts: Facts) -> Plan:
    """Lower a checked Spec, root and process included, to the operations that make its container."""
    c = Context(spec, host, request, facts)
    security.check_labels(c)
    namespaces.join_cgroup(c)
    resources.open_proc(c)
    resources.adjust_oom_score(c)
    resources.raise_rlimits(c)
    namespaces.enter(c)
    security.join_keyring(c)
    network.raise_loopback(c)
    network.move_devices(c)
    rootfs.prepare(c)
    mounts.mount_all(c)
    devices.make_devices(c)
    paths.make_cwd(c)
    resources.write_sysctls(c)
    process.meet_parent(c)
    process.run_container_hooks(c)
    paths.make_readonly(c)
    paths.mask(c)
    rootfs.pivot(c)
    console.start_session(c)
    rootfs.finish(c)
    process.name_host(c)
    security.label_program(c)
    security.forbid_new_privileges(c)
    resources.schedule(c)
    process.become_user(c)
    process.get_ready(c)
    security.filter_hooks(c)
    process.run_start_hooks(c)
    process.close_all(c)
    security.ask_agent_late(c)
    resources.limit(c)
    security.filter_program(c)
    process.execute(c)
    return c.b.finish()
