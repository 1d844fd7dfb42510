"""What all plots share: the style, the order of rows, the caption, and how a figure becomes files."""

import io
import textwrap
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from bench.files import write_whole
from bench.records import CONTROL, Results, Row, WorkloadResult
from bench.report.palette import in_order
from bench.report.text import cpus_text

STYLE: dict[Any, Any] = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titley": 1.0,  # or the height is sought in every drawing, beside tick labels on top that no titled panel has
    "axes.labelsize": 9,
    "font.size": 9,
    "font.family": "DejaVu Sans",
    "legend.fontsize": 8,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "backprop-bench",
    "text.hinting": "no_hinting",  # letters of a PNG are as wide as those of the SVG, for which everything is placed
    "text.parse_math": False,  # a name with a dollar sign is a name
    "xtick.labelsize": 8,
    "ytick.labelsize": 8.5,
}
ROOM = 24  # letters beside a plot
MOST_MARKED = 400.0  # ends of a horizontal axis on whose marks at 2 and 5 there is room for numbers, as a ratio
CAPTION_SIZE, CAPTION_LETTERS = 7.5, 17  # points; letters of that size that take an inch
DPI, MOST_PIXELS = 110, 20_000  # of a PNG: dots an inch, and on a side; matplotlib draws no 65,536
NO_BREAK = "\u00a0"
GREY, DARK, RATE = "#767676", "#444444", "#c0392b"
PEAK_LINE, REFERENCE_LINE = (0, (4.0, 2.0)), (0, (1.0, 1.5))  # dashes of the two rates, in points
REFERENCE_NAME = "NumPy's large product"


@contextmanager
def style() -> Iterator[None]:
    """Draw in our style; a letter that the font lacks is drawn as a box and stops nothing."""
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        yield


def rows_to_show(results: Results, of: WorkloadResult) -> list[Row]:
    """Return the rows of a workload, without the control."""
    return [row for row in results.rows_of(of.workload.name) if not row.is_control]


def labels_to_show(results: Results, workloads: list[WorkloadResult]) -> list[str]:
    """Return the labels of rows in the order in which every plot has them.

    The control is left out, and so is a baseline on fewer cores: it is the same code as the row without its "@1".
    """
    names = {of.workload.name for of in workloads}
    labels = [row.label for row in results.rows if row.workload in names and row.label != CONTROL]
    return in_order(label for label in labels if "@" not in label)


def mark_speed_ups(axes: Axes) -> None:
    """Mark 1×, 2×, 5×, 10×, … on the horizontal axis, with lines behind; only 1×, 10×, … on a long one."""
    low, high = axes.get_xlim()
    is_long = high > MOST_MARKED * low
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0,) if is_long else (1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))
    axes.xaxis.set_minor_locator(LogLocator(subs=(2.0, 5.0)) if is_long else NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(axis="x", which="minor", length=2)
    axes.grid(axis="x", which="both", color="#e6e6e6", linewidth=0.6)
    axes.set_axisbelow(True)


def short(label: str) -> str:
    """Return as much of a label as there is room for beside a plot."""
    return label if len(label) <= ROOM else f"{label[: ROOM - 1]}…"


def caption(results: Results, figure: Figure) -> str:
    """Return where and how the numbers were made, in lines that are no wider than the figure."""
    machine = results.machine
    parts = [
        machine.cpu_model,
        cpus_text(machine) if machine.usable_cpus else "",
        f"Python {machine.python}" if machine.python else "",
        f"NumPy {machine.versions['numpy']}" if "numpy" in machine.versions else "",
        machine.numpy_blas,
        f"{results.settings.generations} processes per row",
        results.date[:10],
    ]
    text = " · ".join(part.replace(" ", NO_BREAK) for part in parts if part)
    width = int(CAPTION_LETTERS * figure.get_figwidth())
    return textwrap.fill(text, width, break_on_hyphens=False).replace(" ·\n", "\n").replace(NO_BREAK, " ")


def write_caption(figure: Figure, results: Results, words: str = "") -> None:
    """Write some words and the caption under a figure."""
    figure.supxlabel(words + caption(results, figure), x=0.01, ha="left", fontsize=CAPTION_SIZE, color=DARK)


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write a figure as SVG and PNG, without dates or versions in them; a very large one as a coarser PNG."""
    _lay_out(figure)
    paths, dpi = [], min(DPI, MOST_PIXELS / max(figure.get_size_inches()))
    for suffix, metadata in (("svg", {"Date": None, "Creator": None}), ("png", {"Software": None})):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=suffix, dpi=dpi, metadata=metadata, facecolor="white")
        path = stem.with_name(f"{stem.name}.{suffix}")
        write_whole(path, buffer.getvalue())
        paths.append(path)
    return paths


def _lay_out(figure: Figure) -> None:
    """Place everything once, as in an SVG. Otherwise matplotlib does so for each file, in one more drawing."""
    engine = figure.get_layout_engine()
    if engine is not None:
        FigureCanvasSVG(figure)  # whose text is as wide as its letters, not rounded to dots
        engine.execute(figure)
        figure.set_layout_engine(None)
