"""Time `ctr run --rm`, `docker run --rm` and `podman run --rm` with pyrunc beside runc, as root.

The runtimes take turns, so that a busy moment of the machine meets both. The engines are those of
tests/engines, in the same box. Prints the table of docs/engines.md.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "engines"))

import drivers
import images
from box import Box, remove_stale_cgroups

ROOT = Path(__file__).resolve().parents[1]
ENGINES = {kind.name: kind for kind in (drivers.Containerd, drivers.Docker, drivers.Podman)}
SHOWN = {"containerd": "ctr run --rm", "docker": "docker run --rm", "podman": "podman run --rm"}


def time_one(engine: drivers.Engine, runtime: str, count: int) -> float:
    """Run `true` in a new container: milliseconds."""
    name = [f"time-{runtime}-{count}"] if engine.name == "containerd" else []
    command = engine.box.enter(*engine.command(runtime, "run", "--rm", images.NAME, *name, "true"))
    begun = time.monotonic()
    subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL)
    return (time.monotonic() - begun) * 1000


def measure(engine: drivers.Engine, rounds: int) -> dict[str, list[float]]:
    """Take both runtimes in turn, a round each to warm up."""
    times: dict[str, list[float]] = {name: [] for name in engine.runtimes}
    for count in range(rounds + 1):
        for runtime in engine.runtimes:
            took = time_one(engine, runtime, count)
            if count:
                times[runtime].append(took)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--engines", default=",".join(ENGINES))
    parser.add_argument("--runtime", default=str(ROOT / ".venv/bin/pyrunc"))
    args = parser.parse_args()
    remove_stale_cgroups()
    box = Box(f"/pyrunc-engines-{os.getpid()}")
    print("| median (min) in ms | runc | pyrunc | pyrunc / runc |\n| --- | ---: | ---: | ---: |")
    try:
        with tempfile.TemporaryDirectory(prefix="pyrunc-engines-") as folder:
            images.write_archive(Path(folder) / "image.tar")
            for name in args.engines.split(","):
                engine = ENGINES[name](box, Path(folder))
                engine.runtimes = {"runc": "/usr/sbin/runc", "pyrunc": args.runtime}
                engine.boot(str(Path(folder) / "image.tar"))
                times = measure(engine, args.rounds)
                engine.shut_down()
                middle = {runtime: statistics.median(took) for runtime, took in times.items()}
                cells = [f"{middle[each]:.0f} ({min(times[each]):.0f})" for each in ("runc", "pyrunc")]
                ratio = middle["pyrunc"] / middle["runc"]
                print(f"| `{SHOWN[name]}` | {cells[0]} | {cells[1]} | {ratio:.2f} |", flush=True)
    finally:
        box.close()


if __name__ == "__main__":
    main()
