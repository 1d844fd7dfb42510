"""What the page shows of a run, as plain facts: rows with their ranks, every ratio of two rows, what was recorded."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.records import Estimate, Outcome, Results, Row, WorkloadResult
from bench.report.palette import in_order, look
from bench.report.text import number_text, seconds_text, short_outcome
from bench.results import estimates, precision

SHAPES = {  # by matplotlib's markers
    "o": "circle",
    "D": "diamond",
    "s": "square",
    "^": "triangle",
    "v": "triangle-down",
    "P": "cross",
    "X": "saltire",
}
Ratio = tuple[float, float | None, float | None]  # value, low, high


@dataclass(frozen=True)
class PageRow:
    """A row of a workload's table."""

    label: str
    family: str
    colour: str
    shape: str
    good: bool
    outcome: str  # in a word
    reason: str
    seconds: float | None
    time: str
    percent: str
    percent_value: float | None
    cores: str
    rank: int  # 1 is the fastest; rows that cannot be told apart share one
    points: list[float]  # the speed-up of each process


@dataclass(frozen=True)
class PageWorkload:
    """A workload with its rows, the fastest first, and then those that were not timed."""

    name: str
    words: str
    baseline: str
    rows: list[PageRow]
    ratios: dict[str, dict[str, Ratio]]  # by baseline and row: how many times as fast the row is
    peak: str
    notes: list[str]

    @property
    def timed(self) -> list[PageRow]:
        """Return the rows with a time."""
        return [row for row in self.rows if row.good]


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


def workload_facts(results: Results, of: WorkloadResult) -> PageWorkload:
    """Return the facts of a workload."""
    rows = results.rows_of(of.workload.name)
    timed = sorted((row for row in rows if row.timed), key=lambda row: row.seconds or math.inf)
    ratios = _ratios(timed, results.settings.precision)
    ranks = {row.label: 1 + sum(_surely_faster(ratios, other.label, row.label) for other in timed) for row in timed}
    labels = [row.label for row in timed] + in_order(row.label for row in rows if not row.timed)
    by_label = {row.label: row for row in rows}
    baseline = by_label.get(of.workload.baseline_label)
    peak = f"{of.peak.flops_per_second / 1e9:.1f} Gflop/s" if of.peak and of.peak.flops_per_second else ""
    return PageWorkload(
        name=of.workload.name,
        words=of.workload.describe(),
        baseline=of.workload.baseline_label,
        rows=[_row(by_label[label], ranks.get(label, 0), baseline) for label in labels],
        ratios=ratios,
        peak=peak,
        notes=[note.partition(": ")[2] for note in results.notes if note.startswith((f"{of.workload.name}: ",
               f"{of.workload.name}, "))],
    )  # fmt: skip


def _ratios(rows: Sequence[Row], asked_precision: float | None) -> dict[str, dict[str, Ratio]]:
    """Return by baseline and row how many times as fast the row is, for every pair with samples in the same rounds."""
    found: dict[str, dict[str, Ratio]] = {row.label: {row.label: (1.0, 1.0, 1.0)} for row in rows}
    for number, one in enumerate(rows):
        for other in rows[number + 1 :]:
            if estimates.pairs(one.samples, other.samples):
                ratio = precision.ratio(one.samples, other.samples, asked_precision)
                found[one.label][other.label] = ratio.value, ratio.low, ratio.high
                found[other.label][one.label] = _inverse(ratio)
    return found


def _inverse(ratio: Estimate) -> Ratio:
    low, high = (1 / bound if bound else None for bound in (ratio.high, ratio.low))
    return 1 / ratio.value, low, high


def _surely_faster(ratios: Mapping[str, Mapping[str, Ratio]], one: str, other: str) -> bool:
    """Return whether the interval of the ratio tells that one row is faster than the other."""
    _, low, _ = ratios[other].get(one, (0.0, None, None))
    return low is not None and low > 1.0


def _row(row: Row, rank: int, baseline: Row | None) -> PageRow:
    style = look(row.label)
    peak = row.percent_of_peak
    pairs = estimates.pairs(baseline.samples, row.samples) if baseline and row.timed else []
    return PageRow(
        label=row.label,
        family=style.family,
        colour=style.colour,
        shape=SHAPES[style.marker],
        good=row.timed,
        outcome="" if row.outcome == Outcome.OK else short_outcome(row.outcome),
        reason="" if row.timed else f"{row.outcome_text}: {row.reason}",
        seconds=row.seconds,
        time=seconds_text(row.seconds) if row.seconds else "",
        percent=number_text(peak.value, 3) if peak else "",
        percent_value=peak.value if peak else None,
        cores=f"{row.cores_used:.2f}" if row.cores_used is not None else "",
        rank=rank,
        points=[estimates.lower_quartile(one) / estimates.lower_quartile(other) for one, other in pairs],
    )
