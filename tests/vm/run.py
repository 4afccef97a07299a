#!/usr/bin/env python3
"""Run tests in a virtual machine: cgroup v2 alone, under systemd, with a kernel of its own. As root; see `make test-vm`.

Usage: run.py [--full] [--shell COMMAND]

tests/vm/image makes the machine. pyrunc is built in its root file system, since a compiler is slow in an emulated machine, and
goes in on a second disk with the checkout; the results come back on that. Its console is shown: pytest in its own words.

  VM_ACCEL    the accelerator of qemu; default kvm if a kernel starts with it, else tcg
  VM_TIMEOUT  seconds until the machine is given up; default 2400, with --full 20000
  VM_CPUS, VM_MEMORY  default 2, and 2048 MiB
  VM_CGROUP   v2 (the default), v1, or hybrid: what systemd mounts; without v2 alone fewer tests are chosen
  VM_ROOT     arguments of pytest for the tests in tests/, in place of the chosen ones; empty for none
  VM_SPEC, VM_SYSTEMD, VM_USER    the same for spec-tests with each driver as root, and by an ordinary user: as root of a user
              namespace, in a scope of their own
  VM_RUNTIME  another runtime for spec-tests and the soak: runc or crun of the machine, or one of build/peers (`make peers`)
  VM_SOAK     arguments of bench/soak.py, which runs with each driver, in place of a short run's; empty for none
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
TOP = HERE.parent.parent
WORK = TOP / "build" / "vm"
RESULTS = ("tests.xml", "spec-tests.xml", "spec-tests-systemd.xml", "spec-tests-user.xml")
PEERS = TOP / "build" / "peers"
REQUIREMENTS = "spec-tests.json"
"""For spec-tests/requirements.py."""
MORE = {"VM_SPEC": f"--results=build/vm/{REQUIREMENTS}", "VM_SYSTEMD": "--driver systemd"}
EXIT = "pyrunc-vm: exit "
TCG = "tcg,thread=multi"
TCG_CPU = "max,cx16=off"  # with cx16 qemu 7.2 fails an assertion of its own

CGROUP = {
    "v2": "systemd.unified_cgroup_hierarchy=1",
    "hybrid": "systemd.unified_cgroup_hierarchy=0",
    "v1": "systemd.unified_cgroup_hierarchy=0 systemd.legacy_systemd_cgroup_controller=1",
}
"""The kernel's command line by VM_CGROUP (systemd(1))."""

CHOSEN_ROOT = "tests/cgroup tests/vm"
CHOSEN_SPEC = """
    test_cgroups.py test_cgroups_v2.py test_devices.py test_lifecycle.py test_exec.py test_rootless.py test_systemd.py
    test_apparmor.py security/test_containment.py
"""
CHOSEN_SYSTEMD = "spec-tests/test_lifecycle.py"
CHOSEN_USER = "spec-tests/test_lifecycle.py"
# the rest with --full: sessions of users, and the comparison of resources, take a quarter of an hour by themselves
CHOSEN_V1 = {
    "VM_SYSTEMD": "spec-tests/test_systemd.py spec-tests/test_cgroups.py -k 'test_systemd or resource_on_v1'"
}
"""Where v1 is mounted too: what a host without systemd cannot show. tests/vm/test_engines_systemd.py goes there as well."""
SOAK = {
    False: "--runs 60 --parallel 20 --waves 1 --kills 5",
    True: "--runs 500 --parallel 50 --waves 1 --kills 40",
}
"""By whether all is asked for."""

USER = """\
install -d -o tester /tmp/user
setpriv --reuid=tester --regid=tester --init-groups env -i PATH=$PATH HOME=/home/tester USER=tester LC_ALL=C.UTF-8 TERM=dumb \
    COLUMNS=120 CI=true PYTHONDONTWRITEBYTECODE=1 RUNTIME=$RUNTIME SPEC_TESTS_PATIENCE=$SPEC_TESTS_PATIENCE TMPDIR=/tmp/user \
    XDG_RUNTIME_DIR=/run/user/1000 DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/1000/bus \
    systemd-run --user --scope --quiet --collect --property=Delegate=yes -- \
    unshare --user --map-root-user --map-auto --mount \
    .venv/bin/pytest --driver systemd -p no:cacheprovider --junitxml=/tmp/user/results.xml {tests} | cat || status=$?
cp /tmp/user/results.xml build/vm/spec-tests-user.xml
"""
"""What an ordinary user's engine does, podman for one: a user namespace, and a scope that their own systemd hands over."""

GO = """\
#!/bin/bash
# Written by tests/vm/run.py
cd /src
set -o pipefail  # pytest writes through a pipe: on a terminal it shows that it collects, and on a serial line that stays
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 TERM=dumb COLUMNS=120
export CI=true PYTHONDONTWRITEBYTECODE=1 RUNTIME={runtime} SPEC_TESTS_PATIENCE={patience}
mount -t tmpfs tmpfs /tmp
chmod 755 /src
echo "kernel $(uname -r), $(systemctl --version | head -n 1), $(stat -fc %T /sys/fs/cgroup), $(systemctl is-system-running)"
systemctl --failed --no-legend
{commands}
exit $status
"""


def fail(text: str) -> None:
    sys.exit(f"tests/vm/run.py: {text}")


def sh(*words: str | Path, **more: object) -> None:
    done = subprocess.run([str(word) for word in words], check=False, **more)  # type: ignore[call-overload]
    if done.returncode:
        fail(f"{shlex.join(map(str, words))}: exit status {done.returncode}")


def make_image() -> Path:
    done = subprocess.run([HERE / "image"], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(done.returncode)
    return Path(done.stdout.strip())


def make_source(image: Path, go: str) -> Path:
    """Copy what git knows or would take, build pyrunc in it by the machine's own compiler, and make a disk of it."""
    source = WORK / "src"
    shutil.rmtree(source, ignore_errors=True)
    source.mkdir(parents=True)
    listing = ["git", "-c", f"safe.directory={TOP}", "ls-files", "-co", "--exclude-standard", "-z"]
    names = subprocess.run(listing, cwd=TOP, check=True, stdout=subprocess.PIPE).stdout
    there = b"\0".join(
        name for name in names.split(b"\0") if name and os.path.lexists(TOP / os.fsdecode(name))
    )
    pack = subprocess.Popen(
        ["tar", "-c", "--null", "-T", "-"], cwd=TOP, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    unpack = subprocess.Popen(["tar", "-x"], cwd=source, stdin=pack.stdout)
    assert pack.stdin is not None
    pack.stdin.write(there)
    pack.stdin.close()
    if pack.wait() or unpack.wait():
        fail("cannot copy the checkout")
    sh("tar", "-xf", image / "venv.tar", "-C", source)
    install = "/src/.venv/bin/pip install -q --no-index --no-build-isolation --no-deps --disable-pip-version-check /src"
    inside = f'mount --bind "$1" "$2/src" && exec chroot "$2" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin {install}'
    with (WORK / "build.log").open("w") as log:
        sh("unshare", "-m", "--propagation", "private", "sh", "-c", inside, "sh", source, image / "tree",
           stdout=log, stderr=subprocess.STDOUT)  # fmt: skip
    for made in (*source.glob("build/lib*"), *source.glob("build/temp*"), *source.glob("build/bdist*")):
        shutil.rmtree(made)
    if (PEERS / ".unpacked").exists():
        copy_peers(source / "build/peers")
    (source / "build/vm").mkdir(parents=True, exist_ok=True)
    (source / "build/vm/go").write_text(go)
    (source / "build/vm/go").chmod(0o755)
    disk = WORK / "src.ext4"
    disk.unlink(missing_ok=True)
    sh("truncate", "-s", "1G", disk)
    sh("mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-E", "root_owner=0:0", "-d", source, disk)
    return disk


def copy_peers(to: Path) -> None:
    """Copy what `make peers` has left: its programs name their loader by a path, which is another in the machine."""
    shutil.copytree(PEERS, to)
    lib = f"/src/{PEERS.relative_to(TOP)}/lib"
    for program in to.glob("*-*"):
        loader = next((to / "lib").glob("ld-linux-*")).name
        sh("patchelf", "--set-interpreter", f"{lib}/{loader}", "--force-rpath", "--set-rpath", lib, program)


def commands(args: argparse.Namespace) -> str:
    """Return what the machine does: the last failure is its status."""
    if args.shell:
        return f"{args.shell}\nstatus=$?"
    chosen = {
        "VM_ROOT": "tests -m root" if args.full else f"{CHOSEN_ROOT} -m 'root and not engines'",
        "VM_SPEC": "spec-tests" if args.full else chosen_spec(),
        "VM_SYSTEMD": "spec-tests" if args.full else CHOSEN_SYSTEMD,
        "VM_USER": "spec-tests" if args.full else CHOSEN_USER,
    }
    soak = SOAK[args.full]
    if asked_cgroup() != "v2" and not args.full:
        chosen, soak = {name: CHOSEN_V1.get(name, "") for name in chosen}, ""
    asked = {name: os.environ.get(name, tests) for name, tests in chosen.items()}
    soak = os.environ.get("VM_SOAK", soak)
    lines = ["status=0", "bundles/make-rootfs bundles/rootfs >/dev/null || status=1"]
    for name, file in zip(chosen, RESULTS, strict=True):
        if name == "VM_USER" and asked[name]:
            lines.append(USER.format(tests=asked[name]))
        elif asked[name]:
            more = MORE.get(name, "")
            lines.append(
                f".venv/bin/pytest --junitxml=build/vm/{file} {more} {asked[name]} | cat || status=$?"
            )
    if soak:
        lines += [
            f".venv/bin/python bench/soak.py --runtime $RUNTIME {soak} {driver} || status=1"
            for driver in ("", "--systemd")
        ]
    return "\n".join(lines)


def asked_cgroup() -> str:
    """Return VM_CGROUP."""
    asked = os.environ.get("VM_CGROUP", "v2")
    if asked not in CGROUP:
        fail(f"VM_CGROUP={asked}: expected {', '.join(CGROUP)}")
    return asked


def chosen_spec() -> str:
    return shlex.join([f"spec-tests/{name}" for name in CHOSEN_SPEC.split()])


def qemu(image: Path, disk: Path, accel: str) -> list[str]:
    words = ["qemu-system-x86_64", "-accel", accel, "-cpu", TCG_CPU if accel.startswith("tcg") else "host"]
    words += ["-smp", os.environ.get("VM_CPUS", "2"), "-m", os.environ.get("VM_MEMORY", "2048")]
    words += ["-nodefaults", "-display", "none", "-serial", "stdio", "-no-reboot", "-nic", "none"]
    words += ["-kernel", str(image / "vmlinuz"), "-initrd", str(image / "initrd")]
    words += ["-append", f"console=ttyS0 quiet panic=-1 systemd.show_status=false {CGROUP[asked_cgroup()]}"]
    words += ["-drive", f"file={image / 'root.ext4'},format=raw,if=virtio,snapshot=on"]
    return [*words, "-drive", f"file={disk},format=raw,if=virtio,cache=unsafe"]


def works(accel: str, image: Path) -> bool:
    """Tell whether a kernel starts with an accelerator: /dev/kvm may be there and not work (nested, or emulated itself)."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    words = [
        "qemu-system-x86_64",
        "-accel",
        accel,
        "-cpu",
        "host",
        "-m",
        "256",
        "-nodefaults",
        "-display",
        "none",
    ]
    words += [
        "-serial",
        "stdio",
        "-no-reboot",
        "-kernel",
        str(image / "vmlinuz"),
        "-append",
        "console=ttyS0 panic=-1",
    ]
    try:
        done = subprocess.run(words, capture_output=True, timeout=20, stdin=subprocess.DEVNULL, check=False)
    except subprocess.TimeoutExpired:
        return False
    return b"Linux version" in done.stdout


def boot(words: list[str], limit: int) -> int:
    """Run the machine until it switches itself off, showing its console; return the status that it told."""
    told = ""
    with (WORK / "console.log").open("w") as log:
        machine = subprocess.Popen(
            ["timeout", "-k", "5", str(limit), *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert machine.stdout is not None
        while part := os.read(machine.stdout.fileno(), 4096):  # as it comes: a line of pytest's takes minutes
            text = part.decode(errors="replace").replace("\r", "")
            told += text
            for stream in (log, sys.stdout):
                stream.write(text)
                stream.flush()
        code = machine.wait()
    if code == 124:
        fail(
            f"the machine was not done after {limit} seconds (VM_TIMEOUT); its console: {WORK / 'console.log'}"
        )
    _, found, after = told.rpartition(EXIT)
    if not found:
        fail(
            f"the machine did not come to its end (qemu: exit status {code}); its console: {WORK / 'console.log'}"
        )
    return int(after.split()[0])


def fetch(disk: Path) -> None:
    """Take the results off the disk, by e2fsprogs, so that nothing needs to be mounted."""
    for name in (*RESULTS, REQUIREMENTS):
        (WORK / name).unlink(missing_ok=True)
        subprocess.run(
            ["debugfs", "-R", f"dump build/vm/{name} {WORK / name}", disk], capture_output=True, check=False
        )
        if (WORK / name).exists() and not (WORK / name).stat().st_size:
            (WORK / name).unlink()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--full", action="store_true", help="the whole suites, which takes an emulated machine hours"
    )
    parser.add_argument("--shell", metavar="COMMAND", help="run this instead of tests")
    args = parser.parse_args()
    if os.geteuid() != 0:
        fail("needs root, to build in the machine's root file system")
    for tool in ("qemu-system-x86_64", "mke2fs", "debugfs"):
        if not shutil.which(tool):
            fail(f"needs {tool}: apt-get install qemu-system-x86 e2fsprogs")
    WORK.mkdir(parents=True, exist_ok=True)
    image = make_image()
    accel = os.environ.get("VM_ACCEL") or ("kvm" if works("kvm", image) else TCG)
    runtime = os.environ.get("VM_RUNTIME", "/src/.venv/bin/pyrunc")
    if "/" in runtime and not runtime.startswith("/"):
        runtime = f"/src/{runtime}"
    disk = make_source(
        image,
        GO.format(runtime=runtime, commands=commands(args), patience=4 if accel.startswith("tcg") else 1),
    )
    began = time.monotonic()
    print(f"boot {image.name} with {accel}", flush=True)
    limit = int(os.environ.get("VM_TIMEOUT", "20000" if args.full else "2400"))
    status = boot(qemu(image, disk, accel), limit)
    fetch(disk)
    print(f"{time.monotonic() - began:.0f} s in the machine")
    sys.exit(status)


if __name__ == "__main__":
    main()
