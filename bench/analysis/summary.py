"""Estimates made from the samples of a workload's rows."""

from bench.analysis import estimates, precision
from bench.records import Outcome, Process, Rate, Row, Workload, WorkloadResult

# With these outcomes, the samples of a baseline are correct as far as they go.
PAIRED_OUTCOMES = (Outcome.OK, Outcome.CRASHED, Outcome.TIMED_OUT)


def summarise(
    workload: Workload,
    rows: list[Row],
    peak: Rate | str,
    reference: Rate | str,
    data_examples: int,
    asked_precision: float | None = None,
) -> WorkloadResult:
    """Fill in the estimates of a workload's rows, the baseline first among them; return the workload's record.

    `peak` and `reference` are what the rows are measured against, or in words why there is no such rate.
    `data_examples` is how many examples an epoch goes through, `asked_precision` the precision at which the run ended,
    if one was asked for. Figures made of samples are there only where the outcome is ok. A baseline that crashed or
    hung late has been right until then: speed-ups are from what was paired before.
    """
    examples = workload.examples(data_examples)
    flops = workload.flops(examples)
    for rate in (peak, reference):
        if isinstance(rate, Rate):
            rate.flops_per_second = rate.flops / estimates.seconds(rate.samples)
    for row in rows:
        row.processes = [process for process in row.processes if process.samples]  # others were interrupted
    baseline = rows[0]
    paired = baseline.outcome in PAIRED_OUTCOMES
    for row in rows:
        if row.outcome != Outcome.OK or not row.processes:
            continue
        if paired and row is not baseline and estimates.pairs(baseline.samples, row.samples):
            row.speed_up = precision.ratio(baseline.samples, row.samples, asked_precision)
        row.seconds = _seconds(row, baseline)
        row.spread = estimates.spread(row.samples)
        row.cores_used = _cores_used(row.processes)
        if isinstance(peak, Rate) and not row.device and estimates.pairs(peak.samples, row.samples):
            percent = 100 * flops / peak.flops
            row.percent_of_peak = precision.ratio(peak.samples, row.samples, asked_precision).scaled(percent)
    return WorkloadResult(
        workload,
        examples,
        flops,
        peak=peak if isinstance(peak, Rate) else None,
        no_peak=peak if isinstance(peak, str) else "",
        reference=reference if isinstance(reference, Rate) else None,
    )


def _seconds(row: Row, baseline: Row) -> float:
    """Return the seconds that agree with the row's speed-up, if it has one."""
    if row.speed_up is None:
        return estimates.seconds(row.samples)
    return estimates.seconds(baseline.samples) / row.speed_up.value


def _cores_used(processes: list[Process]) -> float | None:
    """Return CPU time over wall time of all samples; None where the CPU time is not known."""
    samples = [sample for process in processes for sample in process.samples]
    cpu_seconds = [sample.cpu_seconds for sample in samples if sample.cpu_seconds is not None]
    return sum(cpu_seconds) / sum(sample.seconds for sample in samples) if len(cpu_seconds) == len(samples) else None
