"""The sampler with real workers: what a faulty row costs, and what is recorded about a good one."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from bench import worker
from bench.process import WorkerProcess
from bench.results import summarise
from bench.sampler import CONTROL, Row, Sampler, Settings, plan
from bench.workloads import Workload, cores

FAULTY = Path(__file__).parent / "faulty_rows.py"
SMALL = Workload("small", (6, 5, 4), 3)


def sample(specs: list[str], workload: Workload = SMALL, time_out: float = 60.0, generations: int = 2) -> Sampler:
    rng = np.random.default_rng(0)
    settings = Settings(generations=generations, workload_seconds=0.3, fewest_rounds=3, time_out=time_out)
    rows = {workload.name: plan(workload, specs)}
    sampler = Sampler(rows, settings, (rng.random((20, 6)), rng.random((20, 4))), lambda _message, _fraction: None)
    sampler.run()
    return sampler


def by_label(sampler: Sampler) -> dict[str, Row]:
    return {row.label: row for rows in sampler.rows.values() for row in rows}


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
    assert rows["Raises"].reason == "RuntimeError: the tensor was not there"
    assert "SIGSEGV" in rows["Segfaults"].reason
    assert "SystemExit" in rows["Exits"].reason
    assert "exit status 7" in rows["ExitsHard"].reason
    assert "goodbye" in rows["ExitsHard"].reason
    assert "late" in rows["FailsLater"].reason
    found = summarise(sampler, steal_percent=None, load_average=None)
    assert any("Segfaults: crashed" in note for note in found["notes"])
    in_place = next(row for row in found["rows"] if row["label"] == "in_place")
    assert in_place["speed_up"]["low"] < in_place["speed_up"]["value"] < in_place["speed_up"]["high"]


def test_a_row_that_hangs_is_killed_once_and_not_tried_again() -> None:
    rng = np.random.default_rng(0)
    workloads = [SMALL, Workload("other", (6, 4), 2)]
    rows = {workload.name: plan(workload, [f"{FAULTY}:Hangs"]) for workload in workloads}
    settings = Settings(generations=1, workload_seconds=0.1, fewest_rounds=2, time_out=5.0)
    sampler = Sampler(rows, settings, (rng.random((20, 6)), rng.random((20, 4))), lambda _message, _fraction: None)
    sampler.run()
    first, second = (of_workload[2] for of_workload in rows.values())
    assert (first.outcome, second.outcome) == ("timed out", "timed out")
    assert "within 5 s" in first.reason
    assert "not tried again" in second.reason
    assert all(row.outcome == "ok" for of_workload in rows.values() for row in of_workload[:2])


def test_an_interrupt_while_rows_are_prepared_keeps_the_generations_before(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_self: Sampler, _limit: Row, calls: list[int] = []) -> None:  # noqa: B006 (counts the calls)
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(Sampler, "_prepare_limit", interrupt)
    sampler = sample(["in_place"], generations=4)
    found = summarise(sampler, None, None)
    assert found["interrupted"]
    in_place = next(row for row in found["rows"] if row["label"] == "in_place")
    assert len(in_place["rounds_by_generation"]) == len(in_place["calls_by_generation"]) == 2


def test_samples_of_a_round_are_pairs_and_the_control_is_another_process() -> None:
    sampler = sample(["in_place"])
    rows = by_label(sampler)
    for generation in range(2):
        assert {tuple(row.samples[generation]) for row in rows.values()} == {tuple(rows[CONTROL].samples[generation])}
    pids = {facts["pid"] for row in rows.values() for facts in row.facts}
    assert len(pids) == 2 * len(rows)  # a fresh process for each row in each generation
    assert all(seconds > 0 for row in rows.values() for rounds in row.samples for seconds in rounds.values())


def test_facts_about_a_good_row() -> None:
    sampler = sample(["batched_2d", f"{FAULTY}:Hoards"])
    found = {row["label"]: row for row in summarise(sampler, None, None)["rows"]}
    plain, hoard = found["batched_2d"], found["Hoards"]
    assert 60e6 < hoard["peak_rss_bytes"] - plain["peak_rss_bytes"] < 80e6
    assert 5e6 < plain["peak_rss_bytes"] < 200e6
    for row in (plain, hoard):
        assert 0 < row["overhead_percent"] < 50
        assert 0 < row["cores_used"] < 1.05
        assert row["import_seconds"] > 0
        assert row["setup_seconds"] > 0
        assert 0 < row["percent_of_limit"]["value"] < 100
        assert [pool["num_threads"] for pool in row["thread_pools"]] == [1] * len(row["thread_pools"])
    baseline = found["per_example"]
    assert "speed_up" not in baseline


def test_an_asynchronous_row_is_not_timed() -> None:
    rows = by_label(sample([f"{FAULTY.with_name('asynchronous_row.py')}:Asynchronous"], generations=1))
    assert rows["Asynchronous"].outcome == "wrong"
    assert "of the work is done after the call has returned" in rows["Asynchronous"].reason


def test_a_compilation_within_the_samples_is_said() -> None:
    sampler = sample([f"{FAULTY}:Recompiles", "in_place"], generations=1)
    found = summarise(sampler, None, None)
    assert any("Recompiles" in note and "compilations within the samples" in note for note in found["notes"])
    assert not any("in_place" in note and "compilations within" in note for note in found["notes"])


def test_a_sample_lasts_long_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    call_seconds = 1e-4

    def time_calls(_function: object, _arguments: object, calls: int) -> tuple[float, float]:
        return calls * call_seconds, calls * call_seconds

    monkeypatch.setattr(worker, "time_calls", time_calls)
    case = worker.Case(lambda: None, (), reset=lambda: None)
    assert case.calibrate(0.005) == pytest.approx(1e-4)
    assert case.calls * call_seconds >= 0.005
    call_seconds = 2e-5  # the machine was disturbed while it was calibrated
    assert case.sample()["seconds"] == pytest.approx(2e-5)
    assert case.calls * call_seconds >= 0.005


@pytest.mark.skipif(cores() < 2, reason="one core only")
def test_workers_get_their_threads_and_each_thread_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    confine = WorkerProcess.confine
    places: dict[int, list[set[int]]] = {}  # by worker: where its busiest threads and the process were put

    def note(self: WorkerProcess, cpus: Sequence[int], busiest: Sequence[int] = ()) -> None:
        confine(self, cpus, busiest)
        places[self.pid] = [os.sched_getaffinity(thread) for thread in (*busiest, self.pid)]

    monkeypatch.setattr(WorkerProcess, "confine", note)
    workload = Workload("two", (6, 5, 4), 3, threads=2, baseline="batched_2d")
    rows = by_label(sample(["batched_2d", "in_place", "multithreaded"], workload, generations=1))
    assert set(rows) == {"batched_2d@1", "control", "batched_2d", "in_place", "multithreaded"}
    for label, row in rows.items():
        expected = 1 if label in ("batched_2d@1", "control") else 2
        *of_threads, of_process = places[row.facts[0]["pid"]]
        blas = {pool["num_threads"] for pool in row.facts[0]["thread_pools"] if pool["user_api"] == "blas"}
        assert blas == {1 if label == "multithreaded" else expected}
        if expected == 1:
            assert (len(of_threads), len(of_process)) == (0, 1)
        else:
            assert all(len(place) == 1 for place in of_threads)
    first, second = places[rows["multithreaded"].facts[0]["pid"]][:2]
    assert first != second


def test_a_row_over_the_budget_is_left_out_and_its_work_is_never_done() -> None:
    workload = Workload("heavy", (6, 2000, 2000, 4), 512)
    sampler = sample(["pure_python", "in_place"], workload, generations=1)
    rows = by_label(sampler)
    assert rows["pure_python"].outcome == "left out"
    assert "over the budget of 0.1 s" in rows["pure_python"].reason


def test_a_row_without_the_dtype_is_left_out() -> None:
    rows = by_label(sample(["pure_python"], Workload("small", (6, 5, 4), 3, dtype="float32"), generations=1))
    assert rows["pure_python"].outcome == "left out"
    assert "float64, not in float32" in rows["pure_python"].reason


def test_an_epoch_goes_through_the_data_set() -> None:
    workload = Workload("small", (6, 5, 4), 3, timed="epoch")
    sampler = sample(["in_place"], workload, generations=1)
    found = summarise(sampler, None, None)
    assert found["workloads"][0]["examples"] == 20
    assert found["workloads"][0]["flops"] == workload.flops(20)
