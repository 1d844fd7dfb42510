"""What is said of a change, to the digit and at its boundaries, and how often simulated runs make a gate fail."""

import math
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ttest_ind

from bench.analysis.verdict import (
    FASTER,
    FLOOR,
    INCONCLUSIVE,
    SAME,
    SLOWER,
    change,
    percent,
    read_limits,
    verdict,
)
from bench.records import Estimate
from impls.support.errors import UserError

OLD, NEW = [0.0, 0.1, 0.05, 0.02], [0.2, 0.5]  # of different spread and size
RUNS = 2000


def log_bounds(old: list[float], new: list[float], floor: float, intervals: int = 1) -> tuple[float, float]:
    """Return the logarithms of the bounds of a change."""
    ratio = change(old, new, floor, intervals)
    assert ratio is not None
    assert ratio.value == pytest.approx(math.exp(np.mean(new) - np.mean(old)))
    return math.log(ratio.ends[0]), math.log(ratio.ends[1])


@pytest.mark.parametrize("intervals", [1, 5])
def test_without_a_floor_the_interval_is_welchs(intervals: int) -> None:
    known = ttest_ind(NEW, OLD, equal_var=False).confidence_interval(1 - 0.05 / intervals)
    assert log_bounds(OLD, NEW, 0.0, intervals) == pytest.approx(known)


def test_the_floor_of_each_run_is_added_to_the_standard_error() -> None:
    margin = 1.95996 * math.sqrt(2) * 0.01
    assert log_bounds([0.1, 0.1], [0.2, 0.2], 0.01) == pytest.approx((0.1 - margin, 0.1 + margin), abs=1e-6)


def test_both_runs_need_two_processes() -> None:
    assert change([0.1], [0.1, 0.2]) is change([0.1, 0.2], [0.1]) is None


@pytest.mark.parametrize(
    ("estimate", "margin", "word"),
    [
        (None, 0.03, INCONCLUSIVE),
        (Estimate(1.0), 0.03, INCONCLUSIVE),
        (Estimate(1.0, 0.5, 2.0), 1.0, SAME),  # up to the margin
        (Estimate(1.01, 1.005, 1.02), 0.03, SAME),  # surely slower, and surely by nothing that matters
        (Estimate(1.05, 1.0, 1.1), 0.03, INCONCLUSIVE),  # up to 1
        (Estimate(2.0, 1.5, 3.0), 1.0, INCONCLUSIVE),  # at the margin
        (Estimate(0.5, 0.4, 0.6), 1.0, INCONCLUSIVE),
        (Estimate(1.02, 1.01, 1.04), 0.03, INCONCLUSIVE),  # within the margin, perhaps
        (Estimate(1.05, 1.01, 1.09), 0.03, SLOWER),
        (Estimate(0.95, 0.92, 0.98), 0.03, FASTER),
    ],
)
def test_one_interval_and_the_margin_give_one_word(estimate: Estimate | None, margin: float, word: str) -> None:
    assert verdict(estimate, margin) == word


# --- Simulations -------------------------------------------------------------------------------------------------


def drawn(rng: np.random.Generator, slower: float, intervals: int = 1) -> Estimate:
    """Return the change between two runs that differ by the floor, and by `slower`; processes are 1.3 % apart."""
    means = rng.normal(0, FLOOR, 2) + np.array([0.0, math.log(slower)])
    old, new = (rng.normal(mean, 0.013, 10).tolist() for mean in means)
    ratio = change(old, new, intervals=intervals)
    assert ratio is not None
    return ratio


def verdicts(slower: float, limit: float) -> list[str]:
    """Return what a gate of fifty results says of one of them, in many runs."""
    rng = np.random.default_rng(int(1000 * slower))
    return [verdict(drawn(rng, slower, intervals=50), limit) for _ in range(RUNS)]


def test_the_interval_of_a_change_contains_the_truth() -> None:
    rng = np.random.default_rng(1)
    assert 0.93 <= np.mean([drawn(rng, 1.07).holds(1.07) for _ in range(RUNS)]) <= 0.97


def test_intervals_of_a_gate_hold_together() -> None:
    rng = np.random.default_rng(2)
    missed = [any(not drawn(rng, 1.0, 20).holds(1.0) for _ in range(20)) for _ in range(RUNS // 10)]
    assert np.mean(missed) <= 0.09


def test_a_gate_lets_unchanged_code_pass_and_finds_what_is_slower() -> None:
    assert verdicts(1.0, 0.05).count(SLOWER) == 0
    assert verdicts(1.07, 0.05).count(SLOWER) > 0.95 * RUNS
    assert verdicts(1.10, 0.05).count(SLOWER) == RUNS


# --- Limits ------------------------------------------------------------------------------------------------------


def test_the_most_particular_limit_counts(tmp_path: Path) -> None:
    path = tmp_path / "limits.toml"
    path.write_text('fail-on = "5%"\n[rows]\njax = "10 %"\n[workloads.book]\n"*" = "8%"\nin_place = "150%"\n')
    limits = read_limits(path)
    asked = [("book", "in_place"), ("book", "jax"), ("book", "torch"), ("wide", "jax"), ("wide", "torch")]
    assert [limits.limit(*each) for each in asked] == pytest.approx([1.5, 0.10, 0.08, 0.10, 0.05])
    assert percent("10000%", "the largest") == 100.0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("fail-on = 5", "not a limits file"),
        ("fail_on = '5%'", "not a limits file"),
        ("fail-on = '5'", "fail-on: expected a percentage above 0 %, as 5%, found '5'"),
        ("[workloads.book]\njax = 'nan%'", "jax: expected a percentage"),
        ("[rows]\njax = '5%'\ntorch = '0%'", "torch: expected a percentage"),
        ("fail-on = '10001%'", "fail-on: expected a percentage"),
        ("fail-on = '٣%'", "fail-on: expected a percentage"),
    ],
)
def test_a_bad_limits_file_is_reported_in_one_line(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "limits.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=words):
        read_limits(path)
    with pytest.raises(UserError, match="cannot be read"):
        read_limits(tmp_path / "none.toml")
