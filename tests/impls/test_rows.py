"""Every row of the registry against the contract and against its own promises; the frameworks have a file of theirs."""

import threading
import tracemalloc
from itertools import pairwise
from queue import SimpleQueue
from typing import Any

import numpy as np
import pytest
from networks import draw
from scipy.special import expit
from threadpoolctl import threadpool_info, threadpool_limits

from impls.conformance.kit import check
from impls.conformance.reference import reference_gradients
from impls.interface import Batch, Implementation, Parameters
from impls.multithreaded import Multithreaded, Team
from impls.registry import entries, find

ALL_ROWS = [
    pytest.param(
        entry.name,
        marks=pytest.mark.skipif(entry.unavailable() is not None, reason=f"{entry.name} {entry.unavailable()}"),
    )
    for entry in entries().values()
    if not entry.framework  # those are in test_framework_rows.py
]


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


# --- The base class's promise to short rows ----------------------------------------------------------------------


def test_row_of_gradients_alone_trains() -> None:
    """The shortest implementation gets step and epoch from the base class."""

    class Linear(Implementation):
        def gradients(self, batch: Batch) -> Parameters:
            return reference_gradients(Parameters(self.weights, self.biases), batch.x, batch.y)

    assert check(Linear, dtypes=("float64",), threads=(1,)) == []
