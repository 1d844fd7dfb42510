"""What all implementations in Rust have in common: examples and parameters are Rust's while they are used.

A timed call converts nothing, and releases the interpreter's lock.
"""

import os
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from impls.interface import Array, Implementation, Parameters


class RustNative(Implementation):
    """A crate's network behind the contract; subclasses name the class of its examples, and construct `_network`."""

    batch: type
    _network: Any

    def load(self, parameters: Parameters) -> None:
        self.check_parameters(parameters)
        self._network.load(*parameters)

    def parameters(self) -> Parameters:
        return Parameters(*self._network.parameters())

    def prepare_data(self, x: Array, y: Array) -> Any:
        return self.batch(*super().prepare_data(x, y))

    def gradients(self, batch: Any) -> Parameters:
        return Parameters(*self._network.gradients(batch))

    def step(self, batch: Any, learning_rate: float) -> None:
        self._network.step(batch, learning_rate)


class RustCrate(RustNative):
    """An algorithm of the crate in `impls/rust/`, which subclasses name."""

    algorithm: ClassVar[str]
    products: ClassVar[str] = "ndarray"  # who multiplies matrices, where the algorithm leaves it open

    def __init__(self, sizes: Sequence[int], batch_size: int, dtype: DTypeLike = "float64", threads: int = 1) -> None:
        from backprop_bench_rust import Batch, Network  # the frameworks' crates have environments without it

        super().__init__(sizes, batch_size, dtype, threads)
        self.batch = Batch
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
        return int(self._network.worth_sharing)

    @worth_sharing.setter
    def worth_sharing(self, flops: int) -> None:
        self._network.worth_sharing = flops

    def epoch(self, data: Any, order: NDArray[np.intp], learning_rate: float) -> None:
        self._network.epoch(data, order, learning_rate)
