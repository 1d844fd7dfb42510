"""What the page shows of runs: results with their ranks, every ratio of two results, several machines, recordings."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from markupsafe import Markup

from bench.analysis import estimates, precision
from bench.analysis.history import Trend
from bench.output.plots.palette import in_order, look
from bench.output.text import cpus_text, estimate_text, number_text, seconds_text
from bench.records import Results, Row, Workload, WorkloadResult

WIDTH, EDGE = 180, 8  # pixels, of the picture of a speed-up, as in report.js
STRIP, STRIP_EDGE = 90, 5  # pixels, of the picture of a result's processes
COURSE, COURSE_HEIGHT = 220, 30  # pixels, of the picture of an implementation from run to run
LEAST_REACH = 0.05  # of a speed-up, between the bottom and the top of that picture: noise is not blown up to fill it
MARKS = {  # of the families, as matplotlib's markers
    "o": '<circle r="5" fill="{}"/>',
    "s": '<rect x="-4.5" y="-4.5" width="9" height="9" fill="{}"/>',
    "D": '<path d="M0-6L6 0L0 6L-6 0Z" fill="{}"/>',
    "^": '<path d="M0-5.5L5.5 4.5H-5.5Z" fill="{}"/>',
    "v": '<path d="M0 5.5L5.5-4.5H-5.5Z" fill="{}"/>',
    "X": '<path transform="rotate(45)" d="M-2-6H2V-2H6V2H2V6H-2V2H-6V-2H-2Z" fill="{}"/>',
    "P": '<path d="M-2-6H2V-2H6V2H2V6H-2V2H-6V-2H-2Z" fill="{}"/>',
}
Ratio = tuple[float, float | None, float | None]  # value, low, high


@dataclass(frozen=True)
class PageRow:
    """A row of a workload's table."""

    result: Row
    colour: str
    mark: Markup  # the family's shape in the implementation's colour
    rank: int  # 1 is the fastest; results that cannot be told apart share one; 0 without a time
    points: list[float]  # the speed-up in each process


@dataclass(frozen=True)
class PageWorkload:
    """A workload with its results, the fastest first, and then those that were not timed."""

    workload: Workload
    rows: list[PageRow]
    ratios: dict[str, dict[str, Ratio]]  # by the label of a baseline and of a result: how many times as fast that is
    peak_flops: float | None  # per second
    notes: list[str]

    @property
    def timed(self) -> list[PageRow]:
        """Return the rows with a time."""
        return [row for row in self.rows if row.result.timed]


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
    rows = results.rows_of(workload.name)
    timed = sorted((row for row in rows if row.timed), key=lambda row: row.seconds or math.inf)
    failed = {row.label: row for row in rows if not row.timed}
    ratios = _ratios(timed, results.settings.precision)
    baseline = results.row(workload.name, workload.baseline_label)
    return PageWorkload(
        workload=workload,
        rows=[_row(row, _rank(ratios[row.label]), baseline) for row in timed]
        + [_row(failed[label], 0, None) for label in in_order(failed)],
        ratios=ratios,
        peak_flops=peak.flops_per_second if peak else None,
        notes=[
            f"{note.implementation}: {note.text}" if note.implementation else note.text
            for note in results.notes
            if workload.name in note.workloads
        ],
    )


def _ratios(rows: Sequence[Row], asked_precision: float | None) -> dict[str, dict[str, Ratio]]:
    """Return the ratio of every pair of results that have samples in the same rounds."""
    ratios: dict[str, dict[str, Ratio]] = {row.label: {row.label: (1.0, 1.0, 1.0)} for row in rows}
    for number, slow in enumerate(rows):
        for fast in rows[number + 1 :]:
            if estimates.pairs(slow.samples, fast.samples):
                ratio = precision.ratio(slow.samples, fast.samples, asked_precision)
                low, high = (1 / bound if bound else None for bound in (ratio.high, ratio.low))
                ratios[slow.label][fast.label] = ratio.value, ratio.low, ratio.high
                ratios[fast.label][slow.label] = 1 / ratio.value, low, high
    return ratios


def _rank(ratios: Mapping[str, Ratio]) -> int:
    """Return the rank of a result, given how many times as fast as it the others are."""
    return 1 + sum(low is not None and low > 1.0 for _, low, _ in ratios.values())


def _row(row: Row, rank: int, baseline: Row | None) -> PageRow:
    style = look(row.label)
    pairs = estimates.pairs(baseline.samples, row.samples) if baseline and row.timed else []
    points = [estimates.lower_quartile(slow) / estimates.lower_quartile(fast) for slow, fast in pairs]
    return PageRow(row, style.colour, Markup(MARKS[style.marker]).format(style.colour), rank, points)


# --- Small pictures within tables --------------------------------------------------------------------------------


def scale(facts: PageWorkload, ratio: Ratio) -> list[float]:
    """Return where a ratio and the ends of its interval stand in the picture of its row, in pixels."""
    ratios = facts.ratios[facts.workload.baseline_label].values()
    edges = [math.log(edge) for others in ratios for edge in others if edge]
    low, high = min(0.0, *edges), max(0.01, *edges)
    shares = ((math.log(value or ratio[0]) - low) / (high - low) for value in ratio)
    return [round(EDGE + share * (WIDTH - 2 * EDGE), 1) for share in shares]


def strip(points: Sequence[float]) -> list[float]:
    """Return where the speed-ups of processes stand, in pixels; a spread of 2 % or more fills the strip."""
    logs = [math.log(point) for point in points]
    low, high = min(logs, default=0.0), max(logs, default=0.0)
    pixels = (STRIP - 2 * STRIP_EDGE) / max(0.02, high - low)
    return [round(STRIP / 2 + (value - (low + high) / 2) * pixels, 1) for value in logs]


@dataclass(frozen=True)
class Course:
    """An implementation from run to run in pixels: the curve of each stretch, intervals, where the machine changed."""

    curves: list[str]  # points, as a polyline has them
    intervals: list[tuple[float, float, float]]  # x, y of the low end, y of the high end
    breaks: list[float]  # x


def course(trend: Trend) -> Course:
    """Return where the speed-ups of an implementation and their intervals stand."""
    edges = [math.log(edge) for speed_up in trend.speed_ups for edge in speed_up.ends]
    middle, reach = (min(edges) + max(edges)) / 2, max(LEAST_REACH, max(edges) - min(edges))
    step = (COURSE - 12) / max(1, len(trend.speed_ups) - 1)

    def x(number: float) -> float:
        return round(6 + number * step, 1)

    def y(value: float) -> float:
        return round(COURSE_HEIGHT / 2 - (math.log(value) - middle) / reach * (COURSE_HEIGHT - 6), 1)

    starts = [0, *accumulate(map(len, trend.stretches))]  # the number of the first run of each stretch
    return Course(
        curves=[
            " ".join(f"{x(number)},{y(speed_up.value)}" for number, speed_up in enumerate(stretch, start))
            for start, stretch in zip(starts, trend.stretches, strict=False)
        ],
        intervals=[
            (x(number), y(speed_up.ends[0]), y(speed_up.ends[1])) for number, speed_up in enumerate(trend.speed_ups)
        ],
        breaks=[x(start - 0.5) for start in starts[1:-1]],
    )


# --- Several machines --------------------------------------------------------------------------------------------


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
    tables: dict[str, dict[str, list[tuple[str, str]]]] = {}
    for workload in dict.fromkeys(each.workload.name for run in newest for each in run.workloads):
        labels = {row.label: None for run in newest for row in run.rows_of(workload) if not row.is_control}
        tables[workload] = {label: [_cell(run.row(workload, label)) for run in newest] for label in in_order(labels)}
    return Hosts([f"{run.machine.cpu_model}, {cpus_text(run.machine)}, {run.date[:10]}" for run in newest], tables)


def _cell(row: Row | None) -> tuple[str, str]:
    """Return the speed-up, or why there is none, and the time with the share of the peak."""
    if row is None:
        return "–", ""
    if row.seconds is None:
        return row.outcome, ""
    peak = f", {number_text(row.percent_of_peak.value, 2)} % of peak" if row.percent_of_peak else ""
    return estimate_text(row.speed_up) if row.speed_up else "baseline", f"{seconds_text(row.seconds)}{peak}"
