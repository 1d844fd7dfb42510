"""Notes: when there is one, when there is none, and what it is about."""

import os
import subprocess
import sys
from typing import Any

import msgspec
import pytest
from made_up_results import estimate, made_up_rate, made_up_results, processes, row

from bench.analysis.notes import (
    BUSY_CPUS,
    KERNELS_WITHOUT_AVX512,
    MAX_OVERHEAD_PERCENT,
    MAX_THROTTLED,
    NOISY_SPREAD,
    NOISY_STEAL_PERCENT,
    OVER_SHARE,
    jittery,
    note_on_cpus,
    note_on_kernels,
    note_on_variables,
    notes_on_missing_rates,
    notes_on_quota,
    notes_on_run,
    notes_on_workloads,
)
from bench.analysis.results_files import read
from bench.conditions import Machine, ThreadPool
from bench.pages.figures import REFERENCE
from bench.records import CONTROL, Estimate, Note, Outcome, Result, Sample
from bench.runner import machine
from bench.runner.worker_environment import ENVIRONMENT, THREAD_VARIABLES

NEW = Machine(avx512=True)


@pytest.fixture
def rows() -> list[Result]:
    return made_up_results().rows


def lines(notes: list[Note]) -> list[str]:
    return list(map(str, notes))


def notes_on(results: list[Result], precision: float | None = None) -> list[str]:
    """Return the notes on the results of one workload."""
    return lines(notes_on_workloads([results], precision))


def sample(result: Result, *seconds: float) -> None:
    """Give a result these samples in each process."""
    for process in result.processes:
        process.samples = [Sample(number, value) for number, value in enumerate(seconds)]


# --- On a run ----------------------------------------------------------------------------------------------------


def test_a_good_run_has_no_notes(rows: list[Result]) -> None:
    assert notes_on_run(False, NOISY_STEAL_PERCENT, BUSY_CPUS) == notes_on_run(False, None, None) == []
    assert notes_on(rows) == []


def test_what_disturbed_a_run_is_said() -> None:
    first, second, third = lines(notes_on_run(interrupted=True, steal_percent=2.34, other_cpus=1.26))
    assert first == "the run was interrupted: the figures come from what was finished"
    assert second == "CPU steal: the hypervisor took 2.3 % of the CPU time during the run"
    assert third.startswith("other processes kept 1.3 CPUs busy during the run; ")
    (fault,) = lines(notes_on_run(False, None, None, failure="it did"))
    assert fault.startswith("the run ended early, by a fault of the benchmark: it did; ")


def test_other_cpus_at_the_end_are_said() -> None:
    assert note_on_cpus([0, 1], [0, 1]) == []
    (note,) = lines(note_on_cpus([0, 1], [2]))
    assert note.startswith("the run began on CPUs 0, 1 and ended on 2: its figures mix both")


def test_a_quota_is_said_and_whether_it_stopped_processes() -> None:
    assert notes_on_quota(Machine(usable_cpus=2), 60.0, None) == []
    assert notes_on_quota(Machine(usable_cpus=2), 60.0, 60 * MAX_THROTTLED) == []
    allowed, stopped = lines(notes_on_quota(Machine(usable_cpus=64, cpu_quota=1.5), 60.0, 61 * MAX_THROTTLED))
    assert allowed == "a CPU quota of 1.5 allows 1 core: no implementation was given more threads than that"
    assert stopped.startswith("the CPU quota stopped processes for 0.6 s, summed over CPUs, of 60.0 s: ")


def test_why_there_is_no_rate_is_said_once_with_the_workloads() -> None:
    rate = made_up_rate("a product", 1, 1.0)
    assert notes_on_missing_rates("no rate", {"book": rate}) == []
    assert lines(notes_on_missing_rates("no rate", {"book": "why", "deep": "why"})) == ["no rate: why"]
    (note,) = notes_on_missing_rates("no rate", {"book": "why", "deep": "why", "wide": rate})
    assert note == Note("no rate: why", workloads=("book", "deep"))


# --- On a workload -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "noted"), [(Outcome.CRASHED, True), (Outcome.UNAVAILABLE, False), (Outcome.TOO_SLOW, False)]
)
def test_a_failure_is_noted(rows: list[Result], outcome: Outcome, noted: bool) -> None:
    rows[3] = Result("book", "in_place", "in_place", 1, outcome, "for a reason")
    failure = Note(f"{outcome}: for a reason", ("book",), "in_place", "failure")
    assert notes_on_workloads([rows]) == ([failure] if noted else [])


def test_a_workload_without_any_time_has_notes_on_its_failures_alone() -> None:
    failed = [Result("book", label, "per_example", 1, Outcome.CRASHED, "it did") for label in ("per_example", CONTROL)]
    assert notes_on(failed) == ["book, per_example: crashed: it did", "book, control: crashed: it did"]


def test_how_far_a_lost_baseline_reached_is_said(rows: list[Result]) -> None:
    rows[0].outcome, rows[0].reason, rows[0].seconds = Outcome.CRASHED, "it did", None
    rows[0].processes = processes(4e-4)[:3]
    assert notes_on(rows)[1:] == ["book: the baseline crashed: speed-ups are from its 3 processes until then"]
    for result in rows:
        result.speed_up = None
    assert notes_on(rows) == ["book, per_example: crashed: it did"]


def test_a_failed_control_is_the_noise_floor(rows: list[Result]) -> None:
    rows[1].speed_up = Estimate(1.2, 1.18, 1.22)
    (failed,) = notes_on(rows)
    assert failed == (
        "book, control: A/A control failed: identical code differed by 1.180 to 1.220; "
        "do not trust differences of this size here"
    )
    rows[1].speed_up = Estimate(1.05)  # one process has no interval
    assert notes_on(rows) == []


def test_one_of_nine_controls_may_miss_1_by_chance(rows: list[Result]) -> None:
    rows[1].speed_up = Estimate(1.02, 1.0005, 1.04)
    assert len(notes_on(rows)) == 1
    eight = [[msgspec.structs.replace(row, workload=str(number)) for row in rows] for number in range(8)]
    for results in eight:
        results[1].speed_up = Estimate(1.0, 0.98, 1.02)
    assert notes_on_workloads([rows, *eight]) == []


def test_wide_intervals_are_named_together(rows: list[Result]) -> None:
    rows[2].speed_up, rows[3].speed_up = estimate(8.0, 0.04), estimate(10.0, 0.6)
    (note,) = notes_on(rows)
    assert note == "book: intervals wider than ± 3 % for batched_2d, in_place: run longer, or on an idle machine"
    (note,) = notes_on(rows, 0.5)
    assert note == "book: intervals wider than ± 50 % for in_place: run longer (--most-seconds), or on an idle machine"


@pytest.mark.parametrize(("processes", "expected"), [(3, ""), (2, "2 processes"), (1, "1 process")])
def test_few_processes_are_no_claim(rows: list[Result], processes: int, expected: str) -> None:
    for result in rows:
        del result.processes[processes:]
    note = f"book: only {expected} per implementation; at least 3 are needed for a claim"
    assert notes_on(rows) == ([note] if expected else [])


def test_few_rounds_are_said(rows: list[Result]) -> None:
    rows[2].processes[0].samples = rows[2].processes[0].samples[:1]  # a typical process has more
    assert notes_on(rows) == []
    sample(rows[2], *[5e-5] * 4)
    (note,) = notes_on(rows)
    assert note.startswith("book: batched_2d: only 4 rounds per process: with fewer than 5, the lower quartile is ")
    for result in rows[:4]:
        sample(result, 1e-3, 1e-3)
    (note,) = notes_on(rows)
    assert note.startswith("book: all implementations: only 2 rounds per process: ")


def test_jitter_of_an_implementations_own_is_said(rows: list[Result]) -> None:
    jitters = [1.0, 1.0, 1.0, 1.3, 1.3]
    sample(rows[3], *(4e-5 * each for each in jitters))
    (note,) = notes_on(rows)
    assert note.startswith("book, in_place: jitter: a quarter of its samples took at least 30 % longer than the ")
    assert jittery(rows) == pytest.approx({"in_place": 1.3})
    sample(rows[0], *(4e-4 * each for each in jitters))  # as the baseline did in the same rounds
    assert notes_on(rows) == []


@pytest.mark.parametrize("run", ["default", "all", "batch-grid"])
def test_the_reference_runs_have_hardly_any_jitter_on_one_thread(run: str) -> None:
    """Implementations on all CPUs share them with whatever else runs, so theirs is real."""
    results = read(REFERENCE / run / "results.json")
    groups = [results.rows_of(each.workload.name) for each in results.workloads if each.workload.threads == 1]
    assert sum(len(jittery(rows)) for rows in groups) <= sum(map(len, groups)) / 100


def test_a_noisy_machine_is_said(rows: list[Result]) -> None:
    rows[0].spread = NOISY_SPREAD
    assert notes_on(rows) == []
    rows[0].spread = 0.15
    (note,) = notes_on(rows)
    assert note == "book: noisy machine: the middle half of the baseline's samples spans 15 % of their median"


def test_samples_that_a_quota_stopped_are_said(rows: list[Result]) -> None:
    for result in rows[2:4]:
        sample(result, *[4e-5] * 100)
    rows[2].throttled_samples, rows[3].throttled_samples = 5, 6  # of 500
    (note,) = notes_on(rows)
    assert note.startswith("book: the CPU quota stopped in_place in more than 1 % of the samples, although they were ")


# --- On one result -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"cores_used": OVER_SHARE, "worst_error": 1.0}, ""),
        ({"cores_used": 1.9}, "used 1.90 cores, but was given 1"),
        ({"strayed": "a thread left"}, "a thread left: its times may not be those of the CPUs that it was given"),
        ({"build": {"device": "GPU 1"}}, "computes on GPU 1, and not on the CPU whose peak the others are"),
        ({"worst_error": 1.5}, "final parameters not verifiable: rounding dominates after this many steps"),
        ({"compilations": 3}, "3 compilations within the samples: "),
        ({"percent_of_peak": Estimate(108.0, 100.0, 116.0)}, ""),  # the peak is within the interval
        ({"percent_of_peak": Estimate(108.0, 100.5, 116.0)}, "above 100 % of peak (108 %): the machine was slower"),
    ],
)
def test_what_is_said_of_a_result(rows: list[Result], changed: dict[str, Any], expected: str) -> None:
    rows[3] = msgspec.structs.replace(rows[3], **changed)
    notes = notes_on(rows)
    assert len(notes) == bool(expected)
    assert all(note.startswith(f"book, in_place: {expected}") for note in notes)


def test_an_outlier_and_the_harness_own_share_are_said(rows: list[Result]) -> None:
    rows[3].processes[1].samples = [*(Sample(number, 4e-5) for number in range(9)), Sample(9, 5e-4)]
    rows[3].processes[0].overhead_percent = MAX_OVERHEAD_PERCENT
    (note,) = notes_on(rows)
    assert note.startswith("book, in_place: 1 outlier within the samples: ")
    rows[3].processes[4].overhead_percent = 2.5
    assert notes_on(rows)[1] == "book, in_place: the harness's own share of a sample is 2.5 %"


@pytest.mark.parametrize(
    ("growth_bytes", "calls", "words"),
    [
        (63.0, [10**6] * 5, ""),  # a little per call
        (100.0, [2000] * 5, "0.1 kB"),  # a megabyte in all, exactly
        (100.0, [2000, 2000, 1999, 1999], ""),  # in half of the processes
        (2.5e7, [1] * 5, "25,000.0 kB"),
        (2.5e6, [1] * 5, ""),  # of five calls in all: the heap, which grows to what a problem needs
    ],
)
def test_memory_that_grows_is_said(rows: list[Result], growth_bytes: float, calls: list[int], words: str) -> None:
    del rows[3].processes[len(calls) :]
    for process, count in zip(rows[3].processes, calls, strict=True):
        process.growth_bytes, process.calls = growth_bytes, count
    assert notes_on(rows) == ([f"book, in_place: its memory grows by {words} per call"] if words else [])


# --- On the environment ------------------------------------------------------------------------------------------


def with_pools(*architectures: str | None, api: str = "openblas") -> Result:
    """Return a row in whose process these kernels of a BLAS were."""
    pools = [ThreadPool(f"{api}.so", "blas", api, architecture=name) for name in architectures]
    return row("in_place", 1e-3, thread_pools=pools)


def test_older_kernels_are_said_once_with_what_to_do() -> None:
    expected = "OpenBLAS uses Haswell and Zen kernels although this CPU has AVX-512"
    advice = "with OPENBLAS_CORETYPE=SkylakeX in the environment, implementations that call it may be much faster"
    rows = [with_pools("HASWELL", "Zen", "SkylakeX"), with_pools(), with_pools("Haswell")]  # a build for one: capitals
    assert lines(note_on_kernels(NEW, rows)) == [f"{expected}: {advice}"]
    chosen = Machine(avx512=True, variables={"OPENBLAS_CORETYPE": "Haswell"})
    (note,) = lines(note_on_kernels(chosen, rows))
    assert note == f"{expected}: OPENBLAS_CORETYPE=Haswell in the environment may be why"
    assert note_on_kernels(Machine(), rows) == []  # without AVX-512, they are the best


@pytest.mark.parametrize("names", [(None,), ("SapphireRapids", "SKYLAKEX"), ("Unknown", "Zen5", "neoversen1", "")])
def test_nothing_is_said_of_kernels_that_are_new_or_unknown(names: tuple[str | None, ...]) -> None:
    assert note_on_kernels(NEW, [with_pools(*names), with_pools("Haswell", api="mkl")]) == []


@pytest.mark.skipif(not machine.facts().avx512, reason="a processor without AVX-512")
@pytest.mark.parametrize(("choice", "older"), [("SapphireRapids", False), ("Haswell", True), ("Prescott", True)])
def test_the_names_are_those_of_the_openblas_that_is_installed(choice: str, older: bool) -> None:
    """Kernels that the library lacks are replaced by the next older ones, whose name it then gives."""
    program = (
        "import numpy, threadpoolctl\n"
        "print(*(p['architecture'] for p in threadpoolctl.threadpool_info() if p['internal_api'] == 'openblas'))"
    )
    environment = os.environ | {"OPENBLAS_CORETYPE": choice}
    names = set(subprocess.check_output([sys.executable, "-c", program], env=environment, text=True).split())
    assert names
    assert bool(names & set(KERNELS_WITHOUT_AVX512)) is older


def test_variables_that_steer_libraries_are_said() -> None:
    assert note_on_variables(Machine()) == []
    (note,) = lines(note_on_variables(Machine(variables={"OMP_WAIT_POLICY": "active", "OPENBLAS_L2_SIZE": "512"})))
    assert note.endswith("may affect library speed: OMP_WAIT_POLICY=active, OPENBLAS_L2_SIZE=512")


def test_variables_that_steer_libraries_are_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in machine.steering_variables():
        monkeypatch.delenv(name)
    for name in (*THREAD_VARIABLES, *ENVIRONMENT, "PATH_TO_MKL", "BACKPROP_MNIST"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("MKL_DYNAMIC", "")
    assert machine.steering_variables() == {}
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    monkeypatch.setenv("MKL_CBWR", "\x1b[31mAVX2\n" + 1000 * "x")
    variables = machine.steering_variables()
    assert list(variables) == ["MKL_CBWR", "OPENBLAS_CORETYPE"]
    assert len(variables["MKL_CBWR"]) == 100
    assert variables["MKL_CBWR"].isprintable()


@pytest.mark.parametrize(("flags", "has"), [("fpu avx2 avx512f", True), ("fpu avx512", False)])
def test_what_the_processor_has_is_read_from_its_flags(flags: str, has: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        machine, "_read", lambda path: f"model name : Abacus\nflags : {flags}\n" if "cpuinfo" in path else ""
    )
    assert machine.facts().avx512 is has
