"""Names, parsing and operation counts of workloads."""

import pytest

from bench import cpus
from bench.problem.workloads import default_workloads, parse, select, sweeps
from bench.records import Workload
from impls.errors import UserError


def test_operations_of_the_books_step() -> None:
    """10 examples: 784 x 30 twice, 30 x 10 three times, two operations each."""
    assert default_workloads()["book"].flops(10) == 2 * 10 * (2 * 784 * 30 + 3 * 30 * 10)


def test_a_specification() -> None:
    workload = parse("784-64-10:32:float32:1")
    assert workload == Workload("784-64-10:32:float32:1", (784, 64, 10), 32, "float32", 1)
    assert parse("5-3") == Workload("5-3", (5, 3), 10)
    assert parse("784-2048-2048-10:256").baseline == "batched_2d"  # the loop would take seconds


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("bok", "did you mean book"),
        ("nothing-like-it", "unknown workload"),
        ("784-0-10", "layer size must be a whole number from 1"),
        ("784--30-10", "layer size must be"),
        ("-5-10", "layer size must be"),
        ("784", "at least inputs and outputs"),
        ("784-30-10:0", "batch size must be"),
        ("784-30-10:-3", "batch size must be"),
        ("784-30-10:1e3", "batch size must be"),
        ("784-30-10:10:float16", "dtype must be float64 or float32, found 'float16'"),
        ("784-30-10:10:float64:0", "threads must be"),
        ("784-30-10:10:float64:1:5", "found 5 fields"),
        ("784-99999999-10", "layer size must be"),
        ("784-" + 5000 * "9", "layer size must be"),
        ("784-\u0663\u0660-10", "layer size must be"),  # digits, but of another script
        ("784-30-10:10:float64:5000", "cores"),
    ],
)
def test_a_bad_specification_is_told_in_one_line(text: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as error:
        parse(text)
    assert "\n" not in str(error.value)


def test_an_unknown_sweep() -> None:
    with pytest.raises(UserError, match="unknown sweep 'bach'; known: batch"):
        select([], ["bach"])


def test_one_core_has_no_multicore_workload(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpus, "usable_cpus", lambda: [3])
    assert "large-all" not in default_workloads()
    assert [workload.threads for workload in sweeps()["threads"]] == [1]


def test_sweeps_vary_what_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpus, "usable_cpus", lambda: [0, 1, 2])
    assert [workload.batch_size for workload in sweeps()["batch"]] == [1 << n for n in range(13)]
    assert [workload.threads for workload in sweeps()["threads"]] == [1, 2, 3]
    assert {workload.dtype for workload in sweeps()["dtype"]} == {"float64", "float32"}
    for workload in (workload for of_sweep in sweeps().values() for workload in of_sweep):
        assert parse(workload.name).sizes == workload.sizes
