"""Flamegraphs as self-contained, interactive SVG: as wide as the window; zoom, search, details under the pointer.

Colours are the categories of `profiles.stacks`, so that picture and share table tell the same. A differential
flamegraph is drawn over the frames of the second recording, and colours only what the two recordings can tell apart.
"""

import html
import json
import re
import textwrap
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import NormalDist
from typing import NamedTuple

from profiles.stacks import CATEGORIES, Stack, Stacks, category, difference, shares, wilson

WIDTH, NARROWEST, PAD = 1200, 800, 10  # pixels; in a window narrower than NARROWEST all becomes smaller
ROW, GAP = 24, 0.4  # height of a frame, and what is left free to the right of it
FONT, LETTER, TITLE_LETTER = 14, 8.45, 12.0  # LETTER is the width of a monospace letter
LEAST_SHARE = 0.0008  # of the whole: frames below it are not drawn
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
SCRIPT = Path(__file__).with_name("flamegraph.js").read_text(encoding="utf-8")
STYLE = f"""
svg{{font-family:'DejaVu Sans',Verdana,Helvetica,Arial,sans-serif;font-size:{FONT}px;fill:#111}}
.title{{font-size:20px;font-weight:bold}} .note{{fill:#8a3b12}}
.frame text,#details{{font-family:'DejaVu Sans Mono',Menlo,Consolas,monospace;font-size:{FONT}px;white-space:pre}}
.frame text{{pointer-events:none}} .frame,.button{{cursor:pointer;outline:none}}
.frame rect{{stroke:#000;stroke-opacity:.25;stroke-width:.5}}
.frame:hover rect,.frame:focus rect{{stroke:#000;stroke-opacity:1;stroke-width:2}}
.button rect{{fill:#f2f2f2;stroke:#767676}} .button:hover rect,.button:focus rect{{stroke:#000;stroke-width:2}}
.faded rect{{fill-opacity:.5}} .faded text{{fill:#111}} .found rect{{fill:#000;fill-opacity:1}} .found text{{fill:#fff}}
input{{box-sizing:border-box;width:100%;height:100%;font:{FONT}px monospace}}
"""


@dataclass
class Node:
    """A frame at one place in the tree, with the samples under it."""

    samples: int = 0
    children: dict[str, "Node"] = field(default_factory=dict)


def tree(counts: Mapping[Stack, int]) -> Node:
    """Return the stacks as a tree of frames."""
    root = Node()
    for stack, count in counts.items():
        node = root
        node.samples += count
        for frame in stack:
            node = node.children.setdefault(frame, Node())
            node.samples += count
    return root


class Placed(NamedTuple):
    """A frame that is drawn: where it is and how it looks."""

    path: Stack  # () for the root
    node: Node
    left: float  # of the whole, as is its share

    @property
    def name(self) -> str:
        """Return the frame's name, fit to be shown."""
        return printable(self.path[-1]) if self.path else "all"


def draw(stacks: Stacks, title: str, notes: list[str]) -> str:
    """Return the flamegraph of a recording as SVG."""
    root = tree(stacks.counts)
    placed = list(place(root))
    kinds = {frame.path: category(frame.path) for frame in placed if frame.path}
    found = shares(stacks)
    legend = [
        (COLOURS[name], f"{name} {found[name].text()} %")
        for name in CATEGORIES
        if found[name].value > 0 or name in kinds.values()
    ]

    def describe(frame: Placed) -> tuple[str, str]:
        share = 100 * frame.node.samples / root.samples
        colour = COLOURS[kinds[frame.path]] if frame.path else WHITE
        return colour, f"{frame.name}: {frame.node.samples} samples, {share:.1f} %"

    return _svg(placed, title, notes, legend, describe)


def draw_difference(before: Stacks, after: Stacks, title: str, notes: list[str]) -> str:
    """Return the differential flamegraph as SVG: the frames of `after`, coloured where their share changed for sure.

    A frame is coloured if the interval of its share's change (Newcombe's) excludes 0. The level of the intervals is
    Bonferroni's for the number of frames drawn: of pictures of unchanged code one in 20 has any colour.
    """
    old, new = tree(before.counts), tree(after.counts)
    placed = list(place(new))
    frames = max(1, len(placed) - 1)  # the root cannot change
    z = NormalDist().inv_cdf(1 - ERROR_RATE / 2 / frames)
    looks: dict[Stack, tuple[str, str]] = {}
    for path, node, _ in placed:
        was = _samples_at(old, path)
        change, low, high = difference(wilson(was, old.samples, z), wilson(node.samples, new.samples, z))
        colour = GREW if low > 0 else SHRANK if high < 0 else SAME
        share = f"{100 * node.samples / new.samples:.1f} %, was {100 * was / old.samples:.1f} %"
        interval = f"change {100 * low:+.1f} to {100 * high:+.1f} points" if change else "no change"
        looks[path] = colour, f"{share}, {interval}"
    looks[()] = WHITE, looks[()][1]
    counts = Counter(colour for colour, _ in looks.values())
    legend = [
        (GREW, f"grew: {_frames(counts[GREW])}"),
        (SHRANK, f"shrank: {_frames(counts[SHRANK])}"),
        (SAME, f"no difference that these recordings can show: {_frames(counts[SAME])}"),
    ]
    how = (
        f"Coloured: the 95 % interval of the change, corrected for {_frames(frames)} (Bonferroni), excludes 0."
        " It tells of sampling error alone."
    )

    def describe(frame: Placed) -> tuple[str, str]:
        colour, words = looks[frame.path]
        return colour, f"{frame.name}: {words}"

    return _svg(placed, title, [how, *notes], legend, describe)


def place(root: Node) -> Iterator[Placed]:
    """Yield the frames that are wide enough to be drawn, those under a frame after it, side by side by name."""
    waiting = [Placed((), root, 0.0)]
    while waiting:
        frame = waiting.pop()
        yield frame
        left, above = frame.left, []
        for name, child in sorted(frame.node.children.items()):
            if child.samples >= LEAST_SHARE * root.samples:
                above.append(Placed((*frame.path, name), child, left))
            left += child.samples / root.samples
        waiting += reversed(above)


def printable(text: str) -> str:
    """Return a text that XML can hold and that stays on its line: what cannot be printed becomes U+FFFD."""
    return "".join(letter if letter.isprintable() else " " if letter.isspace() else "\ufffd" for letter in text)


def _samples_at(root: Node, path: Stack) -> int:
    """Return the samples of the frame at a place of the tree; 0 if there is none."""
    for frame in path:
        if frame not in root.children:
            return 0
        root = root.children[frame]
    return root.samples


def _frames(count: int) -> str:
    return f"{count} frame{'' if count == 1 else 's'}"


def _svg(
    placed: list[Placed],
    title: str,
    notes: list[str],
    legend: list[tuple[str, str]],
    describe: Callable[[Placed], tuple[str, str]],
) -> str:
    """Lay the frames out, the root at the bottom, and return the document."""
    header, top = _header(title, notes, legend)
    total = placed[0].node.samples
    height = top + ROW * (1 + max(len(frame.path) for frame in placed)) + PAD
    space = 'xmlns="http://www.w3.org/2000/svg" preserveAspectRatio="xMidYMin meet"'
    parts = [
        f'<svg {space} width="100%" viewBox="0 0 {WIDTH} {height}">',
        f"<title>{_escaped(title)}</title>",
        f"<style>{STYLE}</style>",
        f'<rect width="100%" height="100%" fill="{WHITE}"/>',
        *header,
        '<g id="frames">',
    ]
    for frame in placed:
        colour, details = describe(frame)
        share = frame.node.samples / total
        x, width = PAD + frame.left * (WIDTH - 2 * PAD), max(0.3, share * (WIDTH - 2 * PAD) - GAP)
        y = height - PAD - ROW * (len(frame.path) + 1)
        short = _short(frame.name)
        parts.append(
            f'<g class="frame" tabindex="0" role="button" data-x="{frame.left:.6g}" data-w="{share:.6g}"'
            f' data-y="{len(frame.path)}"{_attribute("data-short", short if short != frame.name else "")}>'
            f"<title>{_escaped(details)}</title>"
            f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{ROW - 1}" fill="{colour}"/>'
            f'<text x="{x + 3:.1f}" y="{y + 17}" fill="{ink(colour)}">'
            f"{_escaped(_label(frame.name, short, width))}</text></g>"
        )
    layout = {"width": WIDTH, "narrowest": NARROWEST, "height": height, "pad": PAD, "gap": GAP, "letter": LETTER}
    call = f"{SCRIPT.rstrip()}({json.dumps(layout)});"
    parts.append(f"</g><script><![CDATA[{call}]]></script></svg>\n")
    return "\n".join(parts)


def _header(title: str, notes: list[str], legend: list[tuple[str, str]]) -> tuple[list[str], int]:
    """Return what stands above the frames, and where these begin; it fits into the narrowest width."""
    shown = fit(printable(title), int((NARROWEST - 2 * PAD) / TITLE_LETTER))
    parts = [f'<text x="{PAD}" y="30" class="title">{_escaped(shown)}</text>']
    x, y = PAD, 58
    for colour, text in legend:
        width = 24 + round(7.8 * _columns(text))
        if x > PAD and x + width > NARROWEST - PAD:
            x, y = PAD, y + 24
        parts.append(f'<rect x="{x}" y="{y - 13}" width="16" height="16" fill="{colour}" stroke="#767676"/>')
        parts.append(f'<text x="{x + 23}" y="{y}" class="key">{_escaped(text)}</text>')
        x += width + 20
    y += 8
    for line in (line for note in notes for line in textwrap.wrap(note, 110)):
        y += 20
        parts.append(f'<text x="{PAD}" y="{y}" class="note">{_escaped(line)}</text>')
    y += 12
    for left, width, name, text in ((PAD, 152, "reset", "reset zoom (Esc)"), (PAD + 160, 96, "search", "search (/)")):
        parts.append(
            f'<g id="{name}" class="button" tabindex="0" role="button">'
            f'<rect x="{left}" y="{y}" width="{width}" height="24" rx="4"/>'
            f'<text x="{left + width // 2}" y="{y + 17}" text-anchor="middle">{text}</text></g>'
        )
    parts.append(
        f'<foreignObject x="{PAD + 270}" y="{y}" width="250" height="24" style="display:none">'
        '<input xmlns="http://www.w3.org/1999/xhtml" type="text" spellcheck="false"'
        ' placeholder="regular expression" aria-label="search frames"/></foreignObject>'
    )
    parts.append(f'<text id="matched" x="{PAD + 530}" y="{y + 17}"></text>')
    parts.append(f'<text id="details" x="{PAD}" y="{y + 45}"></text>')
    return parts, y + 60


def _label(name: str, short: str, width: float) -> str:
    """Return what is written on a frame so many pixels wide: its name, or what fits of the short one."""
    room = int((width - 6) / LETTER)
    return name if _columns(name) <= room else fit(short, room)


def _short(name: str) -> str:
    """Return a name of Rust or C++ without the modules that it begins with, but for the last."""
    return re.sub(r"^(?:\w+::)+(?=\w+::|<)", "", name)


def fit(name: str, room: int) -> str:
    """Return as much of a name as fits into so many columns."""
    if _columns(name) <= room:
        return name
    if room < 3:
        return ""
    name = name[:room]
    while _columns(name) >= room:
        name = name[:-1]
    return f"{name}…"


def _columns(text: str) -> int:
    """Return how many columns a text takes in a monospace font: two for a Chinese letter."""
    return sum(1 + (unicodedata.east_asian_width(letter) in "WF") for letter in text)


def ink(colour: str) -> str:
    """Return the colour of letters on a ground: white on a dark one, or black (WCAG's relative luminance)."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return WHITE if 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.179 else BLACK


def _attribute(name: str, value: str) -> str:
    return f' {name}="{_escaped(value)}"' if value else ""


def _escaped(text: str) -> str:
    return html.escape(printable(text))
