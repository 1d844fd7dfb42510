"""Every row of the registry against the contract and against its own promises; the frameworks have a file of theirs."""

import importlib
import threading
import tracemalloc
from itertools import pairwise
from queue import SimpleQueue
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from threadpoolctl import threadpool_info, threadpool_limits

from impls.conformance.kit import check
from impls.conformance.reference import reference_gradients
from impls.conformance.tolerance import TOLERANCES
from impls.in_place import InPlace
from impls.interface import Array, Batch, Implementation, Parameters
from impls.multithreaded import Multithreaded, Team, share
from impls.per_example import PerExample
from impls.registry import entries, find

ALL_ROWS = [
    pytest.param(
        entry.name,
        marks=pytest.mark.skipif(entry.unavailable() is not None, reason=f"{entry.name} {entry.unavailable()}"),
    )
    for entry in entries().values()
    if not entry.framework  # those are in test_framework_rows.py
]


def draw(sizes: tuple[int, ...], examples: int, dtype: str, seed: int = 0) -> tuple[Parameters, Array, Array]:
    """Draw a network that is not saturated and examples with targets of 0 and 1, away from the activations."""
    rng = np.random.default_rng(seed)
    weights = [(rng.standard_normal((m, n)) / np.sqrt(n)).astype(dtype) for n, m in pairwise(sizes)]
    biases = [rng.standard_normal(m).astype(dtype) for m in sizes[1:]]
    x = rng.standard_normal((examples, sizes[0])).astype(dtype)
    y = rng.integers(2, size=(examples, sizes[-1])).astype(dtype)
    return Parameters(weights, biases), x, y


def tensors(parameters: Parameters) -> list[Array]:
    return parameters.weights + parameters.biases


def dtypes_and_rows() -> list[Any]:
    return [
        pytest.param(*row.values, dtype, marks=row.marks, id=f"{row.values[0]}-{dtype}")
        for row in ALL_ROWS
        for dtype in ("float64", "float32")
        if row.values[0] != "pure_python" or dtype == "float64"
    ]


# --- All rows ----------------------------------------------------------------------------------------------------


@pytest.mark.slow("the whole conformance kit")
@pytest.mark.parametrize("name", ALL_ROWS)
def test_row_conforms(name: str) -> None:
    assert [str(violation) for violation in check(find(name).load())] == []


@pytest.mark.slow("the whole conformance kit")
@pytest.mark.parametrize(("name", "dtype"), dtypes_and_rows())
@settings(max_examples=50, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 40), min_size=2, max_size=5).map(tuple),
    examples=st.integers(1, 40),
    spare=st.integers(0, 9),
    threads=st.integers(1, 4),
    seed=st.integers(0, 2**32 - 1),
)
def test_gradient_is_the_oracles(
    name: str, dtype: str, sizes: tuple[int, ...], examples: int, spare: int, threads: int, seed: int
) -> None:
    parameters, x, y = draw(sizes, examples, dtype, seed)
    expected = tensors(reference_gradients(parameters, x, y))
    with find(name).load()(sizes, examples + spare, dtype, threads) as implementation:
        implementation.load(parameters)
        found = tensors(implementation.gradients(implementation.prepare(x, y)))
    whole = np.linalg.norm([np.linalg.norm(g) for g in expected])
    for mine, theirs in zip(found, expected, strict=True):
        scale = max(np.linalg.norm(theirs), whole / 10)  # a small tensor's terms may cancel
        assert np.linalg.norm(mine - theirs) <= TOLERANCES[dtype] * scale


@pytest.mark.parametrize(("name", "dtype"), dtypes_and_rows())
def test_sigmoid_is_right_where_it_matters(name: str, dtype: str) -> None:
    """One unit per z; with y = 0 its bias gets a^2 (1 - a), which shows a for z < 0 and 1 - a for z > 0."""
    lowest, u = (-340.0, 1.2e-16) if dtype == "float64" else (-40.0, 6e-8)  # a^2 is a normal number
    z = np.linspace(lowest, -lowest, 4001).astype(dtype)
    a, rest = expit(z.astype(np.float64)), expit(-z.astype(np.float64))
    parameters = Parameters([np.zeros((len(z), 1), dtype)], [z])
    with find(name).load()((1, len(z)), 1, dtype) as implementation:
        implementation.load(parameters)
        batch = implementation.prepare(np.ones((1, 1), dtype), np.zeros((1, len(z)), dtype))
        (found,) = implementation.gradients(batch).biases
    assert np.all(np.abs(found - a**2 * rest) <= 16 * u * a**2)


@pytest.mark.parametrize("module", ["pure_python", "per_example", "batched_3d", "batched_2d"])
def test_sigmoid_agrees_with_scipy_in_both_tails(module: str) -> None:
    sigmoid = importlib.import_module(f"impls.{module}").sigmoid
    for dtype, most in (("float64", 708.0), ("float32", 87.0)):
        z = np.linspace(-most, most, 4001).astype(dtype)
        if module == "pure_python":
            z = z.astype(np.float64)
            found = np.array([sigmoid(float(number)) for number in z])
        else:
            found = sigmoid(z)
            assert found.dtype == np.dtype(dtype)
        np.testing.assert_allclose(found, expit(z.astype(np.float64)), rtol=4 * np.finfo(z.dtype).eps)


@pytest.mark.parametrize("name", [row for row in ALL_ROWS if row.values[0] != "pure_python"])  # which has no float32
def test_no_example_of_many_is_lost_in_the_biases(name: str) -> None:
    """The share of one is less than half a unit in their last place, that of all 16,384 is up to 600 units."""
    unit = float(np.finfo("float32").eps)
    parameters, x, y = draw((5, 4, 3), 64, "float32")
    x, y = (np.tile(array, (256, 1)) for array in (x, y))
    moves = reference_gradients(parameters, x, y).biases
    learning_rate = 600 * unit / max(float(np.abs(db).max()) for db in moves)
    with find(name).load()((5, 4, 3), len(x), "float32", 1) as row:
        row.load(parameters)
        row.step(row.prepare(x, y), learning_rate)
        for before, db, after in zip(parameters.biases, moves, row.parameters().biases, strict=True):
            assert np.abs(after - (before - learning_rate * db)).max() < 30 * unit


@pytest.mark.parametrize("magnitude", [1e3, 1e10, 1e30])
@pytest.mark.parametrize(("name", "dtype"), dtypes_and_rows())
def test_extreme_inputs_give_finite_numbers_without_a_warning(name: str, dtype: str, magnitude: float) -> None:
    parameters, x, y = draw((20, 15, 10), 8, dtype)
    with find(name).load()((20, 15, 10), 8, dtype, 2) as implementation:
        implementation.load(parameters)
        batch = implementation.prepare(x * np.asarray(magnitude, dtype), y)
        assert all(np.isfinite(g).all() for g in tensors(implementation.gradients(batch)))
        implementation.step(batch, 3.0)
        assert all(np.isfinite(p).all() for p in tensors(implementation.parameters()))


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


@pytest.mark.parametrize("name", ALL_ROWS)
def test_only_batched_3d_holds_a_gradient_per_example(name: str) -> None:
    """All others stay below 8 times parameters and activations, for lists of Python's floats, too."""
    assert 8 * NUMBERS < GRADIENT_PER_EXAMPLE / 2
    peak = peak_numbers(name)
    assert peak >= GRADIENT_PER_EXAMPLE if name == "batched_3d" else peak < 8 * NUMBERS


# --- per_example -------------------------------------------------------------------------------------------------


class Book:
    """`network.py` of Nielsen's book, transcribed: column vectors, fresh arrays, the sigmoid as it stands there."""

    def __init__(self, weights: list[Array], biases: list[Array]) -> None:
        self.num_layers = len(weights) + 1
        self.weights = weights  # (n_out, n_in)
        self.biases = biases  # (n_out, 1)

    def sgd(self, training_data: list[Any], mini_batch_size: int, eta: float, orders: list[Array]) -> None:
        for order in orders:  # instead of random.shuffle
            shuffled = [training_data[i] for i in order]
            mini_batches = [shuffled[k : k + mini_batch_size] for k in range(0, len(shuffled), mini_batch_size)]
            for mini_batch in mini_batches:
                self.update_mini_batch(mini_batch, eta)

    def update_mini_batch(self, mini_batch: list[Any], eta: float) -> None:
        nabla_b = [np.zeros(b.shape) for b in self.biases]
        nabla_w = [np.zeros(w.shape) for w in self.weights]
        for x, y in mini_batch:
            delta_nabla_b, delta_nabla_w = self.backprop(x, y)
            nabla_b = [nb + dnb for nb, dnb in zip(nabla_b, delta_nabla_b, strict=True)]
            nabla_w = [nw + dnw for nw, dnw in zip(nabla_w, delta_nabla_w, strict=True)]
        self.weights = [w - (eta / len(mini_batch)) * nw for w, nw in zip(self.weights, nabla_w, strict=True)]
        self.biases = [b - (eta / len(mini_batch)) * nb for b, nb in zip(self.biases, nabla_b, strict=True)]

    def backprop(self, x: Array, y: Array) -> tuple[list[Array], list[Array]]:
        nabla_b = [np.zeros(b.shape) for b in self.biases]
        nabla_w = [np.zeros(w.shape) for w in self.weights]
        activation = x
        activations = [x]
        zs = []
        for b, w in zip(self.biases, self.weights, strict=True):
            z = np.dot(w, activation) + b
            zs.append(z)
            activation = book_sigmoid(z)
            activations.append(activation)
        delta = (activations[-1] - y) * book_sigmoid_prime(zs[-1])
        nabla_b[-1] = delta
        nabla_w[-1] = np.dot(delta, activations[-2].transpose())
        for layer in range(2, self.num_layers):
            z = zs[-layer]
            sp = book_sigmoid_prime(z)
            delta = np.dot(self.weights[-layer + 1].transpose(), delta) * sp
            nabla_b[-layer] = delta
            nabla_w[-layer] = np.dot(delta, activations[-layer - 1].transpose())
        return nabla_b, nabla_w


def book_sigmoid(z: Array) -> Array:
    return 1.0 / (1.0 + np.exp(-z))


def book_sigmoid_prime(z: Array) -> Array:
    return book_sigmoid(z) * (1 - book_sigmoid(z))  # type: ignore[no-any-return]


@pytest.mark.parametrize("sizes", [(30, 12, 10), (30, 12, 11, 9, 10)], ids=["shallow", "deep"])
def test_per_example_follows_the_book(sizes: tuple[int, ...]) -> None:
    parameters, x, y = draw(sizes, 107, "float64")  # seven mini-batches of 15 and one of 2
    rng = np.random.default_rng(1)
    orders = [rng.permutation(107) for _ in range(6)]
    book = Book(parameters.weights, [b[:, np.newaxis] for b in parameters.biases])
    book.sgd([(x_i[:, np.newaxis], y_i[:, np.newaxis]) for x_i, y_i in zip(x, y, strict=True)], 15, 3.0, orders)
    with PerExample(sizes, 15) as implementation:
        implementation.load(parameters)
        data = implementation.prepare_data(x, y)
        for order in orders:
            implementation.epoch(data, order, 3.0)
        found = implementation.parameters()
    for mine, theirs in zip(tensors(found), book.weights + [b[:, 0] for b in book.biases], strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-13 * np.abs(theirs).max())


# --- in_place ----------------------------------------------------------------------------------------------------


def test_in_place_step_makes_no_arrays() -> None:
    assert peak_numbers("in_place") < EXAMPLES * min(SIZES)  # less than the smallest array of the step


def test_in_place_updates_the_same_arrays() -> None:
    parameters, x, y = draw((7, 5, 3), 4, "float64")
    with InPlace((7, 5, 3), 4) as implementation:
        implementation.load(parameters)
        before = tensors(Parameters(implementation.weights, implementation.biases))
        implementation.step(implementation.prepare(x, y), 0.5)
        after = tensors(Parameters(implementation.weights, implementation.biases))
    assert all(a is b for a, b in zip(before, after, strict=True))
    assert not any(np.array_equal(a, b) for a, b in zip(after, tensors(parameters), strict=True))


# --- multithreaded -----------------------------------------------------------------------------------------------


def trained(threads: int) -> list[Array]:
    parameters, x, y = draw((64, 48, 32, 10), 150, "float64")
    order = np.random.default_rng(1).permutation(150)
    with Multithreaded((64, 48, 32, 10), 64, "float64", threads) as implementation:
        implementation.worth_sharing = 0
        implementation.load(parameters)
        data = implementation.prepare_data(x, y)
        for _ in range(5):
            implementation.epoch(data, order, 3.0)
        gradients = implementation.gradients(implementation.prepare(x[:64], y[:64]))
        return tensors(implementation.parameters()) + tensors(gradients)


@pytest.mark.parametrize("threads", range(1, 9))
def test_multithreaded_is_bit_identical_from_run_to_run(threads: int) -> None:
    first = trained(threads)
    for _ in range(3):
        assert all(np.array_equal(a, b) for a, b in zip(trained(threads), first, strict=True))


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


@pytest.mark.parametrize("name", ["multithreaded", "numba"])
@pytest.mark.parametrize(("sizes", "examples", "shared"), [((784, 30, 10), 10, False), ((784, 30, 10), 640, True)])
def test_a_small_step_wakes_no_thread(name: str, sizes: tuple[int, ...], examples: int, shared: bool) -> None:
    """10 examples are 1 Mflop, 640 are 61: between them is what each row names as worth sharing."""
    entry = find(name)
    if entry.unavailable() is not None:
        pytest.skip(f"{name} {entry.unavailable()}")
    jobs: list[Any] = []
    parameters, x, y = draw(sizes, examples, "float64")
    with entry.load()(sizes, examples, "float64", 2) as implementation:
        implementation.load(parameters)
        team = vars(implementation)["_team"]
        run = team.run

        def counted(job: Any) -> None:
            jobs.append(job)
            run(job)

        team.run = counted
        implementation.step(implementation.prepare(x, y), 0.5)
        implementation.epoch(implementation.prepare_data(x, y), np.arange(examples), 0.5)
    assert bool(jobs) == shared


def test_multithreaded_leaves_no_thread_after_an_error() -> None:
    threads = threading.active_count()
    with pytest.raises(ZeroDivisionError), Multithreaded((4, 3, 2), 4, "float64", 4):
        _ = 1 / 0
    assert threading.active_count() == threads


def test_team_raises_an_error_of_any_thread_once() -> None:
    def fail(thread: int) -> None:
        if thread > 0:
            raise LookupError(str(thread))

    team = Team(4)
    try:
        for _ in range(2):
            with pytest.raises(LookupError):
                team.run(fail)
            team.run(lambda thread: None)  # noqa: ARG005 (nothing is left of the three errors)
    finally:
        team.close()


def test_team_closes_after_an_interrupted_run() -> None:
    """Ctrl-C may reach the calling thread while it waits for the others."""
    release = threading.Event()

    class Interrupted(SimpleQueue[Any]):
        def get(self, *arguments: Any, **settings: Any) -> Any:
            raise KeyboardInterrupt

    def wait(thread: int) -> None:
        if thread > 0:
            release.wait()

    team = Team(2)
    with pytest.MonkeyPatch.context() as interrupted:
        interrupted.setattr("impls.multithreaded.SimpleQueue", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            team.run(wait)
    release.set()
    team.run(lambda thread: None)  # noqa: ARG005 (what is left of the interrupted run is not taken for this one's)
    closing = threading.Thread(target=team.close, daemon=True)
    closing.start()
    closing.join(timeout=5)
    assert not closing.is_alive()


@given(total=st.integers(0, 300), threads=st.integers(1, 40))
def test_shares_cover_everything_once_and_evenly(total: int, threads: int) -> None:
    shares = [range(total)[share(total, thread, threads)] for thread in range(threads)]
    assert [number for part in shares for number in part] == list(range(total))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


# --- The base class's promise to short rows ----------------------------------------------------------------------


def test_row_of_gradients_alone_trains() -> None:
    """The shortest implementation gets step and epoch from the base class."""

    class Linear(Implementation):
        def gradients(self, batch: Batch) -> Parameters:
            return reference_gradients(Parameters(self.weights, self.biases), batch.x, batch.y)

    assert check(Linear, dtypes=("float64",), threads=(1,)) == []
