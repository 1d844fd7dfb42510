"""Two runs compared: how wide the intervals are, and why a row cannot be told."""

import math
from typing import Any

import pytest
from made_up_results import BOOK, made_up_results, row, workload_result
from msgspec.structs import replace

from bench.records import CONTROL, Outcome, Process, Results, Row, Sample
from bench.results.compare_runs import Comparison, RowChange, compare_runs
from bench.results.limits import Limits
from bench.results.verdict import CANT_TELL, FLOOR, PEAK_FLOOR, change, logs

LOGS = (-0.01, 0.0, 0.02)  # of the processes of a row over its baseline


def sampled(label: str, logs: tuple[float, ...], workload: str = "book", **others: Any) -> Row:
    found = [Process(n, 1, samples=[Sample(0, math.exp(log))]) for n, log in enumerate(logs)]
    return row(label, 1.0, workload=workload, **{"processes": found, **others})


def run(shift: float = 0.0, workloads: tuple[str, ...] = ("book",)) -> Results:
    """Return a run whose rows batched_2d and in_place take exp(shift) times as long."""
    results = made_up_results()
    results.workloads = [workload_result(replace(BOOK, name=name)) for name in workloads]
    shifted = tuple(log + shift for log in LOGS)
    results.rows = [
        found
        for name in workloads
        for found in (
            sampled("per_example", (0.0, 0.0, 0.0), name),
            sampled(CONTROL, (0.0, 0.0, 0.0), name),
            sampled("batched_2d", shifted, name),
            sampled("in_place", shifted, name),
        )
    ]
    return results


def change_of(comparison: Comparison, label: str) -> RowChange:
    (found,) = (each for each in comparison.changes if each.label == label)
    return found


# --- Intervals ---------------------------------------------------------------------------------------------------


def known(shift: float, count: int) -> Any:
    found = change(list(LOGS), [log + shift for log in LOGS], FLOOR, count)
    assert found is not None
    return pytest.approx([found.ratio.value, found.ratio.low, found.ratio.high])


def bounds(comparison: Comparison, label: str = "in_place") -> list[float | None]:
    found = change_of(comparison, label).change
    assert found is not None
    return [found.ratio.value, found.ratio.low, found.ratio.high]


def test_a_gate_widens_the_intervals_by_the_rows_that_are_compared() -> None:
    old, new = run(), run(0.1)
    assert bounds(compare_runs(old, new)) == known(0.1, 1)
    assert bounds(compare_runs(old, new, gate=True)) == known(0.1, 3)  # with the baseline, without the control
    old.rows[2].seconds = None  # was not timed before
    assert bounds(compare_runs(old, new, gate=True)) == known(0.1, 2)
    old.rows[2] = replace(old.rows[2], seconds=1.0, threads=2)  # is not comparable
    assert bounds(compare_runs(old, new, gate=True)) == known(0.1, 2)
    new.rows[2].seconds = None
    assert bounds(compare_runs(old, new, gate=True)) == known(0.1, 2)


def test_the_floor_of_a_baseline_is_that_of_the_peak() -> None:
    old, new = run(), run()
    new.rows[0] = sampled("per_example", LOGS)
    peak = old.workloads[0].peak
    assert peak is not None
    (before, after) = (logs(of.rows[0].samples, peak.samples) for of in (old, new))
    for floor, of_peak in ((FLOOR, PEAK_FLOOR), (0.02, 0.02)):
        found = change(before, after, of_peak)
        assert found is not None
        expected = [found.ratio.value, found.ratio.low, found.ratio.high]
        assert bounds(compare_runs(old, new, floor=floor), "per_example") == pytest.approx(expected)


def test_the_clearest_change_is_first_and_what_cannot_be_told_last() -> None:
    """Although that is the first row of the run, and the second hardly changed."""
    old, new = run(), run(0.1)
    new.rows[2] = sampled("batched_2d", tuple(log + 1e-4 for log in LOGS))
    old.workloads[0].peak = new.workloads[0].peak = None
    assert [each.label for each in compare_runs(old, new).changes] == ["in_place", "batched_2d", "per_example"]


# --- Why a row cannot be told ------------------------------------------------------------------------------------


@pytest.mark.parametrize("turn", [1, -1])
def test_why_a_row_cannot_be_told(turn: int) -> None:
    """Whichever of the two runs it is that lacks something."""
    whole, less = run(), run()
    less.rows[3] = sampled("in_place", (0.1,))
    old, new = [whole, less][::turn]
    assert change_of(compare_runs(old, new), "in_place").reason == "a run has one process only"
    assert change_of(compare_runs(old, new), "batched_2d").reason == ""
    less.workloads[0].peak = None
    assert change_of(compare_runs(old, new), "per_example").reason == "the peak was not sampled"
    less.rows[0].processes = [Process(0, 1, samples=[Sample(99, 1.0)])]
    assert change_of(compare_runs(old, new), "in_place").reason == "per_example was not sampled"
    del less.rows[0]
    found = change_of(compare_runs(old, new), "in_place")
    assert (found.verdict, found.change, found.reason) == (CANT_TELL, None, "per_example was not sampled")


# --- Rows that broke, and rows that only one run has -------------------------------------------------------------


def test_a_row_that_broke_is_named_once_with_its_limit_and_only_if_it_was_right_before() -> None:
    old, new = run(), run()
    limits = Limits(workloads={"book": {"in_place": "7%"}})
    new.rows[3] = Row("book", "in_place", "in_place", 1, Outcome.CRASHED, "it did")
    old.rows[2] = new.rows[2] = Row("book", "batched_2d", "batched_2d", 1, Outcome.CRASHED, "it did")
    found = compare_runs(old, new, limits)
    expected = RowChange("book", "in_place", Outcome.CRASHED, 0.07, "", old_seconds=1.0, reason="it did")
    assert found.broken == found.failed == [expected]
    assert [each.label for each in found.changes] == ["per_example"]
    assert change_of(compare_runs(old, run(), limits), "in_place").limit == 0.07


def test_a_row_that_only_some_workloads_lack_is_named_with_them() -> None:
    old, new = run(workloads=("book", "deep", "wide")), run(workloads=("book", "deep", "wide"))
    new.rows = [each for each in new.rows if each.label != "batched_2d"]
    new.rows = [each for each in new.rows if each.label != "in_place" or each.workload == "deep"]
    assert compare_runs(old, new).vanished == ["batched_2d", "in_place on book and wide"]
