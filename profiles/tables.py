"""Shares of several recordings side by side: on the terminal and as a plot."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich import box
from rich.table import Table

from bench.output.plots.drawing import save, style
from bench.output.plots.palette import in_order
from impls.support.text import one_line
from profiles.flamegraph import COLOURS, fit, ink
from profiles.recording import Recording
from profiles.stacks import CATEGORIES, Stacks, difference, shares

BAR_INCHES = 6.2  # of 100 per cent
MIN_LABELLED_PERCENT = 3.0  # a narrower part of a bar has no room for its number
MAX_COLUMNS = 60  # of a name


def ordered(recordings: Sequence[Recording]) -> list[Recording]:
    """Return the recordings in the order in which all plots and tables have their implementations."""
    labels = in_order(recording.row for recording in recordings)
    return sorted(recordings, key=lambda recording: labels.index(recording.row))


def share_table(recordings: list[Recording]) -> Table:
    """Return the shares of the categories in per cent, each with its 95 % margin, a line for each recording."""
    conditions, names = _names(recordings)
    table = Table(box=box.SIMPLE, pad_edge=False, title_justify="left", title_style="")
    table.title = f"{conditions}: per cent of the samples within the implementation"
    table.add_column("implementation", overflow="fold")
    all_shares = [shares(recording.stacks) for recording in recordings]
    categories = [name for name in CATEGORIES if any(proportions[name].value for proportions in all_shares)]
    for heading in (*categories, "samples"):
        table.add_column(heading.replace(" ", "\n"), justify="right", no_wrap=True)
    for recording, name, proportions in zip(recordings, names, all_shares, strict=True):
        table.add_row(name, *(proportions[category].text() for category in categories), f"{recording.samples:,}")
    return table


def difference_table(before: Stacks, after: Stacks) -> Table:
    """Return the change of each category in points, with its 95 % interval."""
    table = Table(box=box.SIMPLE, pad_edge=False)
    for name in ("category", "before, %", "after, %", "change, points", "95 % interval"):
        table.add_column(name, justify="left" if name == "category" else "right", no_wrap=True)
    old, new = shares(before), shares(after)
    for name in CATEGORIES:
        if old[name].value or new[name].value:
            change, low, high = (100 * value for value in difference(old[name], new[name]))
            table.add_row(name, old[name].text(), new[name].text(), f"{change:+.1f}", f"{low:+.1f} to {high:+.1f}")
    return table


def share_plot(recordings: list[Recording], path: Path) -> Path:
    """Draw the shares as stacked bars, a bar for each recording; return the path."""
    conditions, names = _names(recordings)
    with style():
        figure = Figure(figsize=(BAR_INCHES + 3.2, 0.27 * len(recordings) + 1.4), layout="constrained")
        axes = figure.subplots()
        _draw_bars(axes, recordings)
        axes.set_yticks(range(len(recordings)), names)
        axes.set_ylim(len(recordings) - 0.5, -0.5)
        axes.set_xlim(0, 100)
        axes.set_xlabel("per cent of the samples within the implementation")
        axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=len(CATEGORIES), handlelength=1.0)
        figure.suptitle(f"Where the time goes · {conditions}", x=0.01, ha="left", fontsize=12, weight="bold")
        return save(figure, path)


def _draw_bars(axes: Axes, recordings: list[Recording]) -> None:
    """Draw the parts of all bars, each with its number where that fits into it."""
    all_shares = [shares(recording.stacks) for recording in recordings]
    left = np.zeros(len(recordings))
    for name in CATEGORIES:
        widths = np.array([100 * proportions[name].value for proportions in all_shares])
        if widths.any():
            bars = axes.barh(range(len(left)), widths, left=left, color=COLOURS[name], label=name, edgecolor="white")
            numbers = [f"{width:.0f}" if width >= MIN_LABELLED_PERCENT else "" for width in widths]
            axes.bar_label(bars, numbers, label_type="center", fontsize=8, color=ink(COLOURS[name]))
            left += widths


def _names(recordings: list[Recording]) -> tuple[str, list[str]]:
    """Return the workload and threads of all, and their names, which have both where they differ."""
    if len({recording.conditions for recording in recordings}) > 1:
        return "several workloads", [fit(recording.title, MAX_COLUMNS) for recording in recordings]
    return recordings[0].conditions, [fit(one_line(recording.row), MAX_COLUMNS) for recording in recordings]
