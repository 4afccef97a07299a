"""The snapshot of an ordinary user: in their own directory, of their own making, and nobody else's."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from conftest import Containers
from test_snapshot import STATE_HELP, Installation

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

USER, NOBODY = 65533, 65534

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(platform.machine() != "x86_64", reason="needs x86-64"),
]
HIDDEN = "mount -t tmpfs -o mode=755 tmpfs /run/pyrunc"
"""Nothing in the place of the host's root."""


class Users:
    """An installation and a bundle that a user can reach, and what is $XDG_RUNTIME_DIR for them."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.installed = Installation(top, Containers(top))
        self.runtime_dir = top / "user"
        self.runtime_dir.mkdir(mode=0o700)
        self.bundle = top / "bundle"
        for path in (self.runtime_dir, self.bundle, self.bundle / "rootfs"):
            os.chown(path, USER, USER)

    def __call__(
        self, *words: str | Path, uid: int = USER, before: tuple[str | Path, ...] = ()
    ) -> subprocess.CompletedProcess[str]:
        env = {"PATH": os.environ["PATH"], "XDG_RUNTIME_DIR": str(self.runtime_dir)}
        become = ("setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups") if uid else ()
        return self.installed(*become, *before, *words, before=HIDDEN, env=env, cwd=self.bundle)

    def starts(self, uid: int = USER, *before: str) -> int:
        """How many programs a command is: 1 goes on from a snapshot, 2 starts an interpreter."""
        calls = self.runtime_dir / "calls"
        calls.unlink(missing_ok=True)
        done = self(
            "strace", "-qq", "-e", "trace=execve", "-o", calls, self.installed.launcher, *STATE_HELP,
            uid=uid, before=before,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
        return calls.read_text().count("execve(")

    def run_true(self) -> None:
        (self.bundle / "config.json").unlink(missing_ok=True)
        for words in (("spec", "--rootless"), ("run", "u1")):
            if words[0] == "run":
                text = (self.bundle / "config.json").read_text()
                text = text.replace('"sh"', '"/bin/busybox", "true"').replace(
                    '"terminal": true', '"terminal": false'
                )
                (self.bundle / "config.json").write_text(text)
            done = self(self.installed.launcher, *words)
            assert done.returncode == 0, done.stdout

    def snapshots(self) -> list[Path]:
        return sorted(self.runtime_dir.glob("pyrunc/.snapshot-*"))


@pytest.fixture
def users() -> Iterator[Users]:
    top = Path(tempfile.mkdtemp(prefix="pyrunc-"))  # a user cannot search pytest's own directories
    top.chmod(0o755)
    yield Users(top)
    shutil.rmtree(top)


def test_a_user_has_their_own(users: Users) -> None:
    assert users.starts() == 2

    users.run_true()

    (snapshot,) = users.snapshots()
    assert snapshot.stat().st_size > 1 << 20, "it is only the word that there is none"
    assert (snapshot.stat().st_uid, snapshot.stat().st_mode & 0o7777) == (USER, 0o600)
    assert users.starts() == 1


def test_root_of_their_user_namespace_shares_it(users: Users) -> None:
    """So it is with the engines of ordinary users: what runs is root of a user namespace."""
    users.run_true()

    assert users.starts(USER, "unshare", "--user", "--map-root-user") == 1


def test_the_hosts_root_does_not_go_by_the_environment(users: Users) -> None:
    """A snapshot is memory that is run: whose environment it is must not decide whose memory."""
    users.run_true()
    (snapshot,) = users.snapshots()
    for path in (users.runtime_dir, snapshot.parent, snapshot):
        os.chown(path, 0, 0)

    assert users.starts(0) == 2
    assert users.starts(0, "unshare", "--user", "--map-root-user") == 1


@pytest.mark.parametrize("whose", ["the file", "the directory", "the directory, for all to write"])
def test_what_is_somebody_elses_is_left_aside(users: Users, whose: str) -> None:
    users.run_true()
    (snapshot,) = users.snapshots()
    if whose == "the file":
        os.chown(snapshot, USER - 1, USER - 1)
        snapshot.chmod(0o644)
    elif whose == "the directory":
        os.chown(snapshot.parent, USER - 1, USER - 1)
        snapshot.parent.chmod(0o755)
    else:
        snapshot.parent.chmod(0o777)

    assert users.starts() == 2


def test_nobody_has_none(users: Users) -> None:
    """In a user namespace whatever belongs to an id without a mapping looks as if it were theirs."""
    users.run_true()
    (snapshot,) = users.snapshots()
    for path in (users.runtime_dir, snapshot.parent, snapshot):
        os.chown(path, NOBODY, NOBODY)

    assert users.starts(NOBODY) == 2


@pytest.mark.parametrize("where", ["", "relative", "/" + "x" * 2000])
def test_a_runtime_directory_that_is_none(users: Users, where: str) -> None:
    users.runtime_dir = Path(where)
    env = {"PATH": os.environ["PATH"], "XDG_RUNTIME_DIR": where}
    become = ("setpriv", f"--reuid={USER}", "--clear-groups")
    done = users.installed(*become, users.installed.launcher, "--version", before=HIDDEN, env=env)

    assert done.returncode == 0
    assert done.stdout.startswith("pyrunc version")
