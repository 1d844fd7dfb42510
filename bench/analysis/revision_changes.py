"""Implementations beside what they were in another revision, from samples of the same rounds: most sensitive of all."""

import math
from collections.abc import Sequence

from bench.analysis.compare_runs import Comparison, Pair, broken_row, clearest_first, row_change
from bench.analysis.estimates import CONFIDENCE, paired_ratio, pairs
from bench.analysis.verdict import AGAINST_MARGIN, SLOWER, Change, Limits, verdict
from bench.records import BEFORE, Results, Row


def with_before(rows: Sequence[Row]) -> list[Pair]:
    """Return what each implementation on a workload was before, if that was timed too, and what it is now."""
    by_label = {row.label: row for row in rows}
    return [(by_label[f"{row.label}{BEFORE}"], row) for row in rows if f"{row.label}{BEFORE}" in by_label]


def look_slower(rows: Sequence[Row]) -> bool:
    """Return whether an implementation seems to have become slower, so that it has to be measured once more."""
    changes = [_change(before, after, 1) for before, after in with_before(rows)]
    return any(change and verdict(change.ratio, AGAINST_MARGIN) == SLOWER for change in changes)


def compare_with_before(results: Results, limits: Limits | None = None, *, gate: bool = False) -> Comparison:
    """Compare every implementation with what it was; for a `gate`, all intervals are made to hold together."""
    limits = limits or Limits(fail_on=f"{100 * AGAINST_MARGIN:g}%")
    both = [pair for each in results.workloads for pair in with_before(results.rows_of(each.workload.name))]
    timed = [(before, after) for before, after in both if before.timed and after.timed]
    changes = []
    for before, after in timed:
        change = _change(before, after, len(timed) if gate else 1)
        reason = "" if change else "they were not sampled by several processes in the same rounds"
        changes.append(row_change(before, after, limits, before.label, change, reason))
    return Comparison(
        old=results.against,
        new=results.date,
        floor=0.0,
        gate=gate,
        remarks=[
            f"{after.label} on {after.workload} is not compared: {before.label}: {before.outcome}: {before.reason}"
            for before, after in both
            if after.timed and not before.timed
        ],
        changes=clearest_first(changes),
        broken=[broken_row(before, after, limits) for before, after in both if before.timed and not after.timed],
    )


def _change(before: Row, after: Row, intervals: int) -> Change | None:
    """Return how a time changed, so wide that `intervals` intervals hold together; None without two processes."""
    if len(pairs(after.samples, before.samples)) < 2:
        return None
    ratio = paired_ratio(after.samples, before.samples, 1 - (1 - CONFIDENCE) / intervals)
    half_width = math.log((ratio.high or ratio.value) / ratio.value)
    return Change(ratio, abs(math.log(ratio.value)) / half_width if half_width else math.inf)
