"""What is timed is what is checked: rows that pass the gate and are wrong afterwards are not timed as good."""

import math
import re
from pathlib import Path

import numpy as np
import pytest

from bench.cpus import cores
from bench.measurement.candidates import plan
from bench.measurement.rate_workers import PEAK, REFERENCE
from bench.measurement.sampler import Sampler
from bench.problem.workloads import default_workloads
from bench.records import Row, Settings, Workload
from bench.results.notes import notes_on_rows
from bench.results.summary import summarise
from impls.registry import find

pytestmark = pytest.mark.alone

FRAUDS = Path(__file__).parent / "timed_frauds.py"
BOOK, EPOCH = (default_workloads()[name] for name in ("book", "epoch"))


def sampled(workload: Workload, *frauds: str, generations: int = 1) -> dict[str, Row]:
    """Sample rows beside each other; return them by label, with their estimates."""
    entries = [find(f"{FRAUDS}:{name}") for name in frauds]
    settings = Settings(generations=generations, workload_seconds=0.5 * generations, seed=3)
    rng = np.random.default_rng(0)
    data = rng.random((1500, 784)), np.eye(10)[rng.integers(10, size=1500)]
    sampler = Sampler({workload.name: plan(workload, entries)}, settings, data, lambda *_: None)
    sampler.run()
    rows = [candidate.row for candidate in sampler.candidates[workload.name]]
    summarise(workload, rows, sampler.rate(workload.name, PEAK), sampler.rate(workload.name, REFERENCE), 1500)
    return {row.label: row for row in rows}


@pytest.mark.slow("runs benchmarks")
@pytest.mark.parametrize(
    ("workload", "fraud", "outcome", "reason"),
    [
        (BOOK, "Queues", "unfinished", "% of the work is done after the timed calls have returned"),
        (BOOK, "HandsOver", "unfinished", "% of the work is done after the timed calls have returned"),
        (BOOK, "Tires", "wrong after N calls", "weights[0]: error "),
        (BOOK, "Naps", "wrong after N calls", "weights[0]: error "),
        (BOOK, "Remembers", "wrong after N calls", "weights[0]: error "),
        (BOOK, "FirstBatchOnly", "wrong after N calls", "weights[0]: error "),
        (BOOK, "HalfRate", "wrong after N calls", "weights[0]: error "),
        (BOOK, "SlowsTheClock", "implausible", "the clock in its process is not the one of other processes"),
        (EPOCH, "EndsEarly", "wrong after N calls", "weights[0]: error "),
    ],
)
def test_a_row_that_passes_the_gate_and_is_wrong_when_it_is_timed(
    workload: Workload, fraud: str, outcome: str, reason: str
) -> None:
    rows = sampled(workload, fraud)
    row = rows.pop(fraud)
    assert re.sub(r"\d+ calls?", "N calls", row.outcome) == outcome
    assert reason in row.reason
    assert not row.timed
    assert row.speed_up is None
    assert {other.outcome for other in rows.values()} == {"ok"}  # it costs only itself
    assert all(other.worst_error is not None and other.worst_error < 0.3 for other in rows.values())
    assert any(f"{fraud}: {row.outcome}: " in note for note in notes_on_rows([*rows.values(), row]))


@pytest.mark.slow("runs benchmarks")
def test_a_row_that_keeps_a_cpu_busy_while_others_are_timed() -> None:
    row = sampled(BOOK, "Disturbs")["Disturbs"]
    assert row.outcome == "implausible"
    assert re.search("CPUs while other rows were timed|more than it told of", row.reason)  # both are true of it


def test_work_in_other_processes_is_counted_and_confined() -> None:
    rows = sampled(BOOK, "Delegates")
    row = rows["Delegates"]
    assert row.outcome == "ok", row.reason
    assert row.strayed == ""
    own = rows["control"]
    assert row.cores_used is not None
    assert own.cores_used is not None
    assert row.cores_used > 0.5 * own.cores_used  # of a worker that only waits it would be next to nothing


@pytest.mark.skipif(cores() < 2, reason="one CPU only")
def test_a_thread_that_leaves_its_cpus_is_told() -> None:
    assert re.fullmatch(
        r"a thread may run on CPUs [\d, ]+, but was given \d+", sampled(BOOK, "Strays")["Strays"].strayed
    )


def test_memory_that_grows_is_told() -> None:
    rows = sampled(BOOK, "Leaks")
    assert 7_000 < rows["Leaks"].processes[0].growth_bytes < 15_000
    assert rows["control"].processes[0].growth_bytes < 1_000
    assert math.isfinite(rows["control"].processes[0].growth_bytes)
