"""The plot of a history: one small chart a row and workload, the speed-up with its interval from run to run."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from bench.report.drawing import DARK, GREY, short
from bench.report.palette import in_order, look
from bench.report.text import number_text
from bench.results.history import History, Line

MOST_NAMES = 24  # workloads beside each other, or rows below each other, that are drawn


def history_plot(history: History) -> Figure:
    """Return the figure: a line a row, a column a workload; a new machine or version begins a new curve."""
    workloads = list(dict.fromkeys(line.workload for line in history.lines))[:MOST_NAMES]
    labels = in_order({line.label for line in history.lines})[:MOST_NAMES]
    by_key = {(line.workload, line.label): line for line in history.lines}
    figure = Figure(figsize=(max(4.8, 1.6 + 1.7 * len(workloads)), 0.9 + 0.75 * len(labels)), layout="constrained")
    grid = figure.subplots(len(labels), len(workloads), squeeze=False)
    for label, of_label in zip(labels, grid, strict=True):
        for workload, axes in zip(workloads, of_label, strict=True):
            line = by_key.get((workload, label))
            axes.set_axis_off()
            if line is not None:
                _draw(axes, line, history.runs)
        of_label[0].text(-0.08, 0.5, short(label), transform=of_label[0].transAxes, ha="right", va="center", fontsize=8)
    for workload, axes in zip(workloads, grid[0], strict=True):
        axes.set_title(workload, fontsize=9)
    figure.suptitle("Speed-up over the baseline, from run to run", x=0.01, ha="left", fontsize=12, weight="bold")
    words = [f"from {stretch.date[:10]}: {stretch.changed}" for stretch in history.stretches if stretch.changed]
    figure.supxlabel(
        "; ".join(words) or "one machine, one set of versions", x=0.01, ha="left", fontsize=7.5, color=DARK
    )
    return figure


def _draw(axes: Axes, line: Line, runs: int) -> None:
    """Draw one small chart: points with intervals, the latest value in figures."""
    colour = look(line.label).colour
    dates = list(dict.fromkeys(point.date for point in line.points))
    at = {date: number for number, date in enumerate(dates)}
    for stretch in line.stretches:
        xs = [at[point.date] for point in stretch]
        axes.plot(
            xs, [point.speed_up.value for point in stretch], color=colour, linewidth=1, marker="o", markersize=2.5
        )
        for x, point in zip(xs, stretch, strict=True):
            if point.speed_up.low is not None and point.speed_up.high is not None:
                axes.plot([x, x], [point.speed_up.low, point.speed_up.high], color=colour, linewidth=1.6, alpha=0.4)
        if stretch[0].stretch:
            axes.axvline(xs[0] - 0.5, color=GREY, linewidth=0.6, linestyle=":")
    axes.set_yscale("log")
    axes.yaxis.set_minor_locator(NullLocator())
    low, high = axes.get_ylim()
    middle = (low * high) ** 0.5
    axes.set_ylim(min(low, middle / 1.05), max(high, middle * 1.05))  # noise is not blown up to fill the chart
    axes.set_xlim(-0.7, max(1, min(runs, len(dates))) + 1.5)
    latest = line.points[-1]
    axes.text(at[latest.date] + 0.3, latest.speed_up.value, number_text(latest.speed_up.value), fontsize=7, va="center")
