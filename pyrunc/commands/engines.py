"""`pyrunc engines`: what to write where, for the container engines of this host (docs/engines.md has them all)."""

from __future__ import annotations

import sys

from pyrunc import _os as os
from pyrunc.commands import write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pyrunc.commands import Args

PLACES = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

CRI_1, CRI_2 = "io.containerd.grpc.v1.cri", "io.containerd.cri.v1.runtime"


def run(args: Args) -> int:
    """Print a paragraph for each engine that is found; return 1 when there is none."""
    path = own_path(args.argv0)
    found = list(paragraphs(path, find))
    write("\n".join(found) or f"no container engine found in {search_path()}\n")
    return 0 if found else 1


def search_path() -> str:
    """Return $PATH; engines and init systems run programs without one."""
    return os.environ.get("PATH") or PLACES


def find(program: str) -> str | None:
    """Return the path of a program, looked up as a shell would."""
    for folder in search_path().split(":"):
        path = f"{folder}/{program}"
        if folder and os.access(path, os.X_OK) and not os.path.isdir(path):
            return path
    return None


def own_path(argv0: str) -> str:
    """Return the path that an engine is to run: as we were called, else beside the interpreter."""
    if "/" in argv0:
        return os.path.abspath(argv0)
    return find(argv0) or f"{sys.prefix}/bin/pyrunc"


def paragraphs(path: str, look: Callable[[str], str | None]) -> Iterator[str]:
    """Yield what to do for each engine: a line that names it, then what to write."""
    for name, programs, text in SNIPPETS:
        program = next(filter(None, map(look, programs)), None)
        if program:
            yield f"# {name} ({program})\n" + text.replace("PYRUNC", path)


SNIPPETS = (
    (
        "Docker", ("dockerd",),
        """\
# /etc/docker/daemon.json, then reload dockerd; docker run --runtime pyrunc IMAGE
{ "runtimes": { "pyrunc": { "path": "PYRUNC" } } }
""",
    ),
    (
        "containerd", ("containerd",),
        f"""\
# ctr run --runc-binary PYRUNC IMAGE NAME; for Kubernetes in /etc/containerd/config.toml, then restart containerd
# (containerd 2: {CRI_2} for {CRI_1})
[plugins."{CRI_1}".containerd.runtimes.pyrunc]
  runtime_type = "io.containerd.runc.v2"
  [plugins."{CRI_1}".containerd.runtimes.pyrunc.options]
    BinaryName = "PYRUNC"
""",
    ),
    (
        "nerdctl", ("nerdctl",),
        """\
# nothing to write
# nerdctl run --runtime PYRUNC IMAGE
""",
    ),
    (
        "Podman", ("podman",),
        """\
# /etc/containers/containers.conf; podman --runtime pyrunc run IMAGE
[engine]
runtime_supports_json = ["crun", "runc", "pyrunc"]
[engine.runtimes]
pyrunc = ["PYRUNC"]
""",
    ),
    (
        "Buildah", ("buildah",),
        """\
# in the environment; or buildah build --runtime PYRUNC, buildah run --runtime PYRUNC
BUILDAH_RUNTIME="PYRUNC"
""",
    ),
    (
        "CRI-O", ("crio",),
        """\
# /etc/crio/crio.conf.d/pyrunc.conf
[crio.runtime]
cgroup_manager = "cgroupfs"
conmon_cgroup = "pod"
[crio.runtime.runtimes.pyrunc]
runtime_path = "PYRUNC"
runtime_type = "oci"
""",
    ),
)  # fmt: skip
"""Engine, the programs that show that it is here, and the text; PYRUNC stands for our path."""
