"""Implementations of one run compared: any two, and each with what it was in another revision (see test_against.py)."""

import math

import msgspec
import pytest
from made_up_results import BOOK, made_up_results, row, workload_result
from msgspec.structs import replace

from bench.analysis.compare_implementations import compare_implementations, compare_with_before, look_slower
from bench.analysis.compare_runs import ResultChange
from bench.analysis.estimates import paired_ratio
from bench.analysis.verdict import FASTER, INCONCLUSIVE, SAME, SLOWER, Limits
from bench.output.changes import lines
from bench.records import Estimate, Outcome, Process, Result, Results, Sample
from impls.support.errors import UserError


def processes(*logs: float, rounds: int = 1) -> list[Process]:
    """Return a process for each of these logarithms of its seconds."""
    return [
        Process(number, 1, samples=[Sample(round_number, math.exp(log)) for round_number in range(rounds)])
        for number, log in enumerate(logs)
    ]


# --- Any two implementations -------------------------------------------------------------------------------------


def test_the_ratio_is_paired_on_every_workload_that_has_both() -> None:
    results = made_up_results()
    results.workloads += [workload_result(replace(BOOK, name=name)) for name in ("deep", "wide")]
    slow, fast = processes(math.log(3.0), math.log(3.0), 0.0, rounds=5), processes(math.log(1.5), math.log(1.5))
    results.rows += [
        row("in_place", 1.0, workload="deep"),
        row("batched_2d", 1.0, workload="wide", processes=slow),
        row("in_place", 1.0, workload="wide", processes=fast),
    ]
    speed_ups = compare_implementations(results, "batched_2d", "in_place")
    assert speed_ups.keys() == {"book", "wide"}
    assert msgspec.structs.astuple(speed_ups["wide"]) == pytest.approx((2.0, 2.0, 2.0))
    assert speed_ups["book"].value == pytest.approx(1.25)


def test_a_run_with_a_precision_has_the_wider_interval_that_it_stopped_by() -> None:
    results = made_up_results()
    results.rows[3].processes = processes(*(0.01 * (-1) ** number for number in range(12)))
    results.rows[2].processes = processes(*[1.0] * 12)
    slow, fast = results.rows[2].samples, results.rows[3].samples
    assert compare_implementations(results, "batched_2d", "in_place")["book"] == paired_ratio(slow, fast)
    results.settings = replace(results.settings, precision=0.01)
    assert compare_implementations(results, "batched_2d", "in_place")["book"] == paired_ratio(slow, fast, 0.96)


@pytest.mark.parametrize(
    ("label", "outcome", "counts"),
    [
        ("per_example", Outcome.CRASHED, True),
        ("per_example", Outcome.TIMED_OUT, True),
        ("per_example", Outcome.INCORRECT_AFTER_TIMING, False),
        ("batched_2d", Outcome.CRASHED, False),
    ],
)
def test_samples_of_a_baseline_that_was_correct_until_it_failed_count(
    label: str, outcome: Outcome, counts: bool
) -> None:
    results = made_up_results()
    failed = results.row("book", label)
    assert failed is not None
    failed.outcome, failed.seconds = outcome, None
    if counts:
        assert list(compare_implementations(results, label, "in_place")) == ["book"]
    else:
        with pytest.raises(UserError, match=f"no workload has both '{label}' and 'in_place'; expected two of those"):
            compare_implementations(results, label, "in_place")


def test_what_is_not_there_or_was_never_sampled_together_cannot_be_compared() -> None:
    results = made_up_results()
    for slow, fast in (("nothing", "in_place"), ("in_place", "nothing"), ("torch", "in_place")):
        with pytest.raises(UserError, match="that were timed: per_example, control, batched_2d, in_place"):
            compare_implementations(results, slow, fast)
    results.rows[3].processes = [Process(0, 1, samples=[Sample(99, 1.0)])]
    with pytest.raises(UserError, match="no workload has both"):
        compare_implementations(results, "batched_2d", "in_place")


# --- What implementations were in another revision -----------------------------------------------------------------


def revisions(label: str, *logs: float) -> list[Result]:
    """Return what an implementation is and what it was, whose ratio in each process has these logarithms."""
    before = processes(*[0.0] * len(logs))
    return [row(label, 1.1, processes=processes(*logs)), row(f"{label}-before", 1.0, processes=before)]


def failed(result: Result) -> Result:
    return replace(result, outcome=Outcome.CRASHED, reason="it did", seconds=None)


def run(*results_of_book: Result) -> Results:
    return msgspec.structs.replace(made_up_results(), rows=list(results_of_book), against="main")


def verdicts(results: Results, limits: Limits | None = None, gate: bool = False) -> dict[str, str]:
    return {change.label: change.verdict for change in compare_with_before(results, limits, gate=gate).changes}


@pytest.mark.parametrize(
    ("logs", "slower"),
    [
        ((0.04, 0.05, 0.06), True),
        ((-0.1, -0.1, -0.1), False),
        ((0.01, 0.01, 0.01), False),  # within 1.5 %
        ((0.0, 0.05, 0.1), False),
    ],
)
def test_one_implementation_that_looks_slower_is_enough(logs: tuple[float, ...], slower: bool) -> None:
    assert look_slower([*revisions("in_place", 0.0, 0.0, 0.0), *revisions("batched_2d", *logs)]) is slower


def test_a_change_is_the_paired_ratio() -> None:
    new, old = revisions("in_place", 0.1, 0.12)
    ratio = paired_ratio(new.samples, old.samples)
    (change,) = compare_with_before(run(new, old)).changes
    assert change == ResultChange("book", "in_place", INCONCLUSIVE, 0.015, ratio, old_seconds=1.0, new_seconds=1.1)
    (change,) = compare_with_before(run(*revisions("in_place", 0.1))).changes
    assert (change.verdict, change.ratio) == (INCONCLUSIVE, None)
    assert change.reason == "they were not sampled by several processes in the same rounds"


def test_the_limit_is_one_and_a_half_per_cent_or_the_one_that_is_given() -> None:
    results = run(*revisions("in_place", 0.02, 0.02), *revisions("batched_2d", -0.02, -0.02))
    assert verdicts(results) == {"in_place": SLOWER, "batched_2d": FASTER}
    limits = Limits(fail_on="1%", workloads={"book": {"in_place": "5%"}})
    assert verdicts(results, limits) == {"in_place": SAME, "batched_2d": FASTER}


def test_a_gate_widens_the_intervals_by_the_number_of_results() -> None:
    """With two results, each interval is one of 97.5 %, and what was just slower is inconclusive."""
    logs = (0.034, 0.05, 0.066)
    results = run(*revisions("in_place", *logs), *revisions("batched_2d", *logs))
    assert verdicts(results) == {"in_place": SLOWER, "batched_2d": SLOWER}
    assert verdicts(results, gate=True) == {"in_place": INCONCLUSIVE, "batched_2d": INCONCLUSIVE}
    new, old = revisions("in_place", *logs)
    assert verdicts(run(new, old), gate=True) == {"in_place": SLOWER}
    expected: Estimate | None = paired_ratio(new.samples, old.samples, 0.975)
    assert compare_with_before(results, gate=True).changes[0].ratio == expected


def test_the_clearest_change_is_first() -> None:
    results = run(
        *revisions("alone", 0.1),
        *revisions("noisy", -0.3, 0.0, 0.31),
        *revisions("clear", 0.1, 0.1),
        *revisions("in_place", -0.1, -0.11),
    )
    assert [change.label for change in compare_with_before(results).changes] == ["clear", "in_place", "noisy", "alone"]


def test_implementations_that_failed_now_or_then() -> None:
    good, broken, fixed, never = (revisions(label, 0.0, 0.0) for label in ("good", "broken", "fixed", "never"))
    results = [*good, failed(broken[0]), broken[1], fixed[0], failed(fixed[1]), *map(failed, never)]
    comparison = compare_with_before(run(*results), Limits(workloads={"book": {"broken": "7%"}}))
    assert [change.label for change in comparison.changes] == ["good"]
    assert comparison.failed == [ResultChange("book", "broken", "crashed", 0.07, old_seconds=1.0, reason="it did")]
    assert lines(comparison)[0] == "note: fixed on book is not compared: fixed-before: crashed: it did"
    assert (comparison.old, comparison.new) == ("main", made_up_results().date)
