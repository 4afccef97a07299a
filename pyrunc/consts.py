"""Numbers and names that every layer may need."""

from __future__ import annotations

SPEC_VERSION = "1.3.0"
"""The version of the OCI runtime specification that states and features documents comply with."""

SPEC_VERSION_MIN = "1.0.0"
"""The oldest version that a config may name."""
