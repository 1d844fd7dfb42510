"""Rows beside what they were in another revision, from samples of the same rounds: the most sensitive comparison."""

import math
from collections.abc import Sequence

from bench.records import BEFORE, Results, Row
from bench.results.compare_runs import Comparison, RowChange
from bench.results.estimates import CONFIDENCE, paired_ratio, pairs
from bench.results.limits import AGAINST_MARGIN, Limits
from bench.results.verdict import CANT_TELL, SLOWER, Change, verdict


def with_before(rows: Sequence[Row]) -> list[tuple[Row, Row]]:
    """Return each row of a workload that has one, with what it was before."""
    by_label = {row.label: row for row in rows}
    return [(row, before) for row in rows if (before := by_label.get(f"{row.label}{BEFORE}"))]


def look_slower(rows: Sequence[Row]) -> bool:
    """Return whether a row of a workload seems to have become slower, so that it has to be measured once more."""
    return any(_verdict(row, before, AGAINST_MARGIN, 1)[0] == SLOWER for row, before in with_before(rows))


def compare_with_before(results: Results, limits: Limits | None = None, *, gate: bool = False) -> Comparison:
    """Compare every row with what it was; for a `gate`, all intervals are made to hold together."""
    limits = limits or Limits(fail_on=f"{100 * AGAINST_MARGIN:g}%")
    found = [pair for of in results.workloads for pair in with_before(results.rows_of(of.workload.name))]
    timed = [pair for pair in found if all(row.timed for row in pair)]
    changes = []
    for row, before in timed:
        limit = limits.of(row.workload, row.label)
        word, change = _verdict(row, before, limit, len(timed) if gate else 1)
        changes.append(
            RowChange(
                workload=row.workload,
                label=row.label,
                verdict=word,
                limit=limit,
                over=before.label,
                change=change,
                old_seconds=before.seconds,
                new_seconds=row.seconds,
                reason="" if change else "they were not sampled by several processes in the same rounds",
            )
        )
    broken = [
        RowChange(row.workload, row.label, row.outcome, limits.of(row.workload, row.label), "", reason=row.reason)
        for row, before in found
        if before.timed and not row.timed
    ]
    return Comparison(
        old=results.against,
        new=results.date,
        floor=0.0,
        gate=gate,
        incomparable=[],
        workloads=[],
        remarks=[
            f"{row.label} on {row.workload} is not compared: {before.label}: {before.outcome}: {before.reason}"
            for row, before in found
            if row.timed and not before.timed
        ],
        changes=sorted(changes, key=lambda each: -(each.change.clearness if each.change else 0.0)),
        broken=broken,
        appeared=[],
        vanished=[],
    )


def _verdict(row: Row, before: Row, limit: float, intervals: int) -> tuple[str, Change | None]:
    """Return one word for how a row's time changed, and the change; so wide that `intervals` hold together."""
    if len(pairs(row.samples, before.samples)) < 2:
        return CANT_TELL, None
    ratio = paired_ratio(row.samples, before.samples, 1 - (1 - CONFIDENCE) / intervals)
    half_width = math.log((ratio.high or ratio.value) / ratio.value)
    clearness = abs(math.log(ratio.value)) / half_width if half_width else math.inf
    return verdict(ratio, limit), Change(ratio, clearness)
