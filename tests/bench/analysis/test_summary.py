"""Estimates of a workload's results from their samples."""

import msgspec
import numpy as np
import pytest
from made_up_results import BOOK, GENERATIONS, PEAK_SECONDS, processes, workload_result

from bench.analysis import estimates
from bench.analysis.summary import summarise
from bench.records import Estimate, Outcome, Rate, Result, Sample

NOT_TRIED = "nobody tried"  # why there is no rate


def sampled(label: str, seconds: float, outcome: Outcome = Outcome.OK) -> Result:
    """Return a row with samples, as the sampler leaves it."""
    return Result("book", label, label, 1, outcome, processes=processes(seconds))


def disturbed(label: str, seconds: float, seed: int, stride: int = 1) -> Result:
    """Return a row whose samples are disturbed, in every n-th round only."""
    rng = np.random.default_rng(seed)
    row = sampled(label, seconds)
    for process in row.processes:
        times = seconds * rng.uniform(1, 1.5) * (1 + rng.exponential(0.5, 20))
        process.samples = [Sample(number, float(times[number]), 1.0) for number in range(0, 20, stride)]
    return row


def value(estimate: Estimate | None) -> float:
    assert estimate is not None
    return estimate.value


@pytest.fixture
def peak() -> Rate:
    rate = workload_result(BOOK).peak
    assert rate is not None
    return Rate(rate.what, rate.flops, rate.processes)


@pytest.fixture
def baseline() -> Result:
    return sampled("per_example", 4e-4)


@pytest.fixture
def fast() -> Result:
    return sampled("in_place", 4e-5)


def test_figures_come_from_the_samples(peak: Rate, baseline: Result, fast: Result) -> None:
    reference = msgspec.structs.replace(peak, flops=2 * peak.flops)
    fast.processes[0].samples[0] = Sample(0, 8e-5, 4e-5)
    workload_result = summarise(BOOK, [baseline, fast], peak, reference, 1500)
    assert (workload_result.examples, workload_result.flops) == (10, BOOK.flops(10))
    assert (workload_result.peak, workload_result.no_peak, workload_result.reference) == (peak, "", reference)
    assert workload_result.peak_seconds == pytest.approx(PEAK_SECONDS)
    assert peak.flops_per_second == pytest.approx(peak.flops / peak.samples[0][0])
    assert reference.flops_per_second == pytest.approx(2 * peak.flops / peak.samples[0][0])
    assert (baseline.seconds, fast.seconds) == pytest.approx((4e-4, 4e-5))
    assert baseline.speed_up is None
    assert value(fast.speed_up) == pytest.approx(10)
    assert value(fast.percent_of_peak) == pytest.approx(50)
    assert fast.spread == 0.0  # of a typical process
    assert fast.cores_used == pytest.approx(25 / 26)


def test_a_row_that_failed_or_was_interrupted_early_has_no_figures(peak: Rate, baseline: Result, fast: Result) -> None:
    """Even if it failed after some samples."""
    late = sampled("batched_2d", 4e-5, Outcome.CRASHED)
    for process in fast.processes:
        process.samples = []
    summarise(BOOK, [baseline, late, fast], peak, NOT_TRIED, 1500)
    for row in (late, fast):
        assert (row.seconds, row.speed_up, row.percent_of_peak, row.spread, row.cores_used) == (None,) * 5
        assert not row.timed


@pytest.mark.parametrize("outcome", [Outcome.INCORRECT_AFTER_TIMING, Outcome.RETURNED_EARLY, Outcome.TOO_SLOW])
def test_a_baseline_that_is_incorrect_gives_no_speed_up(peak: Rate, fast: Result, outcome: Outcome) -> None:
    summarise(BOOK, [sampled("per_example", 4e-4, outcome), fast], peak, NOT_TRIED, 1500)
    assert fast.seconds == pytest.approx(4e-5)
    assert fast.speed_up is None
    assert fast.percent_of_peak is not None


@pytest.mark.parametrize("outcome", [Outcome.CRASHED, Outcome.TIMED_OUT])
def test_a_baseline_that_is_lost_late_leaves_what_was_paired(baseline: Result, fast: Result, outcome: Outcome) -> None:
    baseline.outcome = outcome
    del baseline.processes[3:]
    fast.processes[4].samples = [Sample(0, 1.0)]  # without a pair
    summarise(BOOK, [baseline, fast], NOT_TRIED, NOT_TRIED, 1500)
    assert (value(fast.speed_up), fast.seconds) == pytest.approx((10, 4e-5))
    assert (baseline.seconds, baseline.speed_up) == (None, None)


def test_the_columns_of_a_row_agree(peak: Rate) -> None:
    """Time, speed-up and share of the peak, whatever happened to the samples of the baseline and of the row."""
    baseline, row = disturbed("per_example", 4e-4, 1), disturbed("in_place", 4e-5, 2)
    strided = disturbed("slow", 1, 3, 5)
    peak.processes = disturbed("peak", 1e-3, 4).processes
    workload_result = summarise(BOOK, [baseline, row, strided], peak, NOT_TRIED, 1500)
    assert baseline.seconds is not None
    for result in (row, strided):
        assert baseline.seconds / (result.seconds or 0.0) == pytest.approx(value(result.speed_up))
    for result in (baseline, row):
        percent = 100 * (workload_result.peak_seconds or 0.0) / (result.seconds or 1.0)
        assert percent == pytest.approx(value(result.percent_of_peak))
    assert row.seconds == pytest.approx(estimates.seconds(row.samples))  # sampled in all rounds of the baseline


def test_a_run_with_a_precision_quotes_the_interval_that_it_stopped_by() -> None:
    rows = [disturbed("per_example", 4e-4, 1), disturbed("in_place", 4e-5, 2)]
    for row in rows:
        row.processes = [
            msgspec.structs.replace(row.processes[number % GENERATIONS], generation=number) for number in range(11)
        ]
    summarise(BOOK, rows, NOT_TRIED, NOT_TRIED, 1500, 0.01)
    assert rows[1].speed_up == estimates.paired_ratio(rows[0].samples, rows[1].samples, 0.96)


def test_without_a_peak_there_is_no_share_of_it(baseline: Result, fast: Result) -> None:
    workload_result = summarise(BOOK, [baseline, fast], NOT_TRIED, NOT_TRIED, 1500)
    assert (workload_result.peak, workload_result.no_peak, workload_result.peak_seconds) == (None, NOT_TRIED, None)
    assert (workload_result.reference, workload_result.reference_percent) == (None, None)
    assert fast.percent_of_peak is None
    assert fast.speed_up is not None


def test_there_is_no_share_of_a_peak_that_is_another_devices_or_has_no_pair(
    peak: Rate, baseline: Result, fast: Result
) -> None:
    late = sampled("batched_2d", 5e-5)
    fast.build = {"device": "GPU 1"}
    for process in late.processes:
        process.samples = [Sample(99, 5e-5)]
    summarise(BOOK, [baseline, fast, late], peak, NOT_TRIED, 1500)
    assert (fast.percent_of_peak, late.percent_of_peak) == (None, None)
    assert fast.speed_up is not None


def test_processes_that_an_interrupt_left_without_samples_are_dropped(baseline: Result, fast: Result) -> None:
    fast.processes[3].samples = []
    summarise(BOOK, [baseline, fast], NOT_TRIED, NOT_TRIED, 1500)
    assert [process.generation for process in fast.processes] == [0, 1, 2, 4]
    assert value(fast.speed_up) == pytest.approx(10)


def test_cores_are_unknown_where_the_cpu_time_is(fast: Result) -> None:
    fast.processes[0].samples.append(Sample(9, 1.0))
    summarise(BOOK, [fast], NOT_TRIED, NOT_TRIED, 1500)
    assert fast.cores_used is None
