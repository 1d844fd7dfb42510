"""The diagnosis of incorrect implementations: the sentence for each mistake, and none for what is no known mistake."""

import operator
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import planted_bugs
import planted_contract_bugs
import pytest
from correct_code import draw
from hypothesis import given, settings
from hypothesis import strategies as st
from test_wrong_codes import measure

from bench.conditions import Workload
from bench.runner.process import WorkerFailed, WorkerProcess
from bench.runner.worker_environment import shared_examples
from bench.worker.protocol import Prepare, Prepared, Start, Started
from impls.conformance.backprop import (
    MISTAKES,
    STEP_MISTAKES,
    Backprop,
    Inputs,
    correct_gradient,
    descend,
    inputs_in_float64,
    with_mistakes,
)
from impls.conformance.diagnosis import gradient_mistakes, likely_mistake, step_mistakes
from impls.conformance.explanation import FACTORS
from impls.conformance.kit import check, check_workload
from impls.conformance.reference import elementwise
from impls.conformance.trial import Factory
from impls.conformance.violation import Violation, simplest, summary
from impls.interface import Implementation, Parameters
from impls.support.loading import Target

SIZES, SQUARE = (6, 5, 4, 3), (4, 4, 4, 4)
RATE = 2.3
SUM = "every gradient is B times too large: summed over the mini-batch, not averaged"


def case(sizes: tuple[int, ...] = SIZES, examples: int = 7, seed: int = 5, cost: str = "quadratic") -> Inputs:
    parameters, x, y = draw(sizes, examples, seed)
    return inputs_in_float64(parameters, x, y.round() if cost == "cross-entropy" else y, cost, 11, RATE)


def scaled(parameters: Parameters, factor: float, kinds: str = "Wb", layers: tuple[int, ...] = (0, 1, 2)) -> Parameters:
    """Return the tensors, with some of them multiplied."""
    factors: Any = [[factor if kind in kinds and layer in layers else 1.0 for layer in range(3)] for kind in "Wb"]
    return elementwise(operator.mul, Parameters(*factors), parameters)


# --- The tables --------------------------------------------------------------------------------------------------


def test_every_mistake_in_backpropagation_is_named() -> None:
    """An entry that is never the answer is hidden by another, or cannot be computed."""
    named: set[str] = set()
    for problem in (case(), case(SQUARE, 5), case(cost="cross-entropy")):
        for mistake in MISTAKES:
            backprop = with_mistakes([mistake])
            try:
                named.update(gradient_mistakes(backprop.gradient(problem), problem))
                everything = np.arange(len(problem.x))
                named.update(step_mistakes(descend(problem, [everything], backprop.gradient), problem, [[everything]]))
            except ValueError:
                continue
    assert {mistake.sentence for mistake in MISTAKES} - named == set()


def test_every_mistake_in_steps_is_named() -> None:
    problem = case(examples=26)
    orders = [np.random.default_rng(seed).permutation(26) for seed in (1, 2)]
    epochs = [np.split(order, [11, 22]) for order in orders]
    for mistake in STEP_MISTAKES:
        assert step_mistakes(mistake.parameters(problem, epochs), problem, epochs) == [mistake.sentence]


@pytest.mark.parametrize(("value", "words"), FACTORS, ids=[words for _, words in FACTORS])
def test_every_factor_is_named(value: Callable[[Inputs], float], words: str) -> None:
    problem, everything = case(), np.arange(7)
    gradient = scaled(correct_gradient(problem), value(problem))
    after = descend(problem, [everything], lambda _: gradient)
    assert step_mistakes(after, problem, [[everything]]) == [f"the step of every parameter {words}"]


@pytest.mark.parametrize(
    ("factor", "kinds", "layers", "sentence"),
    [
        (-7.0, "Wb", (0, 1, 2), f"every gradient has the wrong sign; {SUM}"),
        (0.0, "b", (0, 1, 2), "every bias gradient is zero: the parameters are not updated"),
        (-1.0, "W", (0, 1, 2), "every weight gradient has the wrong sign"),
        (0.5, "Wb", (1,), "the gradient of weights[1], biases[1] is 2 times too small: the 1/2 of the cost is counted"),
        (1.7, "Wb", (0, 1, 2), "every gradient is 1.7 times too large"),
        (-0.1, "W", (0,), "the gradient of weights[0] is 10 times too small, and has the wrong sign"),
    ],
)
def test_multiples_of_some_tensors(factor: float, kinds: str, layers: tuple[int, ...], sentence: str) -> None:
    problem = case()
    assert "; ".join(gradient_mistakes(scaled(correct_gradient(problem), factor, kinds, layers), problem)).startswith(
        sentence
    )


def test_ordinary_mistakes_are_named_or_nothing_is_said() -> None:
    """Code that shares nothing with the diagnosis makes one mistake, or two at once. A wrong diagnosis is the worst."""

    def diagnosis(code: Factory) -> str:
        return likely_mistake(code, "float64")

    measured = measure(diagnosis)
    assert not measured["wrong"], measured["wrong"]
    assert len(measured["whole"]) >= 0.9 * sum(map(len, measured.values())), measured


@pytest.mark.parametrize(
    ("bug", "dtype", "sentence"),
    [
        (planted_bugs.Float32InsideFloat64, "float64", "computed in lower precision: agrees to .e-0. only, as if in f"),
        (planted_bugs.Float16InsideFloat32, "float32", "computed in lower precision: agrees to .e-0. only, as if in f"),
        (planted_bugs.MeanOverWorkSpace, "float64", "every gradient is too small: averaged over the batch size of the"),
        (planted_bugs.ShufflesData, "float64", "the data is shuffled in place: the next epoch's order means other ex"),
    ],
)
def test_planted_bugs_are_named(bug: Factory, dtype: str, sentence: str) -> None:
    assert re.match(sentence, likely_mistake(bug, dtype))


# --- No false diagnosis ------------------------------------------------------------------------------------------

NETWORKS = st.lists(st.integers(1, 6), min_size=2, max_size=5).map(tuple)


@settings(max_examples=15, deadline=None)
@given(
    sizes=NETWORKS,
    examples=st.integers(1, 6),
    seed=st.integers(0, 2**32 - 1),
    dtype=st.sampled_from(["float64", "float32"]),
    size=st.floats(0.1, 3.0),
    one_entry=st.booleans(),
    data=st.data(),
)
def test_random_errors_have_no_diagnosis(
    sizes: tuple[int, ...], examples: int, seed: int, dtype: str, size: float, one_entry: bool, data: st.DataObject
) -> None:
    parameters, x, y = draw(sizes, examples, seed, dtype)
    problem = inputs_in_float64(parameters, x, y, "quadratic", examples, RATE)
    chosen = data.draw(st.sets(st.integers(0, 2 * len(sizes) - 3), min_size=1))
    rng = np.random.default_rng([seed, 1])  # not the one that the parameters were drawn with

    def perturbed(correct: Parameters) -> Parameters:
        tensors = [tensor.astype(dtype) for tensor in correct.weights + correct.biases]
        for number in chosen:
            noise = size * np.linalg.norm(tensors[number]) * rng.standard_normal(tensors[number].shape)
            if one_entry:
                noise.flat[1:] = 0.0
            tensors[number] = (tensors[number] + noise).astype(dtype)
        return Parameters(tensors[: len(sizes) - 1], tensors[len(sizes) - 1 :])

    assert gradient_mistakes(perturbed(correct_gradient(problem)), problem) == []
    assert step_mistakes(perturbed(parameters), problem, [[np.arange(examples)]]) == []


@settings(max_examples=30, deadline=None)
@given(sizes=NETWORKS, examples=st.integers(1, 6), seed=st.integers(0, 2**32 - 1))
def test_correct_gradients_have_no_diagnosis(sizes: tuple[int, ...], examples: int, seed: int) -> None:
    problem = case(sizes, examples, seed)
    assert gradient_mistakes(Backprop().gradient(problem), problem) == []


@pytest.mark.parametrize("result", [None, 3.0, (), ([], []), ([np.ones((1, 1))], [])], ids=repr)
def test_what_cannot_be_compared_has_no_diagnosis(result: Any) -> None:
    assert gradient_mistakes(result, case()) == []


def test_a_tensor_that_is_not_finite_is_named() -> None:
    problem = case()
    gradient = scaled(correct_gradient(problem), np.nan, "W", (0,))
    assert gradient_mistakes(gradient, problem)[0].startswith("NaN or infinity in weights[0]: ")


# --- Violations ------------------------------------------------------------------------------------------------------


def violations(cls: type[Implementation], *, epoch: bool = False) -> list[Violation]:
    """Return the violations that the gate finds."""
    parameters, x, y = draw(SIZES, 16 if epoch else 7, seed=5)
    with cls(SIZES, 5 if epoch else 7) as implementation:
        return check_workload(implementation, parameters, x, y, 0.3, epoch=epoch)


def test_a_violation_is_one_line_and_a_summary_begins_with_the_diagnosis() -> None:
    all_violations = violations(planted_bugs.SumInsteadOfMean)
    line = summary(all_violations)
    error = r"gradient: \w+\[\d\]: relative error 6\.0e\+00, allowed 1e-12"
    assert re.match(error, str(all_violations[0]))
    assert re.match(rf"{re.escape(SUM)} \({error} and 5 more; step: ", line)
    assert "\n" not in line + str(all_violations[0])


def test_an_epoch_that_is_wrong_on_the_workload_is_diagnosed() -> None:
    (violation,) = violations(planted_bugs.DropsLastBatch, epoch=True)
    assert violation.diagnosis == "the last, smaller mini-batch is left out"


def test_modified_inputs_come_before_all_that_relies_on_them() -> None:
    diagnoses = {
        violation.check: violation.diagnosis for violation in violations(planted_contract_bugs.OverwritesTargets)
    }
    assert diagnoses == {"inputs-unchanged": "a call modifies its inputs: y"}


@pytest.mark.slow("the whole conformance kit")
@pytest.mark.parametrize(
    ("bug", "name", "sentence"),
    [
        (planted_bugs.TransposedWhenSquare, "one-example", "delta goes back through the transposed weights"),
        (planted_contract_bugs.SortsOrder, "several-epochs", "a call modifies its inputs: order"),
        (planted_contract_bugs.OnePreparedBatch, "first-again", ""),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_simplest_case_of_a_planted_bug(bug: type[Implementation], name: str, sentence: str) -> None:
    violation = simplest(check(bug, dtypes=("float64",), threads=(1,)))
    assert (violation.check, violation.diagnosis) == (name, sentence)


def test_an_exception_is_placed_in_the_file_of_the_implementation() -> None:
    (frame,) = simplest(check(planted_bugs.Exits, dtypes=("float64",), threads=(1,))).frames
    assert frame.startswith("planted_bugs.py:")
    assert frame.endswith(", in gradients: raise SystemExit(3)")


# --- The worker --------------------------------------------------------------------------------------------------

CODE = """\
from impls.batched_2d import Batched2D
from impls.interface import Implementation, Parameters


class Columns(Batched2D):
    def gradients(self, batch):
        dW, db = super().gradients(batch)
        return Parameters([len(batch.x) * g for g in dW], [len(batch.x) * g[:, None] for g in db])

    step = Implementation.step
"""


def test_a_worker_names_the_mistakes(tmp_path: Path) -> None:
    (tmp_path / "columns.py").write_text(CODE)
    rng = np.random.default_rng(0)
    worker = WorkerProcess(1, [0], 60.0)
    try:
        worker.ask(Start(Target(str(tmp_path / "columns.py"), "Columns")), Started)
        workload = Workload("book", (784, 30, 10), 10)
        x, y = rng.random((20, 784)), np.eye(10)[rng.integers(0, 10, 20)]
        with shared_examples(x, y) as shared, pytest.raises(WorkerFailed) as failed:
            worker.ask(Prepare(workload, 1, shared.examples, 0, 0.001, 60.0), Prepared)
    finally:
        worker.close()
    reason = "the gradients of the biases are columns instead of vectors; and every gradient is B times too large: "
    assert failed.value.outcome == "incorrect"
    assert str(failed.value).startswith(reason)
    assert "\n" not in str(failed.value)
