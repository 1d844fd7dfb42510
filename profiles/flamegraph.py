"""Flamegraphs as self-contained, interactive SVG: as wide as the window; zoom, search, details under the pointer.

Colours are the categories of `profiles.stacks`, so that picture and share table agree. A differential flamegraph is
drawn over the frames of the second recording, and colours only the significant changes.
"""

import math
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import NormalDist
from typing import NamedTuple

import jinja2
from markupsafe import Markup

from profiles.recording import Recording
from profiles.stacks import Stack, Stacks, category, difference, shares, wilson

INNER_WIDTH, MIN_WIDTH = 1180, 800  # pixels: of the root frame, and of the window below which the picture shrinks
FRAME_HEIGHT, LINE_HEIGHT = 24, 22  # pixels: of a frame, and of a line of legend and notes
LETTER, TITLE_LETTER = 8.45, 12.0  # pixels: widths of a monospace letter and of one in the title
LEGEND_COLUMNS, NOTE_LETTERS = 3, 110
MIN_SHARE = 0.0008  # of all samples: smaller frames are not drawn
COLOURS = {  # Okabe and Ito's, of different lightness too, also as readers with deuteranopia see them
    "BLAS": "#d55e00",
    "Rust products": "#f0e442",
    "other Rust": "#009e73",
    "NumPy C": "#56b4e9",
    "JIT": "#cc79a7",
    "Python": "#0072b2",
    "other native": "#c6c6c6",
}
BLACK, WHITE = "#111111", "#ffffff"
GREW, SHRANK, SAME = "#ff8a65", "#7fb2ff", "#ececec"
ERROR_RATE = 0.05  # of a differential flamegraph as a whole
SCRIPT = Path(__file__).with_name("flamegraph.js")
TEMPLATE = Path(__file__).with_name("flamegraph.svg.jinja")


@dataclass
class Node:
    """A frame at one place in the tree, with the samples under it."""

    samples: int = 0
    children: dict[str, "Node"] = field(default_factory=dict)


class Box(NamedTuple):
    """A frame that is drawn; `left` and `share` are fractions of the picture's width."""

    path: Stack  # () for the root
    left: float
    share: float
    colour: str
    details: str

    @property
    def name(self) -> str:
        """Return the name of the frame."""
        return self.path[-1] if self.path else "all"

    @property
    def width(self) -> float:
        """Return the width in pixels."""
        return self.share * INNER_WIDTH - 0.4

    @property
    def label(self) -> str:
        """Return as much of the name as fits into the box."""
        return fit(self.name, int((self.width - 6) / LETTER))


def tree(stacks: Stacks) -> Node:
    """Return the stacks as a tree of frames."""
    root = Node()
    for stack, count in stacks.items():
        node = root
        node.samples += count
        for frame in stack:
            node = node.children.setdefault(frame, Node())
            node.samples += count
    return root


def draw(recording: Recording) -> str:
    """Return the flamegraph of a recording as SVG."""
    boxes = []
    for path, left, samples in _placed(tree(recording.stacks), recording.samples):
        share = samples / recording.samples
        colour = COLOURS[category(path)] if path else WHITE
        boxes.append(Box(path, left, share, colour, f"{samples} samples, {100 * share:.1f} %"))
    drawn = {box.colour for box in boxes}
    legend = [
        (COLOURS[name], f"{name} {proportion.text()} %")
        for name, proportion in shares(recording.stacks).items()
        if COLOURS[name] in drawn
    ]
    return _svg(boxes, recording.title, recording.notes(), legend)


def draw_difference(before: Recording, after: Recording) -> str:
    """Return the differential flamegraph as SVG: the frames of `after`, coloured where their share changed for sure.

    A frame is coloured if the interval of its share's change (Newcombe's) excludes 0. The level of the intervals is
    Bonferroni's for the number of frames drawn: of pictures of unchanged code one in 20 has any colour.
    """
    old = tree(before.stacks)
    placed = list(_placed(tree(after.stacks), after.samples))
    z = NormalDist().inv_cdf(1 - ERROR_RATE / 2 / len(placed))
    boxes = []
    for path, left, samples in placed:
        old_share = wilson(_samples_at(old, path), before.samples, z)
        share = wilson(samples, after.samples, z)
        _, low, high = difference(old_share, share)
        colour = GREW if low > 0 else SHRANK if high < 0 else SAME
        change = f"change {100 * low:+.1f} to {100 * high:+.1f} points"
        details = f"{100 * share.value:.1f} %, was {100 * old_share.value:.1f} %, {change}"
        boxes.append(Box(path, left, share.value, colour, details))
    legend = [(GREW, "share grew"), (SHRANK, "share shrank"), (SAME, "no significant change")]
    method = f"Coloured: the 95 % interval of the change, corrected for {len(placed)} frames (Bonferroni), excludes 0."
    return _svg(boxes, f"{after.title}: what changed", [method, *after.notes()], legend)


def _placed(node: Node, total: int, path: Stack = (), left: float = 0.0) -> Iterator[tuple[Stack, float, int]]:
    """Yield path, left edge and samples of the frames wide enough to be drawn, neighbours sorted by name."""
    yield path, left, node.samples
    for name, child in sorted(node.children.items()):
        if child.samples >= MIN_SHARE * total:
            yield from _placed(child, total, (*path, name), left)
        left += child.samples / total


def _samples_at(node: Node, path: Stack) -> int:
    """Return the samples of the frame at a place of the tree; 0 if there is none."""
    for frame in path:
        node = node.children.get(frame, Node())
    return node.samples


def _svg(boxes: Sequence[Box], title: str, notes: Sequence[str], legend: Sequence[tuple[str, str]]) -> str:
    """Return the document: title, legend, notes and buttons above the frames, whose root is at the bottom."""
    lines = [line for note in notes for line in textwrap.wrap(note, NOTE_LETTERS)]
    frames_top = 120 + LINE_HEIGHT * (math.ceil(len(legend) / LEGEND_COLUMNS) + len(lines))
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        title=fit(title, int(MIN_WIDTH / TITLE_LETTER)),
        legend=legend,
        notes=lines,
        frames_top=frames_top,
        frames_bottom=frames_top + FRAME_HEIGHT * (1 + max(len(box.path) for box in boxes)),
        boxes=boxes,
        ink=ink,
        script=Markup(SCRIPT.read_text(encoding="utf-8")),
    )


def fit(name: str, columns: int) -> str:
    """Return as much of a name as fits into so many columns."""
    if len(name) <= columns:
        return name
    return f"{name[: columns - 1]}…" if columns >= 3 else ""


def ink(colour: str) -> str:
    """Return the colour of letters that can be read on another colour: white on the dark blue, or black."""
    return WHITE if colour == COLOURS["Python"] else BLACK
