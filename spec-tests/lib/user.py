"""The runtime as an ordinary user runs it, who has a systemd of their own: in a shell of theirs, or in a scope."""

from __future__ import annotations

import os
import pathlib
import pwd
import subprocess

from lib.bundle import Bundle, Unset
from lib.runtime import ENV, Runtime

SCOPE = ("systemd-run", "--user", "--scope", "--quiet", "--collect", "--property=Delegate=yes", "--")
"""A cgroup of their own around one command, as a terminal emulator or sshd makes one."""


class OfUser(Runtime):
    """$RUNTIME with a state root and bundles of a user's. What it leaves, no other user can remove: `clean_containers`."""

    def __init__(self, beside: Runtime, uid: int, *, scope: bool = False) -> None:
        work = beside.work / f"user-{uid}"
        work.mkdir(mode=0o755)
        super().__init__(beside.path, work, beside.tree)
        self.uid = uid
        entry = pwd.getpwuid(uid)
        self.env = ENV | {
            "HOME": entry.pw_dir, "USER": entry.pw_name, "XDG_RUNTIME_DIR": f"/run/user/{uid}",
            "DBUS_SESSION_BUS_ADDRESS": f"unix:path=/run/user/{uid}/bus",
        }  # fmt: skip
        self.become = ("setpriv", f"--reuid={uid}", f"--regid={entry.pw_gid}", "--init-groups")
        self.prefix = (*self.become, *(SCOPE if scope else ()))
        self.own = work / "own"  # for files that the runtime is to write
        for place in (self.root, self.own):
            place.mkdir(mode=0o700)
            os.chown(place, uid, entry.pw_gid)

    def spawn(self, *args: object, **how: object) -> subprocess.Popen:
        return super().spawn(*args, **({"prefix": self.prefix, "env": self.env} | how))

    def systemctl(self, *words: str) -> str:
        done = subprocess.run(
            [*self.become, "systemctl", "--user", *words],
            env=self.env,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    def show(self, unit: str, *names: str) -> dict[str, str]:
        """The properties of a unit of the user's."""
        lines = self.systemctl("show", unit, *(f"--property={name}" for name in names)).splitlines()
        return dict(line.split("=", 1) for line in lines)

    def bundle(self) -> Bundle:
        """A bundle whose root is the user, and nobody else."""
        made = super().bundle()
        own = [{"containerID": 0, "hostID": self.uid, "size": 1}]
        made.ns("user").set("linux.uidMappings", own).set("linux.gidMappings", list(own))
        made.set("linux.resources", Unset).args("/bin/sleep", "1000")
        made.get("mounts")[2]["options"].remove("gid=5")
        made.own(self.uid)
        return made


def own_cgroup(uid: int) -> pathlib.Path:
    """Where the user's systemd has its units."""
    return pathlib.Path(f"/sys/fs/cgroup/user.slice/user-{uid}.slice/user@{uid}.service")
