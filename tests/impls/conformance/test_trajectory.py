"""How far rounding may lead hundreds of steps: correct ones stay far inside, one wrong step falls outside."""

from collections.abc import Generator
from itertools import pairwise

import msgspec
import numpy as np
import pytest

from bench.conditions import Workload
from bench.runner import audit
from bench.runner.worker_environment import Shared, shared_examples
from bench.workloads.data import load, one_hot
from bench.workloads.names import default_workloads, parse
from bench.workloads.problem import Problem, Turn
from impls.conformance.reference import GradientStep, elementwise, reference_gradients
from impls.conformance.tolerance import Stop, trajectory
from impls.interface import Parameters
from impls.registry import entries, find

CORRECT = 0.25  # of what is allowed: the most that a correct implementation reaches
TURNS = (1, 2, 3)


def workload(name: str, dtype: str) -> Workload:
    return msgspec.structs.replace(default_workloads()[name], dtype=dtype)


CASES = [  # a workload and as many calls as a fast row makes in a sample
    pytest.param(workload(name, dtype), calls, id=f"{name}-{dtype}-{calls}")
    for name, dtype, calls in (
        ("book", "float64", 250),
        ("book", "float32", 500),
        ("batch", "float64", 30),
        ("batch", "float32", 60),
        ("deep", "float32", 40),
        ("epoch", "float64", 2),
        ("epoch", "float32", 3),
    )
]
WRONG: dict[str, dict[str, float]] = {
    "float64": {"left out": 1e9, "twice": 1e9, "an example less": 1e8},
    "float32": {"left out": 9, "twice": 9, "an example less": 2},
}


@pytest.fixture(scope="module")
def shared() -> Generator[Shared]:
    data = load("digits")
    with shared_examples(data.x_train[:1500], one_hot(data.labels_train[:1500])) as paths:
        yield paths


def steps_of(problem: Problem, turn: Turn, calls: int) -> list[GradientStep]:
    batches = list(problem.mini_batches(turn))
    return [GradientStep(x, y, turn.learning_rate) for _ in range(calls) for x, y in batches]


def stop_of(problem: Problem, turn: Turn, steps: list[GradientStep]) -> Stop:
    (stop,) = trajectory(turn.parameters, steps, [len(steps)], problem.workload.dtype)
    return stop


def after(problem: Problem, turn: Turn, steps: list[GradientStep]) -> Parameters:
    """Return where correct steps in the workload's dtype lead."""
    parameters = elementwise(lambda p: np.asarray(p, np.float64), turn.parameters)
    for x, y, learning_rate in steps:
        gradient = reference_gradients(parameters, x, y)
        parameters = elementwise(lambda p, dp: p - learning_rate * dp, parameters, gradient)  # noqa: B023
        parameters = elementwise(lambda p: p.astype(problem.workload.dtype).astype(np.float64), parameters)
    return parameters


@pytest.mark.slow("follows hundreds of steps")
@pytest.mark.parametrize(("workload", "calls"), CASES)
def test_correct_implementations_stay_far_inside(shared: Shared, workload: Workload, calls: int) -> None:
    """All rows that can be loaded here, and whose cost is the quadratic one."""
    problem = Problem.make(workload, shared.examples, 0)
    turn = problem.turn(1)
    stop = stop_of(problem, turn, steps_of(problem, turn, calls))
    shares = {}
    for entry in entries().values():
        if entry.unavailable() or entry.name == "pure_python":
            continue
        cls = find(entry.name).load()
        if workload.dtype in cls.dtypes and cls.cost == "quadratic":
            with cls(workload.sizes, workload.batch_size, workload.dtype, 1) as implementation:
                implementation.load(turn.parameters)
                function, arguments = problem.call(implementation, problem.native_data(implementation), turn)
                for _ in range(calls):
                    function(*arguments)
                errors, shares[entry.name] = stop.errors(implementation.parameters())
                assert errors == ""
    assert len(shares) >= 5
    assert max(shares.values()) < CORRECT, shares


@pytest.mark.slow("follows hundreds of steps")
@pytest.mark.parametrize(("workload", "calls"), CASES)
def test_one_wrong_step_falls_outside(shared: Shared, workload: Workload, calls: int) -> None:
    """Wherever it is: the first, one in the middle, the last."""
    problem = Problem.make(workload, shared.examples, 0)
    for number in TURNS:
        turn = problem.turn(number)
        steps = steps_of(problem, turn, calls)
        stop = stop_of(problem, turn, steps)
        assert stop.errors(after(problem, turn, steps))[1] < CORRECT
        for at in (0, len(steps) // 2, len(steps) - 1):
            x, y, learning_rate = steps[at]
            fewer = len(x) - max(1, len(x) // 10)
            wrong: dict[str, list[GradientStep]] = {
                "left out": [],
                "twice": [steps[at], steps[at]],
                "an example less": [GradientStep(x[:fewer], y[:fewer], learning_rate * fewer / len(x))],
            }
            for what, instead in wrong.items():
                errors, share = stop.errors(after(problem, turn, [*steps[:at], *instead, *steps[at + 1 :]]))
                assert share > WRONG[workload.dtype][what], (number, at, what)
                assert "error" in errors


def test_what_cannot_be_compared_is_infinitely_wrong(shared: Shared) -> None:
    problem = Problem.make(workload("book", "float64"), shared.examples, 0)
    turn = problem.turn(1)
    stop = stop_of(problem, turn, steps_of(problem, turn, 2))
    weights, biases = stop.expected
    nan = [np.full_like(weights[0], np.nan), *weights[1:]]
    for result in (Parameters(nan, biases), Parameters(weights[:1], biases), None):
        errors, share = stop.errors(result)
        assert errors
        assert share == np.inf


@pytest.mark.parametrize("workload", [workload("book", "float32"), workload("epoch", "float64")])
def test_no_two_instances_are_the_same_problem_and_each_is_the_same_everywhere(
    shared: Shared, workload: Workload
) -> None:
    turns = [Problem.make(workload, shared.examples, 5).turn(number) for number in range(20)]
    contents = [(t.learning_rate, t.examples.tobytes(), t.parameters.weights[0].tobytes()) for t in turns]
    for kind in zip(*contents, strict=True):
        assert len(set(kind)) == 20
    again = Problem.make(workload, shared.examples, 5).turn(7)
    assert (again.learning_rate, again.examples.tobytes(), again.parameters.weights[0].tobytes()) == contents[7]
    assert Problem.make(workload, shared.examples, 6).turn(7).learning_rate != turns[7].learning_rate


@pytest.mark.slow("follows hundreds of steps")
def test_a_wide_network_does_not_blow_up_rounding(shared: Shared) -> None:
    """With learning rates of narrow ones, the error grew 3 times a step, and correct implementations were rejected."""
    problem = Problem.make(parse("784-512-10:10"), shared.examples, 0)
    for number in TURNS:
        turn = problem.turn(number)
        steps = steps_of(problem, turn, 60)
        share = stop_of(problem, turn, steps).errors(after(problem, turn, steps))[1]
        assert share < CORRECT


def test_where_rounding_decides_nothing_is_said() -> None:
    """Fifty steps of a deep network with large weights."""
    rng = np.random.default_rng(4)
    sizes = (69, 38, 17, 6, 2, 5, 2, 64)
    weights = [10 / n_in**0.5 * rng.standard_normal((n_out, n_in)) for n_in, n_out in pairwise(sizes)]
    parameters = Parameters(
        [W.astype("float32") for W in weights], [5 * rng.standard_normal(n).astype("float32") for n in sizes[1:]]
    )
    x, y = rng.standard_normal((7, 69)).astype("float32"), rng.random((7, 64)).astype("float32")
    short, long = trajectory(parameters, [GradientStep(x, y, 3.0)] * 50, [1, 50], "float32", perturbations=4)
    assert not short.undecided
    assert long.undecided


def test_parameters_that_a_step_too_many_left_are_wrong(shared: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    """But not where rounding decides."""
    problem = Problem.make(workload("book", "float64"), shared.examples, 0)
    turn = problem.turn(1)
    left = {
        str(steps): audit.Left(after(problem, turn, steps_of(problem, turn, steps)), 1, 3, 0, "quadratic")
        for steps in (3, 4)
    }
    assert [bool(words) for words, _ in audit.compare_with_reference(problem, left).values()] == [False, True]
    monkeypatch.setattr(Stop, "undecided", True)
    assert {words for words, _ in audit.compare_with_reference(problem, left).values()} == {""}
