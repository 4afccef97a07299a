"""What holds for every plan, whatever the config: found by following plans, with each skip taken and not
taken."""

from __future__ import annotations

from errno import EBADF

import hypothesis.strategies as st
from cases import ALL_CAPS, CAPS, HOST, ID_MAP, LAYOUTS, base, compile_config
from hypothesis import HealthCheck, given, settings

from pyrunc.host import Host
from pyrunc.plan.encode import HEADER, RECORD, encode
from pyrunc.plan.ops import NAMES, SLOT_CWD, SLOT_NONE, SLOTS, signatures
from pyrunc.plan.render import render
from pyrunc.plan.tags import TAG_NAMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cases import Config

    from pyrunc.plan.ops import Op, Plan

MOUNTS = [
    *base()["mounts"],
    {"destination": "/data", "type": "bind", "source": "vol", "options": ["rbind", "ro", "rslave"]},
    {"destination": "/data/file", "source": "a.file", "options": ["bind", "rro", "noatime"]},
    {"destination": "/run", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup", "ro"]},
    {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"},
    {"destination": "/m", "type": "overlay", "source": "overlay", "options": ["lowerdir=/a:/b", "volatile"]},
    {"destination": "/proc", "options": ["remount", "ro"]},
    {"destination": "/dev", "type": "bind", "source": "/dev", "options": ["rbind"]},
]
DEVICES = [
    {"type": "c", "path": "/dev/fuse", "major": 10, "minor": 229},
    {"type": "p", "path": "/some/where/fifo"},
    {"type": "c", "path": "/dev/null", "major": 1, "minor": 3, "fileMode": 0o600},
]
HOOK = {"path": "/bin/hook", "timeout": 3}
SIGNATURES = signatures()
KINDS = ("pid", "network", "ipc", "uts", "cgroup", "user", "time")


def some(values: list[object]) -> st.SearchStrategy[list[object]]:
    return st.lists(st.sampled_from(values), max_size=6, unique_by=str)


@st.composite
def namespaces(draw: st.DrawFn) -> list[dict[str, str]]:
    """Return any namespaces, new or joined, with a mount namespace of either kind among them."""
    chosen = [*draw(st.lists(st.sampled_from(KINDS), unique=True)), "mount"]
    joined = draw(st.sets(st.sampled_from(chosen)))
    order = draw(st.permutations(chosen))
    return [{"type": kind} | ({"path": f"/ns/{kind}"} if kind in joined else {}) for kind in order]


@st.composite
def configs(draw: st.DrawFn) -> Config:
    """Return a config of pieces that a container may have."""
    config = base()
    config["mounts"] = draw(some(MOUNTS))
    uid = draw(st.sampled_from([0, 1000]))
    config["process"] |= {
        "user": {"uid": uid, "gid": uid, "additionalGids": draw(st.sampled_from([[], [5, 6]]))},
        "terminal": draw(st.booleans()),
        "cwd": draw(st.sampled_from(["/", "/home/../home/app"])),
        "rlimits": draw(st.sampled_from([[], [{"type": "RLIMIT_NOFILE", "soft": 9, "hard": 2**20}]])),
        "oomScoreAdj": draw(st.sampled_from([None, -5])),
        "capabilities": draw(st.sampled_from([None, {"bounding": [*CAPS, "CAP_X"], "ambient": CAPS}])),
    }
    config["root"]["readonly"] = draw(st.booleans())
    config["hooks"] = {
        stage: draw(st.sampled_from([[], [HOOK, HOOK]])) for stage in ("createContainer", "startContainer")
    }
    config["linux"] = {
        "namespaces": draw(namespaces()),
        "uidMappings": ID_MAP,
        "gidMappings": ID_MAP,
        "timeOffsets": draw(st.sampled_from([{}, {"boottime": {"secs": 1}}])),
        "devices": draw(some(DEVICES)),
        "sysctl": draw(st.sampled_from([{}, {"net.ipv4.ip_forward": "1"}])),
        "maskedPaths": draw(some(["/proc/kcore", "/sys/firmware", "/proc//kcore"])),
        "readonlyPaths": draw(some(["/proc/sys", "/proc/bus"])),
        "rootfsPropagation": draw(st.sampled_from([None, "shared", "rslave", "private", "unbindable"])),
    }
    return config


def hosts() -> st.SearchStrategy[Host]:
    return st.builds(
        lambda layout, in_userns, caps, kernel: Host(
            **(
                HOST.__dict__
                | {"cgroup": LAYOUTS[layout], "in_userns": in_userns, "effective": caps, "kernel": kernel}
            )
        ),
        st.sampled_from(["v1", "hybrid", "v2"]),
        st.booleans(),
        st.sampled_from([0, ALL_CAPS]),
        st.sampled_from([(5, 14), (6, 12)]),
    )


plans = st.builds(
    lambda config, host, no_pivot, wait: compile_config(config, host, no_pivot=no_pivot, wait=wait),
    configs(), hosts(), st.booleans(), st.booleans(),
)  # fmt: skip
for_every_plan = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def slots_of(op: Op) -> list[int]:
    """Return the slots that an operation uses."""
    types = [kind for _, kind in SIGNATURES[op.code].args]
    used = [arg for arg, kind in zip(op.args, types, strict=True) if kind == "slot"]
    if op.name == "SPAWN":
        used += [op.args[3] & 0xFFFF, op.args[3] >> 16]
    return [slot for slot in used if slot not in {SLOT_NONE, SLOT_CWD}]


def fills(op: Op) -> list[int]:
    if op.out is None:
        return []
    return [op.out + n for n in range(op.args[2] if op.name == "RPC" else 1)]


def follow(plan: Plan, failing: int = -1) -> list[tuple[int, Op, dict[int, int]]]:
    """Run a plan on paper: (index, operation, slot -> index of its opener) for each operation that is
    reached.

    The operation `failing` meets a tolerated errno; so does one that only asks whether a slot is empty.
    """
    filled = dict.fromkeys(range(4 + len(plan.inputs)), -1)
    steps = []
    index = 0
    while index < len(plan.ops):
        op = plan.ops[index]
        steps.append((index, op, dict(filled)))
        empty = EBADF in op.tolerate and any(slot not in filled for slot in slots_of(op))
        skipped = empty or index == failing
        if op.name == "CLOSE":
            filled.pop(op.args[0], None)
        elif not skipped:
            filled.update(dict.fromkeys(fills(op), index))
        index += 1 + (op.skip if skipped else 0)
    return steps


def paths(plan: Plan) -> list[list[tuple[int, Op, dict[int, int]]]]:
    """Return the straight path through a plan, and one for each operation that tolerates something."""
    return [follow(plan), *(follow(plan, index) for index, op in enumerate(plan.ops) if op.tolerate)]


@for_every_plan
@given(plans)
def test_slots_are_filled_when_used_and_closed_in_the_end(plan: Plan) -> None:
    """Whatever is skipped, no operation meets an empty slot, and nothing but the environment is open before
    CLOSEFROM."""
    for steps in paths(plan):
        for index, op, filled in steps:
            if op.name == "CLOSE" or EBADF in op.tolerate:
                continue
            assert all(slot in filled for slot in slots_of(op)), (index, op.at)
            assert not [slot for slot in fills(op) if slot in filled], (index, op.at)
        at_end = next(filled for _, op, filled in steps if op.name == "CLOSEFROM")
        env = plan.ops[-1].args[2]
        assert set(at_end) - {0, 1, 2, 3} <= {env, *_last_inputs(plan)}


def _last_inputs(plan: Plan) -> set[int]:
    """Return the slots whose last user is the operation just before CLOSEFROM, which closes them."""
    end = next(index for index, op in enumerate(plan.ops) if op.name == "CLOSEFROM")
    return set(slots_of(plan.ops[end - 1]))


@for_every_plan
@given(plans)
def test_slots_are_closed_right_after_their_last_use(plan: Plan) -> None:
    """Between the last use of a descriptor and its CLOSE are CLOSEs only, or the rest of what may be skipped."""
    last_use: dict[int, int] = {}
    for index, op, filled in follow(plan):
        slot = op.args[0] if op.name == "CLOSE" else -1
        if slot in filled:
            between = range(last_use[slot] + 1, index)
            skippable = any(
                guard.tolerate and start < inside <= start + guard.skip
                for start, guard in enumerate(plan.ops)
                for inside in (last_use[slot], index)
            )
            assert skippable or all(plan.ops[i].name == "CLOSE" for i in between), op.at
        for used in [*slots_of(op), *fills(op)]:
            last_use[used] = index


@for_every_plan
@given(plans)
def test_one_program_and_it_is_last(plan: Plan) -> None:
    """There is exactly one EXEC, it is the last operation, and only limits come between CLOSEFROM and it."""
    names = [op.name for op in plan.ops]
    assert names.count("EXEC") == 1
    assert names[-1] == "EXEC"
    assert set(names[names.index("CLOSEFROM") + 1 : -1]) <= {"RLIMIT"}
    assert names[0] == "RPC"


@for_every_plan
@given(plans)
def test_every_operation_has_an_origin(plan: Plan) -> None:
    """An error can always say what it is about."""
    assert all(op.at for op in plan.ops)


@for_every_plan
@given(plans)
def test_skips_stay_inside(plan: Plan) -> None:
    """A skip goes forward and never beyond the last operation."""
    for index, op in enumerate(plan.ops):
        assert len(op.tolerate) <= 3
        assert op.skip == 0 or op.tolerate
        assert index + op.skip + 1 < len(plan.ops) or not op.tolerate


@for_every_plan
@given(plans)
def test_destinations_lie_below_the_root(plan: Plan) -> None:
    """What is mounted on is a slot that was resolved below the root; only the root itself has a path of the
    host."""
    for steps in paths(plan):
        for _, op, filled in steps:
            if op.name != "MOVE" or op.at in {"root.path", "--no-pivot", "linux.maskedPaths"}:
                continue
            opener = plan.ops[filled[op.args[1]]]
            assert opener.name in {"MKPATH", "OPEN"}, op.at
            assert opener.args[0] != SLOT_CWD, op.at


@for_every_plan
@given(plans)
def test_nothing_is_cloned_out_of_its_era(plan: Plan) -> None:
    """After PIVOT nothing of the host is cloned, covered with or resolved by path (R3b); before it nothing
    of another namespace (R3a)."""
    names = [op.name for op in plan.ops]
    pivot = names.index("PIVOT")
    enters = [i for i, op in enumerate(plan.ops) if op.name in {"UNSHARE", "SETNS"} and _has_mount(op)]
    start = enters[-1] if enters else 0
    for index, op, filled in follow(plan):
        if op.name == "OPEN_TREE" and op.args[1] == "":
            born = filled[op.args[0]]
            assert born > start
            assert index < pivot or born > pivot
        if op.name == "COVER":
            assert index < pivot
            assert all(filled[slot] > start for slot in op.args[2:])
        if index > pivot and op.name in {"OPEN", "OPEN_TREE", "MKPATH"}:
            assert op.args[0] != SLOT_CWD


def _has_mount(op: Op) -> bool:
    return bool(op.args[-1] & 0x20000)


@for_every_plan
@given(plans)
def test_conversation(plan: Plan) -> None:
    """Questions are known, come in one order, and say how many descriptors they want; hooks get theirs just
    before they run."""
    asked = [TAG_NAMES[op.args[0]] for op in plan.ops if op.name == "RPC"]
    order = ["join", "maps", "prepared", "hook", "env", "ready", "start", "hook"]
    position = 0
    for tag in asked:
        position = order.index(tag, position)
    assert all((op.out is None) == (op.args[2] == 0) for op in plan.ops if op.name == "RPC")
    for index, op in enumerate(plan.ops):
        if op.name == "SPAWN":
            question = plan.ops[index - 1]
            assert (question.name, TAG_NAMES[question.args[0]], question.at) == ("RPC", "hook", op.at)
            assert [op.args[3] & 0xFFFF, op.args[3] >> 16] == fills(question)


@for_every_plan
@given(plans)
def test_privileges_go_in_the_right_order(plan: Plan) -> None:
    """Bounding set, groups, ids, capabilities: each needs what the next one takes away."""
    names = [op.name for op in plan.ops]
    last = len(names) - 1 - names[::-1].index("SETRES")
    assert names.index("BOUND") < last < names.index("CAPSET") < names.index("FIND")
    assert names.index("SETSID") < names.index("BOUND")
    assert "PIVOT" not in names[last:]
    assert "NO_NEW_PRIVS" not in render(plan).partition("BOUND")[2]


STORED = {"path": str, "str": str, "bytes": bytes, "strs": tuple}


@for_every_plan
@given(plans)
def test_arguments_are_of_the_types_that_the_signature_says(plan: Plan) -> None:
    """Encoding goes by the type of the value."""
    for op in plan.ops:
        types = [kind for _, kind in SIGNATURES[op.code].args]
        assert [type(arg) for arg in op.args] == [STORED.get(kind, int) for kind in types]


@for_every_plan
@given(plans, st.booleans())
def test_bytes_say_the_same(plan: Plan, trace: bool) -> None:
    """Decoding the bytes gives the plan back: every number, string and slot."""
    data = encode(plan, trace=trace)
    _, _, count, blob_size, inputs, flags = HEADER.unpack_from(data)
    assert (count, inputs, flags) == (len(plan.ops), len(plan.inputs), int(trace))
    assert len(data) == HEADER.size + count * RECORD.size + blob_size
    blob = data[-blob_size:]
    assert blob[-1] == 0
    for index, op in enumerate(plan.ops):
        code, out, skip, *rest = RECORD.unpack_from(data, HEADER.size + index * RECORD.size)
        assert NAMES[code] == op.name
        assert out == (SLOT_NONE if op.out is None else op.out)
        assert skip == op.skip
        assert tuple(errno for errno in rest[:3] if errno) == op.tolerate
        assert decode(op, rest[4:], blob) == list(op.args)
        assert out == SLOT_NONE or 4 <= out < SLOTS


def decode(op: Op, numbers: list[int], blob: bytes) -> list[object]:
    values: list[object] = list(numbers[: len(SIGNATURES[op.code].args)])
    for position, (_, kind) in enumerate(SIGNATURES[op.code].args):
        if kind not in STORED:
            continue
        low, high = numbers[position] & 0xFFFFFFFF, numbers[position] >> 32
        if kind == "bytes":
            values[position] = blob[low : low + high]
        elif kind == "strs":
            values[position] = tuple(text.decode() for text in blob[low:].split(b"\0")[:high])
        else:
            values[position] = blob[low : blob.index(b"\0", low)].decode()
    return values


FILTERED = {"seccomp": {"EXEC"}, "seccomp-notify": {"EXEC"}}


def test_what_runs_under_a_filter() -> None:
    """With no_new_privs nothing but EXEC comes after the filter; without, it comes before any privilege is given up."""
    for name, allowed in FILTERED.items():
        names = [op.name for op in _golden(name).ops]
        assert set(names[names.index("SECCOMP") + 1 :]) == allowed, name
        assert names.index("SECCOMP") > names.index("RPC")
    names = [op.name for op in _golden("seccomp-privileged").ops]
    assert names.index("SECCOMP") < min(names.index(op) for op in ("BOUND", "SETRES", "CAPSET"))
    names = [op.name for op in _golden("seccomp-hooks").ops]
    assert names.index("SECCOMP") < names.index("SPAWN")


def _golden(name: str) -> Plan:
    from goldens import CASES

    case = CASES[name]
    return compile_config(case.config, HOST, **case.request)
