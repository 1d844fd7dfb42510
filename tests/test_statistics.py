"""The statistics against known distributions."""

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.records import Estimate
from bench.results.estimates import (
    geometric_mean,
    lower_quartile,
    outliers,
    paired_ratio,
    seconds,
    seconds_estimate,
    spread,
)


def interval(estimate: Estimate) -> tuple[float, float, float]:
    """Return value, low and high of an estimate that has an interval."""
    assert estimate.low is not None
    assert estimate.high is not None
    return estimate.value, estimate.low, estimate.high


@pytest.mark.parametrize("processes", [3, 5, 8])
def test_the_interval_covers_the_truth_in_about_95_of_100_runs(processes: int) -> None:
    """Processes 1.3 % apart, rounds 5 % apart: the spreads that were measured, in 2,000 simulated runs."""
    rng = np.random.default_rng(processes)
    truth, runs, rounds = 8.0, 2000, 9
    level = rng.normal(0, 0.013, (runs, processes, 1))
    slow = truth * np.exp(level + rng.normal(0, 0.05, (runs, processes, rounds)))
    fast = np.exp(rng.normal(0, 0.05, (runs, processes, rounds)))
    covered = 0
    for one, other in zip(slow.tolist(), fast.tolist(), strict=True):
        estimate = paired_ratio(
            [dict(enumerate(rounds)) for rounds in one], [dict(enumerate(rounds)) for rounds in other]
        )
        _, low, high = interval(estimate)
        covered += low <= truth <= high
    assert 0.935 <= covered / runs <= 0.965


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


@given(st.lists(st.floats(0.1, 10), min_size=2, max_size=6), st.floats(0.5, 2))
def test_a_drift_that_both_share_cancels(drift: list[float], ratio: float) -> None:
    slow = [dict(enumerate(value * ratio for value in drift))] * 2
    fast = [dict(enumerate(drift))] * 2
    assert interval(paired_ratio(slow, fast)) == pytest.approx((ratio, ratio, ratio))


@given(st.lists(st.lists(st.floats(1e-6, 1), min_size=3, max_size=5), min_size=2, max_size=5))
def test_swapping_the_two_inverts_the_estimate(generations: list[list[float]]) -> None:
    one = [dict(enumerate(rounds[:3])) for rounds in generations]
    other = [dict(enumerate(random.Random(0).sample(rounds[:3], 3))) for rounds in generations]
    forth = interval(paired_ratio(one, other))
    value, low, high = interval(paired_ratio(other, one))
    assert (1 / value, 1 / high, 1 / low) == pytest.approx(forth)


def test_only_rounds_that_both_have_are_pairs() -> None:
    baseline = [{0: 10.0, 1: 1000.0, 2: 20.0}, {0: 10.0}]
    row = [{0: 5.0, 2: 10.0, 7: 1e-9}, {}]
    estimate = paired_ratio(baseline, row)
    assert estimate.value == pytest.approx(2.0)
    assert (estimate.low, estimate.high, estimate.half_width) == (None, None, None)  # one process gives no interval


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
    found = seconds_estimate([{0: 1.0}, {}, {3: math.e**2, 4: math.e**2}])
    assert interval(found) == pytest.approx(interval(geometric_mean([1.0, math.e**2])))
    assert seconds_estimate([{0: 2.0, 1: 3.0}]) == Estimate(2.25)


def test_a_multiple_of_an_estimate() -> None:
    assert Estimate(2.0, 1.0, 4.0).scaled(3.0) == Estimate(6.0, 3.0, 12.0)
    assert Estimate(2.0).scaled(3.0) == Estimate(6.0)
    assert Estimate(2.0, 1.5, 2.1).half_width == pytest.approx(0.15)


def test_quartiles_and_spread() -> None:
    generations = [{0: 1.0, 1: 2.0, 2: 3.0, 3: 4.0}, {0: 10.0, 1: 20.0, 2: 30.0, 3: 40.0}, {}]
    assert seconds(generations) == pytest.approx((1.75 + 17.5) / 2)
    assert lower_quartile([3.0]) == 3.0
    assert spread(generations) == pytest.approx((3.75 - 1.25) / 2.5)
    assert spread([{0: 1.0, 1: 2.0, 2: 3.0}]) is None


def test_a_compilation_among_the_samples_is_an_outlier() -> None:
    assert outliers([{0: 1.0, 1: 1.1, 2: 0.9, 3: 50.0}, {0: 30.0, 1: 31.0}]) == 1
    assert outliers([{0: 1.0, 1: 3.0, 2: 0.9}]) == 0
