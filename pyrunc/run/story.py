"""What create and run have in common: from the command line to a Creation that is undone when anything fails."""

from __future__ import annotations

import _signal

from pyrunc import _os as os
from pyrunc import log
from pyrunc.errors import PyruncError, SpecError, UsageError, strerror
from pyrunc.plan.request import Request
from pyrunc.run.create import Creation
from pyrunc.run.options import Options, check_preserved, check_terminal, path_of
from pyrunc.run.prepare import CONFIG, prepare
from pyrunc.run.trace import TRACE
from pyrunc.state import check_id, open_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

    from pyrunc.commands import Args


def request_of(args: Args, *, wait: bool) -> tuple[Request, Options]:
    """Turn the command line of create or run into a request. Changes into the bundle, as runc does: hooks run there."""
    check_id(args.positionals[0])
    detached = wait or bool(args.options["detach"])
    listening = listen_fds()
    options = Options(
        pid_file=path_of(args, "pid-file"),
        console_socket=path_of(args, "console-socket"),
        foreground_console=not detached,
        listen_fds=listening,
        pidfd_socket=path_of(args, "pidfd-socket"),
        notify=os.environ.get("NOTIFY_SOCKET", ""),
    )
    config = path_of(args, "config") or CONFIG
    bundle = str(args.options["bundle"] or "")
    if bundle:
        try:
            os.chdir(bundle)
        except OSError as error:
            raise UsageError(f"--bundle: chdir {bundle}: {strerror(error.errno or 0)}") from None
    preserve = args.options["preserve-fds"]
    assert isinstance(preserve, int)
    check_preserved(listening, preserve)
    request = Request(
        id=args.positionals[0],
        bundle=os.getcwd(),
        wait=wait,
        no_pivot=bool(args.options["no-pivot"]),
        no_new_keyring=bool(args.options["no-new-keyring"]),
        preserve_fds=listening + preserve,
        config=config,
        notify=f"{args.root}/{args.positionals[0]}/notify" if options.notify else "",
        cache=args.root,
        cgroups=args.globals["cgroup-manager"] != "disabled",
        systemd=wants_systemd(args),
        lenient_cgroups=is_lenient(args.globals["rootless"]),
        rootless=os.geteuid() != 0,
    )
    return request, options


def wants_systemd(args: Args) -> bool:
    """Tell whether systemd makes the cgroup."""
    manager = args.globals["cgroup-manager"]
    return manager == "systemd" or (bool(args.globals["systemd-cgroup"]) and manager != "disabled")


def is_lenient(rootless: str) -> bool:
    """Turn --rootless (auto, or what Go takes for a bool) into whether missing cgroups are forgiven."""
    return os.geteuid() != 0 if rootless == "auto" else rootless in {"1", "t", "T", "true", "TRUE", "True"}


def listen_fds() -> int:
    """Return how many sockets the caller hands to the program: LISTEN_FDS, if LISTEN_PID is us (sd_listen_fds(3))."""
    count = os.environ.get("LISTEN_FDS", "")
    if os.environ.get("LISTEN_PID") != str(os.getpid()) or not (count.isascii() and count.isdigit()):
        return 0
    return int(count)


class creating:  # noqa: N801  # used as a `with` statement's verb
    """`with creating(args, request, options) as creation`: any failure in the block undoes the creation."""

    def __init__(self, args: Args, request: Request, options: Options) -> None:
        self.args = args
        self.request = request
        self.options = options
        self.creation: Creation | None = None

    def __enter__(self) -> Creation:
        for number in (_signal.SIGTERM, _signal.SIGHUP):
            if _signal.getsignal(number) == _signal.SIG_DFL:
                _signal.signal(number, _interrupt)
        try:
            prepared = prepare(self.request)
            os.umask(0)  # after the host was probed: the caller's umask is a fact of it
            check_terminal(prepared.spec.process, self.options)
            for warning in prepared.warnings:
                log.warning(warning)
            self.creation = Creation(prepared, open_root(self.args, ensure=True), self.options)
        except PyruncError as error:
            raise self._told(error) from None
        return self.creation

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        TRACE.phase("start")
        if error is not None and self.creation is not None:
            self.creation.undo()
        if self.creation is not None:
            self.creation.entry.unlock()
        if isinstance(error, PyruncError):
            raise self._told(error) from None

    def _told(self, error: PyruncError) -> PyruncError:
        """Put in front what failed, as runc does: `pyrunc create failed: ...`; with nothing in front for restore."""
        if error.plain or (self.args.command == "restore" and not isinstance(error, SpecError)):
            return error
        if isinstance(error, SpecError):
            error.prefix = f"pyrunc {self.args.command} failed: config.json: "
        else:
            error.prefix = f"pyrunc {self.args.command} failed: "
        return error


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt
