"""The plots, made from a results file alone, the same bytes every time: SVG and PNG.

speedups     per workload: bars of the speed-up with its interval, the control's band, the limit
limit        per cent of the limit against the operations of a call, a line a row
sweep-NAME   seconds against what the sweep varies, a line a row
"""

import io
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from bench.results import KEY, write_whole
from bench.sampler import CONTROL
from bench.table import seconds_text
from impls import ROWS

STYLE: dict[Any, Any] = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "font.size": 9,
    "font.family": "DejaVu Sans",
    "legend.fontsize": 8,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "backprop-bench",
    "xtick.labelsize": 8,
    "ytick.labelsize": 9,
}
COLOURS = ("#1f77b4", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#8c564b", "#000000")  # told apart by all
MARKERS = "os^Dv<>PX*hp"
BAR, BASELINE_BAR, GREY, BAND, LIMIT = "#3b78a8", "#9a9a9a", "#8a8a8a", "#f2c14e", "#c0392b"

HALO = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}  # keeps text legible over lines
TICKS = ((4, (1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0, 8.0)), (200, (1.0, 2.0, 5.0)), (float("inf"), (1.0,)))

Row = dict[str, Any]
Workload = dict[str, Any]


def draw(content: dict[str, Any], folder: Path) -> list[Path]:
    """Draw all plots that the results hold into a folder; return the paths. Raises UserError if it can't be written."""
    found = content[KEY]
    machine = content.get("machine_info", {}).get(KEY, {})
    default = [workload for workload in found["workloads"] if not workload["sweep"]]
    sweeps = sorted({workload["sweep"] for workload in found["workloads"] if workload["sweep"]})
    paths = []
    with matplotlib.rc_context(STYLE):
        if any("speed_up" in row for workload in default for row in _rows(found, workload)):
            paths += save(speedups(found, default, machine), folder / "speedups")
        if any("percent_of_limit" in row for workload in default for row in _rows(found, workload)):
            paths += save(limit(found, default, machine), folder / "limit")
        for name in sweeps:
            of_sweep = [workload for workload in found["workloads"] if workload["sweep"] == name]
            paths += save(sweep(found, name, of_sweep, machine), folder / f"sweep-{name}")
    return paths


def speedups(found: dict[str, Any], workloads: list[Workload], machine: dict[str, Any]) -> Figure:
    """Return the figure of speed-ups: a panel a workload, fastest row at the top."""
    columns = min(3, len(workloads))
    lines = math.ceil(len(workloads) / columns)
    tallest = max(len(_rows(found, workload)) for workload in workloads)
    figure = Figure(figsize=(4.6 * columns + 0.4, (0.27 * tallest + 1.15) * lines + 0.9), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False)
    for axes, workload in zip(grid.flat, workloads, strict=False):
        _speedup_panel(axes, workload, _rows(found, workload))
    for axes in list(grid.flat)[len(workloads) :]:
        axes.set_visible(False)
    figure.suptitle("Speed-up over the baseline, on a logarithmic scale", x=0.01, ha="left", fontsize=13, weight="bold")
    figure.supxlabel(
        "Whiskers: 95 % interval over processes.  Yellow band: the control, the baseline's own code run a second time."
        "  Red line: the limit, all operations at the rate of a large matrix product.\n" + _caption(found, machine),
        x=0.01,
        ha="left",
        fontsize=8,
        color="#444444",
    )
    return figure


def _speedup_panel(axes: Axes, workload: Workload, rows: list[Row]) -> None:
    """Draw one workload's bars."""
    baseline = next((row for row in rows if row["label"] == workload["baseline_label"]), None)
    control = next((row for row in rows if row["label"] == CONTROL), {})
    timed = [row for row in rows if "seconds" in row and row["label"] != CONTROL]
    timed.sort(key=lambda row: _speed_up(row)[0])
    others = [row for row in rows if "seconds" not in row and row["label"] != CONTROL]
    shown = others + timed
    values = [_speed_up(row)[0] for row in timed] or [1.0]
    reachable = []
    if "limit_seconds" in workload and baseline and "seconds" in baseline:
        reachable = [baseline["seconds"] / workload["limit_seconds"]]
    low, high = min(*values, 0.8), max(*values, *reachable, 1.25)
    axes.set_xscale("log")
    axes.set_xlim(low / 1.25, high * (high / low) ** 0.3)
    for position, row in enumerate(shown):
        if row in others:
            words = f"{row['outcome']}: {row['reason']}"
            words = words[:58] + ("…" if len(words) > 58 else "")
            axes.text(low / 1.2, position, words, color=GREY, va="center", fontsize=7, bbox=HALO)
            continue
        value, below, above = _speed_up(row)
        is_baseline = row is baseline
        axes.barh(
            position, value - low / 1.25, left=low / 1.25, height=0.72, color=BASELINE_BAR if is_baseline else BAR
        )
        if below is not None and above is not None:
            axes.plot([below, above], [position, position], color="black", linewidth=1.4, solid_capstyle="butt")
        text = seconds_text(row["seconds"]) if is_baseline else f"{value:#.3g}×"
        end = (max(value, above or value), position)
        axes.annotate(text, end, (5, 0), textcoords="offset points", va="center", fontsize=8, bbox=HALO)
    axes.axvline(1.0, color="#444444", linewidth=0.8)
    below, above = _speed_up(control)[1:]
    if below is not None and above is not None:
        axes.axvspan(below, above, color=BAND, linewidth=0, zorder=0.5)
    for value in reachable:
        axes.axvline(value, color=LIMIT, linewidth=1.2)
    axes.set_yticks(range(len(shown)), [row["label"] for row in shown])
    axes.tick_params(axis="y", length=0)
    for label, row in zip(axes.get_yticklabels(), shown, strict=True):
        if row in others:
            label.set_color(GREY)
    axes.set_ylim(-0.6, len(shown) - 0.4)
    subs = next(subs for range_, subs in TICKS if high / low < range_)
    axes.xaxis.set_major_locator(LogLocator(subs=subs))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_title(workload["name"])
    axes.set_xlabel(workload["description"], loc="left", fontsize=8, color="#444444")


def limit(found: dict[str, Any], workloads: list[Workload], machine: dict[str, Any]) -> Figure:
    """Return the roofline-style figure: per cent of the limit against the operations of one call."""
    figure = Figure(figsize=(9.5, 5.6), layout="constrained")
    axes = figure.subplots()
    ordered = sorted(workloads, key=lambda workload: (workload["flops"], workload["name"]))
    positions = {workload["name"]: position for position, workload in enumerate(ordered)}
    for label in _labels(found, workloads):
        points = [
            (positions[row["workload"]], row["percent_of_limit"])
            for row in found["rows"]
            if row["label"] == label and row["workload"] in positions and "percent_of_limit" in row
        ]
        if points:
            points.sort(key=lambda point: point[0])
            _line(axes, label, [x for x, _ in points], [y for _, y in points])
    axes.axhline(100, color=LIMIT, linewidth=1.2)
    axes.annotate(
        "the limit: a large matrix product", (0, 100), (0, 4), textcoords="offset points", color=LIMIT, fontsize=8
    )
    axes.set_yscale("log")
    axes.set_ylim(top=160)
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} %"))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_xticks(
        range(len(ordered)), [f"{workload['name']}\n{_flops_text(workload['flops'])}" for workload in ordered]
    )
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    axes.set_xlabel("workload, by floating-point operations of one call")
    axes.set_ylabel("per cent of the limit")
    axes.set_title("How much of the machine each row uses")
    _legend(figure, axes)
    figure.text(0.01, -0.03, _caption(found, machine), fontsize=8, color="#444444")
    return figure


BATCH = ("examples in a mini-batch", lambda workload: workload["batch_size"], "time per example")
SWEEPS: dict[str, tuple[str, Callable[[Workload], float], str]] = {
    "batch": BATCH,
    "batch-grid": BATCH,
    "width": ("units in the hidden layer", lambda workload: workload["sizes"][1], "time per example"),
    "depth": ("hidden layers of 100 units", lambda workload: len(workload["sizes"]) - 2, "time per example"),
    "threads": ("threads", lambda workload: workload["threads"], "time per step"),
}


def sweep(found: dict[str, Any], name: str, workloads: list[Workload], machine: dict[str, Any]) -> Figure:
    """Return the figure of a sweep: log-log lines against what varies, with the limit; bars for the dtypes."""
    if name == "dtype":
        return speedups(found, workloads, machine)
    panels: dict[str, list[Workload]] = {}
    for workload in workloads:
        threads = "" if name == "threads" else f", {workload['threads']} thread{'s' * (workload['threads'] > 1)}"
        panels.setdefault(workload["dtype"] + threads, []).append(workload)
    columns = min(2, len(panels))
    lines = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(2.5 + 7 * columns, 1 + 4.6 * lines), layout="constrained")
    grid = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    for axes, (title, of_panel) in zip(grid.flat, panels.items(), strict=False):
        _sweep_panel(axes, found, name, of_panel)
        axes.set_title(title, fontsize=10)
    for axes in grid[-1]:
        axes.set_xlabel(SWEEPS[name][0])
    for axes in grid[:, 0]:
        axes.set_ylabel(SWEEPS[name][2])
    figure.suptitle(f"Sweep: {SWEEPS[name][0]}")
    _legend(figure, grid[0, 0])
    figure.text(0.01, -0.03, _caption(found, machine), fontsize=8, color="#444444")
    return figure


def _sweep_panel(axes: Axes, found: dict[str, Any], name: str, workloads: list[Workload]) -> None:
    """Draw the lines of all rows and the limit against what the sweep varies."""
    _, of, up = SWEEPS[name]
    per_example = up == "time per example"
    by_name = {workload["name"]: workload for workload in workloads}
    for label in _labels(found, workloads):
        if "@" in label:  # a baseline on fewer cores: the same code as the row, at other threads
            continue
        points = []
        for row in found["rows"]:
            if row["label"] == label and row["workload"] in by_name and "seconds" in row:
                workload = by_name[row["workload"]]
                points.append((of(workload), row["seconds"] / (workload["examples"] if per_example else 1)))
        if points:
            points.sort()
            _line(axes, label, [x for x, _ in points], [{"value": y} for _, y in points])
            if name == "threads" and label == "multithreaded":
                ideal = [(x, points[0][1] * points[0][0] / x) for x, _ in points]
                axes.plot(
                    *zip(*ideal, strict=True), color=GREY, linestyle=":", label="multithreaded, if it scaled ideally"
                )
    limits = sorted(
        (of(workload), workload["limit_seconds"] / (workload["examples"] if per_example else 1))
        for workload in workloads
        if "limit_seconds" in workload
    )
    if limits:
        axes.plot(*zip(*limits, strict=True), color=LIMIT, linewidth=1.2, linestyle="--", label="limit")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    ticks = sorted({of(workload) for workload in workloads})
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: seconds_text(value)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.grid(color="#dddddd", linewidth=0.6)


def _line(axes: Axes, label: str, xs: list[float], estimates: list[dict[str, Any]]) -> None:
    """Draw one row's line with its interval; a row keeps its colour and marker in all plots."""
    known = list(ROWS)
    index = known.index(label) if label in known else len(known) + sum(map(ord, label))
    values = [estimate["value"] for estimate in estimates]
    axes.plot(
        xs,
        values,
        label=label,
        color=COLOURS[index % len(COLOURS)],
        marker=MARKERS[index % len(MARKERS)],
        linestyle=("-", "--", "-.")[index // len(COLOURS) % 3],
        markersize=5,
        linewidth=1.4,
    )
    for x, estimate in zip(xs, estimates, strict=True):
        if estimate.get("low") is not None:
            axes.plot([x, x], [estimate["low"], estimate["high"]], color="black", linewidth=1.0)


def _legend(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside right upper")


def _labels(found: dict[str, Any], workloads: Iterable[Workload]) -> list[str]:
    """Return the labels of rows in order of first appearance, the control left out."""
    names = {workload["name"] for workload in workloads}
    return list(
        dict.fromkeys(row["label"] for row in found["rows"] if row["workload"] in names and row["label"] != CONTROL)
    )


def _rows(found: dict[str, Any], workload: Workload) -> list[Row]:
    return [row for row in found["rows"] if row["workload"] == workload["name"]]


def _speed_up(row: Row) -> tuple[float, float | None, float | None]:
    estimate = row.get("speed_up") or {"value": 1.0, "low": None, "high": None}
    return estimate["value"], estimate["low"], estimate["high"]


def _flops_text(flops: float) -> str:
    for unit, scale in (("Gflop", 1e9), ("Mflop", 1e6), ("kflop", 1e3)):
        if flops >= scale:
            return f"{flops / scale:.3g} {unit}"
    return f"{flops:.0f} flop"


def _caption(found: dict[str, Any], machine: dict[str, Any]) -> str:
    """Return where and how the numbers were made, in one line."""
    settings = found["settings"]
    parts = [
        machine.get("cpu_model", "unknown processor"),
        f"{machine['usable_cpus']} usable CPUs" if "usable_cpus" in machine else "",
        f"Python {machine['python']}" if "python" in machine else "",
        f"NumPy {machine['versions']['numpy']}" if "numpy" in machine.get("versions", {}) else "",
        machine.get("numpy_blas", ""),
        f"{settings['generations']} processes a row",
    ]
    return " · ".join(part for part in parts if part)


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write a figure as SVG and PNG, without dates or versions in them."""
    paths = []
    for suffix, metadata in (("svg", {"Date": None, "Creator": None}), ("png", {"Software": None})):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=suffix, dpi=110, metadata=metadata, bbox_inches="tight", facecolor="white")
        path = stem.with_name(f"{stem.name}.{suffix}")
        write_whole(path, buffer.getvalue())
        paths.append(path)
    return paths
