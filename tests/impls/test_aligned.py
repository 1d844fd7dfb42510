"""Arrays that begin at a cache line, and the implementations that promise them."""

import numpy as np
import pytest

from impls.interface import Array
from impls.registry import find
from impls.support.aligned import CACHE_LINE, zeros

NUMBA = find("numba").unavailable()
NAMES = [
    "in_place",
    "multithreaded",
    pytest.param("numba", marks=pytest.mark.skipif(NUMBA is not None, reason=f"numba {NUMBA}")),
]


def beyond_a_line(array: Array) -> int:
    """Return how many bytes after a cache line an array begins."""
    return int(array.ctypes.data % CACHE_LINE)


def misaligned(array: Array) -> Array:
    """Return a copy that begins one value after a cache line."""
    copy = zeros(array.size + 1, array.dtype)[1:].reshape(array.shape)
    copy[...] = array
    assert beyond_a_line(copy) == array.itemsize
    return copy


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("shape", [7, (1, 1), (3, 5, 7)])
def test_zeros_begin_at_a_cache_line(shape: int | tuple[int, ...], dtype: str) -> None:
    arrays = [zeros(shape, dtype) for _ in range(20)]  # malloc gives each memory of its own
    for array in arrays:
        assert beyond_a_line(array) == 0
        assert (array.shape, array.dtype) == (np.zeros(shape, dtype).shape, np.dtype(dtype))
        assert array.flags.c_contiguous
        assert not array.any()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", NAMES)
def test_implementations_compute_on_arrays_that_begin_at_a_cache_line(name: str, dtype: str) -> None:
    cls, rng = find(name).load(), np.random.default_rng(0)
    x, y = misaligned(rng.random((10, 784)).astype(dtype)), misaligned(rng.random((10, 10)).astype(dtype))
    kept = []
    for _ in range(10):
        with cls((784, 30, 10), 10, dtype) as implementation:
            batch = implementation.prepare(x, y)
            kept.append((implementation, batch))
            assert [beyond_a_line(array) for array in (implementation.weights[0], *batch)] == [0, 0, 0]
            np.testing.assert_array_equal(batch.x, x)
            np.testing.assert_array_equal(batch.y, y)
