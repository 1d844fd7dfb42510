"""What a sampling profiler of Python threads cannot show of each row."""

from typing import NamedTuple


class Unseen(NamedTuple):
    """What is missing from a row's recordings: always, and in addition where it has several threads."""

    always: str = ""
    threads: str = "BLAS's other threads"


LIBRARY = Unseen(threads="the library's own threads")
XLA = Unseen("the threads of the library, on which it computes", "")
GPU = Unseen("the GPU, which computes", "")
RANKS = Unseen(threads="the other ranks: one alone is recorded")
NOTHING = Unseen(threads="")
ROWS = {
    "pure_python": NOTHING,
    "multithreaded": NOTHING,
    "numba": Unseen("names of Numba's compiled functions", "Numba's other threads"),
    "rust_per_example": NOTHING,
    "rust_batched": NOTHING,
    "rust_batched_gemm": NOTHING,
    "rust_candle": Unseen(threads="rayon's threads"),
    "rust_rayon": Unseen(threads="rayon's threads"),
    "rust_fused": Unseen(threads="its own threads"),
    "mpi": RANKS,
    "torch": LIBRARY,
    "torch_compiled": LIBRARY,
    "torch_cuda": GPU,
    "torch_ddp": RANKS,
    "rust_tch": LIBRARY,
    "jax": XLA,
    "jax_cuda": GPU,
    "tensorflow": XLA,
    "rust_tensorflow": LIBRARY,
}


def unseen(row: str, threads: int) -> str:
    """Return in words what cannot be in the picture of a row with so many threads; "" for nothing."""
    found = ROWS.get(row, Unseen())
    return "; ".join(filter(None, (found.always, found.threads if threads > 1 else "")))
