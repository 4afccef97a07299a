"""The process on Linux: capabilities, oom score, scheduler, I/O priority, affinity, signals."""

from __future__ import annotations

import os
import re

import pytest
from lib import host
from lib.bundle import Unset
from lib.runtime import new_id

req, cve = pytest.mark.req, pytest.mark.cve


# ---- Linux ----


@req("LP-2")
@pytest.mark.parametrize("kind", ["bounding", "effective", "permitted", "inheritable", "ambient"])
def test_capability_sets(runtime, bundle, kind):
    """Each set differs from the others by what it alone holds, as far as the kernel lets sets differ."""
    sets = {
        "bounding": ["KILL", "CHOWN", "SETUID", "NET_RAW"],
        "permitted": ["KILL", "CHOWN", "NET_RAW"],
        "effective": ["KILL", "CHOWN"],
        "inheritable": ["KILL", "CHOWN"],
        "ambient": ["CHOWN"],
    }
    for name, caps in sets.items():
        bundle.caps(*caps, kinds=(name,))
    bundle.set("process.user", {"uid": 1000, "gid": 1000})
    seen = runtime.report(bundle)
    # Across execve a user other than root keeps the ambient set as permitted and effective (capabilities(7)).
    wanted = sets | {"permitted": ["CHOWN"], "effective": ["CHOWN"]}
    letters = {
        "bounding": "Bnd",
        "permitted": "Prm",
        "effective": "Eff",
        "inheritable": "Inh",
        "ambient": "Amb",
    }
    assert seen.caps[letters[kind]] == host.mask_of(*wanted[kind])


@req("LP-2", "T15")
@cve("CVE-2022-29162", "CVE-2022-27650")
def test_capabilities_of_root(runtime, bundle):
    caps = runtime.report(bundle.caps("KILL", "CHOWN")).caps
    assert caps == {"Inh": 0, "Amb": 0} | dict.fromkeys(("Prm", "Eff", "Bnd"), host.mask_of("KILL", "CHOWN"))


@req("LP-2", "T15")
@cve("CVE-2022-29162", "CVE-2022-27650")
def test_capabilities_of_a_user_without_ambient(runtime, bundle):
    bundle.caps("KILL", "CHOWN").set("process.user", {"uid": 1000, "gid": 1000})
    assert runtime.report(bundle).caps == dict.fromkeys(("Inh", "Amb", "Prm", "Eff"), 0) | {
        "Bnd": host.mask_of("KILL", "CHOWN")
    }


@req("LP-2", "T15b")
@cve("capabilities by default")
@pytest.mark.parametrize("value", [Unset, {}], ids=["absent", "empty"])
def test_no_capabilities_unless_asked_for(runtime, bundle, value):
    assert runtime.report(bundle.set("process.capabilities", value)).caps == dict.fromkeys(
        ("Inh", "Amb", "Prm", "Eff", "Bnd"), 0
    )


@req("LP-3", "EX-3")
@pytest.mark.parametrize("name", ["CAP_FOO", "kill", ""])
def test_unknown_capability_is_a_warning(runtime, bundle, name):
    bundle.set(
        "process.capabilities", {k: ["CAP_KILL", name] for k in ("bounding", "effective", "permitted")}
    ).write()
    log = runtime.work / "log"
    result = runtime.cmd("--log", log, "run", "--bundle", bundle.path, new_id())
    assert result.code == 0, str(result)
    assert result.seen.caps["Bnd"] == host.mask_of("KILL")
    if name:
        assert name in log.read_text() + result.err
    assert "warn" in log.read_text() + result.err


@req("LP-4", "LP-3")
@pytest.mark.only_if("no-cap:SYS_RESOURCE")
def test_capability_that_the_caller_lacks_is_a_warning(runtime, bundle):
    result = runtime.run(bundle.caps("KILL", "SYS_RESOURCE"))
    assert result.seen.caps["Eff"] == host.mask_of("KILL")


@req("LP-4")
@pytest.mark.only_if("tool:setpriv")
def test_capability_outside_of_the_bounding_set_is_a_warning(runtime, bundle):
    result = runtime.run(bundle.caps("KILL", "SYSLOG"), prefix=("setpriv", "--bounding-set=-syslog", "--"))
    assert result.seen.caps["Eff"] == host.mask_of("KILL")


@req("LP-5")
@pytest.mark.parametrize(("value", "seen"), [(True, 1), (False, 0), (Unset, 0)])
def test_no_new_privileges(runtime, bundle, value, seen):
    assert runtime.report(bundle.set("process.noNewPrivileges", value))["no_new_privs"] == seen


@req("LP-6")
@pytest.mark.parametrize("value", [0, 100, 1000])
def test_oom_score_adj(runtime, bundle, value):
    assert runtime.report(bundle.set("process.oomScoreAdj", value)).file("oom_score_adj") == f"{value}\n"


@req("LP-6")
@pytest.mark.only_if("cap:SYS_RESOURCE")
def test_negative_oom_score_adj(runtime, bundle):
    assert runtime.report(bundle.set("process.oomScoreAdj", -500)).file("oom_score_adj") == "-500\n"


@req("LP-6", "CR-7")
@pytest.mark.only_if("no-cap:SYS_RESOURCE")
def test_oom_score_adj_that_the_caller_may_not_set(runtime, bundle):
    runtime.refuses(bundle.set("process.oomScoreAdj", -500))


@req("LP-6", "EX-3")
@pytest.mark.parametrize("value", [5000, -1001])
def test_oom_score_adj_out_of_range(runtime, bundle, value):
    runtime.refuses(bundle.set("process.oomScoreAdj", value))


@req("LP-7")
def test_oom_score_adj_unset_is_the_callers(runtime, bundle):
    raise_it = ("/bin/sh", "-c", 'echo 123 > /proc/self/oom_score_adj; exec "$@"', "sh")
    assert runtime.report(bundle, prefix=raise_it).file("oom_score_adj") == "123\n"


@req("LP-8", "LP-9")
@pytest.mark.parametrize(
    ("scheduler", "wanted"),
    [
        ({"policy": "SCHED_OTHER"}, {"policy": 0, "nice": 0}),
        ({"policy": "SCHED_OTHER", "nice": 5}, {"policy": 0, "nice": 5}),
        ({"policy": "SCHED_BATCH", "nice": -5}, {"policy": 3, "nice": -5}),
        ({"policy": "SCHED_IDLE"}, {"policy": 5}),
        ({"policy": "SCHED_FIFO", "priority": 10}, {"policy": 1, "priority": 10}),
        ({"policy": "SCHED_RR", "priority": 99}, {"policy": 2, "priority": 99}),
        (
            {"policy": "SCHED_DEADLINE", "runtime": 1000000, "deadline": 20000000, "period": 20000000},
            {"policy": 6, "runtime": 1000000, "deadline": 20000000, "period": 20000000},
        ),
    ],
    ids=lambda v: v.get("policy") if isinstance(v.get("policy"), str) else "",
)
def test_scheduler(runtime, bundle, scheduler, wanted):
    if scheduler["policy"] in {"SCHED_FIFO", "SCHED_RR"} and not host.missing("v1:cpu/cpu.rt_runtime_us"):
        # A kernel with RT_GROUP_SCHED gives a new cgroup no real-time budget.
        bundle.set("linux.resources.cpu", {"realtimeRuntime": 1000, "realtimePeriod": 1000000})
    seen = runtime.report(bundle.set("process.scheduler", scheduler))["sched"]
    assert {key: seen[key] for key in wanted} == wanted


@req("LP-9")
def test_scheduler_with_a_policy_alone_resets_nice(runtime, bundle):
    seen = runtime.report(
        bundle.set("process.scheduler", {"policy": "SCHED_OTHER"}), prefix=("nice", "-n", "7")
    )
    assert seen["sched"]["nice"] == 0


@req("LP-10")
def test_scheduler_flag(runtime, bundle):
    bundle.set("process.scheduler", {"policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_RESET_ON_FORK"]})
    assert runtime.report(bundle)["sched"]["flags"] & 1


@req("LP-8", "LP-10", "EX-3")
@pytest.mark.parametrize(
    "scheduler",
    [
        {},
        {"nice": 1},
        {"policy": "SCHED_FOO"},
        {"policy": "SCHED_ISO"},
        {"policy": "SCHED_OTHER", "nice": 20},
        {"policy": "SCHED_OTHER", "nice": -21},
        {"policy": "SCHED_OTHER", "priority": 5},
        {"policy": "SCHED_FIFO"},
        {"policy": "SCHED_FIFO", "priority": 100},
        {"policy": "SCHED_OTHER", "runtime": 5},
        {"policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_FOO"]},
    ],
    ids=lambda s: "-".join(map(str, s.values())) or "empty",
)
def test_scheduler_that_is_none(runtime, bundle, scheduler):
    runtime.refuses(bundle.set("process.scheduler", scheduler))


@req("LP-12")
@pytest.mark.parametrize(
    ("priority", "wanted"),
    [
        ({"class": "IOPRIO_CLASS_BE", "priority": 3}, 2 << 13 | 3),
        ({"class": "IOPRIO_CLASS_RT", "priority": 0}, 1 << 13),
        ({"class": "IOPRIO_CLASS_IDLE", "priority": 7}, 3 << 13 | 7),
    ],
    ids=["BE", "RT", "IDLE"],
)
def test_io_priority(runtime, bundle, priority, wanted):
    assert runtime.report(bundle.set("process.ioPriority", priority))["ioprio"] == wanted


@req("LP-12", "EX-3")
@pytest.mark.parametrize(
    "priority",
    [
        {"class": "IOPRIO_CLASS_FOO", "priority": 1},
        {"class": "IOPRIO_CLASS_BE", "priority": 9},
        {"class": "IOPRIO_CLASS_BE", "priority": -1},
        {"class": "IOPRIO_CLASS_BE"},
        {"priority": 1},
    ],
    ids=lambda p: "-".join(map(str, p.values())),
)
def test_io_priority_that_is_none(runtime, bundle, priority):
    runtime.refuses(bundle.set("process.ioPriority", priority))


@req("LP-13", "LP-14", "LP-15")
@pytest.mark.only_if("cpus:2")
def test_exec_affinity_does_not_concern_the_first_process(runtime, bundle):
    seen = runtime.report(bundle.set("process.execCPUAffinity", {"initial": "0", "final": "0"}))
    assert len(seen["cpus"]) == len(os.sched_getaffinity(0))


@req("LP-15", "EX-3")
@pytest.mark.parametrize(
    "value", [{"initial": "a"}, {"final": "0-"}, {"initial": "3-1"}, {"final": "-, "}], ids=str
)
def test_exec_affinity_that_is_none(runtime, bundle, value):
    runtime.refuses(bundle.set("process.execCPUAffinity", value))


@req("CLI-AFFINITY-1")
@pytest.mark.only_if("cpus:2", "tool:taskset")
def test_affinity_of_the_caller_is_not_inherited(runtime, bundle):
    seen = runtime.report(bundle, prefix=("taskset", "-c", "0"))
    assert len(seen["cpus"]) == len(os.sched_getaffinity(0))


@req("LP-2", "CLI-SIGNALS-1")
def test_signals_are_as_after_boot(runtime, bundle):
    """Whatever the caller ignores or blocks (an interpreter ignores SIGPIPE), the program starts clean."""
    import signal

    def ignore() -> None:
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2, signal.SIGHUP])

    status = runtime.report(bundle, preexec_fn=ignore, restore_signals=False).status
    assert int(status["SigIgn"], 16) == 0
    assert int(status["SigBlk"], 16) == 0
    assert re.fullmatch("1", status["Threads"])


# ---- memory policy ----


@req("MP-1")
@pytest.mark.parametrize(
    ("policy", "mode", "nodes"),
    [
        ({"mode": "MPOL_DEFAULT"}, 0, 0),
        ({"mode": "MPOL_PREFERRED", "nodes": "0"}, 1, 1),
        ({"mode": "MPOL_BIND", "nodes": "0"}, 2, 1),
        ({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}, 0x8002, 1),
        ({"mode": "MPOL_INTERLEAVE", "nodes": "0"}, 3, 1),
        ({"mode": "MPOL_LOCAL"}, 4, 0),
    ],
    ids=lambda value: value["mode"] if isinstance(value, dict) else str(value),
)
def test_memory_policy(runtime, bundle, policy, mode, nodes):
    seen = runtime.report(bundle.set("linux.memoryPolicy", policy))
    assert (seen["mempolicy"], seen["memnodes"]) == (mode, nodes)


@req("MP-1")
@pytest.mark.parametrize(
    "policy",
    [
        {},
        {"mode": "MPOL_NONE"},
        {"mode": "MPOL_BIND"},
        {"mode": "MPOL_DEFAULT", "nodes": "0"},
        {"mode": "MPOL_BIND", "nodes": "0-"},
        {"mode": "MPOL_BIND", "nodes": "900"},
        {"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_NONE"]},
    ],
)
def test_bad_memory_policies(runtime, bundle, policy):
    runtime.refuses(bundle.set("linux.memoryPolicy", policy))


@req("MP-1", "CLI-IN-1")
def test_memory_policy_of_exec(runtime, bundle):
    bundle.set("linux.memoryPolicy", {"mode": "MPOL_BIND", "nodes": "0"})
    c = runtime.running(bundle.args("/bin/sleep", "60"))
    assert runtime.ok("exec", c.id, "/probe", "report").seen["mempolicy"] == 2


# ---- labels of security modules ----


@req("LP-1")
@pytest.mark.only_if("no-apparmor")
def test_a_profile_without_apparmor(runtime, bundle):
    runtime.refuses(bundle.set("process.apparmorProfile", "some-profile"))


@req("LP-11", "ML-1")
@pytest.mark.skipif(os.path.exists("/sys/fs/selinux/enforce"), reason="needs a host without SELinux")
@pytest.mark.parametrize("place", ["process.selinuxLabel", "linux.mountLabel"])
def test_a_label_without_selinux(runtime, bundle, place):
    runtime.refuses(bundle.set(place, "system_u:object_r:container_file_t:s0"))
