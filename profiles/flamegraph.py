"""Flamegraphs as self-contained, interactive SVG: zoom by click, search by Ctrl-F, details under the pointer.

Colours are the categories of `profiles.stacks`, so that picture and share table tell the same. A differential
flamegraph is drawn over the frames of the second recording: red grew, blue shrank, white stayed.
"""

import html
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from profiles.stacks import Stack, Stacks, category, shares

WIDTH, ROW, PAD, CHAR = 1200, 17, 10, 6.6  # pixels; CHAR is the width of a monospace letter
NARROWEST = 0.0008  # of the whole: frames below it are not drawn
COLOURS = {
    "BLAS": "#d1603d",
    "NumPy C": "#e9b44c",
    "Rust": "#a0785a",
    "JIT": "#9a6fb0",
    "Python": "#5b8db8",
    "other native": "#a9b0b3",
}


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


def draw(stacks: Stacks, title: str, notes: list[str]) -> str:
    """Return the flamegraph of a recording as SVG."""
    root = tree(stacks.counts)
    legend = [
        (COLOURS[name], f"{name} {100 * share.value:.0f} ± {100 * share.margin:.0f} %")
        for name, share in shares(stacks).items()
        if share.value > 0
    ]

    def describe(path: Stack, node: Node) -> tuple[str, str]:
        name = path[-1] if path else "all"
        details = f"{name}: {node.samples} samples, {100 * node.samples / root.samples:.1f} %"
        return COLOURS[category(path)] if path else "#dfe4e8", details

    return _svg(root, title, notes, legend, describe)


def draw_difference(before: Stacks, after: Stacks, title: str, notes: list[str]) -> str:
    """Return the differential flamegraph as SVG: the frames of `after`, coloured by how their share changed."""
    old, new = tree(before.counts), tree(after.counts)

    def describe(path: Stack, node: Node) -> tuple[str, str]:
        other: Node | None = old
        for frame in path:
            other = other.children.get(frame) if other else None
        share, was = node.samples / new.samples, (other.samples if other else 0) / old.samples
        name = path[-1] if path else "all"
        return _change_colour(share - was), f"{name}: {100 * share:.1f} %, was {100 * was:.1f} %"

    legend = [(_change_colour(0.05), "grew"), (_change_colour(-0.05), "shrank"), (_change_colour(0.0), "as before")]
    return _svg(new, title, notes, legend, describe)


def speedscope(stacks: Stacks, title: str) -> str:
    """Return the samples in speedscope's JSON, https://www.speedscope.app/file-format-schema.json."""
    frames = sorted({frame for stack in stacks.counts for frame in stack})
    index = {frame: number for number, frame in enumerate(frames)}
    ordered = sorted(stacks.counts.items())
    profile = {
        "type": "sampled",
        "name": title,
        "unit": "none",
        "startValue": 0,
        "endValue": stacks.samples,
        "samples": [[index[frame] for frame in stack] for stack, _ in ordered],
        "weights": [count for _, count in ordered],
    }
    schema = "https://www.speedscope.app/file-format-schema.json"
    document = {"$schema": schema, "shared": {"frames": [{"name": frame} for frame in frames]}, "profiles": [profile]}
    return json.dumps(document) + "\n"


def _change_colour(change: float) -> str:
    """Return white for no change, red for a share that grew by 10 points or more, blue for one that shrank so."""
    strength = min(1.0, abs(change) / 0.10) ** 0.5
    faded = round(255 - 175 * strength)
    return f"#ff{faded:02x}{faded:02x}" if change > 0 else f"#{faded:02x}{faded:02x}ff"


def _svg(
    root: Node,
    title: str,
    notes: list[str],
    legend: list[tuple[str, str]],
    describe: Callable[[Stack, Node], tuple[str, str]],
) -> str:
    """Lay the tree out, the root at the bottom, and return the document."""
    frames: list[tuple[Stack, Node, float, int]] = []

    def place(path: Stack, node: Node, x: float, depth: int) -> None:
        frames.append((path, node, x, depth))
        for name, child in sorted(node.children.items()):
            if child.samples >= NARROWEST * root.samples:
                place((*path, name), child, x, depth + 1)
            x += child.samples / root.samples

    place((), root, 0.0, 0)
    top = 62 + 15 * len(notes)
    height = top + ROW * (1 + max(depth for *_, depth in frames)) + 30
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}">',
        f"<title>{html.escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="{PAD}" y="24" class="title">{html.escape(title)}</text>',
        '<g id="reset" class="button"><text x="1000" y="24">reset zoom</text></g>',
        '<g id="search" class="button"><text x="1110" y="24">search</text></g>',
    ]
    x = float(PAD)
    for colour, text in legend:
        parts.append(f'<rect x="{x:.0f}" y="36" width="11" height="11" fill="{colour}" stroke="#888888"/>')
        parts.append(f'<text x="{x + 16:.0f}" y="46">{html.escape(text)}</text>')
        x += 16 + CHAR * len(text) + 22
    for index, note in enumerate(notes):
        parts.append(f'<text x="{PAD}" y="{64 + 15 * index}" fill="#8a3b12">{html.escape(note)}</text>')
    parts.append(f'<text id="details" x="{PAD}" y="{height - 10}"></text>')
    parts.append(f'<text id="matched" x="{WIDTH - PAD}" y="{height - 10}" text-anchor="end"></text><g id="frames">')
    for path, node, left, depth in frames:
        colour, details = describe(path, node)
        share = node.samples / root.samples
        y = height - 30 - ROW * (depth + 1)
        parts.append(
            f'<g class="frame" data-x="{left:.6g}" data-w="{share:.6g}" data-y="{depth}"><title>{html.escape(details)}'
            f'</title><rect x="{_pixel(left):.1f}" y="{y}" width="{max(0.3, share * (WIDTH - 2 * PAD) - 0.4):.1f}"'
            f' height="{ROW - 1}" fill="{colour}" rx="1"/><text x="{_pixel(left) + 3:.1f}" y="{y + 12}">'
            f"{html.escape(_fit(path[-1] if path else 'all', share))}</text></g>"
        )
    parts.append(f"</g><style>{STYLE}</style><script><![CDATA[{SCRIPT}]]></script></svg>\n")
    return "\n".join(parts)


def _pixel(x: float) -> float:
    return PAD + x * (WIDTH - 2 * PAD)


def _fit(name: str, share: float) -> str:
    """Return as much of a name as fits into its frame."""
    letters = math.floor((share * (WIDTH - 2 * PAD) - 6) / CHAR)
    return name if letters >= len(name) else f"{name[: letters - 1]}…" if letters >= 4 else ""


STYLE = (
    "svg{font:11px ui-monospace,'DejaVu Sans Mono',monospace}.title{font-size:16px;font-weight:bold}"
    ".frame{cursor:pointer}.frame text{pointer-events:none}.frame:hover rect{stroke:#000}"
    ".button{cursor:pointer;fill:#555}.button:hover{fill:#000}.found rect{fill:#e600e6}.faded{opacity:.45}"
)

SCRIPT = """
(function () {
  var root = document.currentScript ? document.currentScript.ownerSVGElement : document.documentElement;
  var frames = Array.prototype.slice.call(root.querySelectorAll('.frame'));
  var W = 1200, PAD = 10, CHAR = 6.6;
  function num(g, name) { return parseFloat(g.getAttribute('data-' + name)); }
  function nameOf(g) { return g.querySelector('title').textContent.replace(/: [^:]*$/, ''); }
  function zoom(zx, zw, zy) {
    frames.forEach(function (g) {
      var x = num(g, 'x'), w = num(g, 'w'), rect = g.querySelector('rect'), text = g.querySelector('text');
      var below = num(g, 'y') < zy && x <= zx + 1e-6 && x + w >= zx + zw - 1e-6;
      var shown = below || (num(g, 'y') >= zy && x >= zx - 1e-6 && x + w <= zx + zw + 1e-6);
      g.style.display = shown ? '' : 'none';
      g.classList.toggle('faded', below && num(g, 'y') < zy);
      if (!shown) return;
      var left = below ? 0 : (x - zx) / zw, share = below ? 1 : w / zw;
      var px = PAD + left * (W - 2 * PAD), pw = Math.max(0.3, share * (W - 2 * PAD) - 0.4);
      rect.setAttribute('x', px); rect.setAttribute('width', pw); text.setAttribute('x', px + 3);
      var name = nameOf(g), letters = Math.floor((pw - 6) / CHAR);
      text.textContent = letters >= name.length ? name : letters >= 4 ? name.slice(0, letters - 1) + '\\u2026' : '';
    });
  }
  function search(term) {
    var test; try { test = new RegExp(term, 'i'); } catch (error) { return; }
    var ends = [], found = 0;
    frames.slice().sort(function (a, b) { return num(a, 'y') - num(b, 'y'); }).forEach(function (g) {
      var hit = term !== '' && num(g, 'y') > 0 && test.test(nameOf(g));
      g.classList.toggle('found', hit);
      if (!hit) return;
      var x = num(g, 'x'), w = num(g, 'w');
      if (!ends.some(function (e) { return x >= e[0] - 1e-6 && x + w <= e[1] + 1e-6; })) {
        ends.push([x, x + w]); found += w;
      }
    });
    root.getElementById('matched').textContent = term ? 'matched: ' + (100 * found).toFixed(1) + ' %' : '';
  }
  function ask() {
    var term = window.prompt('Search frames (regular expression):', '');
    if (term !== null) search(term);
  }
  frames.forEach(function (g) {
    g.addEventListener('click', function () { zoom(num(g, 'x'), num(g, 'w'), num(g, 'y')); });
    g.addEventListener('mouseover', function () {
      root.getElementById('details').textContent = g.querySelector('title').textContent; });
  });
  root.getElementById('reset').addEventListener('click', function () { zoom(0, 1, 0); search(''); });
  root.getElementById('search').addEventListener('click', ask);
  window.addEventListener('keydown', function (event) {
    if ((event.ctrlKey || event.metaKey) && event.key === 'f') { event.preventDefault(); ask(); }
  });
})();
"""
