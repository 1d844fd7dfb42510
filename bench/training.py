"""Training: the book's stochastic gradient descent (chapter 1), with any implementation; saved networks, checkpoints.

Everything random is drawn here, from one seed, in float64: the same initial parameters and the same order of examples
for every implementation. So all of them follow the same trajectory, up to rounding.

A saved network is an .npz file of arrays weights_0, biases_0, weights_1, …; a checkpoint has one more, `checkpoint`:
JSON as bytes. Never a pickle. What is random follows from the seed, so nothing else has to be kept.
"""

import io
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import DTypeLike, NDArray
from scipy.special import expit
from threadpoolctl import threadpool_limits

from bench.system.files import write_whole
from bench.workloads.data import CLASSES, PIXELS, Dataset, one_hot
from impls.interface import Array, Implementation, Parameters
from impls.support.errors import UserError

FREE_SETTINGS = {"epochs", "threads"}  # A training may be resumed with others; a checkpoint's epochs are those done.


class TrainingSettings(msgspec.Struct, frozen=True):
    """How to train a network; the defaults are the book's.

    A checkpoint holds them with the name of the implementation, that of the data set, each of which is known byte for
    byte, and the number of ranks, whose sum is rounded in another way than that of one.
    """

    sizes: tuple[int, ...] = (784, 30, 10)  # units per layer, inputs first
    epochs: int = 30
    batch_size: int = 10
    learning_rate: float = 3.0
    seed: int = 0
    dtype: str = "float64"
    threads: int = 1
    implementation: str = ""
    data: str = ""
    ranks: int = 1


@dataclass(frozen=True, eq=False)
class Epoch:
    """The result of an epoch of training; `parameters` are a copy."""

    index: int  # 0 is the first
    correct: int  # test examples that are classified correctly after it
    total: int  # test examples
    seconds: float  # of wall-clock time in the implementation's `epoch`, without the test
    parameters: Parameters


def initial_parameters(sizes: Sequence[int], rng: np.random.Generator, dtype: DTypeLike = np.float64) -> Parameters:
    """Return the book's initial parameters: standard-normal biases, then weights, drawn in float64."""
    biases = [rng.standard_normal(n_out).astype(dtype) for n_out in sizes[1:]]  # (n_out,)
    weights = [rng.standard_normal((n_out, n_in)).astype(dtype) for n_in, n_out in pairwise(sizes)]  # (n_out, n_in)
    return Parameters(weights, biases)


def predict(parameters: Parameters, x: Array) -> Array:
    """Return the network's outputs (N, n_L) for inputs `x` (N, n_0)."""
    a = x
    for W, b in zip(*parameters, strict=True):
        a = expit(a @ W.T + b)  # (N, n_out)
    return a


def accuracy(parameters: Parameters, x: Array, labels: NDArray[np.intp]) -> int:
    """Return for how many of the inputs `x` (N, n_0) the largest output is the one of `labels` (N,).

    An example with NaN among its outputs counts as incorrect.
    """
    outputs = predict(parameters, x)  # (N, n_L)
    correct = (outputs.argmax(axis=1) == labels) & ~np.isnan(outputs).any(axis=1)  # (N,)
    return int(np.count_nonzero(correct))


def train(
    implementation_class: type[Implementation],
    dataset: Dataset,
    settings: TrainingSettings,
    done: int = 0,
    parameters: Parameters | None = None,
) -> Iterator[Epoch]:
    """Train by one epoch each time: the book's `SGD`.

    Each epoch goes through all examples in a fresh random order, `batch_size` at a time. BLAS is limited to `threads`
    from the first epoch to the last. After `done` epochs that led to `parameters`, those that follow are what they
    would have been, bit for bit.
    Raises UserError before the first epoch if the settings do not fit the data set.
    """
    sizes = settings.sizes
    if (sizes[0], sizes[-1]) != (PIXELS, CLASSES):
        text = "-".join(map(str, sizes))
        raise UserError(f"sizes: expected {PIXELS} inputs and {CLASSES} outputs, as 784-30-10, found {text}")
    if not 0 < settings.learning_rate < math.inf:
        raise UserError(f"learning_rate: expected a positive finite number, found {settings.learning_rate}")
    dtype, threads, examples = settings.dtype, settings.threads, len(dataset.x_train)
    batch_size = min(settings.batch_size, examples)  # no mini-batch is larger
    rng = np.random.default_rng(settings.seed)
    initial = initial_parameters(settings.sizes, rng, dtype)  # Drawing them moves the generator for the orders.
    x_test = dataset.x_test.astype(dtype, copy=False)  # (M, n_0)
    # BLAS comes first: an implementation that splits the work itself then holds it at one thread.
    with (
        threadpool_limits(limits=threads, user_api="blas"),
        implementation_class(settings.sizes, batch_size, dtype, threads) as implementation,
    ):
        implementation.load(parameters or initial)
        check_ranks = getattr(implementation, "check_ranks", lambda: None)  # only where several ranks compute
        x = dataset.x_train.astype(dtype, copy=False)  # (N, n_0)
        data = implementation.prepare_data(x, one_hot(dataset.labels_train, dtype))
        for index in range(settings.epochs):
            order = rng.permutation(examples)  # (N,)
            if index < done:
                continue
            before = time.perf_counter()
            implementation.epoch(data, order, settings.learning_rate)
            seconds = time.perf_counter() - before
            check_ranks()
            parameters = implementation.parameters()
            correct = accuracy(parameters, x_test, dataset.labels_test)
            yield Epoch(index, correct, len(x_test), seconds, parameters)


def save(path: Path, parameters: Parameters, **more: Array) -> None:
    """Write a network, and further arrays by name, whole or not at all. Raises UserError if that is not possible."""
    weights = {f"weights_{layer}": W for layer, W in enumerate(parameters.weights)}
    biases = {f"biases_{layer}": b for layer, b in enumerate(parameters.biases)}
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, **weights, **biases, **more)
    write_whole(path, content.getvalue())


def write_checkpoint(path: Path, settings: TrainingSettings, epoch: Epoch) -> None:
    """Write a checkpoint after an epoch, whole or not at all. Raises UserError if that is not possible."""
    header = msgspec.json.encode(msgspec.structs.replace(settings, epochs=epoch.index + 1))
    save(path, epoch.parameters, checkpoint=np.frombuffer(header, np.uint8))


def resume(path: Path, content: bytes, settings: TrainingSettings) -> tuple[int, Parameters]:
    """Return how many epochs are done according to the content of a checkpoint, and the parameters after them.

    Raises UserError if it is none, is damaged, or belongs to another training.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            arrays = dict(archive)
        header = msgspec.json.decode(arrays["checkpoint"].tobytes(), type=TrainingSettings)
        parameters = _network(arrays, header)
    except Exception as error:  # zipfile, zlib and NumPy raise all sorts for a damaged file
        words = f"not a checkpoint, or damaged: {type(error).__name__}: {error}"
        raise UserError(f"{path}: {words}; leave --resume out to start again") from error
    for name in sorted(set(header.__struct_fields__) - FREE_SETTINGS):
        expected, actual = getattr(settings, name), getattr(header, name)
        if expected != actual:
            raise UserError(
                f"{path}: expected a checkpoint of {name} {expected}, found {actual}; resume with the settings that it "
                "was made with, or name another file"
            )
    return header.epochs, parameters


def _network(arrays: dict[str, Array], settings: TrainingSettings) -> Parameters:
    """Return the network in the arrays of a file. Raises ValueError if it is not the one of the settings."""
    weights, biases = [], []
    for layer, (n_in, n_out) in enumerate(pairwise(settings.sizes)):
        W, b = arrays[f"weights_{layer}"], arrays[f"biases_{layer}"]
        if (W.shape, b.shape) != ((n_out, n_in), (n_out,)) or not W.dtype == b.dtype == settings.dtype:
            raise ValueError(f"layer {layer} is not as its settings say")
        weights.append(W)
        biases.append(b)
    return Parameters(weights, biases)
