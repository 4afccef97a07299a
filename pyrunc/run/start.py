"""Let a created container go: talk to its waiting executor until that has become the program.

The executor listens on start.sock in the state directory. Through that connection it reports what goes wrong after the
word to go, so that `start` fails when a startContainer hook or the execve does; a fifo could not tell.
"""

from __future__ import annotations

import _struct

from pyrunc.errors import BugError, PyruncError, StateError, strerror
from pyrunc.run.conduct import Conversation, Ended
from pyrunc.run.hookio import hook_files, output_of
from pyrunc.run.phrase import Step
from pyrunc.run.steps import container_pid

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Sequence

    from pyrunc.spec.model import Hooks, Spec
    from pyrunc.state import Entry

GO = _struct.pack("=iI", 0, 0)
REFUSALS = {
    "stopped": "cannot start a container that has stopped",
    "running": "cannot start an already running container",
}


def check_created(status: str) -> None:
    """Raise StateError with runc's text unless the container waits to be started."""
    if status != "created":
        raise StateError(REFUSALS.get(status, f"cannot start a container in the {status} state"))


class Start:
    """One start of a created container."""

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self.first, steps = entry.read_steps()
        self.steps = [Step(*words) for words in steps]
        self.output = output_of(entry.container.annotations)
        self.spec: Spec | None = None

    def go(self) -> None:
        """Start the program and run the poststart hooks; on failure the container is destroyed (LC-7, LC-9)."""
        if self.entry.container.hooks:
            self.spec = self.entry.read_spec()
        self.entry.enter("starting")
        try:
            self._converse(self._connect())
            self.entry.enter("running")
            poststart(self.entry, self.spec)
        except PyruncError:
            from pyrunc.run.destroy import destroy

            destroy(self.entry, self.spec.hooks if self.spec is not None else None)
            raise

    def _connect(self) -> _socket.socket:
        try:
            return self.entry.connect()
        except OSError as error:
            raise StateError(
                f"container process is already dead: connect: {strerror(error.errno or 0)}"
            ) from None

    def _converse(self, sock: _socket.socket) -> None:
        talk = Conversation(
            sock, self._step, {"start": self._nothing, "hook": self._hook, "agent": self._agent}
        )
        talk.hook_output = self.output.text
        try:
            send_go(sock)
            talk.run()
        except (Ended, ConnectionResetError):
            return
        finally:
            self.output.close()
            sock.close()

    def _step(self, index: int) -> Step:
        if not 0 <= index - self.first < len(self.steps):
            raise BugError(f"the executor speaks of operation {index}, which comes before the start")
        return self.steps[index - self.first]

    def _nothing(self, _step: Step, _fd: int) -> Sequence[int]:
        return ()

    def _agent(self, _step: Step, _fd: int) -> Sequence[int]:
        from pyrunc.run.agent import agent_files

        container = self.entry.container
        return agent_files(
            self.spec or self.entry.read_spec(), container, "created", container.init_process_pid
        )

    def _hook(self, _step: Step, _fd: int) -> Sequence[int]:
        from pyrunc.run.hooks import state_json

        assert self.spec is not None
        container = self.entry.container
        pid = container_pid(container.init_process_pid, self.spec)
        return hook_files(state_json(container, "created", pid), self.output)


def send_go(sock: _socket.socket) -> None:
    """Say the word. Raises StateError when nobody is left to hear it: the program was not started."""
    try:
        sock.send(GO)
    except (BrokenPipeError, ConnectionResetError):
        raise StateError("container process is already dead") from None


def poststart(entry: Entry, spec: Spec | None) -> None:
    """Run the poststart hooks; a failing one is an error of start (LC-9, since 1.3.0)."""
    hooks: Hooks | None = spec.hooks if spec is not None else None
    if hooks is not None and hooks.poststart:
        from pyrunc.run.hooks import run_hooks, state_json

        state = state_json(entry.container, "running", entry.container.init_process_pid)
        run_hooks(hooks.poststart, "poststart", state, entry.container.annotations)
