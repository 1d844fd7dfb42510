"""Rows beside what they were in another revision: what their samples say. Where they come from: test_against.py."""

import math

import pytest
from made_up_results import BOOK, made_up_results, row, workload_result
from msgspec.structs import replace

from bench.analysis.compare_runs import RowChange
from bench.analysis.estimates import paired_ratio
from bench.analysis.revision_changes import compare_with_before, look_slower
from bench.analysis.verdict import CANT_TELL, FASTER, SAME, SLOWER, Limits
from bench.output.changes import lines
from bench.records import Process, Results, Row, Sample


def processes(*logs: float) -> list[Process]:
    return [Process(n, 1, samples=[Sample(0, math.exp(log))]) for n, log in enumerate(logs)]


def pair(label: str, *logs: float, workload: str = "book") -> list[Row]:
    """Return a row, and what it was, whose ratio in each process has these logarithms."""
    before = processes(*[0.0] * len(logs))
    return [
        row(label, 1.1, processes=processes(*logs), workload=workload),
        row(f"{label}-before", 1.0, processes=before, workload=workload),
    ]


def failed(row: Row) -> Row:
    return replace(row, outcome="crashed", reason="it did", seconds=None)


def run(*rows: Row, workloads: tuple[str, ...] = ("book",)) -> Results:
    results = made_up_results()
    results.workloads = [workload_result(replace(BOOK, name=name)) for name in workloads]
    results.rows = list(rows)
    results.against = "main"
    return results


def verdicts(results: Results, limits: Limits | None = None, gate: bool = False) -> dict[str, str]:
    return {each.label: each.verdict for each in compare_with_before(results, limits, gate=gate).changes}


@pytest.mark.parametrize(
    ("logs", "slower"),
    [
        ((0.04, 0.05, 0.06), True),
        ((-0.1, -0.1, -0.1), False),
        ((0.01, 0.01, 0.01), False),  # within 1.5 %
        ((0.0, 0.05, 0.1), False),
    ],
)
def test_one_row_that_looks_slower_is_enough(logs: tuple[float, ...], slower: bool) -> None:
    assert look_slower([*pair("in_place", 0.0, 0.0, 0.0), *pair("batched_2d", *logs)]) is slower


def test_a_row_has_all_that_is_said_of_it() -> None:
    new, old = pair("in_place", 0.1, 0.12)
    ratio = paired_ratio(new.samples, old.samples)
    (change,) = compare_with_before(run(new, old)).changes
    assert change == RowChange(
        "book", "in_place", CANT_TELL, 0.015, "in_place-before", change.change, old_seconds=1.0, new_seconds=1.1
    )
    assert change.change is not None
    assert change.change.ratio == ratio
    half_width = math.log((ratio.high or 0.0) / ratio.value)
    assert change.change.clearness == pytest.approx(math.log(ratio.value) / half_width)
    (change,) = compare_with_before(run(*pair("in_place", 0.1, 0.1))).changes
    assert (change.verdict, change.change and change.change.clearness) == (SLOWER, math.inf)
    (change,) = compare_with_before(run(*pair("in_place", 0.1))).changes  # one process tells nothing
    assert (change.verdict, change.change) == (CANT_TELL, None)
    assert change.reason == "they were not sampled by several processes in the same rounds"


def test_the_limit_is_one_and_a_half_per_cent_or_the_one_that_is_given() -> None:
    results = run(*pair("in_place", 0.02, 0.02), *pair("batched_2d", -0.02, -0.02))
    assert verdicts(results) == {"in_place": SLOWER, "batched_2d": FASTER}
    assert verdicts(results, Limits(fail_on="5%")) == {"in_place": SAME, "batched_2d": SAME}
    own = Limits(fail_on="1%", workloads={"book": {"in_place": "5%"}})
    assert verdicts(results, own) == {"in_place": SAME, "batched_2d": FASTER}


def test_a_gate_widens_the_intervals_by_the_rows_that_are_compared() -> None:
    """Two rows: each interval is one of 97.5 %, and what was just slower cannot be told."""
    logs = (0.034, 0.05, 0.066)
    results = run(*pair("in_place", *logs), *pair("batched_2d", *logs))
    assert verdicts(results) == {"in_place": SLOWER, "batched_2d": SLOWER}
    assert verdicts(results, gate=True) == {"in_place": CANT_TELL, "batched_2d": CANT_TELL}
    assert verdicts(run(*pair("in_place", *logs)), gate=True) == {"in_place": SLOWER}
    new, old = pair("in_place", *logs)
    change = compare_with_before(results, gate=True).changes[0].change
    assert change is not None
    assert change.ratio == paired_ratio(new.samples, old.samples, 0.975)


def test_the_clearest_change_is_first_on_whatever_workload() -> None:
    results = run(
        *pair("alone", 0.1),
        *pair("noisy", -0.3, 0.0, 0.31),
        *pair("clear", 0.1, 0.1),
        *pair("in_place", -0.1, -0.11, workload="wide"),
        workloads=("book", "wide"),
    )
    assert [each.label for each in compare_with_before(results).changes] == ["clear", "in_place", "noisy", "alone"]


def test_rows_that_failed_now_or_then() -> None:
    good, gone, new, never = (pair(label, 0.0, 0.0) for label in ("good", "gone", "new", "never"))
    rows = [*good, failed(gone[0]), gone[1], new[0], failed(new[1]), *map(failed, never)]
    comparison = compare_with_before(run(*rows), Limits(workloads={"book": {"gone": "7%"}}), gate=True)
    assert [each.label for each in comparison.changes] == ["good"]
    assert comparison.failed == [RowChange("book", "gone", "crashed", 0.07, "", old_seconds=1.0, reason="it did")]
    assert lines(comparison)[0] == "note: new on book is not compared: new-before: crashed: it did"
    assert (comparison.old, comparison.new, comparison.gate) == ("main", made_up_results().date, True)
