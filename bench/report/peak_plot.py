"""The plot of the peak: how much of the machine each row uses on each workload."""

import math

from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from bench.records import Results, WorkloadResult
from bench.report.drawing import DARK, REFERENCE_NAME, labels_to_show, short, write_caption
from bench.report.text import flops_text, number_text, short_outcome

HIGHEST = 100.0  # per cent, the end of the colour scale
DARK_ABOVE = 45.0  # per cent, from which on the colour is light and its number is written in black
EMPTY = "#ececec"  # the colour of a cell without a number
WORDS = (
    "Peak: multiply-adds in registers, on the same cores, in the same rounds.\n"
    f"{REFERENCE_NAME}: the reference rate, which a library reaches.\n"
)


def peak(results: Results, workloads: list[WorkloadResult]) -> Figure:
    """Return the figure: a line a row, a column a workload by operations, per cent of the peak in each cell.

    The last line is the reference rate.
    """
    ordered = sorted(workloads, key=lambda of: (of.flops, of.workload.name))
    labels = labels_to_show(results, workloads)
    size = max(5.0, 1.9 + 0.95 * len(ordered)), 0.28 * (len(labels) + 1) + 2.0
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    values = [[_percent(results, of, label) for of in ordered] for label in labels]
    values.append([of.reference_percent for of in ordered])
    shown = [[math.nan if value is None else value for value in line] for line in values]
    axes.imshow(shown, cmap="cividis", norm=PowerNorm(0.7, 0, HIGHEST), aspect="auto")
    for y, line in enumerate(values):
        for x, value in enumerate(line):
            _cell(axes, x, y, value, _outcome(results, ordered[x], labels[y]) if y < len(labels) else "–")
    axes.set_facecolor(EMPTY)
    axes.axhline(len(labels) - 0.5, color="white", linewidth=3)
    axes.set_yticks(range(len(values)), [*map(short, labels), REFERENCE_NAME])
    axes.set_xticks(range(len(ordered)), [f"{of.workload.name}\n{flops_text(of.flops)}" for of in ordered])
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    figure.suptitle("Per cent of the peak", x=0.01, ha="left", fontsize=12, weight="bold")
    write_caption(figure, results, WORDS)
    return figure


def _cell(axes: Axes, x: int, y: int, value: float | None, otherwise: str) -> None:
    """Write the number of a cell, or why there is none."""
    text = otherwise if value is None else number_text(value, 2)
    colour = DARK if value is None else "black" if value > DARK_ABOVE else "white"
    axes.text(x, y, text, ha="center", va="center", fontsize=8, color=colour, in_layout=False)


def _percent(results: Results, of: WorkloadResult, label: str) -> float | None:
    row = results.row(of.workload.name, label)
    return row.percent_of_peak.value if row is not None and row.percent_of_peak is not None else None


def _outcome(results: Results, of: WorkloadResult, label: str) -> str:
    """Return why a row has no number on a workload."""
    row = results.row(of.workload.name, label)
    return "–" if row is None or row.timed else short_outcome(row.outcome)
