"""What all plots share: the style, panels placed in inches, the title and the caption, and the file."""

import io
import math
import textwrap
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.output.text import cpus_text
from bench.records import Results
from bench.system.files import write_whole

STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "font.size": 9,
    "font.family": "sans-serif",  # DejaVu Sans, from matplotlib; an SVG names others, too
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "lines.markeredgecolor": "white",
    "lines.markeredgewidth": 0.5,
    "lines.markersize": 5.5,
    "svg.fonttype": "none",
    "svg.hashsalt": "backprop-bench",
    "text.parse_math": False,  # a name with a dollar sign is a name
    "xtick.labelsize": 8,
    "ytick.labelsize": 8.5,
}
METADATA = {"svg": {"Date": None, "Creator": None}, "png": {"Software": None}}  # without dates or versions in the files
PNG_DPI = 110
MARGIN_INCHES = 0.1
LABEL_LETTERS = 24  # for which there is room beside a plot
CAPTION_LETTERS_PER_INCH = 16
GREY, DARK, RATE_COLOUR = "#767676", "#444444", "#c0392b"
RATE_NAMES, RATE_DASHES = ("peak", "NumPy's large product"), ((0, (4.0, 2.0)), (0, (1.0, 1.5)))


@contextmanager
def style() -> Iterator[None]:
    """Draw in our style; a letter that the font lacks is drawn as a box and stops nothing."""
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        yield


def panels(
    count: int,
    columns: int,
    size: tuple[float, float],
    gap: tuple[float, float] = (0.0, 0.0),
    left: float = 0.9,
    bottom: float = 0.3,
    top: float = 0.55,
    share: bool = False,
) -> tuple[Figure, list[Axes]]:
    """Return a figure with so many panels, line by line; all sizes are in inches.

    `size` is the width and the height of a panel, `gap` what is to the right of it and below it.
    With `share`, all panels have the same axes.
    """
    columns = min(columns, count)
    lines = math.ceil(count / columns)
    width = left + columns * (size[0] + gap[0]) + MARGIN_INCHES
    height = top + lines * (size[1] + gap[1]) + bottom
    figure = Figure(figsize=(width, height))
    axes: list[Axes] = []
    for number in range(count):
        line, column = divmod(number, columns)
        x = left + column * (size[0] + gap[0])
        y = height - top - line * (size[1] + gap[1]) - size[1]
        place = x / width, y / height, size[0] / width, size[1] / height
        first = axes[0] if axes and share else None
        axes.append(figure.add_axes(place, sharex=first, sharey=first))
    return figure, axes


def write_title(figure: Figure, title: str, caption: str) -> None:
    """Write the title above all panels, and the caption below them in lines no wider than the figure."""
    inches = figure.dpi_scale_trans
    top = figure.get_figheight() - MARGIN_INCHES
    figure.text(MARGIN_INCHES, top, title, transform=inches, va="top", fontsize=12, weight="bold")
    letters = int(CAPTION_LETTERS_PER_INCH * figure.get_figwidth())
    text = "\n".join(textwrap.fill(line, letters, break_on_hyphens=False) for line in caption.splitlines())
    figure.text(MARGIN_INCHES, MARGIN_INCHES, text, transform=inches, va="bottom", fontsize=7.5, color=DARK)


def caption(results: Results) -> str:
    """Return where and how the numbers were made."""
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
    return " · ".join(filter(None, parts))


def short(label: str) -> str:
    """Return as much of a label as there is room for beside a plot."""
    return label if len(label) <= LABEL_LETTERS else f"{label[: LABEL_LETTERS - 1]}…"


def picture(figure: Figure, file_format: str) -> bytes:
    """Return a figure as "svg" or "png", the same bytes each time."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=file_format, dpi=PNG_DPI, metadata=METADATA[file_format], facecolor="white")
    return buffer.getvalue()


def save(figure: Figure, path: Path) -> Path:
    """Write a figure in the format that the end of the path names; return the path."""
    write_whole(path, picture(figure, path.suffix.removeprefix(".")))
    return path
