"""Plots of one number for each implementation: speed-ups, the book's step as in the 2019 post, per cent of the peak."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from matplotlib.transforms import offset_copy

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
from bench.output.plots.palette import MARKERS, labels_to_show, look
from bench.output.text import estimate_text, flops_text, number_text, seconds_text, short_outcome
from bench.records import CONTROL, Estimate, Result, Results, WorkloadResult

SLOWEST = 0.45  # speed-up at the left edge: slower implementations are arrows there
LONG_AXIS = 400.0  # ratio of its ends from which on only 1×, 10×, … are marked
BAND_COLOUR = "#f2c14e"
POST_WORKLOAD, POST_COLOUR = "book", "#7a3b8f"
POST_WAYS = {  # in words, and how many times as fast as per-example Python the post had it
    "per_example": ("Python, one example at a time", 1.0),
    "rust_per_example": ("Rust, one example at a time, ndarray's products", None),
    "rust_per_example_blas": ("Rust, one example at a time, BLAS", 2.0),
    "batched_2d": ("Python, whole mini-batches", 4.0),
    "in_place": ("Python, whole mini-batches, nothing allocated", None),
    "numba": ("the same, compiled by Numba", None),
    "rust_fused": ("Rust, whole mini-batches, own kernels", None),
}
LIGHT_FROM_PERCENT = 45.0  # The heat map's colours are light from here on, and the numbers on them black.
PEAK_WORDS = (
    "Peak: multiply-adds in registers, on the same cores, in the same rounds.\n"
    f"{RATE_NAMES[1]}: the reference rate, which a library reaches.\n"
)


class Dot(NamedTuple):
    """One line of a panel: a dot at the speed-up with its interval and a text beside it, or the text alone."""

    label: str
    text: str
    speed_up: Estimate | None = None


def speedups(results: Results, workload_results: list[WorkloadResult]) -> Figure:
    """Return the figure of speed-ups: a panel for each workload, a line for each implementation, one scale."""
    labels = labels_to_show(results, workload_results)
    columns = min(3, len(workload_results))
    size = 2.75, 0.235 * len(labels)
    bottom = 0.35 if columns == 3 else 1.0
    figure, grid = panels(len(workload_results), columns, size, gap=(0.15, 0.7), left=1.7, bottom=bottom, top=0.75)
    names = {each.workload.name for each in workload_results}
    values = [result.speed_up.value for result in results.rows if result.workload in names and result.speed_up]
    rates = [rate for each in workload_results for rate in _rates(results, each) if rate]
    right = max([2.0, *values, *rates])
    right *= (right / SLOWEST) ** 0.3  # room for the numbers
    for axes, workload_result in zip(grid, workload_results, strict=True):
        _speedup_panel(axes, results, workload_result, labels, right)
    for axes in grid[::columns]:
        axes.set_yticks(range(len(labels)), map(short, labels))
    handles = _legend_handles(labels, has_rates=bool(rates))
    _legend(figure, handles, math.ceil(len(handles) / 2) if columns == 3 else 2)
    write_title(figure, "Speed-up over the baseline (logarithmic scale)", caption(results))
    return figure


def seven_ways(results: Results) -> Figure | None:
    """Return the figure of the post's step: speed-ups over per-example Python, and what the post claimed.

    None if one of the implementations was not timed.
    """
    dots: list[Dot | None] = []
    for label, (_, claim) in POST_WAYS.items():
        result = results.row(POST_WORKLOAD, label)
        if result is None or not result.timed:
            return None
        text = estimate_text(result.speed_up) if result.speed_up else seconds_text(result.seconds or 0.0)
        if result.speed_up and claim:
            text += f"   2019: about {number_text(claim, 1)}"
        dots.append(Dot(label, text, result.speed_up or Estimate(1.0)))
    figure, (axes,) = panels(1, 1, (5.7, 2.6), left=3.0, bottom=0.85)
    _draw_dots(axes, dots, 0.9, 120.0)
    axes.set_yticks(range(len(dots)), [words for words, _ in POST_WAYS.values()])
    claims = [(claim, line) for line, (_, claim) in enumerate(POST_WAYS.values()) if claim]
    axes.plot(*zip(*claims, strict=True), "D", markerfacecolor="none", markersize=9, label="the 2019 post")
    axes.lines[-1].set(markeredgecolor=POST_COLOUR, markeredgewidth=1.2, zorder=6)
    axes.plot([], [], "o", color=DARK, label="today, with its 95 % interval")
    _legend(figure, axes.get_legend_handles_labels()[0], 2)
    write_title(figure, "The book's step, seven ways: speed-up over Python's loop", caption(results))
    return figure


def peak(results: Results, workload_results: list[WorkloadResult]) -> Figure:
    """Return the figure of per cent of the peak: a line for each implementation, a column for each workload.

    The workloads are in the order of their operations, and the last line is the reference rate.
    """
    columns = sorted(workload_results, key=lambda each: (each.flops, each.workload.name))
    labels = labels_to_show(results, columns)
    lines = [[_peak_cell(results.row(each.workload.name, label)) for each in columns] for label in labels]
    lines.append([_percent_cell(each.reference_percent) for each in columns])

    size = max(3.5, 0.95 * len(columns)), 0.3 * len(lines)
    figure, (axes,) = panels(1, 1, size, left=1.8, bottom=0.8, top=0.85)
    percents = [[percent for percent, _ in line] for line in lines]
    axes.imshow(percents, cmap="cividis", norm=PowerNorm(0.7, 0, 100), aspect="auto")
    for y, line in enumerate(lines):
        for x, (percent, text) in enumerate(line):
            colour = DARK if math.isnan(percent) else "black" if percent > LIGHT_FROM_PERCENT else "white"
            axes.text(x, y, text, ha="center", va="center", fontsize=8, color=colour)
    axes.set_facecolor("#ececec")  # of cells without a number
    axes.axhline(len(labels) - 0.5, color="white", linewidth=3)
    axes.set_yticks(range(len(lines)), [*map(short, labels), RATE_NAMES[1]])
    axes.set_xticks(range(len(columns)), [f"{each.workload.name}\n{flops_text(each.flops)}" for each in columns])
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    write_title(figure, "Per cent of the peak", PEAK_WORDS + caption(results))
    return figure


def _peak_cell(result: Result | None) -> tuple[float, str]:
    """Return the per cent of the peak and its text; NaN and the outcome of a result without a time."""
    if result and not result.timed:
        return math.nan, short_outcome(result.outcome)
    return _percent_cell(result.percent_of_peak.value if result and result.percent_of_peak else None)


def _percent_cell(percent: float | None) -> tuple[float, str]:
    return (math.nan, "–") if percent is None else (percent, number_text(percent, 2))


def _rates(results: Results, workload_result: WorkloadResult) -> list[float | None]:
    """Return the speed-ups at the peak and at the reference rate."""
    seconds = workload_result.peak_seconds, workload_result.reference_seconds
    return [results.speed_up_at(workload_result, each) for each in seconds]


def _speedup_panel(
    axes: Axes, results: Results, workload_result: WorkloadResult, labels: list[str], right: float
) -> None:
    workload = workload_result.workload
    label_results = [results.row(workload.name, label) for label in labels]
    dots = [_dot(result, workload.baseline_label) if result else None for result in label_results]
    _draw_dots(axes, dots, SLOWEST, right)
    control = results.row(workload.name, CONTROL)
    if control and control.speed_up and control.speed_up.low:
        axes.axvspan(*control.speed_up.ends, color=BAND_COLOUR, linewidth=2.5, zorder=0.5)
    for rate, dashes in zip(_rates(results, workload_result), RATE_DASHES, strict=True):
        if rate:
            axes.axvline(rate, color=RATE_COLOUR, linewidth=1.1, linestyle=dashes, zorder=1)
    axes.set_title(f"{workload.name}\n")
    words = workload.describe()
    axes.annotate(words, (0, 1), (0, 4), "axes fraction", "offset points", fontsize=7, color=DARK)
    baseline = results.row(workload.name, workload.baseline_label)
    if baseline and baseline.seconds and baseline.label not in labels:
        words = f"1× is {baseline.label}, {seconds_text(baseline.seconds)}\n\n"
        axes.set_title(words, loc="right", fontsize=7, color=DARK, weight="normal")


def _dot(result: Result, baseline_label: str) -> Dot | None:
    """Return what is drawn of a result; None if it was timed without its baseline."""
    if not result.timed:
        return Dot(result.label, result.outcome)
    if result.label == baseline_label:
        return Dot(result.label, f"baseline, {seconds_text(result.seconds or 0.0)}", Estimate(1.0))
    return Dot(result.label, f"{number_text(result.speed_up.value)}×", result.speed_up) if result.speed_up else None


def _draw_dots(axes: Axes, dots: list[Dot | None], left: float, right: float) -> None:
    """Draw a dot on each line, from the top down, against a logarithmic axis of speed-ups between left and right."""
    axes.set(xscale="log", xlim=(left, right), ylim=(len(dots) - 0.4, -0.6), yticks=[])
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0,) if right > LONG_AXIS * left else (1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    axes.axvline(1.0, color=DARK, linewidth=0.8, zorder=1)
    beside = offset_copy(axes.transData, axes.get_figure(root=True), 8, units="points")
    white = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}  # hides the lines that would cross a number
    intervals = []
    for line, dot in enumerate(dots):
        if dot is None:
            continue
        right_end, colour = 1.0, GREY
        if dot.speed_up:
            speed_up, style = dot.speed_up, look(dot.label)
            right_end, colour = max(1.0, speed_up.ends[1]), "black"
            stem = axes.plot((1.0, max(left, speed_up.value)), (line, line), color=style.colour, linewidth=0.8)
            stem[0].set(marker="<" if speed_up.value < left else style.marker, markevery=[1], clip_on=False)
            intervals.append((line, *speed_up.ends))
        axes.text(right_end, line, dot.text, transform=beside, va="center", fontsize=7.5, color=colour, bbox=white)
    lines, lows, highs = zip(*intervals, strict=True) if intervals else ((), (), ())
    axes.hlines(lines, lows, highs, colors="black", linewidths=1.3, zorder=5)  # one artist draws fast


def _legend_handles(labels: list[str], has_rates: bool) -> list[Artist]:
    """Return what the legend of the speed-ups explains: families, the interval, the noise floor, the rates."""
    families = {look(label).family: look(label).colour for label in labels}
    handles: list[Artist] = [
        Line2D([], [], color=colour, marker=MARKERS[family], linestyle="", label=family)
        for family, colour in families.items()
    ]
    handles.append(Line2D([], [], color="black", label="95 % interval"))
    handles.append(Patch(color=BAND_COLOUR, label="noise floor: the control's interval"))
    if has_rates:
        for name, dashes in zip(("peak: multiply-adds in registers", RATE_NAMES[1]), RATE_DASHES, strict=True):
            handles.append(Line2D([], [], color=RATE_COLOUR, linestyle=dashes, label=name))
    return handles


def _legend(figure: Figure, handles: Sequence[Artist], columns: int) -> None:
    """Say below the last panel what the handles mean."""
    top = figure.axes[-1].get_position().y0 - 0.3 / figure.get_figheight()
    figure.legend(handles=handles, loc="upper left", bbox_to_anchor=(0, top), ncols=columns)
