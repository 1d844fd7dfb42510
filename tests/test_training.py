"""Training by the book, with any implementation, and saved networks."""

import dataclasses
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import numpy as np
import pytest
from numpy.typing import DTypeLike, NDArray
from threadpoolctl import threadpool_info, threadpool_limits

from bench import training
from bench.problem import data
from bench.problem.dataset import Dataset
from bench.problem.parameters import initial_parameters
from impls.errors import UserError
from impls.in_place import InPlace
from impls.interface import Array, Batch, Implementation, Parameters
from impls.per_example import PerExample
from impls.registry import find

MNIST = os.environ.get(data.ENVIRONMENT)
needs_mnist = pytest.mark.skipif(not MNIST, reason=f"{data.ENVIRONMENT} does not name a folder with MNIST")


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return data.load("digits")


@pytest.fixture(scope="module")
def mnist() -> Dataset:
    return data.load(MNIST)


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
        self.prepared: list[Batch] = []
        self.rates: list[float] = []
        self.closed = False
        self.blas_threads: set[int] = set()
        self.made.append(self)

    def prepare_data(self, x: Any, y: Any) -> Batch:
        batch: Batch = super().prepare_data(x, y)
        self.prepared.append(batch)
        return batch

    def gradients(self, batch: Any) -> NoReturn:
        raise NotImplementedError

    def epoch(self, data: Any, order: NDArray[np.intp], learning_rate: float) -> None:
        assert data is self.prepared[0]
        self.orders.append(order)
        self.rates.append(learning_rate)
        self.blas_threads = blas_threads()
        time.sleep(0.01)

    def close(self) -> None:
        self.closed = True


def test_initial_parameters_are_standard_normal_and_follow_the_seed() -> None:
    parameters = initial_parameters((784, 30, 10), seed=1)
    assert [W.shape for W in parameters.weights] == [(30, 784), (10, 30)]
    assert [b.shape for b in parameters.biases] == [(30,), (10,)]
    numbers = parameters.weights[0]
    assert abs(numbers.mean()) < 5 / np.sqrt(numbers.size)
    assert abs(numbers.std() - 1) < 5 / np.sqrt(2 * numbers.size)
    same, other = initial_parameters((784, 30, 10), 1), initial_parameters((784, 30, 10), 2)
    for one, again, different in zip(tensors(parameters), tensors(same), tensors(other), strict=True):
        np.testing.assert_array_equal(one, again)
        assert not np.any(one == different)


def test_initial_parameters_of_both_dtypes_are_the_same_numbers() -> None:
    double, single = (initial_parameters((5, 4, 3), 0, dtype) for dtype in ("float64", "float32"))
    for one, other in zip(tensors(double), tensors(single), strict=True):
        assert other.dtype == np.float32
        np.testing.assert_array_equal(one.astype(np.float32), other)


def test_predict_is_the_books_feedforward() -> None:
    parameters = initial_parameters((3, 4, 2), 0)
    x = np.random.default_rng(1).random((5, 3))
    for outputs, example in zip(training.predict(parameters, x), x, strict=True):
        a = example
        for W, b in zip(*parameters, strict=True):
            a = 1 / (1 + np.exp(-(W @ a + b)))
        np.testing.assert_allclose(outputs, a, rtol=1e-14)


def test_predict_is_quiet_far_out() -> None:
    parameters = Parameters([np.array([[1e6], [-1e6]])], [np.zeros(2)])
    np.testing.assert_array_equal(training.predict(parameters, np.ones((1, 1))), [[1, 0]])


def test_accuracy_counts_and_nan_is_wrong() -> None:
    parameters = Parameters([np.eye(3)], [np.zeros(3)])
    x = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1]], float)
    assert training.accuracy(parameters, x, np.array([0, 1, 2, 1])) == 3
    x[0, 0] = np.nan
    assert training.accuracy(parameters, x, np.array([0, 1, 2, 1])) == 2


def test_train_prepares_once_and_shuffles_each_epoch(digits: Dataset) -> None:
    def orders(seed: int) -> list[NDArray[np.intp]]:
        epochs = list(training.train(Recorder, digits, epochs=3, learning_rate=0.5, seed=seed, dtype="float32"))
        assert [(epoch.index, epoch.total) for epoch in epochs] == [(0, 297), (1, 297), (2, 297)]
        assert all(0.01 <= epoch.seconds < 10 for epoch in epochs)
        return Recorder.made[-1].orders

    first = orders(0)
    recorder = Recorder.made[-1]
    assert len(recorder.prepared) == 1
    assert recorder.prepared[0].x.dtype == recorder.prepared[0].y.dtype == np.float32
    np.testing.assert_array_equal(recorder.prepared[0].y.argmax(axis=1), digits.labels_train)
    assert recorder.rates == [0.5] * 3
    assert recorder.closed
    for order in first:
        np.testing.assert_array_equal(np.sort(order), np.arange(1500))
    assert not np.array_equal(first[0], first[1])
    np.testing.assert_array_equal(first, orders(0))
    assert not np.array_equal(first, orders(1))


def test_train_starts_from_the_parameters_of_the_seed(digits: Dataset) -> None:
    (epoch,) = training.train(Recorder, digits, (784, 7, 10), epochs=1, seed=3)
    for found, expected in zip(tensors(epoch.parameters), tensors(initial_parameters((784, 7, 10), 3)), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert epoch.correct == training.accuracy(epoch.parameters, digits.x_test, digits.labels_test)


def test_train_closes_what_is_abandoned(digits: Dataset) -> None:
    run = training.train(Recorder, digits)
    next(run)
    del run
    assert Recorder.made[-1].closed


@pytest.mark.skipif(not blas_threads(), reason="threadpoolctl knows no BLAS here")
def test_blas_keeps_to_the_threads(digits: Dataset) -> None:
    with threadpool_limits(limits=1, user_api="blas"):
        list(training.train(Recorder, digits, epochs=1, threads=2))
        assert Recorder.made[-1].blas_threads == {2}
        assert blas_threads() == {1}


def test_a_batch_larger_than_the_data_set_is_the_data_set(digits: Dataset) -> None:
    next(training.train(Recorder, digits, batch_size=1 << 40))
    assert Recorder.made[-1].batch_size == 1500


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_training_on_digits_learns(digits: Dataset, dtype: str) -> None:
    counts = [epoch.correct for epoch in training.train(InPlace, digits, epochs=20, dtype=dtype)]
    assert max(counts) >= 250  # of 297; 30 by chance
    assert counts[0] < counts[-1]


def test_rows_follow_the_same_trajectory(digits: Dataset) -> None:
    (expected,) = training.train(PerExample, digits, epochs=1)
    for name, threads in (("batched_3d", 1), ("batched_2d", 1), ("in_place", 1), ("multithreaded", 2)):
        (found,) = training.train(find(name).load(), digits, epochs=1, threads=threads)
        for W, W_expected in zip(tensors(found.parameters), tensors(expected.parameters), strict=True):
            np.testing.assert_allclose(W, W_expected, atol=1e-9, err_msg=name)
        assert found.correct == expected.correct, name


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"sizes": (64, 30, 10)}, "sizes: expected 784 inputs and 10 outputs for digits, as 784-30-10, found 64-30-10"),
        ({"sizes": (784, 30, 9)}, "expected 784 inputs and 10 outputs .*, found 784-30-9"),
        ({"sizes": (784,)}, "expected 784 inputs and 10 outputs .*, found 784$"),
        ({"sizes": (784, 0, 10)}, "sizes: expected at least 1, found 0"),
        ({"epochs": 0}, "epochs: expected at least 1, found 0"),
        ({"batch_size": -1}, "batch_size: expected at least 1, found -1"),
        ({"threads": 0}, "threads: expected at least 1, found 0"),
        ({"learning_rate": 0.0}, "learning_rate: expected a positive finite number, found 0.0"),
        ({"learning_rate": float("nan")}, "learning_rate: expected a positive finite number, found nan"),
        ({"learning_rate": float("inf")}, "learning_rate: expected a positive finite number, found inf"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_bad_settings_are_told_before_anything_is_made(settings: dict[str, Any], told: str, digits: Dataset) -> None:
    made = len(Recorder.made)
    with pytest.raises(UserError, match=told):
        training.train(Recorder, digits, **settings)
    assert len(Recorder.made) == made


@needs_mnist
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_mnist_by_the_book(mnist: Dataset, seed: int) -> None:
    """The book prints 9,129 after its first epoch, from another seed."""
    assert next(training.train(InPlace, mnist, seed=seed)).correct >= 8_900


@needs_mnist
def test_rows_agree_on_mnist(mnist: Dataset) -> None:
    part = dataclasses.replace(mnist, x_train=mnist.x_train[:5_000], labels_train=mnist.labels_train[:5_000])
    counts = {
        name: next(training.train(find(name).load(), part, threads=threads)).correct
        for name, threads in (("per_example", 1), ("batched_2d", 1), ("in_place", 1), ("multithreaded", 2))
    }
    assert max(counts.values()) - min(counts.values()) <= 5, counts
    assert min(counts.values()) > 4_000, counts  # 1,000 by chance


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_saved_network_is_loaded_again(dtype: str, tmp_path: Path) -> None:
    parameters = initial_parameters((6, 5, 4, 3), 0, dtype)
    path = tmp_path / "new" / "network.npz"
    training.save(path, parameters)
    training.save(path, parameters)  # over the one before
    loaded = training.load_network(path)
    for found, expected in zip(tensors(loaded), tensors(parameters), strict=True):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
    assert [file.name for file in path.parent.iterdir()] == ["network.npz"]


def test_saving_is_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "network.npz"
    path.write_bytes(b"the one before")

    def full(descriptor: int, _mode: str) -> NoReturn:
        os.write(descriptor, b"half")
        os.close(descriptor)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fdopen", full)
    with pytest.raises(UserError, match=r"network\.npz: cannot be written: No space left on device; choose"):
        training.save(path, initial_parameters((2, 1)))
    assert [file.name for file in tmp_path.iterdir()] == ["network.npz"]
    assert path.read_bytes() == b"the one before"


def test_saving_where_nothing_can_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "network.npz", tmp_path):
        with pytest.raises(UserError, match=r"cannot be written: .*; choose another place"):
            training.save(path, initial_parameters((2, 1)))


GOOD = {"weights_0": np.ones((3, 4)), "biases_0": np.ones(3), "weights_1": np.ones((2, 3)), "biases_1": np.ones(2)}
BAD_NETWORKS: dict[str, tuple[dict[str, Any], str]] = {
    "empty": ({}, "expected arrays weights_0, biases_0, found none"),
    "missing": (GOOD | {"weights_1": None}, "expected arrays .*, found weights_0, biases_0, biases_1"),
    "other names": ({"a": np.ones(1), "b": np.ones(1)}, "expected arrays weights_0, biases_0, found a, b"),
    "widths": (
        GOOD | {"weights_1": np.ones((2, 4))},
        r"layer 1: expected weights \(n_out, 3\) .*, found \(2, 4\) and \(2,\)",
    ),
    "biases": (GOOD | {"biases_0": np.ones(4)}, r"layer 0: expected .*, found \(3, 4\) and \(4,\)"),
    "column": (GOOD | {"biases_1": np.ones((2, 1))}, r"layer 1: expected .*, found \(2, 3\) and \(2, 1\)"),
    "number": (GOOD | {"weights_0": np.array(1.0)}, r"layer 0: expected .*, found \(\) and \(3,\)"),
    "mixed": (GOOD | {"biases_0": np.ones(3, np.float32)}, "layer 0: expected float32 or float64 throughout, found"),
    "integers": ({"weights_0": np.ones((1, 1), int), "biases_0": np.ones(1, int)}, "found int64 and int64"),
    "pickle": (GOOD | {"biases_0": np.array([None] * 3)}, "Object arrays cannot be loaded when allow_pickle=False"),
}


@pytest.mark.parametrize(("arrays", "told"), BAD_NETWORKS.values(), ids=BAD_NETWORKS)
def test_a_network_that_does_not_fit_together(arrays: dict[str, Any], told: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.npz"
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(UserError, match=rf"bad\.npz: not a saved network, or damaged: .*{told}.*; save one with"):
        training.load_network(path)


def test_a_file_that_is_no_network(tmp_path: Path) -> None:
    path = tmp_path / "network.npz"
    training.save(path, initial_parameters((6, 5, 3)))
    whole = path.read_bytes()
    damaged = bytearray(whole)
    damaged[300] ^= 1
    np.save(tmp_path / "array.npy", np.ones(3))
    for content in (b"", b"no network", whole[:-100], whole[:100], damaged, (tmp_path / "array.npy").read_bytes()):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"network\.npz: not a saved network, or damaged: ") as caught:
            training.load_network(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=r"nowhere\.npz: cannot be read: No such file"):
        training.load_network(tmp_path / "nowhere.npz")
