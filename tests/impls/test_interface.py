"""The base class: construction, defaults, and what it refuses."""

from typing import Any

import numpy as np
import pytest
from networks import draw, tensors

from impls.interface import Array, Batch, Implementation, Parameters

SIZES = (3, 4, 2)


class Recorder(Implementation):
    """Its gradient is 1 everywhere; it remembers its mini-batches."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.batches: list[Array] = []

    def gradients(self, batch: Batch) -> Parameters:
        self.batches.append(batch.x[:, 0].copy())
        return Parameters([np.ones_like(W) for W in self.weights], [np.ones_like(b) for b in self.biases])


def assert_same(result: Parameters, expected: Parameters) -> None:
    for p, theirs in zip(tensors(result), tensors(expected), strict=True):
        np.testing.assert_array_equal(p, theirs)


def examples(count: int, dtype: str = "float64") -> tuple[Array, Array]:
    """Return examples whose first input is their number."""
    x = np.random.default_rng(1).standard_normal((count, 3))
    x[:, 0] = np.arange(count)
    return x.astype(dtype), np.zeros((count, 2), dtype)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((3,), 1), r"sizes: expected two or more positive layer sizes, got \(3,\)"),
        (((3, -4, 2), 1), r"sizes: .* got \(3, -4, 2\)"),
        ((SIZES, 0), "batch_size: expected at least 1, got 0"),
        ((SIZES, 1, "float64", 0), "threads: expected at least 1, got 0"),
        ((SIZES, 1, "int64"), "dtype: Recorder computes in float64 or float32, got int64"),
    ],
)
def test_construction_refuses(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Recorder(*arguments)


def test_incomplete_subclass_cannot_be_made() -> None:
    class Incomplete(Implementation):
        pass

    with pytest.raises(TypeError, match="Incomplete defines neither gradients nor step: define one of them, or both"):
        Incomplete(SIZES, 1)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_gradient_is_derived_from_a_step_without_loss(dtype: str) -> None:
    class StepOnly(Implementation):
        """Moves large parameters by little."""

        def step(self, batch: Batch, learning_rate: float) -> None:
            for p in self.weights + self.biases:
                p -= learning_rate * np.asarray(1e-4 / 3, p.dtype)

    large = draw(SIZES, 1, dtype)[0]
    for p in tensors(large):
        p *= 1000
    with StepOnly(SIZES, 5, dtype) as implementation:
        implementation.load(large)
        gradient = implementation.gradients(implementation.prepare(*examples(5, dtype)))
        kept = implementation.parameters()
    eps = float(np.finfo(dtype).eps)
    for dp in tensors(gradient):
        assert np.abs(dp / np.asarray(1e-4 / 3, dp.dtype) - 1).max() < 50 * eps
    assert_same(kept, large)


def test_step_subtracts_learning_rate_times_gradient() -> None:
    parameters, _, _ = draw(SIZES, 1, "float64")
    with Recorder(SIZES, 5) as implementation:
        implementation.load(parameters)
        implementation.step(implementation.prepare(*examples(5)), 0.25)
        result = implementation.parameters()
    for p in tensors(parameters):
        p -= 0.25
    assert_same(result, parameters)


def test_epoch_takes_mini_batches_in_order_and_the_short_last_one() -> None:
    with Recorder(SIZES, 3) as implementation:
        implementation.epoch(implementation.prepare_data(*examples(8)), np.array([7, 0, 3, 1, 2, 6, 5, 4]), 1.0)
    assert [batch.tolist() for batch in implementation.batches] == [[7, 0, 3], [1, 2, 6], [5, 4]]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_prepared_examples_are_contiguous(dtype: str) -> None:
    x, y = examples(6, dtype)
    batch = Recorder(SIZES, 6, dtype).prepare(np.asfortranarray(x), y[::-1])
    for array, expected in zip(batch, (x, y[::-1]), strict=True):
        assert array.flags.c_contiguous
        assert array.dtype == np.dtype(dtype)
        np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.zeros((4, 2)), np.zeros((4, 2)), r"x: expected shape \(examples, 3\), got \(4, 2\); rows are examples"),
        (np.zeros((0, 3)), np.zeros((0, 2)), r"x: expected shape \(examples, 3\), got \(0, 3\)"),
        (np.zeros((4, 3)), np.zeros((4, 1)), r"y: expected shape \(examples, 2\), got \(4, 1\)"),
        (np.zeros((4, 3)), np.zeros((2, 2)), "x and y: expected as many examples in both, got 4 and 2"),
        (np.zeros((5, 3)), np.zeros((5, 2)), "batch of 5 examples: the work space holds 4; construct"),
        (np.zeros((4, 3)), np.zeros((4, 2), int), r"y: expected dtype float64, got int64; convert it with \.astype"),
    ],
)
def test_examples_that_do_not_fit_are_refused(x: Array, y: Array, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Recorder(SIZES, 4).prepare(x, y)


@pytest.mark.parametrize(
    ("shapes", "dtype", "message"),
    [
        ([(4, 3), (4,), (2,)], "float64", "expected 2 layers, got 1 weights, 2 biases"),
        ([(3, 4), (2, 4), (4,), (2,)], "float64", r"weights\[0\]: expected shape \(4, 3\), got \(3, 4\); weights are"),
        ([(4, 3), (2, 4), (4,), (2, 1)], "float64", r"biases\[1\]: expected shape \(2,\), got \(2, 1\)"),
        ([(4, 3), (2, 4), (4,), (2,)], "float32", r"weights\[0\]: expected dtype float64, got float32"),
    ],
    ids=["weights missing", "transposed", "column", "dtype"],
)
def test_parameters_that_do_not_fit_are_refused_and_nothing_changes(
    shapes: list[tuple[int, ...]], dtype: str, message: str
) -> None:
    arrays = [np.zeros(shape, dtype) for shape in shapes]
    implementation = Recorder(SIZES, 1)
    implementation.load(draw(SIZES, 1, "float64")[0])
    before = implementation.parameters()
    with pytest.raises(ValueError, match=message):
        implementation.load(Parameters(arrays[:-2], arrays[-2:]))
    assert_same(implementation.parameters(), before)
