"""The stopping rule of `--precision`: when it stops, and that what it quotes then is still a 95 % interval."""

import numpy as np
import pytest

from bench.analysis.estimates import CONFIDENCE, paired_ratio
from bench.analysis.precision import MAX_PROCESSES, MIN_PROCESSES, confidence, narrow_enough, ratio
from bench.records import CONTROL, Outcome, Process, Result, Sample

RUNS = 20_000


def sampled(label: str, seconds: list[float], outcome: Outcome = Outcome.PENDING) -> Result:
    """Return a result as the sampler has it between two processes, all samples of a process alike."""
    processes = [
        Process(number, 1, samples=[Sample(round_number, value) for round_number in range(5)])
        for number, value in enumerate(seconds)
    ]
    return Result("book", label, label, 1, outcome, processes=processes)


def apart(processes: int, percent: float) -> list[float]:
    """Return seconds of processes that lie by turns so much above and below 1."""
    return [1 + percent / 100 * (-1) ** number for number in range(processes)]


def test_it_stops_when_every_interval_is_narrow_and_not_before() -> None:
    baseline, quiet, noisy = (
        sampled(label, apart(11, percent)) for label, percent in (("per_example", 0), ("quiet", 0.1), ("noisy", 3))
    )
    assert narrow_enough([baseline, quiet], 0.01)
    assert not narrow_enough([baseline, quiet, noisy], 0.01)
    assert not narrow_enough([baseline, sampled(CONTROL, apart(11, 3)), quiet], 0.01)
    assert narrow_enough([baseline, quiet, noisy], 0.04)


def test_it_does_not_stop_before_the_tenth_process() -> None:
    assert not narrow_enough([sampled("per_example", [1.0] * 9), sampled("in_place", [0.1] * 9)], 0.01)
    assert narrow_enough([sampled("per_example", [1.0] * 10), sampled("in_place", [0.1] * 10)], 0.01)


def test_the_interval_that_is_quoted_is_the_one_that_had_to_be_narrow() -> None:
    baseline, result = sampled("per_example", [1.0] * 12), sampled("in_place", apart(12, 0.8))
    plain = paired_ratio(baseline.samples, result.samples)
    quoted = ratio(baseline.samples, result.samples, 0.01).half_width
    assert quoted is not None
    assert plain.half_width is not None
    assert quoted > plain.half_width
    assert narrow_enough([baseline, result], quoted)
    assert not narrow_enough([baseline, result], quoted * 0.999)
    assert ratio(baseline.samples, result.samples, None) == plain


def test_what_failed_is_not_waited_for() -> None:
    baseline, good = sampled("per_example", [1.0] * 10), sampled("in_place", [0.1] * 10)
    assert narrow_enough([baseline, good, sampled("gone", [0.1], Outcome.CRASHED)], 0.01)
    assert not narrow_enough([baseline, good, sampled("late", [0.1])], 0.01)
    lost = sampled("per_example", [1.0], Outcome.CRASHED)
    assert narrow_enough([lost, sampled("noisy", apart(11, 3))], 0.01)
    assert narrow_enough([baseline], 0.01)


def half_widths(logs: np.ndarray, plain: bool) -> np.ndarray:
    """Return the margins on the logarithm after 1, 2, … processes of each run, infinite before the second."""
    from scipy.special import stdtrit

    counts = np.arange(1, logs.shape[1] + 1)
    means = np.cumsum(logs, 1) / counts
    squares = np.cumsum(logs**2, 1) - counts * means**2
    nominal = np.array([CONFIDENCE if plain else confidence(int(count)) for count in counts])
    margins = np.full(logs.shape, np.inf)
    spread = np.sqrt(np.maximum(squares[:, 1:], 0) / (counts[1:] - 1))
    margins[:, 1:] = stdtrit(counts[1:] - 1, (1 + nominal[1:]) / 2) * spread / np.sqrt(counts[1:])
    return margins


def coverage(apart_percent: float, precision_percent: float, plain: bool = False) -> tuple[float, float]:
    """Return how often the interval at which a run stops contains the truth, and how many processes it takes."""
    rng = np.random.default_rng(int(100 * apart_percent + precision_percent))
    logs = rng.normal(0, apart_percent / 100, (RUNS, MAX_PROCESSES))
    margins = half_widths(logs, plain)
    narrow = np.sinh(np.minimum(margins, 1)) <= precision_percent / 100
    narrow[:, : MIN_PROCESSES - 1], narrow[:, -1] = False, True
    last = narrow.argmax(1)
    means = np.cumsum(logs, 1)[np.arange(RUNS), last] / (last + 1)
    contained = np.abs(means) <= margins[np.arange(RUNS), last]
    return float(contained.mean()), float((last + 1).mean())


@pytest.mark.parametrize("precision_percent", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("apart_percent", [0.3, 0.5, 0.8, 1.0, 1.3, 1.8])
def test_what_is_quoted_contains_the_truth_in_94_to_96_of_100_runs(
    apart_percent: float, precision_percent: float
) -> None:
    contained, processes = coverage(apart_percent, precision_percent)
    assert 0.94 <= contained <= 0.96
    assert processes < MAX_PROCESSES


def test_plain_intervals_under_the_same_rule_would_not() -> None:
    """Why the quoted interval is a wider one: 93 of 100 where it takes some 17 or 27 processes."""
    for apart_percent in (1.0, 1.3):
        contained, processes = coverage(apart_percent, 0.5, plain=True)
        assert contained < 0.94
        assert 12 < processes < 35


def test_the_margins_of_the_simulation_are_those_of_the_estimate() -> None:
    logs = np.random.default_rng(5).normal(0, 0.01, (1, 12))
    result, baseline = sampled("in_place", np.exp(logs[0]).tolist()), sampled("per_example", [1.0] * 12)
    estimate = ratio(result.samples, baseline.samples, 0.01)
    assert estimate.half_width == pytest.approx(np.sinh(half_widths(logs, plain=False)[0, -1]), rel=1e-9)
