"""The optimization steps: what each one gains, where the time went, and the two sources side by side."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from bench.analysis.compare_implementations import compare_implementations
from bench.output.page.facts import Recorded
from bench.records import Estimate, Results
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
RUST = {"rust_fused": "impls/rust/src/fused/mod.rs"}  # the sources of implementations in Rust


@dataclass(frozen=True)
class OptimizationStep:
    """Two implementations of the ladder that follow each other."""

    slow: str
    fast: str
    words: str
    ratio: Estimate
    shares: list[tuple[str, float, float]]  # category, per cent before, per cent after
    left_file: str
    right_file: str
    sources: Markup  # a table of both, "" if one is not to be had


def ladder(results: Results, recordings: Sequence[Recorded]) -> list[OptimizationStep]:
    """Return the steps whose two implementations were timed on the book's network."""
    shares = {recording.row: recording.shares for recording in recordings if recording.workload == WORKLOAD}
    steps = []
    for slow, fast, words in _steps(results):
        left, right = _source(slow), _source(fast)
        steps.append(
            OptimizationStep(
                slow=slow,
                fast=fast,
                words=words,
                ratio=compare_implementations(results, slow, fast)[WORKLOAD],
                shares=_shares(shares[slow], shares[fast]) if {slow, fast} <= shares.keys() else [],
                left_file=left.name,
                right_file=right.name,
                sources=side_by_side(left, right) if left.is_file() and right.is_file() else Markup(),
            )
        )
    return steps


def _steps(results: Results) -> Iterator[tuple[str, str, str]]:
    """Return the steps between implementations that were timed; one that was not is stepped over."""
    timed = {result.label for result in results.rows_of(WORKLOAD) if result.timed}
    last = ""
    for slow, fast, words in LADDER:
        if not last and slow in timed:
            last = slow
        if last and fast in timed:
            yield last, fast, words if last == slow else f"… {words}"
            last = fast


def _source(label: str) -> Path:
    """Return the file that an implementation of ours is written in; a wheel has none of Rust's."""
    return ROOT / RUST.get(label, f"impls/{ENTRIES[label].source}")


def _shares(
    before: Mapping[str, tuple[float, float]], after: Mapping[str, tuple[float, float]]
) -> list[tuple[str, float, float]]:
    """Return the shares of categories that have half a per cent or more before or after."""
    percents = [(name, before.get(name, (0.0,))[0], after.get(name, (0.0,))[0]) for name in {**before, **after}]
    return [shares for shares in percents if max(shares[1:]) >= 0.5]


def side_by_side(left: Path, right: Path) -> Markup:
    """Return a table of two sources beside each other: what differs is marked, equal lines far from it are left out."""
    left_lines, right_lines = (path.read_text(encoding="utf-8").splitlines() for path in (left, right))
    table = difflib.HtmlDiff().make_table(left_lines, right_lines, left.name, right.name, context=True, numlines=3)
    return Markup(table.replace("&nbsp;", " "))  # It escapes the text; code can be copied.
