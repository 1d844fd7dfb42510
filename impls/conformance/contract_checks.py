"""Checks of what the contract asks for besides correct results: side effects, own memory, life cycle, refusals.

Each check takes a trial and yields the errors that it finds as text, "" for none.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import combinations

import numpy as np
from threadpoolctl import ThreadpoolController, threadpool_limits

from impls.conformance.reference import reference_epoch
from impls.conformance.tolerance import Watch, differences, named_tensors, parameter_errors
from impls.conformance.trial import CheckFunction, Trial, counted, prefixed
from impls.interface import Parameters
from impls.support.tracebacks import in_words

# --- Side effects, and memory of earlier calls ---------------------------------------------------------------------


def inputs_unchanged(trial: Trial) -> Iterator[str]:
    """No call modifies its inputs."""
    size = trial.network.batch_size
    watch = Watch(trial.parameters, x=trial.x, y=trial.y, order=trial.order)
    with trial.open() as implementation:
        batch = implementation.prepare(trial.x[:size], trial.y[:size])
        data = implementation.prepare_data(trial.x, trial.y)
        yield prefixed("load and prepare", watch.modifications())
        implementation.gradients(batch)
        yield prefixed("gradients", watch.modifications())
        implementation.step(batch, 0.7)
        yield prefixed("step", watch.modifications())
        implementation.epoch(data, trial.order, 0.7)
        yield prefixed("epoch", watch.modifications())


def parameters_unchanged(trial: Trial) -> Iterator[str]:
    """`gradients` leaves the parameters unchanged."""
    with trial.open() as implementation:
        implementation.gradients(implementation.prepare(trial.x, trial.y))
        yield prefixed("after gradients", differences(implementation.parameters(), trial.parameters))


def pending_work(trial: Trial) -> Iterator[str]:
    """A step or an epoch is done when it returns: overwriting its examples and its order has no effect on it."""
    everything = np.arange(trial.network.examples)
    x, y, order = trial.x.copy(), trial.y.copy(), trial.order.copy()
    with trial.open() as implementation:
        implementation.step(implementation.prepare(x, y), 0.7)
        x.fill(7)
        y.fill(1)
        yield prefixed("step", trial.parameter_errors(implementation.parameters(), 0.7, [everything]))
        x[...], y[...] = trial.x, trial.y
        implementation.load(trial.parameters)
        implementation.epoch(implementation.prepare_data(x, y), order, 0.7)
        x.fill(7)
        y.fill(1)
        order.fill(0)
        error = trial.parameter_errors(implementation.parameters(), 0.7, trial.mini_batches(trial.order))
        yield prefixed("epoch", error)


def remembered_results(trial: Trial) -> Iterator[str]:
    """A step is computed again if only the learning rate, the examples in the same memory or the parameters differ."""
    other = trial.draw_parameters()
    x, y = np.empty_like(trial.x), trial.y.copy()
    cases = (
        ("first step", trial.parameters, trial.x, 0.7),
        ("another learning rate", trial.parameters, trial.x, 0.1),
        ("other examples in the same memory", trial.parameters, trial.x[::-1], 0.1),
        ("other parameters", other, trial.x[::-1], 0.1),
    )
    with trial.open() as implementation:
        for what, parameters, inputs, rate in cases:
            x[...] = inputs
            implementation.load(parameters)
            implementation.step(implementation.prepare(x, y), rate)
            expected = reference_epoch(parameters, inputs, y, np.arange(len(x)), len(x), rate, trial.cost)
            result = implementation.parameters()
            yield prefixed(what, parameter_errors(result, parameters, expected, len(x), trial.dtype))


# --- Memory of its own ---------------------------------------------------------------------------------------------


def aliasing(trial: Trial) -> Iterator[str]:
    """Results share no memory with one another or with inputs, and later calls leave them unchanged."""
    size = trial.network.batch_size
    with trial.open() as implementation:
        first_batch = implementation.prepare(trial.x[:size], trial.y[:size])
        second_batch = implementation.prepare(trial.x[size:], trial.y[size:])
        first = implementation.gradients(first_batch)
        kept = Parameters([np.array(W) for W in first.weights], [np.array(b) for b in first.biases])
        second = implementation.gradients(second_batch)
        yield prefixed("first gradient after the second call", differences(first, kept))
        implementation.step(second_batch, 0.7)
        yield prefixed("first gradient after a step", differences(first, kept))
        results = {"first gradient": first, "second gradient": second, "parameters": implementation.parameters()}
        named = [
            (f"{name} of {what}", tensor) for what, result in results.items() for name, tensor in named_tensors(result)
        ]
        named += [("x", trial.x), ("y", trial.y)]
        shared = [f"{a} and {b}" for (a, A), (b, B) in combinations(named, 2) if np.shares_memory(A, B)]
        yield f"shared memory: {', '.join(shared)}" if shared else ""


def parameters_copied(trial: Trial) -> Iterator[str]:
    """`load` copies in and `parameters` copies out: writing to either side leaves the other unchanged."""
    with trial.open() as implementation:
        yield prefixed("after load", differences(implementation.parameters(), trial.parameters))
        for _, tensor in named_tensors(implementation.parameters()):
            tensor[...] = 7.0
        yield prefixed("after writing to a copy", differences(implementation.parameters(), trial.parameters))
        loaded = Parameters([W.copy() for W in trial.parameters.weights], [b.copy() for b in trial.parameters.biases])
        implementation.load(loaded)
        for _, tensor in named_tensors(loaded):
            tensor[...] = 7.0
        error = differences(implementation.parameters(), trial.parameters)
        yield prefixed("after writing to the loaded arrays", error)
        before = implementation.parameters()
        implementation.step(implementation.prepare(trial.x, trial.y), 0.7)
        yield prefixed("copy taken before a step", differences(before, trial.parameters))


def load_resets(trial: Trial) -> Iterator[str]:
    """After `load`, nothing is left of earlier parameters and steps."""
    everything = np.arange(trial.network.examples)
    other = trial.draw_parameters()
    with trial.open() as implementation:
        batch = implementation.prepare(trial.x, trial.y)
        implementation.load(other)
        for _ in range(3):
            implementation.step(batch, 0.7)
        implementation.load(trial.parameters)
        yield prefixed("parameters", differences(implementation.parameters(), trial.parameters))
        yield prefixed("gradients", trial.gradient_errors(implementation.gradients(batch)))
        implementation.step(batch, 0.7)
        yield prefixed("step", trial.parameter_errors(implementation.parameters(), 0.7, [everything]))


def independent_instances(trial: Trial) -> Iterator[str]:
    """Two instances do not affect each other."""
    other = trial.draw_parameters()
    with trial.open() as one, trial.open() as two:
        two.load(other)
        batches = [implementation.prepare(trial.x, trial.y) for implementation in (one, two)]
        gradients = [implementation.gradients(batch) for implementation, batch in zip((one, two), batches, strict=True)]
        yield prefixed("first of two instances", trial.gradient_errors(gradients[0]))
        yield prefixed("second of two instances", trial.gradient_errors(gradients[1], parameters=other))


# --- Threads and life cycle ----------------------------------------------------------------------------------------


def close_twice(trial: Trial) -> Iterator[str]:
    """`close` is safe to call twice, with or without use before."""
    implementation = trial.construct()
    implementation.step(implementation.prepare(trial.x, trial.y), 0.7)
    implementation.close()
    implementation.close()
    with trial.open() as unused:
        unused.close()
    yield ""


def construction(trial: Trial) -> Iterator[str]:
    """An instance has the sizes, batch size, dtype and number of threads that it was constructed with."""
    wanted = {
        "sizes": trial.network.sizes,
        "batch_size": trial.network.batch_size,
        "dtype": np.dtype(trial.dtype),
        "threads": trial.threads,
    }
    with trial.open() as implementation:
        for name, value in wanted.items():
            result = getattr(implementation, name, None)
            yield "" if result == value else f"{name}: expected {value}, got {result}"


def left_behind(trial: Trial) -> Iterator[str]:
    """`close` ends the threads that the implementation started, and gives BLAS its number of threads back."""
    with trial.open() as implementation:  # what a library starts once, and keeps
        implementation.step(implementation.prepare(trial.x, trial.y), 0.7)
    with threadpool_limits(limits=2, user_api="blas"):  # not what an implementation would set
        threads, blas = set(threading.enumerate()), _blas_threads()
        with trial.open() as implementation:
            implementation.step(implementation.prepare(trial.x, trial.y), 0.7)
        left = len(set(threading.enumerate()) - threads)
        yield f"after close: {counted(left, 'thread')} left" if left else ""
        result = _blas_threads()
        yield f"after close: expected BLAS at {blas} threads as before, got {result}" if result != blas else ""


def _blas_threads() -> list[int]:
    """Return the numbers of threads of all BLAS libraries in this process."""
    return [library.num_threads for library in ThreadpoolController().select(user_api="blas").lib_controllers]


# --- Refusals: a ValueError in plain words, before anything is changed -----------------------------------------------


def bad_load(trial: Trial) -> Iterator[str]:
    """`load` refuses parameters of wrong shape, number or dtype."""
    weights, biases = trial.parameters
    (*first_W, W), (*first_b, b) = weights, biases
    other = _other_dtype(trial)
    bad = {
        "transposed weights": Parameters([*first_W, W.T.copy()], biases),
        "weights of one row": Parameters([*first_W, W[:1]], biases),
        "a bias as a column": Parameters(weights, [*first_b, b[:, np.newaxis]]),
        "a missing bias": Parameters(weights, first_b),
        "an extra layer": Parameters([*weights, W], [*biases, b]),
        f"weights in {other}": Parameters([*first_W, W.astype(other)], biases),
        f"biases in {other}": Parameters(weights, [*first_b, b.astype(other)]),
    }
    with trial.open() as implementation:
        for what, parameters in bad.items():
            yield _refusal_error(what, implementation.load, parameters)


def partial_load(trial: Trial) -> Iterator[str]:
    """A refused `load` changes nothing, even if only the last array is wrong."""
    weights, (*biases, b) = trial.draw_parameters()
    with trial.open() as implementation:
        with suppress(Exception):
            implementation.load(Parameters(weights, [*biases, b[:-1]]))
        error = differences(implementation.parameters(), trial.parameters)
        yield prefixed("after loading a wrong bias in the last layer", error)


def bad_examples(method: str) -> CheckFunction:
    """Return the check that `method`, prepare or prepare_data, refuses x and y of wrong shape or dtype."""

    def check(trial: Trial) -> Iterator[str]:
        """Examples of wrong shape, number or dtype are refused with a ValueError."""
        x, y = trial.x, trial.y
        other = _other_dtype(trial)
        bad = {
            "x with one column too few": (x[:, :-1], y),
            "y of one column": (x, y[:, :1]),
            "one example as a vector": (x[0], y[0]),
            "a stack of columns": (x[:, :, np.newaxis], y[:, :, np.newaxis]),
            "fewer examples in x": (x[:-1], y),
            "no examples": (x[:0], y[:0]),
            f"x in {other}": (x.astype(other), y),
            "y of integers": (x, np.ones(y.shape, np.int64)),
        }
        with trial.open() as implementation:
            for what, examples in bad.items():
                yield _refusal_error(what, getattr(implementation, method), *examples)
            result = implementation.gradients(implementation.prepare(x, y))
            yield prefixed("gradient after bad input", trial.gradient_errors(result))

    return check


def batch_too_large(trial: Trial) -> Iterator[str]:
    """`prepare` refuses a mini-batch larger than the batch size of the construction."""
    with trial.open() as implementation:
        yield _refusal_error("prepare", implementation.prepare, trial.x, trial.y)


def bad_construction(trial: Trial) -> Iterator[str]:
    """The constructor refuses impossible sizes, batch sizes, dtypes and numbers of threads."""
    sizes, size, dtype, threads = trial.network.sizes, trial.network.batch_size, trial.dtype, trial.threads
    for what, *arguments in (
        ("a single layer", sizes[:1], size, dtype, threads),
        ("a layer of 0 units", (sizes[0], 0, sizes[-1]), size, dtype, threads),
        ("batch size 0", sizes, 0, dtype, threads),
        ("0 threads", sizes, size, dtype, 0),
        ("-1 threads", sizes, size, dtype, -1),
        ("dtype int64", sizes, size, "int64", threads),
    ):
        yield _refusal_error(what, trial.factory, *arguments)


def _other_dtype(trial: Trial) -> str:
    return "float32" if trial.dtype == "float64" else "float64"


def _refusal_error(what: str, function: Callable[..., object], *arguments: object) -> str:
    """Return what is wrong if a call does not raise a ValueError with a message."""
    try:
        function(*arguments)
    except ValueError as error:
        return "" if str(error) else f"{what}: expected a message, got an empty ValueError"
    except Exception as error:
        return f"{what}: expected ValueError, got {in_words(error)}"
    return f"{what}: expected ValueError, but the call was accepted"
