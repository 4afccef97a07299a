"""Cache and memory bandwidth (`linux.intelRdt`): a group of the resctrl file system beside the cgroup.

A class of service is a directory below the mount; what runs in it stands in its `tasks`, what it may use in its
`schemata`. A monitoring group is a directory in `mon_groups` of a class. The kernel fills each directory with files.
Documentation/filesystems/resctrl.rst of the kernel; config-linux.md, IntelRdt.
"""

from __future__ import annotations

from errno import EEXIST, EINVAL, ENODEV, ENOENT

from pyrunc import _os as os
from pyrunc.cgroup.tree import fs_magic
from pyrunc.errors import HostError, OpError
from pyrunc.host import find_resctrl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pyrunc.spec.model import IntelRdt

    MagicOf = Callable[[int], int]

RDTGROUP_SUPER_MAGIC = 0x7655821
IN_CONFIG = "is specified in config, but Intel RDT"
NEEDED = (("l3_cache_schema", "l3CacheSchema", "L3", "CAT"), ("mem_bw_schema", "memBwSchema", "MB", "MBA"))
"""Property, its key, its directory in `info`, and what Intel calls the feature."""


class Resctrl:
    """The groups of one container. `path` is its class, `monitor` its monitoring group or ""."""

    def __init__(self, root: str, rdt: IntelRdt, name: str, magic_of: MagicOf = fs_magic) -> None:
        self.root = root
        self.rdt = rdt
        self.magic_of = magic_of
        self.path = root if rdt.clos_id == "/" else f"{root}/{rdt.clos_id or name}"
        self.monitor = f"{self.path}/mon_groups/{name}" if rdt.enable_monitoring else ""
        self.schemas = [schema for schema in (rdt.l3_cache_schema, rdt.mem_bw_schema) if schema]

    def check(self) -> None:
        """Raise HostError with runc's texts for what the processor lacks, OpError for a class that had to be there."""
        check_mount(self.root, self.magic_of)
        for name, key, directory, feature in NEEDED:
            if getattr(self.rdt, name) and not os.path.lexists(f"{self.root}/info/{directory}"):
                raise HostError(f"{self.rdt.at}: intelRdt.{key} {IN_CONFIG}/{feature} is not enabled")
        wanted = bool(self.schemas or self.rdt.schemata)
        if self.rdt.clos_id and not wanted and not os.path.lexists(self.path):
            raise OpError(
                f"{self.rdt.at}.closID: {self.path} must be there already, for no schema says how", ENOENT
            )

    def expected(self) -> list[str]:
        """Return the directories that `create` would make now, innermost first: the order in which they are removed."""
        wanted = [self.monitor, self.path] if self.monitor else [self.path]
        return [path for path in wanted if not os.path.lexists(path)]

    def kept(self) -> tuple[str, ...]:
        """Return what the container leaves behind when it was made: a class with a name of its own (RT-12)."""
        return (self.path,) if self.rdt.clos_id else ()

    def create(self) -> None:
        """Make and fill the class, or hold an existing one of that name against the config (RT-7, RT-9 to RT-13)."""
        made = self._mkdir(self.path, "closID", there="allowed")
        if made or not self.rdt.clos_id:
            for schema, key in (
                (self.rdt.l3_cache_schema, "l3CacheSchema"),
                (self.rdt.mem_bw_schema, "memBwSchema"),
            ):
                if schema:
                    self._write(f"{self.path}/schemata", f"{schema}\n", key)
        else:
            self._compare()
        if self.rdt.schemata:
            self._write(
                f"{self.path}/schemata", "".join([f"{line}\n" for line in self.rdt.schemata]), "schemata"
            )
        if self.monitor:
            self._mkdir(self.monitor, "enableMonitoring", there="an error")

    def join(self, pid: int) -> None:
        """Put a process into the groups; its children follow. Raises OpError."""
        self._write(f"{self.path}/tasks", str(pid), "closID")
        if self.monitor:
            self._write(f"{self.monitor}/tasks", str(pid), "enableMonitoring")

    def _mkdir(self, path: str, key: str, *, there: str) -> bool:
        try:
            os.mkdir(path, 0o755)
        except OSError as error:
            if error.errno == EEXIST and there == "allowed":
                return False
            raise self._failed(f"mkdir {path}", key, error) from None
        return True

    def _write(self, path: str, text: str, key: str) -> None:
        try:
            fd = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                os.write(fd, text.encode())
            finally:
                os.close(fd)
        except OSError as error:
            raise self._failed(f'write {path} "{text.rstrip()}"', key, error) from None

    def _failed(self, what: str, key: str, error: OSError) -> OpError:
        """Return the error with what the kernel says of the last command, which is more than an errno."""
        told = _read(f"{self.root}/info/last_cmd_status").strip()
        told = f": last_cmd_status: {told}" if told and told != "ok" else ""
        return OpError(f"{self.rdt.at}.{key}: {what}{told}", error.errno or EINVAL)

    def _compare(self) -> None:
        """Raise OpError unless the class that is there gives what the config asks for; others may live in it."""
        found = dict(
            [parse_schema(line) for line in _read(f"{self.path}/schemata").splitlines() if ":" in line]
        )
        for schema in self.schemas:
            resource, wanted = parse_schema(schema)
            there = found.get(resource, {})
            if any(there.get(domain) != value for domain, value in wanted.items()):
                key = "memBwSchema" if resource == "MB" else "l3CacheSchema"
                what = f"{self.path} exists, and its schemata do not match {schema}"
                raise OpError(f"{self.rdt.at}.{key}: {what}", EEXIST)


def open_resctrl(rdt: IntelRdt, name: str) -> Resctrl:
    """Return the groups of a container that is to be made. Raises HostError, with runc's text where there is no resctrl."""
    root = find_resctrl()
    if not root:
        raise HostError(f"{rdt.at}: intelRdt {IN_CONFIG} is not enabled (no resctrl is mounted)")
    groups = Resctrl(root, rdt, name)
    groups.check()
    return groups


def parse_schema(line: str) -> tuple[str, dict[str, str]]:
    """Return the resource of a line such as "L3:0=00f;1=f0", and domain -> value without padding."""
    resource, _, rest = line.partition(":")
    pairs = [pair.partition("=") for pair in rest.split(";") if pair.strip()]
    return resource.strip(), {
        domain.strip(): value.strip().lower().lstrip("0") or "0" for domain, _, value in pairs
    }


def check_mount(path: str, magic_of: MagicOf = fs_magic) -> None:
    """Raise OpError unless a directory is one of resctrl: nothing is written anywhere else."""
    fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if magic_of(fd) != RDTGROUP_SUPER_MAGIC:
            raise OpError(f"{path}: not on a resctrl file system", ENODEV)
    finally:
        os.close(fd)


def remove(paths: Iterable[str], magic_of: MagicOf = fs_magic) -> None:
    """Remove groups that were made; one that is gone is fine. Raises OpError with runc's text."""
    for path in paths:
        try:
            check_mount(path, magic_of)
            os.rmdir(path)
        except OSError as error:
            if error.errno != ENOENT:
                text = f"unable to remove container's IntelRDT group: rmdir {path}"
                raise OpError(text, error.errno or EINVAL) from None


def _read(path: str) -> str:
    try:
        with open(path, "rb", buffering=0) as file:
            return (file.read(1 << 16) or b"").decode(errors="replace")
    except (
        OSError
    ):  # a kernel without last_cmd_status, or a class that is gone by now: there is nothing to tell
        return ""
