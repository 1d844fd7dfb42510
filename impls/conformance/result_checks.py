"""Checks of results: gradients, steps and epochs, at the edges of floating point and for every memory layout.

Each check takes a trial and yields where it looked and the error there, "" for none.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from impls.conformance.reference import reference_epoch, reference_gradients
from impls.conformance.tolerance import differences, infinities, missing_nans, type_errors
from impls.conformance.trial import CheckFunction, Errors, Trial, counted, located
from impls.interface import Array, Parameters


def gradient(trial: Trial) -> Errors:
    """The gradient of all examples is the reference's."""
    with trial.open() as implementation:
        result = implementation.gradients(trial.prepare(implementation, trial.first_batch))
        yield "", trial.gradient_errors(result, trial.first_batch)


def result_type(trial: Trial) -> Errors:
    """Gradients and parameters are NumPy arrays of the network's dtype."""
    with trial.open() as implementation:
        result = implementation.gradients(trial.prepare(implementation))
        yield "gradients", type_errors(result, trial.dtype)
        yield "parameters", type_errors(implementation.parameters(), trial.dtype)
        trial.step(implementation)
        yield "parameters after a step", type_errors(implementation.parameters(), trial.dtype)


def step(trial: Trial) -> Errors:
    """One step is the reference's, for a large and a small learning rate."""
    for learning_rate in (trial.learning_rate,) if trial.instance else (0.01, 3.0):
        with trial.open() as implementation:
            implementation.step(trial.prepare(implementation), learning_rate)
            errors = trial.parameter_errors(implementation, learning_rate=learning_rate)
            yield f"learning rate {learning_rate:.3g}", errors


def no_learning(trial: Trial) -> Errors:
    """A step with learning rate 0 leaves the parameters unchanged."""
    with trial.open() as implementation:
        implementation.step(trial.prepare(implementation), 0.0)
        yield "learning rate 0", differences(implementation.parameters(), trial.parameters)


def many_steps(trial: Trial) -> Errors:
    """The 150th step is as good as the first."""
    thirds = np.array_split(np.arange(trial.network.examples), 3)
    with trial.open() as implementation:
        for batch in [trial.prepare(implementation, rows) for rows in thirds] * 50:
            implementation.step(batch, trial.learning_rate)
        yield "", trial.parameter_errors(implementation, thirds * 50)


def epoch_in_order(trial: Trial) -> Errors:
    """An epoch in a random order is the reference's."""
    yield "", _epoch_errors(trial, trial.order)


def several_epochs(trial: Trial) -> Errors:
    """Several epochs of one data set, each in another order, are the reference's."""
    yield "", _epoch_errors(trial, trial.order, trial.order[::-1], np.roll(trial.order, 3))


def epoch_of_some(trial: Trial) -> Errors:
    """An epoch in an order that leaves out some examples, or repeats some, is the reference's."""
    yield "some examples", _epoch_errors(trial, trial.order[: trial.network.examples // 2])
    yield "repeated examples", _epoch_errors(trial, np.repeat(trial.order, 2)[1:])


def _epoch_errors(trial: Trial, *orders: NDArray[np.intp]) -> str:
    with trial.open() as implementation:
        data = implementation.prepare_data(trial.x, trial.y)
        for order in orders:
            implementation.epoch(data, order, trial.learning_rate)
        batches = [rows for order in orders for rows in trial.mini_batches(order)]
        return trial.parameter_errors(implementation, batches)


# --- After other calls, and with many threads ----------------------------------------------------------------------


def first_again(trial: Trial) -> Errors:
    """The gradient of a mini-batch is the same after another mini-batch, and after itself."""
    halves = trial.first_batch, slice(trial.network.batch_size, None)
    with trial.open() as implementation:
        batches = [trial.prepare(implementation, half) for half in halves]
        for number, half in enumerate((0, 1, 0, 0), start=1):
            yield f"call {number}", trial.gradient_errors(implementation.gradients(batches[half]), halves[half])


def smaller_after_larger(trial: Trial) -> Errors:
    """The gradient of a mini-batch is correct after that of a larger one."""
    size = trial.network.batch_size
    with trial.open() as implementation:
        implementation.gradients(trial.prepare(implementation, trial.first_batch))
        for count in (size - 1, 1, size):
            result = implementation.gradients(trial.prepare(implementation, slice(count)))
            yield f"{counted(count, 'example')} after {size}", trial.gradient_errors(result, slice(count))


def nan_forgotten(trial: Trial) -> Errors:
    """The gradient of a mini-batch is correct after a mini-batch of NaN, which may be refused."""
    with trial.open() as implementation:
        with suppress(ValueError):
            implementation.gradients(implementation.prepare(np.full_like(trial.x, np.nan), trial.y))
        result = implementation.gradients(trial.prepare(implementation))
        yield "after a mini-batch of NaN", trial.gradient_errors(result)


def more_threads_than_examples(trial: Trial) -> Errors:
    """Gradient, step and epoch are the reference's with more threads than examples."""
    threads = trial.network.examples + trial.threads
    crowded = replace(trial, threads=threads)
    for what, check in (("gradients", gradient), ("step", step), ("epoch", epoch_in_order)):
        for error in located(check(crowded)):
            yield f"{what} with {threads} threads", error


# --- At the edges of floating point --------------------------------------------------------------------------------


def saturated(trial: Trial) -> Errors:
    """Gradient and step are the reference's, where half of the units are saturated."""
    parameters = _saturate(trial.parameters)
    with trial.open() as implementation:
        implementation.load(parameters)
        result = implementation.gradients(trial.prepare(implementation))
        yield "", trial.gradient_errors(result, parameters=parameters)
        trial.step(implementation)
        yield "step", trial.parameter_errors(implementation, parameters=parameters)


def _saturate(parameters: Parameters) -> Parameters:
    """Push every other unit to |z| of about 1,000 or 100, where exp overflows in float64 or in float32.

    The other half stays as it is, so that the norm of a gradient remains meaningful.
    """
    push = np.array([0.0, 1000.0, 0.0, -1000.0, 0.0, 100.0, 0.0, -100.0])
    biases = [(b + np.resize(push, len(b))).astype(b.dtype) for b in parameters.biases]
    return Parameters(parameters.weights, biases)


def extreme_input(trial: Trial) -> Errors:
    """Gradient and step stay finite where inputs saturate the whole first layer."""
    with trial.open() as implementation:
        batch = implementation.prepare(trial.x * 1000, trial.y)
        implementation.step(batch, trial.learning_rate)
        yield "gradients", infinities(implementation.gradients(batch))
        yield "step", infinities(implementation.parameters())


def nan(trial: Trial) -> Errors:
    """NaN in x, y or a weight reaches all results that depend on it, or is refused with a ValueError."""
    x, y, weights = trial.x.copy(), trial.y.copy(), [W.copy() for W in trial.parameters.weights]
    x[-1, 0] = y[-1, 0] = weights[-1][0, 0] = np.nan
    rows, rate = np.arange(len(x)), trial.learning_rate
    problems = {
        "x": (trial.parameters, x, trial.y),
        "y": (trial.parameters, trial.x, y),
        "W": (Parameters(weights, trial.parameters.biases), trial.x, trial.y),
    }
    with trial.open() as implementation:
        for where, problem in problems.items():
            implementation.load(problem[0])
            with suppress(ValueError):
                batch = implementation.prepare(*problem[1:])
                expected = reference_gradients(*problem, trial.cost)
                yield f"NaN in {where}, gradients", missing_nans(implementation.gradients(batch), expected)
                implementation.step(batch, rate)
                expected = reference_epoch(*problem, rows, len(rows), rate, trial.cost)
                yield f"NaN in {where}, step", missing_nans(implementation.parameters(), expected)


# --- For every memory layout ---------------------------------------------------------------------------------------


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

    def check(trial: Trial) -> Errors:
        """Gradient, step and epoch are the reference's whatever the inputs' memory layout."""
        first, x, y = trial.first_batch, arrange(trial.x), arrange(trial.y)
        with trial.open() as implementation:
            implementation.load(Parameters(*([arrange(tensor) for tensor in kind] for kind in trial.parameters)))
            result = implementation.gradients(implementation.prepare(x[first], y[first]))
            yield "", trial.gradient_errors(result, first)
            implementation.step(implementation.prepare(x[first], y[first]), trial.learning_rate)
            yield "step", trial.parameter_errors(implementation, [first])
            implementation.load(trial.parameters)
            implementation.epoch(implementation.prepare_data(x, y), arrange(trial.order), trial.learning_rate)
            yield "epoch", trial.parameter_errors(implementation, trial.mini_batches(trial.order))

    return check
