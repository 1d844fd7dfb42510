"""What a run found, in sentences; no claim without its number."""

from collections import Counter

from bench.records import Results, Row, WorkloadResult
from bench.report.text import estimate_text, number_text
from bench.results.controls import controls_off, measured_controls
from bench.results.estimates import paired_ratio, pairs
from bench.results.notes import MIN_PROCESSES


def findings(results: Results) -> list[str]:
    """Return two sentences: which row is the fastest, and whether the controls held."""
    return [sentence for sentence in (_fastest(results), _controls(results)) if sentence]


def fastest(results: Results, of: WorkloadResult) -> list[Row]:
    """Return the fastest row of a workload, and those that its interval cannot tell from it."""
    rows = [row for row in results.rows_of(of.workload.name) if row.timed and not row.is_control]
    if not rows:
        return []
    first = min(rows, key=lambda row: row.seconds or 0.0)
    return [first, *(row for row in rows if row is not first and _same(first, row))]


def _same(one: Row, other: Row) -> bool:
    """Return whether the interval of the ratio of two rows holds 1."""
    return bool(pairs(one.samples, other.samples)) and paired_ratio(one.samples, other.samples).holds(1.0)


def _fastest(results: Results) -> str:
    winners = {of.workload.name: rows for of in results.workloads if (rows := fastest(results, of))}
    if not winners:
        return ""
    count = Counter(row.label for rows in winners.values() for row in rows)
    label, most = count.most_common(1)[0]
    shown = next(of for of in results.workloads if label in [row.label for row in winners.get(of.workload.name, [])])
    row = next(row for row in winners[shown.workload.name] if row.label == label)
    others = [row.label for row in winners[shown.workload.name] if row.label != label]
    where = f"on all {len(winners)} workloads" if most == len(winners) > 1 else f"on {most} of {len(winners)} workloads"
    if len(winners) == 1:
        where = f"on {shown.workload.name}"
    text = f"{label} is the fastest row {where}"
    if others:
        text += f" (on {shown.workload.name} not to be told from {', '.join(others)})"
    if row.speed_up is not None:
        on = "" if len(winners) == 1 else f"on {shown.workload.name} "
        text += f": {on}{estimate_text(row.speed_up)} times as fast as {shown.workload.baseline_label}"
    if row.percent_of_peak is not None:
        text += f", {row.percent_of_peak.value:.0f} % of the peak"
    return text + "."


def _controls(results: Results) -> str:
    measured = [row for row in measured_controls(results.rows) if len(row.processes) >= MIN_PROCESSES]
    controls = {row.workload: row.speed_up for row in measured if row.speed_up is not None}
    if not controls:
        return ""
    floor = max(abs(edge - 1.0) for e in controls.values() for edge in (e.low or 1.0, e.high or 1.0))
    off = controls_off(results.rows)
    noise = f"differences below {number_text(100 * floor, 2)} % are noise"
    if off:
        return f"The control does not hold on {', '.join(off)}, where identical code seemed to differ: {noise}."
    what = "The control holds" if len(controls) == 1 else f"All {len(controls)} controls hold"
    missed = [workload for workload, estimate in controls.items() if not estimate.holds(1.0)]
    chance = f" (that the interval of {', '.join(missed)} excludes 1 can be chance)" if missed else ""
    if len(missed) > 1:  # nor are they independent
        chance = f" (that those of {', '.join(missed)} exclude 1 can be chance: they come from the same processes)"
    return f"{what}{chance}: identical code is as fast as itself; {noise}."
