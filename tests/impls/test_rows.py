"""Every implementation against the contract and against its own promises; the frameworks have a file of theirs."""

import threading
import tracemalloc
import warnings
from itertools import pairwise
from typing import Any
from unittest import mock

import numpy as np
import pytest
from networks import draw, tensors
from scipy.special import expit
from threadpoolctl import threadpool_info, threadpool_limits

from impls.conformance.kit import check
from impls.conformance.reference import reference_gradients
from impls.interface import Array, Parameters
from impls.multithreaded import Multithreaded, Team
from impls.registry import entries, find

ALL = [
    pytest.param(
        entry.name,
        marks=pytest.mark.skipif(entry.unavailable() is not None, reason=f"{entry.name} {entry.unavailable()}"),
    )
    for entry in entries().values()
    if not entry.framework  # those are in test_framework_rows.py
]


WITH_DTYPES = [
    pytest.param(*name.values, dtype, marks=name.marks, id=f"{name.values[0]}-{dtype}")
    for name in ALL
    for dtype in ("float64", "float32")
    if name.values[0] != "pure_python" or dtype == "float64"
]


# --- All of them -----------------------------------------------------------------------------------------------------


@pytest.mark.slow("the whole conformance kit")
@pytest.mark.parametrize("name", ALL)
def test_implementation_conforms(name: str) -> None:
    assert [str(violation) for violation in check(find(name).load())] == []


@pytest.mark.parametrize(("name", "dtype"), WITH_DTYPES)
def test_sigmoid_is_correct_where_it_matters(name: str, dtype: str) -> None:
    """One unit per z; with y = 0 its bias gets a^2 (1 - a), which shows a for z < 0 and 1 - a for z > 0."""
    lowest, u = (-340.0, 1.2e-16) if dtype == "float64" else (-40.0, 6e-8)  # a^2 is a normal number
    z = np.linspace(lowest, -lowest, 4001).astype(dtype)
    a, rest = expit(z.astype(np.float64)), expit(-z.astype(np.float64))
    parameters = Parameters([np.zeros((len(z), 1), dtype)], [z])
    with find(name).load()((1, len(z)), 1, dtype) as implementation:
        implementation.load(parameters)
        batch = implementation.prepare(np.ones((1, 1), dtype), np.zeros((1, len(z)), dtype))
        (db,) = implementation.gradients(batch).biases
    assert np.all(np.abs(db - a**2 * rest) <= 16 * u * a**2)


@pytest.mark.parametrize(("name", "dtype"), WITH_DTYPES)
@pytest.mark.parametrize("scale", [1e4, 1e30])
def test_no_implementation_warns_at_extreme_inputs(name: str, dtype: str, scale: float) -> None:
    """All units are saturated, at one end or the other."""
    parameters, x, y = draw((5, 4, 3), 6, dtype)
    for p in tensors(parameters):
        p *= scale
    with find(name).load()((5, 4, 3), 6, dtype) as implementation, warnings.catch_warnings():
        warnings.simplefilter("error")
        implementation.load(parameters)
        batch = implementation.prepare(x, y)
        gradient = implementation.gradients(batch)
        implementation.step(batch, 0.1)
    assert all(np.isfinite(dp).all() for dp in tensors(gradient))


@pytest.mark.parametrize("name", [name for name in ALL if name.values[0] != "pure_python"])  # which has no float32
def test_no_example_of_many_is_lost_in_the_biases(name: str) -> None:
    """The share of one is less than half a unit in their last place, that of all 16,384 is up to 600 units."""
    unit = float(np.finfo("float32").eps)
    parameters, x, y = draw((5, 4, 3), 64, "float32")
    x, y = (np.tile(array, (256, 1)) for array in (x, y))
    moves = reference_gradients(parameters, x, y).biases
    learning_rate = 600 * unit / max(float(np.abs(db).max()) for db in moves)
    with find(name).load()((5, 4, 3), len(x), "float32", 1) as implementation:
        implementation.load(parameters)
        implementation.step(implementation.prepare(x, y), learning_rate)
        for before, db, after in zip(parameters.biases, moves, implementation.parameters().biases, strict=True):
            assert np.abs(after - (before - learning_rate * db)).max() < 30 * unit


SIZES, EXAMPLES = (100, 60, 10), 64
NUMBERS = sum(n * m + m for n, m in pairwise(SIZES)) + EXAMPLES * sum(SIZES)  # parameters and activations
GRADIENT_PER_EXAMPLE = EXAMPLES * max(n * m for n, m in pairwise(SIZES))  # of the largest layer alone


def peak_numbers(name: str) -> float:
    """Return how many float64 numbers a step holds at its peak beyond the work space."""
    parameters, x, y = draw(SIZES, EXAMPLES, "float64")
    with find(name).load()(SIZES, EXAMPLES) as implementation:
        implementation.load(parameters)
        batch = implementation.prepare(x, y)
        implementation.step(batch, 0.1)
        tracemalloc.start()
        try:
            implementation.step(batch, 0.1)
            return tracemalloc.get_traced_memory()[1] / 8
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize("name", ALL)
def test_only_batched_3d_holds_a_gradient_per_example(name: str) -> None:
    """All others stay below 8 times parameters and activations, for lists of Python's floats, too."""
    assert 8 * NUMBERS < GRADIENT_PER_EXAMPLE / 2
    peak = peak_numbers(name)
    assert peak >= GRADIENT_PER_EXAMPLE if name == "batched_3d" else peak < 8 * NUMBERS


# --- per_example --------------------------------------------------------------------------------------------------


def book_step(weights: list[Array], biases: list[Array], batch: list[tuple[Array, Array]], eta: float) -> None:
    """Do `update_mini_batch` of the book's network.py, its `backprop` within; biases are columns."""

    def sigmoid(z: Array) -> Any:
        return 1.0 / (1.0 + np.exp(-z))

    def sigmoid_prime(z: Array) -> Any:
        return sigmoid(z) * (1 - sigmoid(z))

    nabla_b = [np.zeros(b.shape) for b in biases]
    nabla_w = [np.zeros(w.shape) for w in weights]
    for x, y in batch:
        activations, zs = [x], []
        for b, w in zip(biases, weights, strict=True):
            zs.append(np.dot(w, activations[-1]) + b)
            activations.append(sigmoid(zs[-1]))
        delta = (activations[-1] - y) * sigmoid_prime(zs[-1])
        nabla_b[-1] += delta
        nabla_w[-1] += np.dot(delta, activations[-2].T)
        for layer in range(2, len(weights) + 1):
            delta = np.dot(weights[-layer + 1].T, delta) * sigmoid_prime(zs[-layer])
            nabla_b[-layer] += delta
            nabla_w[-layer] += np.dot(delta, activations[-layer - 1].T)
    for p, nabla in zip(weights + biases, nabla_w + nabla_b, strict=True):
        p -= (eta / len(batch)) * nabla


def test_per_example_steps_as_the_books_network() -> None:
    parameters, x, y = draw((7, 6, 5, 4), 10, "float64")
    with find("per_example").load()((7, 6, 5, 4), 10) as implementation:
        implementation.load(parameters)
        implementation.step(implementation.prepare(x, y), 3.0)
        result = implementation.parameters()
    weights, biases = parameters.weights, [b[:, np.newaxis] for b in parameters.biases]
    book_step(weights, biases, [(x_i[:, np.newaxis], y_i[:, np.newaxis]) for x_i, y_i in zip(x, y, strict=True)], 3.0)
    for p, expected in zip(tensors(result), tensors(parameters), strict=True):  # the columns are views
        np.testing.assert_allclose(p, expected, rtol=1e-13)


# --- in_place ----------------------------------------------------------------------------------------------------


def test_in_place_step_makes_no_arrays() -> None:
    assert peak_numbers("in_place") < EXAMPLES * min(SIZES)  # less than the smallest array of the step


# --- multithreaded -----------------------------------------------------------------------------------------------


def blas_threads() -> list[int]:
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


def test_multithreaded_holds_blas_at_one_thread_and_gives_it_back() -> None:
    with threadpool_limits(limits=2, user_api="blas"):
        before, threads = blas_threads(), threading.active_count()
        with Multithreaded((4, 3, 2), 4, "float64", 3) as implementation:
            assert set(blas_threads()) == {1}
            assert threading.active_count() == threads + 2  # the calling thread is the third
        assert blas_threads() == before
        assert threading.active_count() == threads
        with Multithreaded((4, 3, 2), 4):
            implementation.close()  # again, while another one holds BLAS
            assert set(blas_threads()) == {1}


@pytest.mark.parametrize("name", [name for name in ALL if name.values[0] in ("multithreaded", "numba")])
@pytest.mark.parametrize(("examples", "is_shared"), [(10, False), (640, True)])
def test_a_small_step_wakes_no_thread(name: str, examples: int, is_shared: bool) -> None:
    """10 examples are 1 Mflop, 640 are 61: between them is what each implementation names as worth sharing."""
    _, x, y = draw((784, 30, 10), examples, "float64")
    with find(name).load()((784, 30, 10), examples, "float64", 2) as implementation:
        team = vars(implementation)["_team"]
        with mock.patch.object(team, "run", wraps=team.run) as run:
            implementation.step(implementation.prepare(x, y), 0.5)
            implementation.epoch(implementation.prepare_data(x, y), np.arange(examples), 0.5)
    assert run.called == is_shared


def test_team_raises_an_error_of_any_thread_once() -> None:
    def fail(thread: int) -> None:
        if thread > 0:
            raise LookupError(str(thread))

    team = Team(4)
    for _ in range(2):
        with pytest.raises(LookupError):
            team.run(fail)
        team.run(lambda thread: None)  # noqa: ARG005 (nothing is left of the three errors)
    team.close()


def test_team_closes_after_an_interrupted_run() -> None:
    """Ctrl-C may reach the calling thread while it waits for the others."""
    release = threading.Event()

    def wait(thread: int) -> None:
        if thread > 0:
            release.wait()

    team = Team(2)
    interrupted = mock.Mock(get=mock.Mock(side_effect=KeyboardInterrupt))
    with mock.patch("impls.multithreaded.SimpleQueue", return_value=interrupted), pytest.raises(KeyboardInterrupt):
        team.run(wait)
    release.set()
    team.run(lambda thread: None)  # noqa: ARG005 (what is left of the interrupted run is not taken for this one's)
    closing = threading.Thread(target=team.close, daemon=True)
    closing.start()
    closing.join(timeout=5)
    assert not closing.is_alive()
