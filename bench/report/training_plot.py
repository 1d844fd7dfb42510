"""The plot of training: accuracy on the test images against the time spent in each implementation."""

from collections.abc import Mapping, Sequence
from itertools import accumulate

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from bench.report.drawing import DARK
from bench.report.palette import look
from bench.report.text import seconds_text
from bench.training import Epoch


def accuracy_against_time(runs: Mapping[str, Sequence[Epoch]], what: str) -> Figure:
    """Return the figure: a curve for each implementation, a point for each epoch; `what` says what was trained."""
    figure = Figure(figsize=(8.8, 4.8), layout="constrained")
    axes = figure.subplots()
    ends = []  # of the curves
    for label, epochs in runs.items():
        xs = list(accumulate(epoch.seconds for epoch in epochs))
        ys = [100 * epoch.correct / epoch.total for epoch in epochs]
        style = look(label)
        axes.plot(xs, ys, color=style.colour, marker=style.marker, markersize=4, linewidth=1.3, label=label)
        ends.append((xs[-1], ys[-1], f"{label}, {seconds_text(xs[-1])}", style.colour))
    for line, (x, y, words, colour) in enumerate(sorted(ends, reverse=True)):
        axes.annotate(
            words,
            (x, y),
            (0, 12 + 11 * line),
            textcoords="offset points",
            ha="right",
            fontsize=7.5,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.8, "relpos": (1, 0)},
        )
    axes.set_ymargin(0.08 + 0.035 * len(ends))
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: seconds_text(value)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} %"))
    axes.grid(color="#e6e6e6", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_xlabel("time in the implementation (compilation included, tests of accuracy not)")
    axes.set_ylabel("test images classified correctly")
    figure.suptitle("Accuracy against training time", x=0.01, ha="left", fontsize=12, weight="bold")
    figure.supxlabel(what, x=0.01, ha="left", fontsize=7.5, color=DARK)
    return figure
