"""process.apparmorProfile where the kernel has AppArmor: a profile of the test's own, for create and for exec."""

from __future__ import annotations

import os
import subprocess

import pytest

req = pytest.mark.req
pytestmark = pytest.mark.only_if("apparmor")
PROFILE = """\
profile {name} flags=(attach_disconnected,mediate_deleted) {{
  file,
  capability,
  signal,
  deny /secret r,
}}
"""
CURRENT = "/proc/self/attr/apparmor/current"


def parse(text, option):
    subprocess.run(
        ["apparmor_parser", option, "--skip-cache"], input=text, text=True, check=True, capture_output=True
    )


@pytest.fixture
def profile():
    """A profile that denies one file."""
    name = f"st-{os.getpid()}-profile"
    parse(PROFILE.format(name=name), "--replace")
    yield name
    parse(PROFILE.format(name=name), "--remove")


@pytest.fixture
def secret(bundle):
    (bundle.rootfs / "secret").write_text("told\n")
    return bundle


@req("LP-1")
def test_the_program_is_confined(runtime, secret, profile):
    asked = ("cat", CURRENT, "open", "/secret", "r")
    seen = runtime.report(secret.set("process.apparmorProfile", profile), *asked)
    assert seen.cat(CURRENT) == f"{profile} (enforce)"
    assert seen.step("open").err == "EACCES"
    assert runtime.report(secret.set("process.apparmorProfile", "unconfined"), *asked).step("open").err == ""


@req("LP-1", "CLI-IN-1", "CLI-IN-4")
def test_what_is_run_in_it_is_confined(runtime, secret, profile):
    """By the config's profile, or by another that `exec` names."""
    c = runtime.running(secret.set("process.apparmorProfile", profile).args("/bin/sleep", "1000"))
    assert runtime.ok("exec", c.id, "/bin/cat", CURRENT).out == f"{profile} (enforce)\n"
    assert runtime.cmd("exec", c.id, "/bin/cat", "/secret").code == 1
    free = runtime.ok("exec", "--apparmor", "unconfined", c.id, "/bin/cat", CURRENT, "/secret").out
    assert free == "unconfined\ntold\n"


@req("LP-1", "EX-3")
def test_a_profile_that_is_not_loaded(runtime, bundle, profile):
    runtime.refuses(bundle.set("process.apparmorProfile", f"{profile}-none"), "apparmor")
    c = runtime.running(bundle.set("process.apparmorProfile", profile).args("/bin/sleep", "1000"))
    refused = runtime.cmd("exec", "--apparmor", f"{profile}-none", c.id, "/bin/true")
    assert refused.code == 255
    assert "apparmor" in refused.err
