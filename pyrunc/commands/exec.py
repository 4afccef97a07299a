"""`pyrunc exec ID COMMAND`: run one more process in a container that lives."""

from __future__ import annotations

from errno import EIO

from pyrunc import _os as os
from pyrunc import log
from pyrunc.errors import OpError, PyruncError, StateError
from pyrunc.run.exec import Execution
from pyrunc.run.options import Options, check_preserved, check_terminal, path_of
from pyrunc.state import open_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.cgroup import Manager
    from pyrunc.commands import Args
    from pyrunc.state import Entry

FAILED = 255
"""The exit code when it is us who failed and not the process."""
REFUSALS = {
    "stopped": "cannot exec in a stopped container",
    "paused": "cannot exec in a paused container (use --ignore-paused to override)",
    "creating": "cannot exec in a container that is being created",
}


def run(args: Args) -> int:
    """Return the exit code of the process, 0 as soon as it runs when detached."""
    try:
        return _run(args)
    except OSError as error:
        failed: PyruncError = OpError(os.fsdecode(error.filename or "exec"), error.errno or EIO)
    except PyruncError as error:
        failed = error
    failed.exit_code = FAILED
    if not failed.plain:
        failed.prefix = f"exec failed: {failed.prefix}"
    raise failed from None


def _run(args: Args) -> int:
    options = _options_of(args)
    with open_root(args).open(args.positionals[0]) as entry:
        status = entry.status()
        if status in REFUSALS and not (status == "paused" and args.options["ignore-paused"]):
            raise StateError(REFUSALS[status])
        execution = _prepare(entry, args, options)
        wakeup = -1
        if not args.options["detach"]:
            from pyrunc.run.foreground import catch_signals

            wakeup = catch_signals()
        os.umask(0)
        try:
            execution.start()
        except PyruncError as error:
            error.prefix = f"unable to start container process: {error.prefix}"
            raise
    return 0 if wakeup < 0 else _wait(execution, wakeup)


def _options_of(args: Args) -> Options:
    given = args.options
    preserve = int(given["preserve-fds"])
    check_preserved(0, preserve)
    return Options(
        pid_file=path_of(args, "pid-file"),
        console_socket=path_of(args, "console-socket"),
        foreground_console=not given["detach"],
        pidfd_socket=path_of(args, "pidfd-socket"),
    )


def _prepare(entry: Entry, args: Args, options: Options) -> Execution:
    """Put together what to run, and compile it for this host."""
    from pyrunc.check import CheckFacts, check
    from pyrunc.host import probe
    from pyrunc.plan.exec import compile_exec
    from pyrunc.plan.request import Facts, Request
    from pyrunc.run.facts import filter_of, owned_stdio
    from pyrunc.run.process import with_process

    container = entry.container
    spec = with_process(entry.read_spec(), args.options, args.positionals[1:])
    check_terminal(spec.process, options)
    rootless = os.geteuid() != 0
    check(spec, CheckFacts(bundle=container.bundle, rootless=rootless))
    manager = _manager_of(entry, args.options["cgroup"])
    request = Request(
        id=container.id,
        bundle=container.bundle,
        wait=False,
        no_new_keyring=container.no_new_keyring,
        preserve_fds=int(args.options["preserve-fds"]),
        rootless=rootless,
    )
    process = spec.process
    wants_labels = process is not None and bool(process.apparmor_profile or process.selinux_label)
    facts = Facts({}, stdio=owned_stdio(), cgroup_tasks=manager.tasks(), filter=filter_of(spec, args.root))
    plan = compile_exec(spec, probe(lsm=wants_labels), request, facts)
    for warning in dict.fromkeys(plan.warnings):
        log.warning(warning)
    return Execution(entry, spec, plan, manager, options)


def _manager_of(entry: Entry, below: list[str]) -> Manager:
    if not below:
        return entry.manager()
    from pyrunc.cgroup.sub import parse_sub_cgroups, sub_manager

    return sub_manager(entry.container.cgroup_paths, parse_sub_cgroups(below))


def _wait(execution: Execution, wakeup: int) -> int:
    from pyrunc.run.foreground import wait_foreground

    relay = None
    if execution.master is not None:
        from pyrunc.run.console import Relay, open_host_terminal, receive_master

        relay = Relay(receive_master(execution.master), open_host_terminal())
    return wait_foreground(execution.pid, execution.pidfd, wakeup, relay)
