"""Results of bench.py as a Markdown table, a plot and raw JSON."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Fixed, so that a runtime has the same colour in every plot. They differ in lightness too.
COLOURS = {"pyrunc": "#1f6fb4", "runc": "#e0902f", "crun": "#9a9a9a"}


IN_UNITS = ("state", "kill", "ps", "pause", "update")
"""Short commands, whose time is mostly the interpreter's start: they have budgets in units of that (kill 1.3, others 1.6)."""


@dataclass(frozen=True)
class Results:
    """One run of the benchmark: times in ms, memory and limits in KiB, calls as (processes, system calls)."""

    versions: dict[str, str]
    python: str
    rounds: int
    times: dict[str, dict[str, list[float]]]
    memory: dict[str, dict[str, int]]
    limits: dict[str, int | None]
    calls: dict[str, tuple[int, int] | None]
    baseline: list[float]

    def names(self) -> list[str]:
        return list(self.versions)

    def operations(self) -> list[str]:
        return list(next(iter(self.times.values())))

    def median(self, name: str, operation: str) -> float:
        return statistics.median(self.times[name][operation])


def cgroup_layout() -> str:
    if Path("/sys/fs/cgroup/cgroup.controllers").exists():
        return "v2"
    return "v1 and v2 (hybrid)" if Path("/sys/fs/cgroup/unified").exists() else "v1"


def processor() -> str:
    rows = [row.partition(":") for row in Path("/proc/cpuinfo").read_text().splitlines()]
    return next((value.strip() for key, _, value in rows if key.strip() == "model name"), platform.machine())


def host() -> str:
    return f"Linux {platform.release()}, cgroup {cgroup_layout()}, {os.cpu_count()} cpus, {processor()}"


def spread(values: list[float]) -> str:
    """Median, then mean and standard deviation."""
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.median(values):.1f} ({statistics.fmean(values):.1f} ± {deviation:.1f})"


def row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def ratio(results: Results, operation: str, other: str) -> str:
    return f"{results.median(results.names()[0], operation) / results.median(other, operation):.2f}"


def mib(kib: int | None) -> str:
    return "not found" if kib is None else f"{kib / 1024:.2f}"


def time_table(results: Results) -> list[str]:
    names = results.names()
    first, others = names[0], names[1:]
    lines = [
        row("time in ms", *names, *(f"{first} / {other}" for other in others)),
        row("---", *["---:"] * (len(names) + len(others))),
    ]
    for operation in results.operations():
        cells = [spread(results.times[name][operation]) for name in names]
        lines.append(row(operation, *cells, *(ratio(results, operation, other) for other in others)))
    return lines


def other_table(results: Results) -> list[str]:
    names = results.names()

    def counted(index: int) -> list[str]:
        return [str(calls[index]) if (calls := results.calls[name]) else "not counted" for name in names]

    return [
        row("one `run`", *names),
        row("---", *["---:"] * len(names)),
        row("peak memory of the largest process, MiB", *(mib(results.memory[name]["run"]) for name in names)),
        row("smallest memory limit that works, MiB", *(mib(results.limits[name]) for name in names)),
        row("processes", *counted(0)),
        row("system calls", *counted(1)),
    ]


def baseline_lines(results: Results) -> list[str]:
    base = statistics.median(results.baseline)
    first = results.names()[0]
    shares = ", ".join(f"`{op}` {results.median(first, op) / base:.2f}" for op in IN_UNITS)
    times = f"(`python3 -I -S -c pass`, {results.python}): {spread(results.baseline)} ms"
    return [f"Bare interpreter {times}. {first} in units of it: {shares}."]


def markdown(results: Results) -> str:
    versions = ", ".join(results.versions.values())
    lines = [
        *time_table(results),
        "",
        *other_table(results),
        "",
        f"Median (mean ± standard deviation) of {results.rounds} rounds, warm, as root, the runtimes in",
        "turn within each; the bundle is that of `spec`, with `true` or `sleep` as its program.",
        *baseline_lines(results),
        f"{versions}; {host()}.",
    ]
    return "\n".join(lines) + "\n"


def plot(results: Results, path: Path) -> None:
    """Two panels: the median time of each operation with its 10th to 90th percentile, and memory."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 5.2), width_ratios=[3, 1.2], layout="constrained")
    names, operations = results.names(), results.operations()
    height = 0.8 / len(names)
    for index, name in enumerate(names):
        places = [number + (index - (len(names) - 1) / 2) * height for number in range(len(operations))]
        medians = [results.median(name, operation) for operation in operations]
        low, high = zip(
            *(percentiles(results.times[name][operation]) for operation in operations), strict=True
        )
        errors = [
            [max(0.0, m - bound) for m, bound in zip(medians, low, strict=True)],
            [max(0.0, bound - m) for m, bound in zip(medians, high, strict=True)],
        ]
        look = {"color": COLOURS.get(name), "error_kw": {"lw": 0.8, "ecolor": "#333333"}}
        bars = left.barh(places, medians, height * 0.92, label=results.versions[name], xerr=errors, **look)
        left.bar_label(bars, [f" {m:.1f}" for m in medians], padding=6, fontsize=7)
    base = statistics.median(results.baseline)
    left.axvline(base, ls="--", lw=1, color="#444444", label=f"{results.python} -I -S -c pass: {base:.1f} ms")
    left.set(yticks=range(len(operations)), yticklabels=operations)
    left.set_xlabel("milliseconds (median, 10th to 90th percentile)")
    left.set_title("time of one command")
    left.invert_yaxis()
    left.margins(x=0.1)
    left.legend(fontsize=8, loc="lower right")
    plot_memory(results, right)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)


def percentiles(values: list[float]) -> tuple[float, float]:
    """The 10th and the 90th."""
    cuts = statistics.quantiles(values, n=10, method="inclusive") if len(values) > 1 else [values[0]] * 9
    return cuts[0], cuts[8]


def plot_memory(results: Results, axes: Axes) -> None:
    names = results.names()
    groups = {
        "peak memory\nof run": [results.memory[name]["run"] / 1024 for name in names],
        "smallest\nmemory limit": [(results.limits[name] or 0) / 1024 for name in names],
    }
    width = 0.8 / len(names)
    for index, name in enumerate(names):
        places = [number + (index - (len(names) - 1) / 2) * width for number in range(len(groups))]
        values = [group[index] for group in groups.values()]
        bars = axes.bar(places, values, width * 0.92, color=COLOURS.get(name))
        axes.bar_label(bars, fmt="%.1f", fontsize=7)
    axes.set(xticks=range(len(groups)), xticklabels=list(groups), ylabel="MiB", title="memory")


def write(results: Results, table: Path, image: Path, raw: Path) -> None:
    """Write all three; without matplotlib there is no plot, and that is said."""
    text = markdown(results)
    for path, content in ((table, text), (raw, json.dumps(dataclasses.asdict(results), indent=1) + "\n")):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    print(text, end="")
    try:
        plot(results, image)
    except ModuleNotFoundError as error:
        print(f"{image}: not drawn: {error.name} is not installed (pip install '.[bench]')", file=sys.stderr)
