"""Numbers and names that every layer may need."""

from __future__ import annotations

SPEC_VERSION = "1.3.0"
"""The version of the OCI runtime specification that states and features documents comply with."""

SPEC_VERSION_MIN = "1.0.0"
"""The oldest version that a config may name."""

IGNORED = (13, 25)
"""SIGPIPE and SIGXFSZ: Python ignores them, and execve(2) would hand that on to a program."""
