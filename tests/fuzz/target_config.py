"""config.json: parsed, checked and looked at for slips; what is accepted is compiled, and the plan checker takes the plan."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from config_maker import DEFAULT, ODD, encode, make_config, spoil
from fuzzing import Target, told

from pyrunc.check import CheckFacts, check
from pyrunc.errors import SpecError
from pyrunc.spec.hints import slips
from pyrunc.spec.jsontext import loads
from pyrunc.spec.model import Spec
from pyrunc.spec.parse import parse_config

if TYPE_CHECKING:
    import random


def grow(config: dict[str, object], rnd: random.Random) -> None:
    """Make one part of a config very large."""
    count = rnd.choice((1000, 5000))
    value = rnd.choice(ODD)
    kind = rnd.randrange(4)
    if kind == 0:
        config[rnd.choice(("mounts", "hooks", "foo"))] = [value] * count
    elif kind == 1:
        config["annotations"] = {f"k{n}": value for n in range(count)}
    elif kind == 2:
        config["linux"] = {
            "namespaces": [{"type": f"pd{n}"} for n in range(count)],
            "maskedPaths": ["x"] * count,
        }
    else:
        config.update({f"ociVersio{n}": value for n in range(count)})


class Config(Target):
    """Good configs, damaged as values (retyped, dropped, doubled, added) and as bytes."""

    name = "config"

    def make(self, rnd: random.Random) -> bytes:
        config = make_config(rnd) if rnd.random() < 0.5 else DEFAULT
        for _ in range(rnd.choice((0, 1, 1, 3, 10))):
            config = spoil(config, rnd)
        if rnd.random() < 0.02:
            config = dict(config)
            grow(config, rnd)
        return (
            encode(config)
            if rnd.random() < 0.7
            else json.dumps(config, indent=rnd.choice((None, 1))).encode()
        )

    def judge(self, data: bytes) -> str:
        spec, said = told(lambda: parse_config(data), SpecError, bare=True)
        if spec is None:
            return said
        assert isinstance(spec, Spec)
        list(slips(loads(data, "config.json"), Spec))
        facts = CheckFacts(bundle="/bundle", rootless=len(data) % 2 == 0)
        warnings, said = told(lambda: check(spec, facts), SpecError, bare=True)
        if warnings is None:
            return said
        assert isinstance(warnings, list)
        assert all(text.isprintable() for text in warnings), "a warning that is not one harmless line"
        return f"read {len(warnings)}"


TARGETS = (Config,)
