"""The ladder: from step to step what was bought, where the time went, and the two sources side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.records import Estimate, Results
from bench.report.page.facts import Recorded
from bench.report.page.sources import Line, code, side_by_side
from bench.results.compare_rows import compare_rows
from impls import ROOT
from impls.registry import ENTRIES

WORKLOAD = "book"
LADDER = (
    ("pure_python", "per_example", "NumPy instead of lists"),
    ("per_example", "batched_2d", "all examples of a mini-batch in one product"),
    ("batched_2d", "in_place", "no temporaries; BLAS adds to the weights itself"),
    ("in_place", "numba", "compiled: passes fused, no Python between them"),
    ("numba", "rust_fused", "own kernels for small products, the update inside the last one"),
)
RUST = {  # the sources of Rust rows, in impls/rust/src
    "rust_fused": "fused",
}


@dataclass(frozen=True)
class Step:
    """A step of the ladder."""

    slow: str
    fast: str
    words: str
    ratio: Estimate
    shares: list[tuple[str, str, str]]  # category, per cent before, per cent after
    left_file: str
    right_file: str
    lines: list[Line]


def ladder(results: Results, recordings: Sequence[Recorded]) -> list[Step]:
    """Return the steps whose two rows were timed on the book's network."""
    by_row = {each.row: each for each in recordings if each.workload == WORKLOAD}
    found = []
    for slow, fast, words in _steps(results):
        left, right = _source(slow), _source(fast)
        lines = side_by_side(code(left), code(right)) if left and right else []
        found.append(
            Step(
                slow=slow,
                fast=fast,
                words=words,
                ratio=compare_rows(results, slow, fast)[WORKLOAD].ratio,
                shares=_shares(by_row, slow, fast),
                left_file=left.name if left else "",
                right_file=right.name if right else "",
                lines=lines,
            )
        )
    return found


def _steps(results: Results) -> list[tuple[str, str, str]]:
    """Return the steps between rows that were timed; one that was not is stepped over."""
    found, last = [], ""
    for slow, fast, words in LADDER:
        if not last and _timed(results, slow):
            last = slow
        if last and _timed(results, fast):
            found.append((last, fast, words if last == slow else f"… {words}"))
            last = fast
    return found


def _timed(results: Results, label: str) -> bool:
    row = results.row(WORKLOAD, label)
    return row is not None and row.timed


def _source(label: str) -> Path | None:
    """Return the file that a row of ours is written in, None if it is not to be had."""
    entry = ENTRIES.get(label)
    if entry is None:
        return None
    path = ROOT / "impls" / entry.source
    if label in RUST:
        tried = (ROOT / "impls" / "rust" / "src" / f"{RUST[label]}.rs", ROOT / f"impls/rust/src/{RUST[label]}/mod.rs")
        return next((each for each in tried if each.is_file()), None)
    return path if path.is_file() else None


def _shares(recordings: Mapping[str, Recorded], slow: str, fast: str) -> list[tuple[str, str, str]]:
    if slow not in recordings or fast not in recordings:
        return []
    before, after = recordings[slow].shares, recordings[fast].shares
    return [
        (category, f"{before.get(category, (0, 0))[0]:.0f} %", f"{after.get(category, (0, 0))[0]:.0f} %")
        for category in dict.fromkeys([*before, *after])
        if before.get(category, (0, 0))[0] >= 0.5 or after.get(category, (0, 0))[0] >= 0.5
    ]
