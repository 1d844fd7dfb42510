"""The plot of a sweep: seconds against what it varies, a curve a row, the name at the end of each."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from bench.records import Estimate, Results, Workload, WorkloadResult, threads_text
from bench.report.drawing import (
    DARK,
    GREY,
    PEAK_LINE,
    RATE,
    REFERENCE_LINE,
    REFERENCE_NAME,
    labels_to_show,
    short,
    write_caption,
)
from bench.report.palette import look
from bench.report.speedup_plot import speedups
from bench.report.text import seconds_text
from bench.results.estimates import seconds_estimate

PER_EXAMPLE, PER_STEP = "time per example", "time per step"
MOST_COLUMNS = {"width-grid": 3}  # of panels, two for the others
Point = tuple[int, Estimate]


def _threads(workload: Workload) -> str:
    return f"{workload.dtype}, {threads_text(workload.threads)}"


class Axis(NamedTuple):
    """What a sweep varies, from left to right, and what it is drawn against."""

    name: str
    of: Callable[[Workload], int]
    up: str
    panel: Callable[[Workload], str] = _threads  # the title of the panel that a workload belongs to


BATCH = Axis("examples in a mini-batch", lambda workload: workload.batch_size, PER_EXAMPLE)
WIDTH = Axis("units in the hidden layer", lambda workload: workload.sizes[1], PER_EXAMPLE)
THREADS = Axis("threads", lambda workload: workload.threads, PER_STEP, lambda workload: workload.dtype)
SWEEPS = {
    "batch": BATCH,
    "batch-grid": BATCH,
    "width": WIDTH,
    "width-grid": WIDTH._replace(panel=lambda workload: f"{workload.dtype}, batch {workload.batch_size}"),
    "depth": Axis("hidden layers of 100 units", lambda workload: len(workload.sizes) - 2, PER_EXAMPLE),
    "threads": THREADS,
    "weak": THREADS._replace(name="threads, with 64 examples each"),
    "data": Axis("examples in an epoch", lambda workload: workload.epoch_examples, PER_EXAMPLE),
}
DRAWN = {*SWEEPS, "dtype", "strong"}  # the names of the sweeps that have a plot


def has_place(workload: Workload) -> bool:
    """Return whether a workload can be drawn in the plot of its sweep: a logarithmic axis has no 0."""
    axis = SWEEPS.get(workload.sweep)
    return axis is None or axis.of(workload) > 0


def sweep(results: Results, name: str, workloads: list[WorkloadResult]) -> Figure:
    """Return the figure of a sweep: log-log curves, peak and reference rate too; points of speed-ups for the dtypes."""
    if name == "dtype":
        return speedups(results, workloads)
    axis = SWEEPS[name]
    panels: dict[str, list[WorkloadResult]] = {}
    for of in workloads:
        panels.setdefault(axis.panel(of.workload), []).append(of)
    columns = min(MOST_COLUMNS.get(name, 2), len(panels))
    lines = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(0.7 + 5.4 * columns, 1.0 + 4.9 * lines), layout="constrained")
    grid = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    for axes, (title, of_panel) in zip(grid.flat, panels.items(), strict=False):
        _panel(axes, results, name, of_panel)
        axes.set_title(title)
    for axes in grid[-1]:
        axes.set_xlabel(axis.name)
    for axes in grid[:, 0]:
        axes.set_ylabel(axis.up)
    what = f"{axis.up} against {axis.name}"
    figure.suptitle(what[0].upper() + what[1:], x=0.01, ha="left", fontsize=12, weight="bold")
    write_caption(figure, results)
    figure.draw_without_rendering()  # places the axes, so that the names at the curves can be kept apart
    for axes in grid.flat:
        spread_names(axes)
    return figure


def _panel(axes: Axes, results: Results, name: str, workloads: list[WorkloadResult]) -> None:
    """Draw the curves of all rows, of the peak and of the reference rate, against what the sweep varies."""
    axis = SWEEPS[name]
    of = axis.of

    def per(of_workload: WorkloadResult) -> float:
        return 1.0 / of_workload.examples if axis.up == PER_EXAMPLE else 1.0

    ticks = sorted({of(each.workload) for each in workloads})
    for label in labels_to_show(results, workloads):
        points: list[Point] = []
        for each in workloads:
            row = results.row(each.workload.name, label)
            if row is not None and row.timed and row.seconds is not None:
                own = seconds_estimate(row.samples)  # over processes, of the time that the table has
                points.append((of(each.workload), own.scaled(row.seconds / own.value * per(each))))
        points.sort(key=lambda point: point[0])
        if points:
            _curve(axes, label, points)
            if name == "threads" and label == "multithreaded":
                _ideal(axes, points)
    for rate, dashes, found in (
        ("peak", PEAK_LINE, [(each, each.peak_seconds) for each in workloads]),
        (REFERENCE_NAME, REFERENCE_LINE, [(each, each.reference_seconds) for each in workloads]),
    ):
        ends = sorted((of(each.workload), seconds * per(each)) for each, seconds in found if seconds is not None)
        if ends:
            axes.plot(*zip(*ends, strict=True), color=RATE, linewidth=1.3, linestyle=dashes, label=rate)
            name_curve(axes, rate, *ends[-1], RATE)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xlim(ticks[0] / 1.3, ticks[-1] * max(2.0, (ticks[-1] / ticks[0]) ** 0.42))  # room for the names
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: seconds_text(value)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.grid(color="#e6e6e6", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", labelleft=True)


def _curve(axes: Axes, label: str, points: list[Point]) -> None:
    """Draw one row's curve with its intervals, and its name at the end."""
    style = look(label)
    xs, values = [x for x, _ in points], [estimate.value for _, estimate in points]
    axes.plot(xs, values, label=label, color=style.colour, marker=style.marker, markersize=4, linewidth=1.2, alpha=0.9)
    for x, estimate in points:
        if estimate.low is not None and estimate.high is not None:
            axes.plot([x, x], [estimate.low, estimate.high], color=style.colour, linewidth=2.0, alpha=0.5)
    name_curve(axes, label, xs[-1], values[-1], style.colour)


def _ideal(axes: Axes, points: list[Point]) -> None:
    first, estimate = points[0]
    ideal = [(x, estimate.value * first / x) for x, _ in points]
    axes.plot(*zip(*ideal, strict=True), color=GREY, linestyle=":", label="multithreaded, if it scaled ideally")


def name_curve(axes: Axes, label: str, x: float, y: float, colour: str) -> None:
    """Write a name beside the end of a curve; `spread_names` then keeps such names apart."""
    axes.annotate(
        short(label),
        (x, y),
        (14, 0),
        textcoords="offset points",
        va="center",
        fontsize=7,
        color=DARK,
        arrowprops={
            "arrowstyle": "-",
            "color": colour,
            "linewidth": 0.8,
            "shrinkA": 1,
            "shrinkB": 1,
            "relpos": (0, 0.5),
        },
        annotation_clip=False,
    )


def spread_names(axes: Axes, apart: float = 8.5) -> None:
    """Move the names at the ends of curves up and down as little as can be, to be `apart` points from each other."""
    from scipy.optimize import isotonic_regression  # takes half a second

    names = sorted((text for text in axes.texts if isinstance(text, Annotation)), key=lambda name: name.xy[1])
    if not names:
        return
    ends = [axes.transData.transform(name.xy) * 72 / axes.figure.dpi for name in names]  # points (x, y)
    steps = apart * np.arange(len(names))
    lowest = axes.bbox.y0 * 72 / axes.figure.dpi + apart  # above the axis
    places = np.maximum(isotonic_regression([y for _, y in ends] - steps).x, lowest) + steps
    right = max(x for x, _ in ends)
    for name, (x, y), place in zip(names, ends, places, strict=True):
        name.set_position((right - x + 14, place - y))
