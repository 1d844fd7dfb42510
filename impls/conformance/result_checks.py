"""Checks of results: gradients, steps and epochs, at the edges of floating point and for every memory layout.

Each check takes a trial and yields the errors that it finds as text, "" for none.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from impls.conformance.reference import reference_epoch, reference_gradients
from impls.conformance.tolerance import differences, infinities, missing_nans, type_errors
from impls.conformance.trial import CheckFunction, Trial, counted, prefixed
from impls.interface import Array, Parameters


def gradient(trial: Trial) -> Iterator[str]:
    """The gradient of all examples is the reference's."""
    with trial.open() as implementation:
        rows = trial.first_batch
        result = implementation.gradients(implementation.prepare(trial.x[rows], trial.y[rows]))
        yield trial.gradient_errors(result, rows)


def result_type(trial: Trial) -> Iterator[str]:
    """Gradients and parameters are NumPy arrays of the network's dtype."""
    with trial.open() as implementation:
        batch = implementation.prepare(trial.x, trial.y)
        yield prefixed("gradients", type_errors(implementation.gradients(batch), trial.dtype))
        yield prefixed("parameters", type_errors(implementation.parameters(), trial.dtype))
        implementation.step(batch, 0.5)
        yield prefixed("parameters after a step", type_errors(implementation.parameters(), trial.dtype))


def step(trial: Trial) -> Iterator[str]:
    """One step is the reference's, for a large and a small learning rate."""
    everything = np.arange(trial.network.examples)
    for learning_rate in trial.learning_rates:
        with trial.open() as implementation:
            implementation.step(implementation.prepare(trial.x, trial.y), learning_rate)
            error = trial.parameter_errors(implementation.parameters(), learning_rate, [everything])
            yield prefixed(f"learning rate {learning_rate:.3g}", error)


def no_learning(trial: Trial) -> Iterator[str]:
    """A step with learning rate 0 leaves the parameters unchanged."""
    with trial.open() as implementation:
        implementation.step(implementation.prepare(trial.x, trial.y), 0.0)
        yield prefixed("learning rate 0", differences(implementation.parameters(), trial.parameters))


def many_steps(trial: Trial) -> Iterator[str]:
    """The 150th step is as good as the first."""
    steps = np.array_split(np.arange(trial.network.examples), 3) * 50
    with trial.open() as implementation:
        batches = [implementation.prepare(trial.x[rows], trial.y[rows]) for rows in steps[:3]]
        for batch in batches * 50:
            implementation.step(batch, 0.7)
        yield trial.parameter_errors(implementation.parameters(), 0.7, steps)


def epoch_in_order(trial: Trial) -> Iterator[str]:
    """An epoch in a random order is the reference's."""
    yield from _epochs(trial, [trial.order])


def several_epochs(trial: Trial) -> Iterator[str]:
    """Several epochs of one data set, each in another order, are the reference's."""
    yield from _epochs(trial, [trial.order, trial.order[::-1], np.roll(trial.order, 3)])


def epoch_of_some(trial: Trial) -> Iterator[str]:
    """An epoch in an order that leaves out some examples, or repeats some, is the reference's."""
    some = trial.order[: trial.network.examples // 2]
    for what, order in (("some examples", some), ("repeated examples", np.repeat(trial.order, 2)[1:])):
        for error in _epochs(trial, [order]):
            yield prefixed(what, error)


def _epochs(trial: Trial, orders: list[NDArray[np.intp]]) -> Iterator[str]:
    with trial.open() as implementation:
        data = implementation.prepare_data(trial.x, trial.y)
        for order in orders:
            implementation.epoch(data, order, trial.epoch_rate)
        batches = [rows for order in orders for rows in trial.mini_batches(order)]
        yield trial.parameter_errors(implementation.parameters(), trial.epoch_rate, batches)


# --- After other calls, and with many threads ----------------------------------------------------------------------


def first_again(trial: Trial) -> Iterator[str]:
    """The gradient of a mini-batch is the same after another mini-batch, and after itself."""
    halves = [slice(0, trial.network.batch_size), slice(trial.network.batch_size, None)]
    with trial.open() as implementation:
        batches = [implementation.prepare(trial.x[half], trial.y[half]) for half in halves]
        for call, half in enumerate((0, 1, 0, 0)):
            error = trial.gradient_errors(implementation.gradients(batches[half]), halves[half])
            yield prefixed(f"call {call + 1}", error)


def smaller_after_larger(trial: Trial) -> Iterator[str]:
    """The gradient of a mini-batch is correct after that of a larger one."""
    size = trial.network.batch_size
    with trial.open() as implementation:
        implementation.gradients(implementation.prepare(trial.x[:size], trial.y[:size]))
        for count in (size - 1, 1, size):
            batch = implementation.prepare(trial.x[:count], trial.y[:count])
            error = trial.gradient_errors(implementation.gradients(batch), slice(count))
            yield prefixed(f"{counted(count, 'example')} after {size}", error)


def nan_forgotten(trial: Trial) -> Iterator[str]:
    """The gradient of a mini-batch is correct after a mini-batch of NaN, which may be refused."""
    size = trial.network.batch_size
    with trial.open() as implementation:
        with suppress(ValueError):
            implementation.gradients(implementation.prepare(np.full_like(trial.x[:size], np.nan), trial.y[:size]))
        result = implementation.gradients(implementation.prepare(trial.x[:size], trial.y[:size]))
        yield prefixed("after a mini-batch of NaN", trial.gradient_errors(result, slice(size)))


def more_threads_than_examples(trial: Trial) -> Iterator[str]:
    """Gradient, step and epoch are the reference's with more threads than examples."""
    threads = trial.network.examples + trial.threads
    crowded = replace(trial, threads=threads)
    for what, check in (("gradients", gradient), ("step", step), ("epoch", epoch_in_order)):
        for error in check(crowded):
            yield prefixed(f"{what} with {threads} threads", error)


# --- At the edges of floating point --------------------------------------------------------------------------------


def saturated(trial: Trial) -> Iterator[str]:
    """Gradient and step are the reference's, where half of the units are saturated."""
    parameters = _saturate(trial.parameters)
    everything = np.arange(trial.network.examples)
    with trial.open() as implementation:
        implementation.load(parameters)
        batch = implementation.prepare(trial.x, trial.y)
        yield trial.gradient_errors(implementation.gradients(batch), parameters=parameters)
        implementation.step(batch, 0.7)
        error = trial.parameter_errors(implementation.parameters(), 0.7, [everything], parameters=parameters)
        yield prefixed("step", error)


def _saturate(parameters: Parameters) -> Parameters:
    """Push every other unit to |z| of about 1,000 or 100, where exp overflows in float64 or in float32.

    The other half stays as it is, so that the norm of a gradient remains meaningful.
    """
    biases = []
    for b in parameters.biases:
        push = np.resize(np.array([0.0, 1000.0, 0.0, -1000.0, 0.0, 100.0, 0.0, -100.0]), len(b))  # (n_out,)
        biases.append((b + push).astype(b.dtype))
    return Parameters(parameters.weights, biases)


def extreme_input(trial: Trial) -> Iterator[str]:
    """Gradient and step stay finite where inputs saturate the whole first layer."""
    with trial.open() as implementation:
        batch = implementation.prepare(trial.x * 1000, trial.y)
        implementation.step(batch, 0.7)
        yield prefixed("gradients", infinities(implementation.gradients(batch)))
        yield prefixed("step", infinities(implementation.parameters()))


def nan(trial: Trial) -> Iterator[str]:
    """NaN in x, y or a weight reaches all results that depend on it, or is refused with a ValueError."""
    x, y, weights = trial.x.copy(), trial.y.copy(), [W.copy() for W in trial.parameters.weights]
    x[-1, 0] = y[-1, 0] = weights[-1][0, 0] = np.nan
    with_nan = Parameters(weights, trial.parameters.biases)
    everything = np.arange(trial.network.examples)
    inputs = (
        ("x", trial.parameters, x, trial.y),
        ("y", trial.parameters, trial.x, y),
        ("W", with_nan, trial.x, trial.y),
    )
    with trial.open() as implementation:
        for where, parameters, x_, y_ in inputs:
            implementation.load(parameters)
            with suppress(ValueError):
                batch = implementation.prepare(x_, y_)
                expected = reference_gradients(parameters, x_, y_, trial.cost)
                yield prefixed(f"NaN in {where}, gradients", missing_nans(implementation.gradients(batch), expected))
                implementation.step(batch, 0.7)
                expected = reference_epoch(parameters, x_, y_, everything, len(everything), 0.7, trial.cost)
                yield prefixed(f"NaN in {where}, step", missing_nans(implementation.parameters(), expected))


# --- For every memory layout ---------------------------------------------------------------------------------------


def fortran_ordered(array: Array) -> Array:
    """Return a copy in Fortran's memory order."""
    return np.asfortranarray(array)


def non_contiguous(array: Array) -> Array:
    """Return a copy in every other place of a larger array, from back to front."""
    wide = np.full([2 * n for n in array.shape], np.nan if array.dtype.kind == "f" else -1, array.dtype)
    view = wide[tuple(slice(None, None, -2) for _ in array.shape)]
    view[...] = array
    return view


def read_only(array: Array) -> Array:
    """Return a copy that cannot be written to."""
    array = array.copy()
    array.setflags(write=False)
    return array


def memory_layout(arrange: Callable[[Array], Array]) -> CheckFunction:
    """Return the check that gradient, step and epoch are the reference's when `arrange` has arranged all inputs."""

    def check(trial: Trial) -> Iterator[str]:
        """Gradient, step and epoch are the reference's whatever the inputs' memory layout."""
        weights, biases = trial.parameters
        size = trial.network.batch_size
        x, y, order = arrange(trial.x), arrange(trial.y), arrange(trial.order)
        with trial.open() as implementation:
            implementation.load(Parameters([arrange(W) for W in weights], [arrange(b) for b in biases]))
            result = implementation.gradients(implementation.prepare(x[:size], y[:size]))
            yield trial.gradient_errors(result, slice(size))
            implementation.step(implementation.prepare(x[:size], y[:size]), 0.7)
            yield prefixed("step", trial.parameter_errors(implementation.parameters(), 0.7, [np.arange(size)]))
            implementation.load(trial.parameters)
            implementation.epoch(implementation.prepare_data(x, y), order, 0.7)
            error = trial.parameter_errors(implementation.parameters(), 0.7, trial.mini_batches(trial.order))
            yield prefixed("epoch", error)

    return check
