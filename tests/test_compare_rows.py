"""Two rows of one run compared: which samples count, and how sure the ratio is."""

import pytest
from made_up_results import BOOK, made_up_results, row, workload_result
from msgspec.structs import replace

from bench.records import Estimate, Outcome, Process, Sample
from bench.results.compare_rows import Comparison, compare_rows
from bench.results.estimates import paired_ratio
from impls.errors import UserError


def sampled(*seconds: float, rounds: int = 5) -> list[Process]:
    """Return a process for each of these times."""
    return [Process(n, 1, samples=[Sample(r, each) for r in range(rounds)]) for n, each in enumerate(seconds)]


def test_the_ratio_is_paired_on_every_workload_that_has_both() -> None:
    results = made_up_results()
    results.workloads += [workload_result(replace(BOOK, name=name)) for name in ("deep", "wide")]
    results.rows += [
        row("in_place", 1.0, workload="deep"),
        row("batched_2d", 1.0, workload="wide", processes=sampled(3.0, 3.0, 3.0)),
        row("in_place", 1.0, workload="wide", processes=sampled(1.5, 1.5, rounds=4)),
    ]
    found = compare_rows(results, "batched_2d", "in_place")
    assert list(found) == ["book", "wide"]
    assert found["wide"] == Comparison(Estimate(2.0, 2.0, 2.0), processes=2, rounds=4)
    assert found["book"].ratio.value == pytest.approx(1.25)


def test_a_run_with_a_precision_has_the_wider_interval_that_it_stopped_by() -> None:
    results = made_up_results()
    results.rows[3].processes = sampled(*(1.0 + 0.01 * (-1) ** n for n in range(12)))
    results.rows[2].processes = sampled(*[2.0] * 12)
    slow, fast = results.rows[2].samples, results.rows[3].samples
    assert compare_rows(results, "batched_2d", "in_place")["book"].ratio == paired_ratio(slow, fast)
    results.settings = replace(results.settings, precision=0.01)
    assert compare_rows(results, "batched_2d", "in_place")["book"].ratio == paired_ratio(slow, fast, 0.96)


@pytest.mark.parametrize(
    ("label", "outcome", "counts"),
    [
        ("per_example", Outcome.CRASHED, True),
        ("per_example", Outcome.TIMED_OUT, True),
        ("per_example", Outcome.INCORRECT_AFTER_TIMING, False),
        ("batched_2d", Outcome.CRASHED, False),
    ],
)
def test_samples_of_a_row_that_failed_count_for_a_baseline_that_was_right(
    label: str, outcome: Outcome, counts: bool
) -> None:
    results = made_up_results()
    failed = next(each for each in results.rows if each.label == label)
    failed.outcome, failed.seconds = outcome, None
    if counts:
        assert list(compare_rows(results, label, "in_place")) == ["book"]
    else:
        with pytest.raises(UserError, match=f"no workload has both '{label}' and 'in_place'; timed were: "):
            compare_rows(results, label, "in_place")


def test_rows_that_are_not_there_are_told_with_those_that_were_timed() -> None:
    results = made_up_results()
    for slow, fast in (("nothing", "in_place"), ("in_place", "nothing"), ("torch", "in_place")):
        with pytest.raises(UserError, match="timed were: per_example, control, batched_2d, in_place; name the results"):
            compare_rows(results, slow, fast)


def test_rows_that_were_never_sampled_in_the_same_round_cannot_be_compared() -> None:
    results = made_up_results()
    results.rows[3].processes = [Process(0, 1, samples=[Sample(99, 1.0)])]
    with pytest.raises(UserError, match="no workload has both"):
        compare_rows(results, "batched_2d", "in_place")
