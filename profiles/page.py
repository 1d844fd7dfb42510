"""Recordings as the report needs them: shares, and the tree of frames for a picture that can be zoomed."""

from pathlib import Path
from typing import Any

from bench.report.page.facts import Recorded
from profiles.flamegraph import Node, tree
from profiles.recording import RAW, Recording, read
from profiles.stacks import CATEGORIES, Stack, category, shares

SMALLEST_SHARE = 0.002  # of all samples: what is less cannot be seen


def recorded(folder: Path) -> list[Recorded]:
    """Return all recordings in a folder, sorted by workload and row. Raises UserError if one cannot be read."""
    found = [_recorded(read(path)) for path in sorted(folder.glob(f"*{RAW}"))]
    return sorted(found, key=lambda each: (each.workload, each.row))


def _recorded(recording: Recording) -> Recorded:
    category_shares = shares(recording.stacks)
    root = tree(recording.stacks)
    names: dict[str, int] = {}
    return Recorded(
        row=recording.row,
        workload=recording.workload,
        title=recording.title,
        shares={name: (100 * s.value, 100 * s.margin) for name, s in category_shares.items() if s.value > 0},
        samples=recording.samples,
        notes=recording.notes(),
        tree=_packed(root, "all", (), names, SMALLEST_SHARE * root.samples),
        frames=list(names),
    )


def _packed(node: Node, name: str, stack: Stack, names: dict[str, int], least: float) -> list[Any]:
    """Return a frame as [name's number, samples, category's number, children], without what is too small to be seen."""
    kind = CATEGORIES.index(category(stack)) if stack else -1
    children = [
        _packed(child, frame, (*stack, frame), names, least)
        for frame, child in sorted(node.children.items())
        if child.samples >= least
    ]
    return [names.setdefault(name, len(names)), node.samples, kind, children]
