"""Estimates of a workload's rows from their samples, and the notes on how far to trust them."""

import msgspec
import numpy as np
import pytest
from made_up_results import BOOK, GENERATIONS, PEAK_SECONDS, estimate, made_up_results, processes, workload_result

from bench.records import CONTROL, NOT_TIMED_HERE, Estimate, Outcome, Process, Rate, Row, Sample
from bench.report.figures import REFERENCE
from bench.results import estimates
from bench.results.files import read
from bench.results.notes import jittery, notes_on_rows, notes_on_run, notes_on_workloads
from bench.results.summary import PAIRED_OUTCOMES, summarise

NOT_TRIED = "nobody tried"  # why there is no rate


def sampled(label: str, seconds: float, outcome: Outcome = Outcome.OK) -> Row:
    """Return a row with samples, as the sampler leaves it."""
    return Row("book", label, label, 1, outcome, processes=processes(seconds))


@pytest.fixture
def rows() -> list[Row]:
    return made_up_results().rows


@pytest.fixture
def peak() -> Rate:
    found = workload_result(BOOK).peak
    assert found is not None
    return Rate(found.what, found.flops, found.processes)


# --- Estimates ---------------------------------------------------------------------------------------------------


def test_figures_come_from_the_samples(peak: Rate) -> None:
    baseline, fast = sampled("per_example", 4e-4), sampled("in_place", 4e-5)
    found = summarise(BOOK, [baseline, fast], peak, NOT_TRIED, 1500)
    assert (found.examples, found.flops) == (10, BOOK.flops(10))
    assert found.peak is peak
    assert found.peak_seconds == pytest.approx(PEAK_SECONDS)
    assert (baseline.seconds, fast.seconds) == pytest.approx((4e-4, 4e-5))
    assert baseline.speed_up is None
    assert fast.speed_up is not None
    assert fast.speed_up.value == pytest.approx(10)
    assert fast.percent_of_peak is not None
    assert fast.percent_of_peak.value == pytest.approx(50)
    assert fast.percent_of_peak.low == pytest.approx(50)
    assert fast.cores_used == pytest.approx(1)


def test_a_row_that_failed_has_no_figures(peak: Rate) -> None:
    """Even if it failed after some samples."""
    late = sampled("in_place", 4e-5, Outcome.CRASHED)
    summarise(BOOK, [sampled("per_example", 4e-4), late], peak, NOT_TRIED, 1500)
    assert (late.seconds, late.speed_up, late.percent_of_peak, late.spread, late.cores_used) == (None,) * 5
    assert not late.timed


@pytest.mark.parametrize("outcome", [outcome for outcome in Outcome if outcome not in PAIRED_OUTCOMES])
def test_a_baseline_that_is_not_right_gives_no_speed_up(peak: Rate, outcome: Outcome) -> None:
    fast = sampled("in_place", 4e-5)
    rows = [sampled("per_example", 4e-4, outcome), fast]
    summarise(BOOK, rows, peak, NOT_TRIED, 1500)
    assert not any("speed-ups" in note for note in notes_on_rows(rows))
    assert fast.seconds == pytest.approx(4e-5)
    assert fast.speed_up is None
    assert fast.percent_of_peak is not None


@pytest.mark.parametrize("outcome", [Outcome.CRASHED, Outcome.TIMED_OUT])
def test_a_baseline_that_is_lost_late_leaves_what_was_paired(outcome: Outcome) -> None:
    baseline, fast = sampled("per_example", 4e-4, outcome), sampled("in_place", 4e-5)
    baseline.reason = "it did"
    del baseline.processes[3:]
    fast.processes[4].samples = [Sample(0, 1.0)]  # without a pair
    summarise(BOOK, [baseline, fast], NOT_TRIED, NOT_TRIED, 1500)
    assert fast.speed_up is not None
    assert (fast.speed_up.value, fast.seconds) == pytest.approx((10, 4e-5))
    assert (baseline.seconds, baseline.speed_up) == (None, None)
    assert notes_on_rows([baseline, fast]) == [
        f"book, per_example: {outcome}: it did",
        f"book: the baseline {outcome} in generation 4: speed-ups are from the 3 generations before",
    ]


def test_a_baseline_that_is_lost_in_the_middle_of_a_generation_leaves_its_rounds() -> None:
    baseline, fast = sampled("per_example", 4e-4, Outcome.CRASHED), sampled("in_place", 4e-5)
    del baseline.processes[4:]
    del baseline.processes[3].samples[2:]
    summarise(BOOK, [baseline, fast], NOT_TRIED, NOT_TRIED, 1500)
    assert fast.speed_up is not None
    assert notes_on_rows([baseline, fast])[1:] == [
        "book: the baseline crashed in generation 4: speed-ups are from the rounds before that"
    ]


def test_a_baseline_that_is_lost_at_once_gives_no_speed_up() -> None:
    baseline, fast = sampled("per_example", 4e-4, Outcome.CRASHED), sampled("in_place", 4e-5)
    baseline.processes.clear()
    summarise(BOOK, [baseline, fast], NOT_TRIED, NOT_TRIED, 1500)
    assert fast.speed_up is None
    assert fast.seconds == pytest.approx(4e-5)


def disturbed(label: str, seconds: float, seed: int, stride: int = 1) -> Row:
    """Return a row whose samples are disturbed, in every n-th round only."""
    rng = np.random.default_rng(seed)
    found = sampled(label, seconds)
    for process in found.processes:
        level = seconds * rng.uniform(1, 1.5)
        times = level * (1 + rng.exponential(0.5, 20))
        process.samples = [Sample(number, float(times[number]), 1.0) for number in range(0, 20, stride)]
    return found


def test_the_columns_of_a_row_agree(peak: Rate) -> None:
    """Time, speed-up and share of the peak, whatever happened to the samples of the baseline and of the row."""
    baseline, row, strided = (
        disturbed("per_example", 4e-4, 1),
        disturbed("in_place", 4e-5, 2),
        disturbed("slow", 1, 3, 5),
    )
    peak.processes = disturbed("peak", 1e-3, 4).processes
    found = summarise(BOOK, [baseline, row, strided], peak, NOT_TRIED, 1500)
    assert found.peak_seconds is not None
    assert baseline.seconds is not None
    for each in (row, strided):
        assert each.speed_up is not None
        assert each.seconds is not None
        assert baseline.seconds / each.seconds == pytest.approx(each.speed_up.value)
    for each in (baseline, row):
        assert each.percent_of_peak is not None
        assert each.seconds is not None
        assert 100 * found.peak_seconds / each.seconds == pytest.approx(each.percent_of_peak.value)
    assert row.seconds == pytest.approx(estimates.seconds(row.samples))  # sampled in all rounds of the baseline


def test_a_run_with_a_precision_quotes_wider_intervals_after_more_than_ten_generations() -> None:
    for generations, wider in ((10, False), (11, True)):
        rows = [disturbed("per_example", 4e-4, 1), disturbed("in_place", 4e-5, 2)]
        for each in rows:
            each.processes = [
                msgspec.structs.replace(each.processes[number % GENERATIONS], generation=number)
                for number in range(generations)
            ]
        summarise(BOOK, rows, NOT_TRIED, NOT_TRIED, 1500)
        plain = rows[1].speed_up
        summarise(BOOK, rows, NOT_TRIED, NOT_TRIED, 1500, asked_precision=0.01)
        quoted = rows[1].speed_up
        assert plain is not None
        assert quoted is not None
        assert quoted.value == plain.value
        assert ((quoted.half_width or 0) > (plain.half_width or 0)) is wider


def test_without_a_peak_there_is_no_share_of_it() -> None:
    fast = sampled("in_place", 4e-5)
    found = summarise(BOOK, [sampled("per_example", 4e-4), fast], NOT_TRIED, NOT_TRIED, 1500)
    assert (found.peak, found.no_peak, found.peak_seconds) == (None, NOT_TRIED, None)
    assert (found.reference, found.reference_seconds, found.reference_percent) == (None, None, None)
    assert fast.percent_of_peak is None
    assert fast.speed_up is not None


def test_both_rates_are_those_of_their_samples(peak: Rate) -> None:
    reference = msgspec.structs.replace(peak, flops=2 * peak.flops)
    fast = sampled("in_place", 4e-5)
    fast.processes[0].samples[0] = Sample(0, 8e-5, 4e-5)
    found = summarise(BOOK, [sampled("per_example", 4e-4), fast], peak, reference, 1500)
    assert (found.peak, found.no_peak, found.reference) == (peak, "", reference)
    assert peak.flops_per_second == pytest.approx(peak.flops / peak.samples[0][0])
    assert reference.flops_per_second == pytest.approx(2 * peak.flops / peak.samples[0][0])
    assert fast.spread == 0.0  # of a typical process
    assert fast.cores_used == pytest.approx(25 / 26)


def test_a_row_that_was_interrupted_before_its_first_sample_has_no_figures(peak: Rate) -> None:
    fast = sampled("in_place", 4e-5)
    for process in fast.processes:
        process.samples = []
    summarise(BOOK, [sampled("per_example", 4e-4), fast], peak, NOT_TRIED, 1500)
    assert (fast.seconds, fast.speed_up, fast.percent_of_peak) == (None, None, None)


def test_there_is_no_share_of_a_peak_that_is_another_devices_or_has_no_pair(peak: Rate) -> None:
    elsewhere, late = sampled("in_place", 4e-5), sampled("batched_2d", 5e-5)
    elsewhere.build = {"device": "GPU 1"}
    for process in late.processes:
        process.samples = [Sample(99, 5e-5)]
    summarise(BOOK, [sampled("per_example", 4e-4), elsewhere, late], peak, NOT_TRIED, 1500)
    assert (elsewhere.percent_of_peak, late.percent_of_peak) == (None, None)
    assert elsewhere.speed_up is not None


def test_processes_that_an_interrupt_left_without_samples_are_dropped() -> None:
    baseline, fast = sampled("per_example", 4e-4), sampled("in_place", 4e-5)
    fast.processes[3].samples = []
    summarise(BOOK, [baseline, fast], NOT_TRIED, NOT_TRIED, 1500)
    assert [process.generation for process in fast.processes] == [0, 1, 2, 4]
    assert fast.speed_up is not None
    assert fast.speed_up.value == pytest.approx(10)


def test_samples_are_paired_by_generation_and_round() -> None:
    """The baseline is twice as slow in the second generation, and so is the row; it lacks a round in each."""
    baseline, fast = sampled("per_example", 1.0), sampled("in_place", 1.0)
    for generation, seconds in enumerate((1.0, 2.0)):
        baseline.processes[generation].samples = [Sample(0, 100.0), Sample(1, seconds), Sample(2, seconds)]
        fast.processes[generation].samples = [Sample(1, seconds / 4), Sample(2, seconds / 4)]
    del baseline.processes[2:], fast.processes[2:]
    summarise(BOOK, [baseline, fast], NOT_TRIED, NOT_TRIED, 1500)
    assert fast.speed_up is not None
    assert (fast.speed_up.value, fast.speed_up.low, fast.speed_up.high) == pytest.approx((4.0, 4.0, 4.0))


def test_cores_are_unknown_where_the_cpu_time_is() -> None:
    alone = Row(
        "book", "x", "x", 1, Outcome.OK, processes=[Process(0, 1, samples=[Sample(0, 1.0, 1.5), Sample(1, 1.0, 0.5)])]
    )
    summarise(BOOK, [alone], NOT_TRIED, NOT_TRIED, 1500)
    assert alone.cores_used == pytest.approx(1.0)
    alone.processes[0].samples.append(Sample(2, 1.0))
    summarise(BOOK, [alone], NOT_TRIED, NOT_TRIED, 1500)
    assert alone.cores_used is None


# --- Notes -------------------------------------------------------------------------------------------------------


def test_a_good_run_needs_no_words(rows: list[Row]) -> None:
    assert notes_on_run(interrupted=False, steal_percent=0.9, other_cpus=0.05) == []
    assert notes_on_run(interrupted=False, steal_percent=None, other_cpus=None) == []
    assert notes_on_rows(rows) == []


def test_what_disturbed_a_run_is_said() -> None:
    first, second, third = notes_on_run(interrupted=True, steal_percent=2.34, other_cpus=1.26)
    assert first == "the run was interrupted: the figures come from what was finished"
    assert second == "the hypervisor gave 2.3 % of the CPU time to others during the run"
    assert third.startswith("other processes kept 1.3 CPUs busy during the run; ")
    assert third.endswith(": repeat it on an idle machine")


@pytest.mark.parametrize(
    ("outcome", "noted"),
    [(outcome, outcome not in NOT_TIMED_HERE) for outcome in Outcome if outcome not in (Outcome.OK, Outcome.PENDING)],
)
def test_a_row_that_must_not_fail_is_noted(rows: list[Row], outcome: Outcome, noted: bool) -> None:
    rows[3] = Row("book", "in_place", "in_place", 1, outcome, "for a reason")
    assert notes_on_rows(rows) == ([f"book, in_place: {outcome}: for a reason"] if noted else [])


def test_a_control_that_is_off_is_the_noise_floor(rows: list[Row]) -> None:
    rows[1].speed_up = Estimate(1.05, 1.01, 1.09)
    assert notes_on_rows(rows) == [
        "book, control: identical code differed by 1.010 to 1.090: do not trust differences of this size here"
    ]
    rows[1].speed_up = Estimate(1.05)  # one process tells nothing
    assert notes_on_rows(rows) == []


def test_a_control_that_is_off_by_chance_alone_is_no_alarm(rows: list[Row]) -> None:
    """Its interval excludes 1 a little, as that of one control in twenty does, and the run has nine of them."""
    rows[1].speed_up = Estimate(1.02, 1.0005, 1.04)
    assert len(notes_on_rows(rows)) == 1
    others = [[msgspec.structs.replace(row, workload=str(number)) for row in rows] for number in range(8)]
    for other in others:
        other[1].speed_up = Estimate(1.0, 0.98, 1.02)
    assert notes_on_workloads([rows, *others]) == []
    rows[1].speed_up = Estimate(1.2, 1.18, 1.22)
    (note,) = notes_on_workloads([rows, *others])
    assert note.startswith("book, control: identical code differed by 1.180 to 1.220: ")


def test_wide_intervals_are_named_together(rows: list[Row]) -> None:
    rows[2].speed_up, rows[3].speed_up = estimate(8.0, 0.04), estimate(10.0, 0.2)
    assert notes_on_rows(rows) == [
        "book: intervals wider than ± 3 % for batched_2d, in_place: run longer, or on an idle machine"
    ]


def test_few_processes_are_no_claim(rows: list[Row]) -> None:
    for of_row in rows:
        del of_row.processes[2:]
    assert notes_on_rows(rows) == ["book: only 2 processes per row; at least 3 are needed for a claim"]
    for of_row in rows:
        del of_row.processes[1:]
    assert notes_on_rows(rows) == ["book: only 1 process per row; at least 3 are needed for a claim"]


def test_few_rounds_are_said(rows: list[Row]) -> None:
    rows[2].processes[0].samples = rows[2].processes[0].samples[:1]  # a typical process has more
    assert notes_on_rows(rows) == []
    for process in rows[2].processes:
        process.samples = process.samples[:4]
    close = "with fewer than 5, the lower quartile is close to the minimum; give more --seconds"
    assert notes_on_rows(rows) == [f"book: batched_2d: only 4 rounds per process: {close}"]
    for process in rows[3].processes:
        process.samples = [Sample(2, 4e-5), Sample(17, 4e-5), Sample(18, 4e-5), Sample(19, 4e-5), Sample(20, 4e-5)]
    assert notes_on_rows(rows) == [f"book: batched_2d, in_place: only 1 to 4 rounds per process: {close}"]
    for process in rows[0].processes:
        process.samples = process.samples[:3]
    assert notes_on_rows(rows) == [f"book: all rows: only 1 to 3 rounds per process: {close}"]


def test_jitter_of_a_row_s_own_is_said(rows: list[Row]) -> None:
    for process in rows[3].processes:
        process.samples = [Sample(number, 4e-5 * (1.3 if number > 2 else 1.0)) for number in range(5)]
    (note,) = notes_on_rows(rows)
    assert note.startswith("book, in_place: jitter: a quarter of its samples took at least 30 % longer than its time")
    for process in rows[0].processes:  # as the baseline did in the same rounds
        process.samples = [Sample(number, 4e-4 * (1.3 if number > 2 else 1.0)) for number in range(5)]
    assert notes_on_rows(rows) == []


@pytest.mark.parametrize("run", ["default", "all", "batch-grid"])
def test_the_reference_runs_have_hardly_any_jitter_on_one_thread(run: str) -> None:
    """Rows on all CPUs share them with whatever else runs, so theirs is real."""
    results = read(REFERENCE / run / "results.json")
    groups = [results.rows_of(of.workload.name) for of in results.workloads if of.workload.threads == 1]
    found = [label for rows in groups for label in jittery(rows)]
    assert len(found) <= sum(len(rows) for rows in groups) / 100


def test_a_noisy_machine_is_said(rows: list[Row]) -> None:
    rows[0].spread = 0.15
    (note,) = notes_on_rows(rows)
    assert note == "book: noisy machine: the middle half of the baseline's samples spans 15 % of their median"
    rows[0].spread = None
    assert notes_on_rows(rows) == []


def test_more_cores_than_were_given_are_said(rows: list[Row]) -> None:
    rows[3].cores_used = 1.04
    assert notes_on_rows(rows) == []
    rows[3].cores_used = 1.9
    assert notes_on_rows(rows) == ["book, in_place: used 1.90 cores, but was given 1"]


def test_a_row_that_left_its_cpus_is_said(rows: list[Row]) -> None:
    rows[3].strayed = "a thread may run on CPUs 0, 1, but was given 0"
    told = f"{rows[3].strayed}: its times may not be those of the CPUs that it was given"
    assert notes_on_rows(rows) == [f"book, in_place: {told}"]


@pytest.mark.parametrize(
    ("growth_bytes", "calls", "words"),
    [
        (63.0, 10**6, ""),  # a little per call
        (64.0, 10**6, "64 bytes"),
        (188_160.0, 100, "188.2 kB"),
        (2.5e6, 4, "2.5 MB"),
        (2.5e7, 1, "25.0 MB"),
        (2.5e6, 1, ""),  # of five calls in all: the heap, which grows to what a problem needs
        (1e4, 10, ""),  # half a megabyte in all
    ],
)
def test_memory_that_grows_is_said(rows: list[Row], growth_bytes: float, calls: int, words: str) -> None:
    for process in rows[3].processes[2:]:
        process.growth_bytes, process.calls = growth_bytes, calls
    assert notes_on_rows(rows) == ([f"book, in_place: its memory grows by {words} per call"] if words else [])


def test_memory_that_grows_in_a_few_processes_is_no_leak(rows: list[Row]) -> None:
    for process in rows[3].processes[:2]:
        process.growth_bytes = 1e6
    assert notes_on_rows(rows) == []


def test_compilations_and_outliers_are_said(rows: list[Row]) -> None:
    rows[2].compilations = 3
    samples = [Sample(number, 4e-5) for number in range(9)]
    rows[3].processes[1].samples = [*samples, Sample(9, 5e-4)]
    first, second = notes_on_rows(rows)
    assert first.startswith("book, batched_2d: 3 compilations within the samples: ")
    assert second.startswith("book, in_place: 1 outlier within the samples: ")


def test_the_harness_own_share_is_said(rows: list[Row]) -> None:
    rows[3].processes[GENERATIONS - 1].overhead_percent = 2.5
    assert notes_on_rows(rows) == ["book, in_place: the harness's own share of a sample is 2.5 %"]


def test_a_workload_without_any_time_has_notes_on_its_failures_alone() -> None:
    failed = [Row("book", label, "per_example", 1, Outcome.CRASHED, "it did") for label in ("per_example", CONTROL)]
    assert notes_on_rows(failed) == ["book, per_example: crashed: it did", "book, control: crashed: it did"]


def test_a_row_that_passes_the_peak_is_not_believed(rows: list[Row]) -> None:
    rows[2].percent_of_peak = estimate(99.0)
    assert notes_on_rows(rows) == []
    rows[2].percent_of_peak = estimate(108.0)
    (note,) = notes_on_rows(rows)
    assert note.startswith("book, batched_2d: faster than the peak (108 %), which cannot be")
