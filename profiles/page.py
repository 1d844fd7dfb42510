"""Recordings as the report needs them: shares, and the tree of frames for a picture that can be zoomed."""

from pathlib import Path
from typing import Any

from bench.output.page.facts import Recorded
from profiles.flamegraph import Node, tree
from profiles.recording import RAW, Recording, read
from profiles.stacks import CATEGORIES, Stack, category, shares

MIN_SHARE = 0.002  # of all samples: what is less cannot be seen


def recorded(folder: Path) -> list[Recorded]:
    """Return all recordings in a folder, sorted by workload and name. Raises UserError if one cannot be read."""
    recordings = [_recorded(read(path)) for path in folder.glob(f"*{RAW}")]
    return sorted(recordings, key=lambda recording: (recording.workload, recording.row))


def _recorded(recording: Recording) -> Recorded:
    category_shares = shares(recording.stacks)
    root = tree(recording.stacks)
    names: dict[str, int] = {}
    return Recorded(
        row=recording.row,
        workload=recording.workload,
        title=recording.title,
        shares={
            name: (100 * share.value, 100 * share.margin) for name, share in category_shares.items() if share.value
        },
        samples=recording.samples,
        notes=recording.notes(),
        tree=_packed(root, "all", (), names, MIN_SHARE * root.samples),
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
