"""A small run that nobody made: the baseline, its control, two rows and one that is missing, on one workload."""

from typing import Any

import msgspec

from bench.conditions import Machine, MemoryRate, Settings, ThreadPool, Workload
from bench.records import (
    CONTROL,
    SCHEMA,
    Estimate,
    FirstCall,
    Note,
    Outcome,
    Process,
    Rate,
    Result,
    Results,
    Sample,
    WorkloadResult,
)

BOOK = Workload("book", (784, 30, 10), 10)
PEAK_SECONDS = 2e-5  # of a call of any workload here
REFERENCE_SHARE = 0.8  # of the peak
GENERATIONS, ROUNDS = 5, 5


def estimate(value: float, margin: float = 0.02) -> Estimate:
    """Return an estimate whose interval reaches from `margin` below the value to `margin` above it."""
    return Estimate(value, value * (1 - margin), value * (1 + margin))


def processes(seconds: float) -> list[Process]:
    """Return processes whose samples all took the same time."""
    samples = [Sample(number, seconds, seconds) for number in range(ROUNDS)]
    return [Process(generation, 100, 0.2, samples=list(samples)) for generation in range(GENERATIONS)]


def row(label: str, seconds: float, speed_up: float | None = None, workload: str = "book", **others: Any) -> Result:
    """Return a row that was timed."""
    return msgspec.structs.replace(
        Result(
            workload,
            label,
            "per_example" if label == CONTROL else label.partition("@")[0],
            threads=1,
            outcome=Outcome.OK,
            processes=processes(seconds),
            thread_pools=[ThreadPool("libscipy_openblas64_.so", "blas", "openblas", "0.3.31", num_threads=1)],
            build={"numpy": "2.4.6"},
            first_calls=[FirstCall(0.1, 1e-3, 1e-4, 30_000_000)],
            seconds=seconds,
            spread=0.01,
            cores_used=1.0,
            speed_up=estimate(speed_up) if speed_up is not None else None,
            percent_of_peak=estimate(100 * PEAK_SECONDS / seconds),
        ),
        **others,
    )


def workload_result(workload: Workload) -> WorkloadResult:
    """Return a workload with a peak of `PEAK_SECONDS` a call, and a reference rate."""
    examples = workload.examples(1500)
    flops = workload.flops(examples)
    per_second = flops / PEAK_SECONDS
    return WorkloadResult(
        workload,
        examples,
        flops,
        peak=made_up_rate("AVX-512 multiply-adds in registers", 300_000_000, per_second),
        reference=made_up_rate("NumPy's product of two 256 x 256 matrices", 2 * 256**3, REFERENCE_SHARE * per_second),
    )


def made_up_rate(what: str, flops: int, per_second: float) -> Rate:
    """Return a rate whose samples all took the same time."""
    return Rate(what, flops, processes(flops / per_second), per_second)


def made_up_results() -> Results:
    """Return the run."""
    return Results(
        schema=SCHEMA,
        date="2026-01-31T12:00:00+01:00",
        duration_seconds=61.5,
        data="digits",
        interrupted=False,
        settings=Settings(generations=GENERATIONS),
        machine=Machine(
            cpu_model="Abacus 3000",
            cpus=4,
            usable_cpus=2,
            memory_bytes=8 << 30,
            memory_rates=[MemoryRate(1, 2e9)],
            hypervisor=False,
            python="3.11.7",
            versions={"numpy": "2.4.6"},
            numpy_blas="OpenBLAS 0.3.31",
        ),
        load_average_before=0.1,
        steal_percent=0.0,
        workloads=[workload_result(BOOK)],
        rows=[
            row("per_example", 4e-4),
            row(CONTROL, 4.02e-4, 0.995),
            row("batched_2d", 5e-5, 8.0),
            row("in_place", 4e-5, 10.0),
            Result("book", "torch", "torch", 1, Outcome.UNAVAILABLE, "needs torch: pip install -e '.[torch]'"),
        ],
        notes=[Note("a note", ("book",))],
    )
