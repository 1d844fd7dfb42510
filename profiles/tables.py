"""Shares of all rows side by side: on the terminal and as a plot."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from rich import box
from rich.table import Table

from bench.report.drawing import GREY, save, style
from bench.report.palette import in_order, look
from profiles.flamegraph import COLOURS, fit, ink, printable
from profiles.recording import Recording
from profiles.stacks import CATEGORIES, Share, Stacks, difference, shares

BAR_INCHES, DIGIT_INCHES = 6.2, 0.075  # of 100 per cent, and of a digit in it

LONGEST = 60  # columns of a name


def _percent(share: Share) -> str:
    return f"{100 * share.value:.1f} ± {100 * share.margin:.1f}" if share.value > 0 else "–"


def _sorted(recordings: list[Recording]) -> list[Recording]:
    """Return the recordings in the order in which all plots and tables have their rows."""
    rows = in_order(recording.row for recording in recordings)
    return sorted(recordings, key=lambda recording: rows.index(recording.row))


def _names(recordings: list[Recording]) -> tuple[str, list[str]]:
    """Return on what all were recorded, and their names, which say what differs: workload, threads or both."""
    told = [(recording.workload, recording.threads_text) for recording in recordings]
    common = [len(set(values)) == 1 for values in zip(*told, strict=True)]
    conditions = [value for value, same in zip(told[0], common, strict=True) if same]
    names = [
        [recording.row, *(value for value, same in zip(values, common, strict=True) if not same)]
        for recording, values in zip(recordings, told, strict=True)
    ]
    return fit(printable(" · ".join(conditions)), LONGEST), [
        fit(printable(" · ".join(name)), LONGEST) for name in names
    ]


def share_table(recordings: list[Recording]) -> Table:
    """Return the shares of the categories in per cent, each with its 95 % margin, a line a recording."""
    recordings = _sorted(recordings)
    conditions, names = _names(recordings)
    title = f"{conditions}{': ' if conditions else ''}per cent of the samples within the row"
    table = Table(box=box.SIMPLE, pad_edge=False, title=title, title_justify="left", title_style="")
    table.add_column("row", overflow="fold")
    found = [shares(recording.stacks) for recording in recordings]
    kinds = [kind for kind in CATEGORIES if any(of[kind].value for of in found)]
    for heading in (*kinds, "samples"):
        table.add_column(heading.replace(" ", "\n"), justify="right", no_wrap=True)
    for recording, name, of in zip(recordings, names, found, strict=True):
        cells = [of[kind].text() if of[kind].value else "–" for kind in kinds]
        table.add_row(name, *cells, f"{recording.stacks.samples:,}")
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
    recordings = _sorted(recordings)
    conditions, names = _names(recordings)
    with style():
        figure = Figure(figsize=(BAR_INCHES + 3.2, 0.27 * len(recordings) + 1.75), layout="constrained")
        axes = figure.subplots()
        _bars(axes, recordings)
        for place, recording in enumerate(recordings):
            its = look(recording.row)
            axes.plot(-1.6, place, its.marker, color=its.colour, markersize=5.5, clip_on=False)
            axes.text(101.2, place, f"{recording.stacks.samples:,}", va="center", fontsize=8, color=GREY)
        axes.text(101.2, -0.55, "samples", va="bottom", fontsize=8, color=GREY)
        axes.set_yticks(range(len(recordings)), names)
        axes.tick_params(axis="y", length=0, pad=14)
        axes.set_ylim(len(recordings) - 0.5, -0.5)
        axes.set_xlim(0, 100)
        axes.set_xlabel("per cent of the samples within the row")
        axes.spines["left"].set_visible(False)
        title = f"Where the time goes{' · ' if conditions else ''}{conditions}"
        figure.suptitle(title, x=0.01, ha="left", fontsize=12, weight="bold")
        _legends(figure, axes, recordings)
        return save(figure, stem)


def _bars(axes: Axes, recordings: list[Recording]) -> None:
    """Draw the segments of all bars, each with its number where that fits into it."""
    left = [0.0] * len(recordings)
    for kind in CATEGORIES:
        widths = [100 * shares(recording.stacks)[kind].value for recording in recordings]
        if any(widths):
            colour = COLOURS[kind]
            bars = axes.barh(
                range(len(left)), widths, left=left, color=colour, label=kind, height=0.8, edgecolor="white"
            )
            numbers = [f"{width:.0f}" for width in widths]
            fitting = [
                number if width / 100 * BAR_INCHES > DIGIT_INCHES * (len(number) + 0.5) else ""
                for number, width in zip(numbers, widths, strict=True)
            ]
            axes.bar_label(bars, fitting, label_type="center", fontsize=8, color=ink(colour))
            left = [start + width for start, width in zip(left, widths, strict=True)]


def _legends(figure: Figure, axes: Axes, recordings: list[Recording]) -> None:
    """Say what the colours of the bars mean and, below, the markers of the rows."""
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
        borderaxespad=0.3,
        borderpad=0.0,
        ncols=len(CATEGORIES),
        handlelength=1.0,
        columnspacing=1.2,
    )
    looks = {look(recording.row).family: look(recording.row) for recording in recordings}
    markers = [
        Line2D([], [], color=its.colour, marker=its.marker, linestyle="", markersize=5.5, label=family)
        for family, its in looks.items()
    ]
    figure.legend(handles=markers, loc="outside lower left", ncols=len(markers), columnspacing=1.2)
