"""Rows beside what they were in another revision: what their samples say. Where they come from: test_against.py."""

import math

import pytest
from made_up_results import BOOK, made_up_results, row, workload_result
from msgspec.structs import replace

from bench.records import Outcome, Process, Results, Row, Sample
from bench.results.before import compare_with_before, look_slower
from bench.results.compare_runs import RowChange
from bench.results.estimates import paired_ratio
from bench.results.limits import Limits
from bench.results.verdict import CANT_TELL, FASTER, SAME, SLOWER, Change

SLIGHTLY = (0.04, 0.05, 0.06)  # logarithms of the ratio in each process: 5 % slower, ± 2.5 %


def pair(label: str, *logs: float, workload: str = "book") -> list[Row]:
    """Return a row, and what it was, whose ratio in each process has these logarithms."""
    times = [
        [Process(n, 1, samples=[Sample(0, math.exp(log))]) for n, log in enumerate(of)]
        for of in (logs, [0.0] * len(logs))
    ]
    return [
        row(label, 1.1, processes=times[0], workload=workload),
        row(f"{label}-before", 1.0, processes=times[1], workload=workload),
    ]


def failed(of: Row, outcome: Outcome = Outcome.CRASHED) -> Row:
    """Return a row as it is when it failed."""
    return replace(of, outcome=outcome, reason="it did", seconds=None)


def run(*rows: Row, workloads: tuple[str, ...] = ("book",)) -> Results:
    results = made_up_results()
    results.workloads = [workload_result(replace(BOOK, name=name)) for name in workloads]
    results.rows = list(rows)
    results.against = "main"
    return results


def verdicts(results: Results, limits: Limits | None = None, gate: bool = False) -> dict[str, str]:
    return {each.label: each.verdict for each in compare_with_before(results, limits, gate=gate).changes}


def test_one_row_that_looks_slower_is_enough() -> None:
    same, slower = pair("in_place", 0.0, 0.0, 0.0), pair("batched_2d", *SLIGHTLY)
    assert look_slower([*same, *slower])
    assert not look_slower(same)
    assert not look_slower(pair("in_place", -0.1, -0.1, -0.1))
    assert not look_slower(pair("in_place", 0.01, 0.01, 0.01))  # within 1.5 %
    assert not look_slower(pair("in_place", 0.0, 0.05, 0.1))


def test_a_row_has_all_that_is_said_of_it() -> None:
    new, old = pair("in_place", 0.1, 0.12)
    ratio = paired_ratio(new.samples, old.samples)
    assert ratio.high is not None
    clearness = math.log(ratio.value) / (math.log(ratio.high) - math.log(ratio.value))
    (found,) = compare_with_before(run(new, old)).changes
    assert found == RowChange(
        "book", "in_place", CANT_TELL, 0.015, "in_place-before", found.change, old_seconds=1.0, new_seconds=1.1
    )
    assert found.change is not None
    assert found.change.ratio == ratio
    assert found.change.clearness == pytest.approx(clearness)
    (found,) = compare_with_before(run(*pair("in_place", 0.1, 0.1))).changes
    assert (found.verdict, found.change and found.change.clearness) == (SLOWER, math.inf)


def test_one_process_tells_nothing() -> None:
    (found,) = compare_with_before(run(*pair("in_place", 0.1))).changes
    assert (found.verdict, found.change) == (CANT_TELL, None)
    assert found.reason == "they were not sampled by several processes in the same rounds"


def test_the_limit_is_one_and_a_half_per_cent_or_the_one_that_is_given() -> None:
    results = run(*pair("in_place", 0.02, 0.02), *pair("batched_2d", -0.02, -0.02))
    assert verdicts(results) == {"in_place": SLOWER, "batched_2d": FASTER}
    assert verdicts(results, Limits(fail_on="5%")) == {"in_place": SAME, "batched_2d": SAME}
    assert verdicts(results, Limits(rows={"in_place": "5%"})) == {"in_place": SAME, "batched_2d": SAME}
    own = Limits(fail_on="1%", workloads={"book": {"in_place": "5%"}})
    assert verdicts(results, own) == {"in_place": SAME, "batched_2d": FASTER}


def test_a_gate_widens_the_intervals_by_the_rows_that_are_compared() -> None:
    """Two rows: each interval is one of 97.5 %, and what was just slower cannot be told."""
    logs = (0.034, 0.05, 0.066)
    results = run(*pair("in_place", *logs), *pair("batched_2d", *logs))
    assert verdicts(results) == {"in_place": SLOWER, "batched_2d": SLOWER}
    assert verdicts(results, gate=True) == {"in_place": CANT_TELL, "batched_2d": CANT_TELL}
    assert verdicts(run(*pair("in_place", *logs)), gate=True) == {"in_place": SLOWER}
    assert look_slower(pair("in_place", *logs))
    new, old = pair("in_place", *logs)
    (change, _) = (each.change for each in compare_with_before(results, gate=True).changes)
    assert isinstance(change, Change)
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
    found = compare_with_before(run(*rows), Limits(workloads={"book": {"gone": "7%"}}), gate=True)
    assert [each.label for each in found.changes] == ["good"]
    assert found.broken == [RowChange("book", "gone", "crashed", 0.07, "", reason="it did")]
    assert found.remarks == ["new on book is not compared: new-before: crashed: it did"]
    assert (found.old, found.new, found.floor, found.gate) == ("main", made_up_results().date, 0.0, True)
