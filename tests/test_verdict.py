"""What is said of a change, to the digit and at its boundaries; simulations of whole runs are in test_compare.py."""

import math

import pytest
from made_up_results import BOOK, made_up_results, row, workload_result
from msgspec.structs import replace
from scipy.stats import ttest_ind

from bench.records import Estimate, Process, Results, Sample
from bench.results.verdict import CANT_TELL, FASTER, SAME, SLOWER, Change, change, measured_floor, verdict

OLD, NEW = [0.0, 0.1, 0.05, 0.02], [0.2, 0.5]  # of different spread and size


def changed(old: list[float], new: list[float], floor: float, intervals: int = 1) -> tuple[Change, tuple[float, float]]:
    """Return a change and the logarithms of its bounds."""
    found = change(old, new, floor, intervals)
    assert found is not None
    assert found.ratio.low is not None
    assert found.ratio.high is not None
    return found, (math.log(found.ratio.low), math.log(found.ratio.high))


@pytest.mark.parametrize("intervals", [1, 5])
def test_without_a_floor_the_interval_is_welchs(intervals: int) -> None:
    found, bounds = changed(OLD, NEW, 0.0, intervals)
    known = ttest_ind(NEW, OLD, equal_var=False)
    assert bounds == pytest.approx(known.confidence_interval(1 - 0.05 / intervals))
    assert found.ratio.value == pytest.approx(math.exp(0.35 - 0.0425))
    assert found.clearness == pytest.approx(known.statistic)
    assert changed(NEW, OLD, 0.0, intervals)[0].clearness == pytest.approx(
        known.statistic
    )  # of what became faster, too


def test_the_floor_of_each_run_is_added_to_the_standard_error() -> None:
    found, bounds = changed([0.1, 0.1], [0.2, 0.2], 0.01)
    error = math.sqrt(2) * 0.01
    assert bounds == pytest.approx((0.1 - 1.95996 * error, 0.1 + 1.95996 * error), abs=1e-6)
    assert found.clearness == pytest.approx(0.1 / error)


def test_what_differs_without_any_spread_is_as_clear_as_can_be() -> None:
    assert changed([0.1, 0.1], [0.2, 0.2], 0.0)[0].clearness == math.inf
    assert changed([0.1, 0.1], [0.1, 0.1], 0.0)[0].clearness == 0.0


def test_both_runs_need_two_processes() -> None:
    assert change([0.1], [0.1, 0.2]) is None
    assert change([0.1, 0.2], [0.1]) is None
    assert change([0.1, 0.2], [0.1, 0.2]) is not None


@pytest.mark.parametrize(
    ("estimate", "margin", "word"),
    [
        (Estimate(1.0, None, 1.01), 0.03, CANT_TELL),
        (Estimate(1.0, 0.99, None), 0.03, CANT_TELL),
        (Estimate(1.0, 0.5, 2.0), 1.0, SAME),  # up to the margin
        (Estimate(1.05, 1.0, 1.1), 0.03, CANT_TELL),  # up to 1
        (Estimate(0.95, 0.9, 1.0), 0.03, CANT_TELL),
        (Estimate(2.0, 1.5, 3.0), 1.0, CANT_TELL),  # at the margin
        (Estimate(0.5, 0.4, 0.6), 1.0, CANT_TELL),
        (Estimate(1.02, 1.01, 1.04), 0.03, CANT_TELL),  # within the margin, perhaps
        (Estimate(0.98, 0.96, 0.99), 0.03, CANT_TELL),
        (Estimate(1.05, 1.01, 1.09), 0.03, SLOWER),
        (Estimate(0.95, 0.92, 0.98), 0.03, FASTER),
    ],
)
def test_the_boundaries_of_a_verdict(estimate: Estimate, margin: float, word: str) -> None:
    assert verdict(estimate, margin) == word


# --- The floor ---------------------------------------------------------------------------------------------------


def shifted(factor: float, processes: int = 2) -> list[Process]:
    """Return processes without any spread, so that all that differs between runs is the floor."""
    return [Process(number, 1, samples=[Sample(0, math.exp(factor))]) for number in range(processes)]


def unchanged(shift: float) -> Results:
    """Return a run with a baseline and two rows on a workload and one on another, all shifted by multiples."""
    results = made_up_results()
    results.workloads = [workload_result(BOOK), workload_result(replace(BOOK, name="wide"))]
    results.rows = [
        replace(row(label, 1.0, workload=workload), processes=shifted(factor * shift))
        for workload, label, factor in (
            ("book", "per_example", 0),
            ("book", "batched_2d", 1),
            ("book", "in_place", 2),
            ("wide", "per_example", 0),
            ("wide", "in_place", 4),
        )
    ]
    return results


def test_the_floor_is_the_median_over_all_rows_and_workloads() -> None:
    assert measured_floor([unchanged(shift) for shift in (0.0, 0.01, 0.02)]) == pytest.approx(0.02)


def test_rows_that_a_run_lacks_or_did_not_time_do_not_count_for_the_floor() -> None:
    one, two, three = (unchanged(shift) for shift in (0.0, 0.01, 0.02))
    del one.rows[4]
    two.rows[1].seconds = None
    assert measured_floor([one, two, three]) == pytest.approx(0.02)  # of in_place on book alone
    assert measured_floor([three, two, one]) == pytest.approx(0.02)
    two.rows[2].processes = shifted(0.01, processes=1)
    for runs in ([one, two, three], [three, two, one]):
        with pytest.raises(ValueError, match="no row in common"):
            measured_floor(runs)
