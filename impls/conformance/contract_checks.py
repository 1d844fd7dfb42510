"""Checks of what the contract asks for besides correct results: side effects, own memory, life cycle, refusals.

Each check takes a trial and yields where it looked and the error there, "" for none.
"""

import threading
from collections.abc import Callable
from contextlib import suppress
from itertools import combinations

import numpy as np
from threadpoolctl import ThreadpoolController, threadpool_limits

from impls.conformance.reference import reference_epoch
from impls.conformance.tolerance import differences, named_tensors, parameter_errors
from impls.conformance.trial import CheckFunction, Errors, Trial, counted
from impls.interface import Implementation, Parameters
from impls.support.tracebacks import in_words

# --- Side effects, and memory of earlier calls ---------------------------------------------------------------------


def inputs_unchanged(trial: Trial) -> Errors:
    """No call modifies its inputs."""
    before = trial.checksums()
    with trial.open() as implementation:
        batch = trial.prepare(implementation, trial.first_batch)
        data = implementation.prepare_data(trial.x, trial.y)
        yield "load and prepare", was_modified(trial.modified_inputs(before))
        implementation.gradients(batch)
        yield "gradients", was_modified(trial.modified_inputs(before))
        implementation.step(batch, trial.learning_rate)
        yield "step", was_modified(trial.modified_inputs(before))
        implementation.epoch(data, trial.order, trial.learning_rate)
        yield "epoch", was_modified(trial.modified_inputs(before))


def was_modified(names: list[str]) -> str:
    """Return the error that these inputs were modified."""
    return "; ".join(f"{name}: was modified" for name in names)


def parameters_unchanged(trial: Trial) -> Errors:
    """`gradients` leaves the parameters unchanged."""
    with trial.open() as implementation:
        implementation.gradients(trial.prepare(implementation))
        yield "after gradients", _changes(trial, implementation)


def _changes(trial: Trial, implementation: Implementation) -> str:
    """Return which parameters are not those that were loaded."""
    return differences(implementation.parameters(), trial.parameters)


def pending_work(trial: Trial) -> Errors:
    """A step or an epoch is done when it returns: overwriting its examples and its order has no effect on it."""
    x, y, order = trial.x.copy(), trial.y.copy(), trial.order.copy()
    with trial.open() as implementation:
        implementation.step(implementation.prepare(x, y), trial.learning_rate)
        x.fill(7)
        y.fill(1)
        yield "step", trial.parameter_errors(implementation)
        x[...], y[...] = trial.x, trial.y
        implementation.load(trial.parameters)
        implementation.epoch(implementation.prepare_data(x, y), order, trial.learning_rate)
        x.fill(7)
        y.fill(1)
        order.fill(0)
        yield "epoch", trial.parameter_errors(implementation, trial.mini_batches(trial.order))


def remembered_results(trial: Trial) -> Errors:
    """A step is computed again if only the learning rate, the examples in the same memory or the parameters differ."""
    x, y, order = np.empty_like(trial.x), trial.y.copy(), np.arange(len(trial.x))
    problems = {
        "first step": (trial.parameters, trial.x, 0.7),
        "another learning rate": (trial.parameters, trial.x, 0.1),
        "other examples in the same memory": (trial.parameters, trial.x[::-1], 0.1),
        "other parameters": (trial.draw_parameters(), trial.x[::-1], 0.1),
    }
    with trial.open() as implementation:
        for what, (parameters, inputs, rate) in problems.items():
            x[...] = inputs
            implementation.load(parameters)
            implementation.step(implementation.prepare(x, y), rate)
            expected = reference_epoch(parameters, inputs, y, order, len(x), rate, trial.cost)
            yield what, parameter_errors(implementation.parameters(), parameters, expected, len(x), trial.dtype)


# --- Memory of its own ---------------------------------------------------------------------------------------------


def aliasing(trial: Trial) -> Errors:
    """Results share no memory with one another or with inputs, and later calls leave them unchanged."""
    with trial.open() as implementation:
        first_batch = trial.prepare(implementation, trial.first_batch)
        second_batch = trial.prepare(implementation, slice(trial.network.batch_size, None))
        first = implementation.gradients(first_batch)
        kept = Parameters(*([np.array(tensor) for tensor in kind] for kind in first))
        second = implementation.gradients(second_batch)
        yield "first gradient after the second call", differences(first, kept)
        implementation.step(second_batch, trial.learning_rate)
        yield "first gradient after a step", differences(first, kept)
        results = {"first gradient": first, "second gradient": second, "parameters": implementation.parameters()}
    arrays = {
        f"{name} of {what}": tensor
        for what, result in results.items()
        for name, tensor in named_tensors(result).items()
    }
    arrays |= {"x": trial.x, "y": trial.y}
    shared = [f"{a} and {b}" for (a, A), (b, B) in combinations(arrays.items(), 2) if np.shares_memory(A, B)]
    yield "shared memory", ", ".join(shared)


def parameters_copied(trial: Trial) -> Errors:
    """`load` copies in and `parameters` copies out: writing to either side leaves the other unchanged."""
    with trial.open() as implementation:
        result = implementation.parameters()
        yield "after load", differences(result, trial.parameters)
        _overwrite(result)
        yield "after writing to a copy", _changes(trial, implementation)
        loaded = Parameters(*([tensor.copy() for tensor in kind] for kind in trial.parameters))
        implementation.load(loaded)
        _overwrite(loaded)
        yield "after writing to the loaded arrays", _changes(trial, implementation)
        before = implementation.parameters()
        trial.step(implementation)
        yield "copy taken before a step", differences(before, trial.parameters)


def _overwrite(parameters: Parameters) -> None:
    for tensor in named_tensors(parameters).values():
        tensor[...] = 7.0


def load_resets(trial: Trial) -> Errors:
    """After `load`, nothing is left of earlier parameters and steps."""
    with trial.open() as implementation:
        batch = trial.prepare(implementation)
        implementation.load(trial.draw_parameters())
        for _ in range(3):
            implementation.step(batch, trial.learning_rate)
        implementation.load(trial.parameters)
        yield "parameters", _changes(trial, implementation)
        yield "gradients", trial.gradient_errors(implementation.gradients(batch))
        implementation.step(batch, trial.learning_rate)
        yield "step", trial.parameter_errors(implementation)


def independent_instances(trial: Trial) -> Errors:
    """Two instances do not affect each second_parameters."""
    second_parameters = trial.draw_parameters()
    with trial.open() as first, trial.open() as second:
        second.load(second_parameters)
        first_batch, second_batch = trial.prepare(first), trial.prepare(second)
        first_gradient, second_gradient = first.gradients(first_batch), second.gradients(second_batch)
        yield "first of two instances", trial.gradient_errors(first_gradient)
        yield "second of two instances", trial.gradient_errors(second_gradient, parameters=second_parameters)


# --- Threads and life cycle ----------------------------------------------------------------------------------------


def close_twice(trial: Trial) -> Errors:
    """`close` is safe to call twice, with or without use before."""
    implementation = trial.construct()
    trial.step(implementation)
    implementation.close()
    implementation.close()
    with trial.open() as unused:
        unused.close()
    yield "", ""


def construction(trial: Trial) -> Errors:
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
            yield name, "" if result == value else f"expected {value}, got {result}"


def left_behind(trial: Trial) -> Errors:
    """`close` ends the threads that the implementation started, and gives BLAS its number of threads back."""
    with trial.open() as implementation:  # what a library starts once, and keeps
        trial.step(implementation)
    with threadpool_limits(limits=2, user_api="blas"):  # not what an implementation would set
        threads, blas = set(threading.enumerate()), _blas_threads()
        with trial.open() as implementation:
            trial.step(implementation)
        left = len(set(threading.enumerate()) - threads)
        yield "after close", f"{counted(left, 'thread')} left" if left else ""
        result = _blas_threads()
        yield "after close", f"expected BLAS at {blas} threads as before, got {result}" if result != blas else ""


def _blas_threads() -> list[int]:
    """Return the numbers of threads of all BLAS libraries in this process."""
    return [library.num_threads for library in ThreadpoolController().select(user_api="blas").lib_controllers]


# --- Refusals: a ValueError in plain words, before anything is changed -----------------------------------------------


def bad_load(trial: Trial) -> Errors:
    """`load` refuses parameters of wrong shape, number or dtype."""
    weights, biases = trial.parameters
    (*first_W, W), (*first_b, b) = weights, biases
    wrong_dtype = _wrong_dtype(trial)
    bad = {
        "transposed weights": Parameters([*first_W, W.T.copy()], biases),
        "weights of one row": Parameters([*first_W, W[:1]], biases),
        "a bias as a column": Parameters(weights, [*first_b, b[:, np.newaxis]]),
        "a missing bias": Parameters(weights, first_b),
        "an extra layer": Parameters([*weights, W], [*biases, b]),
        f"weights in {wrong_dtype}": Parameters([*first_W, W.astype(wrong_dtype)], biases),
        f"biases in {wrong_dtype}": Parameters(weights, [*first_b, b.astype(wrong_dtype)]),
    }
    with trial.open() as implementation:
        for what, parameters in bad.items():
            yield what, _refusal_error(implementation.load, parameters)


def partial_load(trial: Trial) -> Errors:
    """A refused `load` changes nothing, even if only the last array is wrong."""
    weights, (*biases, b) = trial.draw_parameters()
    with trial.open() as implementation:
        with suppress(Exception):
            implementation.load(Parameters(weights, [*biases, b[:-1]]))
        yield "after loading a wrong bias in the last layer", _changes(trial, implementation)


def bad_examples(method: str) -> CheckFunction:
    """Return the check that `method`, prepare or prepare_data, refuses x and y of wrong shape or dtype."""

    def check(trial: Trial) -> Errors:
        """Examples of wrong shape, number or dtype are refused with a ValueError."""
        x, y = trial.x, trial.y
        wrong_dtype = _wrong_dtype(trial)
        bad = {
            "x with one column too few": (x[:, :-1], y),
            "y of one column": (x, y[:, :1]),
            "one example as a vector": (x[0], y[0]),
            "a stack of columns": (x[:, :, np.newaxis], y[:, :, np.newaxis]),
            "fewer examples in x": (x[:-1], y),
            "no examples": (x[:0], y[:0]),
            f"x in {wrong_dtype}": (x.astype(wrong_dtype), y),
            "y of integers": (x, np.ones(y.shape, np.int64)),
        }
        with trial.open() as implementation:
            for what, examples in bad.items():
                yield what, _refusal_error(getattr(implementation, method), *examples)
            result = implementation.gradients(trial.prepare(implementation))
            yield "gradient after bad input", trial.gradient_errors(result)

    return check


def batch_too_large(trial: Trial) -> Errors:
    """`prepare` refuses a mini-batch larger than the batch size of the construction."""
    with trial.open() as implementation:
        yield "prepare", _refusal_error(implementation.prepare, trial.x, trial.y)


def bad_construction(trial: Trial) -> Errors:
    """The constructor refuses impossible sizes, batch sizes, dtypes and numbers of threads."""
    sizes, size, dtype, threads = trial.network.sizes, trial.network.batch_size, trial.dtype, trial.threads
    bad: dict[str, tuple[object, ...]] = {
        "a single layer": (sizes[:1], size, dtype, threads),
        "a layer of 0 units": ((sizes[0], 0, sizes[-1]), size, dtype, threads),
        "batch size 0": (sizes, 0, dtype, threads),
        "0 threads": (sizes, size, dtype, 0),
        "-1 threads": (sizes, size, dtype, -1),
        "dtype int64": (sizes, size, "int64", threads),
    }
    for what, arguments in bad.items():
        yield what, _refusal_error(trial.factory, *arguments)


def _wrong_dtype(trial: Trial) -> str:
    return "float32" if trial.dtype == "float64" else "float64"


def _refusal_error(function: Callable[..., object], *arguments: object) -> str:
    """Return what is wrong if a call does not raise a ValueError with a message."""
    try:
        function(*arguments)
    except ValueError as error:
        return "" if str(error) else "expected a message, got an empty ValueError"
    except Exception as error:
        return f"expected ValueError, got {in_words(error)}"
    return "expected ValueError, but the call was accepted"
