"""Make a container: the state directory, the cgroup, the executor, and the answers that it needs on its way.

Whatever fails, `undo` leaves the host as if nothing had been tried (runtime.md, Errors). Whenever this process is killed,
`delete --force` finds enough to do the same: the state directory names the cgroup before the cgroup is made, and an executor
whose parent is gone reads end of file and exits.
"""

from __future__ import annotations

from pyrunc import _os as os
from pyrunc import log
from pyrunc.cgroup import DELEGATE
from pyrunc.errors import HostError, PyruncError, StateError
from pyrunc.run.affinity import allow_all_cpus
from pyrunc.run.conduct import Conversation, Ended
from pyrunc.run.environ import environment
from pyrunc.run.hookio import hook_files, output_of
from pyrunc.run.launch import Child, launch
from pyrunc.run.options import open_console
from pyrunc.run.pids import kill_and_reap, remove_file, write_pid_file
from pyrunc.run.steps import container_pid, open_namespaces, ruleset_of, step_of
from pyrunc.run.trace import TRACE
from pyrunc.spec.jsontext import key_at
from pyrunc.sys import memfd_sealed, pidfd_open

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Sequence

    from pyrunc.cgroup.resctrl import Resctrl
    from pyrunc.run.netdev import NetDevices
    from pyrunc.run.notify import Notify
    from pyrunc.run.options import Options
    from pyrunc.run.phrase import Step
    from pyrunc.run.prepare import Prepared
    from pyrunc.run.sources import Sources
    from pyrunc.spec.model import IntelRdt
    from pyrunc.state import Entry, StateRoot


class Creation:
    """One attempt to make a container. `pid` is the container's process once there is one."""

    def __init__(self, prepared: Prepared, root: StateRoot, options: Options) -> None:
        self.prepared = prepared
        self.options = options
        self.spec = prepared.spec
        self.entry: Entry = root.create(prepared.request.id)
        self.child: Child | None = None
        self.pid = 0
        self.pidfd = -1
        self.limited = False
        self.hooks_ran = False
        self.devices: NetDevices | None = None
        self.resctrl: Resctrl | None = None
        self.pid_file_written = False
        self.output = output_of(self.spec.annotations)
        self.master: _socket.socket | None = None
        self.inputs: dict[str, int] = {}
        self.talk: Conversation | None = None
        self.sources: Sources | None = None
        self.notify: Notify | None = None

    def build(self) -> Conversation:
        """Do it all, up to the answer that lets the executor wait for `start`, or go on. Raises; then call undo."""
        prepared = self.prepared
        self.entry.begin(
            self.spec,
            prepared.config,
            prepared.request.bundle,
            prepared.manager,
            rootless=prepared.request.rootless,
            no_new_keyring=prepared.request.no_new_keyring,
        )
        if self.options.notify:
            self._make_notify()
        prepared.manager.create()
        if self.spec.linux.intel_rdt is not None:
            self._make_resctrl(self.spec.linux.intel_rdt)
        TRACE.phase("state and cgroup directories")
        self.inputs = self._open_inputs()
        self.child = launch(
            prepared.plan, self.inputs, cgroup_fd=prepared.manager.clone_fd(), trace=TRACE.enabled
        )
        TRACE.phase("launch")
        self.pid, self.pidfd = self.child.pid, self.child.pidfd
        self._close_inputs()
        self.talk = self._conversation(self.child)
        try:
            self.talk.run(until="ready")
        except Ended:
            raise self._died() from None
        if self.sources:
            self.sources.close()
        TRACE.phase("the executor makes the container")
        if self.devices is not None:
            self.devices.close()  # from here on the devices are the container's, and the kernel's when it ends
            self.devices = None
        if self.resctrl is not None:
            self._keep_class(self.resctrl)
        return self.talk

    def _make_notify(self) -> None:
        """Make the directory for the program's socket; of a container in two steps, `start` makes the socket."""
        from pyrunc.run.notify import DIRECTORY, Notify

        os.mkdir(DIRECTORY, 0o755, dir_fd=self.entry.dir_fd)
        os.chmod(DIRECTORY, 0o755, dir_fd=self.entry.dir_fd)
        if not self.prepared.request.wait:
            self.notify = Notify(self.entry, self.options.notify)

    def _conversation(self, child: Child) -> Conversation:
        handlers = {
            "join": self._join, "maps": self._maps, "prepared": self._prepared,
            "hook": self._hook, "env": self._env, "ready": self._ready, "start": self._start, "source": self._source,
            "netdev": self._netdev, "resctrl": self._resctrl, "agent": self._agent,
            "landlock": self._landlock,
        }  # fmt: skip
        talk = Conversation(child.talk, self.step, handlers)
        talk.on_pid = self._forked
        talk.hook_output = self.output.text
        if TRACE.enabled:
            talk.on_trace = lambda index, end: TRACE.operation(self.step, index, end)
        return talk

    def step(self, index: int) -> Step:
        """Tell of an operation of the plan."""
        return step_of(self.prepared.plan.ops[index], self.spec)

    def _open_inputs(self) -> dict[str, int]:
        inputs = open_namespaces(self.prepared.plan.inputs, self.spec)
        if "listener" in self.prepared.plan.inputs:
            inputs["listener"] = self.entry.listen()
        if "console" in self.prepared.plan.inputs:
            inputs["console"], self.master = open_console(self.options)
        for name in self.prepared.plan.inputs:
            if name.startswith("idmap:"):
                inputs[name] = os.dup(self._open_sources().user_namespace(name))
        for path, fd in self.prepared.manager.open_tasks().items():
            inputs[f"cgroup:{path}"] = fd
        return inputs

    def _close_inputs(self) -> None:
        for fd in self.inputs.values():
            os.close(fd)
        self.inputs = {}

    # What the executor asks, in the order in which the default plan asks it.

    def _join(self, _step: Step, _fd: int) -> Sequence[int]:
        """Put the executor into the cgroups that it has not joined itself, before it can make a child outside."""
        self.prepared.manager.join(self.pid)
        allow_all_cpus(self.pid)
        if not self.prepared.plan.forks and self.talk is not None:
            self._limit()  # before the answer: half-written device rules would refuse the nodes that are made next
            self.talk.idle = self._settle
        return ()

    def _make_resctrl(self, rdt: IntelRdt) -> None:
        """Make the groups of resctrl, after writing down what is not there yet: whatever kills us, `delete` removes it."""
        from pyrunc.cgroup.resctrl import open_resctrl

        self.resctrl = open_resctrl(rdt, self.entry.name)
        self.entry.write_groups(self.resctrl.path, self.resctrl.expected())
        self.resctrl.create()

    def _keep_class(self, groups: Resctrl) -> None:
        """Let a class with a name of its own outlive the container (RT-12); until now it went with a failed creation."""
        path, made = self.entry.read_groups()
        self.entry.write_groups(path, [group for group in made if group not in groups.kept()])

    def _resctrl(self, _step: Step, _fd: int) -> Sequence[int]:
        """Put the executor into its groups of resctrl."""
        if self.resctrl is not None:
            self.resctrl.join(self.pid)
        return ()

    def _settle(self) -> None:
        """Write the state as it will be when all is ready, while the executor mounts."""
        phase = "created" if self.prepared.request.wait else "running"
        if phase == "running" and self.spec.hooks.start_container:
            phase = "starting"
        try:
            self.entry.prepare(self.pid, phase, self.prepared.manager)
        except StateError:
            return  # it died: the end of the conversation is next, and tells why
        if self.prepared.request.wait:
            self.entry.write_steps(*self._steps_after_wait())
        else:
            import pyrunc.run.destroy  # noqa: F401  # needed later, and now there is time

    def _limit(self) -> None:
        """Apply the resource limits, once: pids.max would forbid the executor's own fork if it came sooner."""
        if not self.limited:
            self.limited = True
            self.prepared.manager.apply(self.spec.linux.resources)

    def _maps(self, _step: Step, _fd: int) -> Sequence[int]:
        from pyrunc.run.idmap import write_maps

        linux = self.spec.linux
        write_maps(self.pid, "linux", linux.uid_mappings, linux.gid_mappings, self.prepared.host)
        return ()

    def _source(self, step: Step, _fd: int) -> Sequence[int]:
        """Clone a source that the container's root may not."""
        return (self._open_sources().clone(step.at, self.pid),)

    def _open_sources(self) -> Sources:
        from pyrunc.run.sources import Sources

        if self.sources is None:
            self.sources = Sources(self.spec, self.prepared.host, self.prepared.request.bundle)
        return self.sources

    def _forked(self, pid: int) -> None:
        """Follow the executor into its child (a sibling: CLONE_PARENT makes it ours), and bury the one that left."""
        os.close(self.pidfd)
        os.waitpid(self.pid, 0)
        self.pid, self.pidfd = pid, pidfd_open(pid)
        self._settle()

    def _netdev(self, step: Step, fd: int) -> Sequence[int]:
        """Move a device of the host into the container's network namespace, `fd`."""
        if self.devices is None:
            try:
                from pyrunc.run.netdev import NetDevices
            except ImportError as error:
                raise HostError(f"linux.netDevices: the Python package pyroute2 is needed: {error}") from None
            self.devices = NetDevices(fd)
        for name, device in self.spec.linux.net_devices.items():
            if key_at("linux.netDevices", name) == step.at:
                self.devices.move(step.at, name, device.name or name)
        return ()

    def _landlock(self, _step: Step, fd: int) -> Sequence[int]:
        return ruleset_of(self.spec, fd)

    def _agent(self, _step: Step, _fd: int) -> Sequence[int]:
        from pyrunc.run.agent import agent_files

        return agent_files(self.spec, self.entry.container, "creating", self.pid)

    def _prepared(self, _step: Step, _fd: int) -> Sequence[int]:
        """Limits, then the hooks that want the namespaces made and the root not yet pivoted (HK-8, HK-10)."""
        self._limit()
        if self.spec.annotations.get(DELEGATE):
            from pyrunc.cgroup.below import hand_down

            hand_down(self.prepared.manager, self.spec, self.pid)
        hooks = self.spec.hooks
        if hooks.prestart or hooks.create_runtime:
            from pyrunc.run.hooks import run_hooks, state_json

            self.hooks_ran = True
            state = state_json(self.entry.container, "creating", self.pid)
            run_hooks(hooks.prestart, "prestart", state, self.spec.annotations)
            run_hooks(hooks.create_runtime, "createRuntime", state, self.spec.annotations)
        return ()

    def _hook(self, step: Step, _fd: int) -> Sequence[int]:
        """Give a hook that the executor runs its stdin (the state) and a file for its output."""
        from pyrunc.run.hooks import state_json

        self.hooks_ran = True
        status = "creating" if step.at.startswith("hooks.createContainer") else "created"
        state = state_json(self.entry.container, status, container_pid(self.pid, self.spec))
        return hook_files(state, self.output)

    def _env(self, _step: Step, fd: int) -> Sequence[int]:
        process = self.spec.process
        assert process is not None
        env = process.env
        if self.options.listen_fds:  # the program is pid 1 to itself, and the sockets are its fds from 3 on
            env = (*env, f"LISTEN_FDS={self.options.listen_fds}", "LISTEN_PID=1")
        # it stays open until EXEC; under this name runc's own test of init's descriptors expects a memfd
        return (memfd_sealed(environment(env, process.user.uid, fd), "runc_cloned:/proc/self/exe"),)

    def _ready(self, _step: Step, _fd: int) -> Sequence[int]:
        """Let the state count, then write the pid file: its readers take it for the word that all is well."""
        self.output.close()
        receiver = self.options.pidfd_socket or self.spec.annotations.get("run.oci.pidfd_receiver", "")
        if receiver:
            from pyrunc.run.pidfd import INIT, send_pidfd

            send_pidfd(receiver, self.pidfd, INIT)
        self.entry.ready()
        if self.options.pid_file:
            write_pid_file(self.options.pid_file, self.pid)
            self.pid_file_written = True
        return ()

    def _steps_after_wait(self) -> tuple[int, list[list[str]]]:
        ops = self.prepared.plan.ops
        first = next(index for index, op in enumerate(ops) if op.name == "WAIT")
        steps = [self.step(index) for index in range(first, len(ops))]
        return first, [[step.name, step.at, step.subject, step.where] for step in steps]

    def _start(self, _step: Step, _fd: int) -> Sequence[int]:
        return ()

    # When it goes wrong.

    def _died(self) -> PyruncError:
        """Say why the executor left without a word."""
        if self.prepared.manager.oom_kills():
            return StateError("container init was OOM-killed (memory limit too low?)")
        return StateError("container init died before it was ready")

    def undo(self) -> None:
        """Leave the host as if the container had never been tried; run the poststop hooks if any hook has run."""
        self._close_inputs()
        self.output.close()
        if self.pid_file_written:
            remove_file(self.options.pid_file)  # conmon takes it for the word that the container is there
        if self.devices is not None:
            self.devices.restore()
        if self.child is not None:
            self.child.talk.close()
            kill_and_reap(self.pid, self.pidfd)
        from pyrunc.run.destroy import destroy

        try:
            hooks = self.spec.hooks if self.hooks_ran else None
            destroy(
                self.entry, hooks, manager=self.prepared.manager, begun=self.child is not None or self.pid > 0
            )
        except PyruncError as error:
            log.warning(f"while undoing the creation: {error}")
