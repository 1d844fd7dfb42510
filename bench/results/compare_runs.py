"""Two runs, compared row by row: what became faster or slower, what stayed the same, and what nobody can tell."""

import math
from collections.abc import Iterable

import msgspec

from bench.records import NOT_TIMED_HERE, Outcome, Results, Row, WorkloadResult
from bench.results.fingerprint import machine_differences, remarks, row_difference, workload_difference
from bench.results.limits import Limits
from bench.results.verdict import CANT_TELL, FLOOR, PEAK_FLOOR, SLOWER, Change, change, logs, verdict

PEAK = "the peak"


class RowChange(msgspec.Struct, frozen=True):
    """A row of two runs."""

    workload: str
    label: str
    verdict: str
    limit: float  # the margin that the verdict is about, as a share
    over: str  # the row that both times are relative to: the baseline; of the baseline itself, the peak
    change: Change | None = None
    old_seconds: float | None = None
    new_seconds: float | None = None
    reason: str = ""  # why nothing can be told, or what is wrong with the row now


class Comparison(msgspec.Struct, frozen=True):
    """What two runs have to say about each other."""

    old: str  # date
    new: str
    floor: float
    gate: bool  # whether the intervals are so wide that all of them hold together
    incomparable: list[str]  # why the runs cannot be compared at all; nothing else is said then
    workloads: list[str]  # why workloads cannot be compared
    remarks: list[str]  # what else differs
    changes: list[RowChange]  # the clearest first
    broken: list[RowChange]  # rows that were timed before, and now are wrong, crash, hang or are over the budget
    appeared: list[str]
    vanished: list[str]

    @property
    def failed(self) -> list[RowChange]:
        """Return what a gate fails on: rows that are slower, and rows that broke."""
        return [*self.broken, *self.slower]

    @property
    def slower(self) -> list[RowChange]:
        """Return the rows that became slower."""
        return [each for each in self.changes if each.verdict == SLOWER]

    @property
    def unclear(self) -> list[RowChange]:
        """Return the rows of which nothing can be told."""
        return [each for each in self.changes if each.verdict == CANT_TELL]


def compare_runs(
    old: Results, new: Results, limits: Limits | None = None, floor: float = FLOOR, *, gate: bool = False
) -> Comparison:
    """Compare all rows that two runs have in common; for a `gate`, all intervals are made to hold together."""
    limits = limits or Limits()
    incomparable = machine_differences(old, new)
    pairs = [] if incomparable else list(_workloads(old, new))
    differing = {of.workload.name: words for before, of in pairs if (words := workload_difference(before, of))}
    common = [(before, of) for before, of in pairs if of.workload.name not in differing]
    rows = [found for _, of in common for found in _rows(old, new, of.workload.name)]
    timed = [(one, other) for one, other in rows if one.timed and other.timed and not row_difference(one, other)]
    intervals = len(timed) if gate else 1
    broken = [(one, other) for one, other in rows if one.timed and _is_broken(old, new, other)]
    changes = [_changed(old, new, one, other, limits, floor, max(1, intervals)) for one, other in rows
               if one.timed and (one, other) not in broken]  # fmt: skip
    return Comparison(
        old=old.date,
        new=new.date,
        floor=floor,
        gate=gate,
        incomparable=incomparable,
        workloads=[f"{name}: {words}" for name, words in differing.items()],
        remarks=remarks(old, new),
        changes=sorted(changes, key=lambda each: -(each.change.clearness if each.change else 0.0)),
        broken=[_broken(one, other, limits) for one, other in broken],
        appeared=_only(new, old),
        vanished=_only(old, new),
    )


def _workloads(old: Results, new: Results) -> Iterable[tuple[WorkloadResult, WorkloadResult]]:
    before = {of.workload.name: of for of in old.workloads}
    return ((before[of.workload.name], of) for of in new.workloads if of.workload.name in before)


def _rows(old: Results, new: Results, workload: str) -> Iterable[tuple[Row, Row]]:
    """Return the rows that both runs have, without the control."""
    for row in new.rows_of(workload):
        before = old.row(workload, row.label)
        if before is not None and not row.is_control:
            yield before, row


def _changed(
    old: Results, new: Results, one: Row, other: Row, limits: Limits, floor: float, intervals: int
) -> RowChange:
    limit = limits.of(one.workload, one.label)
    over, before = _relative(old, one)
    _, after = _relative(new, other)
    reason = row_difference(one, other) if other.timed else f"{other.outcome}: {other.reason}"
    floor = max(floor, PEAK_FLOOR) if over == PEAK else floor
    found = None if reason else change(before, after, floor, intervals)
    if found is None and not reason:
        reason = "a run has one process only" if before and after else f"{over} was not sampled"
    return RowChange(
        workload=one.workload,
        label=one.label,
        verdict=CANT_TELL if found is None else verdict(found.ratio, limit),
        limit=limit,
        over=over,
        change=found,
        old_seconds=one.seconds,
        new_seconds=other.seconds,
        reason=reason,
    )


def _relative(run: Results, row: Row) -> tuple[str, list[float]]:
    """Return what a row's time is relative to, and the logarithm of their ratio in each process."""
    of = run.workload(row.workload)
    assert of is not None
    label = of.workload.baseline_label
    if row.label == label:
        if of.peak is None:
            return PEAK, []
        per_flop = math.log(of.peak.flops)  # a call of the peak does not have as many of them in each run
        return PEAK, [value + per_flop for value in logs(row.samples, of.peak.samples)]
    baseline = run.row(row.workload, label)
    return label, logs(row.samples, baseline.samples) if baseline else []


def _is_broken(old: Results, new: Results, row: Row) -> bool:
    if row.outcome == Outcome.TOO_SLOW:  # it takes longer than a call may, and that is not because less is allowed now
        return new.settings.budget_seconds >= old.settings.budget_seconds
    return row.outcome != Outcome.OK and row.outcome not in NOT_TIMED_HERE


def _broken(one: Row, other: Row, limits: Limits) -> RowChange:
    return RowChange(
        workload=other.workload,
        label=other.label,
        verdict=other.outcome,
        limit=limits.of(other.workload, other.label),
        over="",
        old_seconds=one.seconds,
        reason=other.reason,
    )


def _only(run: Results, other: Results) -> list[str]:
    """Return in words what only the first of two runs has: whole workloads, and rows of workloads that both have."""
    known = {of.workload.name for of in other.workloads}
    common = [of.workload.name for of in run.workloads if of.workload.name in known]
    missing = [of.workload.name for of in run.workloads if of.workload.name not in known]
    rows = {(row.workload, row.label) for row in other.rows}
    workloads: dict[str, list[str]] = {}
    for row in run.rows:
        if row.workload in common and (row.workload, row.label) not in rows:
            workloads.setdefault(row.label, []).append(row.workload)
    found = [f"workload {name}" for name in missing]
    return found + [
        label if len(on) == len(common) else f"{label} on {' and '.join(on)}" for label, on in workloads.items()
    ]
