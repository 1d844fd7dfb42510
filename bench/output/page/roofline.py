"""The roofline: the fastest result on each workload against the machine's peak and what its memory can feed."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from bench.conditions import MemoryRate, threads_text
from bench.output.plots.curves import Curve, Scale, curve_figure
from bench.output.plots.drawing import GREY, RATE_COLOUR, caption
from bench.output.plots.palette import Look
from bench.records import Estimate, Results, WorkloadResult

DOT = Look("", "#08519c", "o")


@dataclass(frozen=True)
class FastestResult:
    """The fastest implementation on a workload."""

    workload_result: WorkloadResult
    label: str
    intensity: float  # flop per byte that must be read or written at least
    gflops: float  # Gflop/s
    peak: float  # Gflop/s


def least_bytes(workload_result: WorkloadResult) -> int:
    """Return the bytes that a call has to read or write at least once.

    These are the parameters, read and written, and the examples, read: what does not stay in a cache from call to call
    costs at least that. An epoch reads and writes its parameters at every step.
    """
    workload, examples = workload_result.workload, workload_result.examples
    steps = math.ceil(examples / workload.batch_size) if workload.timed == "epoch" else 1
    numbers = 2 * steps * workload.weights + examples * (workload.sizes[0] + workload.sizes[-1])
    return numbers * np.dtype(workload.dtype).itemsize


def fastest_results(results: Results) -> list[FastestResult]:
    """Return the fastest result on each workload that is no sweep's and has a peak, the highest rate first."""
    fastest = []
    for workload_result in results.workloads:
        workload, peak = workload_result.workload, workload_result.peak
        seconds = {
            result.label: result.seconds
            for result in results.rows_of(workload.name)
            if result.seconds is not None and result.timed and not result.is_control
        }
        if workload.sweep or not seconds or not peak or not peak.flops_per_second:
            continue
        label = min(seconds, key=lambda label: seconds[label])
        gflops = workload_result.flops / seconds[label] / 1e9
        intensity = workload_result.flops / least_bytes(workload_result)
        fastest.append(FastestResult(workload_result, label, intensity, gflops, peak.flops_per_second / 1e9))
    return sorted(fastest, key=lambda result: -result.gflops)


def memory_rates(results: Results, fastest: Sequence[FastestResult]) -> list[MemoryRate]:
    """Return the memory's rates for the numbers of threads that the workloads have."""
    threads = {result.workload_result.workload.threads for result in fastest}
    return [rate for rate in results.machine.memory_rates if rate.threads in threads]


def roofline(results: Results, fastest: Sequence[FastestResult]) -> Figure:
    """Return the figure: Gflop/s of the fastest results against flop per byte, below peaks and what memory can feed."""
    ends = min(result.intensity for result in fastest), max(result.intensity for result in fastest)
    peaks = {}
    curves = []
    for result in fastest:
        workload = result.workload_result.workload
        peaks[f"peak {workload.dtype}, {threads_text(workload.threads)}"] = result.peak
        curves.append(Curve(workload.name, [(result.intensity, Estimate(result.gflops))], DOT))
    for name, peak in peaks.items():
        curves.append(Curve(name, [(end, Estimate(peak)) for end in ends], Look("", RATE_COLOUR, ""), "--"))
    for rate in memory_rates(results, fastest):
        gflops_per_intensity = rate.bytes_per_second / 1e9
        top = max(ends[0], min(ends[1], max(peaks.values()) / gflops_per_intensity))
        points = [(end, Estimate(end * gflops_per_intensity)) for end in (ends[0], top)]
        curves.append(Curve(f"memory, {threads_text(rate.threads)}", points, Look("", GREY, ""), ":"))
    across = Scale("flop per byte", lambda value, _: f"{value:g}", LogLocator(subs=(1.0, 2.0, 5.0)))
    up = Scale("Gflop/s", lambda value, _: f"{value:g}", LogLocator(subs=(1.0, 2.0, 5.0)))
    return curve_figure("Roofline", caption(results), {"": curves}, across, up)
