"""The plot of the sweep `strong`: what threads gain, against the operations of a step, and from where on they do."""

import math

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from bench.records import Estimate, Results, Row, WorkloadResult
from bench.report.drawing import GREY, labels_to_show, write_caption
from bench.report.palette import look
from bench.report.sweep_plot import name_curve, spread_names
from bench.report.text import number_text

ALIKE = 0.05  # a gain that is none
Gain = tuple[float, Estimate]  # Mflop of a step, and the time on one thread over that on several


def strong(results: Results, workloads: list[WorkloadResult]) -> Figure | None:
    """Return the figure, a panel for each number of threads; None for a run on one core."""
    counts = sorted({of.workload.threads for of in workloads} - {1})
    if not counts:
        return None
    columns = min(2, len(counts))
    lines = math.ceil(len(counts) / columns)
    figure = Figure(figsize=(0.7 + 5.4 * columns, 1.0 + 4.4 * lines), layout="constrained")
    grid = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    for axes, threads in zip(grid.flat, counts, strict=False):
        _panel(axes, results, workloads, threads)
    for axes in grid[-1]:
        axes.set_xlabel("Mflop in a step")
    for axes in grid[:, 0]:
        axes.set_ylabel("time on one thread / time on several")
    title = "What threads gain, against the work in a step"
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, weight="bold")
    write_caption(figure, results)
    figure.draw_without_rendering()  # places the axes, so that the names at the curves can be kept apart
    for axes in grid.flat:
        spread_names(axes)
    return figure


def gains(results: Results, workloads: list[WorkloadResult], label: str, threads: int) -> list[Gain]:
    """Return what a row gains by so many threads, by the operations of a step, fewest first.

    Either time is relative to the same baseline on one core, so the gain is the ratio of two speed-ups. Their intervals
    are of different workers and are combined as independent ones.
    """
    found: list[Gain] = []
    for of in workloads:
        alone = [each for each in workloads if (each.flops, each.workload.threads) == (of.flops, 1) and threads > 1]
        if of.workload.threads == threads and alone:
            several, one = (results.row(each.workload.name, label) for each in (of, alone[0]))
            if several and one and several.timed and one.timed:
                found.append((of.flops / 1e6, _ratio(_speed_up(several), _speed_up(one))))
    return sorted(found, key=lambda gain: gain[0])


def has_one_thread(found: list[Gain]) -> bool:
    """Return whether a row takes the same time on several threads as on one everywhere: it does not split a step."""
    return all(gain.holds(1.0) or abs(gain.value - 1.0) < ALIKE for _, gain in found)


def break_even(found: list[Gain]) -> float | None:
    """Return the Mflop of the smallest step from which on threads surely gain; None if they do not even at the end."""
    begins = None
    for mflop, gain in reversed(found):
        if gain.low is None or gain.low <= 1.0:
            break
        begins = mflop
    return begins


def _panel(axes: Axes, results: Results, workloads: list[WorkloadResult], threads: int) -> None:
    for label in labels_to_show(results, workloads):
        found = gains(results, workloads, label, threads)
        if has_one_thread(found):
            continue
        style = look(label)
        xs, values = [x for x, _ in found], [gain.value for _, gain in found]
        axes.plot(xs, values, label=label, color=style.colour, marker=style.marker, markersize=4, linewidth=1.2)
        for x, gain in found:
            if gain.low is not None and gain.high is not None:
                axes.plot([x, x], [gain.low, gain.high], color=style.colour, linewidth=2.0, alpha=0.5)
        begins = break_even(found)
        where = f"from {number_text(begins, 2)}" if begins is not None else "never"
        name_curve(axes, f"{label} ({where})", xs[-1], values[-1], style.colour)
    for level, dashes in ((1.0, "-"), (threads, ":")):
        axes.axhline(level, color=GREY, linewidth=0.8, linestyle=dashes, zorder=1)
    axes.set_xscale("log")
    axes.set_yscale("log")
    steps = sorted({of.flops / 1e6 for of in workloads})
    axes.set_xlim(steps[0] / 1.5, steps[-1] * (steps[-1] / steps[0]) ** 0.42)  # room for the names
    axes.set_xticks(steps, [number_text(step, 2) for step in steps])
    axes.xaxis.set_minor_locator(NullLocator())
    lowest = min(0.5, axes.get_ylim()[0])
    ticks = [tick for tick in (0.1, 0.2, 0.5, 1, 2, 4, 8, 16, 32, 64) if lowest <= tick <= 1.5 * threads]
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_title(f"{threads} threads (from how many Mflop on they surely gain)", fontsize=9)
    axes.grid(color="#e6e6e6", linewidth=0.6)
    axes.set_axisbelow(True)


def _speed_up(row: Row) -> Estimate:
    """Return the speed-up of a row; 1 for the baseline."""
    return row.speed_up or Estimate(1.0, 1.0, 1.0)


def _ratio(one: Estimate, other: Estimate) -> Estimate:
    """Return the ratio of two independent estimates."""
    value = one.value / other.value
    if one.low is None or one.high is None or other.low is None or other.high is None:
        return Estimate(value)
    margin = math.hypot(math.log(one.high / one.low), math.log(other.high / other.low)) / 2
    return Estimate(value, value * math.exp(-margin), value * math.exp(margin))
