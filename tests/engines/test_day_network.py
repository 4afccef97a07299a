"""Networks of the engine's own and published ports, with pyrunc beside runc. All of it in the box's network namespace."""

from __future__ import annotations

import itertools
import sys

import images
import pytest
from day import action, until

pytestmark = pytest.mark.engines

PORTS = itertools.count(20000)
SERVE = "mkdir /www; echo served >/www/index.html; exec httpd -f -p 80 -h /www"
ASK = """
import socket, sys
sock = socket.socket()
sock.settimeout(2)
sock.connect(("127.0.0.1", int(sys.argv[1])))
sock.send(b"GET / HTTP/1.0\\r\\n\\r\\n")
said = b""
while not said.endswith(b"served\\n") and (more := sock.recv(4096)):
    said += more
print(said.decode().splitlines()[-1])
"""


def fetch(user, port):
    """Ask a port on the box's loopback: the last line of the answer."""
    return user.box(sys.executable, "-ISc", ASK, str(port)).out


@action("--publish: a port of the bridge answers on loopback")
@pytest.mark.parametrize("words", ["127.0.0.1:{}:80", "{}:80"], ids=["address", "all"])
def test_publish(user, words):
    port = next(PORTS)
    name = user.start("--publish", words.format(port), script=SERVE)
    assert until(lambda: fetch(user, port)) == "served\n"
    assert f":{port}" in user("port", name, "80").out
    user(*user.engine.remove, name)
    assert fetch(user, port) == ""


@action("the bridge: an address, a default route, resolv.conf, the engine's side answers")
def test_bridge(user):
    port = next(PORTS)
    user.start("--publish", f"{port}:80", script=SERVE)
    assert until(lambda: fetch(user, port)) == "served\n"
    script = f"""
        cat /sys/class/net/eth0/operstate; ls /sys/class/net; test -s /etc/hosts && test -e /etc/resolv.conf && echo files
        gate=$(ip route | sed -n 's/^default via \\([^ ]*\\).*/\\1/p')
        wget -q -O - http://$gate:{port}/"""
    assert user.run(script=script).out.split() == ["up", "eth0", "lo", "files", "served"]


@action("network create: containers find each other by name")
def test_network_of_ones_own(user):
    net = user.new_name()
    user("network", "create", net)
    try:
        name = user.start("--network", net, script=SERVE)
        asked = f"for i in 1 2 3 4 5; do wget -q -O - http://{name}/ && break; sleep .2; done"
        assert user.run("--network", net, script=asked).out == "served\n"
        other = user.start()
        user("network", "connect", net, other)
        assert "eth1" in user("exec", other, "ls", "/sys/class/net").out.split()
        user("network", "disconnect", net, other)
        assert "eth1" not in user("exec", other, "ls", "/sys/class/net").out.split()
    finally:
        for each in user.made[1:]:
            user(*user.engine.remove, each, code=None)
        user("network", "rm", net)


@action("--mac-address, --dns, --add-host")
def test_network_words(user):
    words = ("--mac-address", "02:42:ac:11:00:77", "--dns", "192.0.2.1", "--add-host", "there:192.0.2.7")
    script = "cat /sys/class/net/eth0/address /etc/resolv.conf /etc/hosts"
    said = user.run(*words, script=script).out
    assert said.startswith("02:42:ac:11:00:77\n")
    assert "nameserver 192.0.2.1" in said
    assert "192.0.2.7" in said


@action("--pid, --network, --ipc container:NAME")
def test_port_of_a_shared_network(user):
    port = next(PORTS)
    first = user.start("--publish", f"127.0.0.1:{port}:80")
    user(
        "run",
        "--detach",
        "--name",
        user.new_name(),
        "--network",
        f"container:{first}",
        images.NAME,
        "sh",
        "-c",
        SERVE,
    )
    assert until(lambda: fetch(user, port)) == "served\n"
