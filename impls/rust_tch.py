"""PyTorch from Rust: layers, autograd and optimiser of tch, the Rust bindings of libtorch.

What changed from `torch`: the language alone. The same libtorch does the work, and no Python runs in a step, which is
written as the examples of tch write theirs (`impls/rust_tch/src/network.rs`).

A release of tch binds one release of libtorch. Therefore this implementation has an environment of its own,
`.venv-tch`, which `make rust-tch` makes. Threads are libtorch's own setting, which holds for the process.
"""

from collections.abc import Sequence
from importlib.metadata import version

import numpy as np
from backprop_bench_rust_tch import Batch, Network
from numpy.typing import DTypeLike, NDArray

from impls.support.rust import RustNative


class RustTch(RustNative):
    """Layers, autograd and SGD of libtorch, called from Rust."""

    batch = Batch

    @classmethod
    def build(cls) -> dict[str, str]:
        return {"torch": version("torch")}

    def __init__(self, sizes: Sequence[int], batch_size: int, dtype: DTypeLike = "float64", threads: int = 1) -> None:
        super().__init__(sizes, batch_size, dtype, threads)
        self._network = Network(self.sizes, self.dtype.name, self.threads)

    def epoch(self, data: Batch, order: NDArray[np.intp], learning_rate: float) -> None:
        self._network.epoch(data, order, self.batch_size, learning_rate)
