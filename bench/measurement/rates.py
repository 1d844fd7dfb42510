"""What rows are measured against: the peak of the cores in use, and the reference rate of NumPy's large product."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from bench.measurement import peak
from bench.measurement.timing import TimedCall

SIZES = (256, 384, 512, 768)  # of the square matrices that are tried; the one with the highest rate is kept …
LARGE_SIZES = (1024, 1536)  # … on several threads, which need larger ones
BETTER = 1.01  # times the rate of a smaller size, for a larger one to be kept
TRIALS = 3  # of each choice


@dataclass(frozen=True)
class PreparedRate:
    """A call whose operations are known, ready to be timed."""

    choice: str  # of several ways, the fastest; what a later process is told to take
    what: str  # in words
    flops: int
    call_seconds: float
    timed: TimedCall

    @property
    def flops_per_second(self) -> float:
        """Return the rate as it was calibrated."""
        return self.flops / self.call_seconds


def prepare(kind: str, dtype: str, threads: int, choice: str, sample_seconds: float) -> PreparedRate:
    """Return the fastest way to the "peak" or the "reference" rate, or the one that is chosen, if any.

    Raises Unavailable if the peak cannot be measured here.
    """
    trials = 1 if choice else TRIALS
    if kind == "peak":
        found = [
            _peak(kernel, threads, sample_seconds, trials)
            for kernel in peak.kernels(dtype)
            if choice in ("", kernel.name)
        ]
        return max(found, key=lambda prepared: prepared.flops_per_second)
    sizes = [int(choice)] if choice else [*SIZES, *(LARGE_SIZES if threads > 1 else ())]
    best, *larger = (_product(size, dtype, threads, sample_seconds, trials) for size in sizes)
    for prepared in larger:
        if prepared.flops_per_second > BETTER * best.flops_per_second:
            best = prepared
    return best


def product_flops(size: int) -> int:
    """Return the operations of a product of two (size, size) matrices: 2 size^3."""
    return 2 * size**3


def _product(size: int, dtype: str, threads: int, sample_seconds: float, trials: int) -> PreparedRate:
    """Prepare the product of two (size, size) matrices, into a third one."""
    rng = np.random.default_rng(0)
    a, b = (rng.random((size, size)).astype(dtype) for _ in range(2))  # (size, size)
    timed = TimedCall((np.matmul, (a, b, np.empty_like(a))), threads)
    seconds = min(timed.calibrate(sample_seconds) for _ in range(trials))
    what = f"NumPy's product of two {size} x {size} matrices"
    return PreparedRate(str(size), what, product_flops(size), seconds, timed)


def _peak(kernel: peak.Kernel, threads: int, sample_seconds: float, trials: int) -> PreparedRate:
    """Prepare multiply-adds in registers, on all threads at once; as many in every process, so that one rate holds."""
    call = peak.Peak(kernel, threads, peak.ITERATIONS, ThreadPoolExecutor(threads))
    timed = TimedCall((call, ()), threads)
    call_seconds = min(timed.calibrate(sample_seconds) for _ in range(trials))
    name = f"{peak.NAMES[kernel.name]} multiply-adds in registers"
    return PreparedRate(kernel.name, name, call.flops, call_seconds, timed)
