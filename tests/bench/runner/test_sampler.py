"""The sampler with real workers: what a faulty implementation costs, and what is recorded about a good one."""

import os
import re
from collections.abc import Sequence
from typing import Any

import pytest
from sampling import FAULTY, SMALL, by_label, outcomes, run, sample, summary

from bench.analysis.notes import notes_on_workloads
from bench.conditions import Settings, Workload
from bench.records import CONTROL, Outcome, Rate, Result
from bench.runner import audit
from bench.runner import sampler as sampler_module
from bench.runner.candidates import PEAK, REFERENCE, Candidate, Participant, RateWorkers, plan
from bench.runner.process import WorkerFailed, WorkerProcess
from bench.runner.rounds import Rounds, plan_rounds
from bench.runner.sampler import Sampler
from bench.runner.worker_environment import Shared
from bench.system.cpus import cores
from bench.worker.protocol import Calibration
from impls.registry import find

OTHERS = dict.fromkeys(("per_example", CONTROL, "in_place"), "ok")


@pytest.mark.slow("runs benchmarks")
def test_a_faulty_row_costs_only_itself() -> None:
    reasons = {
        "Wrong": r".*gradient",
        "Raises": r"RuntimeError: the tensor was not there \(faulty_rows\.py:",
        "Segfaults": ".*SIGSEGV",
        "Exits": ".*SystemExit",
        "ExitsHard": ".*exit status 7.*goodbye",
        "FailsLater": ".*late",
    }
    specs = [*(f"{FAULTY}:{name}" for name in reasons), f"{FAULTY}:Prints", "in_place"]
    sampler = sample(specs, generations=2, workload_seconds=0.3)
    rows = by_label(sampler)
    expected = dict.fromkeys(reasons, "crashed") | {"Wrong": "incorrect", "Prints": "ok"} | OTHERS
    assert outcomes(sampler) == expected
    assert all(re.match(reason, rows[label].reason) for label, reason in reasons.items())
    details = {candidate.label: candidate.details for candidate in sampler.candidates["small"]}
    assert details["Raises"].startswith(f'Traceback (most recent call last):\n  File "{FAULTY}", line ')
    assert (details["ExitsHard"], details["Wrong"], details["in_place"]) == ("goodbye", "", "")
    summary(sampler)
    assert any("Segfaults: crashed" in str(note) for note in notes_on_workloads([list(rows.values())]))
    assert not any(rows[label].timed or rows[label].speed_up for label in reasons)
    speed_up = rows["in_place"].speed_up
    assert speed_up is not None
    assert speed_up.holds(speed_up.value)


@pytest.mark.slow("runs benchmarks")
def test_a_row_that_hangs_is_killed_once_and_not_tried_again() -> None:
    sampler = sample([f"{FAULTY}:Hangs"], [SMALL, Workload("other", (6, 5, 4), 2)], time_out=5.0)
    first, second = (by_label(sampler, name) for name in ("small", "other"))
    assert [rows.pop("Hangs").reason for rows in (first, second)] == [
        "no answer within 5 s",
        "not tried again: it gave no answer within 5 s on small",
    ]
    assert {row.outcome for row in (*first.values(), *second.values())} == {"ok"}


@pytest.mark.slow("runs benchmarks")
@pytest.mark.parametrize("stalls", ["in_place", "batched_2d"])
def test_a_stall_in_one_repetition_costs_that_workload_only(monkeypatch: pytest.MonkeyPatch, stalls: str) -> None:
    """Whatever worked before the stall is tried again; nobody goes without a baseline."""
    prepare, stalled = Sampler._prepare, False

    def stall(self: Sampler, waiting: list[Candidate], generation: int | None, shared: Shared) -> None:
        nonlocal stalled
        for candidate in waiting:
            if (candidate.label, generation, stalled) == (stalls, 1, False):
                stalled = True
                candidate.fail(WorkerFailed(Outcome.TIMED_OUT, "no answer within 5 s"))
        prepare(self, [candidate for candidate in waiting if candidate.row.open], generation, shared)

    monkeypatch.setattr(Sampler, "_prepare", stall)
    workloads = [Workload(name, (6, 5, 4), 3, baseline="batched_2d") for name in ("one", "other")]
    sampler = sample(["in_place"], workloads, generations=3)
    rows = [by_label(sampler, workload.name) for workload in workloads]
    found = [{label: (row.outcome, len(row.processes)) for label, row in of.items()} for of in rows]
    fine = dict.fromkeys(("batched_2d", CONTROL, "in_place"), ("ok", 3))
    assert sorted(found, key=str) == sorted([fine, fine | {stalls: ("timed out", 1)}], key=str)


# --- Interrupts --------------------------------------------------------------------------------------------------


def test_an_interrupt_before_the_first_sample_is_an_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_arguments: object) -> list[Participant]:
        raise KeyboardInterrupt

    monkeypatch.setattr(RateWorkers, "ready", interrupt)
    sampler = sample(["in_place", f"{FAULTY}:Wrong"])
    result = summary(sampler)
    assert sampler.interrupted
    assert (result.peak, result.no_peak) == (None, "it was not sampled")
    assert outcomes(sampler) == dict.fromkeys(OTHERS, "interrupted") | {"Wrong": "incorrect"}


@pytest.mark.parametrize("place", ["Rounds._ask", "Rounds._hand_over", "audit.suspicion"])
def test_what_is_not_audited_counts_for_nothing(monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    """Else an implementation would be timed whose calls nobody looked at; the repetition before is whole."""
    owner, name = {"Rounds": Rounds, "audit": audit}[place.split(".")[0]], place.split(".")[1]
    original, calls = getattr(owner, name), 0

    def interrupt(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if any(len(result.processes) == 2 for result in results):
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(owner, name, interrupt)
    candidates = plan(SMALL, [find("in_place")])
    results = [candidate.row for candidate in candidates]
    assert run({"small": candidates}, Settings(generations=3, workload_seconds=0.3)).interrupted
    assert calls > 1
    for result in results:
        assert result.outcome == "ok"
        assert [bool(samples) for samples in result.samples] == [True, False]


def test_a_fault_of_the_benchmark_ends_the_run_once_and_keeps_what_was_finished(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(self: Rounds) -> None:
        if self._generation == 1:
            raise OSError("too many open files")
        rounds_run(self)

    rounds_run = Rounds.run
    monkeypatch.setattr(Rounds, "run", fail)
    sampler = sample(["in_place"], generations=3)
    assert sampler.failure == f"OSError: too many open files (test_sampler.py:{fail.__code__.co_firstlineno + 2})"
    assert not sampler.interrupted
    summary(sampler)
    assert outcomes(sampler) == OTHERS
    assert [process.generation for process in by_label(sampler)["in_place"].processes] == [0]
    assert "too many open files" in capsys.readouterr().err  # the traceback, for whoever mends it


# --- What is sampled, and how often ------------------------------------------------------------------------------


def test_samples_of_a_round_are_pairs_and_each_label_has_processes_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    start = WorkerProcess.__init__
    pids: list[int] = []

    def note(self: WorkerProcess, *arguments: Any, **keywords: Any) -> None:
        start(self, *arguments, **keywords)
        pids.append(self.pid)

    monkeypatch.setattr(WorkerProcess, "__init__", note)
    sampler = sample(["one=in_place", "other=in_place"], generations=2)
    rows = by_label(sampler)
    assert {row.outcome for row in rows.values()} == {"ok"}
    assert (rows["one"].implementation, rows["other"].implementation) == ("in_place", "in_place")
    assert rows["one"].samples != rows["other"].samples
    for generation in range(2):
        assert {tuple(row.samples[generation]) for row in rows.values()} == {tuple(rows[CONTROL].samples[generation])}
    assert len(set(pids)) == len(pids) == 2 * len(rows) + 2  # a fresh one for each in each, and one for each rate
    samples = [sample for row in rows.values() for process in row.processes for sample in process.samples]
    assert all(sample.seconds > 0 and (sample.cpu_seconds or 0) > 0 for sample in samples)
    peak, reference = sampler.rate("small", PEAK), sampler.rate("small", REFERENCE)
    assert isinstance(peak, Rate)
    assert isinstance(reference, Rate)
    assert [set(rounds) for rounds in peak.samples] == [set(rounds) for rounds in rows[CONTROL].samples]
    assert all(fewer.keys() <= rounds.keys() for fewer, rounds in zip(reference.samples, peak.samples, strict=True))


@pytest.mark.slow("runs benchmarks")
def test_a_precision_takes_repetitions_until_it_is_reached_or_the_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []

    def narrow_enough(rows: Sequence[Result], precision: float) -> bool:
        assert precision == 0.25
        looks.append(len(rows[0].processes))
        return len(looks) == 3

    monkeypatch.setattr(sampler_module, "narrow_enough", narrow_enough)
    rows = by_label(sample(["in_place"], generations=2, precision=0.25))
    assert (looks, len(rows["in_place"].processes)) == ([2, 3, 4], 4)
    looks.clear()
    late = by_label(sample(["in_place"], generations=2, precision=0.25, most_seconds=0.001))
    assert len(late["in_place"].processes) == 2


def test_every_row_has_five_samples_or_more_however_slow_it_is() -> None:
    candidates = plan(SMALL, [find(name) for name in ("pure_python", "batched_2d", "in_place")])
    for candidate, seconds in zip(candidates, (0.03, 0.03, 0.08, 0.001, 0.001), strict=True):
        candidate.calibration = Calibration(1, seconds)
    for workload_seconds in (0.1, 3.0, 10.0, 30.0, 1000.0):
        strides, count = plan_rounds(candidates, Settings(workload_seconds=workload_seconds))
        fewest = min(len(range(0, count, stride)) for stride in strides.values())
        assert fewest >= 5, (workload_seconds, strides, count)


# --- What is recorded --------------------------------------------------------------------------------------------


def test_facts_about_a_good_row() -> None:
    sampler = sample(["batched_2d", f"{FAULTY}:Hoards"], generations=2, workload_seconds=0.3)
    result = summary(sampler)
    rows = by_label(sampler)
    plain, hoard = rows["batched_2d"], rows["Hoards"]
    for light, heavy in zip(plain.first_calls, hoard.first_calls, strict=True):
        assert 60e6 < heavy.peak_rss_bytes - light.peak_rss_bytes < 80e6
        assert 5e6 < light.peak_rss_bytes < 200e6
    for row in (plain, hoard):
        assert len(row.processes) == len(row.first_calls) == 2
        assert all(min(f.import_seconds, f.setup_seconds, f.first_call_seconds) > 0 for f in row.first_calls)
        assert all(0 < process.overhead_percent < 50 for process in row.processes)
        assert 0 < (row.worst_error or 0) < 0.3
        assert row.strayed == ""
        assert 0 < (row.cores_used or 0) < 1.05
        assert row.percent_of_peak is not None
        assert 0 < row.percent_of_peak.value < 100
        assert {pool.num_threads for pool in row.thread_pools} == {1}
        assert all(pool.library and "/" not in pool.library for pool in row.thread_pools)
    assert rows["per_example"].speed_up is None
    assert result.reference is not None
    assert result.reference.flops in {2 * size**3 for size in (256, 384, 512, 768)}
    assert 0 < (result.peak_seconds or 0) < (plain.seconds or 0)
    assert (result.reference_percent or 0) > 0


def test_a_compilation_within_the_samples_is_said() -> None:
    sampler = sample([f"{FAULTY}:Recompiles", "in_place"], workload_seconds=0.3)
    summary(sampler)
    assert by_label(sampler)["Recompiles"].compilations > 0
    lines = map(str, notes_on_workloads([list(by_label(sampler).values())]))
    notes = [line for line in lines if "compilations within" in line]
    assert ["Recompiles" in note for note in notes] == [True]


@pytest.mark.slow("runs benchmarks")
@pytest.mark.skipif(cores() < 2, reason="one core only")
def test_workers_get_their_threads_and_each_thread_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    confine = WorkerProcess.confine
    places: dict[int, list[set[int]]] = {}  # by worker: where its busiest threads and the process were put
    pids: dict[str, int] = {}

    def note(self: WorkerProcess, cpus: Sequence[int], busiest: Sequence[int] = (), *, children: bool = False) -> None:
        confine(self, cpus, busiest, children=children)
        places[self.pid] = [os.sched_getaffinity(thread) for thread in (*busiest, self.pid)]

    def note_pids(self: Rounds, number: int, candidates: list[Participant], *, compared: bool) -> None:
        pids.update((candidate.label, candidate.worker.pid) for candidate in candidates)
        round_(self, number, candidates, compared=compared)

    round_ = Rounds._round
    monkeypatch.setattr(Rounds, "_round", note_pids)
    monkeypatch.setattr(WorkerProcess, "confine", note)
    workload = Workload("two", (6, 5, 4), 3, threads=2, baseline="batched_2d")
    rows = by_label(sample(["batched_2d", "in_place", "multithreaded"], workload))
    assert set(rows) == {"batched_2d@1", "control", "batched_2d", "in_place", "multithreaded"}
    for label, row in rows.items():
        expected = 1 if label in ("batched_2d@1", "control") else 2
        *of_threads, of_process = places[pids[label]]
        blas = {pool.num_threads for pool in row.thread_pools if pool.user_api == "blas"}
        assert blas == {1 if label == "multithreaded" else expected}
        if expected == 1:
            assert (len(of_threads), len(of_process)) == (0, 1)
        else:
            assert all(len(place) == 1 for place in of_threads)
    first, second = places[pids["multithreaded"]][:2]
    assert first != second


@pytest.mark.slow("runs benchmarks")
def test_a_row_over_the_budget_is_skipped_and_its_work_is_never_done() -> None:
    rows = by_label(sample(["pure_python", "in_place"], Workload("heavy", (6, 2000, 2000, 4), 512)))
    assert rows["pure_python"].outcome == Outcome.TOO_SLOW
    assert re.fullmatch(r"at least \S+ s per call, over the budget of 0\.1 s", rows["pure_python"].reason)


def test_a_row_without_the_dtype_is_unavailable() -> None:
    row = by_label(sample(["pure_python"], Workload("small", (6, 5, 4), 3, dtype="float32")))["pure_python"]
    assert (row.outcome, row.reason) == ("unavailable", "computes in float64, not in float32")


@pytest.mark.slow("runs benchmarks")
def test_what_is_needed_first_is_known_from_processes_that_did_nothing_before() -> None:
    """Each repetition begins with another workload; those that none begins with get processes of their own."""
    workloads = {f"w{number}": plan(Workload(f"w{number}", (6, 5, 4), 3), [find("in_place")]) for number in range(3)}
    run(workloads, Settings(generations=2, workload_seconds=0.1, min_rounds=2))
    first_calls = [candidate.row.first_calls for candidates in workloads.values() for candidate in candidates]
    assert [len(calls) for calls in first_calls] == [1] * 9
    assert all(first.import_seconds > 1e-3 for (first,) in first_calls)  # NumPy's own import is part of it.
    assert all(first.first_call_seconds > 0 for (first,) in first_calls)
