"""The machine: how far the fastest results are from its peak, and what the memory has to do with it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.records import Results, WorkloadResult, threads_text

WIDTH, HEIGHT = 640, 300
NAME_WIDTH, LEVEL_WIDTH, NAME_HEIGHT = 66, 190, 13  # pixels, that the names of a workload and of a peak take
LEFT, RIGHT, TOP, BOTTOM = 54, 20, 14, 40  # of the axes, in pixels
Name = tuple[float, float, float]  # where a name is in the picture: its left and right end, its height


@dataclass(frozen=True)
class Fastest:
    """The fastest result on a workload."""

    workload_result: WorkloadResult
    label: str
    intensity: float  # flop per byte that must be read or written at least
    gflops: float
    peak: float  # Gflop/s


@dataclass(frozen=True)
class Mark:
    """A workload in the picture: where the fastest result is, in pixels."""

    fastest: Fastest
    x: float
    y: float
    name_y: float  # of the name beside it, clear of the others


@dataclass(frozen=True)
class Roofline:
    """The picture and its table."""

    marks: list[Mark]
    levels: list[tuple[str, float, float, float]]  # name, Gflop/s, y, y of the name
    memory: list[tuple[str, float, str]]  # threads in words, GB/s, and the points of the line: what memory can feed
    ticks_x: list[tuple[str, float]]
    ticks_y: list[tuple[str, float]]


def least_bytes(workload_result: WorkloadResult) -> int:
    """Return the bytes that a call has to read or write at least once.

    These are the parameters, read and written, and the examples, read: what does not stay in a cache from call to call
    costs at least that. An epoch reads and writes its parameters at every step.
    """
    workload, examples = workload_result.workload, workload_result.examples
    steps = math.ceil(examples / workload.batch_size) if workload.timed == "epoch" else 1
    numbers = 2 * steps * workload.weights + examples * (workload.sizes[0] + workload.sizes[-1])
    return numbers * np.dtype(workload.dtype).itemsize


def fastest_results(results: Results) -> list[Fastest]:
    """Return the fastest result on each workload that is no sweep's and has a peak, the highest rate first."""
    fastest = []
    for workload_result in results.workloads:
        workload, peak = workload_result.workload, workload_result.peak
        seconds = {row.label: row.seconds for row in results.rows_of(workload.name) if row.timed and not row.is_control}
        if workload.sweep or not seconds or not peak or not peak.flops_per_second:
            continue
        label = min(seconds, key=lambda label: seconds[label] or math.inf)
        gflops = workload_result.flops / (seconds[label] or math.inf) / 1e9
        intensity = workload_result.flops / least_bytes(workload_result)
        fastest.append(Fastest(workload_result, label, intensity, gflops, peak.flops_per_second / 1e9))
    return sorted(fastest, key=lambda each: -each.gflops)


@dataclass(frozen=True)
class _Axes:
    """From flop per byte and Gflop/s to pixels."""

    powers: range  # of ten, flop per byte
    top: float  # Gflop/s

    def x(self, intensity: float) -> float:
        share = (math.log10(intensity) - self.powers[0]) / (len(self.powers) - 1)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(self, gflops: float) -> float:
        return HEIGHT - BOTTOM - gflops / self.top * (HEIGHT - TOP - BOTTOM)

    def line(self, rate: float) -> str:
        """Return the points of gflops = rate x intensity from the left edge to the top or the right one; a curve."""
        lowest, highest = 10.0 ** self.powers[0], 10.0 ** self.powers[-1]
        intensities = np.geomspace(lowest, max(lowest, min(highest, self.top / rate)), 33)
        return " ".join(f"{self.x(each):.1f},{self.y(rate * each):.1f}" for each in intensities.tolist())

    def ticks_y(self) -> list[tuple[str, float]]:
        step = 10 ** math.floor(math.log10(self.top / 2))
        step = next(step * factor for factor in (1, 2, 5, 10) if self.top / (step * factor) <= 6)
        return [(f"{number * step:g}", self.y(number * step)) for number in range(int(self.top / step) + 1)]


def roofline(results: Results) -> Roofline | None:
    """Return the picture of the workloads that are no sweep's; None without a peak."""
    fastest = fastest_results(results)
    if not fastest:
        return None
    lowest = math.floor(math.log10(min(each.intensity for each in fastest)))
    highest = math.ceil(math.log10(max(each.intensity for each in fastest)))
    axes = _Axes(range(lowest, max(highest, lowest + 1) + 1), max(each.peak for each in fastest) * 1.15)
    names: list[Name] = []
    threads = {each.workload_result.workload.threads for each in fastest}
    rates = [each for each in results.machine.memory_rates if each.threads in threads]
    return Roofline(
        levels=_levels(fastest, axes, names),
        marks=[_mark(each, axes, names) for each in fastest],
        memory=[
            (threads_text(each.threads), each.bytes_per_second / 1e9, axes.line(each.bytes_per_second / 1e9))
            for each in rates
        ],
        ticks_x=[(f"{10.0**power:g}", axes.x(10.0**power)) for power in axes.powers],
        ticks_y=axes.ticks_y(),
    )


def _levels(fastest: Sequence[Fastest], axes: _Axes, names: list[Name]) -> list[tuple[str, float, float, float]]:
    """Return the peaks, the highest first."""
    peaks = {}
    for each in fastest:
        workload = each.workload_result.workload
        peaks[f"{workload.dtype}, {threads_text(workload.threads)}"] = each.peak
    levels: list[tuple[str, float, float, float]] = []
    for name, peak in sorted(peaks.items(), key=lambda level: -level[1]):
        y = axes.y(peak)
        name_y = y - 5 if not levels or y - 5 > levels[-1][3] + NAME_HEIGHT else y + NAME_HEIGHT  # above or below it
        names.append((WIDTH - RIGHT - LEVEL_WIDTH, WIDTH, name_y))
        levels.append((name, peak, y, name_y))
    return levels


def _mark(fastest: Fastest, axes: _Axes, names: list[Name]) -> Mark:
    x, y = axes.x(fastest.intensity), axes.y(fastest.gflops)
    return Mark(fastest, x, y, _clear(x, NAME_WIDTH, y + 4, names))


def _clear(left: float, width: float, y: float, names: list[Name]) -> float:
    """Return the height of a name, moved down until it is clear of all earlier ones; add it to them."""
    right = left + width
    while any(left < their_right and their_left < right and abs(y - their_y) < NAME_HEIGHT
              for their_left, their_right, their_y in names):  # fmt: skip
        y += 1
    names.append((left, right, y))
    return y
