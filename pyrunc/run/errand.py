"""A short-lived executor beside the container: a plan that asks one thing and ends."""

from __future__ import annotations

from errno import ESRCH

from pyrunc import _os as os
from pyrunc.errors import OpError
from pyrunc.run.conduct import Conversation, Ended
from pyrunc.run.launch import launch
from pyrunc.run.steps import step_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pyrunc.plan.ops import Plan
    from pyrunc.spec.model import Spec


def run_errand(
    spec: Spec, plan: Plan, inputs: dict[str, int], tag: str, answer: Callable[[int, int], None]
) -> None:
    """Run a plan up to its question `tag`; `answer` gets the executor's pid and the fd that it sent, -1 for none.

    `inputs` stay the caller's. Raises OpError, of the operation that failed or for an executor that died.
    """
    child = launch(plan, inputs)

    def handle(_step: object, fd: int) -> Sequence[int]:
        answer(child.pid, fd)
        return ()

    try:
        Conversation(child.talk, lambda index: step_of(plan.ops[index], spec), {tag: handle}).run(tag)
    except Ended:
        raise OpError("the executor that was to make a mount died", ESRCH) from None
    finally:
        child.talk.close()
        os.close(child.pidfd)
        os.waitpid(child.pid, 0)
