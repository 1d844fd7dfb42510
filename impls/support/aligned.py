"""Arrays that begin at a cache line.

NumPy begins an array at a multiple of 16 bytes, whichever. A vector of 64 bytes then lies across two lines, and takes
two accesses instead of one: as much as 5 % of a small step, and another share in every process.
"""

import math

import numpy as np
from numpy.typing import DTypeLike

from impls.interface import Array

CACHE_LINE = 64  # bytes in a cache line, and in the widest vectors


def zeros(shape: int | tuple[int, ...], dtype: DTypeLike) -> Array:
    """Return an array of zeros of this shape that begins at a cache line."""
    length = math.prod(shape) if isinstance(shape, tuple) else shape
    memory = np.zeros(length * np.dtype(dtype).itemsize + CACHE_LINE, np.uint8)
    start = -memory.ctypes.data % CACHE_LINE
    return memory[start : start + memory.size - CACHE_LINE].view(dtype).reshape(shape)


def aligned(array: Array) -> Array:
    """Return the array, C-contiguous as it must be, or a copy that begins at a cache line where it does not."""
    if array.ctypes.data % CACHE_LINE == 0:
        return array
    copy = zeros(array.shape, array.dtype)
    copy[...] = array
    return copy
