"""The boundaries of the notes on a run: what is said and what is not, workload by workload. More in test_summary.py."""

import msgspec
import pytest
from made_up_results import BOOK, estimate, made_up_rate, made_up_results, processes, workload_result

from bench.records import CONTROL, Estimate, Machine, Outcome, Process, Row, Sample
from bench.results.notes import (
    BUSY_CPUS,
    MAX_OVERHEAD_PERCENT,
    MAX_THROTTLED,
    NOISY_SPREAD,
    NOISY_STEAL_PERCENT,
    OVER_SHARE,
    jittery,
    note_on_cpus,
    notes_on_peaks,
    notes_on_quota,
    notes_on_references,
    notes_on_rows,
    notes_on_run,
)


@pytest.fixture
def rows() -> list[Row]:
    return made_up_results().rows


# --- On a run ----------------------------------------------------------------------------------------------------


def test_a_fault_that_ended_a_run_is_said() -> None:
    (note,) = notes_on_run(False, None, None, failure="it did")
    assert note.startswith("the run ended early, by a fault of the benchmark: it did; ")


def test_what_is_allowed_is_not_said() -> None:
    assert notes_on_run(False, NOISY_STEAL_PERCENT, BUSY_CPUS) == []
    assert len(notes_on_run(False, NOISY_STEAL_PERCENT + 0.1, BUSY_CPUS + 0.1)) == 2


def test_other_cpus_at_the_end_are_said() -> None:
    assert note_on_cpus([0, 1], [0, 1]) == []
    (note,) = note_on_cpus([0, 1], [2])
    assert note.startswith("the run began on CPUs 0, 1 and ended on 2: its figures mix both")


def test_a_quota_is_said_and_whether_it_stopped_processes() -> None:
    assert notes_on_quota(Machine(usable_cpus=2), 60.0, None) == []
    assert notes_on_quota(Machine(usable_cpus=2), 60.0, 60 * MAX_THROTTLED) == []
    allowed, stopped = notes_on_quota(Machine(usable_cpus=64, cpu_quota=1.5), 60.0, 61 * MAX_THROTTLED)
    assert allowed == "a CPU quota of 1.5 allows 1 core: no row was given more threads than that"
    assert stopped.startswith("the CPU quota stopped processes for 0.6 s, summed over CPUs, of 60.0 s: ")


def test_why_there_is_no_peak_is_said_once() -> None:
    one, two, three = (msgspec.structs.replace(workload_result(BOOK), peak=None) for _ in range(3))
    one.no_peak = two.no_peak = three.no_peak = "for a reason"
    assert notes_on_peaks([one, two, three]) == ["no % of peak: for a reason"]
    three.no_peak = ""
    two.workload = msgspec.structs.replace(BOOK, name="deep")
    assert notes_on_peaks([one, two, three]) == ["book, deep: no % of peak: for a reason"]


def test_why_there_is_no_reference_rate_is_said_once() -> None:
    rate = made_up_rate("a product", 1, 1.0)
    assert notes_on_references({"book": rate}) == []
    assert notes_on_references({"book": "gone", "deep": "gone"}) == ["no reference rate: gone"]
    assert notes_on_references({"book": "gone", "wide": rate, "deep": "gone", "all": "slow"}) == [
        "book, deep: no reference rate: gone",
        "all: no reference rate: slow",
    ]


# --- On a workload -----------------------------------------------------------------------------------------------


def test_intervals_wider_than_what_was_asked_for_are_said(rows: list[Row]) -> None:
    rows[2].speed_up, rows[3].speed_up = Estimate(1.0, 0.5, 1.5), estimate(10.0, 0.6)
    assert notes_on_rows(rows, precision=0.5) == [
        "book: intervals wider than ± 50 % for in_place: run longer (--most-seconds), or on an idle machine"
    ]


def test_a_control_that_is_off_is_not_called_wide_as_well(rows: list[Row]) -> None:
    rows[1].speed_up, rows[3].speed_up = Estimate(1.5, 1.2, 1.8), estimate(10.0, 0.2)
    off, wide = notes_on_rows(rows)
    assert off.startswith("book, control: identical code differed by 1.200 to 1.800")
    assert wide.startswith("book: intervals wider than ± 3 % for in_place:")
    rows[1].speed_up = Estimate(1.0, 0.9, 1.1)
    (wide,) = notes_on_rows(rows)
    assert wide.startswith("book: intervals wider than ± 3 % for control, in_place:")


def test_a_spread_of_a_baseline_without_a_time_is_no_noise(rows: list[Row]) -> None:
    rows[0].spread = NOISY_SPREAD
    assert notes_on_rows(rows) == []
    rows[0].spread, rows[0].outcome, rows[0].seconds = 0.5, Outcome.INCORRECT, None
    for each in rows:
        each.speed_up = None
    assert notes_on_rows(rows) == ["book, per_example: incorrect: "]


def test_all_jittery_rows_that_have_a_time_are_found(rows: list[Row]) -> None:
    for each in rows[1:4]:
        for process in each.processes:
            process.samples = [Sample(number, 1.0 if number < 3 else 1.5) for number in range(5)]
    rows[2].seconds = None
    assert jittery(rows) == pytest.approx({CONTROL: 1.5, "in_place": 1.5})


def test_samples_that_a_quota_stopped_are_said(rows: list[Row]) -> None:
    for process in rows[2].processes + rows[3].processes:
        process.samples *= 20
    rows[2].throttled_samples, rows[3].throttled_samples = 5, 6  # of 500
    (note,) = notes_on_rows(rows)
    assert note.startswith("book: the CPU quota stopped in_place in more than 1 % of the samples, although they were ")


# --- On a baseline that was lost ---------------------------------------------------------------------------------


def lost_with(last_rounds: int, *of_row: list[int]) -> list[str]:
    """Return what is said of a baseline whose last generation is its third; a row has the rounds of each generation."""
    results = made_up_results()
    baseline, *_, row, _ = results.rows
    baseline.outcome, baseline.seconds, baseline.processes = Outcome.CRASHED, None, processes(4e-4)[:3]
    baseline.processes[2].samples = baseline.processes[2].samples[:last_rounds]
    row.processes = [Process(n, 1, samples=[Sample(r, 4e-5) for r in rounds]) for n, rounds in enumerate(of_row)]
    return [note for note in notes_on_rows([baseline, row]) if "speed-ups are from the" in note]


ALL, NONE = list(range(5)), list[int]()
BETWEEN = ["book: the baseline crashed in generation 4: speed-ups are from the 3 generations before"]
MIDWAY = ["book: the baseline crashed in generation 3: speed-ups are from the rounds before that"]


@pytest.mark.parametrize(
    ("last_rounds", "of_row", "notes"),
    [
        (5, [ALL, ALL, ALL, ALL], BETWEEN),
        (2, [ALL, ALL, ALL], MIDWAY),
        (2, [ALL, ALL], BETWEEN),  # the row was lost before
        (1, [ALL, ALL, NONE, ALL], BETWEEN),  # the row was not sampled in that generation
        (2, [ALL, ALL, [0, 1]], BETWEEN),
    ],
)
def test_how_far_a_lost_baseline_reached(last_rounds: int, of_row: list[list[int]], notes: list[str]) -> None:
    assert lost_with(last_rounds, *of_row) == notes


# --- On few processes and rounds ---------------------------------------------------------------------------------


def test_three_processes_of_the_baseline_are_enough(rows: list[Row]) -> None:
    for row in rows:
        del row.processes[3:]
    assert notes_on_rows(rows) == []
    del rows[3].processes[2:]
    assert notes_on_rows(rows) == []
    del rows[0].processes[2:]
    del rows[1].processes[1:]
    del rows[3].processes[1:]
    assert notes_on_rows(rows) == ["book: only 2 processes per row; at least 3 are needed for a claim"]


def test_rounds_of_a_row_without_a_pair_are_its_own(rows: list[Row]) -> None:
    for process in rows[3].processes:
        process.samples = [Sample(number, 4e-5) for number in range(100, 102)]
    (note,) = notes_on_rows(rows)
    assert note.startswith("book: in_place: only 2 rounds per process:")


def test_all_rows_have_few_rounds_although_the_baseline_has_more(rows: list[Row]) -> None:
    for row in rows[1:]:
        for process in row.processes:
            process.samples = process.samples[:4]
    (note,) = notes_on_rows(rows)
    assert note.startswith("book: all rows: only 4 rounds per process:")


# --- On a row ----------------------------------------------------------------------------------------------------


def test_what_a_row_may_do_is_not_said(rows: list[Row]) -> None:
    rows[3].cores_used, rows[3].worst_error = OVER_SHARE, 1.0
    rows[3].processes[0].overhead_percent = MAX_OVERHEAD_PERCENT
    assert notes_on_rows(rows) == []


def test_a_row_on_another_device_is_said(rows: list[Row]) -> None:
    rows[3].build = {"device": "GPU 1"}
    (note,) = notes_on_rows(rows)
    assert note == "book, in_place: computes on GPU 1, and not on the CPU whose peak the others are measured against"


def test_what_timed_calls_left_behind_may_be_beyond_judging(rows: list[Row]) -> None:
    rows[3].worst_error = 1.5
    (note,) = notes_on_rows(rows)
    assert note.startswith("book, in_place: what its timed calls left behind cannot be judged")


@pytest.mark.parametrize(
    ("percent", "said"),
    [
        (Estimate(108.0, 100.0, 116.0), False),  # the peak is within the interval
        (Estimate(108.0, 99.5, 116.0), False),
        (Estimate(108.0, 100.5, 116.0), True),
        (Estimate(108.0), True),  # one process
        (Estimate(99.0), False),
    ],
)
def test_a_row_passes_the_peak_with_its_whole_interval(rows: list[Row], percent: Estimate, said: bool) -> None:
    rows[3].percent_of_peak = percent
    assert any("faster than the peak" in note for note in notes_on_rows(rows)) is said


@pytest.mark.parametrize(
    ("growth_bytes", "calls", "words"),
    [
        (100.0, [2000, 2000, 2000, 2000, 2000], "100 bytes"),  # a megabyte in all, exactly
        (100.0, [2000, 2000, 1999, 1999, 1999], ""),  # in most processes
        (100.0, [2000, 2000, 1999, 1999], ""),
        (1e6, [1000] * 5, "1.0 MB"),
        (999_999.0, [1000] * 5, "1000.0 kB"),
        (1000.0, [1000] * 5, "1.0 kB"),
        (999.0, [1000] * 5, "999 bytes"),
    ],
)
def test_how_much_memory_grows(rows: list[Row], growth_bytes: float, calls: list[int], words: str) -> None:
    del rows[3].processes[len(calls) :]
    for process, of_process in zip(rows[3].processes, calls, strict=True):
        process.growth_bytes, process.calls = growth_bytes, of_process
    assert notes_on_rows(rows) == ([f"book, in_place: its memory grows by {words} per call"] if words else [])
