"""What a run found, in sentences; no claim without its number."""

from collections import Counter

from bench.analysis.estimates import failed_controls, measured_controls, paired_ratio, pairs
from bench.analysis.notes import MIN_PROCESSES
from bench.output.text import estimate_text, number_text
from bench.records import Results, Row, WorkloadResult


def findings(results: Results) -> list[str]:
    """Return two sentences: which row is the fastest, and whether the controls held."""
    return [sentence for sentence in (_fastest(results), _controls(results)) if sentence]


def fastest(results: Results, workload_result: WorkloadResult) -> list[Row]:
    """Return the fastest result on a workload, and those that its interval cannot tell from it."""
    rows = [row for row in results.rows_of(workload_result.workload.name) if row.timed and not row.is_control]
    if not rows:
        return []
    first = min(rows, key=lambda row: row.seconds or 0.0)
    return [first, *(row for row in rows if row is not first and _same(first, row))]


def _same(first: Row, row: Row) -> bool:
    """Return whether the interval of the ratio of two results contains 1."""
    return bool(pairs(first.samples, row.samples)) and paired_ratio(first.samples, row.samples).holds(1.0)


def _fastest(results: Results) -> str:
    """Return which implementation is the fastest on most workloads, and by how much on the first of them."""
    winners = {each.workload: rows for each in results.workloads if (rows := fastest(results, each))}
    if not winners:
        return ""
    label, most = Counter(row.label for rows in winners.values() for row in rows).most_common(1)[0]
    workload, rows = next((w, rows) for w, rows in winners.items() if label in [row.label for row in rows])
    row = next(row for row in rows if row.label == label)
    others = [other.label for other in rows if other is not row]
    where = f"on all {most} workloads" if most == len(winners) else f"on {most} of {len(winners)} workloads"
    on = f"on {workload.name} "
    if len(winners) == 1:
        where, on = f"on {workload.name}", ""
    text = f"{label} is the fastest row {where}"
    if others:
        text += f" (on {workload.name} not significantly different from {', '.join(others)})"
    if row.speed_up is not None:
        text += f": {on}{estimate_text(row.speed_up)} times as fast as {workload.baseline_label}"
    if row.percent_of_peak is not None:
        text += f", {row.percent_of_peak.value:.0f} % of the peak"
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
