"""The process of `exec` by its options."""

from __future__ import annotations

import pytest

from pyrunc.errors import UsageError
from pyrunc.run.process import ID_MAX, _user_of
from pyrunc.spec.model import User

USER = User(uid=7, gid=8, at="process.user")


@pytest.mark.parametrize(
    ("given", "uid", "gid"),
    [
        ("", 7, 8),
        ("0", 0, 8),
        ("00", 0, 8),
        ("5:6", 5, 6),
        (str(ID_MAX), ID_MAX, 8),
        ("0" * 5000 + "5", 5, 8),
    ],
)
def test_users(given: str, uid: int, gid: int) -> None:
    user = _user_of(USER, given, ())
    assert (user.uid, user.gid) == (uid, gid)


@pytest.mark.parametrize(
    "given", ["x", "-1", str(ID_MAX + 1), "5:", ":5", "5:x", "٣", "²", "1" * 5000, "5:" + "1" * 5000]
)
def test_users_that_are_none(given: str) -> None:
    with pytest.raises(UsageError, match="is not a number from 0 to"):
        _user_of(USER, given, ())
