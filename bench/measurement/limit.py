"""The matrix product that sets the limit: NumPy's, of two large square matrices."""

import numpy as np

from bench.measurement.timing import TimedCall
from bench.problem import Call
from bench.records import product_flops

SIZES = (256, 384, 512, 768)  # of the square matrices that are tried; the fastest one is kept
TRIALS = 3  # of each size


def product(size: int, dtype: str) -> Call:
    """Return the product of two (size, size) matrices, into a third one, as a function and its arguments."""
    rng = np.random.default_rng(0)
    a, b = (rng.random((size, size)).astype(dtype) for _ in range(2))  # (size, size)
    return np.matmul, (a, b, np.empty_like(a))


def prepare(dtype: str, threads: int, size: int | None, sample_seconds: float) -> tuple[int, float, TimedCall]:
    """Return the size with the highest rate (the one given, if any), the seconds of a call, and the call itself."""
    best = None
    for tried in [size] if size else SIZES:
        timed = TimedCall(product(tried, dtype), threads)
        seconds = min(timed.calibrate(sample_seconds) for _ in range(1 if size else TRIALS))
        rate = product_flops(tried) / seconds
        if best is None or rate > best[0]:
            best = rate, tried, seconds, timed
    assert best is not None
    return best[1:]
