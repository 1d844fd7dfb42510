"""Implementations of one run compared by their paired samples, the most sensitive comparison there is.

Any two can be compared, and with `backprop bench --against=…` each implementation with what it was in another revision.
"""

from collections.abc import Sequence

from bench.analysis import precision
from bench.analysis.compare_runs import Comparison, ResultPair, broken_result, clearest_first, result_change
from bench.analysis.estimates import CONFIDENCE, Samples, paired_ratio, pairs
from bench.analysis.summary import PAIRED_OUTCOMES
from bench.analysis.verdict import AGAINST_MARGIN, SLOWER, Limits, verdict
from bench.records import BEFORE, Estimate, Result, Results
from impls.support.errors import UserError


def compare_implementations(results: Results, slow: str, fast: str) -> dict[str, Estimate]:
    """Return by workload how many times as fast `fast` is as `slow`, two labels, from their paired samples.

    The two are paired with each other. Where one of them was sampled in fewer rounds than the other, this is more exact
    than the ratio of their times, which go by way of the baseline, and may differ from it a little. Raises UserError if
    no workload has samples of both in the same rounds.
    """
    speed_ups = {}
    for workload in [workload_result.workload for workload_result in results.workloads]:
        slow_samples, fast_samples = (
            _samples(results.row(workload.name, label), workload.baseline_label) for label in (slow, fast)
        )
        if pairs(slow_samples, fast_samples):
            speed_ups[workload.name] = precision.ratio(slow_samples, fast_samples, results.settings.precision)
    if not speed_ups:
        timed = ", ".join(dict.fromkeys(result.label for result in results.rows if result.timed))
        raise UserError(f"no workload has both {slow!r} and {fast!r}; expected two of those that were timed: {timed}")
    return speed_ups


def _samples(result: Result | None, baseline_label: str) -> Samples:
    """Return the samples that count: those of a baseline that crashed or hung late do, as in the table."""
    if result is None:
        return []
    counts = result.timed or (result.label == baseline_label and result.outcome in PAIRED_OUTCOMES)
    return result.samples if counts else []


# --- What implementations were in another revision -----------------------------------------------------------------


def look_slower(results: Sequence[Result]) -> bool:
    """Return whether an implementation seems to have become slower, so that it has to be measured once more."""
    ratios = [_ratio(before, after, 1) for before, after in _revisions(results)]
    return any(verdict(ratio, AGAINST_MARGIN) == SLOWER for ratio in ratios)


def compare_with_before(results: Results, limits: Limits | None = None, *, gate: bool = False) -> Comparison:
    """Compare every implementation with what it was; with `gate`, all intervals hold together (Bonferroni)."""
    limits = limits or Limits(fail_on=f"{100 * AGAINST_MARGIN:g}%")
    revisions = [pair for each in results.workloads for pair in _revisions(results.rows_of(each.workload.name))]
    timed = [(before, after) for before, after in revisions if before.timed and after.timed]
    changes = []
    for before, after in timed:
        ratio = _ratio(before, after, len(timed) if gate else 1)
        reason = "" if ratio else "they were not sampled by several processes in the same rounds"
        changes.append(result_change(before, after, limits, ratio, reason))
    return Comparison(
        old=results.against,
        new=results.date,
        remarks=[
            f"{after.label} on {after.workload} is not compared: {before.label}: {before.outcome}: {before.reason}"
            for before, after in revisions
            if after.timed and not before.timed
        ],
        changes=clearest_first(changes),
        broken=[
            broken_result(before, after, limits) for before, after in revisions if before.timed and not after.timed
        ],
    )


def _revisions(results: Sequence[Result]) -> list[ResultPair]:
    """Return what each implementation on a workload was before, if that was measured too, and what it is now."""
    by_label = {result.label: result for result in results}
    before = {label: by_label.get(f"{label}{BEFORE}") for label in by_label}
    return [(earlier, by_label[label]) for label, earlier in before.items() if earlier]


def _ratio(before: Result, after: Result, intervals: int) -> Estimate | None:
    """Return new time over old time, so wide that `intervals` intervals hold together; None without two processes."""
    if len(pairs(after.samples, before.samples)) < 2:
        return None
    return paired_ratio(after.samples, before.samples, 1 - (1 - CONFIDENCE) / intervals)
