"""linux.netDevices: interfaces that are moved into the container. The host's stay alone: the runtime runs in a namespace
of the test's own, where the test has made a veth pair."""

from __future__ import annotations

import json
import os
import subprocess

import pytest
from lib.runtime import poll

req = pytest.mark.req
pytestmark = [
    pytest.mark.only_if("tool:unshare"),
    pytest.mark.only_if("tool:ip"),
    pytest.mark.only_if("net:veth"),
]
MAC = "02:00:00:00:00:07"


class Net:
    """A network namespace with the veth pair dev0, peer0; `prefix` runs a command in it."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.path = f"/proc/{pid}/ns/net"
        self.prefix = ("nsenter", f"--net={self.path}")

    def ip(self, *words: str) -> None:
        subprocess.run([*self.prefix, "ip", *words], check=True, timeout=10)

    def links(self) -> dict[str, dict]:
        command = [*self.prefix, "ip", "-json", "-details", "address"]
        found = json.loads(subprocess.run(command, check=True, timeout=10, stdout=subprocess.PIPE).stdout)
        return {link["ifname"]: link for link in found}

    def addresses(self, name: str) -> set[str]:
        found = [address for address in self.links()[name]["addr_info"] if address["scope"] == "global"]
        return {f"{address['local']}/{address['prefixlen']}" for address in found}


@pytest.fixture
def net(runtime):
    holder = runtime.spawn_sleep("unshare", "-n")
    path = f"/proc/{holder.pid}/ns/net"
    assert poll(lambda: os.readlink(path) != os.readlink("/proc/self/ns/net"))
    made = Net(holder.pid)
    try:
        made.ip("link", "add", "dev0", "type", "veth", "peer", "name", "peer0")
        yield made
    finally:
        holder.kill()
        runtime.wait(holder)


def inside(container) -> Net:
    return Net(container.pid)


def devices(bundle, **names: str | None):
    """The bundle with these devices: name on the host -> name in the container."""
    return bundle.set("linux.netDevices", {old: {"name": new} if new else {} for old, new in names.items()})


@req("ND-1", "ND-6")
def test_device_is_moved_and_up(runtime, bundle, net):
    c = runtime.running(devices(bundle, dev0=None).probe("hold"), prefix=net.prefix)
    assert set(inside(c).links()) == {"lo", "dev0"}
    assert "UP" in inside(c).links()["dev0"]["flags"]
    assert set(net.links()) == {"lo", "peer0"}


@req("ND-2")
def test_device_is_renamed(runtime, bundle, net):
    c = runtime.running(devices(bundle, dev0="eth9", peer0="eth10").probe("hold"), prefix=net.prefix)
    assert set(inside(c).links()) == {"lo", "eth9", "eth10"}


@req("ND-1", "ND-2")
def test_devices_change_their_names_about(runtime, bundle, net):
    """A name is free again once the device that had it on the host has gone into the container under another one."""
    c = runtime.running(devices(bundle, dev0="peer0").probe("hold"), prefix=net.prefix)
    assert set(inside(c).links()) == {"lo", "peer0"}
    assert set(net.links()) == {"lo", "peer0"}


@req("ND-3")
@pytest.mark.parametrize("name", ["nothere", "lo"])
def test_device_that_cannot_be_moved(runtime, bundle, net, name):
    runtime.refuses(devices(bundle, **{name: None}), name, prefix=net.prefix)
    assert set(net.links()) == {"lo", "dev0", "peer0"}


@req("ND-3")
def test_device_without_a_network_namespace(runtime, bundle, net):
    bundle.drop_ns("network")
    runtime.refuses(devices(bundle, dev0=None), prefix=net.prefix)
    assert set(net.links()) == {"lo", "dev0", "peer0"}


@req("ND-3")
def test_device_into_the_namespace_that_it_is_in(runtime, bundle, net):
    runtime.refuses(devices(bundle.ns("network", net.path), dev0="eth0"), prefix=net.prefix)
    assert set(net.links()) == {"lo", "dev0", "peer0"}


@req("ND-2", "ND-3")
@pytest.mark.parametrize("name", ["a" * 16, "a/b", "a b", ".", "..", "a:b"])
def test_name_that_is_none(runtime, bundle, net, name):
    runtime.refuses(devices(bundle, dev0=name), prefix=net.prefix)
    assert set(net.links()) == {"lo", "dev0", "peer0"}


@req("ND-4")
@pytest.mark.parametrize("name", ["lo", None])
def test_name_in_use(runtime, bundle, net, name):
    joined = runtime.running(runtime.bundle().probe("hold"))
    inside(joined).ip("link", "add", "dev0", "type", "veth", "peer", "name", "other")
    bundle.ns("network", inside(joined).path)
    runtime.refuses(devices(bundle, dev0=name), name or "dev0", prefix=net.prefix)
    assert set(net.links()) == {"lo", "dev0", "peer0"}
    assert set(inside(joined).links()) == {"lo", "dev0", "other"}


@req("ND-4")
def test_kernel_picks_a_free_name(runtime, bundle, net):
    """%d ends the name: the kernel puts the first number that is free."""
    joined = runtime.running(runtime.bundle().probe("hold"))
    inside(joined).ip("link", "add", "eth0", "type", "veth", "peer", "name", "other")
    bundle.ns("network", inside(joined).path)
    runtime.running(devices(bundle, dev0="eth%d").probe("hold"), prefix=net.prefix)
    assert set(inside(joined).links()) == {"lo", "eth0", "other", "eth1"}
    assert "UP" in inside(joined).links()["eth1"]["flags"]


@req("ND-5")
def test_attributes_and_addresses_are_kept(runtime, bundle, net):
    net.ip("link", "set", "dev0", "address", MAC, "mtu", "1400", "up")
    net.ip("address", "add", "192.0.2.5/24", "broadcast", "+", "dev", "dev0")
    net.ip("address", "add", "192.0.2.6/24", "dev", "dev0")
    net.ip("address", "add", "198.51.100.1", "peer", "198.51.100.9/32", "dev", "dev0")
    net.ip("address", "add", "2001:db8::5/64", "dev", "dev0")
    c = runtime.running(devices(bundle, dev0="eth0").probe("hold"), prefix=net.prefix)
    link = inside(c).links()["eth0"]
    assert (link["address"], link["mtu"]) == (MAC, 1400)
    assert inside(c).addresses("eth0") == {
        "192.0.2.5/24",
        "192.0.2.6/24",
        "198.51.100.1/32",
        "2001:db8::5/64",
    }
    seen = {address["local"]: address for address in link["addr_info"]}
    assert seen["192.0.2.5"]["broadcast"] == "192.0.2.255"
    assert seen["198.51.100.1"]["address"] == "198.51.100.9"


@req("ND-5")
def test_other_addresses_are_left(runtime, bundle, net):
    """Those of a smaller scope and those that expire hold in the namespace they were given for."""
    net.ip("link", "set", "dev0", "up")
    net.ip("address", "add", "192.0.2.5/24", "scope", "link", "dev", "dev0")
    net.ip("address", "add", "203.0.113.77/24", "valid_lft", "600", "preferred_lft", "600", "dev", "dev0")
    net.ip("address", "add", "2001:db8::77/64", "valid_lft", "600", "preferred_lft", "600", "dev", "dev0")
    c = runtime.running(devices(bundle, dev0=None).probe("hold"), prefix=net.prefix)
    assert inside(c).addresses("dev0") == set()
    assert "192.0.2.5" not in json.dumps(inside(c).links()["dev0"])


@req("ND-7")
def test_device_is_left_alone_afterwards(runtime, bundle, net):
    """What the container does to its device stands: no later command looks after it."""
    c = runtime.running(devices(bundle, dev0=None).probe("hold"), prefix=net.prefix)
    inside(c).ip("link", "set", "dev0", "down")
    inside(c).ip("link", "set", "dev0", "name", "mine", "mtu", "1300")
    inside(c).ip("address", "add", "192.0.2.9/24", "dev", "mine")
    before = inside(c).links()
    for command in ("state", "pause", "resume"):
        runtime.ok(command, c.id)
    runtime.ok("exec", c.id, "/probe", "report")
    assert inside(c).links() == before
    assert "UP" not in before["mine"]["flags"]


@req("ND-1", "ID-1")
def test_device_with_a_user_namespace(runtime, bundle, net):
    c = runtime.running(devices(bundle.userns(), dev0="eth0").probe("hold"), prefix=net.prefix)
    assert set(inside(c).links()) == {"lo", "eth0"}


@req("ND-1", "HK-10")
def test_hooks_find_the_device(runtime, bundle, net):
    script = (
        'exec nsenter --net=/proc/$(sed -n "s/.*\\"pid\\": *\\([0-9]*\\).*/\\1/p")/ns/net ip link show eth0'
    )
    hook = {"path": "/bin/sh", "args": ["sh", "-c", script], "env": [f"PATH={os.environ['PATH']}"]}
    bundle.set("hooks", {"createRuntime": [hook]})
    runtime.running(devices(bundle, dev0="eth0").probe("hold"), prefix=net.prefix)


@req("ND-8")
def test_device_is_not_moved_back(runtime, bundle, net):
    """The kernel ends what is virtual with the namespace, and its peer; hardware it gives back to the host."""
    c = runtime.running(devices(bundle, dev0=None).probe("hold"), prefix=net.prefix)
    c.stop()
    assert c.delete().code == 0
    assert poll(lambda: set(net.links()) == {"lo"})


@req("ND-1", "ER-1")
@pytest.mark.parametrize("broken", ["device", "hook"])
def test_failed_creation_gives_the_device_back(runtime, bundle, net, broken):
    """As it was: name, addresses, up."""
    net.ip("link", "set", "dev0", "up")
    net.ip("address", "add", "192.0.2.5/24", "dev", "dev0")
    net.ip("address", "add", "2001:db8::5/64", "dev", "dev0")
    if broken == "hook":
        bundle.set("hooks", {"createRuntime": [{"path": "/bin/false"}]})
        devices(bundle, dev0="eth0")
    else:
        devices(bundle, dev0="eth0", missing=None)
    runtime.refuses(bundle, prefix=net.prefix)
    assert set(net.links()) == {"lo", "dev0", "peer0"}
    assert net.addresses("dev0") == {"192.0.2.5/24", "2001:db8::5/64"}
    assert "UP" in net.links()["dev0"]["flags"]
