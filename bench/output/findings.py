"""What a run found, in sentences; no claim without its number."""

from collections import Counter

from bench.analysis.estimates import failed_controls, measured_controls, paired_ratio, pairs
from bench.analysis.notes import MIN_PROCESSES
from bench.output.text import estimate_text, number_text
from bench.records import Result, Results, WorkloadResult


def findings(results: Results) -> list[str]:
    """Return two sentences: which row is the fastest, and whether the controls held."""
    return [sentence for sentence in (_fastest(results), _controls(results)) if sentence]


def fastest(results: Results, workload_result: WorkloadResult) -> list[Result]:
    """Return the fastest result on a workload, and those that its interval cannot tell from it."""
    timed = [row for row in results.rows_of(workload_result.workload.name) if row.timed and not row.is_control]
    first = min(timed, key=lambda result: result.seconds or 0.0, default=None)
    return [result for result in timed if first and (result is first or _same(first, result))]


def _same(first: Result, second: Result) -> bool:
    """Return whether the interval of the ratio of two results contains 1."""
    return bool(pairs(first.samples, second.samples)) and paired_ratio(first.samples, second.samples).holds(1.0)


def _fastest(results: Results) -> str:
    """Return which implementation is the fastest on most workloads, and by how much on the first of them."""
    winners = {each.workload: fastest(results, each) for each in results.workloads}
    wins = Counter(result.label for best in winners.values() for result in best)
    if not wins:
        return ""
    label, most = wins.most_common(1)[0]
    workload, result = next((w, result) for w, best in winners.items() for result in best if result.label == label)
    alike = [each.label for each in winners[workload] if each is not result]
    timed_workloads = sum(map(bool, winners.values()))
    on = f"on {workload.name} "
    where = f"on all {most} workloads" if most == timed_workloads else f"on {most} of {timed_workloads} workloads"
    if timed_workloads == 1:
        where, on = f"on {workload.name}", ""
    text = f"{label} is the fastest row {where}"
    if alike:
        text += f" (on {workload.name} not significantly different from {', '.join(alike)})"
    if result.speed_up is not None:
        text += f": {on}{estimate_text(result.speed_up)} times as fast as {workload.baseline_label}"
    if result.percent_of_peak is not None:
        text += f", {result.percent_of_peak.value:.0f} % of the peak"
    return f"{text}."


def _controls(results: Results) -> str:
    """Return whether identical code was as fast as itself, and which differences are noise."""
    measured = [row for row in measured_controls(results.rows) if len(row.processes) >= MIN_PROCESSES]
    controls = {row.workload: row.speed_up for row in measured if row.speed_up is not None}
    if not controls:
        return ""
    floor = max(abs(edge - 1.0) for e in controls.values() for edge in (e.low or 1.0, e.high or 1.0))
    noise = f"differences below {number_text(100 * floor, 2)} % are noise"
    failed = [control.workload for control in failed_controls(results.rows)]
    if failed:
        return f"The A/A control failed on {', '.join(failed)}, where identical code seemed to differ: {noise}."
    missed = [workload for workload, estimate in controls.items() if not estimate.holds(1.0)]
    chance = f" (that the interval of {', '.join(missed)} excludes 1 can be chance)" if missed else ""
    passed = "The A/A control" if len(controls) == 1 else f"All {len(controls)} A/A controls"
    return f"{passed} passed{chance}; {noise}."
