"""The base class: construction, defaults, and what it refuses."""

from typing import Any

import numpy as np
import pytest

from impls.interface import Array, Batch, Implementation, Parameters

SIZES = (3, 4, 2)


class Recorder(Implementation):
    """Its gradient is 1 everywhere; it remembers its mini-batches and how often it was closed."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.batches: list[Array] = []
        self.closed = 0

    def gradients(self, batch: Batch) -> Parameters:
        self.batches.append(batch.x[:, 0].copy())
        return Parameters([np.ones_like(W) for W in self.weights], [np.ones_like(b) for b in self.biases])

    def close(self) -> None:
        self.closed += 1


def parameters(dtype: str = "float64") -> Parameters:
    rng = np.random.default_rng(0)
    weights = [rng.standard_normal(shape).astype(dtype) for shape in ((4, 3), (2, 4))]
    return Parameters(weights, [rng.standard_normal(n).astype(dtype) for n in (4, 2)])


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

    large = Parameters(*([1000 * p for p in kind] for kind in parameters(dtype)))
    with StepOnly(SIZES, 5, dtype) as implementation:
        implementation.load(large)
        gradient = implementation.gradients(implementation.prepare(*examples(5, dtype)))
        kept = implementation.parameters()
    eps = float(np.finfo(dtype).eps)
    for dp in gradient.weights + gradient.biases:
        assert np.abs(dp / np.asarray(1e-4 / 3, dp.dtype) - 1).max() < 50 * eps
    for p, before in zip(kept.weights + kept.biases, large.weights + large.biases, strict=True):
        np.testing.assert_array_equal(p, before)


def test_step_subtracts_learning_rate_times_gradient() -> None:
    with Recorder(SIZES, 5) as implementation:
        implementation.load(parameters())
        implementation.step(implementation.prepare(*examples(5)), 0.25)
        found = implementation.parameters()
    for mine, before in zip(found.weights + found.biases, parameters().weights + parameters().biases, strict=True):
        np.testing.assert_array_equal(mine, before - 0.25)


def test_epoch_takes_mini_batches_in_order_and_the_short_last_one() -> None:
    with Recorder(SIZES, 3) as implementation:
        implementation.epoch(implementation.prepare_data(*examples(8)), np.array([7, 0, 3, 1, 2, 6, 5, 4]), 1.0)
    assert [batch.tolist() for batch in implementation.batches] == [[7, 0, 3], [1, 2, 6], [5, 4]]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_prepared_examples_are_contiguous(dtype: str) -> None:
    x, y = examples(6, dtype)
    batch = Recorder(SIZES, 6, dtype).prepare(np.asfortranarray(x), y[::-1])
    for found, expected in zip(batch, (x, y[::-1]), strict=True):
        assert found.flags.c_contiguous
        assert found.dtype == np.dtype(dtype)
        np.testing.assert_array_equal(found, expected)


def test_mini_batch_may_be_smaller_than_the_work_space_but_not_larger() -> None:
    implementation = Recorder(SIZES, 4)
    assert len(implementation.prepare(*examples(1)).x) == 1
    assert len(implementation.prepare_data(*examples(5)).x) == 5
    with pytest.raises(ValueError, match="batch of 5 examples: the work space holds 4; construct"):
        implementation.prepare(*examples(5))


@pytest.mark.parametrize(
    ("x_shape", "y_shape", "message"),
    [
        ((4, 2), (4, 2), r"x: expected shape \(examples, 3\), got \(4, 2\); rows are examples"),
        ((0, 3), (0, 2), r"x: expected shape \(examples, 3\), got \(0, 3\)"),
        ((4, 3), (4, 1), r"y: expected shape \(examples, 2\), got \(4, 1\)"),
        ((4, 3), (2, 2), "x and y: expected as many examples in both, got 4 and 2"),
    ],
)
def test_examples_of_a_wrong_shape_are_refused(
    x_shape: tuple[int, ...], y_shape: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Recorder(SIZES, 4).prepare(np.zeros(x_shape), np.zeros(y_shape))


def test_examples_of_another_dtype_are_refused_with_the_conversion() -> None:
    x, y = examples(4)
    with pytest.raises(ValueError, match=r"x: expected dtype float32, got float64; convert it with \.astype"):
        Recorder(SIZES, 4, "float32").prepare(x, y.astype("float32"))
    with pytest.raises(ValueError, match="y: expected dtype float64, got int64"):
        Recorder(SIZES, 4).prepare(x, y.astype("int64"))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (Parameters(parameters().weights[:1], parameters().biases), "expected 2 layers, got 1 weights, 2 biases"),
        (
            Parameters([parameters().weights[0].T, parameters().weights[1]], parameters().biases),
            r"weights\[0\]: expected shape \(4, 3\), got \(3, 4\); weights are \(n_out, n_in\)",
        ),
        (
            Parameters(parameters().weights, [parameters().biases[0], parameters().biases[1][:, np.newaxis]]),
            r"biases\[1\]: expected shape \(2,\), got \(2, 1\)",
        ),
        (parameters("float32"), r"weights\[0\]: expected dtype float64, got float32"),
    ],
    ids=["weights missing", "transposed", "column", "dtype"],
)
def test_parameters_that_do_not_fit_are_refused_and_nothing_changes(bad: Parameters, message: str) -> None:
    implementation = Recorder(SIZES, 1)
    implementation.load(parameters())
    with pytest.raises(ValueError, match=message):
        implementation.load(bad)
    found = implementation.parameters()
    for mine, before in zip(found.weights + found.biases, parameters().weights + parameters().biases, strict=True):
        np.testing.assert_array_equal(mine, before)
