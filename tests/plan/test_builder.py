"""The rules of the language, one by one: eras, skips, slots."""

from __future__ import annotations

from errno import EBADF, ENOENT, EPERM

import pytest

from pyrunc.errors import BugError
from pyrunc.plan.builder import CWD, Builder
from pyrunc.plan.kernel import CLONE_NEWNS, CLONE_NEWUTS, MOUNT_ATTR_RDONLY, O_PATH, OPEN_TREE_CLONE
from pyrunc.plan.render import operation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.plan.ops import Plan


def text(plan: Plan) -> list[str]:
    return [operation(op) for op in plan.ops]


def test_close_follows_the_last_use() -> None:
    """A slot is closed at once, and its number is used again."""
    b = Builder()
    first = b.open(CWD, "/a", O_PATH, "x")
    b.setattr(first, "x", on=MOUNT_ATTR_RDONLY)
    second = b.open(CWD, "/b", O_PATH, "x")
    b.copyup(second, second, "x")
    b.umask(0, "x")
    assert text(b.finish()) == [
        's4 = OPEN cwd "/a" PATH|CLOEXEC',
        "SETATTR s4 RDONLY",
        "CLOSE s4",
        's4 = OPEN cwd "/b" PATH|CLOEXEC',
        "COPYUP s4 s4",
        "CLOSE s4",
        "UMASK",
    ]


def test_skip_counts_the_closes_that_it_jumps_over() -> None:
    """A slot from before the guard is closed behind the landing, one from inside before it."""
    b = Builder()
    outer = b.open(CWD, "/outer", O_PATH, "x")
    inner = b.open(CWD, "/inner", O_PATH, "x")
    guard = b.skip_if(ENOENT)
    b.copyup(outer, inner, "x")
    b.land(guard)
    b.umask(0, "x")
    assert text(b.finish()) == [
        's4 = OPEN cwd "/outer" PATH|CLOEXEC',
        's5 = OPEN cwd "/inner" PATH|CLOEXEC ?ENOENT+2',
        "COPYUP s4 s5",
        "CLOSE s5",
        "CLOSE s4",
        "UMASK",
    ]


def test_nested_skips_land_where_they_were_told() -> None:
    """Two guards with the same target each skip what is theirs."""
    b = Builder()
    a = b.open(CWD, "/a", O_PATH, "x")
    first = b.skip_if(ENOENT)
    c = b.open(CWD, "/c", O_PATH, "x")
    second = b.skip_if(EPERM)
    b.copyup(a, c, "x")
    b.land(second)
    b.land(first)
    b.umask(0o22, "x")
    ops = b.finish().ops
    landing = [index + op.skip + 1 for index, op in enumerate(ops) if op.tolerate]
    assert text(b_plan := _plan(ops))[landing[0]] == "UMASK 0022"
    assert text(b_plan)[landing[1]] == "CLOSE s4"


def _plan(ops: object) -> Plan:
    from pyrunc.plan.ops import Plan as Record

    return Record(ops, 0, (), 0, ())


def test_a_slot_closed_by_hand_may_be_asked_about() -> None:
    """An empty slot can say that something has happened; the plan still closes it."""
    b = Builder()
    flag = b.input("ns:x")
    b.setns(flag, CLONE_NEWUTS, "x")
    guard = b.skip_if(EPERM)
    b.close(flag, "x")
    b.land(guard)
    b.setns(flag, CLONE_NEWUTS, "x")
    b.tolerate(EBADF)
    b.umask(0, "x")
    assert text(b.finish()) == [
        "SETNS s4 uts ?EPERM+1",
        "CLOSE s4",
        "SETNS s4 uts ?EBADF+0",
        "CLOSE s4",
        "UMASK",
    ]


def test_answers_fill_slots_in_a_row() -> None:
    """Descriptors of one answer have numbers one after the other, whatever is free below."""
    b = Builder()
    one, two, three = (b.open(CWD, f"/{n}", O_PATH, "x") for n in range(3))
    b.copyup(two, two, "x")
    stdin, out = b.rpc_fds("hook", 2, "x")
    b.spawn("/h", ("/h",), (), (stdin, out), 0, "x")
    b.copyup(one, three, "x")
    lines = text(b.finish())
    assert "s7,s8 = RPC hook fds=2" in lines
    assert 'SPAWN "/h" ["/h"] env=[] stdio=s7,s8' in lines


def test_host_mounts_end_with_the_mount_namespace() -> None:
    """A mount that was opened before the mount namespace changed is not cloned after it (R3a)."""
    b = Builder()
    before = b.open(CWD, "/", O_PATH, "x")
    b.unshare(CLONE_NEWNS, "x")
    with pytest.raises(BugError, match="era host"):
        b.clone(before, "", "x")
    b.clone(b.open(CWD, "/", O_PATH, "x"), "", "x")


def test_old_tree_ends_with_pivot() -> None:
    """A mount of the old tree is not cloned after PIVOT (R3b), one below the new root is."""
    b = Builder(CLONE_NEWNS)
    null = b.open(CWD, "/dev/null", O_PATH, "x")
    root = b.clone(CWD, "/rootfs", "x", recursive=True)
    b.pivot(root, 0, "x")
    with pytest.raises(BugError, match="era child"):
        b.clone(null, "", "x")
    with pytest.raises(BugError, match="era child"):
        b.cover(root, "proc", null, null, "x")
    with pytest.raises(BugError, match="below a slot"):
        b.open(CWD, "/etc", O_PATH, "x")
    b.clone(b.open(root, "dev/pts/0", O_PATH, "x"), "", "x")


def test_clone_has_a_method_of_its_own() -> None:
    """open_tree without CLONE cannot be made to clone."""
    with pytest.raises(BugError, match="clone"):
        Builder().open_tree(CWD, "/", OPEN_TREE_CLONE, "x")


def test_what_cannot_be() -> None:
    """Skips that never land or overlap, slots from a skipped operation, and a 61st slot are bugs."""
    b = Builder()
    b.open(CWD, "/", O_PATH, "x")
    b.skip_if(ENOENT)
    with pytest.raises(BugError, match="never lands"):
        b.finish()

    b = Builder()
    b.umask(0, "x")
    guard = b.skip_if(ENOENT)
    slot = b.open(CWD, "/", O_PATH, "x")
    b.land(guard)
    b.copyup(slot, slot, "x")
    with pytest.raises(BugError, match="behind a skip"):
        b.finish()

    b = Builder()
    b.umask(0, "x")
    first = b.skip_if(ENOENT)
    b.umask(0, "x")
    second = b.skip_if(ENOENT)
    b.umask(0, "x")
    b.land(first)
    b.umask(0, "x")
    b.land(second)
    with pytest.raises(BugError, match="overlap"):
        b.finish()

    b = Builder()
    slots = [b.open(CWD, "/", O_PATH, "x") for _ in range(61)]
    for slot in slots:
        b.copyup(slot, slot, "x")
    with pytest.raises(BugError, match="64 slots"):
        b.finish()

    with pytest.raises(BugError, match="three errnos"):
        Builder().tolerate(ENOENT)
