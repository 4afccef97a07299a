"""All modules of pyrunc in one file, which a start reads instead of looking for thirty.

The normal import of a small module costs 0.2 ms: half a dozen stat(2) calls, an open, a read. From the image it
costs a pread(2) and the unmarshalling; what a command of the hot path needs lies there once more as one pack, whose
modules share their strings. `setup.py` calls `build`; the launcher starts this module's compiled form as a script. Where the
image is missing or does not fit the interpreter, the modules are imported from their own files.
"""

from __future__ import annotations

import _imp
import gc
import marshal
import posix
import sys
from _frozen_importlib import BuiltinImporter, ModuleSpec
from _frozen_importlib_external import EXTENSION_SUFFIXES, MAGIC_NUMBER, ExtensionFileLoader

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ast
    from collections.abc import Iterable, Sequence
    from types import CodeType, ModuleType

    Index = dict[str, tuple[int, int, str, bool, tuple[str, ...], tuple[str, ...]]]
    """Module name -> offset, length, path relative to the package's parent, is it a package, what it imports from elsewhere,
    in order, and what a package imports from within itself."""
    Packs = dict[str, tuple[int, int, tuple[str, ...]]]
    """Leader -> offset and length of the (name, code) of all that it imports, in order; which BUILTINS that imports."""

else:
    ModuleType = type(sys)  # `types` itself is not loaded yet

EXTENSIONS = ("_cffi_backend", "pyrunc._shim")
BUILTINS = ("errno", "_json", "_socket", "_stat", "_struct", "fcntl", "select", "termios")
"""Modules of the hot path that belong to the interpreter."""
LEADERS = (
    "cli",
    *(f"commands.{verb}" for verb in ("create", "start", "run", "state", "kill", "delete", "exec")),
)
"""What has a pack: cli, and the commands of the hot path beside what cli has loaded."""
_CGROUP = ("cgroup.manager", "cgroup.paths", "cgroup.limits")
SOON: dict[str, tuple[str, ...]] = {
    "commands.create": _CGROUP,
    "commands.run": (*_CGROUP, "run.foreground"),
    "commands.delete": ("cgroup.manager", "cgroup.limits"),
    "commands.exec": (
        "host", "check", "plan.exec", "plan.request", "run.facts", "run.process", "run.foreground", *_CGROUP[::2],
    ),
}  # fmt: skip
"""What a leader's functions import, in nearly every call of it."""
IMAGE = "image.bin"
SCRIPT = "start.pyc"
MAGIC = b"pyrunc1\0"
_HEAD = 24
_ANNOTATIONS = 0x1000000
"""The compiler's flag for `from __future__ import annotations`, whose statement would import a module at each start."""


class Image:
    """A finder and loader (importlib's protocol) for the modules of one image."""

    def __init__(self, fd: int, index: Index, packs: Packs, parent: str) -> None:
        self.fd = fd
        self.index = index
        self.packs = packs
        self.codes: dict[str, CodeType] = {}
        self.parent = parent

    def reopen(self) -> None:
        """Open the image again, in a process that has our memory but none of our descriptors (_snapshot.py)."""
        self.fd = posix.open(f"{self.parent}/pyrunc/{IMAGE}", posix.O_RDONLY | posix.O_CLOEXEC)

    def find_spec(
        self, name: str, _path: Sequence[str] | None = None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Tell where a module is: here, or not our business."""
        found = self.index.get(name)
        if found is None:
            return self._find_extension(name) if name in EXTENSIONS else None
        if name in self.packs:
            self._unpack(*self.packs[name])
        for needed in found[4]:
            if needed not in sys.modules:
                self._load(needed)
        path = f"{self.parent}/{found[2]}"
        spec = ModuleSpec(name, self, origin=path, is_package=found[3])  # type: ignore[arg-type]  # a loader by its methods
        spec.has_location = True
        if found[3]:
            spec.submodule_search_locations = [path.rpartition("/")[0]]
        return spec

    def _find_extension(self, name: str) -> ModuleSpec | None:
        """Find our own two libraries without reading the directories of the standard library."""
        for suffix in EXTENSION_SUFFIXES:
            path = f"{self.parent}/{name.replace('.', '/')}{suffix}"
            try:
                posix.stat(path)
            except OSError:
                continue  # not here under this name: cffi may also belong to the system
            return ModuleSpec(name, ExtensionFileLoader(name, path), origin=path)
        return None

    def _unpack(self, offset: int, length: int, builtins: tuple[str, ...]) -> None:
        """Import what a leader needs, but not itself."""
        load_builtins(builtins)
        pack = marshal.loads(posix.pread(self.fd, length, offset))  # noqa: S302  # our own code
        self.codes = dict(pack)
        for name in self.codes:
            if name not in sys.modules:
                self._load(name)

    def _load(self, name: str) -> None:
        """Import a module without importlib's own steps, which cost more than most of the modules.

        What it imports stands before it in the list of whoever asked, so that its own imports find everything there.
        """
        offset, length, path, is_package, _needed, within = self.index[name]
        code = self.codes.get(name)
        if code is None:
            code = marshal.loads(posix.pread(self.fd, length, offset))  # noqa: S302  # our own code
        module = sys.modules[name] = ModuleType(name)
        parent, _, tail = name.rpartition(".")
        module.__file__ = f"{self.parent}/{path}"
        module.__package__ = name if is_package else parent
        if is_package:
            module.__path__ = [module.__file__.rpartition("/")[0]]
            for inner in within:
                if inner not in sys.modules:
                    self._load(inner)
        exec(code, module.__dict__)  # noqa: S102  # our own code
        if parent:
            setattr(sys.modules[parent], tail, sys.modules[name])

    def create_module(self, _spec: ModuleSpec) -> None:
        """Let importlib make the module."""

    def exec_module(self, module: ModuleType) -> None:
        """Run a module's code."""
        offset, length = self.index[module.__name__][:2]
        exec(marshal.loads(posix.pread(self.fd, length, offset)), module.__dict__)  # noqa: S102, S302  # our own code


def install(package_dir: str) -> bool:
    """Import from the image in `package_dir` from now on; False when there is none that fits."""
    try:
        fd = posix.open(f"{package_dir}/{IMAGE}", posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError:
        return False  # not built, or not installed: the modules have files of their own
    head = posix.pread(fd, _HEAD, 0)
    if head[:8] != MAGIC or head[8:16] != _interpreter():
        posix.close(fd)
        return False
    offset = int.from_bytes(head[16:], "little")
    index, packs = marshal.loads(posix.pread(fd, 1 << 20, offset))  # noqa: S302  # our own
    sys.meta_path.insert(0, Image(fd, index, packs, package_dir.rpartition("/")[0]))
    return True


def load_builtins(names: Iterable[str]) -> None:
    """Import what belongs to the interpreter, as part of it or as a library of its own, without importlib's search."""
    for name in names:
        if name in sys.builtin_module_names and name not in sys.modules:
            spec = ModuleSpec(name, BuiltinImporter, origin="built-in")  # type: ignore[arg-type]  # a loader by its methods
            module = sys.modules[name] = _imp.create_builtin(spec)
            _imp.exec_builtin(module)
        elif name not in sys.modules:
            _load_dynamic(name)


def _load_dynamic(name: str) -> None:
    for directory in sys.path[-2::-1]:  # lib-dynload comes last, but for our own
        path = f"{directory}/{name}{EXTENSION_SUFFIXES[0]}"
        try:
            posix.stat(path)
        except OSError:
            continue  # not here: whoever needs it imports it in the ordinary way
        module = sys.modules[name] = _imp.create_dynamic(ModuleSpec(name, None, origin=path))
        _imp.exec_dynamic(module)
        return


def _interpreter() -> bytes:
    """Return what the code in the image depends on: the interpreter's bytecode."""
    return MAGIC_NUMBER + sys.implementation.name.encode()[:4].ljust(4)


def build(files: Iterable[tuple[str, str, bytes]], directory: str) -> None:
    """Write the image, and this module as a script, into `directory`.

    `files` gives for each module its dotted name, its path below the package's parent, and its source.
    """
    trees = {name: (path, _parse(source, path)) for name, path, source in files}
    imports = {name: _imports(tree, set(trees)) for name, (_path, tree) in trees.items()}
    codes = {name: _compiled(tree, path) for name, (path, tree) in trees.items()}
    body = bytearray()
    index: Index = {}
    for name, code in codes.items():
        data, path = marshal.dumps(code), trees[name][0]
        needed = tuple(_in_order(name, imports, {}))
        within = tuple([one for one in imports[name] if one.startswith(f"{name}.")])
        index[name] = (_HEAD + len(body), len(data), path, path.endswith("/__init__.py"), needed, within)
        body += data
        if path.endswith("/_image.py"):
            with open(f"{directory}/{SCRIPT}", "wb") as file:
                file.write(MAGIC_NUMBER + bytes(12) + data)
    packs = {}
    for leader in [f"pyrunc.{name}" for name in LEADERS if f"pyrunc.{name}" in index]:
        wanted = _wanted(leader, index)
        data = marshal.dumps(tuple([(name, codes[name]) for name in wanted]))
        used = {used for name in [*wanted, leader] for used in _imports(trees[name][1], set(BUILTINS))}
        packs[leader] = (_HEAD + len(body), len(data), tuple(sorted(used)))
        body += data
    with open(f"{directory}/{IMAGE}", "wb") as file:
        file.write(MAGIC + _interpreter() + (_HEAD + len(body)).to_bytes(8, "little"))
        file.write(body + marshal.dumps((index, packs)))


def _wanted(leader: str, index: Index) -> list[str]:
    """Return what is in a leader's pack, in the order of importing."""
    before = set() if leader == "pyrunc.cli" else {*index["pyrunc.cli"][4], "pyrunc.cli"}
    needed = list(index[leader][4])
    for name in SOON.get(leader.removeprefix("pyrunc."), ()):
        needed += [*index[f"pyrunc.{name}"][4], f"pyrunc.{name}"]
    inner = [one for name in needed if name not in before for one in (name, *index[name][5])]
    return list(dict.fromkeys(inner))


def _compiled(tree: ast.Module, path: str) -> CodeType:
    return _without_lines(compile(tree, path, "exec", flags=_ANNOTATIONS, dont_inherit=True))


def _without_lines(code: CodeType) -> CodeType:
    """Return code without its tables of line numbers, a quarter of it, and without qualified names; `--debug` runs from the
    files, which have them."""
    inner = [_without_lines(one) if hasattr(one, "co_code") else one for one in code.co_consts]
    return code.replace(
        co_linetable=b"", co_filename="pyrunc", co_qualname=code.co_name, co_consts=tuple(inner)
    )


def _parse(source: bytes, path: str) -> ast.Module:
    """Parse, without docstrings and annotations, which nobody reads at run time.

    Of those in classes the names stay: they are the fields of records.
    """
    import ast

    tree = ast.parse(source, path)
    tree.body = [
        node for node in tree.body if not (isinstance(node, ast.ImportFrom) and node.module == "__future__")
    ]
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            node.returns = None
        if isinstance(node, ast.arg):
            node.annotation = None
        if isinstance(node, ast.AnnAssign):
            node.annotation = ast.copy_location(ast.Constant(""), node.annotation)
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and ast.get_docstring(node) is not None
        ):
            node.body[:1] = [] if len(node.body) > 1 else [ast.copy_location(ast.Pass(), node.body[0])]
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            node.body = [ast.copy_location(ast.Pass(), node)]
    return tree


def _imports(tree: ast.Module, known: set[str]) -> list[str]:
    """Return which modules of the image are imported when the module itself is, parents first."""
    import ast

    names: list[str] = []
    for statement in tree.body:
        # also inside `if` and `try` of the module itself, but not inside its functions
        inner = statement.orelse if isinstance(statement, ast.If) else [statement]
        inner = statement.body if isinstance(statement, ast.Try) else inner
        for node in inner:
            if isinstance(node, ast.ImportFrom) and node.module:
                names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            elif isinstance(node, ast.Import):
                names += [alias.name for alias in node.names]
    parts = [name.split(".") for name in names]
    every = [".".join(words[:count]) for words in parts for count in range(1, len(words) + 1)]
    return [name for name in dict.fromkeys(every) if name in known]


def _in_order(
    name: str, imports: dict[str, list[str]], seen: dict[str, None], above: tuple[str, ...] = ()
) -> dict[str, None]:
    """Return, as keys, what must be imported before `name`, each after what it imports itself.

    What a package imports from within itself is left out: it must find the package begun.
    """
    above = (*above, name)
    for needed in [name.rpartition(".")[0], *imports[name]]:
        within = any(needed == one or needed.startswith(f"{one}.") for one in above)
        if needed in imports and needed not in seen and not within:
            _in_order(needed, imports, seen, above)
            seen[needed] = None
    return seen


def asks_for_debug(words: Sequence[str]) -> bool:
    """Tell whether `--debug` is among the words: then modules come from their files, which know their lines."""
    return any(word[:1] == "-" and word.lstrip("-").partition("=")[0] == "debug" for word in words)


if __name__ == "__main__":
    gc.disable()  # a command ends before cycles could add up, and a foreground run makes none while it waits
    _package = __file__.rpartition("/")[0]
    _options = sys._xoptions  # noqa: SLF001  # documented for implementations: what the launcher has to say
    _debug = asks_for_debug(sys.argv[2:])
    if not _debug:
        install(_package)
    # last: the standard library is not looked for among packages
    sys.path.append(_package.rpartition("/")[0])
    if len(sys.argv) == 1:
        from pyrunc._snapshot import save

        save(_options["snapshot"])
        if asks_for_debug(sys.argv[2:]):  # start anew, from the files
            posix.execve(sys.executable, [*sys.orig_argv[:6], *sys.argv], posix.environ)
        for _finder in sys.meta_path:
            if isinstance(_finder, Image):
                _finder.reopen()
    from pyrunc.cli import entry

    entry(sys.argv[1], sys.argv[2:], {} if _debug else _options)
