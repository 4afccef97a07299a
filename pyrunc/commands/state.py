"""`pyrunc state ID`: the state as JSON."""

from __future__ import annotations

from pyrunc import _os as os
from pyrunc.commands import write
from pyrunc.consts import SPEC_VERSION
from pyrunc.spec.jsontext import dumps
from pyrunc.state import open_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.commands import Args
    from pyrunc.state import Entry


def run(args: Args) -> int:
    """Print the state, without a final newline, as runC does."""
    with open_root(args).open(args.positionals[0]) as entry:
        state = state_of(entry)
    text = dumps(state, "  ", go_html_escape=True)
    if os.isatty(1):
        from pyrunc.commands.look import state_for_terminal

        text = state_for_terminal(text, str(state["status"]))
    write(text)
    return 0


def state_of(entry: Entry, owner: str = "") -> dict[str, object]:
    """Return the state (runtime.md, State) with runC's properties beside it, in its order."""
    container = entry.container
    status = entry.status()
    state: dict[str, object] = {
        "ociVersion": SPEC_VERSION,
        "id": container.id,
        "pid": 0 if status == "stopped" else container.init_process_pid,
        "status": status,
        "bundle": container.bundle,
        "rootfs": container.rootfs,
        "created": container.created,
    }
    if container.annotations:
        state["annotations"] = dict(sorted(container.annotations.items()))  # the order of Go's maps in JSON
    state["owner"] = owner
    return state
