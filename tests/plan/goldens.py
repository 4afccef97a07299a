"""The golden cases: each is a change of the base config, on a host, with a request. `pytest --regold`
writes them out."""

from __future__ import annotations

from dataclasses import dataclass, field

from cases import HOST, ID_MAP, LAYOUTS, base, minimal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from cases import Config


@dataclass
class Case:
    """One golden case."""

    config: Config
    host: dict[str, Any] = field(default_factory=dict)
    """What differs from cases.HOST."""
    request: dict[str, Any] = field(default_factory=dict)


CASES: dict[str, Case] = {}


def case(function: Callable[[], Case]) -> None:
    """Register a case under the function's name."""
    CASES[function.__name__.replace("_", "-")] = function()


def with_mount(destination: str, kind: str | None, source: str | None, *options: str) -> Config:
    """Return the minimal config with one mount."""
    config = minimal()
    mount = {"destination": destination, "type": kind, "source": source, "options": list(options)}
    config["mounts"] = [{key: value for key, value in mount.items() if value}]
    return config


def namespaces(config: Config, *kinds: str, **joined: str) -> Config:
    """Give a config these namespaces, new ones and ones to join."""
    config["linux"]["namespaces"] = [
        *({"type": kind} for kind in kinds), *({"type": kind, "path": path} for kind, path in joined.items())
    ]  # fmt: skip
    return config


def userns(config: Config) -> Config:
    """Add a user namespace."""
    config["linux"]["namespaces"].append({"type": "user"})
    config["linux"] |= {"uidMappings": ID_MAP, "gidMappings": ID_MAP}
    return config


@case
def default() -> Case:
    return Case(base())


@case
def default_create() -> Case:
    return Case(base(), request={"wait": True})


@case
def default_minimal() -> Case:
    return Case(minimal())


@case
def no_namespaces() -> Case:
    config = minimal()
    del config["linux"]
    return Case(config)


@case
def default_userns() -> Case:
    return Case(userns(base()))


@case
def rootless() -> Case:
    config = base()
    config["linux"]["namespaces"] = [
        {"type": kind} for kind in ("user", "pid", "ipc", "uts", "mount", "cgroup")
    ]
    own = [{"containerID": 0, "hostID": 1000, "size": 1}]
    config["linux"] |= {"uidMappings": own, "gidMappings": own}
    config["mounts"][5] = {
        "destination": "/sys", "type": "none", "source": "/sys",
        "options": ["rbind", "nosuid", "noexec", "nodev", "ro"],
    }  # fmt: skip
    config["process"]["oomScoreAdj"] = -100
    return Case(config, {"euid": 1000, "egid": 1000, "effective": 0}, {"rootless": True})


@case
def nested_without_setgroups() -> Case:
    """Root of a user namespace that an ordinary user made (`unshare -Ur`)."""
    return Case(base(), {"in_userns": True, "setgroups": False})


@case
def userns_without_net_and_ipc() -> Case:
    config = namespaces(userns(base()), "user", "mount", "uts")
    return Case(config)


@case
def joined_namespaces() -> Case:
    return Case(
        namespaces(base(), "mount", "uts", network="/run/netns/a", ipc="/proc/7/ns/ipc", pid="/proc/7/ns/pid")
    )


@case
def joined_user() -> Case:
    return Case(
        namespaces(base(), "mount", user="/proc/7/ns/user", network="/proc/7/ns/net", uts="/proc/7/ns/uts")
    )


@case
def joined_mount_new_user() -> Case:
    return Case(namespaces(userns(base()), "user", "pid", mount="/proc/7/ns/mnt"))


@case
def time() -> Case:
    config = namespaces(minimal(), "mount", "pid", "time")
    config["linux"]["timeOffsets"] = {
        "monotonic": {"secs": 7881, "nanosecs": 2718281},
        "boottime": {"secs": -10},
    }
    return Case(config)


@case
def time_userns_joined_net() -> Case:
    config = namespaces(userns(minimal()), "mount", "user", "time", network="/run/netns/a")
    config["linux"]["timeOffsets"] = {"boottime": {"secs": 1337}}
    return Case(config)


@case
def network_devices() -> Case:
    config = namespaces(minimal(), "mount", "network")
    config["linux"]["netDevices"] = {"dummy0": {}, "eth1.100": {"name": "lan%d"}}
    return Case(config)


@case
def network_devices_joined() -> Case:
    config = namespaces(userns(minimal()), "mount", "pid", "user", network="/run/netns/a")
    config["linux"]["netDevices"] = {"dummy0": {"name": "eth0"}}
    return Case(config)


@case
def resctrl() -> Case:
    config = namespaces(minimal(), "mount", "pid")
    config["linux"]["intelRdt"] = {
        "l3CacheSchema": "L3:0=f",
        "memBwSchema": "MB:0=50",
        "enableMonitoring": True,
    }
    return Case(config)


@case
def terminal() -> Case:
    config = base()
    config["process"] |= {"terminal": True, "consoleSize": {"height": 10, "width": 110}}
    config["process"]["user"] = {"uid": 1000, "gid": 1000}
    return Case(config)


@case
def ordinary_user() -> Case:
    config = base()
    config["process"]["user"] = {"uid": 1000, "gid": 100, "additionalGids": [5, 10], "umask": 0o27}
    config["process"]["cwd"] = "/home/app"
    return Case(config)


@case
def mount_bind() -> Case:
    config = with_mount("/data", "bind", "vol", "rbind", "ro", "nosuid", "rprivate", "rnoatime")
    config["mounts"] += [
        {
            "destination": "/etc/../etc/resolv.conf",
            "type": "bind",
            "source": "/etc/resolv.conf",
            "options": ["bind"],
        },
        {"destination": "/rw", "source": "/srv", "options": ["bind", "noatime", "rw", "shared"]},
        {"destination": "/type/only", "type": "bind", "source": "/srv"},
    ]
    return Case(config)


MAPS = {"uidMappings": ID_MAP, "gidMappings": [{"containerID": 0, "hostID": 5, "size": 9}]}


def _idmapped() -> Config:
    config = with_mount("/data", "bind", "vol", "rbind", "idmap", "ro")
    config["mounts"] += [
        {"destination": "/tree", "source": "/srv", "options": ["rbind", "ridmap"], **MAPS},
        {"destination": "/same", "source": "/srv/a.txt", "options": ["bind"], **MAPS},
    ]
    config["mounts"][0] |= {"uidMappings": ID_MAP, "gidMappings": ID_MAP}
    return config


@case
def mount_idmap() -> Case:
    return Case(_idmapped())


@case
def mount_idmap_userns() -> Case:
    config = userns(_idmapped())
    config["mounts"].append({"destination": "/own", "source": "vol", "options": ["bind", "idmap"]})
    return Case(config)


@case
def mount_tmpfs() -> Case:
    config = with_mount("/run", "tmpfs", "tmpfs", "ro", "tmpcopyup", "size=1k,nr_inodes=7")
    config["mounts"] += [
        {"destination": "/inherit", "type": "tmpfs", "source": "tmpfs"},
        {
            "destination": "/mode",
            "type": "tmpfs",
            "source": "tmpfs",
            "options": ["mode=1777", "tmpcopyup", "noexec"],
        },
    ]
    return Case(config)


@case
def mount_readonly_dev() -> Case:
    config = base()
    config["mounts"][1]["options"].append("ro")
    return Case(config)


@case
def mount_proc_and_sysfs() -> Case:
    config = with_mount("/proc", "proc", "proc", "hidepid=2", "nosuid")
    config["mounts"].append(
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro", "noexec"]}
    )
    return Case(config)


@case
def mount_overlay() -> Case:
    layers = ":".join(f"/var/lib/layers/{'x' * 60}{n}" for n in range(5))
    options = (f"lowerdir={layers}", "upperdir=/up", "workdir=/work", "volatile")
    return Case(with_mount("/merged", "overlay", "overlay", *options))


@case
def mount_remount() -> Case:
    config = with_mount("/proc", "proc", "proc")
    config["mounts"].append(
        {"destination": "/proc", "type": "none", "options": ["remount", "bind", "ro", "nosuid"]}
    )
    return Case(config)


@case
def mount_flags() -> Case:
    options = (
        "sync",
        "dirsync",
        "lazytime",
        "iversion",
        "silent",
        "rw",
        "relatime",
        "nodiratime",
        "nosymfollow",
        "slave",
    )
    return Case(with_mount("/disk", "ext4", "/dev/vdb", *options, "data=ordered", 'context="a,b"'))


def _cgroup(mode: str, *kinds: str) -> Case:
    config = with_mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid", "ro")
    return Case(namespaces(config, "mount", *kinds), {"cgroup": LAYOUTS[mode]})


@case
def cgroup_v1() -> Case:
    return _cgroup("v1")


@case
def cgroup_v1_namespace() -> Case:
    return _cgroup("v1", "cgroup")


@case
def cgroup_hybrid_namespace() -> Case:
    return _cgroup("hybrid", "cgroup")


@case
def cgroup_v2() -> Case:
    return _cgroup("v2")


@case
def cgroup_v2_namespace() -> Case:
    return _cgroup("v2", "cgroup")


@case
def cgroup_v2_userns() -> Case:
    return Case(userns(_cgroup("v2").config))


@case
def devices() -> Case:
    config = minimal()
    config["mounts"] = [base()["mounts"][1]]
    config["linux"]["devices"] = [
        {
            "type": "c",
            "path": "/dev/fuse",
            "major": 10,
            "minor": 229,
            "fileMode": 0o20660,
            "uid": 1,
            "gid": 2,
        },
        {"type": "b", "path": "/some/where/disk", "major": 8, "minor": 1},
        {"type": "p", "path": "/dev/pipe", "fileMode": 0o600},
        {"type": "c", "path": "/dev/null", "major": 1, "minor": 3, "fileMode": 0o600},
        {"type": "c", "path": "/dev/ptmx", "major": 5, "minor": 2},
    ]
    return Case(config)


@case
def devices_userns() -> Case:
    config = userns(minimal())
    config["linux"]["devices"] = [{"type": "c", "path": "/dev/fuse", "major": 10, "minor": 229}]
    return Case(config)


@case
def bound_dev() -> Case:
    return Case(with_mount("/dev", "bind", "/dev", "rbind"))


@case
def no_pivot() -> Case:
    return Case(base(), request={"no_pivot": True, "no_new_keyring": True, "preserve_fds": 2})


@case
def hooks() -> Case:
    config = minimal()
    config["hooks"] = {
        stage: [
            {"path": f"/bin/{stage}", "args": [stage, "x y"], "timeout": 5},
            {"path": "/bin/next", "env": ["A=b"]},
        ]
        for stage in (
            "prestart",
            "createRuntime",
            "createContainer",
            "startContainer",
            "poststart",
            "poststop",
        )
    }
    config["process"]["env"] = ["PATH=/bin", "HOME=/root"]
    return Case(config, request={"wait": True})


@case
def rlimits() -> Case:
    config = minimal()
    config["process"]["rlimits"] = [
        {"type": "RLIMIT_NOFILE", "soft": 65536, "hard": 1048576},
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 2**64 - 1},
        {"type": "RLIMIT_AS", "soft": 2**30, "hard": 2**30},
    ]
    return Case(config)


@case
def capabilities() -> Case:
    config = minimal()
    some = ["CAP_CHOWN", "CAP_NET_RAW", "CAP_FOO", "CAP_SYS_RESOURCE"]
    config["process"]["capabilities"] = {
        "bounding": some, "effective": some, "permitted": some, "inheritable": ["CAP_CHOWN"],
        "ambient": ["CAP_CHOWN", "CAP_NET_RAW"],
    }  # fmt: skip
    return Case(config, {"bounding": HOST.bounding & ~(1 << 24)})


@case
def sysctl() -> Case:
    config = namespaces(minimal(), "mount", "network", "ipc")
    config["linux"]["sysctl"] = {
        "net.ipv4.ip_forward": "1", "net/ipv4/conf/eth0.5/forwarding": "1",
        "net.ipv4.conf.eth0/5.forwarding": "0", "kernel.msgmax": "65536",
    }  # fmt: skip
    return Case(config)


@case
def scheduling() -> Case:
    config = minimal()
    config["process"] |= {
        "scheduler": {"policy": "SCHED_BATCH", "nice": 5, "flags": ["SCHED_FLAG_RESET_ON_FORK"]},
        "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 6},
        "oomScoreAdj": 100,
    }
    config["linux"]["personality"] = {"domain": "LINUX32"}
    config["domainname"] = "example.org"
    return Case(config)


def _propagation(name: str) -> Case:
    config = minimal()
    config["linux"]["rootfsPropagation"] = name
    return Case(config)


@case
def propagation_shared() -> Case:
    return _propagation("shared")


@case
def propagation_rprivate() -> Case:
    return _propagation("rprivate")


@case
def propagation_unbindable() -> Case:
    return _propagation("unbindable")


def _seccomp(action: str = "ERRNO", *, no_new_privileges: bool = True, hook: bool = False) -> Config:
    """Give the minimal config a filter. What the profile says does not show in a plan, but whether it has an agent does."""
    config = minimal()
    config["process"]["noNewPrivileges"] = no_new_privileges
    rule = {"names": ["mkdir"], "action": f"SCMP_ACT_{action}"}
    config["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [rule],
        "listenerPath": "/run/agent",
    }
    if hook:
        config["hooks"] = {"startContainer": [{"path": "/bin/hook"}]}
    return config


@case
def seccomp() -> Case:
    return Case(_seccomp())


@case
def seccomp_privileged() -> Case:
    return Case(_seccomp("NOTIFY", no_new_privileges=False), request={"wait": True})


@case
def seccomp_notify() -> Case:
    return Case(_seccomp("NOTIFY"), request={"wait": True})


@case
def seccomp_hooks() -> Case:
    return Case(_seccomp("NOTIFY", hook=True))


@case
def exec_default() -> Case:
    return Case(CASES["default"].config, request={"inside": True})


@case
def exec_userns() -> Case:
    config = CASES["default-userns"].config
    process = config["process"] | {
        "user": {"uid": 1000, "gid": 1000, "additionalGids": [7]},
        "terminal": True,
        "oomScoreAdj": 100,
    }
    return Case(config | {"process": process}, request={"inside": True, "preserve_fds": 1})


@case
def exec_no_mount_namespace() -> Case:
    return Case(CASES["no-namespaces"].config, request={"inside": True})


@case
def labels() -> Case:
    config = base()
    config["process"] |= {
        "apparmorProfile": "docker-default",
        "selinuxLabel": "system_u:system_r:container_t:s0:c1,c2",
    }
    config["linux"]["mountLabel"] = "system_u:object_r:container_file_t:s0:c1,c2"
    return Case(config, host={"lsm": ("apparmor", "selinux")})


@case
def labels_exec() -> Case:
    return Case(CASES["labels"].config, host={"lsm": ("apparmor", "selinux")}, request={"inside": True})


@case
def memory_policy() -> Case:
    config = minimal()
    config["linux"]["memoryPolicy"] = {
        "mode": "MPOL_BIND",
        "nodes": "0-1,65",
        "flags": ["MPOL_F_STATIC_NODES"],
    }
    return Case(config)


@case
def landlock() -> Case:
    config = minimal()
    config["annotations"] = {"org.pyrunc.landlock": '{"read": ["/usr"], "connect": [443]}'}
    return Case(config)
