"""Two runs compared: what has to be the same, how wide the intervals are, and why a result is inconclusive."""

import math
from typing import Any

import pytest
from made_up_results import BOOK, made_up_results, row, workload_result
from msgspec.structs import replace

from bench.analysis.compare_runs import (
    Comparison,
    ResultChange,
    compare_runs,
    result_difference,
)
from bench.analysis.verdict import FASTER, FLOOR, INCONCLUSIVE, PEAK_FLOOR, SAME, SLOWER, Limits, change
from bench.conditions import ThreadPool
from bench.records import CONTROL, Estimate, Outcome, Process, Result, Results, Sample

LOGS = (-0.001, 0.0, 0.002)  # of the processes of an implementation over its baseline


def sampled(label: str, logs: tuple[float, ...], workload: str = "book", **others: Any) -> Result:
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


def change_of(comparison: Comparison, label: str = "in_place") -> ResultChange:
    (result_change,) = (change for change in comparison.changes if change.label == label)
    return result_change


# --- Intervals ---------------------------------------------------------------------------------------------------


def bounds(ratio: Estimate | None) -> list[float]:
    assert ratio is not None
    return [round(value, 10) for value in (ratio.value, *ratio.ends)]


def known(shift: float, intervals: int) -> Estimate | None:
    return change(LOGS, [log + shift for log in LOGS], FLOOR, intervals)


def test_results_are_compared_over_the_baseline_and_the_baseline_over_the_peak() -> None:
    old, new = run(), run(0.1)
    new.rows[2] = sampled("batched_2d", tuple(log + 1e-4 for log in LOGS))
    comparison = compare_runs(old, new)
    verdicts = {change.label: change.verdict for change in comparison.changes}
    assert verdicts == {"in_place": SLOWER, "batched_2d": SAME, "per_example": SAME}
    assert comparison.changes[0].label == "in_place"  # the clearest first
    assert comparison.remarks == comparison.workloads == comparison.incomparable == []
    assert [change.label for change in comparison.failed] == ["in_place"]
    assert change_of(compare_runs(run(), run(-0.1))).verdict == FASTER


def test_a_gate_widens_the_intervals_by_the_number_of_results() -> None:
    def ratio(*, gate: bool) -> Estimate | None:
        return change_of(compare_runs(old, new, gate=gate)).ratio

    old, new = run(), run(0.1)
    assert bounds(ratio(gate=False)) == bounds(known(0.1, 1))
    assert bounds(ratio(gate=True)) == bounds(known(0.1, 3))  # with the baseline, without the control
    old.rows[2].seconds = None  # was not timed before
    assert bounds(ratio(gate=True)) == bounds(known(0.1, 2))
    old.rows[2] = replace(old.rows[2], seconds=1.0, threads=2)  # is not comparable
    assert bounds(ratio(gate=True)) == bounds(known(0.1, 2))
    new.rows[2].seconds = None
    assert bounds(ratio(gate=True)) == bounds(known(0.1, 2))


def test_the_floor_of_a_baseline_is_that_of_the_peak() -> None:
    old, new = run(), run()
    new.rows[0] = sampled("per_example", LOGS)
    for floor, used in ((FLOOR, PEAK_FLOOR), (0.02, 0.02)):
        ratio = change_of(compare_runs(old, new, floor=floor), "per_example").ratio
        assert bounds(ratio) == bounds(change([0.0] * 3, LOGS, used))


def test_a_peak_of_more_operations_a_call_changes_nothing() -> None:
    old, new = run(), run()
    peak = new.workloads[0].peak
    assert peak is not None
    peak.flops *= 2
    for process in peak.processes:
        process.samples = [Sample(sample.round, 2 * sample.seconds) for sample in process.samples]
    change = change_of(compare_runs(old, new), "per_example")
    assert change.ratio is not None
    assert change.ratio.value == pytest.approx(1.0)


# --- Why something is inconclusive, what broke, what only one run has ------------------------------------------------


@pytest.mark.parametrize("order", [1, -1])
def test_why_a_result_is_inconclusive(order: int) -> None:
    """Whichever of the two runs it is that lacks something."""
    complete, incomplete = run(), run()
    old, new = [complete, incomplete][::order]
    too_few = "not sampled together with {} in two processes of each run"
    incomplete.rows[3] = sampled("in_place", (0.1,))
    assert change_of(compare_runs(old, new)).reason == too_few.format("per_example")
    assert change_of(compare_runs(old, new), "batched_2d").reason == ""
    incomplete.workloads[0].peak = None
    assert change_of(compare_runs(old, new), "per_example").reason == too_few.format("the peak")
    del incomplete.rows[0]
    result_change = change_of(compare_runs(old, new), "batched_2d")
    assert (result_change.verdict, result_change.ratio) == (INCONCLUSIVE, None)
    assert result_change.reason == too_few.format("per_example")


def failed_now(outcome: Outcome, reason: str = "it did") -> Results:
    results = run()
    results.rows[3] = Result("book", "in_place", "in_place", 1, outcome, reason)
    return results


def test_what_broke_is_named_with_its_limit_and_only_if_it_was_timed_before() -> None:
    old, new = run(), failed_now(Outcome.INCORRECT_AFTER_TIMING)
    old.rows[2] = new.rows[2] = Result("book", "batched_2d", "batched_2d", 1, Outcome.CRASHED, "it did")
    comparison = compare_runs(old, new, Limits(workloads={"book": {"in_place": "7%"}}))
    expected = ResultChange("book", "in_place", "incorrect after timing", 0.07, old_seconds=1.0, reason="it did")
    assert comparison.broken == comparison.failed == [expected]
    assert [change.label for change in comparison.changes] == ["per_example"]


def test_what_became_too_slow_fails_a_gate_unless_the_budget_is_less_now() -> None:
    new = failed_now(Outcome.TOO_SLOW)
    (failed,) = compare_runs(run(), new).failed
    assert (failed.label, failed.verdict) == ("in_place", Outcome.TOO_SLOW)
    new.settings = replace(new.settings, budget_seconds=new.settings.budget_seconds / 10)
    comparison = compare_runs(run(), new)
    assert (comparison.failed, change_of(comparison).verdict) == ([], INCONCLUSIVE)


@pytest.mark.parametrize("outcome", [Outcome.UNAVAILABLE, Outcome.INTERRUPTED])
def test_what_could_not_be_timed_this_time_is_inconclusive(outcome: Outcome) -> None:
    comparison = compare_runs(run(), failed_now(outcome), gate=True)
    assert [(change.label, change.reason) for change in comparison.unclear] == [("in_place", f"{outcome}: it did")]
    assert comparison.failed == []


def test_what_only_one_run_has_is_named_once() -> None:
    old, new = run(workloads=("book", "deep", "large", "wide")), run(workloads=("book", "deep", "wide"))
    new.rows = [result for result in new.rows if result.label != "batched_2d"]
    new.rows = [result for result in new.rows if result.label != "in_place" or result.workload == "deep"]
    expected = ["workload large", "batched_2d on book, deep, wide", "in_place on book, wide"]
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
    ("changed", "examples", "expected"),
    [
        ({"batch_size": 20}, 10, "batch 20, float64, 1 thread, step, 10 examples, over per_example"),
        ({}, 20, "batch 10, float64, 1 thread, step, 20 examples, over per_example"),
        ({"baseline": "batched_2d"}, 10, "batch 10, float64, 1 thread, step, 10 examples, over batched_2d"),
    ],
)
def test_a_workload_is_its_description_its_examples_and_its_baseline(
    changed: dict[str, Any], examples: int, expected: str
) -> None:
    new = run()
    new.workloads[0] = replace(workload_result(replace(BOOK, **changed)), examples=examples)
    comparison = compare_runs(run(), new)
    assert comparison.changes == []
    before = "784-30-10, batch 10, float64, 1 thread, step, 10 examples, over per_example"
    assert comparison.workloads == [f"book: {before} before; 784-30-10, {expected} now"]


def test_a_result_is_its_threads_and_its_blas() -> None:
    old, new = row("in_place", 1.0), run()
    assert result_difference(old, row("in_place", 1.0, threads=2)) == "1 threads before, 2 now"
    mkl = [replace(old.thread_pools[0], internal_api="mkl", version=None)]
    new.rows[3].thread_pools = mkl
    result_change = change_of(compare_runs(run(), new))
    assert (result_change.verdict, result_change.reason) == (INCONCLUSIVE, "openblas 0.3.31 before, mkl now")
    # A run that was cut short may not have asked for the BLAS; a pool of OpenMP is none.
    without = row("in_place", 1.0, thread_pools=[ThreadPool("libgomp.so", "openmp", "openmp", "5.0", num_threads=1)])
    assert result_difference(without, old) == result_difference(old, without) == ""


def test_versions_and_variables_that_differ_are_remarks() -> None:
    old = run(versions={"numpy": "2.4.6", "numba": "0.61"}, variables={"OMP_WAIT_POLICY": "active", "MKL_CBWR": "AVX2"})
    new = run(python="3.13.0", versions={"numpy": "2.5.0", "jax": "0.6"}, variables={"OMP_WAIT_POLICY": "active"})
    assert compare_runs(old, new).remarks == [
        "Python: 3.11.7 before, 3.13.0 now",
        "numpy: 2.4.6 before, 2.5.0 now",
        "numba: 0.61 before, missing now",
        "jax: missing before, 0.6 now",
        "MKL_CBWR: AVX2 before, not set now",
    ]
