"""The compiled implementations beyond the contract: every instruction set, many threads, no lock held, no panic."""

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import draw, tensors
from threadpoolctl import threadpool_limits

from impls.conformance.reference import reference_gradients
from impls.conformance.tolerance import TOLERANCES
from impls.interface import Array, Parameters
from impls.registry import ENTRIES, find
from impls.registry import RUST as RUST_NEEDS

NUMBA = find("numba").unavailable()
RUST = find("rust_fused").unavailable()
needs_numba = pytest.mark.skipif(NUMBA is not None, reason=f"numba {NUMBA}")
needs_rust = pytest.mark.skipif(RUST is not None, reason=f"rust_fused {RUST}")

RUST_NAMES = [name for name, entry in ENTRIES.items() if entry.needs is RUST_NEEDS]
SHARED = (300, 150, 70, 11)  # at 64 examples, enough work that `rust_fused` wakes its threads for one step


def instruction_sets() -> list[str]:
    if RUST is not None:
        return ["none"]
    import backprop_bench_rust

    return backprop_bench_rust.instruction_sets()


def assert_same(result: Parameters, expected: Parameters) -> None:
    for mine, theirs in zip(tensors(result), tensors(expected), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def train(name: str, threads: int, sizes: tuple[int, ...], batch_size: int, dtype: str) -> Parameters:
    """Return the parameters after two steps and an epoch whose last mini-batch is short."""
    parameters, x, y = draw(sizes, 2 * batch_size + 1, dtype)
    with find(name).load()(sizes, batch_size, dtype, threads) as implementation:
        implementation.load(parameters)
        batch = implementation.prepare(x[:batch_size], y[:batch_size])
        implementation.step(batch, 0.5)
        implementation.step(batch, 0.5)
        order = np.random.default_rng(1).permutation(len(x))
        implementation.epoch(implementation.prepare_data(x, y), order, 0.5)
        return implementation.parameters()


# --- Instruction sets --------------------------------------------------------------------------------------------


@needs_rust
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("simd", instruction_sets())
@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 70), min_size=2, max_size=4).map(tuple),
    examples=st.integers(1, 40),
    threads=st.integers(1, 8),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_instruction_set_is_correct_at_odd_sizes(
    simd: str, dtype: str, sizes: tuple[int, ...], examples: int, threads: int, seed: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BACKPROP_RUST_SIMD", simd)
        assert_correct("rust_fused", sizes, examples, dtype, threads, seed)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("sizes", "examples"), [((784, 30, 10), 401), ((140_000, 3), 61), ((600, 129, 65), 130)])
@pytest.mark.parametrize(
    "name", [pytest.param("numba", marks=needs_numba), pytest.param("rust_fused", marks=needs_rust)]
)
def test_products_that_are_cut_into_blocks(
    name: str, sizes: tuple[int, ...], examples: int, dtype: str, threads: int
) -> None:
    assert_correct(name, sizes, examples, dtype, threads, seed=0)


def assert_correct(name: str, sizes: tuple[int, ...], examples: int, dtype: str, threads: int, seed: int) -> None:
    parameters, x, y = draw(sizes, examples, dtype, seed)
    expected = tensors(reference_gradients(parameters, x, y))
    whole = np.linalg.norm([np.linalg.norm(g) for g in expected])
    with find(name).load()(sizes, examples, dtype, threads) as implementation:
        implementation.load(parameters)
        gradient = tensors(implementation.gradients(implementation.prepare(x, y)))
    for mine, theirs in zip(gradient, expected, strict=True):
        scale = max(np.linalg.norm(theirs), whole / 10)  # a small tensor's terms may cancel
        assert np.linalg.norm(mine - theirs) <= TOLERANCES[dtype] * scale


@needs_rust
def test_an_unknown_instruction_set_is_refused_with_those_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKPROP_RUST_SIMD", "mmx")
    with pytest.raises(ValueError, match=r"expected one of .*portable, got mmx"):
        find("rust_fused").load()((3, 2), 1)


# --- Threads -----------------------------------------------------------------------------------------------------


@needs_rust
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_rust_fused_gives_the_same_bits_for_any_number_of_threads(dtype: str) -> None:
    """Also with fewer examples and units than threads."""
    for sizes, examples in ((SHARED, 64), ((784, 300, 2), 3)):
        alone = train("rust_fused", 1, sizes, examples, dtype)
        for threads in (2, 5):
            assert_same(train("rust_fused", threads, sizes, examples, dtype), alone)


@pytest.mark.parametrize(
    "name",
    [
        "multithreaded",
        pytest.param("numba", marks=needs_numba),
        *(pytest.param(name, marks=needs_rust) for name in RUST_NAMES),
    ],
)
def test_runs_repeat_bit_by_bit(name: str) -> None:
    assert_same(train(name, 3, SHARED, 64, "float64"), train(name, 3, SHARED, 64, "float64"))


@needs_rust
@pytest.mark.parametrize("name", RUST_NAMES)
def test_an_epoch_lets_other_python_threads_run(name: str) -> None:
    parameters, x, y = draw((784, 200, 10), 5000, "float64")
    cls = find(name).load()
    with threadpool_limits(1, user_api="blas"), cls((784, 200, 10), 10, "float64", 1) as implementation:
        implementation.load(parameters)
        data, order = implementation.prepare_data(x, y), np.arange(len(x))
        epoch = threading.Thread(target=implementation.epoch, args=(data, order, 0.1))
        epoch.start()
        epoch.join(0.005)  # comes back at once only if the lock is free
        assert epoch.is_alive()
        epoch.join()


# --- Refusals: whatever is passed in is a ValueError or TypeError, never a panic ----------------------------------


@needs_rust
@pytest.mark.parametrize("name", RUST_NAMES)
def test_a_batch_of_another_network_is_refused(name: str) -> None:
    cls = find(name).load()
    _, x, y = draw((5, 4, 3), 6, "float64")
    with cls((5, 4, 3), 4) as network, cls((5, 4, 2), 4) as smaller, cls((5, 4, 3), 4, "float32") as single:
        batch = network.prepare(x[:4], y[:4])
        with pytest.raises(ValueError, match="expected examples of 5 inputs and 2 outputs, got 5 and 3"):
            smaller.gradients(batch)
        with pytest.raises(ValueError, match="dtype"):
            single.step(batch, 0.1)
        with pytest.raises(ValueError, match="the work space holds 4"):
            network.step(network.prepare_data(x, y), 0.1)


@needs_rust
@pytest.mark.parametrize("name", RUST_NAMES)
def test_an_order_outside_the_data_is_refused_before_anything_changes(name: str) -> None:
    parameters, x, y = draw((5, 4, 3), 6, "float64")
    with find(name).load()((5, 4, 3), 4) as implementation:
        implementation.load(parameters)
        data = implementation.prepare_data(x, y)
        for index in (6, -1):
            with pytest.raises(ValueError, match=f"order: expected indices of 6 examples, got {index}"):
                implementation.epoch(data, np.array([0, 1, index]), 0.1)
        assert_same(implementation.parameters(), parameters)


def unaligned(array: Array) -> Array:
    """Return the same values, each a byte off its alignment."""
    copy = np.empty(array.nbytes + 1, np.uint8)[1:].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


@needs_rust
@pytest.mark.parametrize("name", RUST_NAMES)
def test_unaligned_arrays_give_the_same_bits(name: str) -> None:
    parameters, x, y = draw((5, 4, 3), 6, "float64")
    trained = []
    for form in (np.asarray, unaligned):
        with find(name).load()((5, 4, 3), 4) as implementation:
            implementation.load(Parameters(*([form(array) for array in arrays] for arrays in parameters)))
            data = implementation.prepare_data(form(x), form(y))
            implementation.epoch(data, form(np.arange(6)), 0.1)
            trained.append(implementation.parameters())
    assert_same(*trained)


# --- Compile time ------------------------------------------------------------------------------------------------


@needs_numba
@pytest.mark.parametrize(("threads", "worth_sharing"), [(1, 0), (2, 0), (2, 1 << 40)])
def test_numba_compiles_in_the_constructor_only(threads: int, worth_sharing: int) -> None:
    from impls import numba

    parameters, x, y = draw((5, 4, 3), 6, "float32")
    x.flags.writeable = False
    with find("numba").load()((5, 4, 3), 4, "float32", threads) as implementation:
        implementation.worth_sharing = worth_sharing
        compiled = [numba.add_gradient, numba.add_share, numba.epoch]
        before = [len(function.signatures) for function in compiled]
        implementation.load(parameters)
        batch, data = implementation.prepare(x[:4], y[:4]), implementation.prepare_data(x, y)
        implementation.gradients(batch)
        implementation.step(batch, 1)
        implementation.epoch(data, np.arange(6), 1)
        assert [len(function.signatures) for function in compiled] == before
