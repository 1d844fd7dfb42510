"""Results files of the first edition (schema 1), turned into today's records.

There, rows were dictionaries, samples stood in pytest-benchmark's section alone, without the CPU time of each, and
the samples behind the reference rate, then called the limit, were not kept.
"""

from typing import Any

import msgspec

from bench.records import (
    SCHEMA,
    Estimate,
    FirstCall,
    Machine,
    Process,
    Rate,
    Results,
    Row,
    Sample,
    Settings,
    ThreadPool,
    Workload,
    WorkloadResult,
)
from bench.results.schema2 import NO_PEAK, product_flops, product_words


class OldSettings(msgspec.Struct):
    generations: int
    workload_seconds: float
    sample_seconds: float
    budget_seconds: float
    time_out: float
    fewest_rounds: int
    most_rounds: int
    seed: int


class OldWorkload(msgspec.Struct):
    name: str
    sizes: tuple[int, ...]
    batch_size: int
    dtype: str
    threads: int
    timed: str
    baseline: str
    baseline_threads: int
    sweep: str
    examples: int
    flops: int
    gemm_size: int | None = None
    gemm_flops_per_second: float | None = None


class OldRow(msgspec.Struct):
    workload: str
    label: str
    implementation: str
    threads: int
    outcome: str
    reason: str
    seconds: float | None = None
    spread: float | None = None
    rounds_by_generation: list[list[int]] = []
    cores_used: float | None = None
    peak_rss_bytes: int = 0
    overhead_percent: float = 0.0
    import_seconds: float = 0.0
    setup_seconds: float = 0.0
    first_call_seconds: float = 0.0
    calls_by_generation: list[int] = []
    thread_pools: list[ThreadPool] = []
    build: dict[str, str] = {}
    compilations_in_samples: int = 0
    speed_up: Estimate | None = None


class OldResults(msgspec.Struct):
    settings: OldSettings
    workloads: list[OldWorkload]
    rows: list[OldRow]
    notes: list[str]
    interrupted: bool = False
    steal_percent: float | None = None
    load_average_before: float | None = None
    data: str = "digits"


class OldStats(msgspec.Struct):
    data: list[float] = []


class OldInfo(msgspec.Struct):
    workload: str
    label: str


class OldBenchmark(msgspec.Struct):
    extra_info: OldInfo
    stats: OldStats


class OldMachineInfo(msgspec.Struct):
    backprop_bench: Machine = msgspec.field(default_factory=Machine)


class OldFile(msgspec.Struct):
    backprop_bench: OldResults
    benchmarks: list[OldBenchmark]
    datetime: str
    machine_info: OldMachineInfo = msgspec.field(default_factory=OldMachineInfo)


def upgraded(content: dict[str, Any]) -> Results:
    """Return the results in the content of a file of schema 1. Raises msgspec.ValidationError if it is not one."""
    old = msgspec.convert(content, OldFile)
    ours = old.backprop_bench
    seconds = {(of.extra_info.workload, of.extra_info.label): of.stats.data for of in old.benchmarks}
    settings = ours.settings
    return Results(
        schema=SCHEMA,
        date=old.datetime,
        duration_seconds=None,
        data=ours.data,
        interrupted=ours.interrupted,
        settings=Settings(
            settings.generations,
            settings.workload_seconds,
            settings.sample_seconds,
            settings.budget_seconds,
            settings.time_out,
            settings.fewest_rounds,
            settings.most_rounds,
            settings.seed,
        ),
        machine=old.machine_info.backprop_bench,
        load_average_before=ours.load_average_before,
        steal_percent=ours.steal_percent,
        workloads=[_workload(workload) for workload in ours.workloads],
        rows=[_row(row, seconds.get((row.workload, row.label), [])) for row in ours.rows],
        notes=ours.notes,
    )


def _workload(old: OldWorkload) -> WorkloadResult:
    names = set(Workload.__struct_fields__) & set(OldWorkload.__struct_fields__)
    reference = None
    if old.gemm_size is not None:
        reference = Rate(product_words(old.gemm_size), product_flops(old.gemm_size), [], old.gemm_flops_per_second)
    return WorkloadResult(
        Workload(**{name: getattr(old, name) for name in names}),
        old.examples,
        old.flops,
        no_peak=NO_PEAK,
        reference=reference,
    )


def _row(old: OldRow, seconds: list[float]) -> Row:
    """Return a row; raises msgspec.ValidationError if its rounds and samples are not as many."""
    expected = sum(map(len, old.rounds_by_generation))
    if len(seconds) != expected:
        raise msgspec.ValidationError(f"{old.workload}, {old.label}: expected {expected} samples, found {len(seconds)}")
    remaining = iter(seconds)
    processes = [
        Process(
            generation,
            calls,
            old.overhead_percent,
            samples=[Sample(number, next(remaining)) for number in rounds],
        )
        for generation, (rounds, calls) in enumerate(
            zip(old.rounds_by_generation, old.calls_by_generation, strict=False)
        )
    ]
    return Row(
        workload=old.workload,
        label=old.label,
        implementation=old.implementation,
        threads=old.threads,
        outcome=old.outcome,
        reason=old.reason,
        processes=processes,
        thread_pools=old.thread_pools,
        build=old.build,
        compilations=old.compilations_in_samples,
        first_calls=[FirstCall(old.import_seconds, old.setup_seconds, old.first_call_seconds, old.peak_rss_bytes)],
        seconds=old.seconds,
        spread=old.spread,
        cores_used=old.cores_used,
        speed_up=old.speed_up,
    )
