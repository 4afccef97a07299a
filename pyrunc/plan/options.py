"""The options of one mount, folded: what is to be set and cleared, on the mount, on its tree, on a new file
system."""

from __future__ import annotations

from pyrunc.plan.kernel import MOUNT_ATTR__ATIME, MOUNT_ATTR_NOATIME, MOUNT_ATTR_STRICTATIME
from pyrunc.spec.tables import MOUNT_OPTIONS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrunc.spec.model import Mount
    from pyrunc.spec.tables import MountOption

ATIME = MOUNT_ATTR_NOATIME | MOUNT_ATTR_STRICTATIME


class Attrs:
    """Attributes to set and to clear, of one mount or of a tree."""

    __slots__ = ("off", "on")

    def __init__(self) -> None:
        self.on = 0
        self.off = 0

    def fold(self, option: MountOption) -> None:
        """Take one more option in; what it says wins over what came before."""
        self.on = self.on & ~option.clear | option.set
        self.off = self.off & ~option.set | option.clear
        if (self.on | self.off) & ATIME:
            self.off |= (
                MOUNT_ATTR__ATIME  # a field of two bits: the kernel wants all of it cleared with any change
            )

    def __bool__(self) -> bool:
        return bool(self.on or self.off)


class Options:
    """The options of a mount. `data` is what the table does not know: it goes to the file system, one by
    one."""

    __slots__ = (
        "bind",
        "data",
        "extensions",
        "flags",
        "idmap",
        "idmap_tree",
        "mount",
        "propagation",
        "recursive",
        "remount",
        "tree",
    )

    def __init__(self, mount: Mount) -> None:
        self.bind = mount.type == "bind"
        self.recursive = self.bind
        self.remount = False
        self.mount = Attrs()
        self.tree = Attrs()
        self.propagation: list[tuple[int, bool]] = []
        self.idmap = bool(mount.uid_mappings)
        self.idmap_tree = False
        self.flags: list[str] = []
        self.extensions: set[str] = set()
        self.data: list[str] = []
        explicit = False
        for name in mount.options:
            option = MOUNT_OPTIONS.get(name)
            if option is None:
                self.data += split_data(name)
                continue
            if option.bind:
                self.recursive = option.recursive or (explicit and self.recursive)
                self.bind = explicit = True
            elif option.set or option.clear:
                (self.tree if option.recursive else self.mount).fold(option)
            elif option.propagation:
                self.propagation.append((option.propagation, option.recursive))
            elif option.extension == "idmap":
                self.idmap, self.idmap_tree = True, option.recursive
            elif option.extension:
                self.extensions.add(option.extension)
            self.remount |= option.remount
            if option.fs_flag:
                self.flags.append(option.fs_flag)


def split_data(text: str) -> list[str]:
    """Split an option at its commas, as the kernel would: not within double quotes, nor after a backslash."""
    if "," not in text:
        return [text] if text else []
    parts = [""]
    quoted = escaped = False
    for char in text:
        if char == "," and not quoted and not escaped:
            parts.append("")
            continue
        quoted ^= char == '"'
        escaped = char == "\\" and not escaped
        parts[-1] += char
    return [part for part in parts if part]
