"""What the page shows of runs: results with their ranks, every ratio of two results, several machines, recordings."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

from bench.analysis import estimates, precision
from bench.conditions import Workload
from bench.output.plots.palette import in_order, look
from bench.output.text import cpus_text, estimate_text, number_text, seconds_text
from bench.records import Estimate, Result, Results, WorkloadResult

STRIP, STRIP_EDGE = 90, 5  # pixels, of the picture of a result's processes
MARKS = {  # of the families, as matplotlib's markers
    "o": '<circle r="5" fill="{}"/>',
    "s": '<rect x="-4.5" y="-4.5" width="9" height="9" fill="{}"/>',
    "D": '<path d="M0-6L6 0L0 6L-6 0Z" fill="{}"/>',
    "^": '<path d="M0-5.5L5.5 4.5H-5.5Z" fill="{}"/>',
    "v": '<path d="M0 5.5L5.5-4.5H-5.5Z" fill="{}"/>',
    "X": '<path transform="rotate(45)" d="M-2-6H2V-2H6V2H2V6H-2V2H-6V-2H-2Z" fill="{}"/>',
    "P": '<path d="M-2-6H2V-2H6V2H2V6H-2V2H-6V-2H-2Z" fill="{}"/>',
}


@dataclass(frozen=True)
class PageRow:
    """A row of a workload's table."""

    result: Result
    colour: str
    mark: Markup  # the family's shape in the implementation's colour
    rank: int = 0  # 1 is the fastest; results that are not significantly different share one; 0 without a time
    points: Sequence[float] = ()  # the speed-up in each process


@dataclass(frozen=True)
class PageWorkload:
    """A workload with its results, the fastest first, and then those that were not timed."""

    workload: Workload
    rows: list[PageRow]
    ratios: dict[str, dict[str, Estimate]]  # by the label of a baseline and of a result: how many times as fast that is
    peak_flops: float | None  # per second
    notes: list[str]


@dataclass(frozen=True)
class Recorded:
    """A recording, as the page needs it."""

    row: str
    workload: str
    title: str
    shares: dict[str, tuple[float, float]]  # by category: per cent and half of its interval, in points
    samples: int
    notes: list[str]
    frames: list[str] = field(default_factory=list)  # names, and …
    tree: list[Any] = field(default_factory=list)  # … [frame, samples, category, children], the first one the root


def workload_facts(results: Results, workload_result: WorkloadResult) -> PageWorkload:
    """Return the facts of a workload."""
    workload, peak = workload_result.workload, workload_result.peak
    workload_rows = results.rows_of(workload.name)
    timed = sorted((result for result in workload_rows if result.timed), key=lambda result: result.seconds or math.inf)
    failed = {result.label: result for result in workload_rows if not result.timed}
    ratios = {
        slow.label: {
            fast.label: precision.ratio(slow.samples, fast.samples, results.settings.precision)
            for fast in timed
            if estimates.pairs(slow.samples, fast.samples)
        }
        for slow in timed
    }
    baseline = results.row(workload.name, workload.baseline_label)
    return PageWorkload(
        workload=workload,
        rows=[
            PageRow(result, *_look(result.label), _rank(ratios[result.label]), _speed_ups(baseline, result))
            for result in timed
        ]
        + [PageRow(failed[label], *_look(label)) for label in in_order(failed)],
        ratios=ratios,
        peak_flops=peak.flops_per_second if peak else None,
        notes=[
            f"{note.implementation}: {note.text}" if note.implementation else note.text
            for note in results.notes
            if workload.name in note.workloads
        ],
    )


def _rank(ratios: Mapping[str, Estimate]) -> int:
    """Return the rank of a result, given how many times as fast as it the others are."""
    return 1 + sum(ratio.low is not None and ratio.low > 1.0 for ratio in ratios.values())


def _speed_ups(baseline: Result | None, result: Result) -> list[float]:
    """Return the speed-up in each process."""
    pairs = estimates.pairs(baseline.samples, result.samples) if baseline else []
    return [estimates.lower_quartile(slow) / estimates.lower_quartile(fast) for slow, fast in pairs]


def _look(label: str) -> tuple[str, Markup]:
    _, colour, marker = look(label)
    return colour, Markup(MARKS[marker]).format(colour)


def strip(points: Sequence[float]) -> list[float]:
    """Return where the speed-ups of processes stand, in pixels; a spread of 2 % or more fills the strip."""
    logs = [math.log(point) for point in points]
    low, high = min(logs, default=0.0), max(logs, default=0.0)
    pixels = (STRIP - 2 * STRIP_EDGE) / max(0.02, high - low)
    return [round(STRIP / 2 + (value - (low + high) / 2) * pixels, 1) for value in logs]


@dataclass(frozen=True)
class Hosts:
    """A table for each workload: a column for each machine, never pooled."""

    names: list[str]
    workloads: dict[str, dict[str, list[tuple[str, str]]]]  # by workload and label, what `_cell` returns


def hosts(runs: Sequence[Results]) -> Hosts | None:
    """Return the newest run of each machine side by side; None if all runs are of one machine."""
    newest = {run.machine.kind: run for run in sorted(runs, key=lambda run: run.started)}.values()
    if len(newest) < 2:
        return None
    workloads: dict[str, dict[str, list[tuple[str, str]]]] = {}
    for run in newest:
        for name in [workload_result.workload.name for workload_result in run.workloads]:
            labels = [result.label for run in newest for result in run.rows_of(name) if not result.is_control]
            workloads[name] = {label: [_cell(run.row(name, label)) for run in newest] for label in in_order(labels)}
    return Hosts([f"{run.machine.cpu_model}, {cpus_text(run.machine)}, {run.date[:10]}" for run in newest], workloads)


def _cell(result: Result | None) -> tuple[str, str]:
    """Return the speed-up, or why there is none, and the time with the share of the peak."""
    if result is None:
        return "–", ""
    if result.seconds is None:
        return result.outcome, ""
    peak = f", {number_text(result.percent_of_peak.value, 2)} % of peak" if result.percent_of_peak else ""
    speed_up = estimate_text(result.speed_up) if result.speed_up else "baseline"
    return speed_up, f"{seconds_text(result.seconds)}{peak}"
