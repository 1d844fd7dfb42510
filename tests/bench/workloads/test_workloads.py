"""Names, parsing and operation counts of workloads."""

import msgspec
import numpy as np
import pytest

from bench.conditions import Workload
from bench.runner.worker_environment import shared_examples
from bench.system import cpus
from bench.workloads.names import check_fits, default_workloads, parse, sweeps
from bench.workloads.problem import Problem
from impls.support.errors import UserError


def test_operations_of_the_books_step() -> None:
    """10 examples: 784 x 30 twice, 30 x 10 three times, two operations each."""
    assert default_workloads()["book"].flops(10) == 2 * 10 * (2 * 784 * 30 + 3 * 30 * 10)


def test_a_specification() -> None:
    workload = parse("784-64-10:32:float32:1")
    assert workload == Workload("784-64-10:32:float32:1", (784, 64, 10), 32, "float32", 1)
    assert parse("5-3") == Workload("5-3", (5, 3), 10)
    assert parse("784-2048-2048-10:256").baseline == "batched_2d"  # the loop would take seconds
    assert parse("784-2048-10:1").baseline == "batched_2d"  # or spend its time in memory
    assert parse("784-30-10:10:float64:1:7000") == Workload(
        "784-30-10:10:float64:1:7000", (784, 30, 10), 10, baseline="batched_2d", timed="epoch", epoch_examples=7000
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("bok", "did you mean book"),
        ("-5-10", "layer size must be a whole number from 1"),
        ("784", "at least inputs and outputs"),
        ("\n784-64-10", r"unknown workload '\\n784-64-10'"),
        ("784-30-10:0", "batch size must be"),
        ("784-30-10:10:float16", "dtype must be float64 or float32, found 'float16'"),
        ("784-30-10:10:float64:1:5:6", "found 6 fields"),
        ("784-30-10:10:float64:1:0", "examples of an epoch must be a whole number from 1 to 1000000, found '0'"),
        ("784-\u0663\u0660-10", "layer size must be"),  # digits, but of another script
        ("784-30-10:10:float64:5000", "asked for 5000 threads, this process may use"),
    ],
)
def test_a_bad_specification_is_told_in_one_line(text: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as error:
        parse(text)
    assert "\n" not in str(error.value)


def test_one_core_has_no_multicore_workload(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpus, "usable_cpus", lambda: [3])
    monkeypatch.setattr(cpus, "smallest_quota", lambda: None)
    assert "large-all" not in default_workloads()
    assert [workload.threads for workload in sweeps()["threads"]] == [1]


def test_sweeps_vary_what_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpus, "usable_cpus", lambda: [0, 1, 2])
    monkeypatch.setattr(cpus, "smallest_quota", lambda: None)
    assert [workload.threads for workload in sweeps()["threads"]] == [1, 2, 3]
    assert {workload.dtype for workload in sweeps()["dtype"]} == {"float64", "float32"}
    for name, workloads in sweeps().items():
        assert [msgspec.structs.replace(parse(workload.name), sweep=name) for workload in workloads] == workloads
    strong = [workload.flops(workload.batch_size) / 1e6 for workload in sweeps()["strong"]]
    assert strong == pytest.approx([1, 3, 10, 32, 100, 320, 1000] * 3, rel=0.2)


def test_an_epoch_has_as_many_examples_as_its_workload_says() -> None:
    rng = np.random.default_rng(0)
    with shared_examples(rng.random((20, 784)), rng.random((20, 10))) as shared:
        for asked, expected in ((0, 20), (7, 7), (50, 50)):
            workload = Workload("epoch", (784, 3, 10), 4, timed="epoch", epoch_examples=asked)
            problem = Problem.make(workload, shared.examples, 0)
            assert problem.examples == len(problem.x) == len(problem.turn(1).examples) == expected
        assert np.array_equal(problem.x[20:40], problem.x[:20])


def test_a_workload_that_does_not_fit_into_memory_is_refused_with_the_number() -> None:
    small, large = Workload("small", (784, 30, 10), 10), parse("784-1000000-10:1000000")
    check_fits({"small": 20}, {"small": small}, 1500)
    with pytest.raises(UserError, match=r"workload \S+: expected to fit into [\d.]+ GB of .* needs about \d+\.\d GB"):
        check_fits({large.name: 3}, {large.name: large}, 1500)
