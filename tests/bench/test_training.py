"""Training by the book, with any implementation, and saved networks."""

import os
import time
from collections.abc import Sequence
from typing import Any, ClassVar, NoReturn

import numpy as np
import pytest
from numpy.typing import DTypeLike, NDArray
from threadpoolctl import threadpool_info, threadpool_limits

from bench import training
from bench.training import TrainingSettings, initial_parameters
from bench.workloads import data
from bench.workloads.data import Dataset
from impls.in_place import InPlace
from impls.interface import Array, Implementation, Parameters
from impls.per_example import PerExample
from impls.registry import find
from impls.support.errors import UserError


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return data.load("digits")


def tensors(parameters: Parameters) -> list[Array]:
    return parameters.weights + parameters.biases


def blas_threads() -> set[int]:
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


class Recorder(Implementation):
    """Learns nothing; keeps what it was given."""

    made: ClassVar[list["Recorder"]] = []

    def __init__(self, sizes: Sequence[int], batch_size: int, dtype: DTypeLike = "float64", threads: int = 1) -> None:
        super().__init__(sizes, batch_size, dtype, threads)
        self.orders: list[NDArray[np.intp]] = []
        self.rates: list[float] = []
        self.closed = False
        self.blas_threads: set[int] = set()
        self.made.append(self)

    def prepare_data(self, x: Any, y: Any) -> Any:
        self.batch = super().prepare_data(x, y)
        return self.batch

    def gradients(self, batch: Any) -> NoReturn:
        raise NotImplementedError

    def epoch(self, data: Any, order: NDArray[np.intp], learning_rate: float) -> None:
        assert data is self.batch
        self.orders.append(order)
        self.rates.append(learning_rate)
        self.blas_threads = blas_threads()
        time.sleep(0.01)

    def close(self) -> None:
        self.closed = True


def drawn(sizes: tuple[int, ...], seed: int = 0, dtype: str = "float64") -> Parameters:
    return initial_parameters(sizes, np.random.default_rng(seed), dtype)


def test_initial_parameters_are_standard_normal_and_the_same_in_both_dtypes() -> None:
    double, single = (drawn((784, 30, 10), 1, dtype) for dtype in ("float64", "float32"))
    assert [W.shape for W in double.weights] == [(30, 784), (10, 30)]
    assert [b.shape for b in double.biases] == [(30,), (10,)]
    numbers = double.weights[0]
    assert abs(numbers.mean()) < 5 / np.sqrt(numbers.size)
    assert abs(numbers.std() - 1) < 5 / np.sqrt(2 * numbers.size)
    for p32, p64 in zip(tensors(single), tensors(double), strict=True):
        np.testing.assert_array_equal(p32, p64.astype(np.float32), strict=True)


def test_predict_is_the_books_feedforward() -> None:
    parameters = drawn((3, 4, 2))
    x = np.random.default_rng(1).random((5, 3))
    for outputs, example in zip(training.predict(parameters, x), x, strict=True):
        a = example
        for W, b in zip(*parameters, strict=True):
            a = 1 / (1 + np.exp(-(W @ a + b)))
        np.testing.assert_allclose(outputs, a, rtol=1e-14)
    far = Parameters([np.array([[1e6], [-1e6]])], [np.zeros(2)])
    np.testing.assert_array_equal(training.predict(far, np.ones((1, 1))), [[1, 0]])  # without a warning


def test_accuracy_counts_and_nan_is_incorrect() -> None:
    parameters = Parameters([np.eye(3)], [np.zeros(3)])
    x = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1]], float)
    assert training.accuracy(parameters, x, np.array([0, 1, 2, 1])) == 3
    x[0, 0] = np.nan
    assert training.accuracy(parameters, x, np.array([0, 1, 2, 1])) == 2


def test_train_prepares_once_and_shuffles_each_epoch(digits: Dataset) -> None:
    def orders(seed: int) -> list[NDArray[np.intp]]:
        settings = TrainingSettings(epochs=3, learning_rate=0.5, seed=seed, dtype="float32")
        epochs = list(training.train(Recorder, digits, settings))
        assert [(epoch.index, epoch.total) for epoch in epochs] == [(0, 297), (1, 297), (2, 297)]
        assert all(0.01 <= epoch.seconds < 10 for epoch in epochs)
        return Recorder.made[-1].orders

    first = orders(0)
    recorder = Recorder.made[-1]
    assert recorder.batch.x.dtype == recorder.batch.y.dtype == np.float32
    np.testing.assert_array_equal(recorder.batch.y.argmax(axis=1), digits.labels_train)
    assert recorder.rates == [0.5] * 3
    for order in first:
        np.testing.assert_array_equal(np.sort(order), np.arange(1500))
    assert not np.array_equal(first[0], first[1])
    np.testing.assert_array_equal(first, orders(0))
    assert not np.array_equal(first, orders(1))


def test_train_starts_from_the_parameters_of_the_seed_and_closes_what_is_abandoned(digits: Dataset) -> None:
    run = training.train(Recorder, digits, TrainingSettings((784, 7, 10), batch_size=1 << 40, seed=3))
    epoch = next(run)
    for p, expected in zip(tensors(epoch.parameters), tensors(drawn((784, 7, 10), 3)), strict=True):
        np.testing.assert_array_equal(p, expected)
    assert epoch.correct == training.accuracy(epoch.parameters, digits.x_test, digits.labels_test)
    assert Recorder.made[-1].batch_size == 1500  # no more than there are examples
    del run
    assert Recorder.made[-1].closed


@pytest.mark.skipif(not blas_threads(), reason="threadpoolctl knows no BLAS here")
def test_blas_keeps_to_the_threads(digits: Dataset) -> None:
    with threadpool_limits(limits=1, user_api="blas"):
        list(training.train(Recorder, digits, TrainingSettings(epochs=1, threads=2)))
        assert Recorder.made[-1].blas_threads == {2}
        assert blas_threads() == {1}


def test_training_on_digits_learns(digits: Dataset) -> None:
    settings = TrainingSettings(epochs=20, dtype="float32")
    counts = [epoch.correct for epoch in training.train(InPlace, digits, settings)]
    assert max(counts) >= 250  # of 297; 30 by chance
    assert counts[0] < counts[-1]


def test_implementations_follow_the_same_trajectory(digits: Dataset) -> None:
    (expected,) = training.train(PerExample, digits, TrainingSettings(epochs=1))
    for name, threads in (("batched_2d", 1), ("multithreaded", 2)):
        (epoch,) = training.train(find(name).load(), digits, TrainingSettings(epochs=1, threads=threads))
        for W, W_expected in zip(tensors(epoch.parameters), tensors(expected.parameters), strict=True):
            np.testing.assert_allclose(W, W_expected, atol=1e-9, err_msg=name)
        assert epoch.correct == expected.correct, name


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (TrainingSettings((64, 30, 10)), "sizes: expected 784 inputs and 10 outputs, .*, found 64-30-10"),
        (TrainingSettings(learning_rate=float("inf")), "learning_rate: expected a positive finite number, found inf"),
    ],
)
def test_bad_settings_are_refused_before_anything_is_made(
    settings: TrainingSettings, words: str, digits: Dataset
) -> None:
    with pytest.raises(UserError, match=words):
        next(training.train(Recorder, digits, settings))


@pytest.mark.skipif(data.ENVIRONMENT not in os.environ, reason=f"{data.ENVIRONMENT} does not name a folder with MNIST")
def test_mnist_by_the_book() -> None:
    """The book prints 9,129 after its first epoch, from another seed."""
    assert next(training.train(InPlace, data.load("mnist"), TrainingSettings())).correct >= 8_900
