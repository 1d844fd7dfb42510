"""Two implementations of one run, compared."""

from dataclasses import dataclass

from bench.analysis import precision
from bench.analysis.estimates import pairs, typical_rounds
from bench.analysis.summary import PAIRED_OUTCOMES
from bench.records import Estimate, Results, Row
from impls.support.errors import UserError


@dataclass(frozen=True)
class RowComparison:
    """How many times as fast an implementation is as another, and how much that rests on."""

    ratio: Estimate
    processes: int  # that both have
    rounds: int  # that they have in common, in a typical process


def compare_rows(results: Results, slow: str, fast: str) -> dict[str, RowComparison]:
    """Return by workload how many times as fast `fast` is as `slow`, two labels, from their paired samples.

    The two are paired with each other. Where one of them was sampled in fewer rounds than the other, this is more exact
    than the ratio of their times, which go by way of the baseline, and may differ from it a little. Raises UserError if
    no workload has samples of both in the same rounds.
    """
    comparisons = {}
    for workload in [each.workload for each in results.workloads]:
        rows = [results.row(workload.name, label) for label in (slow, fast)]
        one, other = (row.samples if row and _is_right(row, workload.baseline_label) else [] for row in rows)
        paired = pairs(one, other)
        if paired:
            ratio = precision.ratio(one, other, results.settings.precision)
            comparisons[workload.name] = RowComparison(ratio, len(paired), typical_rounds(paired))
    if not comparisons:
        timed = ", ".join(dict.fromkeys(row.label for row in results.rows if row.timed))
        raise UserError(f"no workload has both {slow!r} and {fast!r}; expected two of those that were timed: {timed}")
    return comparisons


def _is_right(row: Row, baseline_label: str) -> bool:
    """Return whether what was sampled counts: also of a baseline that failed late, as in the table."""
    return row.timed or (row.label == baseline_label and row.outcome in PAIRED_OUTCOMES)
