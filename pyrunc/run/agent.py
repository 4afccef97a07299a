"""The seccomp agent: who decides on system calls with SCMP_ACT_NOTIFY (config-linux.md, The Container Process State).

The executor asks for two descriptors just before it loads the filter: a connection to the agent's socket, and the text
that goes there together with the listener. It sends both itself (csrc/seccomp.c), so that no answer of ours can be late.
"""

from __future__ import annotations

import _socket
import _struct
from errno import EIO

from pyrunc.consts import SPEC_VERSION
from pyrunc.errors import OpError
from pyrunc.spec.jsontext import dumps
from pyrunc.sys import memfd_sealed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from pyrunc.spec.model import Spec
    from pyrunc.state import Container

WHERE = "linux.seccomp.listenerPath"
FAILED = "failed to connect with seccomp agent specified in the seccomp profile"
RECEIVER = "run.oci.seccomp.receiver"
"""crun's annotation for the socket, older than listenerPath, which wins."""
PATIENCE = _struct.pack("=qq", 10, 0)
"""How long an agent may leave its socket unread, as a struct timeval."""


def agent_path(spec: Spec) -> str:
    """Return the path of the agent's socket."""
    path = spec.linux.seccomp.listener_path if spec.linux.seccomp is not None else None
    return path or spec.annotations.get(RECEIVER, "")


def agent_files(spec: Spec, container: Container, status: str, pid: int) -> tuple[int, int]:
    """Return a connection to the agent of a container, and a memfd with the container process state of a process of it.

    `status` is the container's now ("running" for exec), `pid` the process as the runtime sees it. One connection for
    each state (SE-7): the executor closes it once the text and the listener are sent. Raises OpError.
    """
    seccomp = spec.linux.seccomp
    metadata = seccomp.listener_metadata if seccomp is not None else None
    text = process_state(container, status, pid, metadata or "", container.annotations)
    return _connect(agent_path(spec)), memfd_sealed(text, "seccomp-state")


def process_state(
    container: Container, status: str, pid: int, metadata: str, annotations: Mapping[str, str]
) -> bytes:
    """Return the container process state (CPS-3); the listener is the first and only descriptor, `seccompFd`."""
    init = container.init_process_pid or pid
    state: dict[str, object] = {"ociVersion": SPEC_VERSION, "id": container.id, "status": status, "pid": init}
    state["bundle"] = container.bundle
    if annotations:
        state["annotations"] = annotations
    value: dict[str, object] = {"ociVersion": SPEC_VERSION, "fds": ["seccompFd"], "pid": pid}
    if metadata:
        value["metadata"] = metadata
    value["state"] = state
    return dumps(value).encode("utf-8", "surrogateescape")


def _connect(path: str) -> int:
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDTIMEO, PATIENCE)
        sock.connect(path)
    except OSError as error:
        sock.close()
        raise OpError(f"{WHERE}: {FAILED}: connect {path}", error.errno or EIO) from None
    return sock.detach()
