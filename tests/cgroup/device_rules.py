"""A rule on devices, for the tests of this directory."""

from __future__ import annotations

from pyrunc.spec.resources import DeviceRule

AT = "linux.resources.devices"


def rule(
    allow: bool,
    type_: str | None = None,
    major: int | None = None,
    minor: int | None = None,
    access: str = "rwm",
) -> DeviceRule:
    return DeviceRule(allow=allow, type=type_, major=major, minor=minor, access=access, at=f"{AT}[0]")
