"""The statistics against known distributions."""

import math

import numpy as np
import pytest

from bench.analysis.estimates import (
    Samples,
    failed_controls,
    geometric_mean,
    holds_jointly,
    jitter,
    lower_quartile,
    outliers,
    paired_ratio,
    pairs,
    seconds,
    seconds_estimate,
    spread,
)
from bench.analysis.notes import JITTER
from bench.records import CONTROL, Estimate, Outcome, Process, Result, Sample
from impls.interface import Array


def interval(estimate: Estimate) -> tuple[float, float, float]:
    """Return value, low and high of an estimate that has an interval."""
    assert estimate.low is not None
    assert estimate.high is not None
    return estimate.value, estimate.low, estimate.high


def by_round(seconds: Array, stride: int = 1) -> list[dict[int, float]]:
    """Return simulated seconds (processes, rounds) as the estimates take them, of every n-th round only."""
    return [dict(list(enumerate(rounds))[::stride]) for rounds in seconds.tolist()]


def one_sided(rng: np.random.Generator, shape: tuple[int, int]) -> Array:
    """Return by how much each sample is disturbed: by 3 % on average, never negatively."""
    return 1 + rng.exponential(0.03, shape)


def heavy_tail(rng: np.random.Generator, shape: tuple[int, int]) -> Array:
    """Return disturbances that are small in three of four samples and may be of any size in the fourth."""
    return 1 + rng.exponential(0.005, shape) + np.where(rng.random(shape) < 0.25, 0.05 * rng.pareto(1.5, shape), 0)


NOISES = {"one-sided": one_sided, "heavy tail": heavy_tail}


@pytest.mark.parametrize("apart", [0.005, 0.013])
@pytest.mark.parametrize(("rounds", "stride"), [(5, 1), (9, 1), (40, 1), (25, 5)])
@pytest.mark.parametrize("noise", [*NOISES, "drift"])
def test_the_interval_covers_the_truth_in_about_95_of_100_runs(
    noise: str, rounds: int, stride: int, apart: float
) -> None:
    """Ten processes whose ratios are 0.5 to 1.3 % apart, with the counts of rounds that real runs have.

    With a stride, one is sampled in every fifth of the other's rounds. Drift wanders by 2 % from round to round, and
    both share it.
    """
    rng = np.random.default_rng([rounds, stride, len(noise)])
    truth, runs, shape = 8.0, 1000, (10, rounds)
    covered = 0
    for _ in range(runs):
        drift = np.exp(np.cumsum(rng.normal(0, 0.02, shape), axis=1)) if noise == "drift" else 1.0
        slow, fast = (drift * NOISES.get(noise, one_sided)(rng, shape) for _ in range(2))
        level = np.exp(rng.normal(0, apart, (10, 1)))
        _, low, high = interval(paired_ratio(by_round(truth * level * slow), by_round(fast, stride)))
        covered += low <= truth <= high
    assert 0.935 <= covered / runs <= 0.97


def test_noise_that_hits_one_implementation_harder_is_not_covered() -> None:
    """What the interval cannot know: disturbances of 3 % and of 1 % shift the ratio by 0.5 to 1 %."""
    rng = np.random.default_rng(6)
    ratios = []
    for _ in range(200):
        slow, fast = 1 + rng.exponential(0.03, (7, 9)), 1 + rng.exponential(0.01, (7, 9))
        ratios.append(paired_ratio(by_round(slow * np.exp(rng.normal(0, 0.005, (7, 1)))), by_round(fast)))
    assert 1.005 < np.mean([ratio.value for ratio in ratios]) < 1.01
    assert np.mean([ratio.holds(1.0) for ratio in ratios]) < 0.8


def result(label: str, seconds: list[float], workload: str, speed_up: Estimate | None = None) -> Result:
    """Return a result with one sample in each process."""
    processes = [Process(number, 1, samples=[Sample(0, value)]) for number, value in enumerate(seconds)]
    return Result(workload, label, "per_example", 1, Outcome.OK, processes=processes, speed_up=speed_up)


@pytest.mark.parametrize(("workloads", "processes"), [(1, 10), (9, 10), (9, 3)])
def test_in_a_run_of_unchanged_code_a_control_fails_in_one_case_of_twenty(workloads: int, processes: int) -> None:
    """However many controls it has; by a 95 % interval of its own, one of nine would in 37 % of runs."""
    rng = np.random.default_rng(workloads)
    runs, failed, missed = 1000, 0, 0
    for _ in range(runs):
        results = []
        for workload in map(str, range(workloads)):
            ratios = np.exp(rng.normal(0, 0.01, processes)).tolist()
            control = result(CONTROL, [1.0] * processes, workload, geometric_mean(ratios))
            results += [result("per_example", ratios, workload), control]
        failed += bool(failed_controls(results))
        missed += any(each.speed_up is not None and not each.speed_up.holds(1.0) for each in results)
    assert 0.035 <= failed / runs <= 0.065
    assert workloads == 1 or missed / runs > 0.3


@pytest.mark.parametrize("intervals", [1, 9])
@pytest.mark.parametrize("values", [[1.0, 1.02, 0.99, 1.05], [1.0, 1.02]])
def test_a_joint_interval_is_that_of_a_higher_confidence(values: list[float], intervals: int) -> None:
    plain = geometric_mean(values)
    _, low, high = interval(geometric_mean(values, 1 - 0.05 / intervals))
    inside, outside = (low * 1.0001, high * 0.9999), (low * 0.9999, high * 1.0001)
    assert all(holds_jointly(plain, value, len(values), intervals) for value in inside)
    assert not any(holds_jointly(plain, value, len(values), intervals) for value in outside)


def test_an_estimate_of_one_process_contains_nothing() -> None:
    assert not holds_jointly(Estimate(1.0), 1.0, 1, 2)
    assert holds_jointly(Estimate(1.0, 1.0, 1.0), 1.0, 5, 2)


def has_jitter(rng: np.random.Generator, share: float, factor: float, processes: int = 10) -> bool:
    """Return whether jitter is found where a share of samples takes `factor` times as long, on a noisy machine."""
    baseline, samples = (heavy_tail(rng, (processes, 9)) for _ in range(2))
    estimate = jitter(by_round(samples * np.where(rng.random(samples.shape) < share, factor, 1.0)), by_round(baseline))
    return estimate is not None and estimate.low is not None and estimate.low > JITTER


def test_an_implementations_own_jitter_is_found_and_noise_that_hits_all_is_not() -> None:
    rng = np.random.default_rng(3)
    assert sum(has_jitter(rng, 0.0, 1.0) for _ in range(500)) <= 2
    assert sum(has_jitter(rng, 0.45, 1.4) for _ in range(100)) >= 80
    assert sum(has_jitter(rng, 0.45, 1.4, processes=3) for _ in range(100)) <= 60  # three processes rarely suffice


def test_jitter_is_measured_in_the_rounds_of_both() -> None:
    baseline: Samples = [dict.fromkeys(range(20), 2.0)] * 3
    quiet = {0: 1.0, 5: 1.0, 10: 1.0, 15: 1.0}
    assert jitter([quiet] * 3, baseline) == Estimate(1.0, 1.0, 1.0)
    assert jitter([quiet | {10: 1.5, 15: 1.5}] * 3, baseline) == Estimate(1.5, 1.5, 1.5)
    assert jitter([{0: 1.0, 5: 1.0, 10: 1.5}] * 3, baseline) is None


def test_a_neighbour_who_slows_the_baseline_in_a_third_of_the_rounds_changes_little() -> None:
    """Bursts of up to twice the time, 1 % noise otherwise; the mean of the same rounds is 16 % off."""
    rng = np.random.default_rng(2)
    slow = 8.0 * np.exp(rng.normal(0, 0.01, (7, 9))) * np.where(rng.random((7, 9)) < 0.33, rng.uniform(1, 2, (7, 9)), 1)
    fast = np.exp(rng.normal(0, 0.01, (7, 9)))
    estimate = paired_ratio([dict(enumerate(rounds)) for rounds in slow], [dict(enumerate(rounds)) for rounds in fast])
    assert estimate.value == pytest.approx(8.0, rel=0.01)
    assert np.mean(slow) > 1.1 * 8.0


def test_an_interval_from_the_rounds_alone_would_not_cover_the_truth() -> None:
    """Why processes are the unit: pooled rounds of few processes give a narrow, wrong interval."""
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(500):
        pooled = np.exp(rng.normal(0, 0.013, (5, 1)) + rng.normal(0, 0.005, (5, 30))).ravel()
        _, low, high = interval(geometric_mean(pooled.tolist()))
        covered += low <= 1.0 <= high
    assert covered / 500 < 0.6


def test_only_rounds_that_both_have_are_pairs() -> None:
    baseline = [{0: 10.0, 1: 1000.0, 2: 20.0}, {0: 10.0}]
    estimate = paired_ratio(baseline, [{0: 5.0, 2: 10.0, 7: 1e-9}, {}])
    assert estimate.value == pytest.approx(2.0)
    assert (estimate.low, estimate.high, estimate.half_width) == (None, None, None)  # one process gives no interval


def test_pairs_are_by_process_and_in_the_order_of_rounds() -> None:
    first = [{0: 1.0, 1: 2.0, 2: 3.0}, {5: 1.0}, {8: 4.0, 1: 5.0}]
    second = [{0: 1.5, 2: 3.5}, {6: 1.0}, {8: 4.5, 1: 5.5}, {0: 1.0}]
    assert pairs(first, second) == [([1.0, 3.0], [1.5, 3.5]), ([5.0, 4.0], [5.5, 4.5])]


def test_no_pair_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one round"):
        paired_ratio([{0: 1.0}], [{1: 1.0}])


def test_known_interval() -> None:
    """Logs 0 and 2: mean 1, s = sqrt(2), t(0.975, 1) = 12.706, margin 12.706."""
    value, low, high = interval(geometric_mean([1.0, math.e**2]))
    assert value == pytest.approx(math.e)
    assert math.log(high) == pytest.approx(1 + 12.7062, abs=1e-3)
    assert math.log(low) == pytest.approx(1 - 12.7062, abs=1e-3)


def test_the_interval_of_the_seconds_is_over_processes() -> None:
    estimate = seconds_estimate([{0: 1.0}, {}, {3: math.e**2, 4: math.e**2}])
    assert interval(estimate) == pytest.approx(interval(geometric_mean([1.0, math.e**2])))
    assert seconds_estimate([{0: 2.0, 1: 3.0}]) == Estimate(2.25)


def test_quartiles_and_spread() -> None:
    samples = [{0: 1.0, 1: 2.0, 2: 3.0, 3: 4.0}, {0: 10.0, 1: 20.0, 2: 30.0, 3: 40.0}, {}]
    assert seconds(samples) == pytest.approx(math.sqrt(1.75 * 17.5))
    assert lower_quartile([3.0]) == 3.0
    assert spread(samples) == pytest.approx((3.75 - 1.25) / 2.5)
    assert spread([{0: 1.0, 1: 2.0, 2: 3.0}]) is None
    assert spread([dict.fromkeys(range(4), 1.0), *samples[:2]]) == pytest.approx(1.0)  # the median over processes


def test_a_compilation_among_the_samples_is_an_outlier() -> None:
    assert outliers([{0: 1.0, 1: 1.1, 2: 0.9, 3: 50.0}, {0: 30.0, 1: 31.0}]) == 1
    assert outliers([{0: 1.0, 1: 1.0, 2: 10.0}]) == 0  # ten times, and not more
