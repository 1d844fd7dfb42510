"""Two runs compared: what has to be the same, how wide the intervals are, and why something cannot be told."""

import math
from typing import Any

import pytest
from made_up_results import BOOK, made_up_results, row, workload_result
from msgspec.structs import replace

from bench.analysis.compare_runs import (
    Comparison,
    RowChange,
    compare_runs,
    remarks,
    row_difference,
)
from bench.analysis.verdict import CANT_TELL, FASTER, FLOOR, PEAK_FLOOR, SAME, SLOWER, Limits, change, logs
from bench.records import CONTROL, Outcome, Process, Results, Row, Sample, ThreadPool

LOGS = (-0.001, 0.0, 0.002)  # of the processes of a row over its baseline


def sampled(label: str, logs: tuple[float, ...], workload: str = "book", **others: Any) -> Row:
    processes = [Process(n, 1, samples=[Sample(0, math.exp(log))]) for n, log in enumerate(logs)]
    return row(label, 1.0, workload=workload, **{"processes": processes, **others})


def run(shift: float = 0.0, workloads: tuple[str, ...] = ("book",), **machine: Any) -> Results:
    """Return a run whose rows batched_2d and in_place take exp(shift) times as long."""
    results = made_up_results()
    results.machine = replace(results.machine, **machine)
    results.workloads = [workload_result(replace(BOOK, name=name)) for name in workloads]
    shifted = tuple(log + shift for log in LOGS)
    times = {"per_example": (0.0,) * 3, CONTROL: (0.0,) * 3, "batched_2d": shifted, "in_place": shifted}
    results.rows = [sampled(label, logs, name) for name in workloads for label, logs in times.items()]
    return results


def change_of(comparison: Comparison, label: str = "in_place") -> RowChange:
    (row_change,) = (each for each in comparison.changes if each.label == label)
    return row_change


# --- Intervals ---------------------------------------------------------------------------------------------------


def bounds(comparison: Comparison, label: str = "in_place") -> list[float | None]:
    measured = change_of(comparison, label).change
    assert measured is not None
    return [measured.ratio.value, measured.ratio.low, measured.ratio.high]


def known(shift: float, intervals: int) -> Any:
    measured = change(list(LOGS), [log + shift for log in LOGS], FLOOR, intervals)
    assert measured is not None
    return pytest.approx([measured.ratio.value, measured.ratio.low, measured.ratio.high])


def test_rows_are_compared_over_the_baseline_and_the_baseline_over_the_peak() -> None:
    old, new = run(), run(0.1)
    new.rows[2] = sampled("batched_2d", tuple(log + 1e-4 for log in LOGS))
    comparison = compare_runs(old, new)
    words = {each.label: (each.over, each.verdict) for each in comparison.changes}
    assert words == {
        "in_place": ("per_example", SLOWER),  # the clearest first
        "batched_2d": ("per_example", SAME),
        "per_example": ("the peak", SAME),
    }
    assert comparison.changes[0].label == "in_place"
    assert comparison.remarks == comparison.workloads == comparison.incomparable == []
    assert [each.label for each in comparison.failed] == ["in_place"]
    assert change_of(compare_runs(run(), run(-0.1))).verdict == FASTER
    old.workloads[0].peak = None
    assert [each.label for each in compare_runs(old, new).changes] == ["in_place", "batched_2d", "per_example"]


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
    before, after = (logs(each.rows[0].samples, peak.samples) for each in (old, new))
    for floor, of_peak in ((FLOOR, PEAK_FLOOR), (0.02, 0.02)):
        measured = change(before, after, of_peak)
        assert measured is not None
        expected = [measured.ratio.value, measured.ratio.low, measured.ratio.high]
        assert bounds(compare_runs(old, new, floor=floor), "per_example") == pytest.approx(expected)


def test_a_peak_of_more_operations_a_call_changes_nothing() -> None:
    old, new = run(), run()
    peak = new.workloads[0].peak
    assert peak is not None
    peak.flops *= 2
    for process in peak.processes:
        process.samples = [Sample(s.round, 2 * s.seconds, s.cpu_seconds) for s in process.samples]
    assert bounds(compare_runs(old, new), "per_example")[0] == pytest.approx(1.0)


# --- Why something cannot be told, what broke, what only one run has -----------------------------------------------


@pytest.mark.parametrize("order", [1, -1])
def test_why_a_row_cannot_be_told(order: int) -> None:
    """Whichever of the two runs it is that lacks something."""
    whole, less = run(), run()
    less.rows[3] = sampled("in_place", (0.1,))
    old, new = [whole, less][::order]
    assert change_of(compare_runs(old, new)).reason == "a run has one process only"
    assert change_of(compare_runs(old, new), "batched_2d").reason == ""
    less.workloads[0].peak = None
    assert change_of(compare_runs(old, new), "per_example").reason == "the peak was not sampled"
    less.rows[0].processes = [Process(0, 1, samples=[Sample(99, 1.0)])]
    assert change_of(compare_runs(old, new)).reason == "per_example was not sampled"
    del less.rows[0]
    row_change = change_of(compare_runs(old, new))
    assert (row_change.verdict, row_change.change) == (CANT_TELL, None)
    assert row_change.reason == "per_example was not sampled"


def failed_now(outcome: Outcome, reason: str = "it did") -> Results:
    results = run()
    results.rows[3] = Row("book", "in_place", "in_place", 1, outcome, reason)
    return results


def test_what_broke_is_named_with_its_limit_and_only_if_it_was_right_before() -> None:
    old, new = run(), failed_now(Outcome.INCORRECT_AFTER_TIMING)
    old.rows[2] = new.rows[2] = Row("book", "batched_2d", "batched_2d", 1, Outcome.CRASHED, "it did")
    comparison = compare_runs(old, new, Limits(workloads={"book": {"in_place": "7%"}}))
    expected = RowChange("book", "in_place", "incorrect after timing", 0.07, "", old_seconds=1.0, reason="it did")
    assert comparison.broken == comparison.failed == [expected]
    assert [each.label for each in comparison.changes] == ["per_example"]


def test_a_row_over_the_budget_fails_a_gate_unless_the_budget_is_less_now() -> None:
    """What became a thousand times as slow is not timed any more."""
    new = failed_now(Outcome.TOO_SLOW)
    assert [(each.label, each.verdict) for each in compare_runs(run(), new).failed] == [("in_place", Outcome.TOO_SLOW)]
    new.settings = replace(new.settings, budget_seconds=new.settings.budget_seconds / 10)
    comparison = compare_runs(run(), new)
    assert (comparison.failed, change_of(comparison).verdict) == ([], CANT_TELL)


@pytest.mark.parametrize("outcome", [Outcome.UNAVAILABLE, Outcome.INTERRUPTED])
def test_a_row_that_could_not_be_timed_this_time_cannot_be_told(outcome: Outcome) -> None:
    comparison = compare_runs(run(), failed_now(outcome), gate=True)
    assert [(each.label, each.reason) for each in comparison.unclear] == [("in_place", f"{outcome}: it did")]
    assert comparison.failed == []


def test_what_only_one_run_has_is_named_once() -> None:
    old, new = run(workloads=("book", "deep", "large", "wide")), run(workloads=("book", "deep", "wide"))
    new.rows = [each for each in new.rows if each.label != "batched_2d"]
    new.rows = [each for each in new.rows if each.label != "in_place" or each.workload == "deep"]
    expected = ["workload large", "batched_2d", "in_place on book and wide"]
    assert compare_runs(old, new).vanished == compare_runs(new, old).appeared == expected


# --- What has to be the same -------------------------------------------------------------------------------------


def test_a_machine_is_its_processor_cpus_blas_and_data() -> None:
    new = run(1.0, cpu_model="Abacus 4000", usable_cpus=4, cpu_quota=1.5, numpy_blas="")
    new.data = "mnist"
    comparison = compare_runs(run(), new)
    assert comparison.incomparable == [
        "processor: Abacus 3000 before, Abacus 4000 now",
        "usable CPUs: 2 before, 4 now",
        "CPU quota: none before, 1.5 now",
        "NumPy's BLAS: OpenBLAS 0.3.31 before, unknown now",
        "data: digits before, mnist now",
    ]
    assert comparison.changes == []


@pytest.mark.parametrize(
    ("changed", "examples", "words"),
    [
        ({"batch_size": 20}, 10, "784-30-10, batch 20, float64, 1 thread, step, 10 examples, over per_example now"),
        ({}, 20, "784-30-10, batch 10, float64, 1 thread, step, 20 examples, over per_example now"),
        (
            {"baseline": "batched_2d"},
            10,
            "784-30-10, batch 10, float64, 1 thread, step, 10 examples, over batched_2d now",
        ),
    ],
)
def test_a_workload_is_its_description_its_examples_and_its_baseline(
    changed: dict[str, Any], examples: int, words: str
) -> None:
    new = run()
    new.workloads[0] = replace(workload_result(replace(BOOK, **changed)), examples=examples)
    comparison = compare_runs(run(), new)
    assert comparison.changes == []
    assert comparison.workloads[0].startswith("book: 784-30-10, batch 10, float64, 1 thread, step, 10 examples, over ")
    assert comparison.workloads[0].endswith(words)


def test_a_result_is_its_threads_and_its_blas() -> None:
    old, new = row("in_place", 1.0), run()
    assert row_difference(old, row("in_place", 1.0, threads=2)) == "1 threads before, 2 now"
    mkl = [replace(old.thread_pools[0], internal_api="mkl", version=None)]
    new.rows[3].thread_pools = mkl
    row_change = change_of(compare_runs(run(), new))
    assert (row_change.verdict, row_change.reason) == (CANT_TELL, "openblas 0.3.31 before, mkl now")
    # A run that was cut short may not have asked for the BLAS; a pool of OpenMP is none.
    without = row("in_place", 1.0, thread_pools=[ThreadPool("libgomp.so", "openmp", "openmp", "5.0", num_threads=1)])
    assert row_difference(without, old) == row_difference(old, without) == ""


def test_versions_and_variables_that_differ_are_remarks() -> None:
    old = run(versions={"numpy": "2.4.6", "numba": "0.61"}, variables={"OMP_WAIT_POLICY": "active", "MKL_CBWR": "AVX2"})
    new = run(python="3.13.0", versions={"numpy": "2.5.0", "jax": "0.6"}, variables={"OMP_WAIT_POLICY": "active"})
    versions = [
        "Python: 3.11.7 before, 3.13.0 now",
        "numpy: 2.4.6 before, 2.5.0 now",
        "numba: 0.61 before, missing now",
        "jax: missing before, 0.6 now",
    ]
    assert remarks(old, new) == [*versions, "MKL_CBWR: AVX2 before, not set now"]
    new.machine.variables = None  # were not recorded
    assert remarks(old, new) == versions


def test_another_peak_is_a_remark_on_each_workload_that_has_both() -> None:
    workloads = ("alike", "faster", "slower", "without")
    old, new = run(workloads=workloads), run(workloads=(*workloads, "new"))
    for workload, factor in zip(new.workloads[:3], (1.049, 1.052, 0.5), strict=False):
        assert workload.peak is not None
        workload.peak.flops_per_second = factor * (workload.peak.flops_per_second or 0.0)
    new.workloads[3].peak = None
    assert remarks(old, new) == [
        "faster: the peak is 1.05 times what it was: another clock rate",
        "slower: the peak is 0.50 times what it was: another clock rate",
    ]
