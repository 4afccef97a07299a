"""`pyrunc validate`: one line a fault, then a summary."""

from __future__ import annotations

import json
import random

import pytest
from config_maker import encode, make_config, spoil

from pyrunc.commands import Args, validate

GOOD = {
    "ociVersion": "1.3.0",
    "root": {"path": "rootfs"},
    "process": {"cwd": "/", "args": ["true"]},
    "linux": {"namespaces": [{"type": "mount"}]},
}


@pytest.fixture
def run(tmp_path, monkeypatch):
    (tmp_path / "rootfs").mkdir()
    written: list[str] = []
    monkeypatch.setattr(validate, "write", written.append)

    def validate_config(config, *, from_inside=False):
        (tmp_path / "config.json").write_bytes(config if isinstance(config, bytes) else encode(config))
        args = Args("pyrunc")
        args.options = {"bundle": ""}
        if from_inside:
            monkeypatch.chdir(tmp_path)
        else:
            args.positionals = [str(tmp_path)]
        status = validate.run(args)
        return status, "".join(written).replace(str(tmp_path), "BUNDLE").splitlines()

    return validate_config


def test_a_good_config_is_ok(run):
    assert run(GOOD) == (0, ["config.json: ok"])


def test_the_bundle_is_the_current_directory(run):
    assert run(GOOD, from_inside=True) == (0, ["config.json: ok"])


def test_faults_of_values_are_told_once(run):
    config = {**GOOD, "hostname": 5, "process": {"args": ["x"], "user": {"uid": "1"}}}

    assert run(config) == (
        1,
        [
            'config.json: process.user.uid: expected an integer, got "1" (write it without quotes)',
            "config.json: process.cwd: required, but missing",
            "config.json: hostname: expected a string, got 5",
            "config.json: 3 faults",
        ],
    )


def test_faults_of_the_text_are_told(run):
    assert run(b"{") == (1, ["config.json: unexpected end of JSON input", "config.json: 1 fault"])


def test_rules_and_paths_are_held(run):
    config = {**GOOD, "hostname": "x", "root": {"path": "none"}}

    assert run(config) == (
        1,
        [
            "config.json: hostname: unable to set hostname without a private UTS namespace",
            "config.json: root.path: invalid rootfs: stat BUNDLE/none: no such file or directory",
            "config.json: 2 faults",
        ],
    )


def test_warnings_do_not_refuse(run):
    mounts = [{"destination": "/x", "source": "gone", "type": "none", "options": ["bind"], "opitons": []}]

    assert run({**GOOD, "ociVersion": "1.9.0", "mounts": mounts}) == (
        0,
        [
            "config.json: warning: ociVersion: 1.9.0 is newer than 1.3, the newest known here",
            "config.json: warning: mounts[0].source: BUNDLE/gone does not exist here",
            "config.json: ok, 2 warnings",
        ],
    )


def test_a_likely_slip_is_a_warning(run):
    config = {**GOOD, "process": {**GOOD["process"], "NoNewPrivileges": True}}

    assert run(config) == (
        0,
        [
            'config.json: warning: process.NoNewPrivileges: unknown, so ignored (did you mean "noNewPrivileges"?)',
            "config.json: ok, 1 warning",
        ],
    )


def test_the_schema_speaks_where_the_parser_is_silent():
    """There is no such place today; this is the net below the next mistake."""
    faults = validate._with_schema(
        [], encode({"root": {}, "linux": {"sysctl": {"a.b": 5}, "devices": [{"type": "c"}]}})
    )

    assert sorted(fault.at for fault in faults) == [
        "linux.devices[0].path", 'linux.sysctl["a.b"]', "ociVersion", "root.path",
    ]  # fmt: skip


def test_nothing_is_told_twice():
    rnd = random.Random(5)
    for _ in range(30):
        config = spoil(make_config(rnd), rnd)
        faults, _ = validate.examine(json.dumps(config).encode(), "/nowhere")
        assert len(set(map(str, faults))) == len(faults)
