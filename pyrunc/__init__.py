"""pyrunc: an OCI container runtime. Python compiles a plan, a tiny static executor runs it."""

__version__ = "0.1.0"
