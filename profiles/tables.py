"""Shares of all rows side by side: on the terminal and as a plot."""

from pathlib import Path

import matplotlib
from matplotlib.figure import Figure
from rich import box
from rich.table import Table

from bench.plots import STYLE, save
from profiles.flamegraph import COLOURS
from profiles.recorder import Recording
from profiles.stacks import CATEGORIES, Share, Stacks, difference, shares


def _percent(share: Share) -> str:
    return f"{100 * share.value:.1f} ± {100 * share.margin:.1f}" if share.value > 0 else "–"


def share_table(recordings: list[Recording]) -> Table:
    """Return the shares of the categories in per cent, each with its 95 % margin, a line a recording."""
    table = Table(box=box.SIMPLE, pad_edge=False, title="per cent of the samples within the row", title_justify="left")
    table.add_column("recording", no_wrap=True)
    for name in (*CATEGORIES, "samples"):
        table.add_column(name, justify="right", no_wrap=True)
    for recording in recordings:
        found = shares(recording.stacks)
        cells = [_percent(found[name]) for name in CATEGORIES]
        table.add_row(recording.title, *cells, f"{recording.stacks.samples:,}")
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
            interval = f"{low:+.1f} to {high:+.1f}"
            table.add_row(name, _percent(old[name]), _percent(new[name]), f"{change:+.1f}", interval)
    return table


def share_plot(recordings: list[Recording], stem: Path) -> list[Path]:
    """Draw the shares as stacked bars, a bar a recording; return the paths of the SVG and the PNG."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.5, 0.36 * len(recordings) + 1.3), layout="constrained")
        axes = figure.subplots()
        titles = [f"{recording.title}  ({recording.stacks.samples:,})" for recording in recordings]
        left = [0.0] * len(recordings)
        for name in CATEGORIES:
            widths = [100 * shares(recording.stacks)[name].value for recording in recordings]
            if not any(widths):
                continue
            bars = axes.barh(titles, widths, left=left, color=COLOURS[name], label=name, height=0.74)
            labels = [f"{width:.0f}" if width >= 4 else "" for width in widths]
            axes.bar_label(bars, labels, label_type="center", fontsize=8)
            left = [start + width for start, width in zip(left, widths, strict=True)]
        axes.set_ylim(len(recordings) - 0.45, -0.55)
        axes.set_xlim(0, 100)
        axes.set_xlabel("per cent of the samples within the row (number of samples in brackets)")
        axes.set_title("Where the time goes")
        axes.tick_params(axis="y", length=0)
        figure.legend(loc="outside right upper")
        return save(figure, stem)
