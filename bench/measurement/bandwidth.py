"""How fast memory is: bytes a second that come from beyond the caches, over one thread and over all cores.

`a += b` on arrays that no cache holds, each thread on arrays of its own: two numbers are read and one is written for
each addition (STREAM's "add" in place; McCalpin, 1995). The best of a few passes counts, as there.
"""

import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from bench.cpus import TOPOLOGY
from bench.records import MemoryRate
from impls.interface import Array

PASSES = 3
CACHES = 4  # times the largest cache, both arrays of all threads together …
MOST_BYTES = 1 << 29  # … at most
USUAL_CACHE = 32 << 20  # where the system does not tell
UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def memory_rates(threads: Iterable[int]) -> list[MemoryRate]:
    """Return the bytes a second that memory gives and takes, for each number of threads that ask for them."""
    return [MemoryRate(count, _measured(count)) for count in sorted(set(threads))]


def _measured(threads: int) -> float:
    numbers = min(CACHES * largest_cache(), MOST_BYTES) // (2 * 8 * threads)
    with ThreadPoolExecutor(threads) as pool:
        arrays = list(pool.map(_arrays, [numbers] * threads))
        seconds = min(_pass(pool, arrays) for _ in range(PASSES))
    return 3 * 8 * numbers * threads / seconds


def _arrays(numbers: int) -> tuple[Array, Array]:
    return np.ones(numbers), np.ones(numbers)  # written by the thread that reads them: near its core


def _pass(pool: ThreadPoolExecutor, arrays: list[tuple[Array, Array]]) -> float:
    start = time.perf_counter()
    list(pool.map(lambda pair: np.add(pair[0], pair[1], out=pair[0]), arrays))
    return time.perf_counter() - start


def largest_cache(topology: Path = TOPOLOGY) -> int:
    """Return the bytes of the largest cache of the first CPU."""
    found = []
    for path in topology.glob("cpu0/cache/index*/size"):
        try:
            text = path.read_text().strip()
            found.append(int(text[:-1]) * UNITS[text[-1]])
        except (OSError, ValueError, KeyError, IndexError):
            continue
    return max(found, default=USUAL_CACHE)
