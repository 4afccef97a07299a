"""One more process in a container that lives: its cgroups, the spawn, and the answers that it needs on its way.

Nothing of it is kept: the state knows the container's first process only. Whatever fails, the process is killed.
"""

from __future__ import annotations

from errno import EBUSY, ESRCH

from pyrunc import _os as os
from pyrunc.errors import OpError, PyruncError, StateError
from pyrunc.run.affinity import allow_all_cpus, set_affinity
from pyrunc.run.conduct import Conversation, Ended
from pyrunc.run.environ import environment
from pyrunc.run.launch import Child, launch
from pyrunc.run.options import open_console
from pyrunc.run.pids import kill_and_reap, remove_file, write_pid_file
from pyrunc.run.steps import ruleset_of, step_of
from pyrunc.sys import memfd_sealed, pidfd_open

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Sequence

    from pyrunc.cgroup import Manager
    from pyrunc.plan.ops import Plan
    from pyrunc.run.conduct import Handler
    from pyrunc.run.options import Options
    from pyrunc.run.phrase import Step
    from pyrunc.spec.model import Process, Spec
    from pyrunc.state import Entry


class Execution:
    """One attempt to run a process in a container. `pid` is its process once there is one."""

    def __init__(self, entry: Entry, spec: Spec, plan: Plan, manager: Manager, options: Options) -> None:
        assert spec.process is not None
        self.entry = entry
        self.spec = spec
        self.process: Process = spec.process
        self.plan = plan
        self.manager = manager
        self.options = options
        self.child: Child | None = None
        self.pid = 0
        self.pidfd = -1
        self.master: _socket.socket | None = None
        self.pid_file_written = False

    def start(self) -> None:
        """Bring the process up to its program. Raises PyruncError; nothing is left then."""
        try:
            self._start()
        except BaseException:
            self._undo()
            raise

    def _start(self) -> None:
        self.child = self._launch()
        self.pid, self.pidfd = self.child.pid, self.child.pidfd
        handlers: dict[str, Handler] = {"join": self._join, "env": self._env, "ready": self._ready,
            "agent": self._agent, "landlock": self._landlock}  # fmt: skip
        talk = Conversation(self.child.talk, self._step, handlers)
        talk.on_pid = self._forked
        try:
            talk.run(until="ready")
        except Ended:
            raise StateError(f"the process died before it was ready{self._oom()}") from None
        try:
            talk.run()
        except (Ended, ConnectionResetError):
            self.child.talk.close()

    def _oom(self) -> str:
        return " (possibly OOM-killed)" if self.manager.oom_kills() else ""

    def _step(self, index: int) -> Step:
        return step_of(self.plan.ops[index], self.spec)

    # The spawn.

    def _launch(self) -> Child:
        affinity = self.process.exec_cpu_affinity
        before = None
        if affinity is not None and affinity.initial:
            before = os.sched_getaffinity(0)
            set_affinity(0, affinity.initial, f"{affinity.at}.initial")  # the spawn inherits it (LP-13)
        inputs = self._open_inputs()
        try:
            return self._launch_into(inputs)
        finally:
            for fd in inputs.values():
                os.close(fd)
            if before is not None:
                os.sched_setaffinity(0, before)

    def _launch_into(self, inputs: dict[str, int]) -> Child:
        try:
            return launch(self.plan, inputs, cgroup_fd=self.manager.clone_fd())
        except OpError as error:
            if error.errno != EBUSY:
                raise
        self._follow_init()
        return launch(self.plan, inputs, cgroup_fd=self.manager.clone_fd())

    def _follow_init(self) -> None:
        """v2 allows no process beside cgroups with controllers (EBUSY): the container has moved into one of its own."""
        follow_init(self.manager, self.entry.container.init_process_pid)

    def _open_inputs(self) -> dict[str, int]:
        inputs: dict[str, int] = {}
        try:
            inputs["init"] = self.entry.open_pidfd()
            if "root" in self.plan.inputs:
                inputs["root"] = self._open_root()
            if "console" in self.plan.inputs:
                inputs["console"], self.master = open_console(self.options)
            inputs.update({f"cgroup:{path}": fd for path, fd in self._open_tasks().items()})
        except PyruncError:
            for fd in inputs.values():
                os.close(fd)
            raise
        return inputs

    def _open_tasks(self) -> dict[str, int]:
        try:
            return self.manager.open_tasks()
        except PyruncError as error:
            error.prefix = "error adding pid to cgroups: "
            raise

    def _open_root(self) -> int:
        """Open the root of the first process, which has changed it without a mount namespace of its own."""
        path = f"/proc/{self.entry.container.init_process_pid}/root"
        try:
            fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise OpError(f"open {path}", error.errno or ESRCH) from None
        os.close(
            self.entry.open_pidfd()
        )  # still the same process: the number was not given to another meanwhile
        return fd

    # What the executor asks.

    def _join(self, _step: Step, _fd: int) -> Sequence[int]:
        """Put it into the cgroups that it has not joined itself; then the CPUs: all, unless the config says which (LP-14)."""
        try:
            self._join_cgroups()
        except PyruncError as error:
            error.prefix = f"error adding pid {self.pid} to cgroups: "
            raise
        self._join_class()
        affinity = self.process.exec_cpu_affinity
        if affinity is not None and affinity.final:
            set_affinity(self.pid, affinity.final, f"{affinity.at}.final")
        elif affinity is None or not affinity.initial:
            allow_all_cpus(self.pid)
        return ()

    def _join_cgroups(self) -> None:
        try:
            self.manager.join(self.pid)
        except OpError as error:
            if error.errno != EBUSY:
                raise
            self._follow_init()
            self.manager.join(self.pid)

    def _join_class(self) -> None:
        rdt = self.spec.linux.intel_rdt
        if rdt is not None:
            from pyrunc.cgroup.resctrl import open_resctrl

            open_resctrl(rdt, self.entry.name).join(self.pid)

    def _landlock(self, _step: Step, fd: int) -> Sequence[int]:
        return ruleset_of(self.spec, fd)

    def _agent(self, _step: Step, _fd: int) -> Sequence[int]:
        from pyrunc.run.agent import agent_files

        return agent_files(self.spec, self.entry.container, self.entry.status(), self.pid)

    def _forked(self, pid: int) -> None:
        """Follow the executor into its child in the container's pid namespace; bury the one that stayed outside."""
        os.close(self.pidfd)
        os.waitpid(self.pid, 0)
        self.pid, self.pidfd = pid, pidfd_open(pid)

    def _env(self, _step: Step, fd: int) -> Sequence[int]:
        return (
            memfd_sealed(
                environment(self.process.env, self.process.user.uid, fd), "runc_cloned:/proc/self/exe"
            ),
        )

    def _ready(self, _step: Step, _fd: int) -> Sequence[int]:
        if self.options.pidfd_socket:
            from pyrunc.run.pidfd import EXEC, send_pidfd

            send_pidfd(self.options.pidfd_socket, self.pidfd, EXEC)
        if self.options.pid_file:
            write_pid_file(self.options.pid_file, self.pid)
            self.pid_file_written = True
        return ()

    def _undo(self) -> None:
        if self.pid_file_written:
            remove_file(self.options.pid_file)
        if self.child is not None:
            self.child.talk.close()
            kill_and_reap(self.pid, self.pidfd)


def follow_init(manager: Manager, pid: int) -> None:
    """Turn a v2 manager to the cgroup that the container's first process has moved to below its own."""
    for line in _cgroup_of(pid).splitlines():
        number, _, path = line.partition("::")
        for place in manager.places if number == "0" else ():
            head, own, below = path.rpartition(f"/{place.path.rpartition('/')[2]}")
            if own and not head.endswith("/.."):
                manager.close()
                place.path = f"{place.path}{below}"


def _cgroup_of(pid: int) -> str:
    with open(f"/proc/{pid}/cgroup", encoding="utf-8", errors="surrogateescape") as file:
        return file.read()
