"""`linux.intelRdt` in the plan: one question to the parent, that puts the process into its class."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.plan.context import Context
    from pyrunc.spec.model import IntelRdt


def join_class(c: Context, rdt: IntelRdt) -> None:
    """Join the class before anything runs: children, and processes that are forked from now on, follow.

    The parent writes: resctrl takes a pid only from who has the privilege over the host, which a process in a
    user namespace has given up.
    """
    words = [rdt.clos_id or c.request.id, rdt.l3_cache_schema, rdt.mem_bw_schema, *rdt.schemata]
    if rdt.enable_monitoring:
        words.append(f"mon_groups/{c.request.id}")
    c.b.rpc("resctrl", rdt.at)
    c.b.about(" ".join([word for word in words if word]))
