"""The statistics against known distributions."""

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.analysis.estimates import (
    Generations,
    controls_off,
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
    typical_rounds,
)
from bench.analysis.notes import JITTER
from bench.records import CONTROL, Estimate, Outcome, Process, Row, Sample
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

    A strided row is sampled in every fifth of the baseline's rounds. Drift wanders by 2 % from round to round, and both
    rows share it.
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


def test_noise_that_hits_one_row_harder_is_not_covered() -> None:
    """What the interval cannot know: 3 % of disturbance on the one, 1 % on the other shift the ratio by 0.5 to 1 %."""
    rng = np.random.default_rng(6)
    found = []
    for _ in range(200):
        slow, fast = 1 + rng.exponential(0.03, (7, 9)), 1 + rng.exponential(0.01, (7, 9))
        found.append(paired_ratio(by_round(slow * np.exp(rng.normal(0, 0.005, (7, 1)))), by_round(fast)))
    assert 1.005 < np.mean([estimate.value for estimate in found]) < 1.01
    assert np.mean([estimate.holds(1.0) for estimate in found]) < 0.8


def row_of(label: str, samples: Generations, workload: str = "book") -> Row:
    processes = [
        Process(generation, 1, samples=[Sample(number, seconds) for number, seconds in rounds.items()])
        for generation, rounds in enumerate(samples)
    ]
    return Row(workload, label, "per_example", 1, Outcome.OK, processes=processes)


@pytest.mark.parametrize(("workloads", "processes"), [(1, 10), (9, 10), (9, 3)])
def test_a_run_of_unchanged_code_raises_the_alarm_in_one_case_of_twenty(workloads: int, processes: int) -> None:
    """However many controls it has; each by its own 95 % interval, nine of them would in 37 % of runs."""
    rng = np.random.default_rng(workloads)
    runs, joint, single = 1000, 0, 0
    for _ in range(runs):
        rows = []
        for number in range(workloads):
            ratios = np.exp(rng.normal(0, 0.01, processes))
            baseline = row_of("per_example", [{0: float(ratio)} for ratio in ratios], str(number))
            control = row_of(CONTROL, [{0: 1.0}] * processes, str(number))
            control.speed_up = geometric_mean(ratios.tolist())
            rows += [baseline, control]
        joint += bool(controls_off(rows))
        single += any(row.speed_up is not None and not row.speed_up.holds(1.0) for row in rows)
    assert 0.035 <= joint / runs <= 0.065
    assert workloads == 1 or single / runs > 0.3


@pytest.mark.parametrize("intervals", [1, 9])
@pytest.mark.parametrize("values", [[1.0, 1.02, 0.99, 1.05], [1.0, 1.02]])
def test_a_joint_interval_is_that_of_a_higher_confidence(values: list[float], intervals: int) -> None:
    plain = geometric_mean(values)
    _, low, high = interval(geometric_mean(values, 1 - 0.05 / intervals))
    inside, outside = (low * 1.0001, high * 0.9999), (low * 0.9999, high * 1.0001)
    assert all(holds_jointly(plain, value, len(values), intervals) for value in inside)
    assert not any(holds_jointly(plain, value, len(values), intervals) for value in outside)


def test_an_interval_without_a_bound_holds_nothing_and_one_without_a_width_its_value() -> None:
    for without in (Estimate(1.0, None, 1.1), Estimate(1.0, 0.9, None), Estimate(1.0)):
        assert not holds_jointly(without, 1.0, 5, 2)
    assert not holds_jointly(Estimate(1.05), 1.05, 1, 9)
    assert holds_jointly(Estimate(1.0, 1.0, 1.0), 1.0, 5, 2)


def test_each_control_is_judged_by_its_own_processes_and_the_number_of_all() -> None:
    rows = []
    for workload, log in (("one", 0.05), ("two", 0.05), ("three", 0.0)):
        control = row_of(CONTROL, [{0: 1.0}] * 10, workload)
        control.speed_up = Estimate(math.exp(log), math.exp(log - 0.04), math.exp(log + 0.04))
        rows += [row_of("per_example", [{0: 1.0}] * 10, workload), control]
    assert controls_off(rows) == []  # with Bonferroni's 1 - 0.05 / 3, the margin is 0.0520
    assert controls_off(rows[:4]) == ["one", "two"]  # with 1 - 0.05 / 2, it is 0.0475


def jittering(rng: np.random.Generator, share: float, factor: float, processes: int = 10, rounds: int = 9) -> bool:
    """Return whether a row is marked of whose samples a share takes `factor` times as long, on a noisy machine."""
    baseline, row = (heavy_tail(rng, (processes, rounds)) for _ in range(2))
    found = jitter(by_round(row * np.where(rng.random(row.shape) < share, factor, 1.0)), by_round(baseline))
    return found is not None and found.low is not None and found.low > JITTER


def test_jitter_of_a_rows_own_is_found_and_noise_that_hits_all_is_not() -> None:
    rng = np.random.default_rng(3)
    assert sum(jittering(rng, 0.0, 1.0) for _ in range(500)) <= 2
    assert sum(jittering(rng, 0.45, 1.4) for _ in range(100)) >= 80
    assert sum(jittering(rng, 0.45, 1.4, processes=3) for _ in range(100)) <= 60  # three processes rarely tell


def test_jitter_is_measured_in_the_rounds_of_both() -> None:
    baseline: Generations = [dict.fromkeys(range(20), 2.0)] * 3
    quiet = {0: 1.0, 5: 1.0, 10: 1.0, 15: 1.0}
    assert jitter([quiet] * 3, baseline) == Estimate(1.0, 1.0, 1.0)
    assert jitter([quiet | {10: 1.5, 15: 1.5}] * 3, baseline) == Estimate(1.5, 1.5, 1.5)
    assert jitter([{0: 1.0, 5: 1.0, 10: 1.5}] * 3, baseline) is None
    spread_out = jitter([dict(enumerate((1.0, 2.0, 3.0, 4.0)))], baseline)
    assert spread_out is not None
    assert spread_out.value == pytest.approx(3.25 / 1.75)


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


def test_pairs_are_counted_by_generation() -> None:
    found = pairs(
        [{0: 1.0, 1: 2.0, 2: 3.0}, {5: 1.0}, {0: 4.0, 1: 5.0}], [{0: 1.5, 2: 3.5}, {6: 1.0}, {0: 4.5}, {0: 1.0}]
    )
    assert found == [([1.0, 3.0], [1.5, 3.5]), ([4.0], [4.5])]
    assert typical_rounds(found) == 1
    unordered = {8: 1.0, 1: 2.0}  # a set of these has them in this order
    assert pairs([unordered], [unordered]) == [([2.0, 1.0], [2.0, 1.0])]


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
    assert seconds(generations) == pytest.approx(math.sqrt(1.75 * 17.5))
    assert lower_quartile([3.0]) == 3.0
    assert spread(generations) == pytest.approx((3.75 - 1.25) / 2.5)
    assert spread([{0: 1.0, 1: 2.0, 2: 3.0}]) is None
    quiet, noisy = dict(enumerate((1.0, 1.0, 1.0, 1.0))), generations[0]
    assert spread([quiet, noisy, noisy]) == pytest.approx(1.0)


def test_a_compilation_among_the_samples_is_an_outlier() -> None:
    assert outliers([{0: 1.0, 1: 1.1, 2: 0.9, 3: 50.0}, {0: 30.0, 1: 31.0}]) == 1
    assert outliers([{0: 1.0, 1: 3.0, 2: 0.9}]) == 0
    assert outliers([{0: 1.0, 1: 1.0, 2: 10.0}]) == 0  # ten times, and not more
