"""The builder: operations in, a Plan out, with the rules of the language held while it is written down.

One method an operation, each with the origin (`at`) of what it does. Slots are virtual until `finish`
places a CLOSE after the last use of each and gives out real numbers.

An fd names a mount in a mount namespace, so every slot has an *era*: where it was opened.
`open_tree(CLONE)` of a slot of era "host" fails with EINVAL once the mount namespace is new, of era "child"
once PIVOT has dropped the old root; era "root" is below the new root and stays good. A plan that breaks
this is a BugError here instead of an EINVAL there.
"""

from __future__ import annotations

from pyrunc.errors import BugError
from pyrunc.plan import place
from pyrunc.plan.kernel import (
    AT_RECURSIVE,
    CLONE_NEWNS,
    CLONE_TREE,
    FSCONFIG_CMD_CREATE,
    FSCONFIG_SET_FLAG,
    FSCONFIG_SET_STRING,
    IN_ROOT,
    OPEN_TREE_CLONE,
)
from pyrunc.plan.ops import CODES, FIRST_INPUT, SLOT_CWD, SLOT_NONE, Op, Plan, Slot
from pyrunc.plan.tags import TAGS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.plan.ops import Arg

__all__ = ["CWD", "DIRECTORY", "FILE", "NONE", "ROOT_CHROOT", "ROOT_DIR", "STDIO", "Builder", "Guard", "Slot"]

DIRECTORY, FILE = 0, 1
ROOT_DIR, ROOT_CHROOT = 0, 1


class Guard:
    """An operation that skips forward on some errnos, to where `land` says."""

    __slots__ = ("index", "target")

    def __init__(self, index: int) -> None:
        self.index = index
        self.target = -1


CWD = Slot("cwd", -1, SLOT_CWD)
NONE = Slot("none", -1, SLOT_NONE)
STDIO = (Slot("host", -1, 0), Slot("host", -1, 1), Slot("host", -1, 2))


class Builder:
    """Collects the operations of one plan. `era` is that of a slot opened now; it moves on by UNSHARE,
    SETNS and PIVOT."""

    def __init__(self, clone_flags: int = 0, preserve: int = 0) -> None:
        self.ops: list[Op] = []
        self.slots: list[Slot] = []
        self.guards: list[Guard] = []
        self.inputs: dict[str, Slot] = {}
        self.warnings: list[str] = []
        self.clone_flags = clone_flags
        self.preserve = preserve
        self.era = "child" if clone_flags & CLONE_NEWNS else "host"

    # The frame: inputs, guards, the end.

    def input(self, name: str) -> Slot:
        """Return the slot of a descriptor that arrives with the plan."""
        slot = self.inputs.get(name)
        if slot is None:
            slot = self.inputs[name] = Slot("host", -1, FIRST_INPUT + len(self.inputs))
            self.slots.append(slot)
        return slot

    def skip_if(self, *errnos: int) -> Guard:
        """Let the last operation skip forward on these errnos (three at most); `land` says where to."""
        self.tolerate(*errnos)
        guard = Guard(len(self.ops) - 1)
        self.guards.append(guard)
        return guard

    def land(self, guard: Guard) -> None:
        """The operation that comes next is the one that `guard` skips to."""
        guard.target = len(self.ops)

    def tolerate(self, *errnos: int) -> None:
        """Let the plan go on when the last operation fails with one of these errnos."""
        if len(errnos) > 3 or not self.ops:
            raise BugError("an operation tolerates three errnos at most")
        self.ops[-1].tolerate = errnos

    def about(self, text: str) -> None:
        """Name for messages what the last operation is about."""
        self.ops[-1].about = text

    def warn(self, text: str) -> None:
        """Tell the user something that changes nothing."""
        self.warnings.append(text)

    def finish(self) -> Plan:
        """Place the CLOSEs, give out slot numbers, turn targets into distances."""
        ops = place.place(self)
        return Plan(tuple(ops), self.clone_flags, tuple(self.inputs), self.preserve, tuple(self.warnings))

    def _do(self, code: int, args: tuple[Arg, ...], at: str) -> None:
        self.ops.append(Op(code, args, at))

    def _make(self, code: int, args: tuple[Arg, ...], at: str, era: str) -> Slot:
        slot = Slot(era, len(self.ops))
        self.slots.append(slot)
        self.ops.append(Op(code, args, at, slot))
        return slot

    def _below(self, directory: Slot) -> str:
        """Return the era of what is opened below a slot. After PIVOT, a path from cwd would be the
        container's word."""
        if directory is CWD:
            if self.era == "root":
                raise BugError("a path after PIVOT must be resolved below a slot")
            return self.era
        return directory.era

    def _in_namespace(self, slot: Slot, what: str) -> None:
        """Refuse a slot whose mount is not in the mount namespace that the process is in by now."""
        if slot.era == self.era or slot.era in {"root", "cwd", "detached"}:
            return
        raise BugError(f"{what}: the slot was opened in era {slot.era}, which has ended (now: {self.era})")

    # Make an fd.

    def open(
        self, directory: Slot, path: str, flags: int, at: str, *, resolve: int = IN_ROOT, mode: int = 0
    ) -> Slot:
        """OPEN; from CWD nothing is restricted, for those paths are the caller's own."""
        if directory is CWD:
            resolve = 0
        return self._make(CODES["OPEN"], (directory, path, flags, mode, resolve), at, self._below(directory))

    def clone(self, directory: Slot, path: str, at: str, *, recursive: bool = False) -> Slot:
        """OPEN_TREE with CLONE: a detached copy of the mount at a path, or of the slot's own when the path
        is empty."""
        flags = CLONE_TREE | (AT_RECURSIVE if recursive else 0)
        if not path:
            self._in_namespace(directory, "OPEN_TREE CLONE")
        self._below(directory)
        return self._make(CODES["OPEN_TREE"], (directory, path, flags), at, "detached")

    def open_tree(self, directory: Slot, path: str, flags: int, at: str) -> Slot:
        """OPEN_TREE without CLONE: a mount by its path."""
        if flags & OPEN_TREE_CLONE:
            raise BugError("a clone is made by `clone`")
        return self._make(CODES["OPEN_TREE"], (directory, path, flags), at, self._below(directory))

    def fsopen(self, fstype: str, at: str) -> Slot:
        """FSOPEN."""
        return self._make(CODES["FSOPEN"], (fstype,), at, "detached")

    def fsmount(self, fs: Slot, attrs: int, at: str) -> Slot:
        """FSMOUNT."""
        return self._make(CODES["FSMOUNT"], (fs, attrs), at, "detached")

    def socket(self, domain: int, kind: int, at: str) -> Slot:
        """SOCKET."""
        return self._make(CODES["SOCKET"], (domain, kind), at, "none")

    def pty(self, ptmx: Slot, at: str) -> Slot:
        """PTY."""
        return self._make(CODES["PTY"], (ptmx,), at, ptmx.era)

    # Use an fd.

    def set_flag(self, fs: Slot, key: str, at: str) -> None:
        """FSCONFIG SET_FLAG."""
        self.ops.append(Op(CODES["FSCONFIG"], (fs, FSCONFIG_SET_FLAG, key, ""), at))

    def set_string(self, fs: Slot, key: str, value: str, at: str) -> None:
        """FSCONFIG SET_STRING."""
        self.ops.append(Op(CODES["FSCONFIG"], (fs, FSCONFIG_SET_STRING, key, value), at))

    def create(self, fs: Slot, at: str) -> None:
        """FSCONFIG CREATE."""
        self.ops.append(Op(CODES["FSCONFIG"], (fs, FSCONFIG_CMD_CREATE, "", ""), at))

    def setattr(
        self,
        slot: Slot,
        at: str,
        *,
        on: int = 0,
        off: int = 0,
        propagation: int = 0,
        recursive: bool = False,
        userns: Slot = NONE,
    ) -> None:
        """SETATTR on the mount of a slot, or its tree; MOUNT_ATTR_IDMAP takes its ids from `userns`."""
        self._in_namespace(slot, "SETATTR")
        how = AT_RECURSIVE | propagation if recursive else propagation
        self.ops.append(Op(CODES["SETATTR"], (slot, how, on, off, userns), at))

    def move(self, source: Slot, target: Slot, at: str, *, forbid: int = 0) -> None:
        """MOVE; what is moved belongs to its target's era from then on."""
        self._in_namespace(source, "MOVE from")
        self._in_namespace(target, "MOVE to")
        source.era = target.era
        self.ops.append(Op(CODES["MOVE"], (source, target, forbid), at))

    def umount(self, path: str, flags: int, at: str) -> None:
        """UMOUNT."""
        self._do(CODES["UMOUNT"], (path, flags), at)

    def write(self, slot: Slot, data: bytes, at: str) -> None:
        """WRITE."""
        self._do(CODES["WRITE"], (slot, data), at)

    def ioctl(self, slot: Slot, request: int, data: bytes, at: str) -> None:
        """IOCTL."""
        self._do(CODES["IOCTL"], (slot, request, data), at)

    def dup2(self, slot: Slot, fd: int, at: str) -> None:
        """DUP2."""
        self._do(CODES["DUP2"], (slot, fd), at)

    def close(self, slot: Slot, at: str) -> None:
        """CLOSE by hand: only where an empty slot is to say something later."""
        self._do(CODES["CLOSE"], (slot,), at)

    def closefrom(self, first: int, at: str) -> None:
        """CLOSEFROM."""
        self._do(CODES["CLOSEFROM"], (first,), at)

    def sendfd(self, via: Slot, slot: Slot, name: bytes, at: str) -> None:
        """SENDFD."""
        self._do(CODES["SENDFD"], (via, slot, name), at)

    def copymode(self, fs: Slot, source: Slot, at: str) -> None:
        """COPYMODE."""
        self._do(CODES["COPYMODE"], (fs, source), at)

    def symlink(self, directory: Slot, name: str, target: str, at: str, *, replace: bool = False) -> None:
        """SYMLINK."""
        self._do(CODES["SYMLINK"], (directory, name, target, int(replace)), at)

    def chown(self, slot: Slot, uid: int, gid: int, at: str) -> None:
        """CHOWN."""
        self._do(CODES["CHOWN"], (slot, uid, gid), at)

    # Process state.

    def unshare(self, flags: int, at: str) -> None:
        """UNSHARE."""
        self._do(CODES["UNSHARE"], (flags,), at)
        if flags & CLONE_NEWNS:
            self.era = "child"

    def setns(self, slot: Slot, kind: int, at: str) -> None:
        """SETNS; the slot may also be a pidfd, and the kind several."""
        self._do(CODES["SETNS"], (slot, kind), at)
        if kind & CLONE_NEWNS:
            self.era = "child"

    def fork(self, at: str) -> None:
        """FORK."""
        self._do(CODES["FORK"], (), at)

    def setsid(self, at: str) -> None:
        """SETSID."""
        self._do(CODES["SETSID"], (), at)

    def setres(
        self, uid: int, gid: int, at: str, *, groups: bytes | None = None, lenient: bool = False
    ) -> None:
        """SETRES. The groups are an array of 32-bit ids, None to leave them as they are; `lenient`: also when setting them
        is denied."""
        how = 0 if groups is None else 2 if lenient else 1
        self._do(CODES["SETRES"], (uid, gid, groups or b"", how), at)

    def restrict(self, ruleset: Slot, at: str) -> None:
        """RESTRICT."""
        self._do(CODES["RESTRICT"], (ruleset,), at)

    def prctl(self, option: int, value: int, at: str) -> None:
        """PRCTL."""
        self._do(CODES["PRCTL"], (option, value, 0, 0, 0), at)

    def bound(self, keep: int, at: str) -> None:
        """BOUND."""
        self._do(CODES["BOUND"], (keep,), at)

    def capset(self, effective: int, permitted: int, inheritable: int, ambient: int, at: str) -> None:
        """CAPSET."""
        self._do(CODES["CAPSET"], (effective, permitted, inheritable, ambient), at)

    def rlimit(self, resource: int, soft: int, hard: int, at: str) -> None:
        """RLIMIT."""
        self._do(CODES["RLIMIT"], (resource, soft, hard), at)

    def sched(self, attr: bytes, at: str) -> None:
        """SCHED."""
        self._do(CODES["SCHED"], (attr,), at)

    def ioprio(self, which: int, who: int, value: int, at: str) -> None:
        """IOPRIO."""
        self._do(CODES["IOPRIO"], (which, who, value), at)

    def personality(self, domain: int, at: str) -> None:
        """PERSONALITY."""
        self._do(CODES["PERSONALITY"], (domain,), at)

    def mempolicy(self, mode: int, nodes: bytes, at: str) -> None:
        """MEMPOLICY; the nodes are a bit mask, least significant byte first."""
        self._do(CODES["MEMPOLICY"], (mode, nodes), at)

    def umask(self, mask: int, at: str) -> None:
        """UMASK."""
        self._do(CODES["UMASK"], (mask,), at)

    def hostname(self, which: int, name: bytes, at: str) -> None:
        """HOSTNAME (0) or the domain name (1)."""
        self._do(CODES["HOSTNAME"], (which, name), at)

    def keyctl(self, name: str, perm: int, at: str) -> None:
        """KEYCTL."""
        self._do(CODES["KEYCTL"], (name, perm), at)

    def chdir(self, path: str, at: str) -> None:
        """CHDIR."""
        self._do(CODES["CHDIR"], (path,), at)

    def seccomp(self, flags: int, program: bytes, agent: Slot, state: Slot, at: str) -> None:
        """SECCOMP; with an agent, it closes the two slots."""
        self._do(CODES["SECCOMP"], (flags, program, agent, state), at)

    # Composites.

    def mkpath(
        self, directory: Slot, path: str, at: str, *, kind: int = DIRECTORY, mode: int = 0o755
    ) -> Slot:
        """MKPATH: a destination, made when it is missing."""
        return self._make(CODES["MKPATH"], (directory, path, kind, mode), at, self._below(directory))

    def pivot(self, root: Slot, how: int, at: str) -> None:
        """PIVOT; from here on only what was opened below the root is left."""
        self._do(CODES["PIVOT"], (root, how), at)
        root.era = self.era = "root"

    def cover(self, root: Slot, path: str, file: Slot, directory: Slot, at: str) -> None:
        """COVER."""
        self._in_namespace(file, "COVER")
        self._in_namespace(directory, "COVER")
        self._do(CODES["COVER"], (root, path, file, directory), at)

    def copyup(self, source: Slot, target: Slot, at: str) -> None:
        """COPYUP."""
        self._do(CODES["COPYUP"], (source, target), at)

    def node(
        self, directory: Slot, name: str, mode: int, device: int, owner: tuple[int, int], at: str
    ) -> None:
        """NODE."""
        self._do(CODES["NODE"], (directory, name, mode, device, owner[0] << 32 | owner[1]), at)

    # Conversation.

    def rpc(self, tag: str, at: str, slot: Slot = NONE) -> None:
        """RPC that is answered without descriptors."""
        self._do(CODES["RPC"], (TAGS[tag], slot, 0), at)

    def rpc_fds(self, tag: str, count: int, at: str, slot: Slot = NONE) -> tuple[Slot, ...]:
        """RPC that is answered with descriptors."""
        first = self._make(CODES["RPC"], (TAGS[tag], slot, count), at, "none")
        first.more = tuple([Slot("none", first.born) for _ in range(count - 1)])
        self.slots.extend(first.more)
        return (first, *first.more)

    def wait(self, listener: Slot, at: str) -> None:
        """WAIT."""
        self._do(CODES["WAIT"], (listener,), at)

    def spawn(
        self,
        path: str,
        argv: tuple[str, ...],
        env: tuple[str, ...],
        stdio: tuple[Slot, Slot],
        timeout: int,
        at: str,
    ) -> None:
        """SPAWN."""
        self._do(CODES["SPAWN"], (path, argv, env, stdio, timeout), at)

    def find(self, candidates: tuple[str, ...], at: str) -> None:
        """FIND."""
        self._do(CODES["FIND"], (candidates,), at)

    def exec(self, candidates: tuple[str, ...], argv: tuple[str, ...], env: Slot, at: str) -> None:
        """EXEC, the last operation of every plan."""
        self._do(CODES["EXEC"], (candidates, argv, env), at)
