"""Checks of what the contract asks for besides correct results: no side effects, own memory, life cycle.

Each check takes a trial and yields the errors that it finds as text, "" for none.
"""

import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import combinations

import numpy as np
from threadpoolctl import ThreadpoolController, threadpool_limits

from impls.conformance.reference import reference_epoch
from impls.conformance.result_checks import epoch_in_order, gradient, step
from impls.conformance.tolerance import Watch, differences, named_tensors, parameter_errors
from impls.conformance.trial import Trial, counted, prefixed
from impls.interface import Parameters

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
        found = implementation.gradients(implementation.prepare(trial.x[:size], trial.y[:size]))
        yield prefixed("after a mini-batch of NaN", trial.gradient_errors(found, slice(size)))


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
    """A step is computed anew if only the learning rate, the examples in the same memory or the parameters differ."""
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
            found = implementation.parameters()
            yield prefixed(what, parameter_errors(found, parameters, expected, len(x), trial.dtype))


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
        mine = Parameters([W.copy() for W in trial.parameters.weights], [b.copy() for b in trial.parameters.biases])
        implementation.load(mine)
        for _, tensor in named_tensors(mine):
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
        found = [implementation.gradients(batch) for implementation, batch in zip((one, two), batches, strict=True)]
        yield prefixed("first of two instances", trial.gradient_errors(found[0]))
        yield prefixed("second of two instances", trial.gradient_errors(found[1], parameters=other))


# --- Threads and life cycle ----------------------------------------------------------------------------------------


def more_threads_than_examples(trial: Trial) -> Iterator[str]:
    """Gradient, step and epoch are the reference's with more threads than examples."""
    threads = trial.network.examples + trial.threads
    crowded = replace(trial, threads=threads)
    for what, check in (("gradients", gradient), ("step", step), ("epoch", epoch_in_order)):
        for error in check(crowded):
            yield prefixed(f"{what} with {threads} threads", error)


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
    network = trial.network
    wanted = {"sizes": network.sizes, "batch_size": network.batch_size, "threads": trial.threads}
    with trial.open() as implementation:
        found = {name: getattr(implementation, name, None) for name in wanted} | {"dtype": str(implementation.dtype)}
    for name, value in (wanted | {"dtype": trial.dtype}).items():
        yield "" if found[name] == value else f"{name}: expected {value}, got {found[name]}"


def left_behind(trial: Trial) -> Iterator[str]:
    """`close` ends the threads that the implementation started, and gives BLAS its number of threads back, once."""
    with trial.open() as implementation:  # what a library starts once, and keeps
        implementation.step(implementation.prepare(trial.x, trial.y), 0.7)
    with threadpool_limits(limits=2, user_api="blas"):  # not what an implementation would set
        threads, blas = set(threading.enumerate()), _blas_threads()
        with trial.open() as implementation:
            implementation.step(implementation.prepare(trial.x, trial.y), 0.7)
        left = len(set(threading.enumerate()) - threads)
        yield f"after close: {counted(left, 'thread')} left" if left else ""
        found = _blas_threads()
        yield f"after close: expected BLAS at {blas} threads as before, got {found}" if found != blas else ""
        with threadpool_limits(limits=3, user_api="blas"):
            blas = _blas_threads()
            implementation.close()
            found = _blas_threads()
            yield f"a second close: expected BLAS at {blas} threads as before, got {found}" if found != blas else ""


def _blas_threads() -> list[int]:
    """Return the numbers of threads of all BLAS libraries in this process."""
    return [library.num_threads for library in ThreadpoolController().select(user_api="blas").lib_controllers]
