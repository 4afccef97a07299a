"""Each command beside runc and crun, on containers of the same configuration; CLI.md has the ids."""

from __future__ import annotations

import json
import re

import pytest
from lib.beside import Peer, normal, paths, shape
from lib.runtime import Container, new_id, poll

pytestmark = pytest.mark.only_if("tool:runc")
req = pytest.mark.req
KEYS_SINCE = {"psi", "throttling"}
"""What later versions of runc add to events, or leave out while it is zero."""


class Trio:
    """The container of the runtime under test, and those of runc and crun."""

    def __init__(self, runtime, bundle) -> None:
        bundle.args("/bin/sh", "-c", "sleep 1000 & exec sleep 1001")
        bundle.set("annotations", {"b": "<2>", "a": "1"})
        self.name = new_id()
        self.ours = runtime.detached(bundle, ident=f"{self.name}-ours")
        self.peers = []
        try:
            for name in ("runc", "crun"):
                peer = Peer(name, runtime)
                self.peers.append(peer)
                container = peer.detached(peer.twin(bundle.config), ident=f"{self.name}-{name}")
                setattr(self, name, container)
        except FileNotFoundError:
            self.crun = None  # not installed: runc alone is a comparison, too

    def all(self) -> list[Container]:
        return [c for c in (self.ours, self.runc, self.crun) if c is not None]

    def say(self, line: str, container: Container) -> tuple[int, str]:
        """A command on one of the containers: its exit code, and what it says without what is its own."""
        words = [container.id if word == "ID" else word for word in line.split()]
        result = container.runtime.cmd(*words, cwd=container.runtime.work)
        return result.code, normal(message(result), container)

    def close(self) -> None:
        for peer in self.peers:
            peer.clean_containers()  # what else may be left, the guard of the runtime under test finds
            assert peer.states() == []


def message(result) -> str:
    """Standard output of a success; of a failure the message, without the runtime's name and the time."""
    if result.code == 0:
        return result.out
    lines = [line for line in result.err.splitlines() if "level=error" in line] or result.err.splitlines()[
        -1:
    ]
    text = re.sub(r'^time=.* level=error msg="?|"$', "", lines[-1]) if lines else ""
    return re.sub(r"^(\S*/)?(runc|crun|pyrunc)\b", "RUNTIME", text.removesuffix("\\n"))


@pytest.fixture
def trio(runtime, bundle, request):
    if request.config.stash_version.startswith("crun"):
        pytest.skip("needs a runtime that follows runc")
    made = Trio(runtime, bundle)
    yield made
    made.close()


# ---- what is printed ----


@req("CLI-BESIDE-1", "CLI-STATE-1")
def test_state(trio):
    ours, runc, *others = [trio.say("state ID", c)[1] for c in trio.all()]
    assert json.loads(ours)["ociVersion"]
    version = r'"ociVersion": "[^"]+"'
    assert re.sub(version, "", ours) == re.sub(version, "", runc)
    for crun in map(json.loads, others):
        mine = shape(json.loads(ours))
        assert {
            key: mine[key] for key in ("id", "pid", "status", "bundle", "rootfs", "created", "annotations")
        } == {
            key: shape(crun)[key]
            for key in ("id", "pid", "status", "bundle", "rootfs", "created", "annotations")
        }


def columns(text: str) -> list[str]:
    """The words of the header; every column but the last begins where its title does."""
    header, *rows = text.splitlines()
    for title in re.finditer(r"\S+", header):
        for row in rows:
            assert title.start() == 0 or row[title.start() - 1] == " ", f"{title[0]}: {text}"
            assert row[title.start() : title.start() + 1] != " ", f"{title[0]}: {text}"
    return header.split()


@req("CLI-BESIDE-1", "CLI-LIST-1", "CLI-LIST-2")
def test_list(trio):
    tables = [c.runtime.ok("list").out for c in (trio.ours, trio.runc)]
    assert columns(tables[0]) == columns(tables[1])
    assert [len(t.splitlines()) for t in tables] == [2, 2]
    ours, runc = (json.loads(c.runtime.ok("list", "--format", "json").out) for c in (trio.ours, trio.runc))
    assert [list(entry) for entry in ours] == [list(entry) for entry in runc]
    assert shape(ours) == shape(runc)
    assert [c.runtime.ok("list", "-q").out for c in trio.all()] == [f"{c.id}\n" for c in trio.all()]


@req("CLI-BESIDE-1", "CLI-PS-1", "CLI-PS-2")
@pytest.mark.only_if("tool:ps", "v1:pids")
def test_ps(trio):
    assert poll(
        lambda: all(len(c.runtime.ok("ps", "--format", "json", c.id).json()) == 2 for c in trio.all())
    )
    tables = [c.runtime.ok("ps", c.id).out.splitlines() for c in (trio.ours, trio.runc)]
    assert tables[0][0] == tables[1][0]
    commands = [[line.split(None, 7)[7] for line in table] for table in tables]
    assert commands[0] == commands[1]
    forms = [re.sub(r"\d+", "N", c.runtime.ok("ps", "-f", "json", c.id).out) for c in (trio.ours, trio.runc)]
    assert forms == ["[N,N]\n"] * 2


@req("CLI-BESIDE-1", "CLI-EVENTS-1")
@pytest.mark.only_if("v1:memory", "v1:cpu", "v1:pids", "v1:cpuset")
def test_events(trio):
    ours, runc = [json.loads(trio.say("events --stats ID", c)[1]) for c in (trio.ours, trio.runc)]
    assert list(ours) == list(runc)
    assert list(ours["data"]) == list(runc["data"])
    # numbers that are zero are left out of both, and two containers have not done the same things
    strange = {p for p in paths(ours) ^ paths(runc) if not KEYS_SINCE & set(p.split("."))}
    assert not {p for p in strange if not p.startswith(("data.cpu.usage.", "data.blkio.", "data.memory."))}
    for kind in ("usage", "swap", "kernel", "kernelTCP"):
        mine, its = ours["data"]["memory"].get(kind), runc["data"]["memory"].get(kind)
        assert mine is None or its is None or list(mine) == list(its)
    assert set(ours["data"]["memory"]["raw"]) == set(runc["data"]["memory"]["raw"])


@req("CLI-BESIDE-1", "CLI-FEATURES-1")
def test_features(trio):
    texts = [c.runtime.raw("features").out for c in (trio.ours, trio.runc)]
    ours, runc = map(json.loads, texts)
    assert [json.dumps(f, indent=4, ensure_ascii=False) + "\n" for f in (ours, runc)] == texts
    assert [key for key in ours if key in runc] == list(runc)
    assert [key for key in ours["linux"] if key in runc["linux"]] == list(runc["linux"])
    for key in ("hooks", "mountOptions"):
        assert set(runc[key]) - set(ours[key]) <= {"acl", "noacl"}  # runc 1.2 no longer has them
    for place in ("namespaces", "capabilities"):
        assert set(runc["linux"][place]) <= set(ours["linux"][place])
    for place in ("actions", "operators", "archs"):
        assert set(runc["linux"]["seccomp"][place]) <= set(ours["linux"]["seccomp"][place])


def without_later_changes(config: dict) -> dict:
    """What `spec` has had in every version: later ones have no ambient capabilities and another version of the spec."""
    config = json.loads(json.dumps(config))
    for key in ("ociVersion", "hostname"):
        del config[key]
    config["process"]["capabilities"].pop("ambient", None)
    return config


@req("CLI-BESIDE-1", "CLI-SPEC-1", "CLI-SPEC-2")
@pytest.mark.parametrize("option", [[], ["--rootless"]], ids=["root", "rootless"])
def test_spec(trio, option):
    made = []
    for c in (trio.ours, trio.runc):
        place = c.runtime.work / "spec"
        place.mkdir()
        c.runtime.raw("spec", *option, "--bundle", place)
        text = (place / "config.json").read_text()
        assert text == json.dumps(json.loads(text), indent="\t")
        made.append(without_later_changes(json.loads(text)))
    assert made[0] == made[1]


# ---- words and exit codes ----


LINES = """\
state no|start no|kill no|kill no 9|delete no|pause no|resume no|events no|update no|ps no|exec no sh|delete --force no
start ID|delete ID|kill ID FOO|resume ID|kill ID 0
exec ID nope|exec ID /nope|exec ID /|exec --ignore-paused ID /bin/true|exec ID /bin/true
ps -f xml ID|list -f xml|events --interval 0s ID
state|state a b|bogus|list --bogus|kill|kill a b c|exec|spec x|features x
update --cpu-period x ID|update --cpu-share -1 ID|update --l3-cache-schema x ID|update --mem-bw-schema x ID
update -r /none ID|exec -d -t ID sh|--log-format xml list""".replace("\n", "|").split("|")


@req("CLI-BESIDE-2", "CLI-LOG-2")
def test_words_and_exit_codes(trio):
    """The message of each failure, and the exit code; of crun, whose words are its own, whether it fails."""
    wrong = {}
    for line in LINES:
        answers = [trio.say(line, c) for c in trio.all()]
        if answers[0] != answers[1]:
            wrong[line] = answers[:2]
        if len(answers) > 2 and (answers[0][0] == 0) != (answers[2][0] == 0) and line not in CRUNS_OWN:
            wrong[f"crun: {line}"] = [answers[0], answers[2]]
    assert not wrong, "\n".join(f"{line}: {a} {b}" for line, (a, b) in wrong.items())


CRUNS_OWN = {
    "kill ID FOO",
    "exec --ignore-paused ID /bin/true",
    "update --cpu-share -1 ID",
    "kill no 9",
    "list -f xml",
    "ps -f xml ID",
    "kill",
    "spec x",
    "features x",
    "state a b",
    "kill a b c",
    "resume ID",
}
"""What crun takes and runc does not, or the other way."""


@req("CLI-BESIDE-2")
def test_words_about_the_stopped(trio):
    for c in trio.all():
        c.stop()
    lines = ["kill ID 9", "pause ID", "resume ID", "exec ID sh", "start ID", "events ID", "ps -f json ID"]
    lines.append("update --pids-limit 5 ID")
    wrong = {
        line: said for line in lines if (said := [trio.say(line, c) for c in trio.all()[:2]])[0] != said[1]
    }
    assert not wrong, "\n".join(f"{line}: {said}" for line, said in wrong.items())


@req("CLI-BESIDE-2")
def test_words_about_the_paused(trio):
    for c in trio.all()[:2]:
        c.runtime.ok("pause", c.id)
    for line in ("delete ID", "start ID", "pause ID", "exec ID /bin/true", "state ID"):
        code, said = trio.say(line, trio.ours)
        expected = trio.say(line, trio.runc)
        if line == "state ID":
            assert json.loads(said)["status"] == json.loads(expected[1])["status"] == "paused"
        else:
            assert (code, said) == expected
