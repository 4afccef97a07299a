"""Two more runtimes of the host beside the one under test, each with a container from the same configuration."""

from __future__ import annotations

import json
import os
import re
import shutil
from typing import TYPE_CHECKING

from lib import host
from lib.runtime import Container, Runtime

if TYPE_CHECKING:
    from lib.bundle import Bundle

HIDE = 'mount --bind "$1" "$2" && shift 2 && exec "$@"'


class Peer(Runtime):
    """A runtime for comparison. crun gets a host without a hybrid's controllers, in a mount namespace of its own."""

    def __init__(self, name: str, beside: Runtime) -> None:
        work = beside.work / name
        work.mkdir(mode=0o755)
        super().__init__(shutil.which(name) or name, work, beside.tree)
        controllers = f"{host.hierarchies().get('', '')}/cgroup.controllers"
        self.prefix: list[str] = []
        if name == "crun" and not host.unified_only() and os.path.exists(controllers):
            (work / "empty").touch()
            self.prefix = ["unshare", "-m", "sh", "-c", HIDE, "sh", str(work / "empty"), controllers]

    def spawn(self, *args: object, **how: object) -> object:
        return super().spawn(*args, **({"prefix": self.prefix} | how))

    def twin(self, config: dict) -> Bundle:
        """A bundle with the same configuration, and a root file system of its own."""
        made = self.bundle()
        made.config = json.loads(json.dumps(config))
        return made


def normal(text: str, container: Container) -> str:
    """Text without what differs from one container to the next: ids, paths, pids, times, logrus' escapes."""
    text = text.replace(str(container.bundle.path), "BUNDLE").replace(container.id, "ID")
    text = text.replace(str(container.runtime.root), "ROOT").replace('\\"', '"')
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME", text)
    return re.sub(r'("pid": ?)[1-9]\d*', r"\g<1>1", text)


def shape(value: object) -> object:
    """JSON with a type in place of each value; of a list, the shapes of its entries, each once."""
    if isinstance(value, dict):
        return {key: shape(inner) for key, inner in value.items()}
    if isinstance(value, list):
        found: list[object] = []
        for inner in map(shape, value):
            if inner not in found:
                found.append(inner)
        return found
    return type(value).__name__


def paths(value: object, at: str = "") -> set[str]:
    """Every place in a JSON value, such as `data.cpu.usage.total`; entries of lists are `[]`."""
    if isinstance(value, dict):
        return {at} | {p for key, inner in value.items() for p in paths(inner, f"{at}.{key}" if at else key)}
    if isinstance(value, list):
        return {at} | {p for inner in value for p in paths(inner, f"{at}[]")}
    return {at}
