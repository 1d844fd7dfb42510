"""The sampler with real workers: what a faulty row costs, and what is recorded about a good one."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from bench.cpus import cores
from bench.measurement import sampler as sampler_module
from bench.measurement import timing
from bench.measurement.candidates import Candidate, plan
from bench.measurement.examples import Shared
from bench.measurement.process import WorkerFailed, WorkerProcess
from bench.measurement.rate_workers import PEAK, REFERENCE, RateWorkers
from bench.measurement.rounds import Rounds, plan_rounds
from bench.measurement.sampler import Sampler
from bench.measurement.timing import Arrangement, TimedCall
from bench.protocol import AnyRequest, Reply, Start, Take, Taken
from bench.records import CONTROL, Rate, Row, Settings, Workload, WorkloadResult
from bench.results.notes import notes_on_rows
from bench.results.summary import summarise
from impls.registry import find

FAULTY = Path(__file__).parent / "faulty_rows.py"
SMALL = Workload("small", (6, 5, 4), 3)


def sample(specs: list[str], workload: Workload = SMALL, time_out: float = 60.0, generations: int = 2) -> Sampler:
    settings = Settings(generations=generations, workload_seconds=0.3, min_rounds=3, time_out=time_out)
    return run({workload.name: plan(workload, map(find, specs))}, settings)


def run(candidates: dict[str, list[Candidate]], settings: Settings) -> Sampler:
    rng = np.random.default_rng(0)
    data = rng.random((20, 6)), rng.random((20, 4))
    sampler = Sampler(candidates, settings, data, lambda _message, _fraction: None)
    sampler.run()
    return sampler


def by_label(sampler: Sampler) -> dict[str, Row]:
    return {candidate.label: candidate.row for of in sampler.candidates.values() for candidate in of}


def summary(sampler: Sampler) -> tuple[WorkloadResult, list[str]]:
    """Fill in the estimates of the rows of the one workload; return its record and the notes on its rows."""
    ((name, of_workload),) = sampler.candidates.items()
    rows = [candidate.row for candidate in of_workload]
    found = summarise(
        of_workload[0].workload, rows, sampler.rate(name, PEAK), sampler.rate(name, REFERENCE), sampler.data_examples
    )
    return found, notes_on_rows(rows)


@pytest.mark.slow("runs benchmarks")
def test_a_faulty_row_costs_only_itself() -> None:
    faulty = ["Wrong", "Raises", "Segfaults", "Exits", "ExitsHard", "FailsLater", "Prints"]
    sampler = sample([f"{FAULTY}:{name}" for name in faulty] + ["in_place"])
    rows = by_label(sampler)
    assert {label: row.outcome for label, row in rows.items()} == {
        "per_example": "ok",
        "control": "ok",
        "Wrong": "wrong",
        "Raises": "crashed",
        "Segfaults": "crashed",
        "Exits": "crashed",
        "ExitsHard": "crashed",
        "FailsLater": "crashed",
        "Prints": "ok",
        "in_place": "ok",
    }
    assert "gradient" in rows["Wrong"].reason
    assert rows["Raises"].reason.startswith("RuntimeError: the tensor was not there (faulty_rows.py:")
    details = {candidate.label: candidate.details for of in sampler.candidates.values() for candidate in of}
    assert details["Raises"].startswith(f'Traceback (most recent call last):\n  File "{FAULTY}", line ')
    assert details["ExitsHard"] == "goodbye"
    assert (details["Wrong"], details["in_place"]) == ("", "")
    assert "SIGSEGV" in rows["Segfaults"].reason
    assert "SystemExit" in rows["Exits"].reason
    assert "exit status 7" in rows["ExitsHard"].reason
    assert "goodbye" in rows["ExitsHard"].reason
    assert "late" in rows["FailsLater"].reason
    _, notes = summary(sampler)
    assert any("Segfaults: crashed" in note for note in notes)
    speed_up = rows["in_place"].speed_up
    assert speed_up is not None
    assert speed_up.low is not None
    assert speed_up.high is not None
    assert speed_up.low < speed_up.value < speed_up.high
    for label in faulty[:-1]:
        assert not rows[label].timed
        assert rows[label].speed_up is None


@pytest.mark.slow("runs benchmarks")
def test_a_row_that_hangs_is_killed_once_and_not_tried_again() -> None:
    workloads = [SMALL, Workload("other", (6, 4), 2)]
    candidates = {workload.name: plan(workload, [find(f"{FAULTY}:Hangs")]) for workload in workloads}
    run(candidates, Settings(generations=1, workload_seconds=0.1, min_rounds=2, time_out=5.0))
    first, second = (of_workload[2].row for of_workload in candidates.values())
    assert (first.outcome, second.outcome) == ("timed out", "timed out")
    assert "within 5 s" in first.reason
    assert "not tried again" in second.reason
    assert all(candidate.row.outcome == "ok" for of in candidates.values() for candidate in of[:2])


def stall_once(monkeypatch: pytest.MonkeyPatch, label: str, generation: int) -> None:
    """Have a row time out as it is prepared in a generation, on the first workload that this happens to."""
    prepare, stalled = Sampler._prepare, False

    def stall(self: Sampler, waiting: list[Candidate], number: int, shared: Shared) -> list[Candidate]:
        nonlocal stalled
        for candidate in waiting:
            if (candidate.label, number, stalled) == (label, generation, False):
                stalled = True
                self._record(candidate, WorkerFailed("timed out", "no answer within 5 s"))
        return prepare(self, [candidate for candidate in waiting if candidate.row.open], number, shared)

    monkeypatch.setattr(Sampler, "_prepare", stall)


@pytest.mark.slow("runs benchmarks")
@pytest.mark.parametrize("stalls", ["in_place", "batched_2d"])
def test_a_stall_in_one_generation_costs_that_workload_only(monkeypatch: pytest.MonkeyPatch, stalls: str) -> None:
    """Whatever worked before the stall is tried again; nobody goes without a baseline."""
    workloads = [Workload(name, (6, 5, 4), 3, baseline="batched_2d") for name in ("one", "other")]
    candidates = {workload.name: plan(workload, [find("in_place")]) for workload in workloads}
    stall_once(monkeypatch, stalls, generation=1)
    run(candidates, Settings(generations=3, workload_seconds=0.1, min_rounds=2))
    outcomes = [{c.label: (c.row.outcome, len(c.row.processes)) for c in of} for of in candidates.values()]
    fine = dict.fromkeys(("batched_2d", CONTROL, "in_place"), ("ok", 3))
    assert sorted(outcomes, key=str) == sorted([fine, fine | {stalls: ("timed out", 1)}], key=str)


def test_a_row_that_hung_is_a_baseline_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = Workload("one", (6, 5, 4), 3), Workload("other", (6, 5, 4), 3, baseline="batched_2d")
    candidates = {one.name: plan(one, [find("batched_2d")]), other.name: plan(other, [find("in_place")])}
    stall_once(monkeypatch, "batched_2d", generation=0)
    run(candidates, Settings(generations=1, workload_seconds=0.1, min_rounds=2))
    assert {c.label: c.row.outcome for c in candidates["one"]}["batched_2d"] == "timed out"
    assert {c.row.outcome for c in candidates["other"]} == {"ok"}


def test_an_interrupt_while_rows_are_prepared_keeps_the_generations_before(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_self: RateWorkers, _workload: Workload, generation: int) -> list[Candidate]:
        if generation == 2:
            raise KeyboardInterrupt
        return []

    monkeypatch.setattr(RateWorkers, "ready", interrupt)
    sampler = sample(["in_place"], generations=4)
    found, _ = summary(sampler)
    assert sampler.interrupted
    assert (found.peak, found.no_peak) == (None, "it was not sampled")
    in_place = by_label(sampler)["in_place"]
    assert in_place.outcome == "ok"
    assert [process.generation for process in in_place.processes] == [0, 1]
    assert all(process.samples for process in in_place.processes)


def test_a_row_that_an_interrupt_came_before_is_said_to_be_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_self: RateWorkers, _workload: Workload, _generation: int) -> list[Candidate]:
        raise KeyboardInterrupt

    monkeypatch.setattr(RateWorkers, "ready", interrupt)
    sampler = sample(["in_place", f"{FAULTY}:Wrong"], generations=4)
    summary(sampler)
    outcomes = {label: row.outcome for label, row in by_label(sampler).items()}
    assert outcomes == dict.fromkeys(("per_example", CONTROL, "in_place"), "interrupted") | {"Wrong": "wrong"}
    assert not any(row.timed or row.processes for row in by_label(sampler).values())


def test_an_interrupted_round_counts_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a sample would be there without its pair."""
    ask = WorkerProcess.ask
    taken = 0

    def interrupt(self: WorkerProcess, request: Take, expected: type[Reply]) -> Reply:
        nonlocal taken
        if isinstance(request, Take):
            taken += 1
            if taken == 5 * 2 + 2:  # in the third round of baseline, control, row, peak and reference rate
                raise KeyboardInterrupt
        return ask(self, request, expected)

    monkeypatch.setattr(WorkerProcess, "ask", interrupt)
    sampler = sample(["in_place"], generations=1)
    assert sampler.interrupted
    rounds = sorted(tuple(row.samples[0]) for row in by_label(sampler).values())
    assert rounds[1:] == [(0, 1), (0, 1)]
    assert rounds[0] in ((0, 1), ())  # of the row that was interrupted, if it was not yet compared


@pytest.mark.parametrize("end", [KeyboardInterrupt, pytest.fail.Exception])
def test_a_worker_that_owes_a_reply_is_not_asked_again(
    monkeypatch: pytest.MonkeyPatch, end: type[BaseException]
) -> None:
    """Its next reply would be taken for that of another request; what it did in this generation cannot be judged."""
    requests: list[object] = []  # to the worker of in_place
    send, receive = WorkerProcess.send, WorkerProcess.receive
    pids: set[int] = set()

    def note(self: WorkerProcess, request: AnyRequest) -> None:
        if isinstance(request, Start) and "in_place" in request.target:
            pids.add(self.pid)
        if self.pid in pids:
            requests.append(request)
        send(self, request)

    def interrupt(self: WorkerProcess, expected: type[Reply]) -> Reply:
        if self.pid in pids and requests.count(Take()) == 2 and expected is Taken:
            raise end
        return receive(self, expected)

    monkeypatch.setattr(WorkerProcess, "send", note)
    monkeypatch.setattr(WorkerProcess, "receive", interrupt)
    sampler = sample(["in_place"], generations=1)
    assert sampler.interrupted
    assert requests[-1] == Take()
    outcomes = {label: row.outcome for label, row in by_label(sampler).items()}
    assert outcomes == {"per_example": "ok", CONTROL: "ok", "in_place": "interrupted"}


def test_samples_of_a_round_are_pairs_and_the_control_is_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    start = WorkerProcess.__init__
    pids: list[int] = []

    def note(self: WorkerProcess, *arguments: Any, **keywords: Any) -> None:
        start(self, *arguments, **keywords)
        pids.append(self.pid)

    monkeypatch.setattr(WorkerProcess, "__init__", note)
    sampler = sample(["in_place"])
    rows = by_label(sampler)
    for generation in range(2):
        assert {tuple(row.samples[generation]) for row in rows.values()} == {tuple(rows[CONTROL].samples[generation])}
    assert len(set(pids)) == len(pids) == 2 * len(rows) + 2  # a fresh one for each row in each, and one for each rate
    assert all(seconds > 0 for row in rows.values() for rounds in row.samples for seconds in rounds.values())
    assert all(
        sample.cpu_seconds is not None and sample.cpu_seconds > 0
        for row in rows.values()
        for process in row.processes
        for sample in process.samples
    )
    peak, reference = sampler.rate("small", PEAK), sampler.rate("small", REFERENCE)
    assert isinstance(peak, Rate)
    assert isinstance(reference, Rate)
    assert [set(rounds) for rounds in peak.samples] == [set(rounds) for rounds in rows[CONTROL].samples]
    assert all(fewer.keys() <= rounds.keys() for fewer, rounds in zip(reference.samples, peak.samples, strict=True))


def test_two_labels_of_one_implementation_are_two_rows() -> None:
    """Each with workers of its own, or they would not be independent."""
    sampler = sample(["one=in_place", "other=in_place"], generations=1)
    candidates = sampler.candidates["small"][2:]
    assert [(c.label, c.row.implementation, c.row.outcome) for c in candidates] == [
        ("one", "in_place", "ok"),
        ("other", "in_place", "ok"),
    ]
    assert len({c.worker_key for c in sampler.candidates["small"]}) == 4
    assert candidates[0].row.samples != candidates[1].row.samples


def test_facts_about_a_good_row() -> None:
    sampler = sample(["batched_2d", f"{FAULTY}:Hoards"])
    found, _ = summary(sampler)
    rows = by_label(sampler)
    plain, hoard = rows["batched_2d"], rows["Hoards"]
    for one, other in zip(plain.first_calls, hoard.first_calls, strict=True):
        assert 60e6 < other.peak_rss_bytes - one.peak_rss_bytes < 80e6
        assert 5e6 < one.peak_rss_bytes < 200e6
    for row in (plain, hoard):
        assert len(row.processes) == len(row.first_calls) == 2
        for first in row.first_calls:
            assert first.import_seconds > 0
            assert first.setup_seconds > 0
            assert first.first_call_seconds > 0
        for process in row.processes:
            assert 0 < process.overhead_percent < 50
            assert process.calls >= 1
        assert row.worst_error is not None
        assert 0 < row.worst_error < 0.3
        assert row.strayed == ""
        assert row.cores_used is not None
        assert 0 < row.cores_used < 1.05
        assert row.percent_of_peak is not None
        assert 0 < row.percent_of_peak.value < 100
        assert row.thread_pools
        assert {pool.num_threads for pool in row.thread_pools} == {1}
        assert all(pool.library and "/" not in pool.library for pool in row.thread_pools)
    assert rows["per_example"].speed_up is None
    assert found.reference is not None
    assert found.reference.flops in {2 * size**3 for size in (256, 384, 512, 768)}
    assert found.peak_seconds is not None
    assert 0 < found.peak_seconds < (plain.seconds or 0)
    assert found.reference_percent is not None
    assert found.reference_percent > 0


def test_a_compilation_within_the_samples_is_said() -> None:
    sampler = sample([f"{FAULTY}:Recompiles", "in_place"], generations=1)
    _, notes = summary(sampler)
    assert by_label(sampler)["Recompiles"].compilations > 0
    assert any("Recompiles" in note and "compilations within the samples" in note for note in notes)
    assert not any("in_place" in note and "compilations within" in note for note in notes)


def test_a_sample_lasts_long_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    call_seconds = 1e-4

    def time_calls(_function: object, _arguments: object, calls: int) -> tuple[float, float]:
        return calls * call_seconds, calls * call_seconds

    monkeypatch.setattr(timing, "time_calls", time_calls)
    timed = TimedCall((lambda: None, ()), threads=1)
    assert timed.calibrate(0.005) == pytest.approx(1e-4)
    assert timed.calls * call_seconds >= 0.005
    call_seconds = 2e-5  # the machine was disturbed while it was calibrated
    taken = timed.sample()
    assert (taken.seconds / taken.calls, taken.cpu_seconds / taken.calls) == pytest.approx((2e-5, 2e-5))
    assert timed.calls * call_seconds >= 0.005


def test_every_sample_goes_from_the_start_of_its_turn_to_what_is_left() -> None:
    done: list[str] = []

    def arrange(turn: int) -> Arrangement:
        done.append(f"arrange {turn}")
        return (done.append, ("untimed",)), (done.append, ("timed",))

    def read() -> int:
        done.append("read")
        return len(done)

    timed = TimedCall((lambda: None, ()), 1, arrange, read)
    timed.calls = 3
    timed.arrange(7)
    assert done == ["arrange 7", "read", "read"]
    done.clear()
    taken = timed.sample()
    assert done == ["untimed", "read", "timed", "timed", "timed", "read"]
    assert (timed.left, taken.calls, taken.untimed_calls) == (6, 3, 1)
    assert taken.read_after_one_seconds > 0
    done.clear()
    timed.calls = 1  # long enough by itself
    timed.arrange(8)
    taken = timed.sample()
    assert done == ["arrange 8", "read", "read", "timed", "read"]
    assert (taken.calls, taken.untimed_calls, taken.read_after_one_seconds) == (1, 0, 0.0)


@pytest.mark.slow("runs benchmarks")
@pytest.mark.skipif(cores() < 2, reason="one core only")
def test_workers_get_their_threads_and_each_thread_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    confine = WorkerProcess.confine
    places: dict[int, list[set[int]]] = {}  # by worker: where its busiest threads and the process were put
    pids: dict[str, int] = {}

    def note(self: WorkerProcess, cpus: Sequence[int], busiest: Sequence[int] = (), *, children: bool = False) -> None:
        confine(self, cpus, busiest, children=children)
        places[self.pid] = [os.sched_getaffinity(thread) for thread in (*busiest, self.pid)]

    def note_pids(self: Rounds, number: int, candidates: list[Candidate], *, compared: bool) -> None:
        pids.update((candidate.label, self._workers[candidate.worker_key].pid) for candidate in candidates)
        round_(self, number, candidates, compared=compared)

    round_ = Rounds._round
    monkeypatch.setattr(Rounds, "_round", note_pids)
    monkeypatch.setattr(WorkerProcess, "confine", note)
    workload = Workload("two", (6, 5, 4), 3, threads=2, baseline="batched_2d")
    rows = by_label(sample(["batched_2d", "in_place", "multithreaded"], workload, generations=1))
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
def test_a_row_over_the_budget_is_left_out_and_its_work_is_never_done() -> None:
    workload = Workload("heavy", (6, 2000, 2000, 4), 512)
    sampler = sample(["pure_python", "in_place"], workload, generations=1)
    rows = by_label(sampler)
    assert rows["pure_python"].outcome == "left out"
    assert re.fullmatch(r"at least \S+ s per call, over the budget of 0\.1 s", rows["pure_python"].reason)


def test_a_row_without_the_dtype_is_left_out() -> None:
    rows = by_label(sample(["pure_python"], Workload("small", (6, 5, 4), 3, dtype="float32"), generations=1))
    assert rows["pure_python"].outcome == "left out"
    assert "float64, not in float32" in rows["pure_python"].reason


def test_an_epoch_goes_through_the_data_set() -> None:
    workload = Workload("small", (6, 5, 4), 3, timed="epoch")
    sampler = sample(["in_place"], workload, generations=1)
    found, _ = summary(sampler)
    assert found.examples == 20
    assert found.flops == workload.flops(20)


@pytest.mark.slow("runs benchmarks")
def test_what_is_needed_first_is_known_from_processes_that_did_nothing_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each generation begins with another workload; those that none begins with get processes of their own."""
    workloads = [Workload(f"w{number}", (6, 5, 4), 3) for number in range(3)]
    candidates = {workload.name: plan(workload, [find("in_place")]) for workload in workloads}
    run(candidates, Settings(generations=2, workload_seconds=0.1, min_rounds=2))
    found = {name: [len(candidate.row.first_calls) for candidate in of] for name, of in candidates.items()}
    assert found == {"w0": [1, 1, 1], "w1": [1, 1, 1], "w2": [1, 1, 1]}
    for of in candidates.values():
        for candidate in of:
            (first,) = candidate.row.first_calls
            assert first.import_seconds > 1e-3  # NumPy's own import is part of it
            assert first.first_call_seconds > 0


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
    rows = by_label(sampler)
    summary(sampler)
    assert {row.outcome for row in rows.values()} == {"ok"}
    assert rows["in_place"].timed
    assert [process.generation for process in rows["in_place"].processes] == [0]
    assert "too many open files" in capsys.readouterr().err  # the traceback, for whoever mends it


@pytest.mark.slow("runs benchmarks")
def test_a_precision_takes_generations_until_it_is_reached_or_the_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []

    def narrow_enough(rows: Sequence[Row], precision: float) -> bool:
        assert precision == 0.25
        looks.append(len(rows[0].processes))
        return len(looks) == 3

    monkeypatch.setattr(sampler_module, "narrow_enough", narrow_enough)
    settings = Settings(generations=2, workload_seconds=0.1, min_rounds=2, precision=0.25)
    rows = by_label(run({"small": plan(SMALL, [find("in_place")])}, settings))
    assert looks == [2, 3, 4]
    assert len(rows["in_place"].processes) == 4
    looks.clear()
    late = msgspec.structs.replace(settings, most_seconds=0.001)
    assert len(by_label(run({"small": plan(SMALL, [find("in_place")])}, late))["in_place"].processes) == 2


def test_an_interrupted_generation_is_judged_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """By what the calls of the last sample left behind, if the round that is compared was not reached."""

    def interrupt(self: Rounds, number: int, candidates: list[Candidate], *, compared: bool) -> None:
        if compared:
            raise KeyboardInterrupt
        round_(self, number, candidates, compared=compared)

    round_ = Rounds._round
    monkeypatch.setattr(Rounds, "_round", interrupt)
    frauds = FAULTY.with_name("timed_frauds.py")
    rows = by_label(sample([f"{frauds}:Tires", "in_place"], generations=1))
    assert re.fullmatch(r"wrong after \d+ calls", rows["Tires"].outcome)
    assert rows["in_place"].outcome == "ok"
    assert rows["in_place"].worst_error is not None


def test_every_row_has_five_samples_or_more_however_slow_it_is() -> None:
    of = Workload("slow", (784, 30, 10), 10)
    candidates = plan(of, [find(name) for name in ("pure_python", "batched_2d", "in_place")])
    for candidate, seconds in zip(candidates, (0.03, 0.03, 0.08, 0.001, 0.001), strict=True):
        candidate.calls, candidate.call_seconds = 1, seconds
    for workload_seconds in (0.1, 3.0, 10.0, 30.0, 1000.0):
        strides, count = plan_rounds(candidates, Settings(workload_seconds=workload_seconds))
        fewest = min(len(range(0, count, stride)) for stride in strides.values())
        assert fewest >= 5, (workload_seconds, strides, count)
