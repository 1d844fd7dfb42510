"""Estimates made from the samples of a workload's rows."""

from bench.records import OK, Limit, Process, Row, Workload, WorkloadResult, product_flops
from bench.results import estimates


def summarise(workload: Workload, rows: list[Row], limit: Limit | None, data_examples: int) -> WorkloadResult:
    """Fill in the estimates of a workload's rows, the baseline first among them; return the workload's record.

    `data_examples` is how many examples an epoch goes through. Figures made of samples are there only where the
    outcome is ok.
    """
    examples = workload.examples(data_examples)
    flops = workload.flops(examples)
    if limit is not None:
        limit.flops_per_second = product_flops(limit.size) / estimates.seconds(limit.samples)
    baseline = rows[0]
    for row in rows:
        row.processes = [process for process in row.processes if process.samples]  # others were interrupted
        if row.outcome != OK or not row.processes:
            continue
        row.seconds = estimates.seconds(row.samples)
        row.spread = estimates.spread(row.samples)
        row.cores_used = _cores_used(row.processes)
        if baseline.outcome == OK and row is not baseline:
            row.speed_up = estimates.paired_ratio(baseline.samples, row.samples)
        if limit is not None:
            percent = 100 * flops / product_flops(limit.size)
            row.percent_of_limit = estimates.paired_ratio(limit.samples, row.samples).scaled(percent)
    return WorkloadResult(workload, examples, flops, limit)


def _cores_used(processes: list[Process]) -> float | None:
    """Return CPU time over wall time of all samples; None where the CPU time is not known."""
    samples = [sample for process in processes for sample in process.samples]
    cpu_seconds = [sample.cpu_seconds for sample in samples if sample.cpu_seconds is not None]
    return sum(cpu_seconds) / sum(sample.seconds for sample in samples) if len(cpu_seconds) == len(samples) else None
