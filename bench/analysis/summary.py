"""Estimates made from the samples of a workload's results."""

from bench.analysis import estimates, precision
from bench.conditions import Workload
from bench.records import Outcome, Process, Rate, Result, WorkloadResult

# With these outcomes, the samples of a baseline are correct as far as they go.
PAIRED_OUTCOMES = (Outcome.OK, Outcome.CRASHED, Outcome.TIMED_OUT)


def summarise(
    workload: Workload,
    results: list[Result],
    peak: Rate | str,
    reference: Rate | str,
    data_examples: int,
    asked_precision: float | None = None,
) -> WorkloadResult:
    """Fill in the estimates of a workload's results, the baseline first among them; return the workload's record.

    `peak` and `reference` are what the results are measured against, or in words why there is no such rate.
    `data_examples` is how many examples an epoch goes through, `asked_precision` the precision at which the run ended,
    if one was asked for. Only results with the outcome ok have estimates. A baseline that crashed or hung late was
    correct until then: speed-ups are from what was paired before.
    """
    examples = workload.examples(data_examples)
    flops = workload.flops(examples)
    for rate in (peak, reference):
        if isinstance(rate, Rate):
            rate.flops_per_second = rate.flops / estimates.seconds(rate.samples)
    for result in results:
        result.processes = [process for process in result.processes if process.samples]  # others were interrupted
    baseline = results[0]
    paired = baseline.outcome in PAIRED_OUTCOMES
    for result in results:
        if result.outcome != Outcome.OK or not result.processes:
            continue
        if paired and result is not baseline and estimates.pairs(baseline.samples, result.samples):
            result.speed_up = precision.ratio(baseline.samples, result.samples, asked_precision)
        if result.speed_up:
            result.seconds = estimates.seconds(baseline.samples) / result.speed_up.value  # The two agree.
        else:
            result.seconds = estimates.seconds(result.samples)
        result.spread = estimates.spread(result.samples)
        result.cores_used = _cores_used(result.processes)
        if isinstance(peak, Rate) and not result.device and estimates.pairs(peak.samples, result.samples):
            percent = 100 * flops / peak.flops
            result.percent_of_peak = precision.ratio(peak.samples, result.samples, asked_precision).scaled(percent)
    return WorkloadResult(
        workload,
        examples,
        flops,
        peak=peak if isinstance(peak, Rate) else None,
        no_peak=peak if isinstance(peak, str) else "",
        reference=reference if isinstance(reference, Rate) else None,
    )


def _cores_used(processes: list[Process]) -> float | None:
    """Return CPU time over wall time of all samples; None where the CPU time is not known."""
    samples = [sample for process in processes for sample in process.samples]
    cpu_seconds = [sample.cpu_seconds for sample in samples if sample.cpu_seconds is not None]
    return sum(cpu_seconds) / sum(sample.seconds for sample in samples) if len(cpu_seconds) == len(samples) else None
