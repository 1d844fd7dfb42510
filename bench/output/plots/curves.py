"""Plots of curves: sweeps, what threads gain, training, scaling over MPI ranks, and the history of a folder of runs."""

from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate, product
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.ticker import FixedLocator, FuncFormatter, Locator, LogLocator, NullLocator

from bench.analysis.estimates import seconds_estimate
from bench.analysis.history import History, Trend
from bench.analysis.scaling import FABRICS, MAX_RANKS, Scaling
from bench.output.plots.dots import speedups
from bench.output.plots.drawing import (
    DARK,
    GREY,
    RATE_COLOUR,
    RATE_DASHES,
    RATE_NAMES,
    caption,
    panels,
    short,
    write_title,
)
from bench.output.plots.palette import Look, in_order, labels_to_show, look
from bench.output.plots.sweeps import SWEEPS, Axis, break_even, gains, splits_a_step
from bench.output.scaling_table import crowded_text, errors_text
from bench.output.text import number_text, seconds_text
from bench.records import Estimate, Results, WorkloadResult

if TYPE_CHECKING:
    from bench.training import Epoch  # brings SciPy, which takes half a second

NAMES_INCHES, NAME_POINTS = 2.2, 8.5  # room to the right of a panel, and the height of a name in it
MAX_HISTORY_NAMES = 24  # workloads beside each other, or implementations below each other, that are drawn


class Curve(NamedTuple):
    """Points from left to right with their intervals, and a name at the end."""

    name: str
    points: Sequence[tuple[float, Estimate]]
    look: Look
    dashes: Any = "-"


class Scale(NamedTuple):
    """A horizontal or a vertical axis; it is logarithmic if it has a locator."""

    name: str
    mark_text: Callable[[float, int], str]  # of the value at a mark
    locator: Locator | None = None


def sweep(results: Results, name: str, workload_results: list[WorkloadResult]) -> Figure | None:
    """Return the figure of a sweep; None if nothing of it can be drawn."""
    if name == "dtype":
        return speedups(results, workload_results)
    if name == "strong":
        return _strong(results, workload_results)
    axis = SWEEPS.get(name)
    points = [each for each in workload_results if axis and axis.value(each.workload) > 0]  # a log axis has no 0
    if axis is None or not points:
        return None
    points.sort(key=lambda point: axis.value(point.workload))
    by_panel: dict[str, list[WorkloadResult]] = {}
    for point in points:
        by_panel.setdefault(axis.panel(point.workload), []).append(point)
    curves = {title: _sweep_curves(results, axis, panel_points) for title, panel_points in by_panel.items()}
    across = Scale(axis.name, _whole, FixedLocator(sorted({axis.value(point.workload) for point in points})))
    up = Scale(f"time per {axis.per}", _seconds, LogLocator(subs=(1.0, 2.0, 5.0)))
    return curve_figure(f"Time per {axis.per} against {axis.name}", caption(results), curves, across, up)


def training(runs: Mapping[str, Sequence["Epoch"]], what: str) -> Figure:
    """Return the figure of accuracy against time: a point for each epoch; `what` says what was trained."""
    curves = []
    for label, epochs in runs.items():
        seconds = list(accumulate(epoch.seconds for epoch in epochs))
        accuracies = [Estimate(100 * epoch.correct / epoch.total) for epoch in epochs]
        points = list(zip(seconds, accuracies, strict=True))
        curves.append(Curve(f"{label}, {seconds_text(seconds[-1])}", points, look(label)))
    words = "time in the implementation (compilation included, tests of accuracy not)"
    across = Scale(words, _seconds, LogLocator(subs=(1.0, 2.0, 5.0)))
    up = Scale("test images classified correctly", _per_cent)
    return curve_figure("Accuracy against training time", what, {"": curves}, across, up)


def scaling_here(scaling: Scaling) -> Figure:
    """Return the figure of efficiency over MPI ranks, as measured."""
    curves = [
        Curve(f"{kind} scaling", _efficiencies(scaling, kind), Look("", colour, marker))
        for kind, colour, marker in (("strong", "#0072b2", "o"), ("weak", "#d55e00", "s"))
    ]
    return _efficiency_figure("Scaling over MPI ranks", crowded_text(scaling), scaling, curves)


def scaling_beyond(scaling: Scaling) -> Figure:
    """Return the figure of the model: weak efficiency to 4,096 ranks, for three fabrics and two sizes of mini-batch."""
    ranks = [4**power for power in range(MAX_RANKS.bit_length() // 2 + 1)]
    own_cpus = [(ranks, percent) for ranks, percent in _efficiencies(scaling, "weak") if ranks <= scaling.cpus]
    curves = [Curve("measured here", own_cpus, Look("", "black", "X"), "")]
    for fabric, colour in zip(FABRICS, ("#d55e00", "#0072b2", "#009e73"), strict=True):
        for examples, dashes in ((scaling.batch, "-"), (16 * scaling.batch, ":")):
            points = [(count, Estimate(100 * scaling.efficiency(fabric, count, examples))) for count in ranks]
            name = f"{fabric.name.split(', ')[1]}, {examples} a rank"
            curves.append(Curve(name, points, Look("", colour, ""), dashes))
    words = f"the model's error here: {errors_text(scaling)}"
    return _efficiency_figure("Predicted weak efficiency", words, scaling, curves)


def history_plot(history: History) -> Figure:
    """Return the figure of all runs: a line for each implementation, a column for each workload.

    At each place is a small chart of the speed-up from run to run. A new machine or version begins a new curve.
    """
    workloads = list(dict.fromkeys(trend.workload for trend in history.trends))[:MAX_HISTORY_NAMES]
    labels = in_order(trend.label for trend in history.trends)[:MAX_HISTORY_NAMES]
    by_place = {(trend.label, trend.workload): trend for trend in history.trends}
    size = max(1.6, 3.2 / len(workloads)), 0.6
    figure, grid = panels(len(labels) * len(workloads), len(workloads), size, gap=(0.1, 0.15), left=1.8)
    for axes, (label, workload) in zip(grid, product(labels, workloads), strict=True):
        axes.set_axis_off()
        if label == labels[0]:
            axes.set_title(workload, fontsize=9)
        if workload == workloads[0]:
            axes.text(-0.08, 0.5, short(label), transform=axes.transAxes, ha="right", va="center", fontsize=8)
        if (label, workload) in by_place:
            _draw_history(axes, by_place[label, workload])
    changes = [f"from {date[:10]}: {changed}" for date, changed in history.changes]
    words = "; ".join(changes) or "one machine, one set of versions"
    write_title(figure, "Speed-up over the baseline, from run to run", words)
    return figure


def curve_figure(title: str, words: str, curves: Mapping[str, Sequence[Curve]], across: Scale, up: Scale) -> Figure:
    """Return a figure of curves, by the title of their panel, all panels on the same scales."""
    figure, grid = panels(len(curves), 2, (4.2, 4.2), gap=(NAMES_INCHES, 0.65), share=True)
    for axes, (panel, panel_curves) in zip(grid, curves.items(), strict=True):
        axes.set(title=panel, xlabel=across.name, ylabel=up.name)
        axes.grid()
        for curve in panel_curves:
            _draw_curve(axes, curve)
    first = grid[0]
    first.set(xscale="log" if across.locator else "linear", yscale="log" if up.locator else "linear")
    for axis, scale in ((first.xaxis, across), (first.yaxis, up)):
        if scale.locator:
            axis.set_major_locator(scale.locator)
            axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(scale.mark_text))
    for axes in grid:
        _spread_names(axes)
    write_title(figure, title, words)
    return figure


def _whole(value: float, _: int) -> str:
    return f"{value:,.0f}"


def _seconds(value: float, _: int) -> str:
    return seconds_text(value)


def _per_cent(value: float, _: int) -> str:
    return f"{value:g} %"


def _sweep_curves(results: Results, axis: Axis, points: list[WorkloadResult]) -> list[Curve]:
    """Return the curves of all implementations, of the peak and of the reference rate, by what the sweep varies."""
    xs = [axis.value(point.workload) for point in points]
    counts = [point.examples if axis.per == "example" else 1 for point in points]
    curves = []
    for label in labels_to_show(results, points):
        label_results = [results.row(point.workload.name, label) for point in points]
        times = [
            (x, seconds_estimate(result.samples).scaled(1 / count))
            for x, count, result in zip(xs, counts, label_results, strict=True)
            if result and result.timed
        ]
        curves.append(Curve(label, times, look(label)))
    rates = [point.peak_seconds for point in points], [point.reference_seconds for point in points]
    for name, dashes, seconds in zip(RATE_NAMES, RATE_DASHES, rates, strict=True):
        times = [(x, Estimate(s / count)) for x, count, s in zip(xs, counts, seconds, strict=True) if s]
        curves.append(Curve(name, times, Look(name, RATE_COLOUR, ""), dashes))
    return curves


def _strong(results: Results, workload_results: list[WorkloadResult]) -> Figure | None:
    """Return the figure of what threads gain, a panel for each number of threads; None for a run on one core."""
    steps = sorted({each.flops / 1e6 for each in workload_results})
    curves = {}
    for threads in sorted({each.workload.threads for each in workload_results} - {1}):
        panel_curves = [
            Curve("", [(step, Estimate(level)) for step in steps], Look("", GREY, ""), dashes)
            for level, dashes in ((1.0, "-"), (threads, ":"))
        ]
        for label in labels_to_show(results, workload_results):
            step_gains = gains(results, workload_results, label, threads)
            if splits_a_step(step_gains):
                begins = break_even(step_gains)
                where = "never" if begins is None else f"from {number_text(begins, 2)}"
                panel_curves.append(Curve(f"{label} ({where})", step_gains, look(label)))
        curves[f"{threads} threads (from how many Mflop on they gain)"] = panel_curves
    if not curves:
        return None
    across = Scale("Mflop in a step", lambda value, _: number_text(value, 2), FixedLocator(steps))
    marks = LogLocator(subs=(1, 1.5, 2, 3, 5, 7))
    up = Scale("time on one thread / time on several", lambda value, _: f"{value:g}", marks)
    return curve_figure("What threads gain, against the work in a step", caption(results), curves, across, up)


def _efficiencies(scaling: Scaling, kind: str) -> list[tuple[float, Estimate]]:
    return [(point.ranks, point.efficiency.scaled(100)) for point in scaling.points if point.scaling == kind]


def _efficiency_figure(title: str, words: str, scaling: Scaling, curves: list[Curve]) -> Figure:
    ranks = sorted({int(x) for curve in curves for x, _ in curve.points})
    ideal = Curve("ideal", [(count, Estimate(100.0)) for count in ranks], Look("", GREY, ""), ":")
    across, up = Scale("ranks", _whole, FixedLocator(ranks)), Scale("efficiency", _per_cent)
    network = "-".join(map(str, scaling.sizes))
    parts = [scaling.implementation, network, scaling.dtype, f"{scaling.cpus} CPUs", scaling.date[:10], words]
    return curve_figure(title, " · ".join(filter(None, parts)), {"": [*curves, ideal]}, across, up)


def _draw_history(axes: Axes, trend: Trend) -> None:
    """Draw one small chart: points with intervals, the latest value in figures."""
    runs = 0
    for stretch in trend.stretches:
        if runs:
            axes.axvline(runs - 0.5, color=GREY, linewidth=0.6, linestyle=":")
        _draw_curve(axes, Curve("", list(enumerate(stretch, runs)), look(trend.label)))
        runs += len(stretch)
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    middle = (low * high) ** 0.5
    axes.set_ylim(min(low, middle / 1.05), max(high, middle * 1.05))  # noise is not blown up to fill the chart
    axes.set_xlim(-0.7, runs + 1.5)
    latest = trend.speed_ups[-1].value
    axes.text(runs - 0.7, latest, number_text(latest), fontsize=7, va="center")


def _draw_curve(axes: Axes, curve: Curve) -> None:
    """Draw a curve with its name, which `_spread_names` puts in its place once all curves are there."""
    if not curve.points:
        return
    xs, estimates = zip(*curve.points, strict=True)
    values = [estimate.value for estimate in estimates]
    lows, highs = zip(*(estimate.ends for estimate in estimates), strict=True)
    _, colour, marker = curve.look
    axes.plot(xs, values, color=colour, linestyle=curve.dashes, linewidth=1.2, marker=marker, label=curve.name)
    axes.vlines(xs, lows, highs, colors=colour, linewidths=2.0, alpha=0.5)
    if curve.name:
        line = {"arrowstyle": "-", "color": colour, "linewidth": 0.8, "relpos": (0, 0.5), "shrinkA": 1, "shrinkB": 1}
        end = xs[-1], values[-1]
        name = axes.annotate(short(curve.name), end, (0, 0), textcoords="offset points", arrowprops=line)
        name.set(va="center", fontsize=7, color=DARK, annotation_clip=False)


def _spread_names(axes: Axes) -> None:
    """Put the names to the right of the panel, moved up and down as little as keeps them apart."""
    from scipy.optimize import isotonic_regression  # takes half a second

    names = sorted((text for text in axes.texts if isinstance(text, Annotation)), key=lambda name: name.xy[1])
    if not names:
        return
    axes.autoscale_view()  # gives the axes their limits
    points_per_dot = 72 / axes.figure.dpi
    ends = [axes.transData.transform(name.xy) * points_per_dot for name in names]
    steps = NAME_POINTS * np.arange(len(names))
    lowest = axes.bbox.y0 * points_per_dot
    heights = np.maximum(isotonic_regression([y for _, y in ends] - steps).x, lowest) + steps
    right = axes.bbox.x1 * points_per_dot + 8
    for name, (x, y), height in zip(names, ends, heights, strict=True):
        name.set_position((right - x, height - y))
