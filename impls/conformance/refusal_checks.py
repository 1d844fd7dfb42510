"""Checks that what does not fit is refused: a ValueError in plain words, before anything is changed.

Each check takes a trial and yields the errors that it finds as text, "" for none.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

import numpy as np

from impls.conformance.tolerance import differences
from impls.conformance.trial import CheckFunction, Trial, prefixed
from impls.interface import Parameters
from impls.tracebacks import in_words


def bad_load(trial: Trial) -> Iterator[str]:
    """`load` refuses parameters of wrong shape, number or dtype."""
    (*first_W, W), (*first_b, b) = trial.parameters
    weights, biases = trial.parameters
    other = _other_dtype(trial)
    bad = {
        "transposed weights": Parameters([*first_W, W.T.copy()], biases),
        "weights of one row": Parameters([*first_W, W[:1]], biases),
        "a bias as a column": Parameters(weights, [*first_b, b[:, np.newaxis]]),
        "a bias of one number": Parameters(weights, [*first_b, b[:1]]),
        "a missing layer of weights": Parameters(first_W, biases),
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
    other = trial.draw_parameters()
    with trial.open() as implementation:
        for what, bad in (
            ("weights", Parameters([*other.weights[:-1], other.weights[-1][:, :-1]], other.biases)),
            ("biases", Parameters(other.weights, [*other.biases[:-1], other.biases[-1][:-1]])),
        ):
            with suppress(Exception):
                implementation.load(bad)
            error = differences(implementation.parameters(), trial.parameters)
            yield prefixed(f"after loading wrong {what} in the last layer", error)


def bad_examples(method: str) -> CheckFunction:
    """Return the check that `method`, prepare or prepare_data, refuses x and y of wrong shape or dtype."""

    def check(trial: Trial) -> Iterator[str]:
        """Examples of wrong shape, number or dtype are refused with a ValueError."""
        x, y = trial.x, trial.y
        other = _other_dtype(trial)
        bad = {
            "x with one column too few": (x[:, :-1], y),
            "x of one column": (x[:, :1], y),
            "y with one column too few": (x, y[:, :-1]),
            "y of one column": (x, y[:, :1]),
            "one example as a vector": (x[0], y[0]),
            "a stack of columns": (x[:, :, np.newaxis], y[:, :, np.newaxis]),
            "fewer examples in x": (x[:-1], y),
            "one example in y": (x, y[:1]),
            "no examples": (x[:0], y[:0]),
            f"x in {other}": (x.astype(other), y),
            f"y in {other}": (x, y.astype(other)),
            "y of integers": (x, np.ones(y.shape, np.int64)),
        }
        with trial.open() as implementation:
            for what, (x_bad, y_bad) in bad.items():
                yield _refusal_error(what, getattr(implementation, method), x_bad, y_bad)
            found = implementation.gradients(implementation.prepare(x, y))
            yield prefixed("gradient after bad input", trial.gradient_errors(found))

    return check


def batch_too_large(trial: Trial) -> Iterator[str]:
    """`prepare` refuses a mini-batch larger than the batch size of the construction."""
    with trial.open() as implementation:
        yield _refusal_error("prepare", implementation.prepare, trial.x, trial.y)


def bad_construction(trial: Trial) -> Iterator[str]:
    """The constructor refuses impossible sizes, batch sizes, dtypes and numbers of threads."""
    sizes, size, dtype, threads = trial.network.sizes, trial.network.batch_size, trial.dtype, trial.threads
    bad: dict[str, tuple[Sequence[int], int, str, int]] = {
        "a single layer": (sizes[:1], size, dtype, threads),
        "no layers": ((), size, dtype, threads),
        "a layer of 0 units": ((sizes[0], 0, sizes[-1]), size, dtype, threads),
        "a layer of -1 units": ((sizes[0], -1, sizes[-1]), size, dtype, threads),
        "batch size 0": (sizes, 0, dtype, threads),
        "batch size -1": (sizes, -1, dtype, threads),
        "0 threads": (sizes, size, dtype, 0),
        "-1 threads": (sizes, size, dtype, -1),
        "dtype int64": (sizes, size, "int64", threads),
        "dtype complex128": (sizes, size, "complex128", threads),
    }
    for what, arguments in bad.items():
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
