"""The plot of the limit: how much of the machine each row uses on each workload."""

import math

from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from bench.records import Results, WorkloadResult
from bench.report.drawing import DARK, caption, labels_to_show, short
from bench.report.text import flops_text, number_text

HIGHEST = 100.0  # per cent, the end of the colour scale
DARK_ABOVE = 45.0  # per cent, from which on the colour is light and its number is written in black


def limit(results: Results, workloads: list[WorkloadResult]) -> Figure:
    """Return the figure: a line a row, a column a workload by operations, per cent of the limit in each cell."""
    ordered = sorted(workloads, key=lambda of: (of.flops, of.workload.name))
    labels = labels_to_show(results, workloads)
    figure = Figure(figsize=(1.9 + 0.95 * len(ordered), 0.28 * len(labels) + 1.9), layout="constrained")
    axes = figure.subplots()
    values = [[_percent(results, of, label) for of in ordered] for label in labels]
    shown = [[math.nan if value is None else value for value in line] for line in values]
    axes.imshow(shown, cmap="cividis", norm=PowerNorm(0.7, 0, HIGHEST), aspect="auto")
    for y, line in enumerate(values):
        for x, value in enumerate(line):
            text = "–" if value is None else number_text(value, 2)
            colour = DARK if value is None else "black" if value > DARK_ABOVE else "white"
            axes.text(x, y, text, ha="center", va="center", fontsize=8, color=colour)
    axes.set_yticks(range(len(labels)), [short(label) for label in labels])
    axes.set_xticks(range(len(ordered)), [f"{of.workload.name}\n{flops_text(of.flops)}" for of in ordered])
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    figure.suptitle("Per cent of the limit", x=0.01, ha="left", fontsize=12, weight="bold")
    words = "Limit: the matrix products of a call at the rate of NumPy's largest products on the same cores.\n"
    figure.supxlabel(words + caption(results), x=0.01, ha="left", fontsize=7.5, color=DARK)
    return figure


def _percent(results: Results, of: WorkloadResult, label: str) -> float | None:
    row = results.row(of.workload.name, label)
    return row.percent_of_limit.value if row is not None and row.percent_of_limit is not None else None
