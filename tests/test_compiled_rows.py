"""The compiled rows beyond the contract: every instruction set, many threads, no lock held, no panic."""

import itertools
import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from impls.conformance.kit import check
from impls.conformance.reference import reference_gradients
from impls.conformance.tolerance import TOLERANCES
from impls.interface import Array, Implementation, Parameters
from impls.registry import ENTRIES, find
from impls.registry import RUST as RUST_NEEDS

NUMBA = find("numba").unavailable()
RUST = find("rust_fused").unavailable()
needs_numba = pytest.mark.skipif(NUMBA is not None, reason=f"numba {NUMBA}")
needs_rust = pytest.mark.skipif(RUST is not None, reason=f"rust_fused {RUST}")

RUST_ROWS = [name for name, entry in ENTRIES.items() if entry.needs is RUST_NEEDS]
SHARED = (300, 150, 70, 11)  # at 64 examples, enough work that `rust_fused` wakes its threads for one step


def instruction_sets() -> list[str]:
    if RUST is not None:
        return ["none"]
    import backprop_bench_rust

    return backprop_bench_rust.instruction_sets()


def draw(sizes: tuple[int, ...], examples: int, dtype: str, seed: int = 0) -> tuple[Parameters, Array, Array]:
    rng = np.random.default_rng(seed)
    shapes = list(zip(sizes[1:], sizes[:-1], strict=True))
    weights = [(rng.standard_normal(shape) / np.sqrt(shape[1])).astype(dtype) for shape in shapes]
    biases = [rng.standard_normal(n_out).astype(dtype) for n_out, _ in shapes]
    x = rng.standard_normal((examples, sizes[0])).astype(dtype)
    y = rng.integers(2, size=(examples, sizes[-1])).astype(dtype)
    return Parameters(weights, biases), x, y


def tensors(parameters: Parameters) -> list[Array]:
    return parameters.weights + parameters.biases


def assert_same(found: Parameters, expected: Parameters) -> None:
    for mine, theirs in zip(tensors(found), tensors(expected), strict=True):
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
@pytest.mark.parametrize("simd", instruction_sets())
def test_every_instruction_set_conforms(simd: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKPROP_RUST_SIMD", simd)
    assert [str(violation) for violation in check(find("rust_fused").load(), threads=(1, 2))] == []


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
def test_every_instruction_set_is_right_at_odd_sizes(
    simd: str, dtype: str, sizes: tuple[int, ...], examples: int, threads: int, seed: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BACKPROP_RUST_SIMD", simd)
        assert_right(sizes, examples, dtype, threads, seed)


@needs_rust
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("sizes", "examples"), [((784, 30, 10), 401), ((140_000, 3), 61)])
def test_a_mini_batch_that_is_cut_into_blocks(sizes: tuple[int, ...], examples: int, dtype: str, threads: int) -> None:
    assert_right(sizes, examples, dtype, threads, seed=0)


def assert_right(sizes: tuple[int, ...], examples: int, dtype: str, threads: int, seed: int) -> None:
    parameters, x, y = draw(sizes, examples, dtype, seed)
    expected = tensors(reference_gradients(parameters, x, y))
    whole = np.linalg.norm([np.linalg.norm(g) for g in expected])
    with find("rust_fused").load()(sizes, examples, dtype, threads) as implementation:
        implementation.load(parameters)
        found = tensors(implementation.gradients(implementation.prepare(x, y)))
    for mine, theirs in zip(found, expected, strict=True):
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
    alone = train("rust_fused", 1, SHARED, 64, dtype)
    for threads in range(2, 9):
        assert_same(train("rust_fused", threads, SHARED, 64, dtype), alone)


@needs_rust
def test_rust_fused_gives_the_same_bits_for_fewer_examples_and_units_than_threads() -> None:
    sizes = (784, 300, 2)
    alone = train("rust_fused", 1, sizes, 3, "float64")
    for threads in (2, 5, 8):
        assert_same(train("rust_fused", threads, sizes, 3, "float64"), alone)


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize(
    "name", [pytest.param("numba", marks=needs_numba), *(pytest.param(name, marks=needs_rust) for name in RUST_ROWS)]
)
def test_runs_repeat_bit_by_bit(name: str, threads: int) -> None:
    assert_same(train(name, threads, SHARED, 64, "float64"), train(name, threads, SHARED, 64, "float64"))


@needs_rust
@pytest.mark.parametrize("name", RUST_ROWS)
def test_an_epoch_lets_other_python_threads_run(name: str) -> None:
    parameters, x, y = draw((784, 200, 10), 5000, "float64")
    row = find(name).load()
    with threadpool_limits(1, user_api="blas"), row((784, 200, 10), 10, "float64", 1) as implementation:
        implementation.load(parameters)
        data, order = implementation.prepare_data(x, y), np.arange(len(x))
        epoch = threading.Thread(target=implementation.epoch, args=(data, order, 0.1))
        epoch.start()
        epoch.join(0.005)  # comes back at once only if the lock is free
        assert epoch.is_alive()
        epoch.join()


@needs_rust
def test_threads_that_share_a_network_wait_for_each_other() -> None:
    parameters, x, y = draw(SHARED, 64, "float64")
    with find("rust_fused").load()(SHARED, 64, "float64", 2) as implementation:
        implementation.load(parameters)
        batch = implementation.prepare(x, y)
        for _ in range(40):
            implementation.step(batch, 0.1)
        expected = implementation.parameters()
        implementation.load(parameters)
        callers = [threading.Thread(target=steps, args=(implementation, batch, 10)) for _ in range(4)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        assert_same(implementation.parameters(), expected)


def steps(implementation: Implementation, batch: Any, count: int) -> None:
    for _ in range(count):
        implementation.step(batch, 0.1)


# --- Refusals: whatever is passed in is a ValueError or TypeError, never a panic ----------------------------------


@needs_rust
@pytest.mark.parametrize("name", RUST_ROWS)
def test_a_batch_of_another_network_is_refused(name: str) -> None:
    row = find(name).load()
    _, x, y = draw((5, 4, 3), 6, "float64")
    with row((5, 4, 3), 4) as mine, row((5, 4, 2), 4) as other, row((5, 4, 3), 4, "float32") as single:
        batch = mine.prepare(x[:4], y[:4])
        for call in (other.gradients, lambda batch: other.step(batch, 0.1)):
            with pytest.raises(ValueError, match="expected examples of 5 inputs and 2 outputs, got 5 and 3"):
                call(batch)
        with pytest.raises(ValueError, match="dtype"):
            single.step(batch, 0.1)
        with pytest.raises(ValueError, match="the work space holds 4"):
            mine.step(mine.prepare_data(x, y), 0.1)


@needs_rust
@pytest.mark.parametrize("name", RUST_ROWS)
def test_an_order_outside_the_data_is_refused_before_anything_changes(name: str) -> None:
    parameters, x, y = draw((5, 4, 3), 6, "float64")
    with find(name).load()((5, 4, 3), 4) as implementation:
        implementation.load(parameters)
        data = implementation.prepare_data(x, y)
        for index in (6, -1):
            with pytest.raises(ValueError, match=f"order: expected indices of 6 examples, got {index}"):
                implementation.epoch(data, np.array([0, 1, index]), 0.1)
        assert_same(implementation.parameters(), parameters)


@needs_rust
@pytest.mark.parametrize(
    "arguments",
    [
        ("sorcery", [2, 1], 1, "float64"),
        ("fused", [2], 1, "float64"),
        ("fused", [2, 0], 1, "float64"),
        ("fused", [2, 1], 0, "float64"),
        ("fused", [2, 1], 1, "float16"),
        ("fused", [2, 1], 1, "float64", 0),
        ("fused", [2**31, 1], 1, "float64"),
    ],
)
def test_the_extension_module_refuses_what_the_contract_would(arguments: Any) -> None:
    import backprop_bench_rust

    with pytest.raises(ValueError, match="expected"):
        backprop_bench_rust.Network(*arguments)


@needs_rust
def test_the_extension_module_refuses_arrays_that_do_not_fit() -> None:
    import backprop_bench_rust

    two, three = np.zeros((2, 5)), np.zeros((3, 1))
    for x, y in ((two, three), (two, np.zeros((2, 1), np.float32)), (two[0], two), (two[:0], two[:0])):
        with pytest.raises(ValueError, match="expected"):
            backprop_bench_rust.Batch(x, y)
    network = backprop_bench_rust.Network("fused", [5, 1], 2, "float64")
    with pytest.raises(ValueError, match="expected weights"):
        network.load([np.zeros((5, 1))], [np.zeros(1)])
    with pytest.raises(TypeError):
        network.load([np.zeros((1, 5), np.float32)], [np.zeros(1)])


def unaligned(array: Array) -> Array:
    """Return the same values, each a byte off its alignment."""
    copy = np.empty(array.nbytes + 1, np.uint8)[1:].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


@needs_rust
@pytest.mark.parametrize("name", RUST_ROWS)
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


@needs_rust
@pytest.mark.parametrize("name", ["rust_rayon", "rust_fused", "rust_batched"])
def test_from_how_many_operations_threads_share_a_step(name: str) -> None:
    """It can be set, and whether a step is shared, its result is the same to rounding."""
    parameters, x, y = draw((5, 4, 3), 6, "float64")
    trained: list[Parameters] = []
    for worth_sharing in (None, 0):
        with find(name).load()((5, 4, 3), 6, "float64", 3) as implementation:
            if worth_sharing is None:
                assert (implementation.worth_sharing > 1_000_000) == (name != "rust_batched")
            else:
                implementation.worth_sharing = worth_sharing
                assert implementation.worth_sharing == 0
            implementation.load(parameters)
            implementation.step(implementation.prepare(x, y), 0.5)
            trained.append(implementation.parameters())
    for one, other in zip(*(each.weights + each.biases for each in trained), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)


# --- Products in blocks ------------------------------------------------------------------------------------------


@needs_numba
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("block", [0, 1, 1000, 20_000, 100**3])
@pytest.mark.parametrize(("rows", "columns", "depth"), [(1, 1, 1), (33, 13, 5), (130, 70, 40), (65, 129, 600)])
def test_a_product_in_blocks_is_that_product(rows: int, columns: int, depth: int, block: int, dtype: str) -> None:
    """Of any shape, transposed or not, read from slices of larger arrays, written to one whose other numbers stay."""
    from impls.numba_math import NO, YES, gemm_address, multiply

    rng = np.random.default_rng(rows)
    gemm, one = gemm_address(np.dtype(dtype)), np.dtype(dtype).type(1)
    for transpose_a, transpose_b in ((NO, YES), (NO, NO), (YES, NO)):
        a_shape = (depth, rows) if transpose_a == YES else (rows, depth)
        b_shape = (columns, depth) if transpose_b == YES else (depth, columns)
        a, b, c = (
            rng.standard_normal((n, m + 3)).astype(dtype)[:, 1 : m + 1] for n, m in (a_shape, b_shape, (rows, columns))
        )
        whole = c.base
        assert whole is not None
        before = whole.copy()
        exact = (a.T if transpose_a == YES else a).astype(float) @ (b.T if transpose_b == YES else b).astype(float)
        beta = one if transpose_a == YES else one - one
        expected = exact + beta * c
        multiply(gemm, one, a, transpose_a, b, transpose_b, beta, c, block)
        error = np.abs(c - expected).max() / np.sqrt(depth)
        assert error < 50 * np.finfo(dtype).eps  # of a sum of normal numbers; a block too few or too many is off by 1
        np.testing.assert_array_equal(whole[:, 0], before[:, 0])
        np.testing.assert_array_equal(whole[:, columns + 1 :], before[:, columns + 1 :])


@needs_numba
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_no_product_in_blocks_is_packed(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """None is larger than what OpenBLAS computes from where the factors lie, at any size of either side."""
    from impls import numba_math

    products: list[int] = []

    def count(
        _gemm: int, _alpha: float, a: Array, transpose_a: int, _b: Array, _t: int, _beta: float, c: Array
    ) -> None:
        products.append(c.size * (a.shape[0] if transpose_a == numba_math.YES else a.shape[1]))

    monkeypatch.setattr(numba_math, "even_part", numba_math.even_part.py_func)
    monkeypatch.setattr(numba_math, "whole", count)
    multiply, yes, no = numba_math.multiply.py_func, numba_math.YES, numba_math.NO
    one = np.dtype(dtype).type(1)
    for rows, columns, terms in itertools.product((1, 10, 31, 32, 33, 300), (10, 64, 600), (10, 512, 784, 2048)):
        for transpose_a, transpose_b in ((no, yes), (no, no), (yes, no)):
            a = np.empty((terms, rows) if transpose_a == yes else (rows, terms), dtype)
            b = np.empty((columns, terms) if transpose_b == yes else (terms, columns), dtype)
            products.clear()
            c = np.empty((rows, columns), dtype)
            multiply(0, one, a, transpose_a, b, transpose_b, one, c, numba_math.UNPACKED)
            assert max(products) <= numba_math.UNPACKED
            assert sum(products) == rows * columns * terms  # each number of each sum once


@needs_numba
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_exp_in_compiled_code_is_exp(dtype: str) -> None:
    from numba import njit

    from impls.numba_math import exp

    limit = 708 if dtype == "float64" else 87

    def of_each(x: Array) -> Array:
        found = np.empty_like(x)
        for i in range(len(x)):
            found[i] = exp(x[i])
        return found

    compiled = njit(of_each)

    x = np.concatenate([np.linspace(-limit, limit, 20_001), [0.0, 1e-300, -1e-9]]).astype(dtype)
    found = compiled(x)
    expected = np.exp(x.astype(np.longdouble))
    assert np.abs(found / expected - 1).max() < 2 * np.finfo(dtype).eps
    assert np.isnan(compiled(np.array([np.nan], dtype)))[0]


# --- Compile time ------------------------------------------------------------------------------------------------


@needs_numba
@pytest.mark.parametrize(("threads", "worth_sharing"), [(1, 0), (2, 0), (2, 1 << 40)])
def test_numba_compiles_in_the_constructor_only(threads: int, worth_sharing: int) -> None:
    from impls import numba_jit

    parameters, x, y = draw((5, 4, 3), 6, "float32")
    x.flags.writeable = False
    with find("numba").load()((5, 4, 3), 4, "float32", threads) as implementation:
        implementation.worth_sharing = worth_sharing
        compiled = [numba_jit.add_gradient, numba_jit.add_share, numba_jit.epoch]
        before = [len(function.signatures) for function in compiled]
        implementation.load(parameters)
        batch, data = implementation.prepare(x[:4], y[:4]), implementation.prepare_data(x, y)
        implementation.gradients(batch)
        implementation.step(batch, 1)
        implementation.epoch(data, np.arange(6), 1)
        assert [len(function.signatures) for function in compiled] == before
