"""What we print, against the official schemas of runtime-spec 1.3.0.

They are looked for in $OCI_SCHEMA_DIR, or in ../shared/oci-schema beside the repository.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from jsonschema import Draft4Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT4

from pyrunc.commands.features import features
from pyrunc.commands.spec import default_config, make_rootless
from pyrunc.run.hooks import state_json
from pyrunc.spec.parse import parse_config

ROOT = Path(__file__).resolve().parents[2]
OFFICIAL = Path(os.environ.get("OCI_SCHEMA_DIR") or ROOT.parent / "shared" / "oci-schema")
needs_official = pytest.mark.skipif(
    not (OFFICIAL / "config-schema.json").is_file(),
    reason=f"no official schema at {OFFICIAL}: set OCI_SCHEMA_DIR to the folder schema/ of runtime-spec",
)


def faults(name: str, value: object) -> list[str]:
    base = "https://opencontainers.example/"
    files = {path.name: json.loads(path.read_text()) for path in OFFICIAL.glob("*.json")}
    resources = []
    for file, content in files.items():
        content.pop("id", None)  # they name themselves by file, relative to each other
        resources.append((base + file, Resource(contents=content, specification=DRAFT4)))
    validator = Draft4Validator({"$ref": base + name}, registry=Registry().with_resources(resources))
    return [f"{list(error.absolute_path)}: {error.message}" for error in validator.iter_errors(value)]


def configs() -> list[dict[str, object]]:
    made = [default_config(cgroup_namespace=there) for there in (False, True)]
    for uid in (0, 1000):
        made.append(default_config(cgroup_namespace=True))
        make_rootless(made[-1], uid, uid)
    return made


@needs_official
@pytest.mark.parametrize("config", configs())
def test_spec(config: dict[str, object]) -> None:
    assert faults("config-schema.json", config) == []


@pytest.mark.parametrize("config", configs())
def test_what_spec_writes_is_what_we_read(config: dict[str, object]) -> None:
    assert parse_config(json.dumps(config).encode()).oci_version == "1.3.0"


@needs_official
def test_features() -> None:
    assert faults("features-schema.json", features()) == []


@needs_official
@pytest.mark.parametrize(("status", "pid"), [("creating", 7), ("created", 7), ("running", 7), ("stopped", 0)])
def test_the_state_that_hooks_read(status: str, pid: int) -> None:
    container = SimpleNamespace(id="c", bundle="/b", annotations={"k": "v"})

    assert faults("state-schema.json", json.loads(state_json(container, status, pid))) == []


@needs_official
def test_the_schemas_are_really_used() -> None:
    assert faults("features-schema.json", {"ociVersionMin": "1.0.0"})
    assert faults("config-schema.json", {**configs()[0], "mounts": 3})
    assert faults("state-schema.json", {"id": "c"})
