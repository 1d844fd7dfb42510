"""Short runs of the sampler, for tests."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from bench.analysis.summary import summarise
from bench.conditions import Settings, Workload
from bench.records import Result, WorkloadResult
from bench.runner.candidates import PEAK, REFERENCE, Candidate, plan
from bench.runner.sampler import Sampler
from bench.worker.protocol import Taken
from impls.registry import find

FAULTY = Path(__file__).parent / "faulty_rows.py"
SMALL = Workload("small", (6, 5, 4), 3)


def sample(
    specs: Iterable[str], workloads: Workload | list[Workload] = SMALL, *, examples: int = 20, **settings: Any
) -> Sampler:
    """Sample implementations on workloads of the same sizes, in one short process repetition unless told otherwise."""
    entries = [find(spec) for spec in specs]
    several = [workloads] if isinstance(workloads, Workload) else workloads
    short = {"generations": 1, "workload_seconds": 0.1, "min_rounds": 3, "time_out": 60.0}
    return run({workload.name: plan(workload, entries) for workload in several}, Settings(**short | settings), examples)


def run(candidates: dict[str, list[Candidate]], settings: Settings, examples: int = 20) -> Sampler:
    sizes = next(iter(candidates.values()))[0].workload.sizes
    rng = np.random.default_rng(0)
    data = rng.random((examples, sizes[0])), np.eye(sizes[-1])[rng.integers(sizes[-1], size=examples)]
    sampler = Sampler(candidates, settings, data, lambda _message, _fraction: None)
    sampler.run()
    return sampler


def by_label(sampler: Sampler, workload: str = "") -> dict[str, Result]:
    """Return the results on a workload, by default the first."""
    name = workload or next(iter(sampler.candidates))
    return {candidate.label: candidate.row for candidate in sampler.candidates[name]}


def outcomes(sampler: Sampler, workload: str = "") -> dict[str, str]:
    return {label: row.outcome for label, row in by_label(sampler, workload).items()}


def summary(sampler: Sampler) -> WorkloadResult:
    """Fill in the estimates of the results on the one workload; return its record."""
    ((name, candidates),) = sampler.candidates.items()
    peak, reference = sampler.rate(name, PEAK), sampler.rate(name, REFERENCE)
    rows = [candidate.row for candidate in candidates]
    return summarise(candidates[0].workload, rows, peak, reference, sampler.data_examples)


def taken(start: float = 100.0, seconds: float = 0.005, **others: float) -> Taken:
    """Return a reply that nothing is wrong with: 200 calls in 5 ms."""
    reply = Taken(
        started=start,
        ended=start + seconds + 0.0004,
        seconds=seconds,
        cpu_seconds=seconds,
        calls=200,
        untimed_calls=1,
        idle_cpus=0.001,
        read_at_rest_seconds=2e-5,
        read_after_one_seconds=2.5e-5,
        read_after_all_seconds=3e-5,
        own_bytes=10_000_000,
        compilations=0,
    )
    return msgspec.structs.replace(reply, **others)
