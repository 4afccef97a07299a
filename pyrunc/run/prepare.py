"""From a bundle's directory to everything that `create` will do, without doing any of it."""

from __future__ import annotations

from errno import ENOENT

from pyrunc import _os as os
from pyrunc import check, host
from pyrunc._record import record
from pyrunc.cgroup import open_manager
from pyrunc.errors import Fault, OpError, SpecError, StateError
from pyrunc.host import CgroupLayout
from pyrunc.plan.compile import compile_plan
from pyrunc.run.facts import gather
from pyrunc.run.trace import TRACE
from pyrunc.spec.parse import parse_config

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.cgroup import Manager
    from pyrunc.host import Host
    from pyrunc.plan.ops import Plan
    from pyrunc.plan.request import Request
    from pyrunc.spec.model import Spec


CONFIG = "config.json"
CONFIG_LIMIT = 64 << 20


@record
class Prepared:
    """A config that was read, checked and compiled for this host."""

    config: bytes
    """config.json as it was read; its copy in the state directory is what start and delete go by (LC-2d)."""
    spec: Spec
    host: Host
    request: Request
    manager: Manager
    plan: Plan
    warnings: tuple[str, ...]


def read_config(bundle: str, name: str = CONFIG) -> bytes:
    """Return the bytes of the bundle's config.json. Raises StateError with runc's text when there is none."""
    path = os.path.join(bundle, name)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        with open(fd, "rb", buffering=0) as file:
            size = os.fstat(fd).st_size or CONFIG_LIMIT  # what is no file tells none
            return file.read(min(size, CONFIG_LIMIT) + 1) or b""
    except FileNotFoundError:
        raise StateError(f"JSON specification file {name} not found in {bundle}") from None
    except OSError as error:
        raise OpError(f"open {path}", error.errno or ENOENT) from None


def load_spec(bundle: str, *, rootless: bool, name: str = CONFIG) -> tuple[bytes, Spec, list[str]]:
    """Read, parse and check a bundle; return its config, the Spec and warnings. Raises SpecError with every fault."""
    config = read_config(bundle, name)
    TRACE.phase("read config.json")
    spec = parse_config(config)
    TRACE.phase("parse")
    if any(namespace.type == "user" for namespace in spec.linux.namespaces) and not spec.linux.uid_mappings:
        from pyrunc.run.defaultmap import with_default_maps

        spec = with_default_maps(spec)
    warnings = check.check(spec, check.CheckFacts(bundle=bundle, rootless=rootless))
    check.check_bundle_paths(spec, bundle)
    if spec.process is None:  # valid by itself (PR-1), but what is created here is to be started
        raise SpecError([Fault("process", "required: there is no program to start")])
    TRACE.phase("check")
    return config, spec, warnings


def wants_labels(spec: Spec) -> bool:
    """Tell whether the config names an AppArmor profile or a SELinux label."""
    process = spec.process
    named = process is not None and (process.apparmor_profile or process.selinux_label)
    return bool(named or spec.linux.mount_label)


def prepare(request: Request, on: Host | None = None) -> Prepared:
    """Compile the bundle of `request` for this host, or for the recorded host `on`."""
    config, spec, warnings = load_spec(request.bundle, rootless=request.rootless, name=request.config)
    if request.notify:
        from pyrunc.run.notify import with_notify

        spec = with_notify(spec, request.notify)
    here = on or host.probe(mounts=request.no_pivot, lsm=wants_labels(spec))
    TRACE.phase("probe the host")
    layout = here.cgroup if request.cgroups else CgroupLayout("none")
    manager = open_manager(
        layout,
        spec,
        request.id,
        rootless=request.lenient_cgroups,
        in_userns=here.in_userns,
        systemd=request.systemd,
    )
    manager.skip_devices = (
        not request.cgroups
    )  # every config has such rules, also those of `podman --cgroups=disabled`
    facts = gather(spec, request.bundle, here, manager.mount_dirs(), manager.tasks(), request.cache)
    if request.notify:
        from pyrunc.run.notify import add_source

        add_source(facts, spec)
    TRACE.phase("gather facts")
    plan = compile_plan(spec, here, request, facts)
    TRACE.phase("compile")
    return Prepared(
        config,
        spec,
        here,
        request,
        manager,
        plan,
        tuple(dict.fromkeys([*warnings, *manager.warnings, *plan.warnings])),
    )
