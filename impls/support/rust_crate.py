"""What the algorithms of the crate in `impls/rust/` have in common: the contract, by the crate's class `Network`."""

import os
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from backprop_bench_rust import Batch, Network
from numpy.typing import DTypeLike, NDArray

from impls.support.rust_native import RustNative


class RustCrate(RustNative):
    """An algorithm of the crate, which subclasses name."""

    batch = Batch
    _network: Network
    algorithm: ClassVar[str]
    products: ClassVar[str] = "ndarray"  # who multiplies matrices, where the algorithm leaves it open

    def __init__(self, sizes: Sequence[int], batch_size: int, dtype: DTypeLike = "float64", threads: int = 1) -> None:
        super().__init__(sizes, batch_size, dtype, threads)
        self._network = Network(
            self.algorithm,
            self.sizes,
            self.batch_size,
            self.dtype.name,
            self.threads,
            products=self.products,
            simd=os.environ.get("BACKPROP_RUST_SIMD"),
        )

    @property
    def worth_sharing(self) -> int:
        """Return the operations of a step from which threads share it, as the crate has them."""
        return self._network.worth_sharing

    @worth_sharing.setter
    def worth_sharing(self, flops: int) -> None:
        self._network.worth_sharing = flops

    def epoch(self, data: Batch, order: NDArray[np.intp], learning_rate: float) -> None:
        self._network.epoch(data, order, learning_rate)
