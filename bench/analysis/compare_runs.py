"""Two runs compared: what became faster or slower, what stayed the same, and what nobody can tell.

Wholes are comparable on the same processor with as many CPUs, the same BLAS and the same data; a workload, with the
same sizes, examples and baseline; a result, with the same BLAS and as many threads.
"""

import math
from collections.abc import Mapping

import msgspec

from bench.analysis.verdict import CANT_TELL, FLOOR, PEAK_FLOOR, SLOWER, Change, Limits, change, logs, verdict
from bench.records import NOT_TIMED_HERE, Outcome, Results, Row, WorkloadResult

PEAK = "the peak"
ALIKE_RATE = 0.05  # by which the peak may differ between two runs on the same machine, before it is said
Pair = tuple[Row, Row]  # a result in the old run and in the new one


class RowChange(msgspec.Struct, frozen=True):
    """A result in two runs."""

    workload: str
    label: str
    verdict: str
    limit: float  # the margin that the verdict is about, as a share
    over: str  # what both times are relative to: the baseline; of the baseline itself, the peak
    change: Change | None = None
    old_seconds: float | None = None
    new_seconds: float | None = None
    reason: str = ""  # why nothing can be told, or what is wrong with the result now


class Comparison(msgspec.Struct, frozen=True):
    """What two runs have to say about each other."""

    old: str  # date
    new: str
    floor: float
    gate: bool  # whether the intervals are so wide that all of them hold together
    incomparable: list[str] = []  # why the runs cannot be compared at all; nothing else is said then
    workloads: list[str] = []  # why workloads cannot be compared
    remarks: list[str] = []  # what else differs
    changes: list[RowChange] = []  # the clearest first
    broken: list[RowChange] = []  # timed before, and now wrong, crashed, hung or over the budget
    appeared: list[str] = []
    vanished: list[str] = []

    @property
    def failed(self) -> list[RowChange]:
        """Return what a gate fails on: what broke, and what became slower."""
        return [*self.broken, *(each for each in self.changes if each.verdict == SLOWER)]

    @property
    def unclear(self) -> list[RowChange]:
        """Return the results of which nothing can be told."""
        return [each for each in self.changes if each.verdict == CANT_TELL]


def compare_runs(
    old: Results, new: Results, limits: Limits | None = None, floor: float = FLOOR, *, gate: bool = False
) -> Comparison:
    """Compare all results that two runs have in common; for a `gate`, all intervals are made to hold together."""
    limits = limits or Limits()
    incomparable = machine_differences(old, new)
    if incomparable:
        return Comparison(old.date, new.date, floor, gate, incomparable, remarks=remarks(old, new))
    differing = _differing_workloads(old, new)
    pairs = [pair for pair in _common_rows(old, new) if pair[0].timed and pair[1].workload not in differing]
    broken = [pair for pair in pairs if _is_broken(old, new, pair[1])]
    intervals = sum(after.timed and not row_difference(before, after) for before, after in pairs) if gate else 1
    changes = [_changed(old, new, pair, limits, floor, max(1, intervals)) for pair in pairs if pair not in broken]
    return Comparison(
        old=old.date,
        new=new.date,
        floor=floor,
        gate=gate,
        workloads=[f"{name}: {difference}" for name, difference in differing.items()],
        remarks=remarks(old, new),
        changes=clearest_first(changes),
        broken=[broken_row(*pair, limits) for pair in broken],
        appeared=_only(new, old),
        vanished=_only(old, new),
    )


def clearest_first(changes: list[RowChange]) -> list[RowChange]:
    """Return the changes, the clearest first and those that cannot be told last."""
    return sorted(changes, key=lambda each: -(each.change.clearness if each.change else 0.0))


def row_change(before: Row, after: Row, limits: Limits, over: str, change: Change | None, reason: str) -> RowChange:
    """Return what can be said of a result that may have changed; `reason` tells why nothing can."""
    limit = limits.limit(after.workload, after.label)
    return RowChange(
        workload=after.workload,
        label=after.label,
        verdict=verdict(change.ratio if change else None, limit),
        limit=limit,
        over=over,
        change=change,
        old_seconds=before.seconds,
        new_seconds=after.seconds,
        reason=reason,
    )


def broken_row(before: Row, after: Row, limits: Limits) -> RowChange:
    """Return a result that was timed before and failed now."""
    change = row_change(before, after, limits, "", None, after.reason)
    return msgspec.structs.replace(change, verdict=after.outcome, new_seconds=None)


def _common_rows(old: Results, new: Results) -> list[Pair]:
    """Return the results that both runs have, without the control, in the new run's order."""
    names = {each.workload.name for each in old.workloads} & {each.workload.name for each in new.workloads}
    before = {(row.workload, row.label): row for row in old.rows if row.workload in names and not row.is_control}
    return [
        (before[row.workload, row.label], row)
        for workload_result in new.workloads
        for row in new.rows_of(workload_result.workload.name)
        if (row.workload, row.label) in before
    ]


def _changed(old: Results, new: Results, pair: Pair, limits: Limits, floor: float, intervals: int) -> RowChange:
    before, after = pair
    over, old_logs = _relative(old, before)
    _, new_logs = _relative(new, after)
    reason = row_difference(before, after) if after.timed else f"{after.outcome}: {after.reason}"
    if not reason and not (old_logs and new_logs):
        reason = f"{over} was not sampled"
    floor = max(floor, PEAK_FLOOR) if over == PEAK else floor
    measured = None if reason else change(old_logs, new_logs, floor, intervals)
    if measured is None and not reason:
        reason = "a run has one process only"
    return row_change(before, after, limits, over, measured, reason)


def _relative(run: Results, row: Row) -> tuple[str, list[float]]:
    """Return what a result's time is relative to, and the logarithm of their ratio in each process."""
    workload_result = run.workload(row.workload)
    assert workload_result is not None
    baseline_label, peak = workload_result.workload.baseline_label, workload_result.peak
    if row.label == baseline_label:
        if peak is None:
            return PEAK, []
        per_flop = math.log(peak.flops)  # a call of the peak does not have as many of them in each run
        return PEAK, [value + per_flop for value in logs(row.samples, peak.samples)]
    baseline = run.row(row.workload, baseline_label)
    return baseline_label, logs(row.samples, baseline.samples) if baseline else []


def _is_broken(old: Results, new: Results, row: Row) -> bool:
    if row.outcome == Outcome.TOO_SLOW:  # it takes longer than a call may, and that is not because less is allowed now
        return new.settings.budget_seconds >= old.settings.budget_seconds
    return row.outcome != Outcome.OK and row.outcome not in NOT_TIMED_HERE


def _only(run: Results, other: Results) -> list[str]:
    """Return in words what only the first of two runs has: whole workloads, and rows of workloads that both have."""
    known = {each.workload.name for each in other.workloads}
    names = [each.workload.name for each in run.workloads]
    common = [name for name in names if name in known]
    by_label: dict[str, list[str]] = {}
    for row in run.rows:
        if row.workload in common and other.row(row.workload, row.label) is None:
            by_label.setdefault(row.label, []).append(row.workload)
    return [f"workload {name}" for name in names if name not in known] + [
        label if len(on) == len(common) else f"{label} on {' and '.join(on)}" for label, on in by_label.items()
    ]


# --- What has to be the same -------------------------------------------------------------------------------------


def machine_differences(old: Results, new: Results) -> list[str]:
    """Return in words what makes two runs incomparable as wholes; only facts that do not change from hour to hour."""
    return _differences(_facts(old), _facts(new), "unknown")


def _facts(run: Results) -> dict[str, str]:
    machine = run.machine
    return {
        "processor": machine.cpu_model,
        "usable CPUs": str(machine.usable_cpus or ""),
        "CPU quota": str(machine.cpu_quota or "none"),
        "NumPy's BLAS": machine.numpy_blas,
        "data": run.data,
    }


def _differing_workloads(old: Results, new: Results) -> dict[str, str]:
    """Return in words how workloads of one name differ, by their names."""
    differences = {}
    for after in new.workloads:
        before = old.workload(after.workload.name)
        difference = workload_difference(before, after) if before else ""
        if difference:
            differences[after.workload.name] = difference
    return differences


def workload_difference(old: WorkloadResult, new: WorkloadResult) -> str:
    """Return in words how two workloads of one name differ, "" if they do not."""
    before, after = (
        f"{each.workload.describe()}, {each.examples} examples, over {each.workload.baseline_label}"
        for each in (old, new)
    )
    return "" if before == after else f"{before} before; {after} now"


def row_difference(old: Row, new: Row) -> str:
    """Return in words what makes a result incomparable, another BLAS or other threads; "" if nothing does."""
    if old.threads != new.threads:
        return f"{old.threads} threads before, {new.threads} now"
    before, after = _blas(old), _blas(new)
    if before and after and before != after:
        return f"{before} before, {after} now"
    return ""


def _blas(row: Row) -> str:
    names = {f"{pool.internal_api} {pool.version or ''}" for pool in row.thread_pools if pool.user_api == "blas"}
    return ", ".join(sorted(name.strip() for name in names))


def remarks(old: Results, new: Results) -> list[str]:
    """Return in words what else differs: it may be the very thing that is compared, or the reason for all of it."""
    before, after = old.machine, new.machine
    old_versions, new_versions = ({"Python": each.python, **each.versions} for each in (before, after))
    differences = _differences(old_versions, new_versions, "missing")
    if before.variables is not None and after.variables is not None:
        differences += _differences(before.variables, after.variables, "not set")
    for workload_result in new.workloads:
        name = workload_result.workload.name
        rates = [each.peak.flops_per_second for each in (old.workload(name), workload_result) if each and each.peak]
        if len(rates) == 2 and rates[0] and rates[1] and abs(rates[1] / rates[0] - 1.0) > ALIKE_RATE:
            differences.append(f"{name}: the peak is {rates[1] / rates[0]:.2f} times what it was: another clock rate")
    return differences


def _differences(before: Mapping[str, str], after: Mapping[str, str], nothing: str) -> list[str]:
    """Return in words which values differ, those that are missing in the word for nothing."""
    values = {name: (before.get(name) or nothing, after.get(name) or nothing) for name in {**before, **after}}
    return [f"{name}: {was} before, {now} now" for name, (was, now) in values.items() if was != now]
