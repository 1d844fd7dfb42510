"""Two runs compared: what became faster or slower, what stayed the same, and what is inconclusive.

Runs are comparable on the same processor with as many CPUs, the same BLAS and the same data; a workload, with the same
sizes, examples and baseline; a result, with the same BLAS and as many threads.
"""

import math
from collections.abc import Mapping

import msgspec

from bench.analysis.verdict import FLOOR, INCONCLUSIVE, PEAK_FLOOR, SLOWER, Limits, change, logs, verdict
from bench.records import NOT_TIMED_HERE, Estimate, Outcome, Result, Results

PEAK = "the peak"
ResultPair = tuple[Result, Result]  # a result in the old run and in the new one


class ResultChange(msgspec.Struct, frozen=True):
    """A result in two runs."""

    workload: str
    label: str
    verdict: str  # the outcome, of a result that is no longer timed
    limit: float  # the share within which a change does not matter
    ratio: Estimate | None = None  # new time over old time, each relative to the baseline
    old_seconds: float | None = None
    new_seconds: float | None = None
    reason: str = ""  # why there is no ratio


class Comparison(msgspec.Struct, frozen=True):
    """What changed from one run to another."""

    old: str  # date or revision
    new: str
    incomparable: list[str] = []  # why the runs cannot be compared at all; nothing else is filled in then
    workloads: list[str] = []  # why workloads cannot be compared
    remarks: list[str] = []  # other differences, which may explain a change
    changes: list[ResultChange] = []  # the clearest first
    broken: list[ResultChange] = []  # timed before, and now incorrect, crashed, hung or too slow
    appeared: list[str] = []
    vanished: list[str] = []

    @property
    def failed(self) -> list[ResultChange]:
        """Return what a gate fails on: what broke, and what became slower."""
        return [*self.broken, *(change for change in self.changes if change.verdict == SLOWER)]

    @property
    def unclear(self) -> list[ResultChange]:
        """Return the inconclusive results."""
        return [change for change in self.changes if change.verdict == INCONCLUSIVE]


def compare_runs(
    old: Results, new: Results, limits: Limits | None = None, floor: float = FLOOR, *, gate: bool = False
) -> Comparison:
    """Compare all results that two runs have in common; with `gate`, all intervals hold together (Bonferroni)."""
    limits = limits or Limits()
    incomparable = differences(machine_facts(old), machine_facts(new), "unknown")
    if incomparable:
        return Comparison(old.date, new.date, incomparable, remarks=remarks(old, new))
    differing = _differing_workloads(old, new)
    pairs = [pair for pair in _common_results(old, new) if pair[0].timed and pair[1].workload not in differing]
    comparable = sum(after.timed and not result_difference(before, after) for before, after in pairs)
    changes, broken = [], []
    for before, after in pairs:
        if _is_broken(old, new, after):
            broken.append(broken_result(before, after, limits))
        else:
            ratio, reason = _ratio(old, new, (before, after), floor, comparable if gate else 1)
            changes.append(result_change(before, after, limits, ratio, reason))
    return Comparison(
        old=old.date,
        new=new.date,
        workloads=[f"{name}: {difference}" for name, difference in differing.items()],
        remarks=remarks(old, new),
        changes=clearest_first(changes),
        broken=broken,
        appeared=_only_in_first(new, old),
        vanished=_only_in_first(old, new),
    )


def clearest_first(changes: list[ResultChange]) -> list[ResultChange]:
    """Return the changes by how many half-widths of its interval each is away from none; those without one last."""

    def clearness(change: ResultChange) -> float:
        if change.ratio is None or change.ratio.high is None:
            return -1.0
        half_width = math.log(change.ratio.high / change.ratio.value)
        return abs(math.log(change.ratio.value)) / half_width if half_width else math.inf

    return sorted(changes, key=clearness, reverse=True)


def result_change(before: Result, after: Result, limits: Limits, ratio: Estimate | None, reason: str) -> ResultChange:
    """Return how a result changed, given the ratio of its times or the reason why there is none."""
    limit = limits.limit(after.workload, after.label)
    word = verdict(ratio, limit)
    return ResultChange(after.workload, after.label, word, limit, ratio, before.seconds, after.seconds, reason)


def broken_result(before: Result, after: Result, limits: Limits) -> ResultChange:
    """Return a result that was timed before and failed now."""
    limit = limits.limit(after.workload, after.label)
    return ResultChange(
        after.workload, after.label, after.outcome, limit, old_seconds=before.seconds, reason=after.reason
    )


def _common_results(old: Results, new: Results) -> list[ResultPair]:
    """Return the results that both runs have, without the control, in the new run's order."""
    pairs = [
        (old.row(after.workload, after.label), after)
        for workload_result in new.workloads
        for after in new.rows_of(workload_result.workload.name)
        if old.workload(after.workload) and not after.is_control
    ]
    return [(before, after) for before, after in pairs if before]


def _ratio(old: Results, new: Results, pair: ResultPair, floor: float, intervals: int) -> tuple[Estimate | None, str]:
    """Return how many times as long a result takes as before, or the reason why that is not known."""
    before, after = pair
    reason = result_difference(before, after) if after.timed else f"{after.outcome}: {after.reason}"
    if reason:
        return None, reason
    reference, old_logs = _relative_logs(old, before)
    _, new_logs = _relative_logs(new, after)
    ratio = change(old_logs, new_logs, max(floor, PEAK_FLOOR) if reference == PEAK else floor, intervals)
    return ratio, "" if ratio else f"not sampled together with {reference} in two processes of each run"


def _relative_logs(run: Results, result: Result) -> tuple[str, list[float]]:
    """Return what a result's time is relative to, the baseline or the peak, and the logarithm in each process."""
    workload_result = run.workload(result.workload)
    assert workload_result is not None
    baseline_label, peak = workload_result.workload.baseline_label, workload_result.peak
    if result.label == baseline_label:  # The operations of a call of the peak differ from run to run.
        return PEAK, [log + math.log(peak.flops) for log in logs(result.samples, peak.samples)] if peak else []
    baseline = run.row(result.workload, baseline_label)
    return baseline_label, logs(result.samples, baseline.samples) if baseline else []


def _is_broken(old: Results, new: Results, result: Result) -> bool:
    """Return whether a result failed now; too slow counts, unless a call is only allowed to take less time now."""
    if result.outcome == Outcome.TOO_SLOW:
        return new.settings.budget_seconds >= old.settings.budget_seconds
    return result.outcome != Outcome.OK and result.outcome not in NOT_TIMED_HERE


def _only_in_first(first: Results, second: Results) -> list[str]:
    """Return what only the first run has: workloads, and implementations on workloads that both have."""
    names = [workload_result.workload.name for workload_result in first.workloads]
    workloads_by_label: dict[str, list[str]] = {}
    for result in first.rows:
        if second.workload(result.workload) and not second.row(result.workload, result.label):
            workloads_by_label.setdefault(result.label, []).append(result.workload)
    missing = [f"workload {name}" for name in names if not second.workload(name)]
    return missing + [f"{label} on {', '.join(workloads)}" for label, workloads in workloads_by_label.items()]


# --- What has to be the same -------------------------------------------------------------------------------------


def machine_facts(run: Results) -> dict[str, str]:
    """Return what has to be the same for two runs to be comparable, by name: nothing that changes from hour to hour."""
    machine = run.machine
    return {
        "processor": machine.cpu_model,
        "usable CPUs": str(machine.usable_cpus or ""),
        "CPU quota": str(machine.cpu_quota or "none"),
        "NumPy's BLAS": machine.numpy_blas,
        "data": run.data,
    }


def versions(run: Results) -> dict[str, str]:
    """Return the versions of Python and of the packages in a run, by name."""
    return {"Python": run.machine.python, **run.machine.versions}


def _differing_workloads(old: Results, new: Results) -> dict[str, str]:
    """Return how workloads of one name differ, by name."""
    before, after = _descriptions(old), _descriptions(new)
    return {
        name: f"{before[name]} before; {description} now"
        for name, description in after.items()
        if before.get(name, description) != description
    }


def _descriptions(run: Results) -> dict[str, str]:
    """Return in words what has to be the same of each workload, by name."""
    return {
        result.workload.name: f"{result.workload.describe()}, {result.examples} examples, "
        f"over {result.workload.baseline_label}"
        for result in run.workloads
    }


def result_difference(old: Result, new: Result) -> str:
    """Return what makes a result incomparable, another BLAS or another number of threads; "" if nothing does."""
    if old.threads != new.threads:
        return f"{old.threads} threads before, {new.threads} now"
    before, after = _blas(old), _blas(new)
    return f"{before} before, {after} now" if before and after and before != after else ""


def _blas(result: Result) -> str:
    names = {f"{pool.internal_api} {pool.version or ''}" for pool in result.thread_pools if pool.user_api == "blas"}
    return ", ".join(sorted(name.strip() for name in names))


def remarks(old: Results, new: Results) -> list[str]:
    """Return which versions and environment variables differ: what is compared, or the reason for all changes."""
    variables = differences(old.machine.variables or {}, new.machine.variables or {}, "not set")
    return differences(versions(old), versions(new), "missing") + variables


def differences(before: Mapping[str, str], after: Mapping[str, str], missing: str) -> list[str]:
    """Return which values differ, as `Python: 3.11.7 before, 3.13.0 now`; `missing` is for one that is not there."""
    values = {name: (before.get(name) or missing, after.get(name) or missing) for name in {**before, **after}}
    return [f"{name}: {was} before, {now} now" for name, (was, now) in values.items() if was != now]
