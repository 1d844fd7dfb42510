"""Training: the book's stochastic gradient descent (chapter 1), with any implementation.

Everything random is drawn here, from one seed, in float64: the same initial parameters and the same order of examples
for every implementation. So all of them follow the same trajectory, up to rounding.
"""

import io
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike
from scipy.special import expit
from threadpoolctl import threadpool_limits

from bench import npz
from bench.atomic import write_whole
from bench.problem.dataset import CLASSES, Dataset, one_hot
from bench.problem.parameters import initial_parameters
from impls.errors import UserError
from impls.interface import Array, Implementation, Parameters
from impls.needs import backprop_command


@dataclass(frozen=True, eq=False)
class Epoch:
    """What an epoch of training came to."""

    index: int  # 0 is the first
    correct: int  # test examples classified rightly after it …
    total: int  # … of so many
    seconds: float  # of wall-clock time in the implementation's `epoch`, without the test
    parameters: Parameters  # after it, a copy


@dataclass(frozen=True, eq=False)
class Resumed:
    """Where an interrupted training goes on."""

    epochs: int  # that are done
    parameters: Parameters  # after them


def predict(parameters: Parameters, x: Array) -> Array:
    """Return the network's outputs (N, n_L) for inputs `x` (N, n_0)."""
    a = x
    for W, b in zip(*parameters, strict=True):
        a = expit(a @ W.T + b)  # (N, n_out)
    return a


def accuracy(parameters: Parameters, x: Array, labels: Array) -> int:
    """Return for how many of the inputs `x` (N, n_0) the largest output is the one of `labels` (N,).

    An example with NaN among its outputs counts as wrong.
    """
    outputs = predict(parameters, x)  # (N, n_L)
    right = (outputs.argmax(axis=1) == labels) & ~np.isnan(outputs).any(axis=1)  # (N,)
    return int(np.count_nonzero(right))


def train(
    implementation_class: type[Implementation],
    dataset: Dataset,
    sizes: Sequence[int] = (784, 30, 10),
    epochs: int = 30,
    batch_size: int = 10,
    learning_rate: float = 3.0,
    seed: int = 0,
    dtype: DTypeLike = "float64",
    threads: int = 1,
    resumed: Resumed | None = None,
) -> Iterator[Epoch]:
    """Return an iterator that trains by one epoch at each turn: the book's `SGD`, its settings the defaults.

    Each epoch goes through all examples in a fresh random order, `batch_size` at a time. BLAS is limited to `threads`
    from the first turn to the last. With `resumed`, the epochs that are done are not done again: those that follow are
    what they would have been, bit for bit.
    Raises UserError at once if the settings do not fit the data set.
    """
    inputs = dataset.x_train.shape[1]
    if len(sizes) < 2 or (sizes[0], sizes[-1]) != (inputs, CLASSES):
        raise UserError(
            f"sizes: expected {inputs} inputs and {CLASSES} outputs for {dataset.name}, as {inputs}-30-{CLASSES}, "
            f"found {'-'.join(map(str, sizes))}"
        )
    for name, number in (("sizes", min(sizes)), ("epochs", epochs), ("batch_size", batch_size), ("threads", threads)):
        if number < 1:
            raise UserError(f"{name}: expected at least 1, found {number}")
    if not (math.isfinite(learning_rate) and learning_rate > 0):
        raise UserError(f"learning_rate: expected a positive finite number, found {learning_rate}")
    batch_size = min(batch_size, len(dataset.x_train))  # no mini-batch is larger
    return _epochs(
        implementation_class, dataset, sizes, epochs, batch_size, learning_rate, seed, dtype, threads, resumed
    )


def _epochs(
    implementation_class: type[Implementation],
    dataset: Dataset,
    sizes: Sequence[int],
    epochs: int,
    batch_size: int,
    learning_rate: float,
    seed: int,
    dtype: DTypeLike,
    threads: int,
    resumed: Resumed | None,
) -> Iterator[Epoch]:
    rng = np.random.default_rng(seed)
    x_test = dataset.x_test.astype(dtype, copy=False)  # (M, n_0)
    # BLAS first: an implementation that splits the work itself then holds it at one thread
    with (
        threadpool_limits(limits=threads, user_api="blas"),
        implementation_class(sizes, batch_size, dtype, threads) as implementation,
    ):
        initial, done = initial_parameters(sizes, rng, dtype), resumed.epochs if resumed else 0
        implementation.load(resumed.parameters if resumed else initial)
        check_ranks = getattr(implementation, "check_ranks", lambda: None)  # of a row on several ranks
        data = implementation.prepare_data(
            dataset.x_train.astype(dtype, copy=False), one_hot(dataset.labels_train, dtype=dtype)
        )
        for index in range(epochs):
            order = rng.permutation(len(dataset.x_train))  # (N,)
            if index < done:
                continue
            start = time.perf_counter()
            implementation.epoch(data, order, learning_rate)
            seconds = time.perf_counter() - start
            check_ranks()
            parameters = implementation.parameters()
            correct = accuracy(parameters, x_test, dataset.labels_test)
            yield Epoch(index, correct, len(x_test), seconds, parameters)


def save(path: Path, parameters: Parameters, **more: Array) -> None:
    """Write a network to an .npz file, whole or not at all: arrays weights_0, biases_0, weights_1, … and no pickle.

    `more` are further arrays by name. Raises UserError if the file cannot be written.
    """
    weights = {f"weights_{layer}": W for layer, W in enumerate(parameters.weights)}
    biases = {f"biases_{layer}": b for layer, b in enumerate(parameters.biases)}
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, **weights, **biases, **more)
    write_whole(path, content.getvalue())


def load_network(path: Path) -> Parameters:
    """Return the network in a file that `save` wrote. Raises UserError if it is not one, or is damaged."""
    try:
        return network_of(npz.arrays(path))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        command = backprop_command("train --save")
        raise UserError(f"{path}: not a saved network, or damaged: {error}; save one with: {command}") from error


def network_of(arrays: dict[str, Array]) -> Parameters:
    """Return the network made of the arrays of a file. Raises ValueError if they do not fit together."""
    layers = max(1, len(arrays) // 2)
    names = [f"{kind}_{layer}" for kind in ("weights", "biases") for layer in range(layers)]
    if set(names) != arrays.keys():
        raise ValueError(f"expected arrays {', '.join(names)}, found {', '.join(arrays) or 'none'}")
    found = [arrays[name] for name in names]
    weights, biases = found[:layers], found[layers:]
    n_in = weights[0].shape[-1] if weights[0].ndim else 0
    for layer, (W, b) in enumerate(zip(weights, biases, strict=True)):
        n_out = b.size
        if W.shape != (n_out, n_in) or b.shape != (n_out,):
            raise ValueError(
                f"layer {layer}: expected weights (n_out, {n_in}) and biases (n_out,), found {W.shape} and {b.shape}"
            )
        if not (W.dtype == b.dtype == weights[0].dtype and W.dtype in (np.float32, np.float64)):
            raise ValueError(f"layer {layer}: expected float32 or float64 throughout, found {W.dtype} and {b.dtype}")
        n_in = n_out
    return Parameters(weights, biases)
