"""Every rule: a config that it refuses, with the words, and configs that it must let pass."""

from __future__ import annotations

import copy
import os
import re
from pathlib import Path
from typing import Any

import pytest
from config_maker import encode

from pyrunc.cgroup import DELEGATE
from pyrunc.cgroup.below import SUBGROUP
from pyrunc.check import CHECKS, CRUNS, CRUNS_TAKEN, CheckFacts, check, check_bundle_paths
from pyrunc.check.common import clean, is_number_list
from pyrunc.check.namespaces import sysctl_name
from pyrunc.commands.features import UNSAFE
from pyrunc.errors import SpecError
from pyrunc.plan.labels import CONTEXT_TYPE
from pyrunc.plan.namespaces import KEEP_GROUPS
from pyrunc.run import agent, facts, hookio, pidfd
from pyrunc.spec.parse import parse_config

FACTS = CheckFacts(bundle="/bundle")
UTS, NET, IPC, USER, TIME = ({"type": kind} for kind in ("uts", "network", "ipc", "user", "time"))
BASE: dict[str, Any] = {
    "ociVersion": "1.3.0",
    "root": {"path": "rootfs"},
    "process": {"cwd": "/", "args": ["true"], "env": ["PATH=/bin"]},
    "linux": {"namespaces": [{"type": "mount"}, {"type": "pid"}]},
}
MAP = {"containerID": 0, "hostID": 1000, "size": 10}


def config_with(changes):
    """Return BASE with changes by path; a path ending in "+" extends the list there, DROP removes."""
    config = copy.deepcopy(BASE)
    for path, value in changes.items():
        *holders, last = path.removesuffix("+").split(".")
        at = config
        for key in holders:
            at = at.setdefault(key, {})
        if path.endswith("+"):
            at.setdefault(last, []).extend(value)
        elif value is DROP:
            del at[last]
        else:
            at[last] = value
    return config


DROP = object()


def spec_with(changes):
    return parse_config(encode(config_with(changes)))


def faults_of(changes, facts=FACTS):
    try:
        check(spec_with(changes), facts)
    except SpecError as error:
        return [str(fault) for fault in error.faults]
    return []


def mapped(**changes):
    """Return changes for a user namespace with ten ids, and more."""
    both = {"linux.namespaces+": [USER], "linux.uidMappings": [MAP], "linux.gidMappings": [MAP]}
    return {**both, **{key.replace("__", "."): value for key, value in changes.items()}}


def mount(**mount):
    return {"mounts": [{"destination": "/m", "type": "tmpfs", **mount}]}


MNT = "without a private MNT namespace"

REFUSED = (
    # version and root: CV-1, RO-1, RO-2
    *[({"ociVersion": v}, f'ociVersion: "{v}" is not a version such as 1.3.0')
      for v in ("", "invalid", "1.0", "1.0.0.0", "01.0.0", "1.0.-1", "1.0.0-", "1.0.0+", "1.0.0-a..b", "1.0.0-é", "v1.0.0")],
    ({"ociVersion": "2.0.0"}, "ociVersion: 2.0.0 is not supported, 1.x is"),
    ({"ociVersion": "0.6.0"}, "ociVersion: 0.6.0 is not supported, 1.x is"),
    ({"root": DROP}, "root: root must be specified"),
    ({"root.path": ""}, "root.path: must not be empty"),
    # process: PR-4, PR-5, PR-7, PR-8, US-3
    ({"process.cwd": ""}, "process.cwd: Cwd property must not be empty"),
    ({"process.cwd": "x"}, "process.cwd: Cwd must be an absolute path"),
    ({"process.args": []}, "process.args: args must not be empty"),
    ({"process.args": DROP}, "process.args: args must not be empty"),
    ({"process.env": ["A=1", "B"]}, "process.env[1]: invalid environment variable: missing '='"),
    ({"process.env": ["=x"]}, "process.env[0]: invalid environment variable: name cannot be empty"),
    ({"process.terminal": True, "process.consoleSize": {"height": 65536, "width": 1}},
     "process.consoleSize: more than 65535 rows or columns"),
    ({"process.user": {"additionalGids": [5] * 65537}}, "process.user.additionalGids: more than 65536 groups"),
    # capabilities and limits: LP-2, PX-4
    ({"process.capabilities": {"effective": ["CAP_KILL"]}}, "process.capabilities.effective: CAP_KILL is not in permitted"),
    ({"process.rlimits": [{"type": "RLIMIT_CORE", "soft": 1, "hard": 1}, {"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]},
     "process.rlimits[1].type: RLIMIT_CORE is there twice"),
    ({"process.rlimits": [{"type": "RLIMIT_CORE", "soft": 2, "hard": 1}]},
     "process.rlimits[0].soft: 2 is above the hard limit 1"),
    # names: HN-1, DN-1
    ({"hostname": "x"}, "hostname: unable to set hostname without a private UTS namespace"),
    ({"domainname": "x"}, "domainname: unable to set domainname without a private UTS namespace"),
    ({"hostname": "é" * 33, "linux.namespaces+": [UTS]}, "hostname: longer than 64 bytes"),
    # hooks and annotations: HK-1, AN-2
    ({"hooks": {"poststart": [{"path": "x"}]}}, 'hooks.poststart[0].path: "x" is not an absolute path'),
    ({"hooks": {"createContainer": [{"path": "/x"}, {"path": ""}]}},
     'hooks.createContainer[1].path: "" is not an absolute path'),
    ({"hooks": {"prestart": [{"path": "/x", "args": []}]}},
     "hooks.prestart[0].args: args must not be empty (leave it out for the path alone)"),
    ({"annotations": {"": "x"}}, "annotations: an empty key"),
    # mounts: MO-2, MO-4, MO-10, hardening T04-T11
    (mount(destination="/"), 'mounts[0].destination: mountpoint "/" is on the top of rootfs'),
    (mount(destination="a/.."), 'mounts[0].destination: mountpoint "a/.." is on the top of rootfs'),
    (mount(destination=""), 'mounts[0].destination: mountpoint "" is on the top of rootfs'),
    (mount(destination="/proc"), 'mounts[0].destination: "/proc" cannot be mounted because it is not of type proc'),
    (mount(destination="//a/../proc/."), '"//a/../proc/." cannot be mounted because it is not of type proc'),
    (mount(destination="/proc/sys"), 'mounts[0].destination: "/proc/sys" cannot be mounted because it is inside /proc'),
    (mount(destination="proc/net/dev", options=["bind"], source="/x"), "cannot be mounted because it is inside /proc"),
    (mount(type="proc", destination="/proc/x"), "cannot be mounted because it is inside /proc"),
    (mount(options=["rbind"], type="none"), "mounts[0].source: required for a bind mount"),
    (mount(type="bind"), "mounts[0].source: required for a bind mount"),
    (mount(type=None), "mounts[0].type: required for a mount that is no bind mount"),
    (mount(type="bind", source="/x", options=["ro", "mode=755", "rbnid"]),
     'mounts[0].options: bind mounts cannot have any filesystem-specific options applied: "mode=755,rbnid"'),
    (mount(type="bind", source="/x", options=["rbnid"]), '"rbnid" (did you mean "rbind"?)'),
    (mount(type="ext4", options=["tmpcopyup"]), "mounts[0].options: tmpcopyup works on a tmpfs only"),
    # idmapped mounts: MO-13, MO-18
    (mount(type="bind", source="/x", uidMappings=[MAP]),
     "mounts[0]: id-mapped mounts must have both uid and gid mappings specified"),
    (mount(uidMappings=[MAP], gidMappings=[MAP]), "mounts[0]: id-mapped mounts are only supported for bind-mounts"),
    (mount(type="bind", source="/x", options=["ridmap"]),
     "mounts[0].options: idmap needs mappings, of the mount or of a user namespace"),
    (mount(type="bind", source="/x", options=["idmap", "remount"], uidMappings=[MAP], gidMappings=[MAP]),
     "mounts[0]: id-mapped mounts are only supported for bind-mounts"),
    (mount(type="bind", source="/x", options=["idmap"], uidMappings=[MAP, MAP], gidMappings=[MAP]),
     "mounts[0].uidMappings: mounts[0].uidMappings[0] and mounts[0].uidMappings[1] overlap in containerID"),
    (mount(type="bind", source="/x", options=["idmap"], uidMappings=[MAP], gidMappings=[MAP] * 341),
     "mounts[0].gidMappings: more than 340 entries, the kernel's limit"),
    # no mount namespace: NS-7
    ({**mount(), "linux.namespaces": []}, f"mounts: unable to mount {MNT}"),
    ({"linux.namespaces": [], "linux.maskedPaths": ["/x"]}, f"linux.maskedPaths: unable to restrict sys entries {MNT}"),
    ({"linux.namespaces": [], "linux.readonlyPaths": ["/x"]}, f"linux.readonlyPaths: unable to restrict sys entries {MNT}"),
    ({"linux.namespaces": [], "root.readonly": True}, f"root.readonly: unable to make the root read-only {MNT}"),
    ({"linux.namespaces": [], "linux.rootfsPropagation": "slave"},
     f"linux.rootfsPropagation: unable to set a mount propagation {MNT}"),
    # masked and read-only paths: MK-1, RX-1
    ({"linux.maskedPaths": ["/a", "b"]}, 'linux.maskedPaths[1]: "b" is not an absolute path'),
    ({"linux.maskedPaths": [""]}, 'linux.maskedPaths[0]: "" is not an absolute path'),
    ({"linux.maskedPaths": ["/"]}, 'linux.maskedPaths[0]: "/" is the root itself'),
    ({"linux.readonlyPaths": ["/./"]}, 'linux.readonlyPaths[0]: "/./" is the root itself'),
    ({"linux.readonlyPaths": ["proc"]}, 'linux.readonlyPaths[0]: "proc" is not an absolute path'),
    # namespaces and mappings: NS-3, NS-8, ID-1, ID-3, ID-4
    ({"linux.namespaces+": [{"type": "pid"}]}, 'linux.namespaces[2].type: malformed spec file: duplicated ns "pid"'),
    ({"linux.namespaces+": [{"type": "ipc", "path": "x"}]}, 'linux.namespaces[2].path: "x" is not an absolute path'),
    ({"linux.namespaces+": [USER], "linux.uidMappings": [MAP]},
     "linux.gidMappings: required where the other mappings are given"),
    (mapped(linux__uidMappings=[{**MAP, "containerID": n, "hostID": n, "size": 1} for n in range(341)]),
     "linux.uidMappings: more than 340 entries, the kernel's limit"),
    (mapped(linux__uidMappings=[MAP, {**MAP, "containerID": 9, "hostID": 5000}]),
     "linux.uidMappings: linux.uidMappings[0] and linux.uidMappings[1] overlap in containerID"),
    (mapped(linux__gidMappings=[{**MAP, "containerID": 50, "hostID": 995}, MAP]),
     "linux.gidMappings: linux.gidMappings[0] and linux.gidMappings[1] overlap in hostID"),
    (mapped(linux__uidMappings=[MAP, {"containerID": 10, "hostID": 2**32 - 2, "size": 2}]),
     "linux.uidMappings[1]: reaches beyond the last id, 4294967294"),
    (mapped(linux__uidMappings=[{**MAP, "containerID": 1}]),
     "linux.uidMappings: no mapping for uid 0, which sets the container up"),
    (mapped(process__user={"uid": 10}), "process.user.uid: cannot setuid to unmapped uid 10 in user namespace"),
    (mapped(process__user={"gid": 11}), "process.user.gid: cannot setgid to unmapped gid 11 in user namespace"),
    (mapped(process__user={"additionalGids": [1, 12]}),
     "process.user.additionalGids[1]: cannot setgroups to unmapped gid 12 in user namespace"),
    # sysctls: SY-1, hardening T21
    ({"linux.sysctl": {"kernel.shmmax": "1"}},
     'linux.sysctl["kernel.shmmax"]: sysctl "kernel.shmmax" is not allowed in the hosts ipc namespace'),
    ({"linux.sysctl": {"fs.mqueue.msg_max": "1"}}, "is not allowed in the hosts ipc namespace"),
    ({"linux.sysctl": {"net.ipv4.ip_forward": "1"}},
     'sysctl "net.ipv4.ip_forward" not allowed in host network namespace'),
    ({"linux.sysctl": {"user.max_user_namespaces": "1"}},
     'setting ucounts without a user namespace not allowed: "user.max_user_namespaces"'),
    ({"linux.sysctl": {"kernel.domainname": "x"}}, 'sysctl "kernel.domainname" is not in a separate kernel namespace'),
    ({"linux.sysctl": {"kernel.hostname": "x"}, "linux.namespaces+": [UTS]},
     'sysctl "kernel.hostname" is not allowed as it conflicts with the OCI "hostname" field'),
    *[({"linux.sysctl": {name: "1"}, "linux.namespaces+": [UTS, NET, IPC]}, "is not in a separate kernel namespace")
      for name in ("vm.swappiness", "kernel.core_pattern", "kernel/core_pattern", "net/../kernel/core_pattern", "net.",
                   "kernel.shmmax/../core_pattern", "fs.mqueue.../../x", "", ".", "/", "net./.x", "net.//.x", "net..x",
                   "/net/x", "net/ipv4/../../kernel/x", "kernel", "netx", "net")],
    # devices: DV-3, DV-5, DA-2
    ({"linux.devices": [{"type": "c", "path": "x", "major": 1, "minor": 3}]},
     'linux.devices[0].path: "x" is not an absolute path'),
    ({"linux.devices": [{"type": "c", "path": "/x", "minor": 3}]},
     "linux.devices[0].major: required for a device that is no fifo"),
    ({"linux.devices": [{"type": "b", "path": "/x", "major": 3}]},
     "linux.devices[0].minor: required for a device that is no fifo"),
    ({"linux.resources": {"devices": [{"allow": True, "access": "rq"}]}},
     'linux.resources.devices[0].access: "rq" is not made of r, w and m'),
    # resources
    ({"linux.resources": {"memory": {"limit": 10, "swap": 9}}},
     "linux.resources.memory.swap: memory+swap limit should be >= memory limit"),
    ({"linux.resources": {"cpu": {"quota": 10, "burst": 11}}}, "linux.resources.cpu.burst: 11 is above the quota 10"),
    ({"linux.resources": {"cpu": {"cpus": "abc"}}}, 'linux.resources.cpu.cpus: "abc" is not a list such as "0-3,7"'),
    ({"linux.resources": {"cpu": {"mems": "3-1"}}}, 'linux.resources.cpu.mems: "3-1" is not a list such as "0-3,7"'),
    ({"linux.resources": {"blockIO": {"weight": 5}}}, "linux.resources.blockIO.weight: 5 is not from 10 to 1000"),
    ({"linux.resources": {"blockIO": {"weightDevice": [{"major": 8, "minor": 0, "leafWeight": 2000}]}}},
     "linux.resources.blockIO.weightDevice[0].leafWeight: 2000 is not from 10 to 1000"),
    ({"linux.resources": {"blockIO": {"weightDevice": [{"major": 8, "minor": 0}]}}},
     "linux.resources.blockIO.weightDevice[0]: weight or leafWeight is required"),
    ({"linux.resources": {"network": {"priorities": [{"name": "a b", "priority": 1}]}}},
     'linux.resources.network.priorities[0].name: "a b" is not the name of an interface'),
    ({"linux.resources": {"rdma": {"mlx": {}}}}, "linux.resources.rdma.mlx: hcaHandles or hcaObjects is required"),
    ({"linux.resources": {"rdma": {"a b": {"hcaHandles": 1}}}}, '"a b" is not the name of a device'),
    ({"linux.resources": {"unified": {"../x": "1"}}},
     'linux.resources.unified["../x"]: unified resource "../x" must be a file name (no slashes)'),
    ({"linux.resources": {"unified": {"..": "1"}}}, 'unified resource ".." must be a file name'),
    ({"linux.resources": {"unified": {"": "1"}}}, 'unified resource "" must be a file name'),
    # what few have: LP-8, LP-9, LP-12, LP-15, TI-1
    ({"process.scheduler": {"policy": "SCHED_ISO"}}, "process.scheduler.policy: Linux has no SCHED_ISO"),
    ({"process.scheduler": {"policy": "SCHED_BATCH", "nice": 20}},
     "process.scheduler.nice: invalid scheduler.nice: 20 when scheduler.policy is SCHED_BATCH"),
    ({"process.scheduler": {"policy": "SCHED_FIFO"}},
     "process.scheduler.priority: 0 is not from 1 to 99, as SCHED_FIFO needs it"),
    ({"process.scheduler": {"policy": "SCHED_OTHER", "priority": 1}},
     "process.scheduler.priority: scheduler.priority can only be specified for SchedFIFO or SchedRR policy"),
    ({"process.scheduler": {"policy": "SCHED_IDLE", "period": 1}},
     "process.scheduler: scheduler runtime/deadline/period can only be specified for SchedDeadline policy"),
    ({"process.ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 8}},
     "process.ioPriority.priority: invalid ioPriority.Priority: 8"),
    ({"process.execCPUAffinity": {"initial": "-, "}},
     'process.execCPUAffinity.initial: "-, " is not a list such as "0-3,7"'),
    ({"linux.timeOffsets": {"realtime": {}}, "linux.namespaces+": [TIME]},
     'linux.timeOffsets.realtime: "realtime" is not a clock that can be shifted (one of "monotonic", "boottime")'),
    ({"linux.timeOffsets": {"boottime": {"secs": 1}}},
     "linux.timeOffsets: time namespace offsets specified, but time namespace isn't enabled in the config"),
    ({"linux.timeOffsets": {"boottime": {"secs": 1}}, "linux.namespaces+": [{**TIME, "path": "/x"}]},
     "linux.timeOffsets: time namespace enabled, but both namespace path and time offsets specified -- you may only"),
    # seccomp: SE-2, SE-12, SE-15
    ({"linux.seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 1}},
     "linux.seccomp.defaultErrnoRet: SCMP_ACT_ALLOW takes no errno"),
    ({"linux.seccomp": {"defaultAction": "SCMP_ACT_NOTIFY"}},
     "linux.seccomp.defaultAction: SCMP_ACT_NOTIFY cannot be used as default action"),
    ({"linux.seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "listenerMetadata": "x"}},
     "linux.seccomp.listenerMetadata: only together with listenerPath"),
    ({"linux.seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{
        "names": ["x"], "action": "SCMP_ACT_NOTIFY", "errnoRet": 1,
        }]}},
     ("linux.seccomp.syscalls[0].errnoRet: SCMP_ACT_NOTIFY takes no errno; "
      "linux.seccomp.listenerPath: seccomp listenerPath is not set")),
    # intelRdt, netDevices, memoryPolicy: RT-5, RT-6, ND-3, MP-1
    *[({"linux.intelRdt": {"closID": name}}, f'linux.intelRdt.closID: invalid intelRdt.ClosID "{name}"')
      for name in ("", ".", "..", "a/b", "../x")],
    ({"linux.intelRdt": {"l3CacheSchema": "MB:0=1"}}, 'linux.intelRdt.l3CacheSchema: must be one line that starts with "L3:"'),
    ({"linux.intelRdt": {"l3CacheSchema": "L3:0=f\nL3:1=f"}}, 'must be one line that starts with "L3:"'),
    ({"linux.intelRdt": {"schemata": ["a", "b\nc"]}}, "linux.intelRdt.schemata[1]: must be one line"),
    ({"linux.netDevices": {"eth0": {}}}, "linux.netDevices: unable to move network devices without a NET namespace"),
    *[({"linux.netDevices": {"eth0": {"name": name}}, "linux.namespaces+": [NET]},
       "linux.netDevices.eth0: invalid network device name")
      for name in ("", "a/b", "a b", "a:b", "..", "x" * 16)],
    ({"linux.memoryPolicy": {"mode": "MPOL_BIND"}}, "linux.memoryPolicy.nodes: MPOL_BIND mode requires at least 1 node"),
    ({"linux.memoryPolicy": {"mode": "MPOL_LOCAL", "nodes": "0-7"}},
     "linux.memoryPolicy.nodes: MPOL_LOCAL mode requires 0 nodes"),
    ({"linux.memoryPolicy": {"mode": "MPOL_BIND", "nodes": "x"}},
     'linux.memoryPolicy.nodes: invalid memory policy nodes "x"'),
)  # fmt: skip


@pytest.mark.parametrize(("changes", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_a_rule_refuses(changes, message):
    assert message in "; ".join(faults_of(changes))


OFFSETS = {"linux.timeOffsets": {"boottime": {"secs": -1}}, "linux.namespaces+": [TIME]}
TAKEN = (
    {},
    *[{"ociVersion": v} for v in ("1.0.0", "1.0.2", "1.0.2-dev", "1.2.1", "1.3.0+dev", "1.0.0-rc.1+b-1")],
    {"process": DROP},
    {"root.path": "/abs"},
    {"process.env": ["A=", "B=b=c", "A=1"]},
    {"process.consoleSize": {"height": 65536, "width": 1}},
    {"process.terminal": True, "process.consoleSize": {"height": 65535, "width": 1}},
    {"process.capabilities": {"effective": ["CAP_FOO"], "permitted": ["CAP_KILL"], "bounding": []}},
    {"process.rlimits": [{"type": "RLIMIT_CORE", "soft": 1, "hard": 2**64 - 1}]},
    {"hostname": "x" * 64, "domainname": "", "linux.namespaces+": [UTS]},
    {"hostname": "x", "linux.namespaces+": [{**UTS, "path": "/proc/1/ns/uts"}]},
    {"hostname": ""},
    {"hooks": {"prestart": [{"path": "/x", "args": ["x"]}]}},
    {"annotations": {"org.x": "", "é": "1"}},
    mount(),
    mount(type="proc", destination="/proc"),
    mount(type="none", source="/proc", destination="/proc", options=["rbind"]),
    mount(type="bind", source="/x", destination="/proc/uptime", options=["ro"]),
    mount(source="x", type=None, options=["rbind", "rro", "rslave", "nosymfollow"]),
    mount(type=None, options=["remount", "ro"]),
    mount(type="bind", options=["remount", "ro", "bind"]),
    mount(options=["size=1k", "mode=755", "tmpcopyup"]),
    mount(destination="/process"),
    {"linux.namespaces": []},
    {"linux": DROP},
    {"linux.maskedPaths": ["/a", "/proc/../x", "//a"], "linux.readonlyPaths": ["/.a", "/proc/sys"]},
    {"linux.namespaces+": [{**USER, "path": "/x"}]},
    mapped(),
    mapped(process__user={"uid": 9, "gid": 9, "additionalGids": [0, 9]}),
    mapped(linux__uidMappings=[MAP, {"containerID": 10, "hostID": 0, "size": 1000}]),
    mapped(linux__uidMappings=[{"containerID": 0, "hostID": 0, "size": 2**32 - 1}]),
    {"linux.sysctl": {"kernel.shmmax": "1", "fs.mqueue.x": "1", "fs/mqueue/x": "1"}, "linux.namespaces+": [IPC]},
    {"linux.sysctl": {"net.ipv4.ip_forward": "1", "net/ipv4/conf/eth0.1/x": "1", "net.ipv4.conf.eth0/1.x": "1"},
     "linux.namespaces+": [NET]},
    {"linux.sysctl": {"kernel.domainname": "x"}, "linux.namespaces+": [UTS]},
    mapped(linux__sysctl={"user.max_user_namespaces": "1"}),
    {"linux.devices": [{"type": "p", "path": "/foo/bar"}, {"type": "u", "path": "/x", "major": 0, "minor": 0}]},
    {"linux.resources": {"devices": [{"allow": False}, {"allow": True, "access": "rwm"}, {"allow": True, "access": ""}]}},
    {"linux.resources": {"memory": {"limit": 10, "swap": -1}}},
    {"linux.resources": {"memory": {"limit": 10, "swap": 0}}},
    {"linux.resources": {"cpu": {"quota": -1, "burst": 11, "cpus": "0-3,7", "mems": "0", "idle": 1}}},
    {"linux.resources": {"cpu": {"cpus": "", "quota": 10, "burst": 10}}},
    {"linux.resources": {"blockIO": {"weight": 0, "weightDevice": [{"major": 8, "minor": 0, "weight": 10}]}}},
    {"linux.resources": {"network": {"priorities": [{"name": "eth0", "priority": 1}]}, "rdma": {"m": {"hcaObjects": 0}}}},
    {"linux.resources": {"unified": {"memory.max": "1", "cpu.uclamp.max": "5"}, "pids": {"limit": 0}}},
    {"process.scheduler": {"policy": "SCHED_OTHER", "nice": -20}},
    {"process.scheduler": {"policy": "SCHED_RR", "priority": 99}},
    {"process.scheduler": {"policy": "SCHED_DEADLINE", "runtime": 1, "deadline": 2, "period": 3}},
    {"process.ioPriority": {"class": "IOPRIO_CLASS_RT", "priority": 7}},
    {"process.execCPUAffinity": {"initial": "0-3, 7", "final": ""}},
    OFFSETS,
    {"linux.personality": {"domain": "LINUX32"}},
    {"process.apparmorProfile": "", "process.selinuxLabel": "", "linux.mountLabel": "", "linux.netDevices": {}},
)  # fmt: skip


@pytest.mark.parametrize("changes", TAKEN, ids=str)
def test_what_is_good_passes(changes):
    assert faults_of(changes) == []


def test_every_rule_speaks_at_once():
    faults = faults_of(
        {"ociVersion": "x", "root": DROP, "process.cwd": "x", "hostname": "h", **mount(destination="/")}
    )

    assert len(faults) == 5


ROOTLESS = CheckFacts(bundle="/bundle", rootless=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "linux.namespaces: rootless container requires user namespaces"),
        (
            {"linux.namespaces+": [USER], "linux.gidMappings": [MAP]},
            "linux.uidMappings: rootless containers requires at least one UID mapping",
        ),
        (
            {"linux.namespaces+": [USER], "linux.uidMappings": [MAP]},
            "linux.gidMappings: rootless containers requires at least one GID mapping",
        ),
        (
            mapped(process__user={"additionalGids": [1]}),
            "process.user.additionalGids: cannot set any additional groups in a rootless container",
        ),
        (
            mapped(**mount(options=["uid=1", "gid=10"])),
            "mounts[0].options: cannot specify gid=10 mount option for rootless container: the id is not mapped",
        ),
        (
            mapped(**mount(type="bind", source="/x", options=["idmap"])),
            "mounts[0]: id-mapped mounts are not supported for rootless containers",
        ),
        (
            mapped(linux__netDevices={"eth0": {}}),
            "linux.netDevices: network devices are not supported for rootless containers",
        ),
    ],
)
def test_a_rootless_container_is_refused(changes, message):
    assert message in faults_of(changes, ROOTLESS)


@pytest.mark.parametrize(
    "changes",
    [
        mapped(),
        mapped(**mount(options=["uid=9", "gid=x", "uid="])),
        {"linux.namespaces+": [{**USER, "path": "/x"}]},
    ],
)
def test_a_rootless_container_passes(changes):
    assert faults_of(changes, ROOTLESS) == []


@pytest.mark.parametrize(
    ("changes", "warnings"),
    [
        ({}, []),
        ({"ociVersion": "1.99.0"}, ["ociVersion: 1.99.0 is newer than 1.3, the newest known here"]),
        (
            {"process.capabilities": {"bounding": ["SYS_ADMIN", "CAP_\x1b"], "effective": ["SYS_ADMIN"]}},
            [
                'ignoring unknown or unavailable capabilities: [CAP_\\u001b SYS_ADMIN] (did you mean "CAP_SYS_ADMIN"?)'
            ],
        ),
        (
            {
                "process.capabilities": {
                    "ambient": ["CAP_KILL", "CAP_CHOWN", "CAP_FOO"],
                    "permitted": ["CAP_CHOWN"],
                }
            },
            [
                "ignoring unknown or unavailable capabilities: [CAP_FOO]",
                "can't raise ambient capability CAP_CHOWN, CAP_KILL: operation not permitted",
            ],
        ),
        (
            mount(destination="a/x"),
            ['mounts[0].destination: mount destination "a/x" is not absolute, taken from / (deprecated)'],
        ),
        (
            {"linux.uidMappings": [MAP], "linux.gidMappings": [MAP]},
            [
                "linux.uidMappings: not used, there is no user namespace",
                "linux.gidMappings: not used, there is no user namespace",
            ],
        ),
        (
            {"linux.uidMappings": [MAP], "linux.namespaces+": [{**USER, "path": "/x"}]},
            ["linux.uidMappings: not used, the user namespace is joined, not made"],
        ),
        (
            {"linux.personality": {"domain": "LINUX", "flags": ["X"]}},
            ["linux.personality.flags: ignored, no flag is defined"],
        ),
        (
            {
                "annotations": {
                    "org.example": "",
                    "run.oci.handler": "krun",
                    "run.oci.keep_original_groups": "1",
                    "run.oci.hooks.stdout": "/x",
                }
            },
            ['annotations["run.oci.handler"]: ignored, pyrunc does nothing by it (docs/annotations.md)'],
        ),
    ],
)
def test_a_warning_is_told_and_changes_nothing(changes, warnings):
    told = check(spec_with(changes), FACTS)

    assert told == warnings


def test_every_rule_says_what_it_serves():
    assert all(rule.__doc__ and len(rule.__doc__) > 20 for rule in CHECKS)


def test_the_root_is_a_directory(tmp_path):
    (tmp_path / "rootfs").mkdir()
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to("rootfs")

    check_bundle_paths(spec_with({}), str(tmp_path))
    check_bundle_paths(spec_with({"root.path": "link"}), str(tmp_path))
    check_bundle_paths(spec_with({"root.path": str(tmp_path)}), "/nowhere")
    check_bundle_paths(spec_with({"root": DROP}), str(tmp_path))
    for path, why in (("file", "not a directory"), ("none", "no such file or directory")):
        with pytest.raises(SpecError) as error:
            check_bundle_paths(spec_with({"root.path": path}), str(tmp_path))
        assert str(error.value).startswith("root.path: invalid rootfs: ")
        assert str(error.value).endswith(why)


def test_a_sysctl_never_reaches_the_network_namespace_that_we_are_in(tmp_path):
    (tmp_path / "rootfs").mkdir()
    joined = {**NET, "path": "/proc/self/ns/net"}
    sysctl = {"net.ipv4.ip_forward": "1"}

    with pytest.raises(
        SpecError, match=r'sysctl "net\.ipv4\.ip_forward" not allowed in host network namespace'
    ):
        check_bundle_paths(spec_with({"linux.namespaces+": [joined], "linux.sysctl": sysctl}), str(tmp_path))
    gone = spec_with({"linux.namespaces+": [{**NET, "path": "/nowhere"}], "linux.sysctl": sysctl})
    with pytest.raises(
        SpecError, match=r"linux.namespaces\[2\].path: stat /nowhere: no such file or directory"
    ):
        check_bundle_paths(gone, str(tmp_path))
    other = {**NET, "path": os.fspath(tmp_path)}
    check_bundle_paths(spec_with({"linux.namespaces+": [other], "linux.sysctl": sysctl}), str(tmp_path))
    check_bundle_paths(spec_with({"linux.namespaces+": [joined]}), str(tmp_path))


@pytest.mark.parametrize(
    ("path", "cleaned"),
    [("", "/"), ("/", "/"), ("a", "/a"), ("/a//b/./c/", "/a/b/c"), ("/../a/../..", "/"), ("//proc", "/proc")],
)
def test_a_path_is_cleaned_by_its_letters(path, cleaned):
    assert clean(path) == cleaned


@pytest.mark.parametrize(
    ("text", "is_one"),
    [("0", True), ("0-3,7", True), ("0-3, 7", True), ("3-3", True), ("", False), (",", False), ("-", False), ("a", False),
     ("3-1", False), ("1-", False), ("-1", False), ("0-1-2", False), ("٣", False), ("99999999", False), ("1\n", False)],
)  # fmt: skip
def test_lists_of_numbers(text, is_one):
    assert is_number_list(text) is is_one


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("net.ipv4.ip_forward", "net.ipv4.ip_forward"),
        ("net/ipv4/ip_forward", "net.ipv4.ip_forward"),
        ("net/ipv4/conf/eth0.1/x", "net.ipv4.conf.eth0/1.x"),
        ("net.ipv4.conf.eth0/1.x", "net.ipv4.conf.eth0/1.x"),
        ("net/../kernel/x", ""),
        ("a..b", ""),
        ("a.//.b", ""),
        ("", ""),
    ],
)
def test_names_of_sysctls(key, name):
    assert sysctl_name(key) == name


def test_the_page_has_every_annotation_that_acts():
    page = (Path(__file__).parents[2] / "docs/annotations.md").read_text()
    rows = [line.split(" | ")[0] for line in page.splitlines() if line.startswith("| `")]
    acting = {name for row in rows for name in re.findall(r"`([^`]+)`", row)}
    others = {"org.pyrunc.landlock", "org.systemd.property.NAME", "org.criu.config"}

    assert acting == CRUNS_TAKEN | others
    assert set(UNSAFE) == {name.removesuffix("NAME") for name in others} | {CRUNS}


def test_an_annotation_that_is_taken_is_one_that_acts():
    acting = {agent.RECEIVER, pidfd.ANNOTATION, hookio.STDOUT, hookio.STDERR, facts.FAIL_UNKNOWN}
    acting |= {DELEGATE, SUBGROUP, KEEP_GROUPS, CONTEXT_TYPE}

    assert acting == CRUNS_TAKEN
