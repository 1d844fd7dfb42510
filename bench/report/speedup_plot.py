"""The plot of speed-ups: a panel a workload, a line a row, in the same order and on the same scale everywhere."""

import math

from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.transforms import offset_copy

from bench.records import CONTROL, Results, Row, WorkloadResult
from bench.report.drawing import (
    CAPTION_SIZE,
    DARK,
    GREY,
    PEAK_LINE,
    RATE,
    REFERENCE_LINE,
    REFERENCE_NAME,
    caption,
    labels_to_show,
    mark_speed_ups,
    short,
)
from bench.report.palette import MARKERS, look
from bench.report.text import number_text, seconds_text

SLOWEST = 0.45  # speed-up at the left edge: slower rows are arrows there
BAND = "#f2c14e"
LINE_INCHES = 0.235  # a row's height
LABELS_INCHES, PANEL_INCHES = 1.75, 2.75  # widths
COLUMNS = 3


def speedups(results: Results, workloads: list[WorkloadResult]) -> Figure:
    """Return the figure of speed-ups, for as many workloads as there are."""
    labels = labels_to_show(results, workloads)
    columns = min(COLUMNS, len(workloads))
    lines = math.ceil(len(workloads) / columns)
    size = LABELS_INCHES + PANEL_INCHES * columns, (LINE_INCHES * len(labels) + 0.95) * lines + 1.05
    figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(w_pad=0.05, h_pad=0.05, wspace=0.015))
    grid = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
    high = _highest(results, workloads)
    for axes, of in zip(grid.flat, workloads, strict=False):
        _panel(axes, results, of, labels, high)
    grid[0, 0].set_yticks(range(len(labels)), [short(label) for label in labels])  # all panels share them
    for axes in list(grid.flat)[len(workloads) :]:
        axes.set_visible(False)
    figure.suptitle("Speed-up over the baseline (logarithmic scale)", x=0.01, ha="left", fontsize=12, weight="bold")
    rates = []
    if any(of.peak for of in workloads):
        rates.append(_rate("peak: multiply-adds in registers", PEAK_LINE))
    if any(of.reference for of in workloads):
        rates.append(_rate(f"reference rate: {REFERENCE_NAME}", REFERENCE_LINE))
    _legend(figure, labels, columns, caption(results, figure), rates)
    return figure


def _highest(results: Results, workloads: list[WorkloadResult]) -> float:
    """Return the highest speed-up that any panel shows, those at the peak and at the reference rate included."""
    names = {of.workload.name for of in workloads}
    values = [row.speed_up.high or row.speed_up.value for row in results.rows if row.workload in names and row.speed_up]
    rates = [
        results.speed_up_at(of, seconds) for of in workloads for seconds in (of.peak_seconds, of.reference_seconds)
    ]
    return max([2.0, *values, *(rate for rate in rates if rate is not None)])


def _panel(axes: Axes, results: Results, of: WorkloadResult, labels: list[str], high: float) -> None:
    """Draw one workload."""
    workload = of.workload
    axes.set_xscale("log")
    axes.set_xlim(SLOWEST, high * (high / SLOWEST) ** 0.30)  # room for the numbers
    axes.set_ylim(len(labels) - 0.4, -0.6)
    _control_band(axes, results.row(workload.name, CONTROL))
    axes.axvline(1.0, color=DARK, linewidth=0.8, zorder=1)
    for seconds, dashes in ((of.peak_seconds, PEAK_LINE), (of.reference_seconds, REFERENCE_LINE)):
        rate = results.speed_up_at(of, seconds)
        if rate is not None:
            axes.axvline(rate, color=RATE, linewidth=1.1, linestyle=dashes, zorder=1)
    found = ((position, results.row(workload.name, label)) for position, label in enumerate(labels))
    rows = [(position, row) for position, row in found if row is not None]
    _stems(axes, rows)
    for position, row in rows:
        _row(axes, position, row, workload.baseline_label)
    axes.tick_params(axis="y", left=False, length=0)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_label_coords(0, 0)  # there is no label, but matplotlib would look for a place for it in every drawing
    mark_speed_ups(axes)
    axes.tick_params(axis="x", labelbottom=True)
    axes.set_title(f"{workload.name}\n", fontsize=10)
    axes.text(0, 1.015, workload.describe(), transform=axes.transAxes, fontsize=7, color=DARK, in_layout=False)
    baseline = results.row(workload.name, workload.baseline_label)
    if baseline is not None and baseline.seconds is not None and baseline.label not in labels:
        words = f"1× is {baseline.label}, {seconds_text(baseline.seconds)}"
        title = axes.set_title(f"{words}\n", loc="right", fontsize=7, color=DARK, weight="normal")
        title.set_linespacing(1.2 * 10 / 7)  # level with the name, which is larger


def _control_band(axes: Axes, control: Row | None) -> None:
    """Draw what identical code differed by, at least as wide as can be seen."""
    if control is None or control.speed_up is None or control.speed_up.low is None or control.speed_up.high is None:
        return
    axes.axvspan(control.speed_up.low, control.speed_up.high, color=BAND, linewidth=2.5, zorder=0.5)


def _stems(axes: Axes, rows: list[tuple[int, Row]]) -> None:
    """Draw the lines from the baseline's to the speed-ups, and the intervals. Many lines in one artist are fast."""
    speed_ups = [(position, row.label, row.speed_up) for position, row in rows if row.timed and row.speed_up]
    stems = [((1.0, position), (max(SLOWEST, speed_up.value), position)) for position, _, speed_up in speed_ups]
    colours = [look(label).colour for _, label, _ in speed_ups]
    axes.add_collection(LineCollection(stems, colors=colours, linewidths=1.1, alpha=0.55, zorder=2), autolim=False)
    whiskers = [
        ((speed_up.low, position), (speed_up.high, position))
        for position, _, speed_up in speed_ups
        if speed_up.low is not None and speed_up.high is not None and speed_up.value >= SLOWEST
    ]
    axes.add_collection(LineCollection(whiskers, colors="black", linewidths=1.3, zorder=5), autolim=False)


def _row(axes: Axes, position: int, row: Row, baseline_label: str) -> None:
    """Draw a row: a point at its speed-up, and its number."""
    style = look(row.label)
    if not row.timed:
        _number(axes, 1.0, position, row.outcome, GREY)
        return
    if row.label == baseline_label:
        _point(axes, 1.0, position, style.colour, style.marker)
        _number(axes, 1.0, position, f"baseline, {seconds_text(row.seconds or 0.0)}")
        return
    if row.speed_up is None:
        return
    value = row.speed_up.value
    if value < SLOWEST:
        axes.plot(SLOWEST, position, "<", color=style.colour, markersize=6, clip_on=False, zorder=4)
        _number(axes, 1.0, position, f"{number_text(value)}×")
        return
    _point(axes, value, position, style.colour, style.marker)
    _number(axes, max(value, 1.0, row.speed_up.high or 0.0), position, f"{number_text(value)}×")


def _point(axes: Axes, value: float, position: int, colour: str, marker: str) -> None:
    axes.plot(
        value, position, marker, color=colour, markersize=5.5, markeredgecolor="white", markeredgewidth=0.5, zorder=4
    )


def _number(axes: Axes, value: float, position: int, text: str, colour: str = "black") -> None:
    """Write a number to the right of a point, on white where a line would cross it."""
    axes.text(
        value,
        position,
        text,
        transform=offset_copy(axes.transData, axes.get_figure(root=True), 6, units="points"),
        va="center",
        fontsize=7.5,
        color=colour,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6},
        zorder=3,
        in_layout=False,
    )


def _legend(figure: Figure, labels: list[str], columns: int, title: str, rates: list[Line2D]) -> None:
    """Say what shapes, whiskers, band and lines mean, and under which conditions it was measured."""
    families = dict.fromkeys(look(label).family for label in labels)
    colours = {
        family: next(look(label).colour for label in reversed(labels) if look(label).family == family)
        for family in families
    }
    handles: list[Line2D | Patch] = [
        Line2D([], [], color=colours[family], marker=MARKERS[family], linestyle="", markersize=5.5, label=family)
        for family in families
    ]
    handles += [
        Line2D([], [], color="black", linewidth=1.3, label="95 % interval"),
        Patch(color=BAND, label="noise floor: the control's interval"),
        *rates,
    ]
    ncols = math.ceil(len(handles) / 2) if columns == COLUMNS else 2
    legend = figure.legend(handles=handles, loc="outside lower left", ncols=ncols, fontsize=7.5, title=title)
    legend.set_alignment("left")
    legend.get_title().set(fontsize=CAPTION_SIZE, color=DARK)


def _rate(label: str, dashes: tuple[int, tuple[float, float]]) -> Line2D:
    return Line2D([], [], color=RATE, linewidth=1.1, linestyle=dashes, label=label)
