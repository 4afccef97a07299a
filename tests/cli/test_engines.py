"""What the command prints is what the engines read."""

from __future__ import annotations

import json
import tomllib
from typing import TYPE_CHECKING

import pytest

from pyrunc.commands import engines

if TYPE_CHECKING:
    from pathlib import Path

TEXTS = {name: text for name, _programs, text in engines.SNIPPETS}


@pytest.mark.parametrize("name", [name for name in TEXTS if name not in ("Docker", "nerdctl")])
def test_the_texts_are_toml(name: str) -> None:
    assert "PYRUNC" in json.dumps(tomllib.loads(TEXTS[name]))


def test_dockers_is_json() -> None:
    lines = [line for line in TEXTS["Docker"].splitlines() if not line.startswith("#")]
    assert json.loads("\n".join(lines)) == {"runtimes": {"pyrunc": {"path": "PYRUNC"}}}


def test_only_what_is_found() -> None:
    here = {"podman": "/usr/bin/podman"}
    (text,) = engines.paragraphs("/opt/bin/pyrunc", here.get)
    assert text.startswith("# Podman (/usr/bin/podman)\n")
    assert 'pyrunc = ["/opt/bin/pyrunc"]' in text


def test_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}/none:{tmp_path}")
    (tmp_path / "dockerd").write_text("")
    assert engines.find("dockerd") is None
    (tmp_path / "dockerd").chmod(0o755)
    (tmp_path / "podman").mkdir()
    assert engines.find("dockerd") == f"{tmp_path}/dockerd"
    assert engines.find("podman") is None


def test_own_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert engines.own_path("./pyrunc") == f"{tmp_path}/pyrunc"
    assert engines.own_path("pyrunc").endswith("/bin/pyrunc")
    (tmp_path / "pyrunc").write_text("")
    (tmp_path / "pyrunc").chmod(0o755)
    assert engines.own_path("pyrunc") == f"{tmp_path}/pyrunc"
