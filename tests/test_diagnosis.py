"""The diagnosis of a wrong row: the sentence for each planted mistake, and none for what is no known mistake."""

from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise, product
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import planted_bugs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from planted_bugs import Right
from test_wrong_codes import measure
from wrong_codes import PAIRS

from bench.measurement.examples import shared_examples
from bench.measurement.process import WorkerFailed, WorkerProcess
from bench.protocol import Prepare, Prepared, Start, Started
from bench.records import Workload
from impls.conformance import Violation, check, check_workload, diagnose, diagnose_steps
from impls.conformance.backprop import Backprop, Case, mistakes_for, with_mistakes
from impls.conformance.comparison import gradient_errors
from impls.conformance.oracle import oracle_gradients
from impls.conformance.step_mistakes import STEP_MISTAKES, Descent, descend
from impls.conformance.trial import Factory, likely_mistake
from impls.conformance.violation import rank, simplest, summary
from impls.interface import Array, Batch, Implementation, Parameters

SIZES, SQUARE = (6, 5, 4, 3), (4, 4, 4, 4)
RATE_MATTERS = "already updated"  # in the sentence for a mistake that only a step can make
RATE = 0.3
WORDS = "every gradient is B times too large: summed over the mini-batch, not averaged"


def draw(sizes: tuple[int, ...], examples: int, seed: int, dtype: str = "float64") -> tuple[Parameters, Array, Array]:
    rng = np.random.default_rng(seed)
    shapes = [(n_out, n_in) for n_in, n_out in pairwise(sizes)]
    weights = [rng.standard_normal(shape).astype(dtype) for shape in shapes]
    biases = [rng.standard_normal(n_out).astype(dtype) for n_out, _ in shapes]
    x, y = rng.standard_normal((examples, sizes[0])), rng.random((examples, sizes[-1]))
    return Parameters(weights, biases), x.astype(dtype), y.astype(dtype)


def violations(
    cls: type[Implementation],
    *,
    sizes: tuple[int, ...] = SIZES,
    examples: int = 7,
    batch_size: int = 0,
    epoch: bool = False,
    dtype: str = "float64",
) -> list[Violation]:
    """Return the violations that the gate finds."""
    parameters, x, y = draw(sizes, examples, seed=5, dtype=dtype)
    with cls(sizes, batch_size or examples, dtype) as implementation:
        return check_workload(implementation, parameters, x, y, RATE, epoch=epoch)


def diagnosis(cls: type[Implementation], **setting: Any) -> str:
    """Return the first diagnosis of the gate."""
    return next((violation.diagnosis for violation in violations(cls, **setting) if violation.diagnosis), "")


# --- The gradient ------------------------------------------------------------------------------------------------


def changed(change: Callable[[Parameters, Batch], Parameters]) -> type[Implementation]:
    """Return a row whose gradient is a changed copy of the right one."""

    class Changed(Right):
        def gradients(self, batch: Batch) -> Parameters:
            return change(super().gradients(batch), batch)

    return Changed


def with_parts(**parts: Any) -> type[Implementation]:
    """Return a row with some of the methods of `Right` replaced."""
    return type("WithParts", (Right,), parts)


def times(
    factor: Callable[[Batch], float], names: Callable[[str, int], bool] = lambda _k, _l: True
) -> type[Implementation]:
    """Return a row whose gradients, of tensors chosen by kind and layer, are multiplied."""

    def change(gradient: Parameters, batch: Batch) -> Parameters:
        kinds = [
            [g * (factor(batch) if names(kind, layer) else 1.0) for layer, g in enumerate(tensors)]
            for kind, tensors in zip("Wb", gradient, strict=True)
        ]
        return Parameters(*kinds)

    return changed(change)


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (times(lambda batch: len(batch.x)), WORDS),
        (
            times(lambda batch: 1 / len(batch.x)),
            "every gradient is B times too small: divided by the number of examples twice",
        ),
        (
            times(lambda batch: len(batch.x) / (len(batch.x) - 1)),
            "every gradient is averaged over one example too few: divided by B - 1 instead of B",
        ),
        (times(lambda _: -1.0), "every gradient has the wrong sign"),
        (times(lambda batch: -len(batch.x)), f"every gradient has the wrong sign; and {WORDS}"),
        (times(lambda _: 0.0), "every gradient is zero"),
        (times(lambda _: 2.0), "every gradient is 2 times too large: the 1/2 of the cost is missing"),
        (times(lambda _: 0.5), "every gradient is 2 times too small: the 1/2 of the cost is counted twice"),
        (times(lambda _: 1 / 3), "every gradient is too small: averaged over the output units, too"),
        (
            times(lambda _: 2 / 3),
            "every gradient is that of the mean squared error over examples and output units",
        ),
        (times(lambda _: 1.7), "every gradient is 1.7 times too large"),
        (times(lambda _: -0.1), "every gradient is 10 times too small, and has the wrong sign"),
        (times(lambda _: 0.0, lambda kind, _: kind == "b"), "every bias gradient is zero"),
        (times(lambda _: -1.0, lambda kind, _: kind == "W"), "every weight gradient has the wrong sign"),
        (times(lambda _: 0.0, lambda _, layer: layer == 1), "every gradient of layer 1 is zero"),
        (times(lambda _: -1.0, lambda _, layer: layer < 2), "every gradient but those of layer 2 has the wrong sign"),
        (
            times(lambda _: 5.0, lambda kind, layer: (kind, layer) == ("W", 0)),
            "the gradient of weights[0] is 5 times too large",
        ),
    ],
)
def test_multiples(row: type[Implementation], sentence: str) -> None:
    assert diagnosis(row) == sentence


def test_mean_over_the_work_space() -> None:
    parameters, x, y = draw(SIZES, 7, seed=5)
    with planted_bugs.MeanOverWorkSpace(SIZES, 10) as implementation:
        implementation.load(parameters)
        found = implementation.gradients(implementation.prepare(x, y))
    expected = "averaged over the batch size of the construction, not over the examples given"
    assert expected in diagnose(found, parameters, x, y, batch_size=10)


def backward(slope: Callable[[Array, int], Array]) -> type[Implementation]:
    """Return a row with another slope: a function of a and of the layer counted from the output, the output's 0."""

    def with_slope(self: Right, activations: list[Array], y: Array) -> Parameters:
        layers = len(self.weights)
        delta = (activations[-1] - y) * slope(activations[-1], 0) / len(y)
        dW, db = [delta.T @ activations[-2]], [delta.sum(axis=0)]
        for layer in range(layers - 1, 0, -1):
            delta = self.back(delta, layer) * slope(activations[layer], layers - layer)
            dW.insert(0, delta.T @ activations[layer - 1])
            db.insert(0, delta.sum(axis=0))
        return Parameters(dW, db)

    return with_parts(backward=with_slope)


def right_slope(a: Array) -> Array:
    slope: Array = a * (1 - a)
    return slope


def logit(a: Array) -> Array:
    z: Array = np.log(a / (1 - a))
    return z


def sigmoid(z: Array) -> Array:
    return 1 / (1 + np.exp(-z))


SLOPE_MISSING = "the slope of the sigmoid is missing"


@pytest.mark.parametrize(
    ("slope", "sentence"),
    [
        (
            lambda a, back: right_slope(a) if back else 1.0,
            f"{SLOPE_MISSING} at the output: this is the gradient of the ",
        ),
        (lambda a, back: 1.0 if back else right_slope(a), f"{SLOPE_MISSING} in the hidden layers"),
        (lambda _a, _back: 1.0, f"{SLOPE_MISSING} in all layers"),
        (
            lambda a, _: right_slope(sigmoid(a)),
            "the slope is that of the sigmoid at a instead of at z in all layers",
        ),
        (lambda a, _: logit(a) * (1 - logit(a)), "the slope is z(1 - z) instead of a(1 - a) in all layers"),
        (
            lambda a, back: 1 - a * a if back else right_slope(a),
            "the slope is that of tanh, 1 - a^2, instead of a(1 - a) in the hidden layers",
        ),
        (lambda a, back: right_slope(a) if back else a, "the slope is a instead of a(1 - a) at the output"),
    ],
)
def test_slopes(slope: Callable[[Array, int], Array], sentence: str) -> None:
    assert diagnosis(backward(slope)).startswith(sentence)


def test_quadratic_gradient_where_the_cost_is_the_cross_entropy() -> None:
    row = type("CrossEntropy", (Right,), {"cost": "cross-entropy"})
    assert "this is the gradient of the quadratic cost, not of the cross-entropy" in diagnosis(row)


def forward(bias: float, output: Callable[[Array], Array]) -> Callable[[Right, Array], list[Array]]:
    def with_bias(self: Right, x: Array) -> list[Array]:
        activations = [x]
        for layer, (W, b) in enumerate(zip(self.weights, self.biases, strict=True)):
            z = activations[-1] @ W.T + bias * b
            activations.append(output(z) if layer == len(self.weights) - 1 else sigmoid(z))
        return activations

    return with_bias


def linear_output(self: Right, activations: list[Array], y: Array) -> Parameters:
    delta = (activations[-1] - y) / len(y)
    dW, db = [delta.T @ activations[-2]], [delta.sum(axis=0)]
    for layer in range(len(self.weights) - 1, 0, -1):
        delta = self.back(delta, layer) * right_slope(activations[layer])
        dW.insert(0, delta.T @ activations[layer - 1])
        db.insert(0, delta.sum(axis=0))
    return Parameters(dW, db)


def examples(choose: Callable[[Array, Array], tuple[Array, Array]]) -> type[Implementation]:
    """Return a row that computes the gradient of other examples."""

    def gradients(self: Right, batch: Batch) -> Parameters:
        return Right.gradients(self, Batch(*choose(batch.x, batch.y)))

    return with_parts(gradients=gradients)


def counted(counts: list[float]) -> type[Implementation]:
    """Return a row in which the examples count so many times, in a sum divided by B."""

    def gradients(self: Right, batch: Batch) -> Parameters:
        activations = self.forward(batch.x)
        parts = [
            Right.backward(self, [a[i : i + 1] for a in activations], batch.y[i : i + 1]) for i in range(len(batch.x))
        ]
        total = [
            [sum(c * g for c, g in zip(counts, gs, strict=True)) / len(counts) for gs in zip(*kind, strict=True)]
            for kind in zip(*parts, strict=True)
        ]
        return Parameters(*total)

    return with_parts(gradients=gradients)


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (with_parts(forward=forward(0.0, sigmoid)), "the biases are ignored in the forward pass"),
        (with_parts(forward=forward(-1.0, sigmoid)), "the biases are subtracted in the forward pass"),
        (
            with_parts(forward=forward(1.0, lambda z: z), backward=linear_output),
            "the output layer computes the identity instead of the sigmoid",
        ),
        (planted_bugs.BiasGradientOfOneExample, "every bias gradient: only example 1 of 11 counts"),
        (examples(lambda x, y: (x, 0 * y)), "the targets are ignored"),
        (examples(lambda x, y: (x, y[::-1])), "x and y are not paired: the targets are in reverse"),
        (examples(lambda x, y: (x[:1], y[:1])), "only the first example is used"),
        (examples(lambda x, y: (x[-1:], y[-1:])), "only the last example is used"),
        (examples(lambda x, y: (x[:-1], y[:-1])), "the last example is left out"),
        (examples(lambda x, y: (x[:3], y[:3])), "only examples 1 to 3 of 11 count"),
        (counted([1, 1, 1, 1, 1, 1, 0]), "the last example is left out"),
        (counted([1, 1, 0, 1, 1, 1, 1]), "example 3 of 7 counts not at all"),
        (counted([7 / 5, 7 / 5, 0, 0, 7 / 5, 7 / 5, 7 / 5]), "examples 3 to 4 of 7 count not at all"),
        (counted([0, 1, 0, 0, 1, 0, 0]), "only examples 2, 5 of 7 count"),
        (counted([1, 2, 1, 1, 1, 1, 1]), "example 2 of 7 counts more than once"),
        (
            changed(lambda g, _: Parameters([W.astype("f4").astype("f8") for W in g.weights], g.biases)),
            "computed in lower precision: agrees to 3e-08 only, as if in float32",
        ),
        (planted_bugs.Float32InsideFloat64, "computed in lower precision: agrees to "),
        (
            changed(lambda g, _: Parameters([g.weights[0] * np.nan, *g.weights[1:]], g.biases)),
            "NaN or infinity in weights[0]: ",
        ),
    ],
)
def test_gradients(row: type[Implementation], sentence: str) -> None:
    assert diagnosis(row).startswith(sentence)


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (planted_bugs.TransposedWhenSquare, "delta goes back through the transposed weights"),
        (planted_bugs.StaleDelta, "every layer starts from the output's delta instead of the next layer's"),
        (
            with_parts(back=lambda self, delta, layer: delta @ self.weights[layer - 1]),
            "delta goes back through the weights of the wrong layer",
        ),
        (
            changed(lambda g, _: Parameters([W.T for W in g.weights], g.biases)),
            "the gradients of the weights are transposed",
        ),
    ],
)
def test_equal_widths(row: type[Implementation], sentence: str) -> None:
    assert diagnosis(row, sizes=SQUARE) == sentence


def test_lower_precision_of_one_product() -> None:
    found = diagnosis(planted_bugs.Float16InsideFloat32, dtype="float32")
    assert found == "computed in lower precision: agrees to 5e-04 only, as if in float16, TF32 or bfloat16"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda g: Parameters(g.biases, g.weights), "weights and biases are swapped"),
        (
            lambda g: Parameters(g.weights[::-1], g.biases[::-1]),
            "the gradients are in the order of the last layer first",
        ),
        (lambda g: Parameters([W.T for W in g.weights], g.biases), "the gradients of the weights are transposed"),
        (
            lambda g: Parameters(g.weights, [b[:, np.newaxis] for b in g.biases]),
            "the gradients of the biases are columns instead of vectors",
        ),
        (lambda g: Parameters([W.ravel() for W in g.weights], g.biases), "the gradients of the weights are flattened"),
    ],
)
def test_arrangements(change: Callable[[Parameters], Parameters], sentence: str) -> None:
    parameters, x, y = draw(SIZES, 7, seed=5)
    assert diagnose(change(oracle_gradients(parameters, x, y)), parameters, x, y) == sentence


def test_gradients_of_an_earlier_call() -> None:
    parameters, x, y = draw(SIZES, 7, seed=5)
    _, x_before, y_before = draw(SIZES, 7, seed=6)
    mine, other = oracle_gradients(parameters, x, y), oracle_gradients(parameters, x_before, y_before)
    both = Parameters(*([p + q for p, q in zip(*pair, strict=True)] for pair in zip(mine, other, strict=True)))
    others = {"the mini-batch before": other}
    assert diagnose(other, parameters, x, y, others=others) == "this is the gradient of the mini-batch before"
    expected = "the gradient of the mini-batch before is not cleared but added"
    assert diagnose(both, parameters, x, y, others=others) == expected


# --- Steps and epochs --------------------------------------------------------------------------------------------


def stepping(step: Callable[[Any, Batch, float], None]) -> type[Implementation]:
    return with_parts(step=step)


def move(
    row: Right, gradient: Parameters, rate: float, names: Callable[[str, int], bool] = lambda _k, _l: True
) -> None:
    for kind, tensors, gradients in zip("Wb", (row.weights, row.biases), gradient, strict=True):
        for layer, (p, dp) in enumerate(zip(tensors, gradients, strict=True)):
            if names(kind, layer):
                p -= rate * dp


def look_ahead(row: Right, batch: Batch, rate: float) -> None:
    before = row.parameters()
    move(row, row.gradients(batch), rate)
    gradient = row.gradients(batch)
    row.load(before)
    move(row, gradient, rate)


def twice(row: Right, batch: Batch, rate: float) -> None:
    for _ in range(2):
        Right.step(row, batch, rate)


def decay(row: Right, batch: Batch, rate: float) -> None:
    Right.step(row, batch, rate)
    for W in row.weights:
        W *= 0.99


@pytest.mark.parametrize(
    ("step", "sentence"),
    [
        (lambda _row, _batch, _rate: None, "every parameter is unchanged: the step is not applied"),
        (
            lambda row, batch, rate: move(row, row.gradients(batch), 2 * rate),
            "every parameter moves 2 times too far: the step is applied twice, or the 1/2 of the cost is missing",
        ),
        (twice, "the step is taken twice"),
        (
            lambda row, batch, rate: Right.step(row, batch, -rate),
            "every parameter moves the wrong way: added instead of subtracted",
        ),
        (
            lambda row, batch, rate: Right.step(row, batch, rate * len(batch.x)),
            "every parameter moves B times too far: by the sum over the mini-batch, not by the mean",
        ),
        (
            lambda row, batch, rate: Right.step(row, batch, rate / len(batch.x)),
            "every parameter moves B times too little: divided by the number of examples twice",
        ),
        (
            lambda row, batch, _: Right.step(row, batch, 1.0),
            "every parameter moves by the whole gradient: the learning rate is ignored",
        ),
        (
            lambda row, batch, rate: Right.step(row, batch, rate * rate),
            "every parameter moves by the square of the learning rate: it is applied twice",
        ),
        (lambda row, batch, rate: Right.step(row, batch, 1.3 * rate), "every parameter moves 1.3 times too far"),
        (
            lambda row, batch, rate: move(row, row.gradients(batch), rate, lambda kind, _: kind == "W"),
            "every bias is unchanged: the step is not applied",
        ),
        (
            lambda row, batch, rate: move(row, row.gradients(batch), rate, lambda kind, _: kind == "b"),
            "every weight is unchanged: the step is not applied",
        ),
        (
            lambda row, batch, rate: move(row, row.gradients(batch), rate, lambda _, layer: layer == 0),
            "every parameter but those of layer 0 is unchanged: the step is not applied",
        ),
        (look_ahead, "the gradient is computed at the parameters after the step"),
        (planted_bugs.UpdatesWhileGoingBack.step, "delta goes back through weights that are already updated"),
        (decay, "every weight is multiplied by 0.99 after the step: weight decay, or L2 regularization"),
        (
            lambda row, batch, rate: Right.step(row, Batch(batch.x, batch.y[::-1]), rate),
            "x and y are not paired: the targets are in reverse",
        ),
    ],
)
def test_steps(step: Callable[[Any, Batch, float], None], sentence: str) -> None:
    assert diagnosis(stepping(step)) == sentence


def epochs(choose: Callable[[Any, NDArray[np.intp]], list[NDArray[np.intp]]]) -> type[Implementation]:
    """Return a row that goes through other mini-batches, of itself and the order."""

    def epoch(self: Right, data: Any, order: NDArray[np.intp], learning_rate: float) -> None:
        for rows in choose(self, order):
            self.step(self.take(data, rows), learning_rate)

    return with_parts(epoch=epoch)


def cut(row: Implementation, order: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    return np.split(order, range(row.batch_size, len(order), row.batch_size))


class Accumulating(Right):
    """Adds each gradient to those of all steps before, as without zero_grad."""

    total: Parameters | None = None
    momentum: ClassVar[float] = 1.0

    def load(self, parameters: Parameters) -> None:
        self.total = None
        super().load(parameters)

    def step(self, batch: Batch, learning_rate: float) -> None:
        gradient = self.gradients(batch)
        if self.total is not None:
            kinds = zip(gradient, self.total, strict=True)
            gradient = Parameters(*([g + self.momentum * old for g, old in zip(*pair, strict=True)] for pair in kinds))
        self.total = gradient
        move(self, gradient, learning_rate)


class NineTenths(Accumulating):
    momentum = 0.9


class StaleCopy(Right):
    """Takes delta back through a copy of the weights that was made when they were loaded."""

    def load(self, parameters: Parameters) -> None:
        super().load(parameters)
        self.copies = [W.copy() for W in self.weights]

    def back(self, delta: Array, layer: int) -> Array:
        return delta @ self.copies[layer]


class MeanOverBatchSize(Right):
    """Divides the last, smaller mini-batch by the batch size."""

    def epoch(self, data: Any, order: NDArray[np.intp], learning_rate: float) -> None:
        for rows in cut(self, order):
            self.step(self.take(data, rows), learning_rate * len(rows) / self.batch_size)


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (planted_bugs.DropsLastBatch, "the last, smaller mini-batch is left out"),
        (planted_bugs.FillsLastBatch, "the last, smaller mini-batch is filled up with the first examples"),
        (MeanOverBatchSize, "the last, smaller mini-batch is averaged over the whole batch size"),
        (planted_bugs.IgnoresOrder, "the order is ignored: the examples are taken as they are stored"),
        (epochs(lambda row, order: cut(row, order)[::-1]), "the mini-batches are taken in reverse"),
        (epochs(lambda row, order: cut(row, order[::-1])), "the order is read from its end"),
        (epochs(lambda row, order: cut(row, np.argsort(order))), "the inverse of the order is used"),
        (epochs(lambda row, order: cut(row, order)[:1]), "only the first mini-batch is used"),
        (
            epochs(lambda row, order: [cut(row, order)[0]] * len(cut(row, order))),
            "every step uses the first mini-batch",
        ),
        (epochs(lambda _, order: [order]), "one step with all examples instead of one for each mini-batch"),
        (
            epochs(lambda _, order: list(order[:, np.newaxis])),
            "one step for each example instead of one for each mini-batch",
        ),
        (planted_bugs.OneStepAnEpoch, "all gradients of an epoch are computed at its initial parameters"),
        (Accumulating, "the gradients of earlier steps are not cleared: they accumulate"),
        (NineTenths, "momentum: 0.9 of the last step is added to each step"),
        (StaleCopy, "delta goes back through a copy of the weights that is stale after the first step"),
        (
            planted_bugs.SumInStep,
            "every parameter moves B times too far: by the sum over the mini-batch, not by the mean",
        ),
    ],
)
def test_epochs(row: type[Implementation], sentence: str) -> None:
    assert diagnosis(row, epoch=True, examples=16, batch_size=5) == sentence


def test_modified_inputs_come_before_all_that_relies_on_them() -> None:
    found = {violation.check: violation.diagnosis for violation in violations(planted_bugs.OverwritesTargets)}
    assert found == {"inputs-unchanged": "a call modifies its inputs: y"}


# --- The kit -----------------------------------------------------------------------------------------------------

LEFT_OVER = (
    "every bias gradient: the gradient of an example left over from a larger mini-batch is not cleared but added"
)


@pytest.mark.slow("the whole conformance kit")
@pytest.mark.parametrize(
    ("bug", "name", "sentence"),
    [
        (planted_bugs.SumInsteadOfMean, "gradient", WORDS),
        (planted_bugs.TransposedWhenSquare, "one-example", "delta goes back through the transposed weights"),
        (planted_bugs.DropsLastBatch, "short-last-batch", "the last, smaller mini-batch is left out"),
        (planted_bugs.OnePreparedBatch, "first-again", "this is the gradient of the other mini-batch"),
        (
            planted_bugs.ShufflesData,
            "several-epochs",
            "the data is shuffled in place: the next epoch's order means other examples",
        ),
        (planted_bugs.SortsOrder, "several-epochs", "a call modifies its inputs: order"),
        (
            planted_bugs.StaleWorkSpace,
            "smaller-after-larger",
            LEFT_OVER,
        ),
        (
            planted_bugs.SharedParameters,
            "independent-instances",
            "this is the gradient of the other instance's parameters",
        ),
        (
            planted_bugs.GradientLearns,
            "step",
            "weights[0] is multiplied by 0.99 before the step: weight decay, or L2 regularization",
        ),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_simplest_case_of_a_planted_bug(bug: type[Implementation], name: str, sentence: str) -> None:
    violation = simplest(check(bug, dtypes=("float64",), threads=(1,)))
    assert (violation.check, violation.diagnosis) == (name, sentence)


def test_right_row_is_never_diagnosed(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any, **__: Any) -> str:
        raise AssertionError("nothing is wrong")

    monkeypatch.setattr("impls.conformance.trial.diagnose", never)
    monkeypatch.setattr("impls.conformance.trial.diagnose_steps", never)
    assert check(Right, threads=(1,)) == []


def test_exception_is_placed_in_the_rows_own_file() -> None:
    found = simplest(check(planted_bugs.Exits, dtypes=("float64",), threads=(1,)))
    (frame,) = found.frames
    assert frame.startswith("planted_bugs.py:")
    assert frame.endswith(", in gradients: raise SystemExit(3)")


def test_simplest_is_the_smallest_then_one_thread_then_float64() -> None:
    from impls.conformance.violation import Network

    small, large = Network((2, 2), 3, 3), Network((9, 9), 1, 1)
    ranks = [
        rank(*case)
        for case in ((small, 1, "float64"), (small, 1, "float32"), (small, 2, "float64"), (large, 1, "float64"))
    ]
    assert ranks == sorted(ranks)
    assert len(set(ranks)) == len(ranks)


def test_violation_is_one_line() -> None:
    (violation, *_) = violations(planted_bugs.SumInsteadOfMean)
    assert "\n" not in str(violation)
    assert str(violation).startswith("gradient: biases[0]: relative error 6.0e+00")


def test_summary_begins_with_the_diagnosis_and_is_short() -> None:
    line = summary(violations(planted_bugs.SumInsteadOfMean))
    assert line.startswith(f"{WORDS} (gradient: biases[0]: relative error 6.0e+00, allowed 1e-12 and 5 more; step: ")
    assert "\n" not in line


# --- No false diagnosis ------------------------------------------------------------------------------------------

NETWORKS = st.lists(st.integers(1, 6), min_size=2, max_size=5).map(tuple)


@settings(max_examples=30, deadline=None)
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
    before = parameters.weights + parameters.biases
    chosen = data.draw(st.sets(st.integers(0, len(before) - 1), min_size=1))
    rng = np.random.default_rng([seed, 1])  # not the one that the parameters were drawn with

    def disturbed(right: Parameters) -> Parameters:
        tensors = [tensor.astype(dtype) for tensor in right.weights + right.biases]
        for number in chosen:
            noise = size * np.linalg.norm(tensors[number]) * rng.standard_normal(tensors[number].shape)
            if one_entry:
                noise.flat[1:] = 0.0
            tensors[number] = (tensors[number] + noise).astype(dtype)
        return Parameters(tensors[: len(sizes) - 1], tensors[len(sizes) - 1 :])

    right = oracle_gradients(parameters, x, y)
    assert diagnose(disturbed(right), parameters, x, y) == ""
    assert diagnose_steps(disturbed(parameters), parameters, x, y, [[np.arange(examples)]], RATE) == ""


@settings(max_examples=30, deadline=None)
@given(sizes=NETWORKS, examples=st.integers(1, 6), seed=st.integers(0, 2**32 - 1))
def test_right_gradients_have_no_diagnosis(sizes: tuple[int, ...], examples: int, seed: int) -> None:
    parameters, x, y = draw(sizes, examples, seed)
    case = Case(parameters, x, y, "quadratic", examples)
    gradient = Backprop().gradient(case)
    assert gradient_errors(gradient, oracle_gradients(parameters, x, y), "float64") == ""
    assert diagnose(gradient, parameters, x, y) == ""


@pytest.mark.parametrize("result", [None, 3.0, (), ([], []), ([np.ones((1, 1))], [])], ids=repr)
def test_what_cannot_be_compared_has_no_diagnosis(result: Any) -> None:
    parameters, x, y = draw(SIZES, 7, seed=5)
    assert diagnose(result, parameters, x, y) == ""
    assert diagnose_steps(result, parameters, x, y, [[np.arange(7)]], RATE) == ""


# --- The tables --------------------------------------------------------------------------------------------------


def test_every_mistake_in_backpropagation_is_named() -> None:
    """An entry that is never the answer is hidden by another, or cannot be computed."""
    named = set()
    problems = ((SIZES, "quadratic", 7), (SQUARE, "quadratic", 4), (SIZES, "cross-entropy", 7))
    for (sizes, cost, examples), seed in product(problems, (5, 6)):
        parameters, x, y = draw(sizes, examples, seed)
        y = y.round() if cost == "cross-entropy" else y
        case = Case(parameters, x, y, cost, examples, RATE)
        for mistake in mistakes_for(cost):
            with suppress(ValueError, IndexError):
                wrong = with_mistakes([mistake]).gradient(case)
                if RATE_MATTERS in mistake.sentence:
                    after = descend(case, [np.arange(examples)], RATE, with_mistakes([mistake]).gradient)
                    words = diagnose_steps(after, parameters, x, y, [[np.arange(examples)]], RATE, cost, pairs=False)
                else:
                    words = diagnose(wrong, parameters, x, y, cost, pairs=False)
                if words == mistake.sentence:
                    named.add(mistake.sentence)
    sentences = {mistake.sentence for cost in ("quadratic", "cross-entropy") for mistake in mistakes_for(cost)}
    assert sentences - named == set()


def test_every_step_mistake_is_named() -> None:
    parameters, x, y = draw(SIZES, 16, seed=5)
    named = set()
    orders = [np.random.default_rng(seed).permutation(16) for seed in (1, 2)]
    for size in (5, 8):
        for used in (orders, orders[:1]):
            plan = [np.split(order, range(size, 16, size)) for order in used]
            for sentence, result in STEP_MISTAKES:
                with suppress(ValueError):
                    wrong = result(Case(parameters, x, y, "quadratic", size), Descent(plan, RATE))
                    if diagnose_steps(wrong, parameters, x, y, plan, RATE, batch_size=size) == sentence:
                        named.add(sentence)
    assert {sentence for sentence, _ in STEP_MISTAKES} - named == set()


# --- Ordinary mistakes, one and two at once --------------------------------------------------------------------------


def test_ordinary_mistakes_are_named_or_nothing_is_said() -> None:
    """Code that shares nothing with the diagnosis makes one mistake, or two at once. A wrong diagnosis is the worst."""

    def diagnosis_of(row: Factory) -> str:
        return likely_mistake(row, "float64")

    counted = measure(diagnosis_of)
    report = {kind: len(cases) for kind, cases in counted.items()}
    assert not counted["wrong"], counted["wrong"]
    assert len(PAIRS) >= 60
    assert len(counted["right"]) >= 0.9 * sum(report.values()), report


# --- The worker --------------------------------------------------------------------------------------------------

ROWS = """\
from impls.batched_2d import Batched2D
from impls.interface import Implementation, Parameters


class Sum(Batched2D):
    def gradients(self, batch):
        dW, db = super().gradients(batch)
        return Parameters([len(batch.x) * g for g in dW], [len(batch.x) * g for g in db])


class Columns(Sum):
    def gradients(self, batch):
        dW, db = super().gradients(batch)
        return Parameters(dW, [g[:, None] for g in db])

    step = Implementation.step


class Boom(Batched2D):
    def step(self, batch, learning_rate):
        self.help()

    def help(self):
        raise RuntimeError("boom")
"""


@pytest.mark.parametrize(
    ("row", "outcome", "reason"),
    [
        ("Sum", "wrong", "every gradient is B times too large: summed over the mini-batch, not averaged (gradient: "),
        (
            "Columns",
            "wrong",
            "the gradients of the biases are columns instead of vectors; and every gradient is B times too large: ",
        ),
        ("Boom", "crashed", "RuntimeError: boom (rows.py:24)"),
    ],
)
def test_worker_tells_the_mistake_or_the_line(tmp_path: Path, row: str, outcome: str, reason: str) -> None:
    (tmp_path / "rows.py").write_text(ROWS)
    rng = np.random.default_rng(0)
    worker = WorkerProcess(1, [0], 60.0)
    try:
        worker.ask(Start(f"{tmp_path / 'rows.py'}:{row}"), Started)
        workload = Workload("book", (784, 30, 10), 10)
        x, y = rng.random((20, 784)), np.eye(10)[rng.integers(0, 10, 20)]
        with shared_examples(x, y) as shared, pytest.raises(WorkerFailed) as failed:
            worker.ask(Prepare(workload, 1, shared.examples, 0, 0.001, None), Prepared)
    finally:
        worker.close()
    assert failed.value.outcome == outcome
    assert str(failed.value).startswith(reason)
    assert "\n" not in str(failed.value)


def test_import_error_is_placed(tmp_path: Path) -> None:
    (tmp_path / "rows.py").write_text("import math\n\nmath.no_such_name\n")
    worker = WorkerProcess(1, [0], 60.0)
    try:
        with pytest.raises(WorkerFailed, match=r"AttributeError: .*no_such_name.* \(rows.py:3\)"):
            worker.ask(Start(f"{tmp_path / 'rows.py'}:Row"), Started)
    finally:
        worker.close()
