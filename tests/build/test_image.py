"""The image of all modules: imports from it are like imports from files, and it steps aside when it does not fit."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import pyrunc
from pyrunc import _image

PACKAGE = Path(pyrunc.__file__).parent

LOOK = """
import sys
sys.path[:0] = sys.argv[1:3]
from pyrunc._image import install
sys.modules.pop("pyrunc._image"), sys.modules.pop("pyrunc")
used = install(sys.argv[1] + "/pyrunc") if sys.argv[3] == "image" else None
import importlib, json
found = {}
for name in sys.argv[4:]:
    module = importlib.import_module(name)
    spec = module.__spec__
    # submodules apart: a pack brings some sooner than the package's own statements would
    names = sorted(k for k, v in vars(module).items() if k[:2] != "__" and k != "annotations" and type(v) is not type(sys))
    found[name] = [module.__file__, module.__package__, list(getattr(module, "__path__", [])), names,
                   spec is None or type(spec.loader).__name__ == "Image"]
print(json.dumps([used, found]))
"""


def dotted(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The package as it would be installed, with its image."""
    shutil.copytree(PACKAGE, tmp_path / "pyrunc", ignore=shutil.ignore_patterns("__pycache__"))
    paths = sorted(path.relative_to(tmp_path) for path in (tmp_path / "pyrunc").rglob("*.py"))
    files = [(dotted(path), str(path), (tmp_path / path).read_bytes()) for path in paths]
    _image.build(files, str(tmp_path / "pyrunc"))
    return tmp_path


def look(site: Path, way: str) -> tuple[bool | None, dict[str, list[object]]]:
    import _cffi_backend

    modules = [dotted(path.relative_to(site)) for path in sorted((site / "pyrunc").rglob("*.py"))]
    modules = [name for name in modules if name != "pyrunc.__main__"]
    backend = str(Path(_cffi_backend.__file__).parent)
    command = [sys.executable, "-I", "-S", "-B", "-c", LOOK, str(site), backend, way, *modules]
    used, found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return used, found


def test_both_ways_import_the_same(installed: Path) -> None:
    used, image = look(installed, "image")
    _, files = look(installed, "files")

    assert used is True
    assert all(row[-1] for row in image.values()), "every module came from the image"
    assert not any(row[-1] for row in files.values())
    assert {name: row[:-1] for name, row in image.items()} == {name: row[:-1] for name, row in files.items()}


@pytest.mark.parametrize("damage", ["missing", "empty", "other magic", "other interpreter"])
def test_it_steps_aside(installed: Path, damage: str) -> None:
    image = installed / "pyrunc" / _image.IMAGE
    data = bytearray(image.read_bytes())
    data[0 if damage == "other magic" else 8] ^= 0xFF
    image.write_bytes(b"" if damage == "empty" else bytes(data))
    if damage == "missing":
        image.unlink()

    used, found = look(installed, "image")

    assert used is False
    assert not any(row[-1] for row in found.values())


def test_the_script_starts_like_main(installed: Path) -> None:
    import _cffi_backend

    shutil.copy(_cffi_backend.__file__, installed)
    said = []
    for script in (_image.SCRIPT, "__main__.py"):
        command = [sys.executable, "-I", "-S", "-B", str(installed / "pyrunc" / script), "name", "--version"]
        said.append(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    assert said[0] == said[1]
    assert said[0].startswith("name version ") or said[0].startswith("pyrunc version ")
